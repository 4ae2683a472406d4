// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libvirt passes on KVM's binary statistics of each vCPU, as vcpu.N.hva_fault_fast.sum for example.  It asks for them by
 * QMP's query-stats, in its own name, and so does not call the domain tainted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "domain-stats.h"

static bool value_of(const virTypedParameter *param, uint64_t *value)
{
	switch (param->type) {
	case VIR_TYPED_PARAM_UINT:
		*value = param->value.ui;
		return true;
	case VIR_TYPED_PARAM_LLONG:
		*value = (uint64_t)param->value.l;
		return param->value.l >= 0;
	case VIR_TYPED_PARAM_ULLONG:
		*value = param->value.ul;
		return true;
	default:
		return false;
	}
}

/* libvirt appends ".sum" to the names of KVM's counters. */
#define TIER_FIELD(name, qmp, kvm)	"hva_fault_" kvm ".sum",
#define ABORT_FIELD(name, qmp, kvm)	"spf_abort_" kvm ".sum",

static bool take_one_of(uint64_t *counters, const char *const *fields, size_t count, const char *field, uint64_t value)
{
	for (size_t i = 0; i < count; i++) {
		if (!strcmp(field, fields[i])) {
			counters[i] = value;
			return true;
		}
	}
	return false;
}

/* Whether @field counts faults or aborts. */
static bool take(struct counters *counters, const char *field, uint64_t value)
{
	static const char *const tiers[] = { EACH_FAULT_TIER(TIER_FIELD) };
	static const char *const aborts[] = { EACH_FAULT_ABORT(ABORT_FIELD) };

	if (take_one_of(counters->faults, tiers, NR_TIERS, field, value) ||
	    take_one_of(counters->aborts, aborts, NR_ABORTS, field, value))
		return true;
	if (!strcmp(field, "hva_fault_ns_sum.sum"))
		counters->ns_sum = value;
	else if (!strcmp(field, "hva_fault_ns_max.max"))
		counters->ns_max = value;
	return false;
}

static struct counters *counters_of(struct snapshot *snapshot, uint64_t index)
{
	for (size_t i = 0; i < snapshot->nr_each; i++) {
		if (snapshot->vcpus[i].index == index)
			return &snapshot->vcpus[i].counters;
	}
	snapshot->vcpus = must_grow(snapshot->vcpus, (snapshot->nr_each + 1) * sizeof(*snapshot->vcpus));
	memset(&snapshot->vcpus[snapshot->nr_each], 0, sizeof(*snapshot->vcpus));
	snapshot->vcpus[snapshot->nr_each].index = index;
	return &snapshot->vcpus[snapshot->nr_each++].counters;
}

static void add_up(struct snapshot *snapshot)
{
	struct counters *total = &snapshot->total;

	for (size_t i = 0; i < snapshot->nr_each; i++) {
		const struct counters *one = &snapshot->vcpus[i].counters;

		for (size_t t = 0; t < NR_TIERS; t++)
			total->faults[t] += one->faults[t];
		for (size_t a = 0; a < NR_ABORTS; a++)
			total->aborts[a] += one->aborts[a];
		total->ns_sum += one->ns_sum;
		if (one->ns_max > total->ns_max)
			total->ns_max = one->ns_max;
	}
}

int stats_to_snapshot(struct snapshot *snapshot, const virDomainStatsRecord *record, struct why *why)
{
	size_t ours = 0, of_kvm = 0;

	*snapshot = (struct snapshot){ .mode = MODE_UNKNOWN, .host_ns = clock__ns() };
	for (int i = 0; i < record->nparams; i++) {
		const char *name = record->params[i].field;
		uint64_t value;
		char *end;

		if (!value_of(&record->params[i], &value))
			continue;
		if (!strcmp(name, "vcpu.current"))
			snapshot->nr_vcpus = value;
		if (strncmp(name, "vcpu.", 5) != 0)
			continue;
		unsigned long index = strtoul(name + 5, &end, 10);

		if (end == name + 5 || *end != '.')
			continue;
		/* libvirt's own have no suffix. */
		of_kvm += !!strstr(end, ".sum");
		ours += take(counters_of(snapshot, index), end + 1, value);
	}
	add_up(snapshot);
	snapshot->available = ours;
	if (ours || of_kvm)
		return 0;
	free(snapshot->vcpus);
	*snapshot = (struct snapshot){ 0 };
	return fail(why, "libvirt has no statistics of KVM for it; --monitor asks its QEMU itself, and taints it");
}
