// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>

#include "fault_names.h"
#include "json.h"
#include "output.h"

const char *const tier_names[KVM_SPF_NR_TIERS] = { EACH_FAULT_TIER(FAULT_QMP_NAME) };
static const char *const abort_names[KVM_SPF_NR_ABORTS] = { EACH_FAULT_ABORT(FAULT_QMP_NAME) };

/* The device counts them in the same order. */
#define SAME_TIER(name, qmp, kvm)	_Static_assert((int)KVM_SPF_TIER_##name == (int)FAULT_TIER_##name, qmp);
#define SAME_ABORT(name, qmp, kvm)	_Static_assert((int)KVM_SPF_ABORT_##name == (int)FAULT_ABORT_##name, qmp);
EACH_FAULT_TIER(SAME_TIER)
EACH_FAULT_ABORT(SAME_ABORT)
_Static_assert((int)KVM_SPF_NR_TIERS == (int)FAULT_TIERS && (int)KVM_SPF_NR_ABORTS == (int)FAULT_ABORTS, "one is missing");

const char *mode_name(uint32_t mode)
{
	switch (mode) {
	case KVM_SPF_MODE_OFF:
		return "off";
	case KVM_SPF_MODE_VMA_LOCK:
		return "vma-lock";
	case KVM_SPF_MODE_ON:
		return "on";
	default:
		return "unavailable";
	}
}

static json_object *named(const char *const *names, const uint64_t *values, int count)
{
	json_object *object = json_object_new_object();

	for (int i = 0; i < count; i++)
		json_object_object_add(object, names[i], json_object_new_uint64(values[i]));
	return object;
}

static json_object *latency(const struct counters *c)
{
	json_object *object = json_object_new_object(), *buckets = json_object_new_array_ext(KVM_SPF_NS_BUCKETS);

	for (int i = 0; i < KVM_SPF_NS_BUCKETS; i++)
		json_object_array_add(buckets, json_object_new_uint64(c->ns_hist[i]));
	json_object_object_add(object, "count", json_object_new_uint64(c->ns_count));
	json_object_object_add(object, "sum-ns", json_object_new_uint64(c->ns_sum));
	json_object_object_add(object, "max-ns", json_object_new_uint64(c->ns_max));
	json_object_object_add(object, "buckets", buckets);
	return object;
}

void json__counters(json_object *object, const struct counters *c, uint64_t features)
{
	json_object_object_add(object, "faults", named(tier_names, c->tier, KVM_SPF_NR_TIERS));
	json_object_object_add(object, "aborts", named(abort_names, c->abort, KVM_SPF_NR_ABORTS));
	if (features & KVM_SPF_F_LATENCY)
		json_object_object_add(object, "latency", latency(c));
}

/* The device has events in 1000 s; a double holds them as events a second. */
static json_object *rates(const struct snapshot *s)
{
	json_object *object = json_object_new_object(), *part = json_object_new_object();
	const uint64_t *rate = s->rates;

	for (int i = 0; i < KVM_SPF_NR_TIERS; i++)
		json_object_object_add(part, tier_names[i], json_object_new_double((double)*rate++ / 1000));
	json_object_object_add(object, "interval-ns", json_object_new_uint64(s->interval_ns));
	json_object_object_add(object, "faults", part);
	part = json_object_new_object();
	for (int i = 0; i < KVM_SPF_NR_ABORTS; i++)
		json_object_object_add(part, abort_names[i], json_object_new_double((double)*rate++ / 1000));
	json_object_object_add(object, "aborts", part);
	return object;
}

static json_object *per_vcpu(const struct snapshot *s)
{
	json_object *array = json_object_new_array();

	for (uint32_t i = 0; i < s->nr_records; i++) {
		json_object *object = json_object_new_object();
		struct counters counters;

		json_object_object_add(object, "index", json_object_new_uint64(snapshot__record(s, i, &counters)));
		json__counters(object, &counters, s->features);
		json_object_array_add(array, object);
	}
	return array;
}

json_object *json__snapshot(const struct snapshot *s)
{
	json_object *object = json_object_new_object();

	json_object_object_add(object, "available", json_object_new_boolean(!!(s->features & KVM_SPF_F_COUNTERS)));
	json_object_object_add(object, "mode", json_object_new_string(mode_name(s->mode)));
	json_object_object_add(object, "host-ns", json_object_new_uint64(s->host_ns));
	json_object_object_add(object, "guest-ns", json_object_new_uint64(s->guest_ns));
	json_object_object_add(object, "vcpus", json_object_new_uint64(s->nr_vcpus));
	json_object_object_add(object, "epoch", json_object_new_uint64(s->epoch));
	json_object_object_add(object, "generation", json_object_new_uint64(s->generation));
	json__counters(object, &s->total, s->features);
	if (s->features & KVM_SPF_F_RATES)
		json_object_object_add(object, "rates", rates(s));
	if (s->nr_records)
		json_object_object_add(object, "per-vcpu", per_vcpu(s));
	if (s->stale)
		json_object_object_add(object, "stale", json_object_new_boolean(true));
	return object;
}

int json__print(json_object *object, struct error *error)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	json_object_put(object);
	return output__flush(error);
}
