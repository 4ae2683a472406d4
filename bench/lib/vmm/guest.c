// SPDX-License-Identifier: GPL-2.0-or-later
/* The guest's programs.  meson.build compiles them without a sanitizer, and for general registers only. */
#include "arch.h"

void __guest guest_walk(struct walk *walk)
{
	const uint64_t mask = walk->mask, mul = walk->mul, add = walk->add;
	uint64_t index = walk->first, left = mask, next = walk->part, *stamp = walk->stamp;

	walk->began = guest_clock();
	do {
		if (index < walk->count) {
			volatile uint64_t *page = (void *)(uintptr_t)(walk->base + index * walk->stride);
			uint64_t start;

			*(volatile uint64_t *)&walk->page = (uintptr_t)page;
			start = guest_clock();
			if (walk->access & WALK_READ)
				(void)*page;
			if (walk->access & WALK_WRITE)
				*page = (uintptr_t)page;
			walk->latency[bucket_of(guest_clock() - start)]++;
			if (walk->access & WALK_WRITE)
				page[1] = walk->generation;
			if (++walk->touched == next && stamp < walk->stamp + WALK_STAMPS) {
				*stamp++ = guest_clock();
				next += walk->part;
			}
		}
		walk->done++;
		index = (index * mul + add) & mask;
	} while (left-- && !*(volatile uint64_t *)&walk->stop);
	guest_leave();
}
