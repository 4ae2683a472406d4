// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Measure the cost of a cache line that another CPU has just stored to: the first CPU that we may use and each of the
 * others pass a line back and forth. bench/scaling needs the figure.
 */
#include <json-c/json.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"

enum { WARM_UP = 1000, ROUNDS = 100000 };

static struct {
	_Atomic unsigned int turn;
} __attribute__((aligned(128))) line;

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Wait for an even (0) or odd (1) turn, and make it the other's. */
static void play(unsigned int side, unsigned int rounds)
{
	while (rounds--) {
		unsigned int turn;

		do
			turn = atomic_load_explicit(&line.turn, memory_order_acquire);
		while ((turn & 1) != side);
		atomic_fetch_add(&line.turn, 1);
	}
}

static void *other(void *data)
{
	pin(*(int *)data);
	play(1, WARM_UP + ROUNDS);
	return NULL;
}

int main(void)
{
	struct json_object *result = json_object_new_object(), *pairs = json_object_new_array();
	cpu_set_t all;
	int first = -1;

	sched_getaffinity(0, sizeof(all), &all);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		struct json_object *pair;
		pthread_t thread;
		int64_t start;

		if (!CPU_ISSET(cpu, &all))
			continue;
		if (first < 0) {
			first = cpu;
			pin(cpu);
			continue;
		}
		if (pthread_create(&thread, NULL, other, &cpu)) {
			perror("line-transfer: cannot start a thread");
			return 1;
		}
		play(0, WARM_UP);
		start = clock__ns();
		play(0, ROUNDS);
		pair = json_object_new_object();
		json_object_object_add(pair, "cpus", json_object_new_array());
		json_object_array_add(json_object_object_get(pair, "cpus"), json_object_new_int(first));
		json_object_array_add(json_object_object_get(pair, "cpus"), json_object_new_int(cpu));
		/* A round is there and back. */
		json_object_object_add(pair, "ns", json_object_new_double((clock__ns() - start) / 2.0 / ROUNDS));
		json_object_array_add(pairs, pair);
		pthread_join(thread, NULL);
	}
	json_object_object_add(result, "transfers", pairs);
	puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_SPACED));
	json_object_put(result);
	return 0;
}
