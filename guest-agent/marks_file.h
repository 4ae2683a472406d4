/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file of marks.  It consists of lines, and keeps the newest.
 *
 * A file that is full drops the older half of its lines.  Its first line is
 * then "# N bytes of older marks were dropped", where N is the sum of all
 * drops.  A position counts the bytes of all lines ever written, so that a
 * reader keeps its place when lines are dropped.
 */
#ifndef SPF_MARKS_FILE_H
#define SPF_MARKS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "error.h"

/* A program that sets marks in a loop does not fill the guest's memory. */
#define MARKS_FILE_MAX	(64 << 10)

/* Several processes share the file.  The lock admits one at a time. */
int marks_file__lock(int fd, bool to_write);
void marks_file__unlock(int fd);

/* Called with the lock for writing.  Append the whole line, or nothing. */
int marks_file__append(int fd, const char *line, size_t length, struct error *error);

/*
 * Called with the lock.  Return the offset of *@position in the file.  If its
 * line was dropped, *@position becomes that of the oldest line.
 */
off_t marks_file__offset(int fd, off_t *position);

#endif
