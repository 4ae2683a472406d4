// SPDX-License-Identifier: GPL-2.0-or-later
/* States for tests/waits: all pages are in exactly this state when a fault comes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "matrix.h"
#include "number.h"
#include "pages.h"

#define RECLAIM "/sys/fs/cgroup/matrix/memory.reclaim"

/* Returns how many of our 4 KiB pages are in the page cache, the swap cache or the page tables. */
static long resident(struct row *row)
{
	unsigned long pages = row->memory.size / 4096;
	unsigned char *vector = malloc(pages);
	long found = 0;

	if (!vector || mincore(row->memory.hva, row->memory.size, vector))
		found = row__fail("mincore");
	for (unsigned long i = 0; found >= 0 && i < pages; i++)
		found += vector[i] & 1;
	free(vector);
	return found;
}

/* Wait for that number, a minute at most. */
static int until_resident(struct row *row, long pages, int (*try)(struct row *row))
{
	for (int i = 0; i < 1200; i++) {
		long now = resident(row);

		if (now < 0 || now == pages)
			return now < 0 ? -1 : 0;
		if (try && try(row))
			return -1;
		usleep(50000);
	}
	fprintf(stderr, "matrix: %ld pages are there, not %ld\n", resident(row), pages);
	return -1;
}

/* This step did its work before the VM was created. */
static int wait_async(struct row *row)
{
	(void)row;
	return 0;
}

static int wait_fallocate(struct row *row)
{
	return fallocate(row->memory.fd, 0, 0, row->memory.size) ? row__fail("fallocate") : 0;
}

/* Bring pages into the page cache, mapped by no process. */
static int wait_fill(struct row *row)
{
	static uint64_t page[512];

	row->generation++;
	for (uint64_t i = 0; i < row->pages; i++) {
		page_write(page, VMM_RAM + i * row->stride, row->generation);
		if (pwrite(row->memory.fd, page, sizeof(page), i * row->stride) != sizeof(page))
			return row__fail("pwrite");
	}
	return 0;
}

static int wait_unmapped(struct row *row)
{
	return row__advise(row, MADV_DONTNEED, "MADV_DONTNEED");
}

static int drop(struct row *row)
{
	if (fsync(row->memory.fd))
		return row__fail("fsync");
	errno = posix_fadvise(row->memory.fd, 0, 0, POSIX_FADV_DONTNEED);
	return errno ? row__fail("posix_fadvise") : 0;
}

static int wait_drop(struct row *row)
{
	return until_resident(row, 0, drop);
}

static int wait_random(struct row *row)
{
	return row__advise(row, MADV_RANDOM, "MADV_RANDOM");
}

/* Have the host write zeros to the pages. */
static int wait_zeros(struct row *row)
{
	memset(row->memory.hva, 0, row->memory.size);
	return row__forget(row);
}

/* A page that has been written to its device stays in the swap cache until the next reclaim. */
static int reclaim(struct row *row)
{
	static const char all[] = "1G swappiness=200";
	int fd = open(RECLAIM, O_WRONLY | O_CLOEXEC), bad;

	(void)row;
	bad = fd < 0 || (write(fd, all, strlen(all)) < 0 && errno != EAGAIN);
	if (fd >= 0)
		close(fd);
	return bad ? row__fail(RECLAIM) : 0;
}

static int wait_swap(struct row *row)
{
	if (row__advise(row, MADV_PAGEOUT, "MADV_PAGEOUT"))
		return -1;
	return until_resident(row, 0, reclaim);
}

static int wait_swapcache(struct row *row)
{
	if (row__advise(row, MADV_WILLNEED, "MADV_WILLNEED"))
		return -1;
	return until_resident(row, row->pages, NULL);
}

static int wait_merged(struct row *row)
{
	if (row__put("/sys/kernel/mm/ksm/run", "1"))
		return -1;
	for (int i = 0; i < 1200; i++, usleep(50000))
		if (number_in("/proc/self/ksm_stat", "ksm_merging_pages ") == (long)(row->memory.size / 4096))
			return row__put("/sys/kernel/mm/ksm/run", "0");
	fprintf(stderr, "matrix: not all pages are merged\n");
	return -1;
}

static int wait_missing(struct row *row)
{
	return row__userfaultfd(row, 0, UFFDIO_REGISTER_MODE_MISSING);
}

static int wait_minor(struct row *row)
{
	return row__userfaultfd(row, UFFD_FEATURE_MINOR_SHMEM, UFFDIO_REGISTER_MODE_MINOR);
}

/* -- pages under migration -- */

static atomic_bool moving;

static void *mover(void *arg)
{
	struct row *row = arg;
	void **pages = calloc(row->pages, sizeof(*pages));
	int *nodes = calloc(row->pages, sizeof(*nodes)), *status = calloc(row->pages, sizeof(*status));

	for (int node = 0; pages && nodes && status && moving; node ^= 1) {
		for (uint64_t i = 0; i < row->pages; i++) {
			pages[i] = (char *)row->memory.hva + i * row->stride;
			nodes[i] = node;
		}
		/* 4, MPOL_MF_MOVE_ALL: also pages that other processes have mapped. */
		syscall(SYS_move_pages, 0, row->pages, pages, nodes, status, 4);
	}
	free(pages);
	free(nodes);
	free(status);
	return NULL;
}

static int while_moving(struct row *row, unsigned int walk)
{
	pthread_t thread;
	int bad = 0;

	/* Watch all runs together: watching each of a hundred takes a while. */
	row->measuring = false;
	moving = true;
	if (pthread_create(&thread, NULL, mover, row))
		return row__fail("pthread_create");
	for (int i = 0; i < 100 && !bad && row->outcome == OUTCOME_OK; i++)
		bad = row__guest(row, walk);
	moving = false;
	pthread_join(thread, NULL);
	return bad;
}

static int wait_read_moving(struct row *row)
{
	return while_moving(row, WALK_READ);
}

static int wait_overwrite_moving(struct row *row)
{
	return while_moving(row, WALK_WRITE);
}

/* -- a signal while the vCPU waits for a userfaultfd -- */

static void ignore(int number)
{
	(void)number;
}

static void *interrupter(void *arg)
{
	struct row *row = arg;

	while (!*(volatile unsigned long *)&row->messages)
		usleep(1000);
	/* The vCPU sleeps by now, or soon.  Another signal does no harm. */
	while (row->until_signal) {
		usleep(100000);
		syscall(SYS_tgkill, getpid(), row->tid, SIGUSR1);
	}
	return NULL;
}

static int wait_interrupted(struct row *row)
{
	struct sigaction action = { .sa_handler = ignore };
	pthread_t thread;
	int bad;

	sigaction(SIGUSR1, &action, NULL);
	row->until_signal = true;
	if (pthread_create(&thread, NULL, interrupter, row))
		return row__fail("pthread_create");
	bad = row__guest(row, WALK_READ);
	row->until_signal = false;
	pthread_join(thread, NULL);
	return bad;
}

/* -- the watching script -- */

/* Print a line, and go on after a line on stdin. */
static int wait_ready(struct row *row)
{
	char line[8];

	(void)row;
	puts("ready");
	fflush(stdout);
	return fgets(line, sizeof(line), stdin) ? 0 : row__fail("the measurement was not started");
}

const struct step waits[] = {
	{ "async", "the first step: KVM may put faults off; all memory but the guest's is locked", wait_async },
	{ "ready", "say so, and wait for a line on stdin", wait_ready },
	{ "fallocate", "allocate the file, and write nothing", wait_fallocate },
	{ "fill", "write the file, not through its mapping", wait_fill },
	{ "unmapped", "empty the page tables; what the file has stays", wait_unmapped },
	{ "drop", "write the file back and drop its unmapped pages, all of them", wait_drop },
	{ "random", "MADV_RANDOM", wait_random },
	{ "zeros", "the host writes zeros", wait_zeros },
	{ "swap", "swap it out, and leave nothing in the swap cache", wait_swap },
	{ "swapcache", "bring it to the swap cache again", wait_swapcache },
	{ "merged", "wait until KSM has merged all pages", wait_merged },
	{ "missing", "pages to be given by userfaultfd, were there none", wait_missing },
	{ "minor", "pages to be mapped by userfaultfd", wait_minor },
	{ "read-moving", "the guest reads all pages again and again, while they move between nodes", wait_read_moving },
	{ "overwrite-moving", "the guest writes all pages again and again, while they move", wait_overwrite_moving },
	{ "interrupted", "the guest reads, and is interrupted by a signal while userfaultfd is asked", wait_interrupted },
	{ }
};
