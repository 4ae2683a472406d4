// SPDX-License-Identifier: GPL-2.0-or-later
#include "failures.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pages.h"
#include "vmm.h"

char *area;
static int file, huge;
static uint64_t old;

static void map(int flags, int fd)
{
	if (mmap(area, AREA, PROT_READ | PROT_WRITE, MAP_FIXED | flags, fd, 0) == MAP_FAILED)
		die("mmap");
}

static void anonymous(int advice)
{
	map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (madvise(area, AREA, advice))
		die("madvise");
}

/* With a table and an anon_vma: tier 1 serves this. */
static void fresh(void)
{
	anonymous(MADV_NOHUGEPAGE);
	area[PAGE] = 1;
}

static void new_table(void)
{
	anonymous(MADV_NOHUGEPAGE);
	area[BLOCK] = 1;
}

static void new_vma(void)
{
	anonymous(MADV_NOHUGEPAGE);
}

static void bound(void)
{
	unsigned long nodes = 1;

	anonymous(MADV_NOHUGEPAGE);
	if (syscall(SYS_mbind, area, AREA, MPOL_BIND, &nodes, 64, 0))
		die("mbind");
	area[PAGE] = 1;
}

static void thp(void)
{
	anonymous(MADV_HUGEPAGE);
	area[BLOCK] = 1;
}

static void zero_page(void)
{
	fresh();
	(void)*(volatile char *)area;
}

static void swapped(void)
{
	fresh();
	page_write((void *)area, VMM_RAM, old);
	if (madvise(area, PAGE, MADV_PAGEOUT))
		die("MADV_PAGEOUT");
}

static void memfd(void)
{
	if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, AREA))
		die("fallocate");
	map(MAP_SHARED, file);
}

/* A private mapping of a file whose page is mapped: a write copies the page. */
static void private_file(void)
{
	map(MAP_SHARED, file);
	page_write((void *)area, VMM_RAM, old);
	map(MAP_PRIVATE, file);
	area[PAGE] = 1;
	(void)*(volatile char *)area;
}

static void hugetlb(void)
{
	if (fallocate(huge, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, AREA))
		die("fallocate");
	map(MAP_SHARED, huge);
}

const struct kind kinds[] = {
	{ "anon", fresh, false },
	{ "anon, no page table", new_table, false },
	{ "anon, no anon_vma", new_vma, false },
	{ "anon, bound", bound, false },
	{ "anon, huge", thp, false },
	{ "zero page", zero_page, false },
	{ "swapped out", swapped, true },
	{ "memfd", memfd, false },
	{ "file, private", private_file, true },
	{ "hugetlb", hugetlb, false },
	{ }
};

void kinds__init(uint64_t old_generation)
{
	char *at = mmap(NULL, AREA + BLOCK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	area = (char *)(((uintptr_t)at + BLOCK - 1) & ~(BLOCK - 1));
	old = old_generation;
	file = memfd_create("guest", MFD_CLOEXEC);
	huge = memfd_create("guest", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	if (file < 0 || huge < 0 || ftruncate(file, AREA) || ftruncate(huge, AREA))
		die("memfd_create");
}
