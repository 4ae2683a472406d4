// SPDX-License-Identifier: GPL-2.0-or-later
/* Lines of the table, and of CSV: rates, sorted and added up. */
#include <stdlib.h>
#include <string.h>

#include "output.h"

static struct row *add_row(struct rows *rows)
{
	rows->row = must_grow(rows->row, (rows->count + 1) * sizeof(*rows->row));
	return memset(&rows->row[rows->count++], 0, sizeof(*rows->row));
}

double row_aborts(const struct row *row)
{
	double sum = 0;

	for (size_t i = 0; i < NR_ABORTS; i++)
		sum += row->aborts[i];
	return sum;
}

static void fill(struct row *row, const struct counters *now, const struct counters *before)
{
	const struct vm *vm = row->vm;

	row->has_hist = vm->now.has_hist;
	row->state = ROW_ANEW;
	if (!vm->now.available) {
		row->state = ROW_NOT_COUNTED;
		return;
	}
	if (!vm->has_before || !before || vm->now.host_ns <= vm->before.host_ns ||
	    !counters_minus(&row->delta, now, before))
		return;
	row->state = ROW_RATES;
	row->seconds = (double)(vm->now.host_ns - vm->before.host_ns) / 1e9;
	for (size_t i = 0; i < NR_TIERS; i++)
		row->faults[i] = (double)row->delta.faults[i] / row->seconds;
	for (size_t i = 0; i < NR_ABORTS; i++)
		row->aborts[i] = (double)row->delta.aborts[i] / row->seconds;
}

static void add_vm(struct rows *rows, const struct vm *vm, const struct vm *vms)
{
	struct row *row = add_row(rows);

	row->vm = vm;
	row->name = vm_shown_as(vm, vms);
	if (vm->has_now)
		fill(row, &vm->now.total, &vm->before.total);
	else
		row->state = ROW_NO_ANSWER;
}

static void add_vcpus(struct rows *rows, const struct vm *vm, const char *name)
{
	for (size_t i = 0; vm->has_now && vm->now.available && i < vm->now.nr_each; i++) {
		const struct vcpu *vcpu = &vm->now.vcpus[i];
		const struct vcpu *before = snapshot_vcpu(&vm->before, vcpu->index);
		struct row *row = add_row(rows);

		row->vm = vm;
		row->vcpu = vcpu;
		row->name = name;
		fill(row, &vcpu->counters, before ? &before->counters : NULL);
	}
}

static void add_total(struct rows *rows, size_t nr_vms)
{
	struct row *total = add_row(rows);

	total->name = "total";
	total->state = ROW_RATES;
	total->has_hist = true;
	for (const struct row *row = rows->row; row < rows->row + nr_vms; row++) {
		if (row->state != ROW_RATES)
			continue;
		for (size_t i = 0; i < NR_TIERS; i++)
			total->faults[i] += row->faults[i];
		for (size_t i = 0; i < NR_ABORTS; i++) {
			total->aborts[i] += row->aborts[i];
			total->delta.aborts[i] += row->delta.aborts[i];
		}
		for (size_t b = 0; b < NR_BUCKETS; b++)
			total->delta.hist[b] += row->delta.hist[b];
		if (row->delta.ns_max > total->delta.ns_max)
			total->delta.ns_max = row->delta.ns_max;
		total->has_hist &= row->has_hist;
	}
}

/* Rows without rates come last. */
static double key(const struct row *row, enum column column)
{
	if (row->state != ROW_RATES)
		return -1;
	switch (column) {
	case BY_FAST:
	case BY_SPECULATIVE:
	case BY_VMA_LOCK:
	case BY_MMAP_LOCK:
		return row->faults[column - BY_FAST];
	case BY_ABORTS:
		return row_aborts(row);
	case BY_P99:
		return (double)latency_percentile(&row->delta, 99);
	case BY_MAX:
		return (double)row->delta.ns_max;
	default:
		return 0;
	}
}

static int compare(const void *left, const void *right, void *arg)
{
	const struct settings *settings = arg;
	const struct row *a = left, *b = right;
	double x = key(a, settings->sort), y = key(b, settings->sort);
	int order;

	if (settings->sort != BY_VM && x != y)
		return x < y ? 1 : -1;
	if (a->vcpu && b->vcpu)
		return a->vcpu->index < b->vcpu->index ? -1 : a->vcpu->index > b->vcpu->index;
	order = strcmp(a->name, b->name);
	return order ? order : strcmp(a->vm->where, b->vm->where);
}

static void sort(struct row *row, size_t count, const struct settings *settings)
{
	if (settings->sort != BY_NOTHING && count)
		qsort_r(row, count, sizeof(*row), compare, (void *)settings);
}

struct rows rows_make(const struct vm *vms, const struct settings *settings)
{
	struct rows totals = { NULL, 0 }, all = { NULL, 0 };

	for (const struct vm *vm = vms; vm; vm = vm->next) {
		if (vm->wanted)
			add_vm(&totals, vm, vms);
	}
	sort(totals.row, totals.count, settings);
	if (settings->total)
		add_total(&totals, totals.count);
	if (!settings->per_vcpu)
		return totals;
	for (size_t i = 0; i < totals.count; i++) {
		size_t first = all.count + 1;

		*add_row(&all) = totals.row[i];
		if (!totals.row[i].vm)
			continue;
		add_vcpus(&all, totals.row[i].vm, totals.row[i].name);
		sort(all.row + first, all.count - first, settings);
	}
	free(totals.row);
	return all;
}
