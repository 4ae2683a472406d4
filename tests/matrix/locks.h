/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How often a thread takes an mmap_lock, by the kernel's own tracepoint. */
#ifndef MATRIX_LOCKS_H
#define MATRIX_LOCKS_H

/* Of the calling thread, from now on; one at a time.  -1: said why. */
int locks__watch(void);
long locks__count(void);
void locks__end(void);

#endif
