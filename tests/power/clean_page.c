/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Make a page clean, read it, write it and reclaim it.  The page must keep the data, because the store after the load
 * makes it dirty again.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 64, OLD = 1, NEW = 2 };

static int failed(const char *what)
{
	perror(what);
	return 1;
}

int main(void)
{
	long page = sysconf(_SC_PAGESIZE);
	size_t size = PAGES * page;
	volatile char *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int lost = 0, read = 0;

	if (area == MAP_FAILED || madvise((void *)area, size, MADV_NOHUGEPAGE))
		return failed("mmap");
	for (size_t at = 0; at < size; at += page)
		area[at] = OLD;
	if (madvise((void *)area, size, MADV_FREE))
		return failed("MADV_FREE");
	for (size_t at = 0; at < size; at += page) {
		read += area[at] == OLD;
		area[at] = NEW;
	}
	if (madvise((void *)area, size, MADV_PAGEOUT))
		return failed("MADV_PAGEOUT");
	for (size_t at = 0; at < size; at += page)
		lost += area[at] != NEW;
	printf("clean_page: %d pages, %d read before they were written, %d lost\n", PAGES, read, lost);
	return lost || read != PAGES;
}
