// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A process whose memory is dumped twice, the second time only the pages that have changed.
 *
 * Argument: a directory.  The process creates the file `ready` there when it may be dumped, and `changed` after it has
 * seen `go` and changed its memory.  When it sees `end`, after it was restored, it writes to `result` how many pages
 * have wrong contents.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	4096UL

/* Each kind has this many pages. */
enum { KEPT, CHANGED, ADDED, READ, OVERWRITTEN, ABSENT, KINDS, PAGES = 512 };

static char *mem;

static char *page(int kind, int number)
{
	return mem + ((unsigned long)kind * PAGES + number) * PAGE;
}

static void fill(int kind, char with)
{
	for (int i = 0; i < PAGES; i++)
		*(volatile char *)page(kind, i) = with;
}

static int count(int kind, char with)
{
	int wrong = 0;

	for (int i = 0; i < PAGES; i++)
		wrong += *(volatile char *)page(kind, i) != with;
	return wrong;
}

static void say(const char *name, int number)
{
	char text[16];
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int len = snprintf(text, sizeof(text), "%d\n", number);

	if (fd < 0 || write(fd, text, len) != len || close(fd))
		err(2, "%s", name);
}

static void wait_for(const char *name)
{
	while (access(name, F_OK))
		usleep(10000);
}

int main(int argc, char **argv)
{
	unsigned long size = (unsigned long)KINDS * PAGES * PAGE;

	if (argc != 2 || chdir(argv[1]))
		errx(2, "usage: tracked DIRECTORY");
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED || madvise(mem, size, MADV_NOHUGEPAGE))
		err(2, "mmap");
	fill(KEPT, 1);
	fill(CHANGED, 1);
	/* Reads map the zero page. */
	count(READ, 0);
	count(OVERWRITTEN, 0);
	say("ready", getpid());
	wait_for("go");
	fill(CHANGED, 2);
	fill(ADDED, 2);
	fill(OVERWRITTEN, 2);
	say("changed", 0);
	wait_for("end");
	say("result", count(KEPT, 1) + count(CHANGED, 2) + count(ADDED, 2) + count(READ, 0) + count(OVERWRITTEN, 2) +
	    count(ABSENT, 0));
	return 0;
}
