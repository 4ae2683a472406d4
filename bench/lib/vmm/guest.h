/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest runs C functions of this program, which the VMM copies into guest memory.  They may use their stack and the
 * struct walk of their vCPU, but no data of the program, no other function and no floating point.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdint.h>

#include "buckets.h"

enum { WALK_STAMPS = 32 };
enum walk_access { WALK_READ = 1, WALK_WRITE = 2 };

/* Touch `count` pages: page i is at base + i * stride, in the order of i = (i * mul + add) & mask. */
struct walk {
	uint64_t base, stride, count;
	uint64_t mask, mul, add, first;
	uint64_t access;	/* enum walk_access; both: read, then write */
	uint64_t generation;	/* written to each page, after its guest address */
	uint64_t stop;		/* the host asks the guest to end */
	uint64_t part;		/* the guest stores a time after each so many touches; 0: never */

	uint64_t page;		/* guest address being touched */
	uint64_t done;		/* steps of the order taken */
	uint64_t touched;	/* pages */
	uint64_t began, stamp[WALK_STAMPS];	/* ticks of guest_clock() */
	uint64_t latency[BUCKETS];	/* the same */
	uint64_t stack[128];
} __attribute__((aligned(128)));	/* of one vCPU's cache lines alone */

typedef void guest_program(struct walk *walk);

guest_program guest_walk;

static inline uint64_t walk_next(const struct walk *walk, uint64_t index)
{
	return (index * walk->mul + walk->add) & walk->mask;
}

#endif
