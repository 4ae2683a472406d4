/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TORTURE_H
#define TORTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "visits.h"
#include "vmm.h"

#define REGION_BYTES	((size_t)REGION_PAGES * PAGE_BYTES)
#define GIB		(UINT64_C(1) << 30)
/* Regions lie in the arena, where nothing else is mapped, and move to the scratch area for a while. */
#define ARENA		(UINT64_C(1) << 44)
#define SCRATCH		(ARENA + (UINT64_C(1) << 40))

struct torture {
	struct vmm vmm;
	enum vmm_mode highest;		/* that this kernel has: with PREEMPT_RT the VMA lock */
	struct control *control;	/* as the VMM sees it */
	int file, pagemap;		/* see late.c; /proc/self/pagemap */
	unsigned int regions, vcpus, threads, nodes;
	pthread_t *vcpu_thread;
	pthread_mutex_t *region_lock;	/* one mutator at a time in each */
	bool lazy[MAX_REGIONS];		/* has pages that MADV_FREE leaves to be dropped later */
	atomic_bool over;
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

/*
 * Use small pages, whatever the host's policy.  Returns 0 or an errno.  A kernel without huge pages refuses the
 * advice.
 */
int torture__small_pages(void *at, size_t size);

/* Register a region, check that we fill each page that is filled from then on, and unregister it. */
int mutate_userfaultfd(struct mutator *me, unsigned int region);

/* late.c: take memory away, and check that no page comes too late. */
int late__file(void);		/* the file's descriptor, or -1 and has said why */
int mutate_file(struct mutator *me, unsigned int region);
int mutate_forbid(struct mutator *me, unsigned int region);

/* host.c */
int mutate_unplug_memory(struct mutator *me, unsigned int region);
int mutate_unplug_cpu(struct mutator *me, unsigned int region);
int mutate_oom(struct mutator *me, unsigned int region);

/* One entry a page. */
void look_at_pagemap(struct torture *torture, const char *start, uint64_t entries[REGION_PAGES]);

/* An entry of pagemap: present, or swapped out. */
static inline bool is_there(uint64_t entry)
{
	return entry >> 62;
}

/* Replace what is mapped there by a new mapping. */
int map_anew(struct mutator *me, char *at, size_t size, int flags);

/*
 * Half of the regions lie side by side, so that their VMAs merge and split; the others a GiB apart, so that page tables
 * of two levels come and go with them.
 */
static inline char *region_start(const struct torture *torture, unsigned int region)
{
	uint64_t offset = region < torture->regions / 2 ? region * REGION_BYTES : (region + 1) * GIB;

	return (char *)(ARENA + offset);
}

/* Call these around code that takes contents away: for sure all of them, or perhaps some. */
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
