/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One storm: a VM whose vCPUs all touch memory, and its figures. */
#ifndef BENCH_STORM_H
#define BENCH_STORM_H

#include <stdbool.h>
#include <stdint.h>

#include "latency.h"
#include "vmm/stats.h"
#include "vmm/vmm.h"

struct neighbours;

enum storm_order {
	STORM_SEQUENTIAL,	/* each vCPU a part of the memory, upwards */
	STORM_RANDOM,		/* each vCPU a part of the memory, in no order */
	STORM_INTERLEAVED,	/* each vCPU every nth page */
	STORM_TOGETHER,		/* all vCPUs all pages, upwards */
	STORM_ORDERS,
};

struct storm {
	unsigned int vcpus;
	uint64_t size, stride;
	enum storm_order order;
	unsigned int access;		/* enum walk_access */
	const char *backing, *numa;
	bool prefault;			/* the VMM touches each page first */
	unsigned int holes;		/* pages that the VMM has no mapping for until KVM has failed to find one */
	bool pin;			/* each vCPU thread, then each neighbour, has a CPU of its own while there are enough */
	unsigned int seconds;		/* end early; 0: when all pages are touched */
	bool middle;			/* the rate is of the middle: after a tenth of all touches, before the last tenth */
	struct neighbours *neighbours;
};

struct storm_result {
	enum vmm_mode mode;
	double seconds;			/* from the first vCPU's start to the last one's end */
	double rate;			/* touches a second */
	uint64_t touched;		/* pages, by all vCPUs */
	uint64_t verified, wrong;	/* pages, of those touched */
	uint64_t efaults;		/* that KVM_RUN ended with */
	struct fault_stats stats;
	struct latency latency;		/* of the guest's touches, ns of the guest's clock */
	bool scheduled;			/* whether the kernel has told the following */
	double running, waiting, blocked;	/* seconds of all vCPU threads: on a CPU, for a CPU, for anything else */
};

/* Run a storm.  Returns -1 on failure.  The caller checks the result for wrong pages. */
int storm__run(const struct storm *storm, enum vmm_mode mode, uint64_t generation, struct storm_result *result);

#endif
