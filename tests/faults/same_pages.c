// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * In the lab: the two vCPUs of each of two VMs touch the same new pages at the same time.
 *
 * usage: same_pages MODE LOST ROUNDS
 *
 * The first VM goes on until LOST speculative faults have found that the other vCPU was first, for at most ROUNDS rounds;
 * the second VM has one round.
 * Prints JSON: the counters of the first VM's faults; how many pages it has touched; how many races were lost, and how
 * many events of VMA locks there were meanwhile; and the times of each vCPU's faults, by KVM's binary statistics and by
 * debugfs.
 */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fresh.h"
#include "stats.h"
#include "vmm.h"

enum { VMS = 2, VCPUS = 2 };
/* One page table, but for the first page, which keeps it. */
#define PAGES	(TABLE / PAGE - 1)
#define DEBUGFS	"/sys/kernel/debug/kvm/"

static struct vmm vmm[VMS];
static char *ram[VMS];
static pthread_barrier_t begin, end;
static bool over;

static void *racer(void *arg)
{
	struct vcpu *vcpu = arg;
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(vcpu - vcpu->vmm->vcpu, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		err(1, "sched_setaffinity");
	for (;;) {
		pthread_barrier_wait(&begin);
		if (over)
			return NULL;
		*vcpu->walk = (struct walk) { .base = VMM_RAM + PAGE, .stride = PAGE, .count = PAGES, .mask = PAGES,
					      .mul = 1, .add = 1, .access = WALK_WRITE, .generation = 1 };
		if (vcpu__start(vcpu, guest_walk) || vcpu__run(vcpu))
			exit(1);
		pthread_barrier_wait(&end);
	}
}

static void touch(const char *mem)
{
	pthread_barrier_wait(&begin);
	pthread_barrier_wait(&end);
	for (unsigned long i = 1; i <= PAGES; i++)
		if (*(uint64_t *)(mem + i * PAGE) != VMM_RAM + i * PAGE)
			errx(1, "page %lu is not the guest's", i);
	if (madvise((void *)(mem + PAGE), PAGES * PAGE, MADV_DONTNEED))
		err(1, "madvise");
}

static struct fault_stats counters(const struct vmm *one)
{
	struct fault_stats stats = { 0 };

	for (unsigned int i = 0; i < VCPUS; i++)
		if (fault_stats__add(&stats, one->vcpu[i].fd))
			exit(1);
	return stats;
}

static unsigned long lost(void)
{
	return number("/proc/vmstat", "spf_abort_pte_changed");
}

/* 0 on a kernel that does not count them. */
static unsigned long events(void)
{
	return number("/proc/vmstat", "vma_lock_success") + number("/proc/vmstat", "vma_lock_abort") +
	       number("/proc/vmstat", "vma_lock_retry") + number("/proc/vmstat", "vma_lock_miss");
}

static void print(const char *name, const char *const *names, const uint64_t *before, const uint64_t *after,
		  unsigned int count)
{
	printf("\"%s\": {", name);
	for (unsigned int i = 0; i < count; i++)
		printf("%s\"%s\": %lu", i ? ", " : "", names[i], after[i] - before[i]);
	printf("}, ");
}

/* Let the vCPUs of a VM race for one round, which touches the threads' stacks as well, and for at most so many more. */
static void race(unsigned int which, unsigned long races, unsigned long most)
{
	struct vmm *one = &vmm[which];
	struct fault_stats before, after;
	unsigned long was_lost, was_events, rounds = 0;
	pthread_t threads[VCPUS];

	over = false;
	for (unsigned int i = 0; i < VCPUS; i++)
		if (pthread_create(&threads[i], NULL, racer, &one->vcpu[i]))
			errx(1, "pthread_create");
	touch(ram[which]);
	before = counters(one);
	was_lost = lost();
	was_events = events();
	while (lost() - was_lost < races && rounds < most) {
		touch(ram[which]);
		rounds++;
	}
	was_events = events() - was_events;
	was_lost = lost() - was_lost;
	after = counters(one);
	over = true;
	pthread_barrier_wait(&begin);
	for (unsigned int i = 0; i < VCPUS; i++)
		pthread_join(threads[i], NULL);
	if (!most)
		return;
	printf("\"pages\": %lu, \"lost\": %lu, \"events\": %lu, ", rounds * PAGES, was_lost, was_events);
	print("tiers", fault_tier_names, before.tier, after.tier, FAULT_TIERS);
	print("aborts", fault_abort_names, before.abort, after.abort, FAULT_ABORTS);
}

/* Read one of the statistics of vCPUs from debugfs: of a VM, or of all if which is negative. */
static unsigned long combined(int which, const char *name)
{
	char path[128];

	if (which < 0)
		snprintf(path, sizeof(path), DEBUGFS "%s", name);
	else
		snprintf(path, sizeof(path), DEBUGFS "%d-%d/%s", getpid(), vmm[which].fd, name);
	return number(path, "");
}

static void times(const char *name, const char *after)
{
	printf("\"%s\": {\"vcpus\": [", name);
	for (unsigned int i = 0; i < VMS; i++) {
		printf("%s[", i ? ", " : "");
		for (unsigned int j = 0; j < VCPUS; j++) {
			uint64_t ns = 0;

			if (stats__get(vmm[i].vcpu[j].fd, name, &ns, 1) != 1)
				exit(1);
			printf("%s%lu", j ? ", " : "", ns);
		}
		printf("]");
	}
	printf("], \"vms\": [");
	for (int i = 0; i < VMS; i++)
		printf("%s%lu", i ? ", " : "", combined(i, name));
	printf("], \"all\": %lu}%s", combined(-1, name), after);
}

int main(int argc, char **argv)
{
	enum vmm_mode mode;

	if (argc != 4 || vmm_mode__parse(argv[1], &mode))
		errx(2, "usage: same_pages MODE LOST ROUNDS");
	pthread_barrier_init(&begin, NULL, VCPUS + 1);
	pthread_barrier_init(&end, NULL, VCPUS + 1);
	for (unsigned int i = 0; i < VMS; i++) {
		ram[i] = fresh_memory(TABLE);
		/* Making the page table and the anon_vma takes a lock: make them first. */
		ram[i][0] = 1;
		if (vmm__create(&vmm[i], VCPUS, TABLE) || vmm__set_mode(&vmm[i], mode) ||
		    vmm__map(&vmm[i], VMM_RAM_SLOT, VMM_RAM, TABLE, ram[i]))
			return 1;
	}
	printf("{");
	race(0, strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
	race(1, 0, 0);
	times("hva_fault_ns_max", ", ");
	times("hva_fault_ns_sum", "}\n");
	return 0;
}
