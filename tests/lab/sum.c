// SPDX-License-Identifier: GPL-2.0-or-later
/* The guests of two_guests.c: the sum of the first word of each page. */
#include "arch.h"

void __guest guest_sum(struct walk *walk)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < walk->count; i++)
		sum += *(volatile uint64_t *)(uintptr_t)(walk->base + i * walk->stride);
	walk->generation = sum;
	guest_leave();
}
