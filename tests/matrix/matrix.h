/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One row of the matrix: a VM with one vCPU, its memory, and the state of that memory. */
#ifndef MATRIX_H
#define MATRIX_H

#include <stdbool.h>
#include <sys/types.h>

#include "memory.h"
#include "stats.h"
#include "vmm.h"

enum outcome { OUTCOME_OK, OUTCOME_EFAULT, OUTCOME_SIGBUS, OUTCOME_MMIO, OUTCOME_OTHER };

struct row {
	struct vmm vmm;
	struct backing memory;
	uint64_t pages, stride;
	uint64_t generation;	/* that all pages have: 0, untouched */
	bool measuring;
	volatile bool until_signal;	/* the guest's run ends with one */
	pid_t tid;		/* of the vCPU's thread */

	/* of the guest's runs since `measure` */
	struct fault_stats faults;
	long locks;
	long major;		/* faults */
	unsigned long messages;	/* to our userfaultfd */
	uint64_t wrong;		/* pages, as the guest and the host saw them */
	enum outcome outcome;
};

struct step {
	const char *name, *what;
	int (*run)(struct row *row);	/* returns 0, or prints an error and returns -1 */
};

extern const struct step states[], waits[];	/* the last of each has no name */

int row__fail(const char *what);
int row__put(const char *path, const char *text);
int row__advise(struct row *row, int advice, const char *name);
/* Have the guest read or write all pages, or both; return when it is done. */
int row__guest(struct row *row, enum walk_access access);
int row__userfaultfd(struct row *row, uint64_t features, uint64_t mode);

/* Afterwards pages are zero again. */
static inline int row__forget(struct row *row)
{
	row->generation = 0;
	return 0;
}

#endif
