/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The subcommands.  Each returns the exit status.
 */
#ifndef SPF_AGENT_H
#define SPF_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

/* The options before the subcommand's name. */
struct globals {
	const char *device;	/* --device; NULL: search for the device */
};

int cmd_stat(const struct globals *globals, int argc, char **argv);
int cmd_snapshot(const struct globals *globals, int argc, char **argv);
int cmd_run(const struct globals *globals, int argc, char **argv);
int cmd_load(const struct globals *globals, int argc, char **argv);
int cmd_mark(const struct globals *globals, int argc, char **argv);
int cmd_serve(const struct globals *globals, int argc, char **argv);

#endif
