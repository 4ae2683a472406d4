// SPDX-License-Identifier: GPL-2.0-or-later
#include "cpus.h"

#include <errno.h>
#include <stdlib.h>

/* Eight million CPUs: a kernel that refuses a set of this size refuses for another reason. */
#define SIZE_MAX_BYTES	(1 << 20)

/* The kernel refuses a set that is shorter than its own, and does not say how long that is. */
int cpus__allowed(struct cpus *cpus)
{
	for (cpus->size = sizeof(cpu_set_t);; cpus->size *= 2) {
		cpus->set = calloc(1, cpus->size);
		if (!cpus->set)
			return -1;
		if (!sched_getaffinity(0, cpus->size, cpus->set))
			return 0;
		cpus__free(cpus);
		if (errno != EINVAL || cpus->size == SIZE_MAX_BYTES)
			return -1;
	}
}

void cpus__free(struct cpus *cpus)
{
	free(cpus->set);
	cpus->set = NULL;
}

int cpus__nth(const struct cpus *cpus, unsigned int n)
{
	unsigned int left = n % (unsigned int)CPU_COUNT_S(cpus->size, cpus->set);
	int cpu = 0;

	while (!CPU_ISSET_S(cpu, cpus->size, cpus->set) || left--)
		cpu++;
	return cpu;
}

int cpus__pin(const struct cpus *cpus, unsigned int n, pthread_attr_t *attributes)
{
	cpu_set_t *one = calloc(1, cpus->size);
	int failed;

	if (!one)
		return ENOMEM;
	CPU_SET_S(cpus__nth(cpus, n), cpus->size, one);
	failed = pthread_attr_setaffinity_np(attributes, cpus->size, one);
	free(one);
	return failed;
}

int cpus__pin_nth(pthread_attr_t *attributes, unsigned int n)
{
	struct cpus cpus;
	int failed;

	if (cpus__allowed(&cpus))
		return errno;
	failed = cpus__pin(&cpus, n, attributes);
	cpus__free(&cpus);
	return failed;
}
