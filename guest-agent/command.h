/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Run another program as a shell does in the foreground.
 */
#ifndef SPF_COMMAND_H
#define SPF_COMMAND_H

#include "error.h"

/*
 * Run it and wait for its end.  Pass on a signal that a process sends to the
 * agent meanwhile; the terminal sends its own signals to the command as well.
 * Return 0, with the command's status in *@status as a shell reports it, or -1
 * and @error.  The signals stay blocked, so that the caller can print its
 * figures before one of them ends it.
 */
int command__run(char **words, int *status, struct error *error);

#endif
