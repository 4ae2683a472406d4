// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Two threads touch the same new pages at the same time, until 100 speculative faults have found that the other was first.
 * Prints the numbers of the threads, how many speculative faults lost, and how many put a page there.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	4096UL
#define TABLE	(PAGE << 9)	/* the memory that one page table maps */

enum { ROUNDS = 2000, LOST = 100 };

static char *mem;
static pthread_barrier_t begin, end;
static int tids[2];

static char text[1 << 16];

/* The number that follows @name in /proc/vmstat.  No stdio, whose buffers would be new memory to touch. */
static unsigned long vmstat(const char *name)
{
	int fd = open("/proc/vmstat", O_RDONLY);
	ssize_t len = 0, more;
	char *at;

	if (fd < 0)
		err(2, "/proc/vmstat");
	while ((more = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += more;
	close(fd);
	text[len] = '\0';
	at = strstr(text, name);
	if (!at)
		errx(2, "there is no %s", name);
	return strtoul(at + strlen(name), NULL, 10);
}

static void *racer(void *arg)
{
	int me = *(int *)arg;
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(me, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		err(2, "sched_setaffinity");
	tids[me] = gettid();
	for (;;) {
		pthread_barrier_wait(&begin);
		if (!mem)
			return NULL;
		for (unsigned long i = 1; i < TABLE / PAGE; i++)
			__atomic_fetch_add(mem + i * PAGE, 1, __ATOMIC_RELAXED);
		pthread_barrier_wait(&end);
	}
}

int main(void)
{
	char *room = mmap(NULL, 2 * TABLE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long lost, now, won;
	int numbers[2] = { 0, 1 };
	pthread_t threads[2];

	if (room == MAP_FAILED || madvise(room, 2 * TABLE, MADV_NOHUGEPAGE))
		err(2, "mmap");
	room = (char *)(((unsigned long)room + TABLE - 1) & -TABLE);
	mem = room;
	/* Making the page table and the anon_vma takes a lock: make them first. */
	mem[0] = 1;
	memset(text, 1, sizeof(text));
	lost = now = vmstat("spf_abort_pte_changed");
	pthread_barrier_init(&begin, NULL, 3);
	pthread_barrier_init(&end, NULL, 3);
	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, racer, &numbers[i]))
			errx(2, "pthread_create");

	won = vmstat("spf_success");
	for (int round = 0; round < ROUNDS && now - lost < LOST; round++) {
		pthread_barrier_wait(&begin);
		pthread_barrier_wait(&end);
		for (unsigned long i = 1; i < TABLE / PAGE; i++)
			if (mem[i * PAGE] != 2)
				errx(1, "page %lu is %d", i, mem[i * PAGE]);
		if (madvise(mem + PAGE, TABLE - PAGE, MADV_DONTNEED))
			err(2, "madvise");
		now = vmstat("spf_abort_pte_changed");
	}
	won = vmstat("spf_success") - won;
	mem = NULL;
	pthread_barrier_wait(&begin);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	printf("%d %d %lu %lu\n", tids[0], tids[1], now - lost, won);
	return 0;
}
