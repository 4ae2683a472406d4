/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What --help says.
 */
#ifndef SPF_HELP_H
#define SPF_HELP_H

/* Of the program: its commands. */
void help__print(void);

/* Of one command: what it takes. */
void help__print_command(const char *name);

#endif
