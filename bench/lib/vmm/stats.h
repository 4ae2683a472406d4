/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KVM's binary statistics, found by their names. */
#ifndef VMM_STATS_H
#define VMM_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "fault_names.h"

enum { FAULT_HIST = 32 };

/* The series' statistics of vCPUs, added up. */
struct fault_stats {
	bool known;		/* this kernel has them */
	uint64_t tier[FAULT_TIERS];
	uint64_t abort[FAULT_ABORTS];
	uint64_t ns_sum, ns_max;
	uint64_t ns_hist[FAULT_HIST];	/* bucket n: below 2^n ns */
};

extern const char *const fault_tier_names[FAULT_TIERS];
extern const char *const fault_abort_names[FAULT_ABORTS];

/* `fd` of a VM or vCPU.  Returns how many values the statistic has, 0 if KVM has none of that name, or -1. */
int stats__get(int fd, const char *name, uint64_t *values, unsigned int max);

/* Add the statistics of a vCPU. */
int fault_stats__add(struct fault_stats *stats, int vcpu_fd);

#endif
