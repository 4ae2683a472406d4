/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM's report of its faults, and computations with it. */
#ifndef SPFCTL_SNAPSHOT_H
#define SPFCTL_SNAPSHOT_H

#include "fault_names.h"
#include "say.h"

struct json_object;

enum { NR_TIERS = FAULT_TIERS, NR_ABORTS = FAULT_ABORTS, NR_CHOICES = 3, NR_MODES = 5, NR_BUCKETS = 32, MODE_UNKNOWN = -1 };

/* As in QMP. */
extern const char *const tier_names[NR_TIERS];
extern const char *const abort_names[NR_ABORTS];
extern const char *const mode_names[NR_MODES];
/* "-" for MODE_UNKNOWN. */
const char *mode_name(int mode);

struct counters {
	uint64_t faults[NR_TIERS];
	uint64_t aborts[NR_ABORTS];
	uint64_t ns_sum;
	uint64_t ns_max;
	uint64_t hist[NR_BUCKETS];	/* bucket 0: 0 ns; b: [2^(b-1), 2^b) ns; the last also has all longer times */
};

struct vcpu {
	uint64_t index;
	struct counters counters;
};

struct snapshot {
	bool available;			/* the host's kernel counts */
	bool has_hist;			/* libvirt's statistics have no histograms */
	int mode;
	uint64_t nr_vcpus;
	uint64_t host_ns;		/* the monotonic clock when it was taken */
	struct counters total;
	struct vcpu *vcpus;		/* each, if we asked for them and the VM sent them */
	size_t nr_each;
};

/* Parse an answer to query-kvm-spf.  The caller frees the snapshot, on failure, too. */
int snapshot_parse(struct snapshot *snapshot, struct json_object *answer, struct why *why);
void snapshot_free(struct snapshot *snapshot);

/* The vCPU with this index, or NULL. */
const struct vcpu *snapshot_vcpu(const struct snapshot *snapshot, uint64_t index);

/* The difference from @before to @now; false if the counters have restarted since @before. */
bool counters_minus(struct counters *delta, const struct counters *now, const struct counters *before);

uint64_t latency_count(const struct counters *counters);

/* The time in ns that @percent of all timed faults did not exceed; 0 without any. */
uint64_t latency_percentile(const struct counters *counters, unsigned int percent);

#endif
