// SPDX-License-Identifier: GPL-2.0-or-later
/* The table: the faults of each VM since the last table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

static const char *duration(uint64_t ns, char text[16])
{
	static const char *const units[] = { "ns", "us", "ms", "s" };
	double value = (double)ns;
	size_t unit = 0;

	while (value >= 1000 && unit < ARRAY_SIZE(units) - 1) {
		value /= 1000;
		unit++;
	}
	snprintf(text, 16, value < 10 && unit ? "%.1f%s" : "%.0f%s", value, units[unit]);
	return text;
}

/* The most frequent reason for giving up speculation. */
static const char *main_reason(const struct row *row)
{
	size_t most = 0;

	for (size_t i = 1; i < NR_ABORTS; i++) {
		if (row->aborts[i] > row->aborts[most])
			most = i;
	}
	return row->aborts[most] > 0 ? abort_names[most] : "-";
}

static void print_rates(const struct row *row)
{
	char p50[16], p99[16], max[16];

	for (size_t i = 0; i < NR_TIERS; i++)
		printf(" %11.0f", row->faults[i]);
	printf(" %9.0f %-11s", row_aborts(row), main_reason(row));
	if (row->has_hist && latency_count(&row->delta))
		printf(" %7s %7s", duration(latency_percentile(&row->delta, 50), p50),
		       duration(latency_percentile(&row->delta, 99), p99));
	else
		printf(" %7s %7s", "-", "-");
	printf(" %7s\n", duration(row->delta.ns_max, max));
}

static void print_row(const struct row *row, int width, const char *stamp)
{
	char *name = must_copy(row->name), vcpus[24] = "-";

	make_printable(name);
	printf("%s%-*s ", stamp, width, name);
	free(name);
	if (row->state == ROW_NO_ANSWER) {
		puts(row->vm->why.text);
		return;
	}
	if (row->vcpu)
		snprintf(vcpus, sizeof(vcpus), "#%lu", row->vcpu->index);
	else if (row->vm)
		snprintf(vcpus, sizeof(vcpus), "%lu", row->vm->now.nr_vcpus);
	printf("%-11s %5s", row->vm ? mode_name(row->vm->now.mode) : "-", vcpus);
	if (row->state == ROW_NOT_COUNTED)
		puts("  the host's kernel does not count");
	else if (row->state == ROW_ANEW)
		puts("  counting anew");
	else
		print_rates(row);
}

void table_print(const struct rows *rows, const struct settings *settings, bool with_head)
{
	/* The width only grows, so that columns rarely move.  Print the head again when they do. */
	static size_t width = 20;
	char stamp[40] = "", at[32];

	for (size_t i = 0; i < rows->count; i++) {
		if (strlen(rows->row[i].name) > width) {
			width = strlen(rows->row[i].name);
			with_head = true;
		}
	}
	if (with_head)
		printf("%s%-*s %-11s %5s %11s %11s %11s %11s %9s %-11s %7s %7s %7s\n",
		       settings->time ? "TIME                 " : "", (int)width, "VM", "MODE", "VCPUS", "FAST/s",
		       "SPECUL/s", "VMA-LOCK/s", "MMAP-LOCK/s", "ABORTS/s", "MAINLY", "P50", "P99", "MAX");
	if (settings->time)
		snprintf(stamp, sizeof(stamp), "%s ", time_stamp(at));
	for (size_t i = 0; i < rows->count; i++)
		print_row(&rows->row[i], (int)width, stamp);
}
