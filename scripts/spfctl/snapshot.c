// SPDX-License-Identifier: GPL-2.0-or-later
/* What query-kvm-spf answers, checked, and the arithmetic on it. */
#include <json-c/json.h>
#include <string.h>

#include "spfctl.h"

const char *const tier_names[NR_TIERS] = { "fast", "speculative", "vma-lock", "mmap-lock" };
const char *const abort_names[NR_ABORTS] = {
	"no-vma", "vma-busy", "vma-changed", "unsupported", "no-table", "ptl-busy", "pte-changed", "no-memory",
};
/* The first NR_CHOICES can be set. */
const char *const mode_names[NR_MODES] = { "off", "vma-lock", "on", "unavailable", "unknown" };

/* Without an object, whoever looked for that has said why. */
static struct json_object *member(struct json_object *object, const char *name, enum json_type type, struct why *why)
{
	struct json_object *found;

	if (!object)
		return NULL;
	if (json_object_object_get_ex(object, name, &found) && json_object_is_type(found, type))
		return found;
	fail(why, "its answer to query-kvm-spf has no %s as we know it", name);
	return NULL;
}

static int number(uint64_t *value, struct json_object *object, const char *name, struct why *why)
{
	struct json_object *found = member(object, name, json_type_int, why);

	if (!found)
		return -1;
	if (json_object_get_int64(found) < 0)
		return fail(why, "its answer to query-kvm-spf has a negative %s", name);
	*value = json_object_get_uint64(found);
	return 0;
}

static int numbers(uint64_t *values, const char *const *names, size_t count, struct json_object *object,
		   struct why *why)
{
	for (size_t i = 0; i < count; i++) {
		if (number(&values[i], object, names[i], why))
			return -1;
	}
	return 0;
}

static int histogram(uint64_t hist[NR_BUCKETS], struct json_object *latency, struct why *why)
{
	struct json_object *buckets = member(latency, "buckets", json_type_array, why);
	size_t count = buckets ? json_object_array_length(buckets) : 0;

	if (!buckets)
		return -1;
	for (size_t i = 0; i < count; i++) {
		struct json_object *bucket = json_object_array_get_idx(buckets, i);

		if (!json_object_is_type(bucket, json_type_int) || json_object_get_int64(bucket) < 0)
			return fail(why, "its answer to query-kvm-spf has buckets that do not count");
		hist[i < NR_BUCKETS ? i : NR_BUCKETS - 1] += json_object_get_uint64(bucket);
	}
	return 0;
}

static int parse_mode(int *mode, struct json_object *answer, struct why *why)
{
	struct json_object *found = member(answer, "mode", json_type_string, why);

	for (*mode = 0; found && *mode < NR_MODES; ++*mode) {
		if (!strcmp(json_object_get_string(found), mode_names[*mode]))
			return 0;
	}
	return found ? fail(why, "its mode is '%.32s', which we do not know", json_object_get_string(found)) : -1;
}

int snapshot_parse(struct snapshot *snapshot, struct json_object *answer, struct why *why)
{
	struct json_object *available = member(answer, "available", json_type_boolean, why);
	struct json_object *latency;
	uint64_t vcpus = 0;

	memset(snapshot, 0, sizeof(*snapshot));
	if (!available || parse_mode(&snapshot->mode, answer, why) ||
	    number(&snapshot->host_ns, answer, "host-ns", why) || number(&vcpus, answer, "vcpus", why) ||
	    numbers(snapshot->faults, tier_names, NR_TIERS, member(answer, "faults", json_type_object, why), why) ||
	    numbers(snapshot->aborts, abort_names, NR_ABORTS, member(answer, "aborts", json_type_object, why), why))
		return -1;
	latency = member(answer, "latency", json_type_object, why);
	if (number(&snapshot->ns_sum, latency, "sum-ns", why) || number(&snapshot->ns_max, latency, "max-ns", why) ||
	    histogram(snapshot->hist, latency, why))
		return -1;
	snapshot->available = json_object_get_boolean(available);
	snapshot->vcpus = (uint32_t)vcpus;
	return 0;
}

static bool subtract(uint64_t *delta, const uint64_t *now, const uint64_t *before, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (now[i] < before[i])
			return false;
		delta[i] = now[i] - before[i];
	}
	return true;
}

bool snapshot_minus(struct snapshot *delta, const struct snapshot *now, const struct snapshot *before)
{
	*delta = *now;
	return now->host_ns > before->host_ns && subtract(&delta->host_ns, &now->host_ns, &before->host_ns, 1) &&
	       subtract(&delta->ns_sum, &now->ns_sum, &before->ns_sum, 1) &&
	       subtract(delta->faults, now->faults, before->faults, NR_TIERS) &&
	       subtract(delta->aborts, now->aborts, before->aborts, NR_ABORTS) &&
	       subtract(delta->hist, now->hist, before->hist, NR_BUCKETS);
}

uint64_t latency_count(const struct snapshot *snapshot)
{
	uint64_t count = 0;

	for (size_t b = 0; b < NR_BUCKETS; b++)
		count += snapshot->hist[b];
	return count;
}

uint64_t latency_percentile(const struct snapshot *snapshot, unsigned int percent)
{
	uint64_t count = latency_count(snapshot), seen = 0;
	double enough = (double)count * percent / 100;

	for (size_t b = 0; count && b < NR_BUCKETS - 1; b++) {
		seen += snapshot->hist[b];
		if ((double)seen >= enough)
			return (UINT64_C(1) << b) - 1;
	}
	return count ? snapshot->ns_max : 0;
}
