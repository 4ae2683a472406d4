/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BENCH_NEIGHBOUR_KINDS_H
#define BENCH_NEIGHBOUR_KINDS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "latency.h"

struct neighbour;
struct vmm;

/* Each function returns 0, or prints an error and returns -1.  teardown is also called after a failed setup. */
struct neighbour_kind {
	const char *name, *what;
	int (*setup)(struct neighbour *me);
	int (*step)(struct neighbour *me);
	void (*teardown)(struct neighbour *me);
};

/* One thread. */
struct neighbour {
	const struct neighbour_kind *kind;
	struct vmm *vmm;
	unsigned int number;		/* from 1, of all neighbours */
	pthread_t thread;
	pthread_barrier_t *begin;
	atomic_bool stop;
	bool failed;
	struct latency latency;		/* of the calls that it is for, ns */

	void *area, *other;		/* the kind's own */
	size_t size;
};

extern const struct neighbour_kind neighbour_kinds[];	/* the last has no name */

#endif
