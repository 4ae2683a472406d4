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
 * What getopt_long() just refused by returning @option, '?' or ':'.  @command:
 * whose arguments @argv are, or NULL for the program's own.  One line on
 * standard error; returns STATUS_USAGE.
 */
int usage__refused(const char *command, char *const *argv, int option);

/*
 * getopt_long() for a command, *@argv is its name: the letter of the next
 * option; 0 after the last; -1 if the command is over, with *@status to exit
 * with: it has printed its help, or one line about an option that it refuses.
 */
int usage__option(int argc, char **argv, const char *letters, const struct option *options, int *status);

/* "512", "64K", "1.5" and so on; false if it is none, or not within min..max. */
bool parse_size(const char *text, uint64_t max, uint64_t *size);
bool parse_count(const char *text, uint64_t max, uint64_t *count);
bool parse_seconds(const char *text, uint64_t *ns);

#endif
