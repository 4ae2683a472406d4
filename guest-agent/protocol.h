/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host's requests and the answers, as those of QEMU's guest agent: a JSON
 * object a line.  A byte 0xff discards what came before it.
 */
#ifndef SPF_PROTOCOL_H
#define SPF_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "device.h"
#include "error.h"

/* A longer request is discarded and answered with an error. */
#define REQUEST_MAX	4096

struct agent {
	struct device *device;
	int marks;		/* their file */
	uint64_t max_load;	/* bytes spf-load may touch */
	uint32_t blocked;	/* a bit a command, by its place in the table */
	void (*send)(void *context, const char *text, size_t length);
	void *context;		/* of send() */

	/* State of this connection. */
	bool following;		/* the host asked for new marks */
	off_t marks_told;
	bool too_long;		/* discarding the rest of a line */
	size_t length;
	char line[REQUEST_MAX];
};

/* @list: names, separated by commas.  With @allow, block all other requests, else block these. */
int protocol__filter(struct agent *agent, const char *list, bool allow, struct error *error);

/* The host has gone: forget its unfinished request and that it followed marks. */
void protocol__reset(struct agent *agent);

/* Take bytes in pieces of any size, and answer each complete request. */
void protocol__feed(struct agent *agent, const char *bytes, size_t count);

/* Send new marks to the host, if it follows them. */
void protocol__tell_marks(struct agent *agent);

#endif
