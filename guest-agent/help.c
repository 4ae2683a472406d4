// SPDX-License-Identifier: GPL-2.0-or-later
#include "help.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct text {
	const char *name, *arguments, *what, *options;
} texts[] = {
	{ "stat", "[-i SEC] [-c LINES] [--json]", "host faults, a line each interval",
	  "  -i, --interval SEC    from 0.001 to 86400, default 1\n"
	  "  -c, --count LINES     stop after this many lines\n"
	  "  -j, --json            one object a line\n" },
	{ "snapshot", "[--json]", "all figures of this moment",
	  "  -j, --json            one object\n" },
	{ "run", "[--json] [-o FILE] [--] COMMAND...", "host faults while a command runs",
	  "  -j, --json            one object\n"
	  "  -o, --output FILE     write the figures there rather than to standard error\n" },
	{ "load", "[-s SIZE] [-t THREADS] [-p PATTERN] [--json]", "touch memory, each page once",
	  "  -s, --size SIZE       such as 512M, default 64M\n"
	  "  -t, --threads THREADS default 1\n"
	  "  -p, --pattern PATTERN sequential (default), random or stride\n"
	  "  -j, --json            one object\n" },
	{ "mark", "[--marks FILE] NAME", "note that a phase begins",
	  "      --marks FILE      where marks lie, default /run/spf-agent.marks\n" },
	{ "serve", "[--allow LIST | --block LIST] [OPTION...]", "answer the host's requests",
	  "      --allow LIST      only these requests; separate names by commas\n"
	  "      --block LIST      all but these requests\n"
	  "      --max-load SIZE   the most that spf-load may touch, default 1G\n"
	  "      --port FILE       default: the port org.kvmspf.agent.0\n"
	  "      --user NAME       the user to become, default spf-agent\n"
	  "      --marks FILE      where marks lie, default /run/spf-agent.marks\n" },
};

#define NR_TEXTS	(sizeof(texts) / sizeof(texts[0]))

void help__print(void)
{
	puts("usage: spf-agent [--device FILE] COMMAND [ARGUMENT...]\n\n"
	     "What this guest's host did to resolve faults of guest memory.\n");
	for (size_t i = 0; i < NR_TEXTS; i++)
		printf("  %-10s%s\n", texts[i].name, texts[i].what);
	puts("\nspf-agent COMMAND --help says what a command takes; man spf-agent says all.");
}

void help__print_command(const char *name)
{
	for (size_t i = 0; i < NR_TEXTS; i++)
		if (!strcmp(texts[i].name, name))
			printf("usage: spf-agent [--device FILE] %s %s\n\n%s:\n%s", name, texts[i].arguments, texts[i].what,
			       texts[i].options);
}
