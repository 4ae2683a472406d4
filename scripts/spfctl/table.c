// SPDX-License-Identifier: GPL-2.0-or-later
/* The table: what happened in each VM since the last one. */
#include <string.h>

#include "spfctl.h"

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

/* What speculation was given up for most often. */
static const char *main_reason(const struct snapshot *delta)
{
	size_t most = 0;

	for (size_t i = 1; i < NR_ABORTS; i++) {
		if (delta->aborts[i] > delta->aborts[most])
			most = i;
	}
	return delta->aborts[most] ? abort_names[most] : "-";
}

static void print_rates(const struct snapshot *delta)
{
	double seconds = (double)delta->host_ns / 1e9, aborts = 0;
	char p50[16], p99[16], max[16];

	for (size_t i = 0; i < NR_TIERS; i++)
		printf(" %11.0f", (double)delta->faults[i] / seconds);
	for (size_t i = 0; i < NR_ABORTS; i++)
		aborts += (double)delta->aborts[i];
	printf(" %9.0f %-11s", aborts / seconds, main_reason(delta));
	if (latency_count(delta))
		printf(" %7s %7s", duration(latency_percentile(delta, 50), p50),
		       duration(latency_percentile(delta, 99), p99));
	else
		printf(" %7s %7s", "-", "-");
	printf(" %7s\n", duration(delta->ns_max, max));
}

static void print_vm(const struct vm *vm)
{
	struct snapshot delta;
	char name[21];

	snprintf(name, sizeof(name), "%s", vm->name);
	make_printable(name);
	printf("%-20s ", name);
	if (!vm->has_now) {
		printf("%s\n", vm->why.text);
		return;
	}
	printf("%-11s %5u", mode_names[vm->now.mode], vm->now.vcpus);
	if (!vm->now.available)
		puts("  the host's kernel does not count");
	else if (vm->has_before && snapshot_minus(&delta, &vm->now, &vm->before))
		print_rates(&delta);
	else
		puts("  counting anew");
}

void table_print(const struct vm *vms, bool with_head)
{
	if (with_head)
		printf("%-20s %-11s %5s %11s %11s %11s %11s %9s %-11s %7s %7s %7s\n", "VM", "MODE", "VCPUS", "FAST/s",
		       "SPECUL/s", "VMA-LOCK/s", "MMAP-LOCK/s", "ABORTS/s", "MAINLY", "P50", "P99", "MAX");
	for (; vms; vms = vms->next) {
		if (vms->wanted)
			print_vm(vms);
	}
}
