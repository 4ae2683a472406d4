// SPDX-License-Identifier: GPL-2.0-or-later
#include "footprint.h"

#include <stdio.h>
#include <string.h>

static const char *const names[] = {
	"Rss", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty", "Referenced", "Anonymous", "KSM",
	"AnonHugePages", "Shared_Hugetlb", "Private_Hugetlb", "Swap",
};

enum { NAMES = sizeof(names) / sizeof(*names) };

void footprint__print(const void *start, uint64_t size)
{
	unsigned long sum[NAMES] = {}, low = (uintptr_t)start, high = low + size, from, to, value;
	FILE *file = fopen("/proc/self/smaps", "re");
	char line[512], name[40];
	int ours = 0;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			ours = from >= low && to <= high;
		else if (ours && sscanf(line, "%39[^:]: %lu", name, &value) == 2)
			for (int i = 0; i < NAMES; i++)
				sum[i] += strcmp(name, names[i]) ? 0 : value;
	}
	if (file)
		fclose(file);
	for (int i = 0; i < NAMES; i++)
		printf("%s\"%s\": %lu", i ? ", " : "{", names[i], sum[i]);
	printf("}");
}
