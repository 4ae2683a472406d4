/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Another program, as a shell would run it in the foreground.
 */
#ifndef SPF_COMMAND_H
#define SPF_COMMAND_H

#include "error.h"

/*
 * Run it and wait for its end.  A signal that a process sends us meanwhile goes
 * on to it; one of the terminal's it has had itself.  0, with the command's
 * status in *@status as a shell says it, or -1 and @error.  Those signals stay
 * blocked: what the caller has to tell is told before it ends.
 */
int command__run(char **words, int *status, struct error *error);

#endif
