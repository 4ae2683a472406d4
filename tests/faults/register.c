// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Register memory that has been touched with userfaultfd, again and again.  Prints the process's number, the number of
 * registrations, and the median time of one, in nanoseconds.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 200, SIZE = 1 << 20, PAGE = 4096 };

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	static uint64_t took[ROUNDS];
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	char *mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		err(2, "userfaultfd");
	if (mem == MAP_FAILED)
		err(2, "mmap");
	for (int i = 0; i < SIZE; i += PAGE)
		mem[i] = 1;

	for (int i = 0; i < ROUNDS; i++) {
		struct uffdio_register reg = {
			.range = { (uintptr_t)mem, SIZE }, .mode = UFFDIO_REGISTER_MODE_MISSING
		};
		uint64_t start = now();

		if (ioctl(fd, UFFDIO_REGISTER, &reg))
			err(2, "UFFDIO_REGISTER");
		took[i] = now() - start;
		if (ioctl(fd, UFFDIO_UNREGISTER, &reg.range))
			err(2, "UFFDIO_UNREGISTER");
	}
	qsort(took, ROUNDS, sizeof(*took), compare);
	printf("%d %d %llu\n", getpid(), ROUNDS, (unsigned long long)took[ROUNDS / 2]);
	return 0;
}
