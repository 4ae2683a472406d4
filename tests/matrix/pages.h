/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The contents that the guest writes to each page, and finds there: address, generation, check.  Generation 0 is the
 * untouched page, all zeros.
 *
 * guest_pages() uses struct walk: READ compares with generation `first`, and counts wrong pages in `done`; WRITE writes
 * `generation`.
 */
#ifndef MATRIX_PAGES_H
#define MATRIX_PAGES_H

#include "guest.h"

#define PAGE_MAGIC UINT64_C(0x5350465350465350)

static inline __attribute__((always_inline)) int
page_is(const volatile uint64_t *page, uint64_t gpa, uint64_t generation)
{
	if (!generation)
		return !page[0] && !page[1] && !page[2];
	return page[0] == gpa && page[1] == generation && page[2] == (gpa ^ generation ^ PAGE_MAGIC);
}

static inline __attribute__((always_inline)) void
page_write(volatile uint64_t *page, uint64_t gpa, uint64_t generation)
{
	page[0] = gpa;
	page[1] = generation;
	page[2] = gpa ^ generation ^ PAGE_MAGIC;
}

guest_program guest_pages;

#endif
