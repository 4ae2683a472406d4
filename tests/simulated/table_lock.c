// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Speculative faults that have to wait for the lock of their page table.  Two threads, each on a CPU of its own, begin
 * at once, ROUNDS times:
 *
 *	touch	they touch every other new page of one table
 *	copy	the same, but a child shares the first one's pages: the first one copies them, and holds the lock while
 *		it waits for the other one's CPU to flush its TLB
 *
 * Prints how many speculative faults gave up because the lock was busy, how many succeeded, and how many timer
 * interrupts there were meanwhile.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/wait.h>

#include "../faults/fresh.h"
#include "pinned.h"

enum { THREADS = 2, PAGES = TABLE / PAGE };

static char *mem;
static unsigned int here;

static void *work(void *data)
{
	uintptr_t me = (uintptr_t)data;

	__atomic_add_fetch(&here, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&here, __ATOMIC_SEQ_CST) < THREADS)
		__builtin_ia32_pause();
	for (unsigned long i = me; i < PAGES; i += THREADS)
		mem[i * PAGE]++;
	return NULL;
}

static void begin(void)
{
	pthread_t thread[THREADS];

	here = 0;
	for (uintptr_t i = 0; i < THREADS; i++)
		thread[i] = start_on(i, work, (void *)i);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

/* Give a child the first thread's pages, which then are copied at their next write. */
static pid_t share(void)
{
	pid_t child;

	for (unsigned long i = 0; i < PAGES; i += THREADS)
		mem[i * PAGE] = 1;
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (!child)
		for (;;)
			pause();
	return child;
}

static unsigned long busy(void)
{
	return number("/proc/vmstat", "spf_abort_ptl_busy");
}

/* Timer interrupts of both CPUs. */
static unsigned long ticks(void)
{
	FILE *interrupts = fopen("/proc/interrupts", "r");
	unsigned long on[THREADS];
	char line[1024];

	while (interrupts && fgets(line, sizeof(line), interrupts))
		if (sscanf(line, " LOC: %lu %lu", &on[0], &on[1]) == THREADS) {
			fclose(interrupts);
			return on[0] + on[1];
		}
	errx(1, "/proc/interrupts has no timer");
}

int main(int argc, char **argv)
{
	unsigned long was_busy, was_ticks, success, rounds;
	bool copy;

	if (argc != 3)
		errx(2, "usage: table_lock touch|copy ROUNDS");
	copy = !strcmp(argv[1], "copy");
	rounds = strtoul(argv[2], NULL, 10);
	mem = fresh_memory(TABLE);
	/* Making the page table and the anon_vma takes a lock: make them first. */
	mem[0] = 1;

	was_ticks = ticks();
	was_busy = busy();
	success = number("/proc/vmstat", "spf_success");
	while (rounds--) {
		pid_t child = copy ? share() : 0;

		begin();
		for (unsigned long i = 1; i < PAGES; i++)
			if (mem[i * PAGE] != (copy && !(i % THREADS) ? 2 : 1))
				errx(1, "page %lu is %d", i, mem[i * PAGE]);
		if (child && (kill(child, SIGKILL) || waitpid(child, NULL, 0) != child))
			err(1, "the child");
		if (madvise(mem + PAGE, TABLE - PAGE, MADV_DONTNEED))
			err(1, "madvise");
	}
	printf("%lu %lu %lu\n", busy() - was_busy, number("/proc/vmstat", "spf_success") - success,
	       ticks() - was_ticks);
	return 0;
}
