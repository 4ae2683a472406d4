// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * spf-agent run: what the host's fault handling did while a command ran.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "clock.h"
#include "device.h"
#include "json.h"
#include "usage.h"

struct lap {
	struct snapshot before, after;
	uint64_t wall_ns;
	int status;	/* as wait() has it */
};

/* As a shell says it. */
static int exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run(char **command, struct lap *lap, struct error *error)
{
	uint64_t start = clock__ns();
	pid_t child = fork();

	if (child < 0)
		return fail(error, STATUS_RUN_FAILED, "cannot fork: %s", strerror(errno));
	if (!child) {
		execvp(*command, command);
		fprintf(stderr, "spf-agent: cannot run %s: %s\n", *command, strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}
	/* What the terminal sends is for the command; we wait for it and report. */
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	while (waitpid(child, &lap->status, 0) < 0)
		if (errno != EINTR)
			return fail(error, STATUS_RUN_FAILED, "cannot wait for the command: %s", strerror(errno));
	lap->wall_ns = clock__ns() - start;
	return 0;
}

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

	json_object_object_add(object, "status", json_object_new_int(exit_status(lap->status)));
	json_object_object_add(object, "wall-ns", json_object_new_uint64(lap->wall_ns));
	json_object_object_add(object, "vcpus", json_object_new_uint64(lap->after.nr_vcpus));
	json_object_object_add(object, "mode", json_object_new_string(mode_name(lap->after.mode)));
	json__counters(object, delta, lap->after.features);
	fprintf(out, "%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	json_object_put(object);
}

static int measure(struct device *device, char **command, bool json, FILE *out, struct error *error)
{
	struct counters delta;
	struct lap lap;

	if (device__collect(device, false, &lap.before, error))
		goto failed;
	if (!(lap.before.features & KVM_SPF_F_COUNTERS)) {
		fail(error, STATUS_RUN_FAILED, "this host's kernel does not count faults");
		goto failed;
	}
	if (run(command, &lap, error))
		goto failed;
	/* The command's status goes on, whatever becomes of the figures. */
	if (device__collect(device, false, &lap.after, error)) {
		error__print(error);
		return exit_status(lap.status);
	}
	device__warn_stale(&lap.after);
	if (!snapshot__minus(&lap.after, &lap.before, &delta))
		fputs("spf-agent: the machine was reset or migrated meanwhile: no figures\n", stderr);
	else if (json)
		report_json(out, &lap, &delta);
	else
		report_text(out, &lap, &delta);
	return exit_status(lap.status);
failed:
	error__print(error);
	return STATUS_RUN_FAILED;
}

int cmd_run(const struct globals *globals, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "output", required_argument, NULL, 'o' },
		{}
	};
	const char *output = NULL;
	struct device device;
	struct error error;
	FILE *out = stderr;
	bool json = false;
	int option, status;

	while ((option = getopt_long(argc, argv, "+jo:", options, NULL)) != -1) {
		switch (option) {
		case 'j':
			json = true;
			break;
		case 'o':
			output = optarg;
			break;
		default:
			usage__hint();
			return STATUS_RUN_FAILED;
		}
	}
	if (optind == argc) {
		usage("run wants a command: spf-agent run -- COMMAND [ARGUMENT...]");
		return STATUS_RUN_FAILED;
	}
	if (device__open(&device, globals->device, &error)) {
		error__print(&error);
		return STATUS_RUN_FAILED;
	}
	if (output)
		out = fopen(output, "we");
	if (out) {
		status = measure(&device, argv + optind, json, out, &error);
	} else {
		fail(&error, STATUS_RUN_FAILED, "cannot write %s: %s", output, strerror(errno));
		status = error__print(&error);
	}
	if (out && out != stderr && fclose(out)) {
		fail(&error, STATUS_RUN_FAILED, "cannot write %s: %s", output, strerror(errno));
		error__print(&error);
	}
	device__close(&device);
	return status;
}
