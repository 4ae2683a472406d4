// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * In the lab: two VMs that differ only in their memory take turns on one CPU,
 * while their memory is replaced.  An emulator that keeps a guest's translations
 * for too long shows it the other's memory, or its old one.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm.h"

enum { VMS = 2, PAGES = 64, PAGE = 4096, ROUNDS = 200 };

guest_program guest_sum;

static int expect(struct vmm *vmm, unsigned int round, const char *when, uint64_t sum)
{
	struct vcpu *vcpu = vmm->vcpu;

	*vcpu->walk = (struct walk) { .base = VMM_RAM, .stride = PAGE, .count = PAGES };
	if (vcpu__start(vcpu, guest_sum) || vcpu__run(vcpu))
		return vmm__error("round %u, %s: the guest does not run", round, when);
	if (vcpu->walk->generation != sum)
		return vmm__error("round %u, %s: the guest sees %llu in its memory, not %llu", round, when,
				  (unsigned long long)vcpu->walk->generation, (unsigned long long)sum);
	return 0;
}

static uint64_t fill(char *ram, uint64_t value)
{
	for (unsigned int i = 0; i < PAGES; i++)
		*(uint64_t *)(ram + i * PAGE) = value + i;
	return PAGES * value + PAGES * (PAGES - 1) / 2;
}

int main(void)
{
	struct vmm vmm[VMS];
	char *ram[VMS];
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		return 1;
	for (unsigned int i = 0; i < VMS; i++) {
		ram[i] = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (ram[i] == MAP_FAILED || vmm__create(&vmm[i], 1, PAGES * PAGE) ||
		    vmm__map(&vmm[i], VMM_RAM_SLOT, VMM_RAM, PAGES * PAGE, ram[i]))
			return 1;
	}

	for (unsigned int round = 0; round < ROUNDS; round++) {
		uint64_t sum[VMS];

		for (unsigned int i = 0; i < VMS; i++)
			sum[i] = fill(ram[i], 1000 * (VMS * round + i + 1));
		for (unsigned int turn = 0; turn < 3 * VMS; turn++)
			if (expect(&vmm[turn % VMS], round, "in turns", sum[turn % VMS]))
				return 1;
		for (unsigned int i = 0; i < VMS; i++)
			if (expect(&vmm[i], round, "before its memory goes", sum[i]) ||
			    madvise(ram[i], PAGES * PAGE, MADV_DONTNEED) ||
			    expect(&vmm[i], round, "after its memory has gone", 0))
				return 1;
	}
	printf("%u rounds\n", ROUNDS);
	for (unsigned int i = 0; i < VMS; i++)
		vmm__destroy(&vmm[i]);
	return 0;
}
