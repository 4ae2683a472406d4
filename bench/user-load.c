// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Loads of user-mode faults and of calls that change the address space, like those of the 2017 series.  Threads of one
 * process run a load for some time, and other threads change the address space beside them.
 */
#include <json-c/json.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "neighbours.h"

enum { CHUNK = 512 << 10, CHUNKS = 8, REGION = 16 << 20 };

struct load {
	const char *name, *what, *unit;
	/* One round of a thread: returns how many units it did, or -1 if it found wrong contents in memory. */
	long (*round)(unsigned int *seed);
};

struct worker {
	pthread_t thread;
	const struct load *load;
	unsigned int seed;
	uint64_t done;
	bool wrong;
};

static atomic_bool stop;
static pthread_barrier_t begin;
static uint64_t chunks[CHUNKS][CHUNK / sizeof(uint64_t)];

static void *map_as(size_t size, int how, int fd)
{
	void *area = mmap(NULL, size, PROT_READ | PROT_WRITE, how, fd, 0);

	if (area == MAP_FAILED) {
		perror("user-load: mmap");
		exit(1);
	}
	/* Turn huge pages off: the figures are for base pages. */
	madvise(area, size, MADV_NOHUGEPAGE);
	return area;
}

static void *map(size_t size)
{
	return map_as(size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

/* Touch memory for the first time, page by page.  Store first: after a load the store would replace the zero page. */
static long touch(volatile uint64_t *area, unsigned int *seed)
{
	size_t page = sysconf(_SC_PAGESIZE);
	long pages = 0;

	for (size_t at = 0; at < REGION / sizeof(*area); at += page / sizeof(*area)) {
		area[at] = ++*seed;
		if (area[at + 1])
			return -1;
		pages++;
	}
	munmap((void *)area, REGION);
	return pages;
}

static long multi_fault__round(unsigned int *seed)
{
	return touch(map(REGION), seed);
}

/* All its threads share the file.  None writes the second words. */
static int file(void)
{
	static _Atomic int shared = -1;
	char name[] = "/tmp/user-load-XXXXXX";
	int none = -1, fd = atomic_load(&shared);

	if (fd >= 0)
		return fd;
	fd = mkstemp(name);
	if (fd < 0 || unlink(name) || ftruncate(fd, REGION)) {
		perror("user-load: /tmp");
		exit(1);
	}
	if (atomic_compare_exchange_strong(&shared, &none, fd))
		return fd;
	close(fd);
	return none;
}

static long file_private__round(unsigned int *seed)
{
	return touch(map_as(REGION, MAP_PRIVATE, file()), seed);
}

static long file_shared__round(unsigned int *seed)
{
	return touch(map_as(REGION, MAP_SHARED, file()), seed);
}

/*
 * Create and free a VMA, but no page.  No other mapping here is executable and not writable, so that the kernel does
 * not merge this one with a neighbour.
 */
static long map_unmap__round(unsigned int *seed)
{
	size_t page = sysconf(_SC_PAGESIZE);
	void *area = mmap(NULL, page, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)seed;
	if (area == MAP_FAILED) {
		perror("user-load: mmap");
		exit(1);
	}
	munmap(area, page);
	return 1;
}

/* The first fault of a VMA, which has no anon_vma yet.  As above, the kernel merges this VMA with no neighbour. */
static long map_touch__round(unsigned int *seed)
{
	size_t page = sysconf(_SC_PAGESIZE);
	unsigned int *area = mmap(NULL, page, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED) {
		perror("user-load: mmap");
		exit(1);
	}
	*(volatile unsigned int *)area = ++*seed;
	munmap(area, page);
	return 1;
}

/* As ebizzy: copy a sorted table to new memory, search it for a key, and free the memory. */
static long ebizzy__round(unsigned int *seed)
{
	const size_t count = CHUNK / sizeof(uint64_t);
	unsigned int which = (unsigned int)rand_r(seed) % CHUNKS;
	uint64_t key = chunks[which][(unsigned int)rand_r(seed) % count];
	uint64_t *copy = map(CHUNK);
	size_t low = 0, high = count - 1;

	memcpy(copy, chunks[which], CHUNK);
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (copy[middle] < key)
			low = middle + 1;
		else
			high = middle;
	}
	if (copy[low] != key)
		return -1;
	munmap(copy, CHUNK);
	return 1;
}

static const struct load loads[] = {
	{ "multi-fault", "first touches of base pages", "faults", multi_fault__round },
	{ "file-private", "first stores to pages of a private mapping of a file", "faults", file_private__round },
	{ "file-shared", "first stores to pages of a shared mapping of a file", "faults", file_shared__round },
	{ "map-unmap", "a page is mapped, and unmapped without a touch", "pairs", map_unmap__round },
	{ "map-touch", "a page is mapped, touched, and unmapped", "pairs", map_touch__round },
	{ "ebizzy", "a table is copied to new memory, searched, and given back", "records", ebizzy__round },
};

enum { LOADS = sizeof(loads) / sizeof(*loads) };

static void *work(void *data)
{
	struct worker *me = data;

	pthread_barrier_wait(&begin);
	do {
		long done = me->load->round(&me->seed);

		if (done < 0) {
			me->wrong = true;
			break;
		}
		me->done += done;
	} while (!atomic_load_explicit(&stop, memory_order_relaxed));
	return NULL;
}

static void fill_chunks(void)
{
	for (unsigned int i = 0; i < CHUNKS; i++)
		for (size_t j = 0; j < CHUNK / sizeof(uint64_t); j++)
			chunks[i][j] = (j * CHUNKS + i) * 2654435761u;
}

static int usage(void)
{
	fputs("usage: user-load LOAD THREADS SECONDS [NEIGHBOUR[:THREADS]...]\nprints a line of JSON; loads:\n", stderr);
	for (int i = 0; i < LOADS; i++)
		fprintf(stderr, "  %-13s%s\n", loads[i].name, loads[i].what);
	fputs("neighbours: those of fault-storm but memslot, as there is no VM\n", stderr);
	return 2;
}

static const struct load *load_named(const char *name)
{
	for (int i = 0; i < LOADS; i++)
		if (!strcmp(name, loads[i].name))
			return &loads[i];
	return NULL;
}

static struct worker *start_workers(const struct load *load, long threads)
{
	struct worker *workers = calloc(threads, sizeof(*workers));

	if (!workers)
		abort();
	pthread_barrier_init(&begin, NULL, threads + 1);
	for (long i = 0; i < threads; i++) {
		workers[i] = (struct worker) { .load = load, .seed = i };
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i])) {
			perror("user-load: cannot start a thread");
			exit(1);
		}
	}
	return workers;
}

/* Returns the sum of their work; *@wrong says whether one of them found wrong contents. */
static uint64_t stop_workers(struct worker *workers, long threads, bool *wrong)
{
	uint64_t done = 0;

	atomic_store(&stop, true);
	for (long i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		done += workers[i].done;
		*wrong = *wrong || workers[i].wrong;
	}
	free(workers);
	return done;
}

static void report(const struct load *load, long threads, uint64_t done, int64_t took, struct neighbours *neighbours)
{
	struct json_object *result = json_object_new_object();

	json_object_object_add(result, "load", json_object_new_string(load->name));
	json_object_object_add(result, "threads", json_object_new_int(threads));
	json_object_object_add(result, load->unit, json_object_new_uint64(done));
	json_object_object_add(result, "per_second", json_object_new_double(done * 1e9 / took));
	json_object_object_add(result, "neighbours", neighbours__json(neighbours));
	puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_SPACED));
	json_object_put(result);
}

int main(int argc, char **argv)
{
	const struct load *load = argc >= 4 ? load_named(argv[1]) : NULL;
	long threads = load ? atol(argv[2]) : 0, seconds = load ? atol(argv[3]) : 0;
	struct neighbours *neighbours = NULL;
	struct worker *workers;
	bool wrong = false;
	uint64_t done;
	int64_t start, took;
	int failed;

	if (threads < 1 || threads > 65536 || seconds < 1)
		return usage();
	for (int i = 4; i < argc; i++) {
		neighbours = neighbours__add(neighbours, argv[i]);
		if (!neighbours)
			return 2;
	}
	fill_chunks();
	workers = start_workers(load, threads);
	if (neighbours && neighbours__start(neighbours, NULL, -1))
		return 1;
	pthread_barrier_wait(&begin);
	start = clock__ns();
	sleep(seconds);
	done = stop_workers(workers, threads, &wrong);
	took = clock__ns() - start;
	failed = neighbours__stop(neighbours);
	report(load, threads, done, took, neighbours);
	neighbours__free(neighbours);
	if (wrong)
		fputs("user-load: memory had the wrong contents\n", stderr);
	return wrong || failed;
}
