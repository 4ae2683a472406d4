/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The progress of vCPUs, and their common rate without the beginning and the end of a run. */
#ifndef BENCH_COURSE_H
#define BENCH_COURSE_H

#include <stdint.h>

#include "vmm/guest.h"

/* Points of one vCPU: a time, and how many pages it had touched by then.  It is linear between two points. */
struct course {
	unsigned int points;
	double at[WALK_STAMPS + 2];		/* ns */
	uint64_t touched[WALK_STAMPS + 2];
};

void course__add(struct course *course, double at, uint64_t touched);

/* Touches a second, from the time when a tenth of all are done to that when nine tenths are. */
double courses__middle(const struct course *course, unsigned int n);

#endif
