// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What it takes the VMM to take pages away from a guest, which calls KVM's MMU notifier.  Argument: a mode.  Prints a
 * line for each kind: its name, and ns of one page or call, the median of the rounds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "clock.h"
#include "vmm/vmm.h"

enum { PAGE = 4096, PAGES = 2048, ROUNDS = 9 };
#define SIZE ((size_t)PAGES * PAGE)

static int discard(char *ram)
{
	for (size_t at = 0; at < SIZE; at += PAGE)
		if (madvise(ram + at, PAGE, MADV_DONTNEED))
			return -1;
	return 0;
}

static int discard_all(char *ram)
{
	return madvise(ram, SIZE, MADV_DONTNEED);
}

/* The pages stay, and the guest's next touches map them again. */
static int protect(char *ram)
{
	return mprotect(ram, SIZE, PROT_READ) || mprotect(ram, SIZE, PROT_READ | PROT_WRITE) ? -1 : 0;
}

static int unmap(char *ram)
{
	void *anew = mmap(ram, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	return anew == MAP_FAILED || madvise(ram, SIZE, MADV_NOHUGEPAGE) ? -1 : 0;
}

/* A page that the guest does not have.  Shared, so that its VMA never merges with others. */
static int elsewhere(char *ram)
{
	static char *page;

	(void)ram;
	if (!page)
		page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -1;
	for (int i = 0; i < PAGES; i++)
		if (mprotect(page, PAGE, i & 1 ? PROT_READ | PROT_WRITE : PROT_READ))
			return -1;
	return 0;
}

static const struct {
	const char *name;
	int (*round)(char *ram);
} kinds[] = {
	{ "discard", discard },
	{ "discard-all", discard_all },
	{ "protect", protect },
	{ "unmap", unmap },
	{ "elsewhere", elsewhere },
};

static int touch(struct vmm *vmm)
{
	struct walk *walk = vmm->vcpu[0].walk;

	walk->base = VMM_RAM;
	walk->stride = PAGE;
	walk->count = PAGES;
	walk->mask = PAGES - 1;
	walk->mul = walk->add = 1;
	walk->access = WALK_WRITE;
	walk->touched = walk->done = 0;
	if (vcpu__start(&vmm->vcpu[0], guest_walk) || vcpu__run(&vmm->vcpu[0]))
		return -1;
	return walk->touched == PAGES ? 0 : vmm__error("the guest did not come to its end");
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int measure(struct vmm *vmm, char *ram, size_t kind)
{
	uint64_t ns[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start;

		if (touch(vmm))
			return -1;
		start = clock__ns();
		if (kinds[kind].round(ram)) {
			perror(kinds[kind].name);
			return -1;
		}
		ns[i] = clock__ns() - start;
	}
	qsort(ns, ROUNDS, sizeof(*ns), compare);
	printf("%s %.1f\n", kinds[kind].name, (double)ns[ROUNDS / 2] / PAGES);
	return 0;
}

int main(int argc, char **argv)
{
	enum vmm_mode mode;
	struct vmm vmm;
	char *ram;

	if (argc != 2 || vmm_mode__parse(argv[1], &mode)) {
		fputs("usage: invalidate MODE\n", stderr);
		return 2;
	}
	ram = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ram == MAP_FAILED || madvise(ram, SIZE, MADV_NOHUGEPAGE)) {
		perror("invalidate: memory");
		return 1;
	}
	if (vmm__create(&vmm, 1, SIZE) || (mode != VMM_DEFAULT && vmm__set_mode(&vmm, mode)) ||
	    vmm__map(&vmm, VMM_RAM_SLOT, VMM_RAM, SIZE, ram))
		return 1;
	for (size_t kind = 0; kind < sizeof(kinds) / sizeof(*kinds); kind++)
		if (measure(&vmm, ram, kind))
			return 1;
	vmm__destroy(&vmm);
	return 0;
}
