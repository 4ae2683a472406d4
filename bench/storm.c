// SPDX-License-Identifier: GPL-2.0-or-later
#include "storm.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backing.h"
#include "clock.h"
#include "course.h"
#include "cpus.h"
#include "neighbours.h"
#include "vmm/arch.h"

/* Makes the vCPUs' threads begin at once. */
struct gate {
	pthread_barrier_t barrier;
	unsigned int here, all;		/* 0: they only use the barrier */
};

struct worker {
	struct vcpu *vcpu;
	struct backing *backing;
	pthread_t thread;
	struct gate *gate;
	uint64_t count, mask;		/* the walk's, put aside */
	int64_t start, end;		/* ns */
	uint64_t running, waiting;	/* ns, if @scheduled */
	bool scheduled;
	uint64_t efaults;
	bool failed;
};

/* The scheduler's account of this thread, if the kernel keeps one. */
static bool schedstat(uint64_t *running, uint64_t *waiting)
{
	char path[64];
	FILE *file;
	bool known;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/schedstat", syscall(SYS_gettid));
	file = fopen(path, "re");
	known = file && fscanf(file, "%lu %lu", running, waiting) == 2;
	if (!known)
		*running = *waiting = 0;
	if (file)
		fclose(file);
	return known;
}

/* KVM has found no memory for a page: map some. */
static int fill_hole(const struct worker *me)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *hva = (char *)me->backing->hva + (me->vcpu->walk->page - VMM_RAM);
	void *at = (void *)((uintptr_t)hva & -page);
	int shared = me->backing->fd >= 0;

	if (mmap(at, page, PROT_READ | PROT_WRITE, MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS),
		 me->backing->fd, shared ? (char *)at - (char *)me->backing->hva : 0) == MAP_FAILED)
		return vmm__error("cannot fill the hole at %p: %m", at);
	return 0;
}

/*
 * Run the vCPU once before the storm: its first KVM_RUN by a thread waits for RCU, a hundred times as long as for a
 * page.  Keep the saved walk in memory: on an emulated POWER9 a KVM_RUN can lose v31, see docs/found-bugs.md.
 */
static int run_without_touches(struct worker *me)
{
	struct walk *walk = me->vcpu->walk;
	int status;

	me->count = walk->count;
	me->mask = walk->mask;
	walk->count = walk->mask = 0;
	status = vcpu__run(me->vcpu);
	walk->count = me->count;
	walk->mask = me->mask;
	walk->done = 0;
	return status || vcpu__start(me->vcpu, guest_walk) ? -1 : 0;
}

/*
 * The barrier wakes the threads one after the other, so that of many threads the first is done before the last begins.
 * If each has a CPU, they poll a number instead, which all see at once.  Returns the ns for which this thread polled.
 */
static int64_t pass(struct gate *gate)
{
	int64_t start;

	pthread_barrier_wait(&gate->barrier);
	start = clock__ns();
	if (gate->all)
		__atomic_add_fetch(&gate->here, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&gate->here, __ATOMIC_ACQUIRE) < gate->all)
		cpu_relax();
	return clock__ns() - start;
}

static void touch(struct worker *me)
{
	uint64_t running, waiting, spun;
	int status;

	me->failed = run_without_touches(me);
	schedstat(&running, &waiting);
	spun = pass(me->gate);
	if (me->failed)
		return;
	me->start = clock__ns();
	while ((status = vcpu__run(me->vcpu)) == -EFAULT) {
		me->efaults++;
		if (fill_hole(me)) {
			status = -1;
			break;
		}
	}
	me->end = clock__ns();
	me->scheduled = schedstat(&me->running, &me->waiting);
	/* The scheduler may not yet have counted the last moment. */
	me->running -= running;
	me->running -= spun < me->running ? spun : me->running;
	me->waiting -= waiting;
	me->failed = status;
}

static void *work(void *data)
{
	struct worker *me = data;

	touch(me);
	/* A thread that ends frees its stack, which interrupts all CPUs that run the process's other threads. */
	pthread_barrier_wait(&me->gate->barrier);
	return NULL;
}

static void set_walk(const struct storm *storm, struct walk *walk, unsigned int number, uint64_t generation)
{
	uint64_t pages = storm->size / storm->stride;
	uint64_t first = 0, step = 1, count = pages, each = pages / storm->vcpus, more = pages % storm->vcpus;

	if (storm->order == STORM_INTERLEAVED) {
		first = number;
		step = storm->vcpus;
		count = each + (number < more);
	} else if (storm->order != STORM_TOGETHER) {
		first = number * each + (number < more ? number : more);
		count = each + (number < more);
	}
	memset(walk, 0, sizeof(*walk));
	walk->base = VMM_RAM + first * storm->stride;
	walk->stride = step * storm->stride;
	walk->count = count;
	walk->mask = 1;
	while (walk->mask < count - 1)
		walk->mask = walk->mask << 1 | 1;
	/* A linear congruential generator that comes to each number below a power of two once. */
	walk->mul = storm->order == STORM_RANDOM ? UINT64_C(6364136223846793005) : 1;
	walk->add = storm->order == STORM_RANDOM ? UINT64_C(1442695040888963407) : 1;
	walk->part = storm->middle ? (count + WALK_STAMPS - 1) / WALK_STAMPS : 0;
	walk->access = storm->access;
	walk->generation = generation;
}

static void punch_holes(const struct storm *storm, const struct backing *backing)
{
	size_t page = sysconf(_SC_PAGESIZE);
	uint64_t pages = storm->size / storm->stride;

	for (uint64_t i = 0; i < storm->holes; i++) {
		uint64_t at = (2 * i + 1) * pages / (2 * storm->holes) * storm->stride;

		munmap((void *)(((uintptr_t)backing->hva + at) & -page), page);
	}
}

/* Check the contents of each touched page, in the guest's order. */
static void verify(const struct storm *storm, const struct worker *worker, struct storm_result *result)
{
	const struct walk *walk = worker->vcpu->walk;
	uint64_t index = walk->first;

	for (uint64_t i = 0; i < walk->done; i++, index = walk_next(walk, index)) {
		uint64_t gpa = walk->base + index * walk->stride;
		const uint64_t *page = (void *)((char *)worker->backing->hva + (gpa - VMM_RAM));
		bool wrote = storm->access & WALK_WRITE;

		if (index >= walk->count)
			continue;
		if (page[0] == (wrote ? gpa : 0) && page[1] == (wrote ? walk->generation : 0))
			result->verified++;
		else if (!result->wrong++)
			fprintf(stderr, "page %#lx contains %#lx, %#lx\n", gpa, page[0], page[1]);
	}
}

static void add_latency(const struct worker *worker, struct latency *latency)
{
	double ns = 1e9 / arch__clock_hz(worker->vcpu);

	for (unsigned int i = 0; i < BUCKETS; i++)
		if (worker->vcpu->walk->latency[i])
			latency__record(latency, bucket_middle(i) * ns, worker->vcpu->walk->latency[i]);
}

static void set_course(const struct worker *worker, struct course *course)
{
	const struct walk *walk = worker->vcpu->walk;
	double ns = 1e9 / arch__clock_hz(worker->vcpu);

	course__add(course, worker->start, 0);
	for (unsigned int i = 0; i < WALK_STAMPS && (i + 1) * walk->part <= walk->touched; i++)
		course__add(course, worker->start + (walk->stamp[i] - walk->began) * ns, (i + 1) * walk->part);
	course__add(course, worker->end, walk->touched);
}

static int collect(const struct storm *storm, struct worker *worker, struct storm_result *result)
{
	struct course *course = calloc(storm->vcpus, sizeof(*course));
	int64_t start = INT64_MAX, end = 0;
	int status = 0;

	if (!course)
		return vmm__error("no memory");
	for (unsigned int i = 0; i < storm->vcpus; i++) {
		struct worker *one = &worker[i];

		start = one->start < start ? one->start : start;
		end = one->end > end ? one->end : end;
		result->scheduled = (!i || result->scheduled) && one->scheduled;
		result->running += one->running / 1e9;
		result->waiting += one->waiting / 1e9;
		result->blocked += (one->end - one->start - (int64_t)(one->running + one->waiting)) / 1e9;
		result->touched += one->vcpu->walk->touched;
		result->efaults += one->efaults;
		add_latency(one, &result->latency);
		if (storm->middle)
			set_course(one, &course[i]);
		if (one->failed || fault_stats__add(&result->stats, one->vcpu->fd))
			status = -1;
	}
	result->seconds = (end - start) / 1e9;
	result->rate = result->touched / result->seconds;
	if (storm->middle && !status)
		result->rate = courses__middle(course, storm->vcpus);
	free(course);
	for (unsigned int i = 0; !status && i < storm->vcpus; i++)
		verify(storm, &worker[i], result);
	return status;
}

static void wait_for(const struct storm *storm, struct worker *worker)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += storm->seconds;
	for (unsigned int i = 0; i < storm->vcpus; i++) {
		if (storm->seconds && !pthread_clockjoin_np(worker[i].thread, NULL, CLOCK_MONOTONIC, &until))
			continue;
		for (unsigned int j = i; storm->seconds && j < storm->vcpus; j++)
			__atomic_store_n(&worker[j].vcpu->walk->stop, 1, __ATOMIC_RELAXED);
		pthread_join(worker[i].thread, NULL);
	}
}

static unsigned int cpus_here(void)
{
	struct cpus cpus;
	unsigned int count;

	if (cpus__allowed(&cpus))
		return 0;
	count = CPU_COUNT_S(cpus.size, cpus.set);
	cpus__free(&cpus);
	return count;
}

static int run_vcpus(const struct storm *storm, struct vmm *vmm, struct backing *backing, uint64_t generation,
		     struct storm_result *result)
{
	struct worker *worker = calloc(storm->vcpus, sizeof(*worker));
	struct gate gate = { .all = storm->vcpus <= cpus_here() ? storm->vcpus : 0 };
	pthread_attr_t attributes;
	int status = -1;

	if (!worker)
		return vmm__error("no memory");
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 256 << 10);
	pthread_barrier_init(&gate.barrier, NULL, storm->vcpus);
	for (unsigned int i = 0; i < storm->vcpus; i++) {
		worker[i] = (struct worker) { .vcpu = &vmm->vcpu[i], .backing = backing, .gate = &gate };
		set_walk(storm, vmm->vcpu[i].walk, i, generation);
		if (vcpu__start(&vmm->vcpu[i], guest_walk))
			goto out;
	}
	if (storm->neighbours && neighbours__start(storm->neighbours, vmm, storm->pin ? (int)storm->vcpus : -1))
		goto out;
	for (unsigned int i = 0; i < storm->vcpus; i++) {
		int error = storm->pin ? cpus__pin_nth(&attributes, i) : 0;

		if (!error)
			error = pthread_create(&worker[i].thread, &attributes, work, &worker[i]);
		if (error) {
			/* The threads at the barrier would wait for this one forever. */
			vmm__error("cannot start the thread of vCPU %u: %s", i, strerror(error));
			exit(1);
		}
	}
	wait_for(storm, worker);
	status = storm->neighbours ? neighbours__stop(storm->neighbours) : 0;
	status |= collect(storm, worker, result);
out:
	pthread_barrier_destroy(&gate.barrier);
	pthread_attr_destroy(&attributes);
	free(worker);
	return status;
}

int storm__run(const struct storm *storm, enum vmm_mode mode, uint64_t generation, struct storm_result *result)
{
	struct backing backing = { .kind = storm->backing, .numa = storm->numa, .size = storm->size };
	struct vmm vmm;
	int status;

	*result = (struct storm_result) { .mode = mode };
	if (backing__create(&backing))
		return -1;
	status = vmm__create(&vmm, storm->vcpus, backing.size);
	if (status)
		goto out;
	if (storm->prefault)
		memset(backing.hva, 0, storm->size);
	punch_holes(storm, &backing);
	status = vmm__set_mode(&vmm, mode) || vmm__map(&vmm, VMM_RAM_SLOT, VMM_RAM, backing.size, backing.hva) ||
		 run_vcpus(storm, &vmm, &backing, generation, result) ? -1 : 0;
	vmm__destroy(&vmm);
out:
	backing__destroy(&backing);
	return status;
}
