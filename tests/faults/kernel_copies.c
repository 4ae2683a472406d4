// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * First touches of anonymous memory that are not a guest's: by a program's own stores, by the kernel's copies, and by
 * GUP for direct I/O.  Prints, for each, how many were speculative and how often this thread took its mmap_lock.
 *
 * For the lab, as root: needs /dev/zram0, which it sets up, and tracefs.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fresh.h"

#define SIZE		(32UL << 20)
#define TRIGGER		"/sys/kernel/tracing/events/mmap_lock/mmap_lock_start_locking/"
#define KEY		"hist:keys=common_pid"

static int block;

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err(2, "%s", path);
	close(fd);
}

static unsigned long mmap_locks(void)
{
	char name[64];

	snprintf(name, sizeof(name), "common_pid: %10d } hitcount:", getpid());
	return number(TRIGGER "hist", name);
}

static void by_store(char *mem)
{
	for (unsigned long i = 0; i < SIZE; i += PAGE)
		mem[i] = (char)(i / PAGE);
}

static void by_copy(char *mem)
{
	int fd = open("/dev/zero", O_RDONLY);

	if (fd < 0 || read(fd, mem, SIZE) != SIZE)
		err(2, "read of /dev/zero");
	close(fd);
}

static void by_direct_io(char *mem)
{
	if (pread(block, mem, SIZE, 0) != SIZE)
		err(2, "read of /dev/zram0");
}

static void check(const char *name, void (*touch)(char *mem), char (*want)(unsigned long page))
{
	char *mem = fresh_memory(SIZE);
	unsigned long speculative;

	/* Making page tables and the anon_vma takes a lock: make them first. */
	for (unsigned long i = 0; i < SIZE; i += TABLE)
		mem[i] = 1;

	put(TRIGGER "trigger", KEY);
	speculative = number("/proc/vmstat", "spf_success");
	touch(mem);
	speculative = number("/proc/vmstat", "spf_success") - speculative;
	printf("%s pages %lu speculative %lu mmap_lock %lu\n", name, (SIZE - SIZE / TABLE * PAGE) / PAGE, speculative,
	       mmap_locks());
	put(TRIGGER "trigger", "!" KEY);

	for (unsigned long i = 0; i < SIZE / PAGE; i++)
		if (mem[i * PAGE] != want(i))
			errx(1, "%s: page %lu is %d", name, i, mem[i * PAGE]);
	munmap(mem, SIZE);
}

static char low_bits(unsigned long page)
{
	return (char)page;
}

static char zero(unsigned long page)
{
	(void)page;
	return 0;
}

int main(void)
{
	char *mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		err(2, "mmap");
	by_store(mem);
	put("/sys/block/zram0/disksize", "64M");
	block = open("/dev/zram0", O_RDWR | O_DIRECT);
	if (block < 0 || pwrite(block, mem, SIZE, 0) != SIZE)
		err(2, "/dev/zram0");

	check("store", by_store, low_bits);
	check("copy", by_copy, zero);
	check("direct-io", by_direct_io, low_bits);
	return 0;
}
