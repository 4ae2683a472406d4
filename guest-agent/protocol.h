/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the host asks, and what it is told: QEMU guest agent's manner, a JSON
 * object a line.  A byte 0xff begins anew, whatever came before.
 */
#ifndef SPF_PROTOCOL_H
#define SPF_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "device.h"
#include "error.h"

/* A longer request is thrown away, and its sender told so. */
#define REQUEST_MAX	4096

struct agent {
	struct device *device;
	int marks;		/* their file */
	uint64_t max_load;	/* bytes spf-load may touch */
	uint32_t blocked;	/* a bit a command, by its place in the table */
	void (*send)(void *context, const char *text, size_t length);
	void *context;		/* of send() */

	/* Of this connection. */
	bool following;		/* the host wants to be told of new marks */
	off_t marks_told;
	bool too_long;		/* throwing away the rest of a line */
	size_t length;
	char line[REQUEST_MAX];
};

/* @list: names, comma between; with @allow all others are blocked, else these are. */
int protocol__filter(struct agent *agent, const char *list, bool allow, struct error *error);

/* Another host, or none: forget what the last one was about. */
void protocol__reset(struct agent *agent);

/* Bytes that came, in whatever pieces: answers what is whole. */
void protocol__feed(struct agent *agent, const char *bytes, size_t count);

/* There may be new marks: tell the host, if it follows them. */
void protocol__tell_marks(struct agent *agent);

#endif
