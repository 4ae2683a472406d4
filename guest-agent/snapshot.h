/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parse a copy of the device's registers.
 */
#ifndef SPF_SNAPSHOT_H
#define SPF_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "kvm_spf_regs.h"

/* The bytes that every device of our version has; a shorter copy is refused. */
#define SNAPSHOT_MIN	KVM_SPF_RECORDS_OFF

struct counters {
	uint64_t tier[KVM_SPF_NR_TIERS];
	uint64_t abort[KVM_SPF_NR_ABORTS];
	uint64_t ns_sum, ns_max, ns_count;
	uint64_t ns_hist[KVM_SPF_NS_BUCKETS];
};

struct snapshot {
	uint64_t guest_ns;	/* our CLOCK_MONOTONIC when it was read */
	uint64_t host_ns, interval_ns;
	uint64_t features, epoch, generation;
	uint32_t mode, nr_vcpus;
	bool stale;		/* the host has counters, but collected none when asked to */
	struct counters total;
	uint64_t rates[KVM_SPF_NR_TIERS + KVM_SPF_NR_ABORTS];	/* with KVM_SPF_F_RATES */
	const uint8_t *records;	/* in the copy: good until the device is read again */
	uint32_t nr_records;	/* 0 unless they were asked for */
	size_t record_size;
};

/* @copied: bytes in @copy, SNAPSHOT_MIN or more. */
int snapshot__parse(struct snapshot *snapshot, const uint8_t *copy, size_t copied, bool records,
		    struct error *error);

/* The @index-th record: fills in its counters, returns its vCPU's number. */
uint32_t snapshot__record(const struct snapshot *snapshot, uint32_t index, struct counters *counters);

/* Compute the counts from @before to @after; false if they are unknown, because a new epoch began in between. */
bool snapshot__minus(const struct snapshot *after, const struct snapshot *before, struct counters *delta);

uint64_t counters__aborts(const struct counters *counters);

#endif
