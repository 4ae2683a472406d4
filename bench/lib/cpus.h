/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CPUs that this process may use, however many the machine has.
 */
#ifndef SPF_CPUS_H
#define SPF_CPUS_H

#include <pthread.h>
#include <sched.h>
#include <stddef.h>

struct cpus {
	cpu_set_t *set;
	size_t size;	/* of the set, in bytes */
};

/* 0, or -1 with errno. */
int cpus__allowed(struct cpus *cpus);
void cpus__free(struct cpus *cpus);

/* The @n-th of the CPUs; after the last the count begins again with the first. */
int cpus__nth(const struct cpus *cpus, unsigned int n);

/* A thread made with @attributes stays on the @n-th of them.  Returns 0 or an errno value. */
int cpus__pin(const struct cpus *cpus, unsigned int n, pthread_attr_t *attributes);

/* The same, for the CPUs that the process may use now. */
int cpus__pin_nth(pthread_attr_t *attributes, unsigned int n);

#endif
