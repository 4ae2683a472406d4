// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages that come too late: once a system call has taken memory away, no fault that began before it may fill a page.
 * An empty page in the place of an empty page looks right, so here something else takes the place.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "torture.h"

/* The last word of each of the file's pages; the words that workers look at are zero there. */
#define MARK(page)	(CHECK + (page))
#define MARK_AT		(PAGE_BYTES / sizeof(uint64_t) - 1)

static int fail(struct mutator *me, const char *what)
{
	return torture__fail(me->torture, "%s: %s", what, strerror(errno));
}

int late__file(void)
{
	int fd = memfd_create("late", MFD_CLOEXEC);

	for (uint64_t page = 0; fd >= 0 && page < REGION_PAGES; page++) {
		uint64_t mark = MARK(page);

		if (pwrite(fd, &mark, sizeof(mark), page * PAGE_BYTES + MARK_AT * sizeof(mark)) != sizeof(mark))
			return -1;
	}
	return fd;
}

void look_at_pagemap(struct torture *torture, const char *start, uint64_t entries[REGION_PAGES])
{
	ssize_t size = REGION_PAGES * sizeof(*entries);

	if (pread(torture->pagemap, entries, size, (uintptr_t)start / PAGE_BYTES * sizeof(*entries)) != size)
		torture__fail(torture, "pagemap: %s", strerror(errno));
}

/* Give faults that are under way the time to end. */
static void wait_a_little(struct mutator *me)
{
	usleep(random_next(&me->random) % 1000);
}

/* Drop a region, or half of it: then its page table stays. */
int mutate_file(struct mutator *me, unsigned int region)
{
	uint64_t random = random_next(&me->random);
	size_t size = REGION_BYTES >> (random & 1);
	char *at = region_start(me->torture, region) + (random & 2 ? REGION_BYTES - size : 0);
	bool sure = size == REGION_BYTES;
	int status;

	drop_begins(me->torture, region, sure);
	if (mmap(at, size, PROT_READ, MAP_FIXED | MAP_SHARED, me->torture->file, 0) == MAP_FAILED)
		return fail(me, "mmap of a file");
	/* Make a page table, which a late page needs. */
	(void)*(volatile uint64_t *)at;
	wait_a_little(me);
	for (unsigned int page = 0; page < size / PAGE_BYTES; page++) {
		uint64_t found = ((volatile uint64_t *)(at + page * PAGE_BYTES))[MARK_AT];

		if (found != MARK(page))
			torture__fail(me->torture, "region %u: page %u of a file is not the file's: %#lx", region, page,
				      (unsigned long)found);
	}
	status = map_anew(me, at, size, MAP_FIXED);
	drop_ended(me->torture, region, sure);
	return status;
}

/* Read without a signal.  A PTE that allows the read is used without a look at the VMA. */
static bool can_read(const char *at)
{
	syscall(SYS_rt_sigprocmask, -1, at, NULL, 8);
	return errno != EFAULT;
}

/* Empty the region first, so that there is much to fault when it is forbidden. */
int mutate_forbid(struct mutator *me, unsigned int region)
{
	char *start = region_start(me->torture, region);
	uint64_t entries[REGION_PAGES];

	drop_begins(me->torture, region, true);
	if (madvise(start, REGION_BYTES, MADV_DONTNEED))
		return fail(me, "MADV_DONTNEED");
	drop_ended(me->torture, region, true);
	wait_a_little(me);
	if (mprotect(start, REGION_BYTES, PROT_NONE))
		return fail(me, "mprotect");
	wait_a_little(me);
	look_at_pagemap(me->torture, start, entries);
	for (unsigned int page = 0; page < REGION_PAGES; page++)
		if (is_there(entries[page]) && can_read(start + page * PAGE_BYTES))
			torture__fail(me->torture, "region %u: page %u is not to be accessed, and can be read", region,
				      page);
	return mprotect(start, REGION_BYTES, PROT_READ | PROT_WRITE) ? fail(me, "mprotect") : 0;
}
