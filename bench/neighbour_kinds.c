// SPDX-License-Identifier: GPL-2.0-or-later
/* Calls by which a VMM changes its own address space.  Each kind makes its calls in an endless loop. */
#include "neighbour_kinds.h"

#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "vmm/vmm.h"

#define MIB ((size_t)1 << 20)

static int fail(const struct neighbour *me, const char *call)
{
	fprintf(stderr, "neighbour %s: %s: %m\n", me->kind->name, call);
	return -1;
}

/* Time one call; return its value. */
#define timed(me, call) ({						\
	int64_t start_ = clock__ns();					\
	__auto_type value_ = (call);					\
	latency__record(&(me)->latency, clock__ns() - start_, 1);		\
	value_;								\
})

/*
 * Map an area between guard pages.  The kernel merges adjacent areas that are alike, and the address of an area differs
 * from run to run.  Each mprotect() of a merged area would split and merge it again, and free a VMA by RCU, whose
 * threads then run beside, or before, the vCPUs.
 */
#define GUARD ((size_t)64 << 10)

static int get_area(struct neighbour *me, size_t size, int flags)
{
	char *reserved = mmap(NULL, size + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (reserved == MAP_FAILED)
		return fail(me, "mmap");
	me->area = reserved + GUARD;
	me->size = size;
	if (mmap(me->area, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0) ==
	    MAP_FAILED)
		return fail(me, "mmap");
	return 0;
}

static void put_area(struct neighbour *me)
{
	if (me->area)
		munmap((char *)me->area - GUARD, me->size + 2 * GUARD);
}

static int mmap__step(struct neighbour *me)
{
	char *area = timed(me, mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	if (area == MAP_FAILED)
		return fail(me, "mmap");
	for (size_t at = 0; at < 4 * MIB; at += MIB)
		area[at] = 1;
	return timed(me, munmap(area, 4 * MIB)) ? fail(me, "munmap") : 0;
}

static int mprotect__setup(struct neighbour *me)
{
	return get_area(me, 128 * MIB, MAP_NORESERVE);
}

static int mprotect__step(struct neighbour *me)
{
	if (timed(me, mprotect(me->area, me->size, PROT_READ)) ||
	    timed(me, mprotect(me->area, me->size, PROT_READ | PROT_WRITE)))
		return fail(me, "mprotect");
	return 0;
}

/*
 * Move 2 MiB at an aligned address, so that the kernel can move a whole page table.  The old place stays mapped:
 * otherwise another thread's mmap() could take it, and moving back would overwrite that mapping.
 */
static int mremap__setup(struct neighbour *me)
{
	char *from;

	if (get_area(me, 6 * MIB, 0))
		return -1;
	from = (char *)(((uintptr_t)me->area + 2 * MIB - 1) & ~(2 * MIB - 1));
	for (size_t at = 0; at < 2 * MIB; at += 4096)
		from[at] = 1;
	me->other = from;
	return 0;
}

static int mremap__step(struct neighbour *me)
{
	enum { MOVE = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP };
	char *from = me->other, *to = from + 2 * MIB;

	if (timed(me, mremap(from, 2 * MIB, 2 * MIB, MOVE, to)) == MAP_FAILED ||
	    timed(me, mremap(to, 2 * MIB, 2 * MIB, MOVE, from)) == MAP_FAILED)
		return fail(me, "mremap");
	return 0;
}

static int madvise__setup(struct neighbour *me)
{
	return get_area(me, 4 * MIB, 0);
}

static int madvise__step(struct neighbour *me)
{
	for (size_t at = 0; at < me->size; at += MIB)
		((char *)me->area)[at] = 1;
	return timed(me, madvise(me->area, me->size, MADV_DONTNEED)) ? fail(me, "madvise") : 0;
}

static void *nothing(void *data)
{
	return data;
}

/* A stack too large for the C library to keep: each thread is an mmap(), an mprotect() and a munmap(). */
static int thread__step(struct neighbour *me)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 * MIB);
	error = timed(me, pthread_create(&thread, &attributes, nothing, NULL));
	pthread_attr_destroy(&attributes);
	if (error) {
		fprintf(stderr, "neighbour thread: cannot create one: %s\n", strerror(error));
		return -1;
	}
	pthread_join(thread, NULL);
	return 0;
}

static int memslot__setup(struct neighbour *me)
{
	if (!me->vmm) {
		fputs("neighbour memslot: there is no VM\n", stderr);
		return -1;
	}
	return get_area(me, 2 * MIB, 0);
}

static int memslot__step(struct neighbour *me)
{
	unsigned int slot = VMM_FREE_SLOT + me->number;
	uint64_t gpa = VMM_RAM + ((me->vmm->ram_size + me->size - 1) & -me->size) + me->number * me->size;

	return timed(me, vmm__map(me->vmm, slot, gpa, me->size, me->area)) ||
	       timed(me, vmm__map(me->vmm, slot, gpa, 0, me->area)) ? -1 : 0;
}

static int uring__setup(struct neighbour *me)
{
	struct io_uring *ring = calloc(1, sizeof(*ring));
	int error = ring ? io_uring_queue_init(8, ring, 0) : -1;

	if (error) {
		free(ring);
		fprintf(stderr, "neighbour io_uring: cannot make a ring: %s\n", strerror(-error));
		return -1;
	}
	me->other = ring;
	return get_area(me, 4 * MIB, 0);
}

static int uring__step(struct neighbour *me)
{
	struct iovec buffer = { me->area, me->size };
	int error = timed(me, io_uring_register_buffers(me->other, &buffer, 1));

	if (!error)
		error = timed(me, io_uring_unregister_buffers(me->other));
	if (error)
		fprintf(stderr, "neighbour io_uring: cannot register a buffer: %s\n", strerror(-error));
	return error ? -1 : 0;
}

static void uring__teardown(struct neighbour *me)
{
	if (me->other)
		io_uring_queue_exit(me->other);
	free(me->other);
	put_area(me);
}

static int smaps__read(void)
{
	char text[1 << 16];
	int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return -1;
	do
		got = read(fd, text, sizeof(text));
	while (got > 0);
	close(fd);
	return got;
}

static int smaps__step(struct neighbour *me)
{
	return timed(me, smaps__read()) ? fail(me, "/proc/self/smaps") : 0;
}

const struct neighbour_kind neighbour_kinds[] = {
	{ "mmap", "mmap() and munmap() of 4 MiB", NULL, mmap__step, NULL },
	{ "mprotect", "mprotect() of 128 MiB", mprotect__setup, mprotect__step, put_area },
	{ "mremap", "mremap() of 2 MiB, there and back", mremap__setup, mremap__step, put_area },
	{ "madvise", "madvise(MADV_DONTNEED) of 4 MiB", madvise__setup, madvise__step, put_area },
	{ "thread", "pthread_create(), each with a stack of its own", NULL, thread__step, NULL },
	{ "memslot", "KVM memory slots, set and taken away", memslot__setup, memslot__step, put_area },
	{ "io_uring", "registered buffers, made and taken away", uring__setup, uring__step, uring__teardown },
	{ "smaps", "reading /proc/self/smaps", NULL, smaps__step, NULL },
	{ .name = NULL },
};
