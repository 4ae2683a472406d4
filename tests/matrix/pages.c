// SPDX-License-Identifier: GPL-2.0-or-later
#include "arch.h"
#include "pages.h"

void __guest guest_pages(struct walk *walk)
{
	for (uint64_t i = 0; i < walk->count; i++) {
		uint64_t gpa = walk->base + i * walk->stride;
		volatile uint64_t *page = (void *)(uintptr_t)gpa;

		*(volatile uint64_t *)&walk->page = gpa;
		if ((walk->access & WALK_READ) && !page_is(page, gpa, walk->first))
			walk->done++;
		if (walk->access & WALK_WRITE)
			page_write(page, gpa, walk->generation);
		walk->touched++;
	}
	guest_leave();
}
