/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VMM's memory behind guest memory. */
#ifndef BENCH_BACKING_H
#define BENCH_BACKING_H

#include <stdint.h>

struct backing {
	const char *kind;	/* of BACKING_KINDS */
	const char *numa;	/* POLICY:NODES, or NULL for the default */
	uint64_t size;		/* in: at least; out: rounded up to whole pages of its kind */
	void *hva;
	void *map;		/* what to unmap: hva is aligned in it */
	uint64_t map_size;
	int fd;
};

#define BACKING_KINDS	"anon, plain, thp, memfd, hugetlb or file:PATH"
#define BACKING_NUMA	"bind:NODES, interleave:NODES or preferred:NODES, NODES as in 0,1"

/* Returns 0, or prints an error and returns -1.  Touches no page: each one's first fault is still to come. */
int backing__create(struct backing *backing);
void backing__destroy(struct backing *backing);

#endif
