/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Touch memory: each page of a new mapping once, in a given order.
 */
#ifndef SPF_LOAD_H
#define SPF_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

#include "error.h"

/* The most CPUs that Linux has. */
#define LOAD_MAX_THREADS	8192

enum pattern {
	PATTERN_SEQUENTIAL,
	PATTERN_RANDOM,
	PATTERN_STRIDE,
	NR_PATTERNS
};

extern const char *const pattern_names[NR_PATTERNS];

struct load {
	uint64_t bytes;
	uint32_t threads;
	enum pattern pattern;
};

struct load_result {
	uint64_t pages, page_size, ns;
};

bool load__pattern(const char *name, enum pattern *pattern);
int load__run(const struct load *load, struct load_result *result, struct error *error);
json_object *load__json(const struct load *load, const struct load_result *result);

#endif
