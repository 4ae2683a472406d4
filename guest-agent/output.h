/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Standard output.  Output that cannot be written is an error.
 */
#ifndef SPF_OUTPUT_H
#define SPF_OUTPUT_H

#include "error.h"

/* Write what has been printed so far; -1 and @error if some of it is lost. */
int output__flush(struct error *error);

/*
 * Close standard output.  Return @status, the command's.  If output is lost,
 * print an error and turn a success into a failure.
 */
int output__end(int status);

#endif
