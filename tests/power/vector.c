// SPDX-License-Identifier: GPL-2.0-or-later
/* Does v31 of a thread keep its value over KVM_RUN?  Two threads have a vCPU each, whose guest leaves at once. */
#include <err.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

#include "backing.h"
#include "vmm/arch.h"

enum { THREADS = 2, RUNS = 100 };

static pthread_barrier_t begin;
static atomic_int lost, first;

static void *runs(void *data)
{
	struct vcpu *vcpu = data;

	pthread_barrier_wait(&begin);
	for (int run = 0; run < RUNS; run++) {
		uint64_t want[2] = { 0x1234567890abcdef, run + 1 }, have[2];

		if (vcpu__start(vcpu, guest_walk))
			errx(1, "vcpu__start");
		asm volatile("lxvd2x 63, 0, %0" : : "r"(want) : "memory", "v31");
		if (vcpu__run(vcpu))
			errx(1, "vcpu__run");
		asm volatile("stxvd2x 63, 0, %0" : : "r"(have) : "memory");
		if (have[0] != want[0] || have[1] != want[1]) {
			lost++;
			first += !run;
			if (lost == 1)
				printf("run %d: %llx %llx\n", run, (unsigned long long)have[0], (unsigned long long)have[1]);
		}
	}
	return NULL;
}

int main(void)
{
	struct backing backing = { .kind = "anon", .size = 64 << 20 };
	pthread_t threads[THREADS];
	struct vmm vmm;

	if (backing__create(&backing) || vmm__create(&vmm, THREADS, backing.size) ||
	    vmm__map(&vmm, VMM_RAM_SLOT, VMM_RAM, backing.size, backing.hva))
		errx(1, "no VM");
	pthread_barrier_init(&begin, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, runs, &vmm.vcpu[i]))
			errx(1, "pthread_create");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("%d runs, v31 lost in %d, %d of them a thread's first\n", THREADS * RUNS, lost, first);
	return lost != 0;
}
