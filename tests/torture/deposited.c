/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A page table that khugepaged has put aside is freed under a speculative fault.
 *
 * MADV_COLLAPSE replaces a page table by a huge page, and keeps the table for the day on which that is
 * split.  Before, it interrupts all CPUs, and so waits for walks with IRQs off.  MADV_DONTNEED of the
 * huge page frees the table at once, without a grace period.  So a walk with IRQs on, which RCU alone
 * protects, finds a table that is free.
 *
 * One thread stores to an empty page of a page table, on a CPU of its own.  The other collapses and
 * discards meanwhile.  A collapse fails while a CPU's batch of new folios has one of that memory: hence
 * the other memory, whose collapse empties all batches before a round.  The kernel's complaint, if there
 * is one, is the result: this program has none.
 */
#define _GNU_SOURCE
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define HUGE	(2ul << 20)
#define PAGE	4096ul

static char *region;
/* Odd: the other thread stores.  Even: it has. */
static atomic_uint turn;

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "sched_setaffinity");
}

static void allow_speculation(void)
{
	FILE *file = fopen("/proc/sys/vm/speculative_user_faults", "w");

	if (!file || fputs("1", file) < 0 || fclose(file))
		err(1, "vm.speculative_user_faults");
}

static void *store(void *unused)
{
	(void)unused;
	pin(1);
	for (unsigned int mine = 1;; mine += 2) {
		while (atomic_load(&turn) != mine)
			;
		*(volatile char *)(region + 100 * PAGE) = 1;
		atomic_store(&turn, mine + 1);
	}
	return NULL;
}

/* Memory of small pages, of which a few are there, that may be collapsed. */
static void small(char *at)
{
	if (madvise(at, HUGE, MADV_NOHUGEPAGE))
		err(1, "MADV_NOHUGEPAGE");
	for (int i = 0; i < 4; i++)
		*(volatile char *)(at + (unsigned long)i * PAGE) = 1;
	if (madvise(at, HUGE, MADV_HUGEPAGE))
		err(1, "MADV_HUGEPAGE");
}

static char *aligned(void)
{
	char *at = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		err(1, "mmap");
	return (char *)(((uintptr_t)at + HUGE - 1) & ~(HUGE - 1));
}

int main(int argc, char **argv)
{
	char *other = aligned();
	unsigned int rounds = 0, collapsed = 0, meanwhile = 0;
	time_t end;
	pthread_t thread;

	if (argc != 2)
		errx(1, "usage: deposited SECONDS");
	end = time(NULL) + atoi(argv[1]);
	allow_speculation();
	region = aligned();
	pin(0);
	if (pthread_create(&thread, NULL, store, NULL))
		errx(1, "there is no second thread");
	for (; time(NULL) < end; rounds++) {
		unsigned int mine = 2 * rounds + 1;

		small(region);
		small(other);
		if (madvise(other, HUGE, MADV_COLLAPSE))
			err(1, "MADV_COLLAPSE");
		atomic_store(&turn, mine);
		/* Into the window: the length of a fault is not known. */
		for (volatile int i = rand() % 20000; i > 0; i--)
			;
		if (!madvise(region, HUGE, MADV_COLLAPSE)) {
			collapsed++;
			meanwhile += atomic_load(&turn) == mine;
		}
		madvise(region, HUGE, MADV_DONTNEED);
		madvise(other, HUGE, MADV_DONTNEED);
		while (atomic_load(&turn) == mine)
			;
		madvise(region, HUGE, MADV_DONTNEED);
	}
	printf("%u rounds, %u collapses, %u of them during the store\n", rounds, collapsed, meanwhile);
	return 0;
}
