/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A thread that stays on one CPU. */
#ifndef PINNED_H
#define PINNED_H

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the program if there is no such CPU.  Include it after _GNU_SOURCE is defined. */
static pthread_t start_on(uintptr_t cpu, void *(*work)(void *), void *data)
{
	pthread_attr_t attributes;
	pthread_t thread;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	pthread_attr_init(&attributes);
	pthread_attr_setaffinity_np(&attributes, sizeof(cpus), &cpus);
	if (pthread_create(&thread, &attributes, work, data)) {
		fprintf(stderr, "no thread on CPU %zu\n", (size_t)cpu);
		exit(1);
	}
	return thread;
}

#endif
