/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a page must hold.
 *
 * Every page belongs to one worker, a vCPU or a thread of the VMM, which alone writes it: its number, a generation
 * and a check, and remembers the generation in the page's cell.  Mutators drop pages of a region; each word of a page
 * may then be zero or what its owner wrote last, and nothing else, whatever the two do at the same time:
 *
 *   zero	only if a drop has not ended before the last write began, and has started by now
 *   not zero	only if no drop that leaves nothing (a sure one) has started after the last write and ended by now
 *
 * So a page that is lost, stale, torn or not this region's is found out by the next visit.
 */
#ifndef TORTURE_CELLS_H
#define TORTURE_CELLS_H

#include <stdint.h>

enum { REGION_PAGES = 512, WORDS = 3 };

#if defined(__powerpc64__)
#define PAGE_BYTES	65536
#define ORDER()		__asm__ volatile("sync" : : : "memory")
#else
#define PAGE_BYTES	4096
/* x86 and its guests see loads and stores in program order. */
#define ORDER()		__asm__ volatile("" : : : "memory")
#endif
#define CHECK		UINT64_C(0x70727475746f7274)

/* Counts of drops, written by the region's mutator, one at a time. */
struct region_drops {
	uint64_t started, ended;	/* all */
	uint64_t sure_started, sure_ended;
};

struct cell {
	uint64_t generation;		/* 0: never written */
	uint64_t ended;			/* before the last write */
	uint64_t sure_started;		/* after it */
};

/* Where a visit went wrong. */
struct wrong {
	uint64_t seen;			/* 0: nothing wrong */
	uint64_t page, word, found, expected;
	uint64_t zero;			/* allowed? */
	uint64_t sure;			/* must it be zero? */
};

#define LOOK(x)	(*(volatile uint64_t *)&(x))

static inline __attribute__((always_inline)) uint64_t cell_word(uint64_t number, uint64_t generation, int word)
{
	return word == 0 ? number + 1 : word == 1 ? generation : (number + 1) ^ (generation << 20) ^ CHECK;
}

/* Look at a page, and write it anew if `write`. */
static inline __attribute__((always_inline)) int
cell_visit(volatile uint64_t *page, uint64_t number, struct cell *cell, struct region_drops *drops, int write,
	   struct wrong *wrong)
{
	uint64_t sure_ended = LOOK(drops->sure_ended);
	uint64_t found[WORDS], started;

	ORDER();
	for (int i = 0; i < WORDS; i++)
		found[i] = page[i];
	ORDER();
	started = LOOK(drops->started);

	for (int i = 0; i < WORDS; i++) {
		uint64_t expected = cell->generation ? cell_word(number, cell->generation, i) : 0;
		int zero = !cell->generation || started > cell->ended;
		int sure = !cell->generation || sure_ended > cell->sure_started;

		if (found[i] ? found[i] == expected && !sure : zero)
			continue;
		wrong->page = number;
		wrong->word = i;
		wrong->found = found[i];
		wrong->expected = expected;
		wrong->zero = zero;
		wrong->sure = sure;
		LOOK(wrong->seen) = 1;
		return -1;
	}
	if (!write)
		return 0;

	cell->ended = LOOK(drops->ended);
	cell->generation++;
	ORDER();
	for (int i = 0; i < WORDS; i++)
		page[i] = cell_word(number, cell->generation, i);
	ORDER();
	cell->sure_started = LOOK(drops->sure_started);
	return 0;
}

static inline __attribute__((always_inline)) uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
