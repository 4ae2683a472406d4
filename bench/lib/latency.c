// SPDX-License-Identifier: GPL-2.0-or-later
#include "latency.h"

#include <stdio.h>

static const struct { const char *name; double part; } percentiles[] = {
	{ "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p99.9", 0.999 }, { "p99.99", 0.9999 }, { "max", 1 },
};

#define PERCENTILES (sizeof(percentiles) / sizeof(*percentiles))

void latency__record(struct latency *latency, uint64_t ns, uint64_t times)
{
	latency->count += times;
	latency->sum += ns * times;
	if (ns > latency->max)
		latency->max = ns;
	latency->bucket[bucket_of(ns)] += times;
}

void latency__add(struct latency *to, const struct latency *more)
{
	to->count += more->count;
	to->sum += more->sum;
	if (more->max > to->max)
		to->max = more->max;
	for (unsigned int i = 0; i < BUCKETS; i++)
		to->bucket[i] += more->bucket[i];
}

/* The value that a fraction @part of all values does not exceed, precise to the width of a bucket. */
static uint64_t percentile(const struct latency *latency, double part)
{
	uint64_t below = 0;

	for (unsigned int i = 0; part < 1 && i < BUCKETS; i++) {
		below += latency->bucket[i];
		if (below >= part * latency->count)
			return bucket_middle(i) < latency->max ? bucket_middle(i) : latency->max;
	}
	return latency->max;
}

static struct json_object *histogram(const struct latency *latency)
{
	struct json_object *array = json_object_new_array();

	for (unsigned int i = 0; i < BUCKETS; i++) {
		struct json_object *pair;

		if (!latency->bucket[i])
			continue;
		pair = json_object_new_array();
		json_object_array_add(pair, json_object_new_uint64(bucket_middle(i)));
		json_object_array_add(pair, json_object_new_uint64(latency->bucket[i]));
		json_object_array_add(array, pair);
	}
	return array;
}

struct json_object *latency__json(const struct latency *latency)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "count", json_object_new_uint64(latency->count));
	if (!latency->count) {
		json_object_object_add(object, "histogram", histogram(latency));
		return object;
	}
	json_object_object_add(object, "mean", json_object_new_uint64(latency->sum / latency->count));
	for (unsigned int i = 0; i < PERCENTILES; i++)
		json_object_object_add(object, percentiles[i].name,
				       json_object_new_uint64(percentile(latency, percentiles[i].part)));
	json_object_object_add(object, "histogram", histogram(latency));
	return object;
}

void latency__print(const char *what, const struct latency *latency)
{
	printf("  %-22s%9lu", what, latency->count);
	for (unsigned int i = 0; latency->count && i < PERCENTILES; i++)
		printf(" %s %.1f", percentiles[i].name, percentile(latency, percentiles[i].part) / 1e3);
	puts(latency->count ? " us" : "");
}
