// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * In the lab: a page table of L1's is shadowed for the first time, and L1 changes it on another vCPU.
 *
 * usage: shadowed MODE TRIALS
 *
 * The VM's guest is L1, and has page tables for an L2, of nested paging.  One vCPU enters L2, which KVM has to shadow
 * the tables for: it protects them from then on, lest L1 change one unseen.  The other vCPU stores to one of them
 * meanwhile, which is the first access of L1's to that page.  L2 must see the change when it is entered once more.
 *
 * The time of the store follows the outcome.  In every other trial the store comes earlier if L2 first saw what was there
 * before, and later if not.  In the rest it comes earlier if its fault took mmu_lock, as faults do once KVM is about to
 * shadow anything, and later if not.
 * Prints JSON: how many trials there were, in how many the store had a fault without mmu_lock, and in how many of these
 * L2 first saw what was there before.
 */
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "fresh.h"
#include "shadowed.h"
#include "stats.h"

enum { VCPUS = 2, TABLES = 3 };

#define EXIT_VMMCALL	0x81
#define NPT_TABLE	0x007
#define NPT_2M		0x087

static uint64_t *page(char *ram, unsigned int number)
{
	return (uint64_t *)(ram + (size_t)number * PAGE);
}

/* Two chains of tables, of which L2's root has the first.  Returns where to store what to replace one by the other. */
static uint64_t make_tables(char *ram, unsigned int which, uint64_t *value)
{
	page(ram, ROOT)[0] = GPA(POINTERS) | NPT_TABLE;
	page(ram, LOW)[0] = NPT_2M;
	for (unsigned int chain = 0; chain <= CHANGED; chain += CHANGED) {
		page(ram, POINTERS + chain)[0] = GPA(LOW) | NPT_TABLE;
		page(ram, POINTERS + chain)[LOOK_POINTER] = GPA(DIRECTORY + chain) | NPT_TABLE;
		page(ram, DIRECTORY + chain)[LOOK_DIRECTORY] = GPA(LEAVES + chain) | NPT_TABLE;
		page(ram, LEAVES + chain)[LOOK_LEAF] = GPA(DATA + chain) | NPT_TABLE;
		page(ram, DATA + chain)[0] = 1 + !!chain;
	}
	*value = GPA(POINTERS + which + CHANGED) | NPT_TABLE;
	return GPA(ROOT + which) + 8 * (which == 0 ? 0 : which == 1 ? LOOK_POINTER : LOOK_DIRECTORY);
}

static void *run(void *arg)
{
	struct vcpu *vcpu = arg;
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(vcpu - vcpu->vmm->vcpu, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu) || vcpu__run(vcpu))
		exit(1);
	return NULL;
}

static void start(struct vcpu *vcpu, guest_program *program, uint64_t access)
{
	vcpu->walk->access = access;
	if (vcpu__start(vcpu, program))
		exit(1);
}

struct outcome {
	bool before, lockless;
};

static struct outcome try(enum vmm_mode mode, unsigned int which, uint64_t delay)
{
	uint64_t value, was = 0, is = 0;
	pthread_t threads[VCPUS];
	struct vmm vmm;
	uint64_t *shared;
	char *ram = fresh_memory(TABLE);

	if (vmm__create(&vmm, VCPUS, TABLE) || vmm__set_mode(&vmm, mode) ||
	    vmm__map(&vmm, VMM_RAM_SLOT, VMM_RAM, TABLE, ram))
		exit(1);
	shared = page(ram, SHARED);
	*vmm.vcpu[0].walk = (struct walk) { .base = (uintptr_t)guest_l2 - (uintptr_t)__start_guest_code };
	*vmm.vcpu[1].walk = (struct walk) { .count = delay };
	vmm.vcpu[1].walk->base = make_tables(ram, which, &value);
	vmm.vcpu[1].walk->generation = value;
	/* Either vCPU has run, so that nothing of this takes time later. */
	start(&vmm.vcpu[0], guest_l1, 0);
	start(&vmm.vcpu[1], guest_store, 0);
	if (vcpu__run(&vmm.vcpu[0]) || vcpu__run(&vmm.vcpu[1]))
		exit(1);
	stats__get(vmm.vcpu[1].fd, "pf_lockless", &was, 1);
	start(&vmm.vcpu[0], guest_l1, 1);
	start(&vmm.vcpu[1], guest_store, 1);
	for (unsigned int i = VCPUS; i-- > 0;)
		if (pthread_create(&threads[i], NULL, run, &vmm.vcpu[i]))
			errx(1, "pthread_create");
	for (unsigned int i = 0; i < VCPUS; i++)
		pthread_join(threads[i], NULL);
	stats__get(vmm.vcpu[1].fd, "pf_lockless", &is, 1);
	if (shared[EXIT_FIRST] != EXIT_VMMCALL || shared[EXIT_LAST] != EXIT_VMMCALL)
		errx(1, "L2 left for reasons %#lx and %#lx", shared[EXIT_FIRST], shared[EXIT_LAST]);
	if (shared[SEEN_LAST] != 2)
		errx(1, "table %u, delay %lu: L2 saw %lu, and %lu after its table had changed", which, delay,
		     shared[SEEN_FIRST], shared[SEEN_LAST]);
	struct outcome outcome = { shared[SEEN_FIRST] == 1, is > was };

	vmm__destroy(&vmm);
	munmap(ram, TABLE);
	return outcome;
}

int main(int argc, char **argv)
{
	enum vmm_mode mode;
	unsigned long trials, lockless = 0, before = 0, both = 0;
	uint64_t delays[TABLES][2] = { 0 };

	if (argc != 3 || vmm_mode__parse(argv[1], &mode))
		errx(2, "usage: shadowed MODE TRIALS");
	trials = strtoul(argv[2], NULL, 10);
	for (unsigned long i = 0; i < trials; i++) {
		unsigned int which = i % TABLES, by = i / TABLES % 2;
		/* Smaller and smaller steps, and then those of any size again. */
		uint64_t step = 160000 >> (i / TABLES / 2 % 12), *delay = &delays[which][by];
		struct outcome outcome = try(mode, which, *delay);

		lockless += outcome.lockless;
		before += outcome.before;
		both += outcome.lockless && outcome.before;
		if (by ? outcome.lockless : !outcome.before)
			*delay += step;
		else
			*delay -= step < *delay ? step : *delay;
	}
	printf("{\"trials\": %lu, \"lockless\": %lu, \"before\": %lu, \"both\": %lu}\n", trials, lockless,
	       before, both);
	return 0;
}
