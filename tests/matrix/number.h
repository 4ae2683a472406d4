/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MATRIX_NUMBER_H
#define MATRIX_NUMBER_H

/* What stands behind `name`, its blank or colon included, in a file of /proc or /sys; -1: nothing. */
long number_in(const char *path, const char *name);

#endif
