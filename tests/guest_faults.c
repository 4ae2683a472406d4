// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Faults of a guest's memory on a host of another kind than x86 with NPT, in every mode.  The pages must hold what the
 * guest wrote, a tier of the mode must have resolved each fault, and only mode off may take the mmap_lock.  If KVM
 * counts pages that it maps without mmu_lock, then all small ones are but the first of each page table, and none in
 * mode off.  With the word "hash", the guest has a hashed page table.  Prints a line for each case and mode; the status
 * is 0 if all checks pass.
 */
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "matrix/locks.h"
#include "vmm/stats.h"
#include "vmm/vmm.h"

enum { FAST, SPECULATIVE, VMA_LOCK, MMAP_LOCK };
enum { PTL_BUSY = 5 };	/* in fault_abort_names */
enum { VCPUS = 2, HUGE = 2 << 20, SIZE = 16 << 20, BUSY = 64 << 20 };

struct test {
	const char *name;
	unsigned int vcpus, access;
	bool memfd, huge, busy, dirty_log, hash, both;
};

/* Reads get the zero page, so that later writes are copy-on-write. */
static const struct test tests[] = {
	{ .name = "write", .vcpus = 1, .access = WALK_WRITE },
	{ .name = "read", .vcpus = 1, .access = WALK_READ },
	{ .name = "read, write", .vcpus = 1, .access = WALK_READ | WALK_WRITE },
	{ .name = "busy VMM", .vcpus = 1, .access = WALK_WRITE, .busy = true },
	{ .name = "two vCPUs", .vcpus = 2, .access = WALK_WRITE },
	{ .name = "memfd", .vcpus = 2, .access = WALK_WRITE, .memfd = true },
	{ .name = "VMM and guest", .vcpus = 1, .access = WALK_WRITE, .both = true },
	{ .name = "huge pages", .vcpus = 1, .access = WALK_WRITE, .huge = true },
	{ .name = "dirty log", .vcpus = 1, .access = WALK_WRITE, .dirty_log = true },
#ifdef __powerpc64__
	{ .name = "hashed table", .vcpus = 2, .access = WALK_WRITE, .hash = true },
#endif
};

struct run {
	const struct test *test;
	enum vmm_mode mode;
	struct vmm vmm;
	char *ram, *busy_memory;
	atomic_bool stop;
	uint64_t gpa, page, pages, generation;
	bool failed;
};

/* Returns how often the thread of the first vCPU took the mmap_lock. */
static long acquired;

static void expect(struct run *run, bool good, const char *what)
{
	if (!good) {
		printf("# %s, %s: %s\n", run->test->name, vmm_mode__name(run->mode), what);
		run->failed = true;
	}
}

static void must(bool good, const char *what)
{
	if (!good) {
		perror(what);
		exit(1);
	}
}

/*
 * Map the memory at a multiple of the size of a huge page, with room below.  It has no pages.  It has page tables,
 * unless its pages are to be huge.
 */
static char *memory(const struct test *test)
{
	int fd = test->memfd ? memfd_create("guest", 0) : -1;
	char *area = mmap(NULL, SIZE + 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *ram;

	must(area != MAP_FAILED && (!test->memfd || (fd >= 0 && !ftruncate(fd, SIZE))), "memory");
	ram = (char *)(((uintptr_t)area + 2 * HUGE - 1) / HUGE * HUGE);
	ram = mmap(ram, SIZE, PROT_READ | PROT_WRITE, MAP_FIXED | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED),
		   fd, 0);
	must(ram != MAP_FAILED, "memory");
	if (fd >= 0)
		close(fd);
	madvise(ram, SIZE, test->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (size_t at = 0; at < SIZE && !test->huge; at += sysconf(_SC_PAGESIZE))
		*(volatile char *)(ram + at) = 1;
	must(!madvise(ram, SIZE, test->memfd ? MADV_REMOVE : MADV_DONTNEED), "madvise");
	return ram;
}

static void *busy(void *arg)
{
	struct run *run = arg;

	while (!run->stop) {
		mprotect(run->busy_memory, BUSY, PROT_READ);
		mprotect(run->busy_memory, BUSY, PROT_READ | PROT_WRITE);
	}
	return NULL;
}

static void *vcpu(void *arg)
{
	struct vcpu *vcpu = arg;
	bool first = vcpu == vcpu->vmm->vcpu, failed;

	if (first && locks__watch())
		return arg;
	failed = vcpu__run(vcpu);
	if (first) {
		acquired = locks__count();
		locks__end();
	}
	return failed ? arg : NULL;
}

/* Each vCPU touches its part of the pages, upwards. */
static void touch(struct run *run, unsigned int access)
{
	pthread_t threads[VCPUS];
	uint64_t part = run->pages / run->test->vcpus;
	void *failed;

	run->generation++;
	for (unsigned int i = 0; i < run->test->vcpus; i++) {
		struct walk *walk = run->vmm.vcpu[i].walk;

		memset(walk, 0, sizeof(*walk));
		walk->base = run->gpa + i * part * run->page;
		walk->stride = run->page;
		walk->count = part;
		walk->mask = part - 1;
		walk->mul = walk->add = 1;
		walk->access = access;
		walk->generation = run->generation;
		must(!vcpu__start(&run->vmm.vcpu[i], guest_walk), "vcpu__start");
		must(!pthread_create(&threads[i], NULL, vcpu, &run->vmm.vcpu[i]), "pthread_create");
	}
	for (unsigned int i = 0; i < run->test->vcpus; i++) {
		pthread_join(threads[i], &failed);
		expect(run, !failed && run->vmm.vcpu[i].walk->touched == part, "the guest did not come to its end");
	}
}

static void check_pages(struct run *run)
{
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < run->pages; i++) {
		const uint64_t *page = (uint64_t *)(run->ram + i * run->page);
		bool written = run->test->access & WALK_WRITE;

		wrong += page[0] != (written ? run->gpa + i * run->page : 0) || page[2] ||
			 page[1] != (written ? run->generation : 0);
	}
	expect(run, !wrong, "pages have wrong contents");
}

static void check_faults(struct run *run, const struct fault_stats *stats)
{
	const struct test *test = run->test;
	const uint64_t *tier = stats->tier;
	uint64_t pages = test->huge ? SIZE / HUGE : run->pages;
	bool speculate = run->mode == VMM_ON && !test->memfd && !test->huge;
	/* A read and a later write are two faults.  The second finds the page there. */
	uint64_t twice = test->access == (WALK_READ | WALK_WRITE) ? pages : 0;

	if (run->mode == VMM_OFF) {
		expect(run, tier[MMAP_LOCK] >= pages, "fewer faults than pages");
		expect(run, !tier[SPECULATIVE] && !tier[VMA_LOCK], "a tier that is off");
		expect(run, acquired > 0, "no mmap_lock was seen");
		return;
	}
	/* Memory that was never touched has no anon_vma: the VMA's first fault makes one. */
	expect(run, !tier[MMAP_LOCK] && acquired <= test->huge, "the mmap_lock was taken");
	expect(run, tier[SPECULATIVE] + tier[VMA_LOCK] >= pages, "fewer faults than pages");
	if (!speculate)
		expect(run, !tier[SPECULATIVE], "speculation where there should be none");
	/* Other threads may hold the lock of the page table, which other fragments share, even those of other memory. */
	else
		expect(run, tier[SPECULATIVE] && tier[SPECULATIVE] + tier[VMA_LOCK] == pages + twice &&
		       tier[VMA_LOCK] == twice + stats->abort[PTL_BUSY], "not all faults were speculative");
}

/* The number of pages that KVM mapped without mmu_lock so far, or -1 if it does not count them. */
static long lockless(const struct run *run)
{
	uint64_t total = 0, one;

	for (unsigned int i = 0; i < run->vmm.vcpus; i++) {
		if (stats__get(run->vmm.vcpu[i].fd, "pf_lockless", &one, 1) != 1)
			return -1;
		total += one;
	}
	return total;
}

static void check_lockless(struct run *run, long mapped)
{
	long pages = run->pages * (run->test->access == (WALK_READ | WALK_WRITE) ? 2 : 1);

	if (run->mode == VMM_OFF || run->test->hash)
		expect(run, mapped <= 0, "pages were mapped without mmu_lock");
	else if (mapped >= 0 && !run->test->huge)
		expect(run, mapped >= pages - SIZE / HUGE, "pages were mapped with mmu_lock");
}

/* Read the dirty log, which has the guest's writes since the last call, and empty it. */
static uint64_t dirty_pages(struct run *run)
{
	uint64_t map[SIZE / 4096 / 64] = { 0 }, dirty = 0;
	struct kvm_dirty_log log = { .slot = VMM_RAM_SLOT, .dirty_bitmap = map };

	must(!ioctl(run->vmm.fd, KVM_GET_DIRTY_LOG, &log), "KVM_GET_DIRTY_LOG");
	for (size_t i = 0; i < sizeof(map) / sizeof(*map); i++)
		dirty += __builtin_popcountll(map[i]);
	return dirty;
}

static void start_dirty_log(struct run *run)
{
	struct kvm_userspace_memory_region region = {
		.slot = VMM_RAM_SLOT, .flags = KVM_MEM_LOG_DIRTY_PAGES, .guest_phys_addr = VMM_RAM,
		.memory_size = SIZE, .userspace_addr = (uintptr_t)run->ram,
	};

	must(!ioctl(run->vmm.fd, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
	dirty_pages(run);
}

static void check_dirty_log(struct run *run)
{
	expect(run, dirty_pages(run) == run->pages, "the first writes are not all logged");
	expect(run, !dirty_pages(run), "pages are dirty that were not written to");
	touch(run, WALK_WRITE);
	expect(run, dirty_pages(run) == run->pages, "the second writes are not all logged");
	/* The TLB entry that the load leaves must not let the store pass. */
	touch(run, WALK_READ | WALK_WRITE);
	expect(run, dirty_pages(run) == run->pages, "writes that follow a read are not all logged");
	check_pages(run);
}

static void move_to(struct run *run, unsigned long node)
{
	unsigned long mask = 1ul << node;

	must(!syscall(SYS_mbind, run->ram, SIZE, MPOL_BIND, &mask, 64, MPOL_MF_MOVE | MPOL_MF_STRICT), "mbind");
}

/*
 * A fork leaves the host's PTEs read-only, and without CONFIG_MEM_SOFT_DIRTY a page that moves loses its soft-dirty
 * bit.  The guest reads the page.  Then the VMM's write makes the PTE writable and soft-dirty again, with no
 * invalidation, and the guest writes, too.  The kernel must not warn.
 */
static void check_both(struct run *run)
{
	uint64_t wrong = 0;
	pid_t child;

	move_to(run, 0);
	child = fork();
	if (!child)
		_exit(0);
	must(child > 0 && waitpid(child, NULL, 0) == child, "fork");
	move_to(run, 1);
	touch(run, WALK_READ);
	for (uint64_t i = 0; i < run->pages; i++)
		((volatile uint64_t *)(run->ram + i * run->page))[2] = i + 1;
	touch(run, WALK_WRITE);
	for (uint64_t i = 0; i < run->pages; i++) {
		const uint64_t *page = (uint64_t *)(run->ram + i * run->page);

		wrong += page[0] != run->gpa + i * run->page || page[2] != i + 1;
	}
	expect(run, !wrong, "pages have wrong contents");
}

#ifdef __powerpc64__
/*
 * A guest with a hashed page table.  Real-mode addresses go through entries that KVM makes, but only for the slot of
 * guest address 0.  So the memory follows the program in that slot.
 */
static void become_hash(struct run *run)
{
	struct vmm *vmm = &run->vmm;
	uint32_t order = 20;
	char *boot = mremap(vmm->boot, vmm->boot_size, vmm->boot_size, MREMAP_MAYMOVE | MREMAP_FIXED,
			    run->ram - vmm->boot_size);

	must(boot != MAP_FAILED, "mremap");
	for (unsigned int i = 0; i < vmm->vcpus; i++)
		vmm->vcpu[i].walk = (struct walk *)(boot + ((char *)vmm->vcpu[i].walk - (char *)vmm->boot));
	vmm->boot = boot;
	run->gpa = vmm->boot_size;
	must(!vmm__map(vmm, VMM_BOOT_SLOT, 0, 0, NULL) && !ioctl(vmm->fd, KVM_PPC_ALLOCATE_HTAB, &order) &&
	     !vmm__map(vmm, VMM_BOOT_SLOT, 0, vmm->boot_size + SIZE, boot), "VM with a hashed page table");
}
#else
static void become_hash(struct run *run)
{
	expect(run, false, "no such page tables");
}
#endif

static bool run_test(const struct test *test, enum vmm_mode mode)
{
	struct run run = { .test = test, .mode = mode, .gpa = VMM_RAM, .page = sysconf(_SC_PAGESIZE) };
	struct fault_stats before = { 0 }, after = { 0 };
	uint64_t huge = 0;
	pthread_t thread;
	long mapped;

	run.pages = SIZE / run.page;
	run.ram = memory(test);
	must(!vmm__create(&run.vmm, test->vcpus, SIZE) && !vmm__set_mode(&run.vmm, mode), "VM");
	if (test->hash)
		become_hash(&run);
	else
		must(!vmm__map(&run.vmm, VMM_RAM_SLOT, VMM_RAM, SIZE, run.ram), "VM");
	if (test->dirty_log)
		start_dirty_log(&run);
	if (test->busy) {
		run.busy_memory = mmap(NULL, BUSY, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		must(run.busy_memory != MAP_FAILED && !pthread_create(&thread, NULL, busy, &run), "busy VMM");
	}
	/* The guest's program has faults of its own. */
	for (unsigned int i = 0; i < test->vcpus; i++) {
		must(!vcpu__start(&run.vmm.vcpu[i], guest_walk) && !vcpu__run(&run.vmm.vcpu[i]), "first run");
		must(!fault_stats__add(&before, run.vmm.vcpu[i].fd), "statistics");
	}
	mapped = lockless(&run);
	touch(&run, test->access);
	if (test->busy) {
		run.stop = true;
		pthread_join(thread, NULL);
		munmap(run.busy_memory, BUSY);
	}
	for (unsigned int i = 0; i < test->vcpus; i++)
		must(!fault_stats__add(&after, run.vmm.vcpu[i].fd), "statistics");
	for (int i = 0; i < FAULT_TIERS; i++)
		after.tier[i] -= before.tier[i];
	after.abort[PTL_BUSY] -= before.abort[PTL_BUSY];
	must(after.known, "statistics of faults");
	if (mapped >= 0)
		mapped = lockless(&run) - mapped;

	check_pages(&run);
	check_faults(&run, &after);
	check_lockless(&run, mapped);
	if (test->huge) {
		must(stats__get(run.vmm.fd, "num_2M_pages", &huge, 1) == 1 ||
		     stats__get(run.vmm.fd, "pages_2m", &huge, 1) == 1, "statistics of huge pages");
		expect(&run, huge == SIZE / HUGE, "the guest's memory is not mapped by huge pages");
	}
	printf("%-13s %-9s fast %lu speculative %lu vma_lock %lu mmap_lock %lu acquired %ld", test->name,
	       vmm_mode__name(mode), after.tier[FAST], after.tier[SPECULATIVE], after.tier[VMA_LOCK],
	       after.tier[MMAP_LOCK], acquired);
	if (mapped >= 0)
		printf(" lockless %ld", mapped);
	putchar('\n');
	fflush(stdout);
	if (test->dirty_log)
		check_dirty_log(&run);
	if (test->both)
		check_both(&run);
	vmm__destroy(&run.vmm);
	munmap(run.ram, SIZE);
	return !run.failed;
}

int main(int argc, char **argv)
{
	bool hash = argc > 1 && !strcmp(argv[1], "hash");
	/* Unpatched, QEMU's powernv tells the host only of small radix pages. */
	bool huge = !access("/sys/kernel/mm/transparent_hugepage", F_OK), good = true;

	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
		if (tests[i].hash != hash)
			continue;
		if (tests[i].huge && !huge) {
			printf("%-13s not tried: this host has none\n", tests[i].name);
			continue;
		}
		for (int mode = VMM_OFF; mode <= VMM_ON; mode++)
			good &= run_test(&tests[i], mode);
	}
	return good ? 0 : 1;
}
