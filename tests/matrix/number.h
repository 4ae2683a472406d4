/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MATRIX_NUMBER_H
#define MATRIX_NUMBER_H

/* The number after `name`, which includes its blank or colon, in a file of /proc or /sys; -1: none. */
long number_in(const char *path, const char *name);

#endif
