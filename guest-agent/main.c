// SPDX-License-Identifier: GPL-2.0-or-later
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "help.h"
#include "output.h"
#include "usage.h"

static const struct {
	const char *name;
	int (*run)(const struct globals *globals, int argc, char **argv);
} commands[] = {
	{ "stat", cmd_stat },
	{ "snapshot", cmd_snapshot },
	{ "run", cmd_run },
	{ "load", cmd_load },
	{ "mark", cmd_mark },
	{ "serve", cmd_serve },
};

#define NR_COMMANDS	(sizeof(commands) / sizeof(commands[0]))

static int dispatch(int argc, char **argv)
{
	static const struct option options[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{}
	};
	struct globals globals = {};
	int option;

	opterr = 0;	/* usage__refused() prints the error in one line */
	while ((option = getopt_long(argc, argv, "+:hV", options, NULL)) != -1) {
		switch (option) {
		case 'd':
			globals.device = optarg;
			break;
		case 'h':
			help__print();
			return 0;
		case 'V':
			puts("spf-agent " AGENT_VERSION);
			return 0;
		default:
			return usage__refused(NULL, argv, option);
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

int main(int argc, char **argv)
{
	return output__end(dispatch(argc, argv));
}
