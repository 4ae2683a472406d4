// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One process reads and writes the fresh memory of another.  Prints the contents that it got and the state of the pages
 * afterwards.  Both must be the same whether the owner's own faults are speculative or not.  Remote faults never are:
 * the tier serves only the address space that is loaded.
 *
 * For the lab, as root: it reads the pagemap of another process.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE		4096UL
#define PAGES		1024UL
#define WORDS		(PAGE / sizeof(uint64_t))
#define PRESENT		(1ULL << 63)
#define EXCLUSIVE	(1ULL << 56)
#define SOFT_DIRTY	(1ULL << 55)

/* The owner's next task; the owner answers with IDLE. */
enum order { IDLE, RENEW, TOUCH, QUIT };

static _Atomic enum order *order;
static uint64_t *memory, *copy;		/* the owner's, and the reader's own */
static pid_t owner;

static uint64_t value(unsigned long page)
{
	return 0x5350000000000000ULL | page;
}

/* Anonymous memory with an anon_vma and a page table, so that speculation can fill all but the first page. */
static void renew(void)
{
	if (mmap(memory, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
	    memory || madvise(memory, PAGES * PAGE, MADV_NOHUGEPAGE))
		err(2, "mmap, madvise");
	*memory = value(0);
}

static void __attribute__((noreturn)) own(void)
{
	for (;;) {
		switch (*order) {
		case RENEW:
			renew();
			break;
		case TOUCH:
			for (unsigned long page = 1; page < PAGES; page++)
				memory[page * WORDS + page % WORDS] = value(page);
			break;
		case QUIT:
			exit(0);
		case IDLE:
			sched_yield();
			continue;
		}
		*order = IDLE;
	}
}

static void tell(enum order what)
{
	*order = what;
	while (*order != IDLE)
		if (waitpid(owner, NULL, WNOHANG))
			errx(1, "the owner has ended");
}

static void access_remotely(ssize_t (*call)(pid_t, const struct iovec *, unsigned long, const struct iovec *,
					    unsigned long, unsigned long))
{
	/* Leave out the first page. */
	struct iovec here = { copy + WORDS, (PAGES - 1) * PAGE }, there = { memory + WORDS, (PAGES - 1) * PAGE };
	ssize_t done = call(owner, &here, 1, &there, 1, 0);

	if (done < 0)
		err(1, "remote access");
	if ((size_t)done != here.iov_len)
		errx(1, "%zd bytes of %zu", done, here.iov_len);
}

/* Count the pages of the copy that are all zero, and those that the owner has written; there must be no others. */
static void count(unsigned long *zero, unsigned long *written)
{
	*zero = *written = 0;
	for (unsigned long page = 1; page < PAGES; page++) {
		unsigned long others = 0;
		uint64_t found = copy[page * WORDS + page % WORDS];

		for (unsigned long word = 0; word < WORDS; word++)
			others += word != page % WORDS && copy[page * WORDS + word];
		if (others || (found && found != value(page)))
			errx(1, "page %lu has %#lx, and %lu other words are not zero", page, (unsigned long)found, others);
		*zero += !found;
		*written += !!found;
	}
}

static void report(const char *name)
{
	static uint64_t map[PAGES];
	unsigned long zero, written, present = 0, exclusive = 0, dirty = 0;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", owner);
	fd = open(path, O_RDONLY);
	if (fd < 0 || pread(fd, map, sizeof(map), (uintptr_t)memory / PAGE * sizeof(*map)) != sizeof(map))
		err(2, "%s", path);
	close(fd);
	for (unsigned long page = 1; page < PAGES; page++) {
		present += !!(map[page] & PRESENT);
		exclusive += !!(map[page] & EXCLUSIVE);
		dirty += !!(map[page] & SOFT_DIRTY);
	}
	count(&zero, &written);
	printf("%s: %lu zero, %lu written; %lu present, %lu exclusive, %lu soft-dirty\n", name, zero, written, present,
	       exclusive, dirty);
}

/* While the owner touches its pages, a read page is empty or written, and a written page never becomes empty again. */
static void race(void)
{
	unsigned long zero, written, before, partial = 0;

	for (int round = 0; round < 50; round++) {
		bool over = false;

		tell(RENEW);
		*order = TOUCH;
		for (before = 0; !over; before = written) {
			over = *order == IDLE;
			access_remotely(process_vm_readv);
			count(&zero, &written);
			if (written < before || (over && zero))
				errx(1, "%lu pages were written, and now %lu of %lu", before, written, PAGES - 1);
			partial += written && zero;
		}
	}
	fprintf(stderr, "%lu reads beside the owner\n", partial);
}

int main(void)
{
	order = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memory = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	copy = calloc(PAGES, PAGE);
	if (order == MAP_FAILED || memory == MAP_FAILED || !copy)
		err(2, "memory");
	owner = fork();
	if (owner < 0)
		err(2, "fork");
	if (!owner)
		own();

	tell(RENEW);
	access_remotely(process_vm_readv);
	report("read");
	tell(TOUCH);
	access_remotely(process_vm_readv);
	report("read, then touched");

	tell(RENEW);
	for (unsigned long page = 1; page < PAGES; page++)
		copy[page * WORDS + page % WORDS] = value(page);
	access_remotely(process_vm_writev);
	memset(copy, 0, PAGES * PAGE);
	access_remotely(process_vm_readv);
	report("written");

	tell(RENEW);
	tell(TOUCH);
	access_remotely(process_vm_readv);
	report("touched");

	race();
	*order = QUIT;
	return wait(NULL) != owner;
}
