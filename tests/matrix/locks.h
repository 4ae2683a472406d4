/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Count how often a thread takes an mmap_lock, by the kernel's own tracepoint. */
#ifndef MATRIX_LOCKS_H
#define MATRIX_LOCKS_H

/* Count the calling thread's from now on; one count at a time.  Returns -1 after printing an error. */
int locks__watch(void);
long locks__count(void);
void locks__end(void);

#endif
