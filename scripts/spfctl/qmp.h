/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client's end of a QMP socket, which never blocks.  The other side may be anything: lines are bounded. */
#ifndef SPFCTL_QMP_H
#define SPFCTL_QMP_H

#include <sys/types.h>

#include "say.h"

struct json_object;

struct qmp {
	int fd;				/* -1: closed */
	pid_t peer;			/* the process that listens */
	size_t longest;			/* bytes of a line */
	char *buffer;
	size_t size, begin, used;	/* what was received: [begin, used) */
	char *request;			/* what is to be sent, or NULL */
	size_t sent;
};

int qmp_open(struct qmp *qmp, const char *path, struct why *why);
void qmp_close(struct qmp *qmp);

/* Add a line to what is to be sent. */
void qmp_say(struct qmp *qmp, const char *command);

/* The events for poll() to wait for. */
short qmp_events(const struct qmp *qmp);
/* Send and receive what is possible without waiting, but no more than a bound: a flood must not keep us here. */
int qmp_transfer(struct qmp *qmp, struct why *why);
/* The next line that was received: 1 and @object, 0 if there is none yet, or -1. */
int qmp_next(struct qmp *qmp, struct json_object **object, struct why *why);

/* One line of QMP as an object, or NULL. */
struct json_object *qmp_parse(const char *line, size_t length, struct why *why);
/* The object under "return" of a QMP answer, or NULL; takes over @answer. */
struct json_object *qmp_result(struct json_object *answer, struct why *why);
/* A member that is a string, or "". */
const char *json_text(struct json_object *object, const char *name);

#endif
