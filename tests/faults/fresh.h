/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Anonymous memory that nothing has touched, and the kernel's counters, read
 * without touching new memory.  One program includes it in one file.
 */
#ifndef FRESH_H
#define FRESH_H

#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	4096UL
#define TABLE	(PAGE << 9)	/* the memory that one page table maps */

/* The number that follows @name in a file, or 0.  stdio's buffers would be new memory to touch. */
static inline unsigned long number(const char *path, const char *name)
{
	static char text[1 << 16];
	int fd = open(path, O_RDONLY);
	ssize_t len, more;
	char *at;

	if (fd < 0)
		err(2, "%s", path);
	for (len = 0; (more = read(fd, text + len, sizeof(text) - 1 - len)) > 0; len += more)
		;
	close(fd);
	text[len] = '\0';
	at = strstr(text, name);
	if (!at)
		return 0;
	at += strlen(name);
	return strtoul(at + strspn(at, " "), NULL, 10);
}

/* Map memory at a page table's boundary.  The kernel can merge it with no neighbour, and it has no huge pages. */
static inline char *fresh_memory(size_t size)
{
	char *mem = mmap(NULL, size + 2 * TABLE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		err(2, "mmap");
	mem = (char *)(((unsigned long)mem + TABLE - 1) & -TABLE);
	if (mprotect(mem, size, PROT_READ | PROT_WRITE) || madvise(mem, size, MADV_NOHUGEPAGE))
		err(2, "mprotect, madvise");
	return mem;
}

#endif
