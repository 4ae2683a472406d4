// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * N threads, each on a CPU of its own, begin at once and do the same TURNS times:
 *
 *	count	two instructions that touch no memory
 *	line	add to a number to which all threads add, and wait for longer than CPUs are apart
 *	swap	the same by comparing and exchanging, until no other thread was faster
 *
 * Prints the ns from the first thread's beginning to the last one's end, the median ns of a thread, and how many
 * exchanges were tried.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pinned.h"

#define WAIT 300

static struct {
	_Alignas(128) uint64_t number;
	_Alignas(128) unsigned int here;
	_Alignas(128) uint64_t start[1024], end[1024], tried[1024];
} shared;

static unsigned int threads;
static uint64_t turns;
static char kind;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

static inline void count(uint64_t n)
{
	asm volatile("1: dec %0; jnz 1b" : "+r"(n) : : "cc");
}

/* Returns the number of tries. */
static uint64_t swap(void)
{
	uint64_t tried = 1, old = __atomic_load_n(&shared.number, __ATOMIC_RELAXED);

	while (!__atomic_compare_exchange_n(&shared.number, &old, old + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		tried++;
	return tried;
}

static void *work(void *data)
{
	uintptr_t me = (uintptr_t)data;
	uint64_t tried = 0;

	/* Touch the memory and the vDSO before any thread begins. */
	shared.start[me] = shared.end[me] = now_ns();
	__atomic_add_fetch(&shared.here, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&shared.here, __ATOMIC_SEQ_CST) < threads)
		__builtin_ia32_pause();
	shared.start[me] = now_ns();
	if (kind == 'c')
		count(turns);
	for (uint64_t i = 0; kind == 'l' && i < turns; i++) {
		asm volatile("lock incq %0" : "+m"(shared.number) : : "cc");
		count(WAIT);
	}
	for (uint64_t i = 0; kind == 's' && i < turns; i++) {
		tried += swap();
		count(WAIT);
	}
	shared.end[me] = now_ns();
	shared.tried[me] = tried;
	return NULL;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

int main(int argc, char **argv)
{
	uint64_t first = UINT64_MAX, last = 0, tried = 0;
	static uint64_t took[1024];
	pthread_t thread[1024];

	if (argc != 4 || !strchr("cls", argv[1][0]) || atoi(argv[2]) < 1 || atoi(argv[2]) > 1024) {
		fputs("usage: loops count|line|swap THREADS TURNS\n", stderr);
		return 2;
	}
	kind = argv[1][0];
	threads = atoi(argv[2]);
	turns = strtoull(argv[3], NULL, 10);
	for (uintptr_t i = 0; i < threads; i++)
		thread[i] = start_on(i, work, (void *)i);
	for (unsigned int i = 0; i < threads; i++) {
		pthread_join(thread[i], NULL);
		first = shared.start[i] < first ? shared.start[i] : first;
		last = shared.end[i] > last ? shared.end[i] : last;
		tried += shared.tried[i];
		took[i] = shared.end[i] - shared.start[i];
	}
	qsort(took, threads, sizeof(*took), compare);
	printf("%lu %lu %lu\n", last - first, took[threads / 2], tried);
	return 0;
}
