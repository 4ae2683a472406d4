// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * spf-agent stat: print a line each interval, as vmstat does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "agent.h"
#include "clock.h"
#include "device.h"
#include "json.h"
#include "output.h"
#include "usage.h"

/* Repeat the heading before it scrolls off a terminal. */
#define LINES_A_HEADING	20

struct plan {
	uint64_t interval;
	uint64_t count;		/* 0: until interrupted */
	bool json;
};

static int print_json(const struct snapshot *now, const struct snapshot *before, const struct counters *delta,
		      struct error *error)
{
	json_object *object = json_object_new_object();

	json_object_object_add(object, "host-ns", json_object_new_uint64(now->host_ns));
	json_object_object_add(object, "interval-ns", json_object_new_uint64(now->host_ns - before->host_ns));
	json_object_object_add(object, "epoch", json_object_new_uint64(now->epoch));
	json__counters(object, delta, now->features);
	return json__print(object, error);
}

static int print_line(uint64_t number, const struct snapshot *now, const struct snapshot *before,
		      const struct counters *delta, struct error *error)
{
	double all = (double)(now->host_ns - before->host_ns) * now->nr_vcpus;

	if (number % LINES_A_HEADING == 0)
		printf("%10s %12s %10s %10s %10s %10s %7s\n", "fast", "speculative", "vma-lock", "mmap-lock", "aborts",
		       "stall-ms", "stall-%");
	printf("%10" PRIu64 " %12" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10.2f %7.2f\n",
	       delta->tier[KVM_SPF_TIER_FAST], delta->tier[KVM_SPF_TIER_SPECULATIVE],
	       delta->tier[KVM_SPF_TIER_VMA_LOCK], delta->tier[KVM_SPF_TIER_MMAP_LOCK], counters__aborts(delta),
	       (double)delta->ns_sum / 1e6, all > 0 ? 100 * (double)delta->ns_sum / all : 0);
	return output__flush(error);
}

/* Sleep until the next multiple of the interval, so that the lines do not drift. */
static void wait_until(uint64_t ns)
{
	struct timespec when = { .tv_sec = (time_t)(ns / NS_PER_SEC), .tv_nsec = (long)(ns % NS_PER_SEC) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR)
		;
}

/* After a migration the host may be another one. */
static int collect(struct device *device, struct snapshot *s, struct error *error)
{
	if (device__collect(device, false, s, error))
		return -1;
	if (!(s->features & KVM_SPF_F_COUNTERS))
		return fail(error, STATUS_FAILED, "this host's kernel does not count faults");
	return 0;
}

static int follow(struct device *device, const struct plan *plan, struct error *error)
{
	struct snapshot before, now;
	struct counters delta;
	uint64_t next;

	if (collect(device, &before, error))
		return -1;
	next = clock__ns();
	for (uint64_t line = 0; !plan->count || line < plan->count; before = now) {
		next += plan->interval;
		wait_until(next);
		if (collect(device, &now, error))
			return -1;
		device__warn_stale(&now);
		if (!snapshot__minus(&now, &before, &delta)) {
			fputs("spf-agent: the counters began anew (a reset or a migration): a new baseline\n", stderr);
			continue;
		}
		if (plan->json ? print_json(&now, &before, &delta, error) :
				 print_line(line, &now, &before, &delta, error))
			return -1;
		line++;
	}
	return 0;
}

int cmd_stat(const struct globals *globals, int argc, char **argv)
{
	static const struct option options[] = {
		{ "interval", required_argument, NULL, 'i' },
		{ "count", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	struct plan plan = { .interval = NS_PER_SEC };
	struct device device;
	struct error error;
	int option, status, failed;

	while ((option = usage__option(argc, argv, "+:i:c:jh", options, &status)) > 0) {
		switch (option) {
		case 'i':
			if (!parse_seconds(optarg, &plan.interval))
				return usage("-i takes seconds from 0.001 to 86400, not '%s'", optarg);
			break;
		case 'c':
			if (!parse_count(optarg, UINT64_MAX, &plan.count))
				return usage("-c takes a number of lines, not '%s'", optarg);
			break;
		case 'j':
			plan.json = true;
			break;
		}
	}
	if (option < 0)
		return status;
	if (optind < argc)
		return usage("stat takes no argument '%s'", argv[optind]);

	if (device__open(&device, globals->device, &error))
		return error__print(&error);
	failed = follow(&device, &plan, &error);
	device__close(&device);
	return failed ? error__print(&error) : 0;
}
