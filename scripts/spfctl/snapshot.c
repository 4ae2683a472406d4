// SPDX-License-Identifier: GPL-2.0-or-later
/* Check the answer to query-kvm-spf, and compute with it. */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

const char *const tier_names[NR_TIERS] = { EACH_FAULT_TIER(FAULT_QMP_NAME) };
const char *const abort_names[NR_ABORTS] = { EACH_FAULT_ABORT(FAULT_QMP_NAME) };
/* The first NR_CHOICES can be set. */
const char *const mode_names[NR_MODES] = { "off", "vma-lock", "on", "unavailable", "unknown" };

const char *mode_name(int mode)
{
	return mode == MODE_UNKNOWN ? "-" : mode_names[mode];
}

/* Without an object, the caller's search for it has set @why. */
static struct json_object *member(struct json_object *object, const char *name, enum json_type type, struct why *why)
{
	struct json_object *found;

	if (!object)
		return NULL;
	if (json_object_object_get_ex(object, name, &found) && json_object_is_type(found, type))
		return found;
	fail(why, "its answer to query-kvm-spf has no valid %s", name);
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
			return fail(why, "its answer to query-kvm-spf has buckets that are no counts");
		hist[i < NR_BUCKETS ? i : NR_BUCKETS - 1] += json_object_get_uint64(bucket);
	}
	return 0;
}

static int parse_counters(struct counters *counters, struct json_object *object, struct why *why)
{
	struct json_object *latency;

	if (numbers(counters->faults, tier_names, NR_TIERS, member(object, "faults", json_type_object, why), why) ||
	    numbers(counters->aborts, abort_names, NR_ABORTS, member(object, "aborts", json_type_object, why), why))
		return -1;
	latency = member(object, "latency", json_type_object, why);
	if (number(&counters->ns_sum, latency, "sum-ns", why) || number(&counters->ns_max, latency, "max-ns", why))
		return -1;
	return histogram(counters->hist, latency, why);
}

static int parse_mode(int *mode, struct json_object *answer, struct why *why)
{
	struct json_object *found = member(answer, "mode", json_type_string, why);

	for (*mode = 0; found && *mode < NR_MODES; ++*mode) {
		if (!strcmp(json_object_get_string(found), mode_names[*mode]))
			return 0;
	}
	return found ? fail(why, "its mode '%.32s' is unknown", json_object_get_string(found)) : -1;
}

static int parse_vcpus(struct snapshot *snapshot, struct json_object *answer, struct why *why)
{
	struct json_object *list;
	size_t count;

	/* We did not ask for them. */
	if (!json_object_object_get_ex(answer, "per-vcpu", NULL))
		return 0;
	list = member(answer, "per-vcpu", json_type_array, why);
	if (!list)
		return -1;
	count = json_object_array_length(list);
	for (; snapshot->nr_each < count; snapshot->nr_each++) {
		struct json_object *object = json_object_array_get_idx(list, snapshot->nr_each);
		struct vcpu *vcpu;

		if (!json_object_is_type(object, json_type_object))
			return fail(why, "its answer to query-kvm-spf has no valid per-vcpu");
		/* One by one: a short text may have many elements that are no vCPU. */
		snapshot->vcpus = must_grow(snapshot->vcpus, (snapshot->nr_each + 1) * sizeof(*snapshot->vcpus));
		vcpu = &snapshot->vcpus[snapshot->nr_each];
		memset(vcpu, 0, sizeof(*vcpu));
		if (number(&vcpu->index, object, "index", why) || parse_counters(&vcpu->counters, object, why))
			return -1;
	}
	return 0;
}

int snapshot_parse(struct snapshot *snapshot, struct json_object *answer, struct why *why)
{
	struct json_object *available = member(answer, "available", json_type_boolean, why);

	memset(snapshot, 0, sizeof(*snapshot));
	if (!available || parse_mode(&snapshot->mode, answer, why) ||
	    number(&snapshot->host_ns, answer, "host-ns", why) || number(&snapshot->nr_vcpus, answer, "vcpus", why) ||
	    parse_counters(&snapshot->total, answer, why) || parse_vcpus(snapshot, answer, why))
		return -1;
	snapshot->available = json_object_get_boolean(available);
	snapshot->has_hist = true;
	return 0;
}

void snapshot_free(struct snapshot *snapshot)
{
	free(snapshot->vcpus);
	memset(snapshot, 0, sizeof(*snapshot));
}

const struct vcpu *snapshot_vcpu(const struct snapshot *snapshot, uint64_t index)
{
	for (size_t i = 0; i < snapshot->nr_each; i++) {
		if (snapshot->vcpus[i].index == index)
			return &snapshot->vcpus[i];
	}
	return NULL;
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

bool counters_minus(struct counters *delta, const struct counters *now, const struct counters *before)
{
	*delta = *now;
	return subtract(&delta->ns_sum, &now->ns_sum, &before->ns_sum, 1) &&
	       subtract(delta->faults, now->faults, before->faults, NR_TIERS) &&
	       subtract(delta->aborts, now->aborts, before->aborts, NR_ABORTS) &&
	       subtract(delta->hist, now->hist, before->hist, NR_BUCKETS);
}

uint64_t latency_count(const struct counters *counters)
{
	uint64_t count = 0;

	for (size_t b = 0; b < NR_BUCKETS; b++)
		count += counters->hist[b];
	return count;
}

uint64_t latency_percentile(const struct counters *counters, unsigned int percent)
{
	uint64_t count = latency_count(counters), seen = 0;
	double enough = (double)count * percent / 100;

	for (size_t b = 0; count && b < NR_BUCKETS - 1; b++) {
		seen += counters->hist[b];
		if ((double)seen >= enough)
			return (UINT64_C(1) << b) - 1;
	}
	return count ? counters->ns_max : 0;
}
