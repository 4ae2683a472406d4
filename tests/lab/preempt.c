// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * On the lab's own host: take the CPU away from the emulator's threads, at
 * moments that nothing in them decides, and for as long as it takes another
 * thread to translate code.  A busy machine does so once in a while; this does
 * it some thousand times a second, on one CPU at a time.  It ends when its
 * standard input does.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { AWAY_US = 200, TAKEN_US = 600 };

static uint64_t microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000) + now.tv_nsec / 1000;
}

int main(void)
{
	const struct sched_param first = { .sched_priority = 1 };
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	cpu_set_t all;

	if (sched_getaffinity(0, sizeof(all), &all) || sched_setscheduler(0, SCHED_FIFO, &first)) {
		perror("preempt");
		return 1;
	}
	while (!poll(&input, 1, 0)) {
		cpu_set_t one;
		uint64_t until;
		int cpu;

		do
			cpu = (int)(random() % CPU_SETSIZE);
		while (!CPU_ISSET(cpu, &all));
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		usleep((useconds_t)(random() % AWAY_US));
		until = microseconds() + (uint64_t)(random() % TAKEN_US);
		while (microseconds() < until)
			;
	}
	return 0;
}
