// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * spf-agent run: run a command, and show the host's faults meanwhile.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "clock.h"
#include "command.h"
#include "device.h"
#include "json.h"
#include "usage.h"

struct lap {
	struct snapshot before, after;
	uint64_t wall_ns;
	int status;	/* of the command, as a shell reports it */
};

static void report_text(FILE *out, const struct lap *lap, const struct counters *delta)
{
	double stall = (double)delta->ns_sum / 1e9, wall = (double)lap->wall_ns / 1e9;
	uint64_t sum = 0;

	fprintf(out, "wall time        %.6f s\n", wall);
	for (int i = 0; i < KVM_SPF_NR_TIERS; i++)
		sum += delta->tier[i];
	fprintf(out, "host faults      %" PRIu64 "\n", sum);
	for (int i = 0; i < KVM_SPF_NR_TIERS; i++)
		fprintf(out, "  %-15s%" PRIu64 "\n", tier_names[i], delta->tier[i]);
	fprintf(out, "aborts           %" PRIu64 "\n", counters__aborts(delta));
	if (lap->after.features & KVM_SPF_F_LATENCY)
		fprintf(out, "host fault time  %.6f s, %.2f %% of the wall time%s\n", stall, 100 * stall / wall,
			lap->after.nr_vcpus > 1 ? " (all vCPUs' together)" : "");
}

static void report_json(FILE *out, const struct lap *lap, const struct counters *delta)
{
	json_object *object = json_object_new_object();

	json_object_object_add(object, "status", json_object_new_int(lap->status));
	json_object_object_add(object, "wall-ns", json_object_new_uint64(lap->wall_ns));
	json_object_object_add(object, "vcpus", json_object_new_uint64(lap->after.nr_vcpus));
	json_object_object_add(object, "mode", json_object_new_string(mode_name(lap->after.mode)));
	json__counters(object, delta, lap->after.features);
	fprintf(out, "%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	json_object_put(object);
}

static int wall(char **command, struct lap *lap, struct error *error)
{
	uint64_t start = clock__ns();

	if (command__run(command, &lap->status, error))
		return -1;
	lap->wall_ns = clock__ns() - start;
	return 0;
}

/* Returns -1 and @error if there are no figures.  The command may still have run: lap->status is 0 if it did not. */
static int measure(struct device *device, char **command, struct lap *lap, struct counters *delta,
		   struct error *error)
{
	lap->status = 0;
	if (device__collect(device, false, &lap->before, error))
		return -1;
	if (!(lap->before.features & KVM_SPF_F_COUNTERS))
		return fail(error, STATUS_RUN_FAILED, "this host's kernel does not count faults");
	if (wall(command, lap, error) || device__collect(device, false, &lap->after, error))
		return -1;
	device__warn_stale(&lap->after);
	if (!snapshot__minus(&lap->after, &lap->before, delta))
		return fail(error, STATUS_RUN_FAILED, "the counters began anew meanwhile (a reset or a migration): no figures");
	return 0;
}

/* Returns the file for the figures, or NULL and @error. */
static FILE *open_output(const char *path, struct error *error)
{
	FILE *out = path ? fopen(path, "we") : stderr;

	if (!out)
		fail(error, STATUS_RUN_FAILED, "cannot write %s: %s", path, strerror(errno));
	return out;
}

static int close_output(FILE *out, const char *path, struct error *error)
{
	bool lost = ferror(out);

	/* Standard error is not buffered.  It stays open for more messages. */
	if (path && fclose(out))
		lost = true;
	return lost ? fail(error, STATUS_RUN_FAILED, "cannot write %s: %s", path ? path : "the figures",
			   strerror(errno ? errno : EIO)) : 0;
}

static int run(struct device *device, char **command, const char *path, bool json)
{
	struct counters delta;
	struct error error;
	struct lap lap = {};
	FILE *out = open_output(path, &error);
	int failed;

	if (!out) {
		error__print(&error);
		return STATUS_RUN_FAILED;
	}
	failed = measure(device, command, &lap, &delta, &error);
	if (!failed && json)
		report_json(out, &lap, &delta);
	else if (!failed)
		report_text(out, &lap, &delta);
	/* Report the first failure only. */
	if (failed) {
		error__print(&error);
		close_output(out, path, &error);
	} else if (close_output(out, path, &error)) {
		failed = -1;
		error__print(&error);
	}
	/* Without figures the agent has failed.  If the command failed as well, return the command's status. */
	return failed && !lap.status ? STATUS_RUN_FAILED : lap.status;
}

int cmd_run(const struct globals *globals, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	const char *output = NULL;
	struct device device;
	struct error error;
	bool json = false;
	int option, status;

	while ((option = usage__option(argc, argv, "+:jo:h", options, &status)) > 0) {
		switch (option) {
		case 'j':
			json = true;
			break;
		case 'o':
			output = optarg;
			break;
		}
	}
	if (option < 0)
		return status ? STATUS_RUN_FAILED : 0;
	if (optind == argc) {
		usage("run needs a command: spf-agent run -- COMMAND [ARGUMENT...]");
		return STATUS_RUN_FAILED;
	}
	if (device__open(&device, globals->device, &error)) {
		error__print(&error);
		return STATUS_RUN_FAILED;
	}
	status = run(&device, argv + optind, output, json);
	device__close(&device);
	return status;
}
