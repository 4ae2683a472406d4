/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BENCH_STORM_REPORT_H
#define BENCH_STORM_REPORT_H

#include "storm.h"

/* The results as a table, as they come; and as JSON at the end, to `file`, where that is not NULL. */
struct storm_report *storm_report__new(const struct storm *storm, const char *order, const char *access,
				       const char *file);
void storm_report__add(struct storm_report *report, const struct storm_result *result);
int storm_report__end(struct storm_report *report);

#endif
