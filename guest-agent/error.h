/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SPF_ERROR_H
#define SPF_ERROR_H

/* Exit statuses. */
enum {
	STATUS_PORT_GONE = 0,	/* as its host wished, which is no failure */
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_NO_DEVICE = 3,	/* the unit does not restart on this one */
	STATUS_RUN_FAILED = 125	/* of `run', whose own status is the command's */
};

/* The reason of a failure: one line, for a person or for the host. */
struct error {
	int status;
	char text[256];
};

/* Fills in @error and returns -1. */
__attribute__((format(printf, 3, 4)))
int fail(struct error *error, int status, const char *format, ...);

/* Prints the line; returns the exit status. */
int error__print(const struct error *error);

#endif
