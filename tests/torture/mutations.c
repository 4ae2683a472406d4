// SPDX-License-Identifier: GPL-2.0-or-later
/* What a VMM may do to the memory of a running guest, or a little more. */
#include <errno.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "torture.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static int fail(struct mutator *me, const char *what)
{
	return torture__fail(me->torture, "%s: %s", what, strerror(errno));
}

static char *start_of(struct mutator *me, unsigned int region)
{
	return region_start(me->torture, region);
}

static char *scratch_of(struct mutator *me, unsigned int region)
{
	return start_of(me, region) + (SCRATCH - ARENA);
}

/* Map mostly small pages: a huge page would be filled at once, not page by page. */
int map_anew(struct mutator *me, char *at, size_t size, int flags)
{
	if (mmap(at, size, PROT_READ | PROT_WRITE, flags | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		return fail(me, "mmap");
	if (random_next(&me->random) & 3)
		madvise(at, size, MADV_NOHUGEPAGE);
	return 0;
}

static int mutate_replace(struct mutator *me, unsigned int region)
{
	int status;

	drop_begins(me->torture, region, true);
	status = map_anew(me, start_of(me, region), REGION_BYTES, MAP_FIXED);
	drop_ended(me->torture, region, true);
	return status;
}

static int mutate_unmap(struct mutator *me, unsigned int region)
{
	int status = 0;

	drop_begins(me->torture, region, true);
	if (munmap(start_of(me, region), REGION_BYTES))
		status = fail(me, "munmap");
	else
		status = map_anew(me, start_of(me, region), REGION_BYTES, MAP_FIXED_NOREPLACE);
	drop_ended(me->torture, region, true);
	return status;
}

/* The VMA is split, and merged again. */
static int mutate_unmap_half(struct mutator *me, unsigned int region)
{
	size_t half = REGION_BYTES / 2;
	char *at = start_of(me, region) + (random_next(&me->random) & 1) * half;
	int status = 0;

	drop_begins(me->torture, region, false);
	if (munmap(at, half))
		status = fail(me, "munmap of a half");
	else
		status = map_anew(me, at, half, MAP_FIXED_NOREPLACE);
	drop_ended(me->torture, region, false);
	return status;
}

static int mutate_protect(struct mutator *me, unsigned int region)
{
	int protection = random_next(&me->random) & 1 ? PROT_READ : PROT_NONE;
	size_t size = REGION_BYTES >> (random_next(&me->random) & 1);

	if (mprotect(start_of(me, region), size, protection) ||
	    mprotect(start_of(me, region), size, PROT_READ | PROT_WRITE))
		return fail(me, "mprotect");
	return 0;
}

/* Returns 1 if the region cannot be moved, because earlier mutations left it in several VMAs. */
static int move(struct mutator *me, char *from, char *to, int flags)
{
	if (mremap(from, REGION_BYTES, REGION_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED | flags, to) != MAP_FAILED)
		return 0;
	return errno == EFAULT ? 1 : fail(me, "mremap");
}

/* A region as large as a page table, and aligned as one, moves with its table. */
static int mutate_move(struct mutator *me, unsigned int region)
{
	char *here = start_of(me, region), *there = scratch_of(me, region);

	return move(me, here, there, 0) ? 0 : move(me, there, here, 0);
}

static int mutate_move_keep(struct mutator *me, unsigned int region)
{
	int status;

	drop_begins(me->torture, region, true);
	status = move(me, start_of(me, region), scratch_of(me, region), MREMAP_DONTUNMAP);
	if (status)
		status = map_anew(me, start_of(me, region), REGION_BYTES, MAP_FIXED);
	else if (munmap(scratch_of(me, region), REGION_BYTES))
		status = fail(me, "munmap");
	drop_ended(me->torture, region, true);
	return status;
}

static int mutate_resize(struct mutator *me, unsigned int region)
{
	size_t half = REGION_BYTES / 2;
	char *at = start_of(me, region);
	int status = 0;

	drop_begins(me->torture, region, false);
	if (mremap(at, REGION_BYTES, half, 0) == MAP_FAILED)
		status = fail(me, "mremap, smaller");
	else if (mremap(at, half, REGION_BYTES, 0) == MAP_FAILED)
		status = errno == EFAULT ? map_anew(me, at + half, half, MAP_FIXED_NOREPLACE) :
			 fail(me, "mremap, larger");
	drop_ended(me->torture, region, false);
	return status;
}

static uint64_t sum(const char *at)
{
	uint64_t total = 0;

	for (int i = 0; i < REGION_PAGES; i++)
		for (int word = 0; word < WORDS; word++)
			total = total * 31 + ((const volatile uint64_t *)(at + i * PAGE_BYTES))[word];
	return total;
}

/* The child's memory is what the parent's was, whatever the parent's threads and vCPUs write. */
static int mutate_fork(struct mutator *me, unsigned int region)
{
	pid_t child;
	int status;

	/* What reclaim drops is dropped for the child, too, and at any time. */
	if (me->torture->lazy[region])
		return 0;
	child = fork();
	if (child < 0)
		return fail(me, "fork");
	if (!child) {
		uint64_t first;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		first = sum(start_of(me, region));
		usleep(random_next(&me->random) % 2000);
		_exit(sum(start_of(me, region)) == first ? 0 : 1);
	}
	if (waitpid(child, &status, 0) < 0)
		return fail(me, "waitpid");
	if (status)
		return torture__fail(me->torture, "region %u: a child's memory changed, status %#x", region, status);
	return 0;
}

/* Not every kernel has it: PREEMPT_RT excludes huge pages. */
static bool may_be_missing(int advice)
{
	return advice == MADV_COLLAPSE || advice == MADV_HUGEPAGE || advice == MADV_NOHUGEPAGE ||
	       advice == MADV_MERGEABLE || advice == MADV_UNMERGEABLE;
}

static int advise(struct mutator *me, unsigned int region, int advice, const char *name)
{
	/* Some pages are in use, or there is nothing to collapse. */
	if (!madvise(start_of(me, region), REGION_BYTES, advice) || errno == EAGAIN || errno == EBUSY ||
	    (advice == MADV_COLLAPSE && errno == ENOMEM) || (errno == EINVAL && may_be_missing(advice)))
		return 0;
	return fail(me, name);
}

static int mutate_dontneed(struct mutator *me, unsigned int region)
{
	int status;

	drop_begins(me->torture, region, true);
	status = advise(me, region, MADV_DONTNEED, "MADV_DONTNEED");
	drop_ended(me->torture, region, true);
	return status;
}

static int mutate_free(struct mutator *me, unsigned int region)
{
	int status;

	me->torture->lazy[region] = true;
	drop_begins(me->torture, region, false);
	status = advise(me, region, MADV_FREE, "MADV_FREE");
	drop_ended(me->torture, region, false);
	return status;
}

#define ADVICE(name, ADVICE)								\
	static int mutate_##name(struct mutator *me, unsigned int region)		\
	{										\
		return advise(me, region, ADVICE, #ADVICE);				\
	}

ADVICE(pageout, MADV_PAGEOUT)
ADVICE(collapse, MADV_COLLAPSE)
ADVICE(populate, MADV_POPULATE_WRITE)
ADVICE(hugepage, MADV_HUGEPAGE)
ADVICE(nohugepage, MADV_NOHUGEPAGE)
ADVICE(mergeable, MADV_MERGEABLE)
ADVICE(unmergeable, MADV_UNMERGEABLE)

static int mutate_mlock(struct mutator *me, unsigned int region)
{
	char *at = start_of(me, region);
	unsigned int flags = random_next(&me->random) & 1 ? MLOCK_ONFAULT : 0;

	/* EAGAIN, ENOMEM: a page could not be had now. */
	if (mlock2(at, REGION_BYTES, flags) && errno != EAGAIN && errno != ENOMEM)
		return fail(me, "mlock2");
	return munlock(at, REGION_BYTES) ? fail(me, "munlock") : 0;
}

/* Replace the policy.  This frees the old one, while faults use it. */
static int mutate_bind(struct mutator *me, unsigned int region)
{
	unsigned long nodes = 1ul << random_next(&me->random) % me->torture->nodes;
	int mode = random_next(&me->random) % 3 ? MPOL_BIND : MPOL_DEFAULT;
	unsigned int flags = random_next(&me->random) & 1 ? MPOL_MF_MOVE : 0;
	unsigned long *mask = mode == MPOL_DEFAULT ? NULL : &nodes;

	if (syscall(SYS_mbind, start_of(me, region), REGION_BYTES, mode, mask, 64, flags) && errno != EIO)
		return fail(me, "mbind");
	return 0;
}

static int mutate_migrate(struct mutator *me, unsigned int region)
{
	unsigned long all = (1ul << me->torture->nodes) - 1;
	unsigned long to = 1ul << random_next(&me->random) % me->torture->nodes;

	(void)region;
	return syscall(SYS_migrate_pages, 0, 64, &all, &to) < 0 ? fail(me, "migrate_pages") : 0;
}

static int slot(struct mutator *me, unsigned int region, uint64_t gpa, uint64_t size)
{
	return vmm__map(&me->torture->vmm, VMM_RAM_SLOT + 1 + region, gpa, size, start_of(me, region)) ?
	       torture__fail(me->torture, "region %u: memory slot", region) : 0;
}

/* Delete the slot, or move it to where the guest does not look, and put it back. */
static int mutate_slot(struct mutator *me, unsigned int region)
{
	uint64_t here = me->torture->control->guest[region], there = here + MAX_REGIONS * GIB;
	bool moved = random_next(&me->random) & 1;

	return slot(me, region, moved ? there : here, moved ? REGION_BYTES : 0) ||
	       slot(me, region, here, REGION_BYTES) ? -1 : 0;
}

static int mutate_mode(struct mutator *me, unsigned int region)
{
	enum vmm_mode mode = me->torture->highest;

	(void)region;
	if (!(random_next(&me->random) % 4))
		mode = random_next(&me->random) % 2;
	return vmm__set_mode(&me->torture->vmm, mode) ? torture__fail(me->torture, "mode") : 0;
}

static int mutate_signal(struct mutator *me, unsigned int region)
{
	(void)region;
	pthread_kill(me->torture->vcpu_thread[random_next(&me->random) % me->torture->vcpus], SIGUSR1);
	return 0;
}

const struct mutation mutations[] = {
	{ "replace", mutate_replace },
	{ "unmap", mutate_unmap },
	{ "unmap-half", mutate_unmap_half },
	{ "file", mutate_file },
	{ "protect", mutate_protect },
	{ "forbid", mutate_forbid },
	{ "move", mutate_move },
	{ "move-keep", mutate_move_keep },
	{ "resize", mutate_resize },
	{ "fork", mutate_fork },
	{ "dontneed", mutate_dontneed },
	{ "free", mutate_free },
	{ "pageout", mutate_pageout },
	{ "collapse", mutate_collapse },
	{ "populate", mutate_populate },
	{ "hugepage", mutate_hugepage },
	{ "nohugepage", mutate_nohugepage },
	{ "mergeable", mutate_mergeable },
	{ "unmergeable", mutate_unmergeable },
	{ "mlock", mutate_mlock },
	{ "bind", mutate_bind },
	{ "migrate", mutate_migrate },
	{ "slot", mutate_slot },
	{ "mode", mutate_mode },
	{ "signal", mutate_signal },
	{ "userfaultfd", mutate_userfaultfd },
	{ "unplug-memory", mutate_unplug_memory },
	{ "unplug-cpu", mutate_unplug_cpu },
	{ "oom", mutate_oom },
	{ }
};

const unsigned int mutation_count = sizeof(mutations) / sizeof(*mutations) - 1;
