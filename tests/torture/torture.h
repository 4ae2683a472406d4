/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TORTURE_H
#define TORTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "storm.h"
#include "vmm.h"

#define REGION_BYTES	((size_t)REGION_PAGES * PAGE_BYTES)

struct torture {
	struct vmm vmm;
	struct control *control;	/* as the VMM sees it */
	char *arena;			/* regions, each aligned to its size */
	char *scratch;			/* addresses for moving regions to, as many */
	unsigned int regions, vcpus, threads, nodes;
	pthread_t *vcpu_thread;
	pthread_mutex_t *region_lock;	/* one mutator at a time in each */
	bool lazy[MAX_REGIONS];		/* has pages that MADV_FREE leaves to be dropped later */
	atomic_long operations;		/* still to be done */
};

/* One mutator's thread. */
struct mutator {
	struct torture *torture;
	uint64_t random;
	unsigned long done[64];		/* by kind */
};

struct mutation {
	const char *name;
	/* region locked; 0, or -1 and has said why */
	int (*run)(struct mutator *me, unsigned int region);
};

extern const struct mutation mutations[];	/* the last has no name */
extern const unsigned int mutation_count;

/* Say what went wrong, and end at once: nothing that comes after can be trusted. */
int torture__fail(struct torture *torture, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

/* Register a region, look that each page filled from then on is filled by us, unregister. */
int mutate_userfaultfd(struct mutator *me, unsigned int region);

static inline char *region_start(const struct torture *torture, unsigned int region)
{
	return torture->arena + region * REGION_BYTES;
}

/* Around what takes contents away: all of it for sure, or perhaps some. */
static inline void drop_begins(struct torture *torture, unsigned int region, bool sure)
{
	struct region_drops *drops = &torture->control->drops[region];

	torture->lazy[region] &= !sure;
	if (sure)
		__atomic_add_fetch(&drops->sure_started, 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&drops->started, 1, __ATOMIC_SEQ_CST);
}

static inline void drop_ended(struct torture *torture, unsigned int region, bool sure)
{
	struct region_drops *drops = &torture->control->drops[region];

	__atomic_add_fetch(&drops->ended, 1, __ATOMIC_SEQ_CST);
	if (sure)
		__atomic_add_fetch(&drops->sure_ended, 1, __ATOMIC_SEQ_CST);
}

#endif
