// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The load of an in-memory database: read a table file past the page cache, by io_uring, into a hash table in untouched
 * memory, with THREADS threads.
 *
 *	db-load make FILE RECORDS
 *	db-load load FILE THREADS
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <liburing.h>
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

enum { BLOCK = 256 << 10, DEPTH = 8, VALUES = 7 };

/* A record as it lies in the file and in memory: one cache line.  No key is 0, which is an empty place. */
struct record {
	_Atomic uint64_t key;
	uint64_t value[VALUES];
};

enum { PER_BLOCK = BLOCK / sizeof(struct record) };

static const char *path;
static uint64_t records;	/* in the file.  It has whole blocks; the rest of the last one is empty */
static struct record *table;
static uint64_t mask;

struct worker {
	pthread_t thread;
	unsigned int number, threads;
	int fd;
	uint64_t next, loaded, right;
	bool failed;
};

static int fail(const char *what, int error, const char *todo)
{
	fprintf(stderr, "db-load: %s: %s; %s\n", what, strerror(error), todo);
	return -1;
}

/* Invertible, so that no two records have the same key.  Only 0 gives 0. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 31) * UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return x ^ x >> 32;
}

static uint64_t blocks(void)
{
	return (records + PER_BLOCK - 1) / PER_BLOCK;
}

static int make(void)
{
	static struct record block[PER_BLOCK];
	FILE *file = fopen(path, "we");
	int status = 0;

	for (uint64_t n = 0; file && !status && n < blocks() * PER_BLOCK; n++) {
		struct record *record = &block[n % PER_BLOCK];

		record->key = n < records ? mix(n + 1) : 0;
		for (int i = 0; i < VALUES; i++)
			record->value[i] = record->key + i;
		if (n % PER_BLOCK == PER_BLOCK - 1 && fwrite(block, sizeof(block), 1, file) != 1)
			status = -1;
	}
	if (!file || fclose(file) || status)
		return fail(path, errno, "name a file where there is room");
	return 0;
}

/* Two threads contend for a place in the table only if their keys hash to the same one. */
static void insert(const struct record *record)
{
	for (uint64_t at = record->key & mask;; at = (at + 1) & mask) {
		uint64_t empty = 0;

		if (!atomic_compare_exchange_strong_explicit(&table[at].key, &empty, record->key, memory_order_relaxed,
							     memory_order_relaxed))
			continue;
		memcpy(table[at].value, record->value, sizeof(record->value));
		return;
	}
}

static void insert_block(struct worker *me, const struct record *block)
{
	for (int i = 0; i < PER_BLOCK; i++) {
		if (!block[i].key)
			continue;
		insert(&block[i]);
		me->loaded++;
	}
}

/* Read the thread's next block into this slot's buffer, if there is one left. */
static unsigned int read_next(struct worker *me, struct io_uring *ring, char *buffers, unsigned int slot)
{
	struct io_uring_sqe *sqe;

	if (me->next >= blocks())
		return 0;
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_read(sqe, me->fd, buffers + (size_t)slot * BLOCK, BLOCK, me->next * BLOCK);
	io_uring_sqe_set_data64(sqe, slot);
	me->next += me->threads;
	return 1;
}

/* A thread reads every nth block, DEPTH of them at a time. */
static int load_blocks(struct worker *me, struct io_uring *ring, char *buffers)
{
	unsigned int busy = 0;

	me->next = me->number;
	for (unsigned int slot = 0; slot < DEPTH; slot++)
		busy += read_next(me, ring, buffers, slot);
	while (busy) {
		struct io_uring_cqe *cqe;
		int result = io_uring_submit_and_wait(ring, 1);
		unsigned int slot;

		if (result >= 0)
			result = io_uring_wait_cqe(ring, &cqe);
		if (result < 0)
			return fail("io_uring", -result, "is it allowed on this host?");
		slot = io_uring_cqe_get_data64(cqe);
		result = cqe->res;
		io_uring_cqe_seen(ring, cqe);
		if (result != BLOCK)
			return fail(path, result < 0 ? -result : EIO, "it must be a file that `db-load make` made");
		insert_block(me, (const struct record *)(buffers + (size_t)slot * BLOCK));
		busy += read_next(me, ring, buffers, slot) - 1;
	}
	return 0;
}

static void *load(void *data)
{
	struct worker *me = data;
	struct io_uring ring;
	char *buffers = aligned_alloc(4096, (size_t)DEPTH * BLOCK);
	int error = buffers ? io_uring_queue_init(DEPTH, &ring, 0) : -ENOMEM;

	me->failed = true;
	if (error) {
		fail("cannot make a ring", -error, "is io_uring in this kernel, and allowed?");
	} else {
		me->failed = load_blocks(me, &ring, buffers);
		io_uring_queue_exit(&ring);
	}
	free(buffers);
	return NULL;
}

static const struct record *find(uint64_t key)
{
	for (uint64_t at = key & mask; table[at].key; at = (at + 1) & mask)
		if (table[at].key == key)
			return &table[at];
	return NULL;
}

static void *verify(void *data)
{
	struct worker *me = data;

	for (uint64_t n = me->number; n < records; n += me->threads) {
		uint64_t key = mix(n + 1);
		const struct record *record = find(key);
		bool right = record;

		for (int i = 0; right && i < VALUES; i++)
			right = record->value[i] == key + i;
		me->right += right;
	}
	return NULL;
}

static void on_all(struct worker *workers, unsigned int threads, void *(*work)(void *))
{
	for (unsigned int i = 0; i < threads; i++) {
		int error = pthread_create(&workers[i].thread, NULL, work, &workers[i]);

		if (error) {
			fail("cannot start a thread", error, "ask for fewer");
			exit(1);
		}
	}
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(workers[i].thread, NULL);
}

/* The table has room for half as many records again. */
static int make_table(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);

	if (size <= 0 || size % BLOCK)
		return fail(path, EINVAL, "it must be a file that `db-load make` made");
	records = size / sizeof(struct record);
	for (mask = 1; mask < records + records / 2; mask = mask << 1 | 1)
		;
	table = mmap(NULL, (mask + 1) * sizeof(*table), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return table == MAP_FAILED ? fail("no memory for the table", errno, "make a smaller file") : 0;
}

static int run(struct worker *workers, unsigned int threads, int fd)
{
	struct json_object *result;
	uint64_t loaded = 0, right = 0;
	bool failed = false;
	int64_t start;
	double seconds;

	for (unsigned int i = 0; i < threads; i++)
		workers[i] = (struct worker) { .number = i, .threads = threads, .fd = fd };
	start = clock__ns();
	on_all(workers, threads, load);
	seconds = (clock__ns() - start) / 1e9;
	for (unsigned int i = 0; i < threads; i++) {
		loaded += workers[i].loaded;
		failed = failed || workers[i].failed;
	}
	records = loaded;
	on_all(workers, threads, verify);
	for (unsigned int i = 0; i < threads; i++)
		right += workers[i].right;

	result = json_object_new_object();
	json_object_object_add(result, "threads", json_object_new_int(threads));
	json_object_object_add(result, "records", json_object_new_uint64(loaded));
	json_object_object_add(result, "verified", json_object_new_uint64(right));
	json_object_object_add(result, "table_bytes", json_object_new_uint64((mask + 1) * sizeof(*table)));
	json_object_object_add(result, "seconds", json_object_new_double(seconds));
	puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_SPACED));
	json_object_put(result);
	return failed || right != loaded ? -1 : 0;
}

static int open_and_run(unsigned int threads)
{
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC), status;
	struct worker *workers;

	if (fd < 0)
		return fail(path, errno, "it must be on a file system that has O_DIRECT");
	workers = calloc(threads, sizeof(*workers));
	status = !workers || make_table(fd) || run(workers, threads, fd);
	free(workers);
	close(fd);
	return status;
}

int main(int argc, char **argv)
{
	char *end = "";
	unsigned long number = argc == 4 ? strtoul(argv[3], &end, 10) : 0;

	if (number && !*end) {
		path = argv[2];
		records = number;
		if (!strcmp(argv[1], "make") && number <= UINT32_MAX)
			return make() ? 1 : 0;
		if (!strcmp(argv[1], "load") && number <= 65536)
			return open_and_run(number) ? 1 : 0;
	}
	fputs("usage: db-load make FILE RECORDS\n       db-load load FILE THREADS\n", stderr);
	return 2;
}
