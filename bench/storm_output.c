// SPDX-License-Identifier: GPL-2.0-or-later
#include "storm_output.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "neighbours.h"

struct storm_output {
	const struct storm *storm;
	const char *file;
	bool table;
	unsigned int lines;
	struct json_object *all, *runs;
};

static void put(struct json_object *object, const char *name, struct json_object *value)
{
	json_object_object_add(object, name, value);
}

static struct json_object *numbers(const char *const *names, const uint64_t *values, unsigned int count)
{
	struct json_object *object = json_object_new_object();

	for (unsigned int i = 0; i < count; i++)
		put(object, names[i], json_object_new_uint64(values[i]));
	return object;
}

struct storm_output *storm_output__new(const struct storm *storm, const char *order, const char *access,
				       const char *file)
{
	struct storm_output *report = calloc(1, sizeof(*report));
	struct json_object *config = json_object_new_object();
	struct utsname host;

	if (!report)
		abort();
	uname(&host);
	report->storm = storm;
	report->file = file;
	report->table = !file || strcmp(file, "-");
	report->all = json_object_new_object();
	report->runs = json_object_new_array();
	put(config, "vcpus", json_object_new_int(storm->vcpus));
	put(config, "size", json_object_new_uint64(storm->size));
	put(config, "stride", json_object_new_uint64(storm->stride));
	put(config, "order", json_object_new_string(order));
	put(config, "access", json_object_new_string(access));
	put(config, "backing", json_object_new_string(storm->backing));
	put(config, "numa", storm->numa ? json_object_new_string(storm->numa) : NULL);
	put(config, "prefault", json_object_new_boolean(storm->prefault));
	put(config, "holes", json_object_new_int(storm->holes));
	put(config, "pin", json_object_new_boolean(storm->pin));
	put(config, "middle", json_object_new_boolean(storm->middle));
	put(config, "seconds", storm->seconds ? json_object_new_int((int)storm->seconds) : NULL);
	put(report->all, "schema", json_object_new_int(1));
	put(report->all, "kernel", json_object_new_string(host.release));
	put(report->all, "machine", json_object_new_string(host.machine));
	put(report->all, "config", config);
	put(report->all, "runs", report->runs);
	return report;
}

static void print_stats(const struct fault_stats *stats)
{
	printf("  %-22s", "resolved by");
	for (int i = 0; i < FAULT_TIERS; i++)
		printf(" %s %lu", fault_tier_names[i], stats->tier[i]);
	puts("");
	printf("  %-22s", "not speculatively for");
	for (int i = 0; i < FAULT_ABORTS; i++)
		if (stats->abort[i])
			printf(" %s %lu", fault_abort_names[i], stats->abort[i]);
	puts("");
}

static void print(struct storm_output *report, const struct storm_result *result)
{
	if (!report->lines++)
		printf("%u vCPUs, %lu MiB of %s, stride %lu\n", report->storm->vcpus, report->storm->size >> 20,
		       report->storm->backing, report->storm->stride);
	printf("%-10s %lu touches in %.3f s: %.0f a second; %lu verified, %lu wrong, %lu EFAULT\n",
	       vmm_mode__name(result->mode), result->touched, result->seconds, result->rate,
	       result->verified, result->wrong, result->efaults);
	latency__print("touch", &result->latency);
	if (result->stats.known)
		print_stats(&result->stats);
	if (result->scheduled)
		printf("  %-22s on a CPU %.3f s, waiting for one %.3f s, blocked %.3f s\n", "vCPU threads",
		       result->running, result->waiting, result->blocked);
	neighbours__print(report->storm->neighbours);
	fflush(stdout);
}

static struct json_object *kernel_json(const struct fault_stats *stats)
{
	struct json_object *object = json_object_new_object(), *hist = json_object_new_array();

	put(object, "ns_sum", json_object_new_uint64(stats->ns_sum));
	put(object, "ns_max", json_object_new_uint64(stats->ns_max));
	for (int i = 0; i < FAULT_HIST; i++)
		json_object_array_add(hist, json_object_new_uint64(stats->ns_hist[i]));
	put(object, "ns_hist_log2", hist);
	return object;
}

void storm_output__add(struct storm_output *report, const struct storm_result *result)
{
	struct json_object *run = json_object_new_object();
	const struct fault_stats *stats = &result->stats;
	uint64_t faults = 0;

	for (int i = 0; i < FAULT_TIERS; i++)
		faults += stats->tier[i];
	put(run, "mode", json_object_new_string(vmm_mode__name(result->mode)));
	put(run, "seconds", json_object_new_double(result->seconds));
	put(run, "touched", json_object_new_uint64(result->touched));
	put(run, "rate", json_object_new_double(result->rate));
	put(run, "verified", json_object_new_uint64(result->verified));
	put(run, "wrong", json_object_new_uint64(result->wrong));
	put(run, "efaults", json_object_new_uint64(result->efaults));
	/* A kernel without the series has no such counters. */
	put(run, "faults", stats->known ? json_object_new_uint64(faults) : NULL);
	put(run, "tiers", stats->known ? numbers(fault_tier_names, stats->tier, FAULT_TIERS) : NULL);
	put(run, "aborts", stats->known ? numbers(fault_abort_names, stats->abort, FAULT_ABORTS) : NULL);
	put(run, "kernel", stats->known ? kernel_json(stats) : NULL);
	put(run, "latency_ns", latency__json(&result->latency));
	put(run, "running_s", result->scheduled ? json_object_new_double(result->running) : NULL);
	put(run, "waiting_s", result->scheduled ? json_object_new_double(result->waiting) : NULL);
	put(run, "blocked_s", result->scheduled ? json_object_new_double(result->blocked) : NULL);
	put(run, "neighbours", neighbours__json(report->storm->neighbours));
	json_object_array_add(report->runs, run);
	if (report->table)
		print(report, result);
}

int storm_output__end(struct storm_output *report)
{
	int status = 0;

	if (report->file && !report->table)
		puts(json_object_to_json_string_ext(report->all, JSON_C_TO_STRING_PRETTY));
	else if (report->file && json_object_to_file_ext(report->file, report->all, JSON_C_TO_STRING_PRETTY))
		status = -1;
	if (status)
		fprintf(stderr, "cannot write %s: %s\n", report->file, json_util_get_last_err());
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "cannot write to standard output: %s\n", strerror(errno));
		status = -1;
	}
	json_object_put(report->all);
	free(report);
	return status;
}
