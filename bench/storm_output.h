/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BENCH_STORM_OUTPUT_H
#define BENCH_STORM_OUTPUT_H

#include "storm.h"

/* Print each result as a line of a table.  At the end write JSON to `file`, unless it is NULL. */
struct storm_output *storm_output__new(const struct storm *storm, const char *order, const char *access,
				       const char *file);
void storm_output__add(struct storm_output *report, const struct storm_result *result);
int storm_output__end(struct storm_output *report);

#endif
