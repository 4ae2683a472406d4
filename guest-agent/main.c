// SPDX-License-Identifier: GPL-2.0-or-later
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "usage.h"

static const struct {
	const char *name;
	int (*run)(const struct globals *globals, int argc, char **argv);
	const char *help;
} commands[] = {
	{ "stat", cmd_stat, "[-i SEC] [-c LINES] [--json]        host faults, a line an interval" },
	{ "snapshot", cmd_snapshot, "[--json]                            all figures of this moment" },
	{ "run", cmd_run, "[--json] [-o FILE] -- COMMAND...    host faults while a command runs" },
	{ "load", cmd_load, "[-s SIZE] [-t THREADS] [-p PATTERN] [--json]\n"
	  "           touch memory; patterns: sequential, random, stride" },
	{ "mark", cmd_mark, "[--marks FILE] NAME                 note that a phase begins" },
	{ "serve", cmd_serve, "[--allow LIST | --block LIST] [--max-load SIZE] [--port FILE] [--user NAME] [--marks FILE]\n"
	  "           answer the host's requests" },
};

#define NR_COMMANDS	(sizeof(commands) / sizeof(commands[0]))

static int help(void)
{
	puts("usage: spf-agent [--device FILE] COMMAND [ARGUMENT...]\n\n"
	     "What this guest's host did to resolve faults of guest memory.\n");
	for (size_t i = 0; i < NR_COMMANDS; i++)
		printf("  %-9s%s\n", commands[i].name, commands[i].help);
	puts("\nSee man spf-agent.");
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{}
	};
	struct globals globals = {};
	int option;

	while ((option = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
		switch (option) {
		case 'd':
			globals.device = optarg;
			break;
		case 'h':
			return help();
		case 'V':
			puts("spf-agent " AGENT_VERSION);
			return 0;
		default:
			return usage__hint();
		}
	}
	if (optind == argc)
		return usage("no command; see spf-agent --help");
	for (size_t i = 0; i < NR_COMMANDS; i++) {
		if (!strcmp(argv[optind], commands[i].name)) {
			argc -= optind;
			argv += optind;
			optind = 0;	/* the command's own arguments, from their beginning */
			return commands[i].run(&globals, argc, argv);
		}
	}
	return usage("there is no command '%s'; see spf-agent --help", argv[optind]);
}
