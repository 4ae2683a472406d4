// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * All VMs in Prometheus' text format, for node_exporter's textfile collector.  Not in OpenMetrics': there, TYPE names a
 * counter without its _total, and the collector then takes it for untyped.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"

static void label(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s=\"", name);
	for (const char *c = value; *c; c++) {
		if (*c == '\n')
			fputs("\\n", out);
		else if (*c == '"' || *c == '\\')
			fprintf(out, "\\%c", *c);
		else
			fputc(*c, out);
	}
	fputc('"', out);
}

/*
 * NAME{domain="...",source="..." : the caller goes on with a comma, or closes the brace.  Both are known without asking,
 * so that a VM that does not answer keeps its series.
 */
static void sample(FILE *out, const char *name, const struct vm *vm)
{
	/* A path need not be UTF-8. */
	char *source = must_copy_printable(vm->where);

	fprintf(out, "%s{", name);
	label(out, "domain", vm->label);
	fputc(',', out);
	label(out, "source", source);
	free(source);
}

static void up(FILE *out, const struct vm *vm)
{
	sample(out, "kvmspf_up", vm);
	fprintf(out, "} %d\n", vm->has_now);
}

static void info(FILE *out, const struct vm *vm)
{
	sample(out, "kvmspf_info", vm);
	fputc(',', out);
	label(out, "name", vm->name);
	fputc(',', out);
	label(out, "uuid", vm->uuid);
	fputs("} 1\n", out);
}

static void available(FILE *out, const struct vm *vm)
{
	sample(out, "kvmspf_available", vm);
	fprintf(out, "} %d\n", vm->now.available);
}

static void vcpus(FILE *out, const struct vm *vm)
{
	sample(out, "kvmspf_vcpus", vm);
	fprintf(out, "} %lu\n", vm->now.nr_vcpus);
}

static void mode(FILE *out, const struct vm *vm)
{
	for (int i = 0; vm->now.mode != MODE_UNKNOWN && i < NR_MODES; i++) {
		sample(out, "kvmspf_mode", vm);
		fprintf(out, ",mode=\"%s\"} %d\n", mode_names[i], vm->now.mode == i);
	}
}

static void faults(FILE *out, const struct vm *vm)
{
	for (size_t i = 0; i < NR_TIERS; i++) {
		sample(out, "kvmspf_faults_total", vm);
		fprintf(out, ",tier=\"%s\"} %lu\n", tier_names[i], vm->now.total.faults[i]);
	}
}

static void aborts(FILE *out, const struct vm *vm)
{
	for (size_t i = 0; i < NR_ABORTS; i++) {
		sample(out, "kvmspf_aborts_total", vm);
		fprintf(out, ",reason=\"%s\"} %lu\n", abort_names[i], vm->now.total.aborts[i]);
	}
}

static void latency(FILE *out, const struct vm *vm)
{
	uint64_t sum = 0;

	/* libvirt's statistics have no histograms. */
	if (!vm->now.has_hist)
		return;
	/* "le" includes its bound, and ours are whole nanoseconds.  The last bucket has no bound. */
	for (size_t b = 0; b < NR_BUCKETS - 1; b++) {
		sum += vm->now.total.hist[b];
		sample(out, "kvmspf_fault_latency_seconds_bucket", vm);
		fprintf(out, ",le=\"%.10g\"} %lu\n", (double)((UINT64_C(1) << b) - 1) / 1e9, sum);
	}
	sample(out, "kvmspf_fault_latency_seconds_bucket", vm);
	fprintf(out, ",le=\"+Inf\"} %lu\n", latency_count(&vm->now.total));
	sample(out, "kvmspf_fault_latency_seconds_count", vm);
	fprintf(out, "} %lu\n", latency_count(&vm->now.total));
	sample(out, "kvmspf_fault_latency_seconds_sum", vm);
	fprintf(out, "} %.9f\n", (double)vm->now.total.ns_sum / 1e9);
}

static void seconds(FILE *out, const struct vm *vm)
{
	sample(out, "kvmspf_fault_seconds_total", vm);
	fprintf(out, "} %.9f\n", (double)vm->now.total.ns_sum / 1e9);
}

static void longest(FILE *out, const struct vm *vm)
{
	sample(out, "kvmspf_fault_latency_max_seconds", vm);
	fprintf(out, "} %.9f\n", (double)vm->now.total.ns_max / 1e9);
}

static const struct {
	const char *name;
	const char *type;
	const char *help;
	void (*print)(FILE *out, const struct vm *vm);
	bool even_if_down;
} metrics[] = {
	{ "kvmspf_up", "gauge", "Did the VM answer?", up, true },
	{ "kvmspf_info", "gauge", "What QEMU calls the VM.", info, false },
	{ "kvmspf_available", "gauge", "Does the host's kernel count faults by tier?", available, false },
	{ "kvmspf_vcpus", "gauge", "vCPUs of the VM.", vcpus, false },
	{ "kvmspf_mode", "gauge", "1 for the mode that the VM is in.", mode, false },
	{ "kvmspf_faults_total", "counter", "Faults of guest memory, by what resolved them.", faults, false },
	{ "kvmspf_aborts_total", "counter", "Speculation given up, by reason.", aborts, false },
	{ "kvmspf_fault_seconds_total", "counter", "Time that faults took in the host.", seconds, false },
	{ "kvmspf_fault_latency_seconds", "histogram", "How long a fault took in the host.", latency, false },
	{ "kvmspf_fault_latency_max_seconds", "gauge", "The longest since the vCPU was made.", longest, false },
};

/* A VM that is still being started has no series yet: one of "up" that is 0 would raise an alarm. */
static bool has_series(const struct vm *vm, bool even_if_down)
{
	return vm->wanted && (vm->has_now || (even_if_down && !vm->why.passes));
}

/* If libvirt is mute, its domains have no series at all. */
static void libvirt_up(FILE *out)
{
	if (vms_libvirt() == LIBVIRT_NOT_ASKED)
		return;
	fputs("# HELP kvmspf_libvirt_up Did libvirt list its domains?\n# TYPE kvmspf_libvirt_up gauge\n", out);
	fprintf(out, "kvmspf_libvirt_up %d\n", vms_libvirt() == LIBVIRT_ANSWERED);
}

static void print_all(FILE *out, const struct vm *vms)
{
	libvirt_up(out);
	for (size_t i = 0; i < ARRAY_SIZE(metrics); i++) {
		fprintf(out, "# HELP %s %s\n", metrics[i].name, metrics[i].help);
		fprintf(out, "# TYPE %s %s\n", metrics[i].name, metrics[i].type);
		for (const struct vm *vm = vms; vm; vm = vm->next) {
			if (has_series(vm, metrics[i].even_if_down))
				metrics[i].print(out, vm);
		}
	}
}

/* A reader sees the old file or the new one, never a part. */
static void replace(const struct vm *vms, const char *path)
{
	char *temporary = must_allocate(strlen(path) + sizeof(".XXXXXX"));
	int fd, status = -1;
	FILE *out;

	stpcpy(stpcpy(temporary, path), ".XXXXXX");
	fd = mkstemp(temporary);
	out = fd < 0 ? NULL : fdopen(fd, "w");
	if (out) {
		print_all(out, vms);
		/* mkstemp() keeps others out, but the collector is another user. */
		status = fchmod(fd, 0644) | fflush(out) | ferror(out);
		status = (fclose(out) || status) ? -1 : rename(temporary, path);
	}
	if (status)
		complain(path, "cannot be written: %s", strerror(errno));
	if (status && fd >= 0)
		unlink(temporary);
	free(temporary);
}

void prometheus_write(const struct vm *vms, const char *path)
{
	if (!strcmp(path, "-"))
		print_all(stdout, vms);
	else
		replace(vms, path);
}
