/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arguments of the command line.
 */
#ifndef SPF_USAGE_H
#define SPF_USAGE_H

#include <stdbool.h>
#include <stdint.h>

struct option;

/* One line on standard error; returns STATUS_USAGE. */
__attribute__((format(printf, 1, 2)))
int usage(const char *format, ...);

/*
 * Report the word that getopt_long() refused by returning @option, '?' or ':',
 * in one line on standard error.  @command has the arguments @argv; NULL stands
 * for the program itself.  Returns STATUS_USAGE.
 */
int usage__refused(const char *command, char *const *argv, int option);

/*
 * Call getopt_long() for a command, whose name is *@argv.  Return the letter of
 * the next option, or 0 after the last.  Return -1 and a *@status to exit with
 * if this has printed the command's help, or has refused an option in one line.
 */
int usage__option(int argc, char **argv, const char *letters, const struct option *options, int *status);

/* "512", "64K", "1.5" and so on; false if it is none, or not within min..max. */
bool parse_size(const char *text, uint64_t max, uint64_t *size);
bool parse_count(const char *text, uint64_t max, uint64_t *count);
bool parse_seconds(const char *text, uint64_t *ns);

#endif
