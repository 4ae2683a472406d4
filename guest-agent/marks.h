/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Marks: named moments, with the guest's and the host's time.  They lie in a
 * file, a line each, so that a program in the guest can set one before the
 * server is there: "NAME GUEST-NS HOST-NS", the last "-" if the host does not answer.
 */
#ifndef SPF_MARKS_H
#define SPF_MARKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "snapshot.h"

#define MARKS_FILE	"/run/spf-agent.marks"
#define MARK_NAME_MAX	64

struct mark {
	char name[MARK_NAME_MAX + 1];
	uint64_t guest_ns;
	uint64_t host_ns;
	bool has_host_ns;
};

/* Letters, digits, '.', '_' and '-': at least one of them. */
bool mark__set_name(struct mark *mark, const char *name);

/* Take the times from @snapshot. */
void mark__set_times(struct mark *mark, const struct snapshot *snapshot);

int marks__open(const char *path, struct error *error);

/* A full file drops the older half of its marks for the new one. */
int marks__add(int fd, const struct mark *mark, struct error *error);

/*
 * Read the mark at *@position and advance it to the next.  Return 1, or 0 if
 * there is no mark there yet, or -1 and @error.  Position 0 is that of the
 * oldest mark.  If the mark at *@position was dropped, the oldest one that is
 * left is read.
 */
int marks__next(int fd, off_t *position, struct mark *mark, struct error *error);

#endif
