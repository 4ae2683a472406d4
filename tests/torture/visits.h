/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What workers share with the VMM: a guest sees it in a memory slot of its own, which no mutator touches. */
#ifndef TORTURE_VISITS_H
#define TORTURE_VISITS_H

#include "cells.h"
#include "guest.h"

enum { MAX_REGIONS = 32, MAX_WORKERS = 16 };

struct worker {
	uint64_t id, random, visits;
	struct wrong wrong;
} __attribute__((aligned(128)));

struct control {
	uint64_t stop;
	uint64_t pages, workers;
	/* Where the regions are, for vCPUs and for threads */
	uint64_t guest[MAX_REGIONS], host[MAX_REGIONS];
	struct worker worker[MAX_WORKERS];
	struct region_drops drops[MAX_REGIONS];
	struct cell cell[MAX_REGIONS * REGION_PAGES];
};

/* One visit to a page of the worker's own, for vCPU and thread alike. */
static inline __attribute__((always_inline)) int
storm_step(struct control *control, struct worker *me, const uint64_t *regions, uint64_t *touching)
{
	uint64_t random = random_next(&me->random);
	uint64_t mine = control->pages / control->workers;
	uint64_t number = (random >> 8) % mine * control->workers + me->id;
	volatile uint64_t *page = (void *)(uintptr_t)(regions[number / REGION_PAGES] + number % REGION_PAGES * PAGE_BYTES);

	LOOK(*touching) = (uintptr_t)page;
	me->visits++;
	return cell_visit(page, number, &control->cell[number], &control->drops[number / REGION_PAGES], random & 3,
			  &me->wrong);
}

/* walk->base: struct control, walk->first: number of the worker */
guest_program guest_storm;

#endif
