/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The texts of --help.
 */
#ifndef SPF_HELP_H
#define SPF_HELP_H

/* Print the program's help: its commands. */
void help__print(void);

/* Print one command's help: its arguments and options. */
void help__print_command(const char *name);

#endif
