/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Standard output: what was printed has to have been written, or it is an error.
 */
#ifndef SPF_OUTPUT_H
#define SPF_OUTPUT_H

#include "error.h"

/* Write what has been printed so far; -1 and @error if some of it is lost. */
int output__flush(struct error *error);

/*
 * No more is printed.  Returns @status, the command's, except that a success
 * whose output is lost becomes a failure, and says so.
 */
int output__end(int status);

#endif
