// SPDX-License-Identifier: GPL-2.0-or-later
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "help.h"
#include "usage.h"

int usage(const char *format, ...)
{
	va_list args;

	fputs("spf-agent: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return STATUS_USAGE;
}

int usage__refused(const char *command, char *const *argv, int option)
{
	const char letter[] = { '-', (char)optopt, 0 }, *word = argv[optind - 1];
	const char *space = command ? " " : "";

	/* A letter among others in one word: getopt_long() has not advanced optind yet. */
	if (option == '?' && optopt && (strncmp(word, "--", 2) || !strchr(word, '=')))
		word = letter;
	if (!command)
		command = "";
	if (option == ':')
		return usage("%s needs a value; see spf-agent%s%s --help", word, space, command);
	return usage("unknown option '%s'; see spf-agent%s%s --help", word, space, command);
}

int usage__option(int argc, char **argv, const char *letters, const struct option *options, int *status)
{
	int option = getopt_long(argc, argv, letters, options, NULL);

	switch (option) {
	case -1:
		return 0;
	case 'h':
		help__print_command(*argv);
		*status = 0;
		return -1;
	case '?':
	case ':':
		*status = usage__refused(*argv, argv, option);
		return -1;
	default:
		return option;
	}
}

/* Parse the digits that @text begins with.  @rest is what follows them. */
static bool parse_number(const char *text, uint64_t *number, char **rest)
{
	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*number = strtoull(text, rest, 10);
	return !errno;
}

bool parse_count(const char *text, uint64_t max, uint64_t *count)
{
	char *rest;

	return parse_number(text, count, &rest) && !*rest && *count && *count <= max;
}

bool parse_size(const char *text, uint64_t max, uint64_t *size)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *rest;
	int shift = 0;

	if (!parse_number(text, size, &rest))
		return false;
	unit = *rest ? strchr(units, toupper((unsigned char)*rest)) : NULL;
	if (unit) {
		shift = 10 * (int)(unit - units + 1);
		rest++;
	}
	if (*rest || !*size || *size > max >> shift)
		return false;
	*size <<= shift;
	return true;
}

/* Parse seconds, from a millisecond to a day. */
bool parse_seconds(const char *text, uint64_t *ns)
{
	char *rest;
	double seconds;

	if (!isdigit((unsigned char)*text) && *text != '.')
		return false;
	seconds = strtod(text, &rest);
	if (*rest || rest == text || !(seconds >= 0.001 && seconds <= 86400))
		return false;
	*ns = (uint64_t)(seconds * NS_PER_SEC);
	return true;
}
