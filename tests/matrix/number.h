/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MATRIX_NUMBER_H
#define MATRIX_NUMBER_H

/* The number after `name` in a file of /proc or /sys, or -1.  `name` includes the blank or colon. */
long number_in(const char *path, const char *name);

#endif
