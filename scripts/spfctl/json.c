// SPDX-License-Identifier: GPL-2.0-or-later
/* The totals of all VMs as one JSON object; docs/operating.md describes it. */
#include <json-c/json.h>
#include <stdlib.h>

#include "spfctl.h"

static void add(struct json_object *object, const char *name, uint64_t value)
{
	json_object_object_add(object, name, json_object_new_uint64(value));
}

static void add_named(struct json_object *object, const char *name, const uint64_t *values, const char *const *names,
		      size_t count)
{
	struct json_object *inner = json_object_new_object();

	for (size_t i = 0; i < count; i++)
		add(inner, names[i], values[i]);
	json_object_object_add(object, name, inner);
}

static void add_latency(struct json_object *object, const struct snapshot *snapshot)
{
	struct json_object *inner = json_object_new_object(), *buckets = json_object_new_array();

	add(inner, "count", latency_count(snapshot));
	add(inner, "sum-ns", snapshot->ns_sum);
	add(inner, "max-ns", snapshot->ns_max);
	add(inner, "p50-ns", latency_percentile(snapshot, 50));
	add(inner, "p99-ns", latency_percentile(snapshot, 99));
	for (size_t b = 0; b < NR_BUCKETS; b++)
		json_object_array_add(buckets, json_object_new_uint64(snapshot->hist[b]));
	json_object_object_add(inner, "buckets", buckets);
	json_object_object_add(object, "latency", inner);
}

static struct json_object *from_vm(const struct vm *vm)
{
	struct json_object *object = json_object_new_object();
	/* A path may hold what is no UTF-8. */
	char *source = must_copy_printable(vm->where);

	json_object_object_add(object, "domain", json_object_new_string(vm->name));
	json_object_object_add(object, "source", json_object_new_string(source));
	free(source);
	if (!vm->has_now) {
		json_object_object_add(object, "error", json_object_new_string(vm->why.text));
		return object;
	}
	json_object_object_add(object, "available", json_object_new_boolean(vm->now.available));
	json_object_object_add(object, "mode", json_object_new_string(mode_names[vm->now.mode]));
	add(object, "host-ns", vm->now.host_ns);
	add(object, "vcpus", vm->now.vcpus);
	add_named(object, "faults", vm->now.faults, tier_names, NR_TIERS);
	add_named(object, "aborts", vm->now.aborts, abort_names, NR_ABORTS);
	add_latency(object, &vm->now);
	return object;
}

void json_print(const struct vm *vms)
{
	struct json_object *all = json_object_new_object(), *array = json_object_new_array();

	json_object_object_add(all, "schema", json_object_new_string("kvmspf-vms"));
	json_object_object_add(all, "schema_version", json_object_new_int(1));
	for (; vms; vms = vms->next) {
		if (vms->wanted)
			json_object_array_add(array, from_vm(vms));
	}
	json_object_object_add(all, "vms", array);
	puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(all);
}
