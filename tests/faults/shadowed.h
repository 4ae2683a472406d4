/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What shadowed.c and its guest, shadowed_l1.c, agree on. */
#ifndef SHADOWED_H
#define SHADOWED_H

#include "vmm.h"

/* The pages of the guest's memory.  Those of the second chain of tables follow those of the first. */
enum {
	SHARED, VMCB, SAVED, STACK, LOW, ROOT,
	POINTERS, DIRECTORY, LEAVES, DATA, CHAIN,
};
enum { CHANGED = CHAIN - POINTERS };	/* pages between the chains */
#define GPA(number)	(VMM_RAM + (uint64_t)(number) * 4096)

/* Where L2 looks: its address is no page of the guest's memory. */
#define LOOK		(VMM_RAM + (1 << 20))
#define LOOK_POINTER	(LOOK >> 30)
#define LOOK_DIRECTORY	(LOOK >> 21 & 511)
#define LOOK_LEAF	(LOOK >> 12 & 511)

/* Words of the page SHARED. */
enum { GO, STORED, SEEN_FIRST, SEEN_LAST, EXIT_FIRST, EXIT_LAST };

guest_program guest_l1, guest_l2, guest_store;

#endif
