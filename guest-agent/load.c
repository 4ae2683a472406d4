// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "cpus.h"
#include "load.h"

/* With 4 KiB pages, each step of a stride needs another page table. */
#define STRIDE	512

const char *const pattern_names[NR_PATTERNS] = { "sequential", "random", "stride" };

/* Held while the threads are created, so that all of them begin together, or none of them does. */
struct gate {
	pthread_mutex_t lock;
	bool closed;
};

/* One thread's share of the pages. */
struct share {
	pthread_t thread;
	struct gate *gate;
	volatile char *memory;
	uint64_t pages, page_size, end_ns;
	enum pattern pattern;
};

bool load__pattern(const char *name, enum pattern *pattern)
{
	for (int i = 0; i < NR_PATTERNS; i++) {
		if (!strcmp(name, pattern_names[i])) {
			*pattern = (enum pattern)i;
			return true;
		}
	}
	return false;
}

/* ---- one thread ---- */

static void touch(const struct share *share, uint64_t page)
{
	share->memory[page * share->page_size] = 1;
}

/*
 * A congruential generator modulo a power of two, whose multiplier is 1 modulo 4 and whose increment is odd, yields
 * every value once.  So no table of touched pages is needed.
 */
static void touch_random(const struct share *share)
{
	uint64_t modulus = 1, value = 0;

	while (modulus < share->pages)
		modulus *= 2;
	for (uint64_t i = 0; i < modulus; i++) {
		value = (value * 0x5851f42d4c957f2d + 0x14057b7ef767814f) & (modulus - 1);
		if (value < share->pages)
			touch(share, value);
	}
}

static void touch_strided(const struct share *share, uint64_t stride)
{
	for (uint64_t first = 0; first < stride; first++)
		for (uint64_t page = first; page < share->pages; page += stride)
			touch(share, page);
}

static void *work(void *arg)
{
	struct share *share = arg;
	bool closed;

	pthread_mutex_lock(&share->gate->lock);
	closed = share->gate->closed;
	pthread_mutex_unlock(&share->gate->lock);
	if (closed)
		return NULL;
	switch (share->pattern) {
	case PATTERN_RANDOM:
		touch_random(share);
		break;
	case PATTERN_STRIDE:
		touch_strided(share, STRIDE);
		break;
	default:
		touch_strided(share, 1);
	}
	share->end_ns = clock__ns();
	return NULL;
}

/* ---- all of them ---- */

static int start(struct share *share, const struct cpus *cpus, uint32_t number)
{
	pthread_attr_t attr;
	int failed;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	failed = cpus__pin(cpus, number, &attr);
	if (!failed)
		failed = pthread_create(&share->thread, &attr, work, share);
	pthread_attr_destroy(&attr);
	return failed;
}

static int run_threads(struct share *shares, uint32_t threads, const struct cpus *cpus, struct load_result *result,
		       struct error *error)
{
	struct gate gate = { .lock = PTHREAD_MUTEX_INITIALIZER };
	uint32_t started = 0;
	uint64_t begin;

	pthread_mutex_lock(&gate.lock);
	for (; started < threads; started++) {
		int failed;

		shares[started].gate = &gate;
		failed = start(&shares[started], cpus, started);
		if (failed) {
			fail(error, STATUS_FAILED, "cannot start %u threads: %s", threads, strerror(failed));
			gate.closed = true;
			break;
		}
	}
	begin = clock__ns();
	pthread_mutex_unlock(&gate.lock);
	result->ns = 0;
	for (uint32_t i = 0; i < started; i++) {
		pthread_join(shares[i].thread, NULL);
		if (!gate.closed && shares[i].end_ns - begin > result->ns)
			result->ns = shares[i].end_ns - begin;
	}
	return gate.closed ? -1 : 0;
}

static int share_out(const struct load *load, volatile char *memory, struct load_result *result, struct error *error)
{
	struct share *shares = calloc(load->threads, sizeof(*shares));
	struct cpus cpus;
	int failed;

	if (!shares)
		return fail(error, STATUS_FAILED, "out of memory");
	if (cpus__allowed(&cpus)) {
		free(shares);
		return fail(error, STATUS_FAILED, "cannot tell the CPUs to use: %s", strerror(errno));
	}
	for (uint32_t i = 0; i < load->threads; i++) {
		uint64_t first = result->pages * i / load->threads, end = result->pages * (i + 1) / load->threads;

		shares[i].memory = memory + first * result->page_size;
		shares[i].pages = end - first;
		shares[i].page_size = result->page_size;
		shares[i].pattern = load->pattern;
	}
	failed = run_threads(shares, load->threads, &cpus, result, error);
	cpus__free(&cpus);
	free(shares);
	return failed;
}

int load__run(const struct load *load, struct load_result *result, struct error *error)
{
	void *memory = mmap(NULL, load->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int failed;

	if (memory == MAP_FAILED)
		return fail(error, STATUS_FAILED, "cannot map that much memory: %s", strerror(errno));
	/* Have each page fault by itself.  A kernel without huge pages refuses this, and does so anyway. */
	madvise(memory, load->bytes, MADV_NOHUGEPAGE);
	result->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	result->pages = (load->bytes + result->page_size - 1) / result->page_size;
	failed = share_out(load, memory, result, error);
	munmap(memory, load->bytes);
	return failed;
}

json_object *load__json(const struct load *load, const struct load_result *result)
{
	json_object *object = json_object_new_object();

	json_object_object_add(object, "pages", json_object_new_uint64(result->pages));
	json_object_object_add(object, "page-size", json_object_new_uint64(result->page_size));
	json_object_object_add(object, "threads", json_object_new_uint64(load->threads));
	json_object_object_add(object, "pattern", json_object_new_string(pattern_names[load->pattern]));
	json_object_object_add(object, "ns", json_object_new_uint64(result->ns));
	return object;
}
