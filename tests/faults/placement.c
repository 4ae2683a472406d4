// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Show the NUMA nodes of pages that are touched for the first time while node 0 is full of clean page cache.
 *
 * usage: placement FILE MIB POLICY...
 *
 * FILE must be large and sparse: reading it on CPU 0 fills node 0.  For each policy, MIB of new memory are touched on
 * CPU 0, and a line says how many pages are on node 0, how many on others, and how many faults were speculative.
 *
 * For the lab, as root, with two nodes and a CPU each.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fresh.h"

/* Debian 12's headers lack this. */
#define WEIGHTED_INTERLEAVE	6

static const struct policy {
	const char *name;
	int mode;
	unsigned long nodes;
	int task;	/* the policy of the task, not of the memory */
} policies[] = {
	{ "default", MPOL_DEFAULT, 0, 0 },
	{ "bind-both", MPOL_BIND, 3, 0 },
	{ "bind-local", MPOL_BIND, 1, 0 },
	{ "bind-remote", MPOL_BIND, 2, 0 },
	{ "preferred-local", MPOL_PREFERRED, 1, 0 },
	{ "preferred-remote", MPOL_PREFERRED, 2, 0 },
	{ "preferred-many-both", MPOL_PREFERRED_MANY, 3, 0 },
	{ "preferred-many-remote", MPOL_PREFERRED_MANY, 2, 0 },
	{ "interleave", MPOL_INTERLEAVE, 3, 0 },
	{ "weighted-interleave", WEIGHTED_INTERLEAVE, 3, 0 },
	{ "task-preferred", MPOL_PREFERRED, 1, 1 },
	{ "task-interleave", MPOL_INTERLEAVE, 3, 1 },
};

static void fill_node_0(const char *path)
{
	static char buffer[1 << 20];
	int fd = open(path, O_RDONLY);
	off_t at = 0;
	ssize_t got;

	if (fd < 0)
		err(2, "%s", path);
	while ((got = pread(fd, buffer, sizeof(buffer), at)) > 0)
		at += got;
	if (got < 0)
		err(2, "%s", path);
	close(fd);
}

static void touch(const struct policy *policy, unsigned long size)
{
	unsigned long pages = size / PAGE, on[2] = { 0, 0 }, speculative;
	const unsigned long *nodes = policy->nodes ? &policy->nodes : NULL;
	char *mem = fresh_memory(size);
	void **where = calloc(pages, sizeof(*where));
	int *status = calloc(pages, sizeof(*status));

	if (!where || !status)
		err(2, "memory");
	if (policy->task ? syscall(SYS_set_mempolicy, policy->mode, nodes, 64) :
			   syscall(SYS_mbind, mem, size, policy->mode, nodes, 64, 0))
		err(2, "policy %s", policy->name);

	speculative = number("/proc/vmstat", "spf_success");
	for (unsigned long i = 0; i < pages; i++)
		mem[i * PAGE] = 1;
	speculative = number("/proc/vmstat", "spf_success") - speculative;

	if (policy->task && syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0))
		err(2, "set_mempolicy");
	for (unsigned long i = 0; i < pages; i++)
		where[i] = mem + i * PAGE;
	if (syscall(SYS_move_pages, 0, pages, where, NULL, status, 0))
		err(2, "move_pages");
	for (unsigned long i = 0; i < pages; i++) {
		if (status[i] < 0)
			errx(2, "page %lu: %s", i, strerror(-status[i]));
		on[!!status[i]]++;
	}
	printf("%s %lu %lu %lu\n", policy->name, on[0], on[1], speculative);
	fflush(stdout);
	free(where);
	free(status);
	munmap(mem, size);
}

int main(int argc, char **argv)
{
	cpu_set_t cpu;

	if (argc < 4)
		errx(2, "usage: placement FILE MIB POLICY...");
	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		err(2, "sched_setaffinity");
	for (int i = 3; i < argc; i++) {
		const struct policy *policy = NULL;

		for (size_t j = 0; j < sizeof(policies) / sizeof(*policies); j++)
			if (!strcmp(policies[j].name, argv[i]))
				policy = &policies[j];
		if (!policy)
			errx(2, "there is no policy %s", argv[i]);
		fill_node_0(argv[1]);
		touch(policy, strtoul(argv[2], NULL, 10) << 20);
	}
	return 0;
}
