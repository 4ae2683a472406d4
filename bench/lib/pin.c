// SPDX-License-Identifier: GPL-2.0-or-later
#include "pin.h"

#include <sched.h>

void pin(pthread_attr_t *attributes, unsigned int n)
{
	cpu_set_t all, one;
	int cpu = -1;

	sched_getaffinity(0, sizeof(all), &all);
	for (n %= CPU_COUNT(&all); cpu < 0 || n--;)
		do
			cpu++;
		while (!CPU_ISSET(cpu, &all));
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	pthread_attr_setaffinity_np(attributes, sizeof(one), &one);
}
