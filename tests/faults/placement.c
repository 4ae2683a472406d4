// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Show the NUMA nodes of pages that are touched for the first time.
 *
 * usage: placement FILE MIB POLICY...
 *
 * FILE is a large file whose pages fill node 0, or - to leave node 0 as it is.  For each policy, MIB of new memory are
 * touched on CPU 0.  A line says how many pages with an even number and how many with an odd one are on node 0, and how
 * many faults were speculative.  All other pages are on node 1.
 *
 * For the lab, as root, with two nodes and a CPU each, and with a cgroup CPUSET.
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

#define CGROUPS	"/sys/fs/cgroup/"
#define CPUSET	CGROUPS "placement/"

/* More than node 0 has, and more than the memory for one policy. */
#define FILL	(700L << 20)
#define REFILL	(128L << 20)

static const unsigned long node_0 = 1;

static const struct policy {
	const char *name;
	int mode;
	unsigned long nodes;
	int task;	/* the policy of the task, not of the memory */
	const char *mems;	/* the nodes of the cpuset that the task is in */
} policies[] = {
	{ "default", MPOL_DEFAULT, 0, 0, NULL },
	{ "bind-both", MPOL_BIND, 3, 0, NULL },
	{ "bind-local", MPOL_BIND, 1, 0, NULL },
	{ "bind-remote", MPOL_BIND, 2, 0, NULL },
	{ "preferred-local", MPOL_PREFERRED, 1, 0, NULL },
	{ "preferred-remote", MPOL_PREFERRED, 2, 0, NULL },
	{ "preferred-many-both", MPOL_PREFERRED_MANY, 3, 0, NULL },
	{ "preferred-many-remote", MPOL_PREFERRED_MANY, 2, 0, NULL },
	{ "interleave", MPOL_INTERLEAVE, 3, 0, NULL },
	{ "weighted-interleave", WEIGHTED_INTERLEAVE, 3, 0, NULL },
	{ "task-preferred", MPOL_PREFERRED, 1, 1, NULL },
	{ "task-interleave", MPOL_INTERLEAVE, 3, 1, NULL },
	{ "cpuset-local", MPOL_DEFAULT, 0, 0, "0" },
	{ "cpuset-remote", MPOL_DEFAULT, 0, 0, "1" },
	{ "cpuset-interleave", MPOL_INTERLEAVE, 3, 1, "1" },
};

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err(2, "%s", path);
	close(fd);
}

/*
 * Fill node 0 with clean pages of a file, and with more of them after each policy.  They are bound to it, so that node
 * 1 keeps its free memory.
 */
static void fill_node_0(const char *path)
{
	static char buffer[1 << 20];
	static off_t at;
	off_t end = at + (at ? REFILL : FILL);
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		err(2, "%s", path);
	if (syscall(SYS_set_mempolicy, MPOL_BIND, &node_0, 64))
		err(2, "set_mempolicy");
	for (; at < end; at += sizeof(buffer))
		if (pread(fd, buffer, sizeof(buffer), at) != sizeof(buffer))
			err(2, "%s", path);
	if (syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0))
		err(2, "set_mempolicy");
	close(fd);
}

static void touch(const struct policy *policy, unsigned long size)
{
	unsigned long pages = size / PAGE, here[2] = { 0, 0 }, speculative;
	const unsigned long *nodes = policy->nodes ? &policy->nodes : NULL;
	char *mem = fresh_memory(size);
	void **where = calloc(pages, sizeof(*where));
	int *status = calloc(pages, sizeof(*status));

	if (!where || !status)
		err(2, "memory");
	if (policy->mems) {
		put(CPUSET "cpuset.mems", policy->mems);
		put(CPUSET "cgroup.procs", "0");
	}
	if (policy->task ? syscall(SYS_set_mempolicy, policy->mode, nodes, 64) :
			   syscall(SYS_mbind, mem, size, policy->mode, nodes, 64, 0))
		err(2, "policy %s", policy->name);

	speculative = number("/proc/vmstat", "spf_success");
	for (unsigned long i = 0; i < pages; i++)
		mem[i * PAGE] = 1;
	speculative = number("/proc/vmstat", "spf_success") - speculative;

	if (policy->task && syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0))
		err(2, "set_mempolicy");
	/* Before the task may leave the cpuset, which would move its pages. */
	for (unsigned long i = 0; i < pages; i++)
		where[i] = mem + i * PAGE;
	if (syscall(SYS_move_pages, 0, pages, where, NULL, status, 0))
		err(2, "move_pages");
	for (unsigned long i = 0; i < pages; i++) {
		if (status[i] < 0)
			errx(2, "page %lu: %s", i, strerror(-status[i]));
		here[i % 2] += !status[i];
	}
	if (policy->mems)
		put(CGROUPS "cgroup.procs", "0");
	printf("%s %lu %lu %lu\n", policy->name, here[0], here[1], speculative);
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
		if (strcmp(argv[1], "-"))
			fill_node_0(argv[1]);
		touch(policy, strtoul(argv[2], NULL, 10) << 20);
	}
	return 0;
}
