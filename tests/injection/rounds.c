// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A VMM whose vCPUs have faults round after round.  Tests kill it, stop it or send it signals meanwhile; see usage().
 *
 * In each round the vCPUs check that their pages are empty, write them, and check what they wrote.  The VMM checks the
 * pages, too, and then discards the memory.  Another thread changes the address space all the time, unless all is to be
 * quiet.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory.h"
#include "pages.h"
#include "vmm.h"

#define PAGE UINT64_C(4096)
#define BUSY_BYTES (UINT64_C(8) << 20)

static struct vmm vmm;
static struct backing memory;
static pthread_barrier_t begin, end;
static uint64_t generation, interrupted;
static pthread_t thread[64];

static void die(const char *what)
{
	fprintf(stderr, "rounds: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* -- vCPUs -- */

static void on_signal(int number)
{
	(void)number;
}

static void run(struct vcpu *vcpu, enum walk_access access, uint64_t first)
{
	struct walk *walk = vcpu->walk;

	walk->access = access;
	walk->first = first;
	walk->generation = generation;
	if (vcpu__start(vcpu, guest_pages))
		exit(1);
	while (ioctl(vcpu->fd, KVM_RUN, 0)) {
		if (errno != EINTR && errno != EAGAIN)
			die("KVM_RUN");
		__atomic_fetch_add(&interrupted, 1, __ATOMIC_RELAXED);
	}
	if (vcpu->run->exit_reason != KVM_EXIT_IO || walk->done) {
		fprintf(stderr, "rounds: round %lu: exit %u, %lu wrong pages, the last page was %#lx\n",
			(unsigned long)generation, vcpu->run->exit_reason, (unsigned long)walk->done,
			(unsigned long)walk->page);
		exit(1);
	}
}

static void *vcpu_thread(void *arg)
{
	for (;;) {
		pthread_barrier_wait(&begin);
		run(arg, WALK_READ | WALK_WRITE, 0);
		run(arg, WALK_READ, generation);
		pthread_barrier_wait(&end);
	}
	return NULL;
}

/* -- other threads -- */

static void *busy_thread(void *unused)
{
	char *area = mmap(NULL, BUSY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		die("mmap");
	for (;;) {
		area[0] = area[BUSY_BYTES / 2] = 1;
		if (mprotect(area, BUSY_BYTES / 2, PROT_READ) || mprotect(area, BUSY_BYTES, PROT_READ | PROT_WRITE) ||
		    madvise(area, BUSY_BYTES, MADV_DONTNEED))
			die("mprotect or madvise");
		usleep(100);
	}
	return unused;
}

static void *signal_thread(void *unused)
{
	for (;;) {
		for (unsigned int i = 0; i < vmm.vcpus; i++)
			pthread_kill(thread[i], SIGUSR1);
		usleep(1000);
	}
	return unused;
}

/* No monitor ever fills the pages, so that the vCPUs wait for them in a fault. */
static void hold(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)memory.hva, .len = memory.size }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range))
		die("userfaultfd");
}

static void start(pthread_t *which, void *(*function)(void *), void *arg)
{
	errno = pthread_create(which, NULL, function, arg);
	if (errno)
		die("pthread_create");
}

/* -- rounds -- */

static void look(void)
{
	for (uint64_t at = 0; at < memory.size; at += PAGE) {
		if (!page_is((void *)((char *)memory.hva + at), VMM_RAM + at, generation)) {
			fprintf(stderr, "rounds: round %lu: the VMM sees a wrong page at %#lx\n",
				(unsigned long)generation, (unsigned long)at);
			exit(1);
		}
	}
}

static void take_away(void)
{
	if (memory.fd >= 0 && fallocate(memory.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, memory.size))
		die("fallocate");
	if (madvise(memory.hva, memory.size, MADV_DONTNEED))
		die("MADV_DONTNEED");
}

static void set_up(char *kind, uint64_t size, unsigned int vcpus)
{
	uint64_t each = size / vcpus / PAGE;

	if (vmm__create(&vmm, vcpus, size) || memory__create(&memory, kind, size) ||
	    vmm__map(&vmm, VMM_RAM_SLOT, VMM_RAM, size, memory.hva))
		exit(1);
	for (unsigned int i = 0; i < vcpus; i++) {
		struct walk *walk = vmm.vcpu[i].walk;

		walk->base = VMM_RAM + i * each * PAGE;
		walk->stride = PAGE;
		walk->count = each;
	}
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };
	unsigned long vcpus, rounds;
	const char *extra;
	pthread_t other;

	if (argc < 5) {
		fputs("usage: rounds MEMORY MIB VCPUS ROUNDS [signals|held|quiet]\n"
		      "MEMORY is what tests/matrix has; 0 rounds: without an end\n", stderr);
		return 2;
	}
	vcpus = strtoul(argv[3], NULL, 10);
	rounds = strtoul(argv[4], NULL, 10);
	extra = argc > 5 ? argv[5] : "";
	if (!vcpus || vcpus > sizeof(thread) / sizeof(*thread)) {
		fputs("rounds: say 1 to 64 vCPUs\n", stderr);
		return 2;
	}
	sigaction(SIGUSR1, &action, NULL);
	pthread_barrier_init(&begin, NULL, vcpus + 1);
	pthread_barrier_init(&end, NULL, vcpus + 1);
	set_up(argv[1], strtoull(argv[2], NULL, 10) << 20, vcpus);
	if (!strcmp(extra, "held"))
		hold();
	for (unsigned int i = 0; i < vcpus; i++)
		start(&thread[i], vcpu_thread, &vmm.vcpu[i]);
	if (strcmp(extra, "quiet"))
		start(&other, busy_thread, NULL);
	if (!strcmp(extra, "signals"))
		start(&other, signal_thread, NULL);
	while (!rounds || generation < rounds) {
		generation++;
		pthread_barrier_wait(&begin);
		pthread_barrier_wait(&end);
		look();
		take_away();
	}
	printf("%lu rounds, %lu interruptions\n", (unsigned long)generation, (unsigned long)interrupted);
	return 0;
}
