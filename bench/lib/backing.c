// SPDX-License-Identifier: GPL-2.0-or-later
#include "backing.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MIB2 (UINT64_C(2) << 20)

static int fail(const struct backing *backing, const char *todo)
{
	fprintf(stderr, "backing %s: %m; %s\n", backing->kind, todo);
	return -1;
}

/* Aligned to 2 MiB, so that huge pages fit. */
static int reserve(struct backing *backing, int flags)
{
	uintptr_t start;

	backing->map_size = backing->size + MIB2;
	backing->map = mmap(NULL, backing->map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (backing->map == MAP_FAILED)
		return fail(backing, "ask for less");
	start = ((uintptr_t)backing->map + MIB2 - 1) & ~(MIB2 - 1);
	backing->hva = mmap((void *)start, backing->size, PROT_READ | PROT_WRITE, MAP_FIXED | flags,
			    backing->fd, 0);
	if (backing->hva == MAP_FAILED)
		return fail(backing, flags & MAP_HUGETLB ? "raise vm.nr_hugepages" : "ask for less");
	return 0;
}

static int open_file(struct backing *backing)
{
	const char *path = strchr(backing->kind, ':');

	if (path)
		backing->fd = open(path + 1, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	else
		backing->fd = memfd_create("guest", MFD_CLOEXEC);
	if (backing->fd < 0 || ftruncate(backing->fd, backing->size))
		return fail(backing, "name a file on a file system with room for it");
	return 0;
}

static int set_policy(const struct backing *backing)
{
	static const struct { const char *name; int mode; } policies[] = {
		{ "bind:", MPOL_BIND }, { "interleave:", MPOL_INTERLEAVE }, { "preferred:", MPOL_PREFERRED },
	};

	for (unsigned int i = 0; i < sizeof(policies) / sizeof(*policies); i++) {
		size_t length = strlen(policies[i].name);
		const char *at = backing->numa + length;
		unsigned long nodes = 0;

		if (strncmp(backing->numa, policies[i].name, length))
			continue;
		for (char *end; *at; at = *end ? end + 1 : end) {
			unsigned long node = strtoul(at, &end, 10);

			if (end == at || (*end && *end != ',') || node >= 8 * sizeof(nodes))
				goto bad;
			nodes |= 1ul << node;
		}
		if (!nodes)
			goto bad;
		if (syscall(SYS_mbind, backing->hva, backing->size, policies[i].mode, &nodes, 8 * sizeof(nodes), 0))
			return fail(backing, "name NUMA nodes that this host has");
		return 0;
	}
bad:
	fprintf(stderr, "bad NUMA policy '%s': say " BACKING_NUMA "\n", backing->numa);
	return -1;
}

static int map(struct backing *backing)
{
	int huge = !strcmp(backing->kind, "thp");

	if (!strcmp(backing->kind, "hugetlb"))
		return reserve(backing, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB);
	if (!strcmp(backing->kind, "memfd") || !strncmp(backing->kind, "file:", 5))
		return open_file(backing) ? -1 : reserve(backing, MAP_SHARED);
	if (!huge && strcmp(backing->kind, "anon") && strcmp(backing->kind, "plain")) {
		fprintf(stderr, "there is no backing '%s': say " BACKING_KINDS "\n", backing->kind);
		return -1;
	}
	if (reserve(backing, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE))
		return -1;
	/* The host's settings decide. */
	if (!strcmp(backing->kind, "plain"))
		return 0;
	/* A kernel without huge pages refuses both, and "anon" needs neither. */
	if (madvise(backing->hva, backing->size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) && huge)
		return fail(backing, "transparent huge pages are not in this kernel");
	return 0;
}

int backing__create(struct backing *backing)
{
	backing->fd = -1;
	backing->map = NULL;
	backing->size = (backing->size + MIB2 - 1) & ~(MIB2 - 1);
	if (map(backing) || (backing->numa && set_policy(backing))) {
		backing__destroy(backing);
		return -1;
	}
	return 0;
}

void backing__destroy(struct backing *backing)
{
	if (backing->map && backing->map != MAP_FAILED)
		munmap(backing->map, backing->map_size);
	if (backing->fd >= 0)
		close(backing->fd);
}
