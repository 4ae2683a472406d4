/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The forms of output. */
#ifndef SPFCTL_OUTPUT_H
#define SPFCTL_OUTPUT_H

#include "settings.h"
#include "vm.h"

enum row_state { ROW_RATES, ROW_ANEW, ROW_NOT_COUNTED, ROW_NO_ANSWER };

/* A line of the table: a VM, one of its vCPUs, or all that have rates. */
struct row {
	const struct vm *vm;		/* NULL: the total */
	const struct vcpu *vcpu;	/* NULL: all of them */
	const char *name;
	enum row_state state;
	double seconds;			/* that the rates cover; 0 for the total */
	double faults[NR_TIERS];	/* per second */
	double aborts[NR_ABORTS];
	struct counters delta;
	bool has_hist;
};

struct rows {
	struct row *row;
	size_t count;
};

struct rows rows_make(const struct vm *vms, const struct settings *settings);
double row_aborts(const struct row *row);

void table_print(const struct rows *rows, const struct settings *settings, bool with_head);
void csv_print(const struct rows *rows, bool with_head);
void json_print(const struct vm *vms, bool per_vcpu);
void prometheus_write(const struct vm *vms, const char *path);
/* Print storms until there were enough. */
void storms_wait(struct vm **vms, const struct settings *settings);

#endif
