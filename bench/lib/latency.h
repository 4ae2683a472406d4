/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Latencies in nanoseconds.  Initialize with zeros. */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include <json-c/json.h>
#include <stdint.h>

#include "buckets.h"

struct latency {
	uint64_t count, sum, max;
	uint64_t bucket[BUCKETS];
};

void latency__record(struct latency *latency, uint64_t ns, uint64_t times);
void latency__add(struct latency *to, const struct latency *more);

/* count, mean, p50 .. p99.99, max, histogram: [ns, count] of each bucket that has any; quantities in ns */
struct json_object *latency__json(const struct latency *latency);

/* The same as one line of text, in us. */
void latency__print(const char *what, const struct latency *latency);

#endif
