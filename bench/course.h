/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How vCPUs came on, and the rate of all of them together where the first ones' start and the last ones' end do not count. */
#ifndef BENCH_COURSE_H
#define BENCH_COURSE_H

#include <stdint.h>

#include "vmm/guest.h"

/* By when one vCPU had touched how much, upwards; evenly between two points. */
struct course {
	unsigned int points;
	double at[WALK_STAMPS + 2];		/* ns */
	uint64_t touched[WALK_STAMPS + 2];
};

void course__add(struct course *course, double at, uint64_t touched);

/* Touches a second from when a tenth of all are done to when nine tenths are. */
double courses__middle(const struct course *course, unsigned int n);

#endif
