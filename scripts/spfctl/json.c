// SPDX-License-Identifier: GPL-2.0-or-later
/* The totals of all VMs as one JSON object; spfctl.1 describes it. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "output.h"

enum { SCHEMA_VERSION = 2 };

static void add(struct json_object *object, const char *name, uint64_t value)
{
	json_object_object_add(object, name, json_object_new_uint64(value));
}

static void add_text(struct json_object *object, const char *name, const char *text)
{
	json_object_object_add(object, name, json_object_new_string(text));
}

static void add_named(struct json_object *object, const char *name, const uint64_t *values, const char *const *names,
		      size_t count)
{
	struct json_object *inner = json_object_new_object();

	for (size_t i = 0; i < count; i++)
		add(inner, names[i], values[i]);
	json_object_object_add(object, name, inner);
}

static void add_latency(struct json_object *object, const struct counters *counters, bool has_hist)
{
	struct json_object *inner = json_object_new_object(), *buckets;

	add(inner, "sum-ns", counters->ns_sum);
	add(inner, "max-ns", counters->ns_max);
	json_object_object_add(object, "latency", inner);
	if (!has_hist)
		return;
	add(inner, "count", latency_count(counters));
	add(inner, "p50-ns", latency_percentile(counters, 50));
	add(inner, "p99-ns", latency_percentile(counters, 99));
	buckets = json_object_new_array();
	for (size_t b = 0; b < NR_BUCKETS; b++)
		json_object_array_add(buckets, json_object_new_uint64(counters->hist[b]));
	json_object_object_add(inner, "buckets", buckets);
}

static void add_counters(struct json_object *object, const struct counters *counters, bool has_hist)
{
	add_named(object, "faults", counters->faults, tier_names, NR_TIERS);
	add_named(object, "aborts", counters->aborts, abort_names, NR_ABORTS);
	add_latency(object, counters, has_hist);
}

static void add_vcpus(struct json_object *object, const struct snapshot *snapshot)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < snapshot->nr_each; i++) {
		struct json_object *vcpu = json_object_new_object();

		add(vcpu, "index", snapshot->vcpus[i].index);
		add_counters(vcpu, &snapshot->vcpus[i].counters, snapshot->has_hist);
		json_object_array_add(list, vcpu);
	}
	json_object_object_add(object, "per-vcpu", list);
}

static struct json_object *from_vm(const struct vm *vm, bool per_vcpu)
{
	struct json_object *object = json_object_new_object();
	/* A path need not be UTF-8. */
	char *source = must_copy_printable(vm->where);

	add_text(object, "domain", vm->name);
	add_text(object, "source", source);
	free(source);
	if (*vm->uuid)
		add_text(object, "uuid", vm->uuid);
	if (vm->identity.pid)
		add(object, "pid", (uint64_t)vm->identity.pid);
	if (!vm->has_now) {
		add_text(object, "error", vm->why.text);
		return object;
	}
	json_object_object_add(object, "available", json_object_new_boolean(vm->now.available));
	if (vm->now.mode != MODE_UNKNOWN)
		add_text(object, "mode", mode_name(vm->now.mode));
	add(object, "host-ns", vm->now.host_ns);
	add(object, "vcpus", vm->now.nr_vcpus);
	add_counters(object, &vm->now.total, vm->now.has_hist);
	if (per_vcpu)
		add_vcpus(object, &vm->now);
	return object;
}

void json_print(const struct vm *vms, bool per_vcpu)
{
	struct json_object *all = json_object_new_object(), *array = json_object_new_array();

	add_text(all, "schema", "kvmspf-vms");
	json_object_object_add(all, "schema_version", json_object_new_int(SCHEMA_VERSION));
	for (; vms; vms = vms->next) {
		if (vms->wanted)
			json_object_array_add(array, from_vm(vms, per_vcpu));
	}
	json_object_object_add(all, "vms", array);
	puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(all);
}
