// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * spf-agent load: the simplest load on the host's fault handling.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

#include "agent.h"
#include "json.h"
#include "load.h"
#include "usage.h"

int cmd_load(const struct globals *globals, int argc, char **argv)
{
	static const struct option options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "threads", required_argument, NULL, 't' },
		{ "pattern", required_argument, NULL, 'p' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	struct load load = { .bytes = 64 << 20, .threads = 1 };
	struct load_result result;
	struct error error;
	uint64_t threads;
	bool json = false;
	int option, status;

	(void)globals;
	while ((option = usage__option(argc, argv, "+:s:t:p:jh", options, &status)) > 0) {
		switch (option) {
		case 's':
			if (!parse_size(optarg, INT64_MAX, &load.bytes))
				return usage("-s takes a size such as 512M, not '%s'", optarg);
			break;
		case 't':
			if (!parse_count(optarg, LOAD_MAX_THREADS, &threads))
				return usage("-t takes a number of threads up to %u, not '%s'", LOAD_MAX_THREADS, optarg);
			load.threads = (uint32_t)threads;
			break;
		case 'p':
			if (!load__pattern(optarg, &load.pattern))
				return usage("-p takes sequential, random or stride, not '%s'", optarg);
			break;
		case 'j':
			json = true;
			break;
		}
	}
	if (option < 0)
		return status;
	if (optind < argc)
		return usage("load takes no argument '%s'", argv[optind]);

	if (load__run(&load, &result, &error))
		return error__print(&error);
	if (json && json__print(load__json(&load, &result), &error))
		return error__print(&error);
	if (!json)
		printf("touched %" PRIu64 " pages of %" PRIu64 " bytes with %u thread%s in %.6f s\n", result.pages,
		       result.page_size, load.threads, load.threads == 1 ? "" : "s", (double)result.ns / 1e9);
	return 0;
}
