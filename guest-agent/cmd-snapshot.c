// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * spf-agent snapshot: print the figures of one moment.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

#include "agent.h"
#include "device.h"
#include "json.h"
#include "usage.h"

static void print_text(const struct snapshot *s)
{
	const struct counters *c = &s->total;

	printf("mode        %s\n", mode_name(s->mode));
	printf("vcpus       %u\n", s->nr_vcpus);
	printf("epoch       %" PRIx64 ", collection %" PRIu64 "\n", s->epoch, s->generation);
	if (!(s->features & KVM_SPF_F_COUNTERS)) {
		puts("faults      this host's kernel does not count them");
		return;
	}
	for (int i = 0; i < KVM_SPF_NR_TIERS; i++)
		printf("%-12s%" PRIu64 "\n", tier_names[i], c->tier[i]);
	printf("aborts      %" PRIu64 "\n", counters__aborts(c));
	if (s->features & KVM_SPF_F_LATENCY)
		printf("host time   %.6f s in %" PRIu64 " faults, the longest %.6f s\n", (double)c->ns_sum / 1e9,
		       c->ns_count, (double)c->ns_max / 1e9);
}

int cmd_snapshot(const struct globals *globals, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	struct snapshot snapshot;
	struct device device;
	struct error error;
	bool json = false;
	int option, status, failed = 0;

	while ((option = usage__option(argc, argv, "+:jh", options, &status)) > 0)
		json = true;
	if (option < 0)
		return status;
	if (optind < argc)
		return usage("snapshot takes no argument '%s'", argv[optind]);

	if (device__open(&device, globals->device, &error))
		return error__print(&error);
	if (device__collect(&device, true, &snapshot, &error)) {
		device__close(&device);
		return error__print(&error);
	}
	device__warn_stale(&snapshot);
	if (json)
		failed = json__print(json__snapshot(&snapshot), &error);
	else
		print_text(&snapshot);
	device__close(&device);
	return failed ? error__print(&error) : 0;
}
