// SPDX-License-Identifier: GPL-2.0-or-later
/* The guest's program; built as bench/lib/vmm/guest.c is. */
#include "arch.h"
#include "visits.h"

void __guest guest_storm(struct walk *walk)
{
	struct control *control = (void *)(uintptr_t)walk->base;
	struct worker *me = &control->worker[walk->first];

	while (!LOOK(control->stop))
		if (storm_step(control, me, control->guest, &walk->page))
			break;
	guest_leave();
}
