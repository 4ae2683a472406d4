// SPDX-License-Identifier: GPL-2.0-or-later
#include "neighbours.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpus.h"
#include "latency.h"
#include "neighbour_kinds.h"

/* Threads of one kind. */
struct neighbours {
	struct neighbours *next;
	const struct neighbour_kind *kind;
	unsigned int threads;
	struct neighbour *thread;
	struct latency latency;
};

static const struct neighbour_kind *find(const char *name, size_t length)
{
	for (const struct neighbour_kind *kind = neighbour_kinds; kind->name; kind++)
		if (strlen(kind->name) == length && !memcmp(kind->name, name, length))
			return kind;
	return NULL;
}

void neighbours__list(void)
{
	for (const struct neighbour_kind *kind = neighbour_kinds; kind->name; kind++)
		printf("    %-11s%s\n", kind->name, kind->what);
}

struct neighbours *neighbours__add(struct neighbours *to, const char *text)
{
	size_t length = strcspn(text, ":");
	const struct neighbour_kind *kind = find(text, length);
	long threads = 1;
	char *end = "";
	struct neighbours *one;

	if (!kind) {
		fprintf(stderr, "there is no neighbour '%.*s': see --help\n", (int)length, text);
		return NULL;
	}
	if (text[length])
		threads = strtol(text + length + 1, &end, 10);
	if (*end || threads < 1 || threads > 4096) {
		fprintf(stderr, "'%s' has no number of threads after the colon\n", text);
		return NULL;
	}
	one = calloc(1, sizeof(*one));
	if (!one || !(one->thread = calloc(threads, sizeof(*one->thread))))
		abort();
	one->kind = kind;
	one->threads = threads;
	one->next = to;
	return one;
}

static void *work(void *data)
{
	struct neighbour *me = data;

	me->failed = me->kind->setup && me->kind->setup(me);
	pthread_barrier_wait(me->begin);
	while (!me->failed && !atomic_load_explicit(&me->stop, memory_order_relaxed))
		me->failed = me->kind->step(me);
	if (me->kind->teardown)
		me->kind->teardown(me);
	return NULL;
}

int neighbours__start(struct neighbours *all, struct vmm *vmm, int n)
{
	pthread_attr_t attributes;
	pthread_barrier_t begin;
	unsigned int threads = 1;

	for (struct neighbours *one = all; one; one = one->next)
		threads += one->threads;
	pthread_barrier_init(&begin, NULL, threads);
	pthread_attr_init(&attributes);
	for (struct neighbours *one = all; one; one = one->next) {
		for (unsigned int i = 0; i < one->threads; i++) {
			struct neighbour *thread = &one->thread[i];

			*thread = (struct neighbour) {
				.kind = one->kind, .vmm = vmm, .number = --threads, .begin = &begin,
			};
			if ((n >= 0 && cpus__pin_nth(&attributes, n++)) ||
			    pthread_create(&thread->thread, &attributes, work, thread)) {
				perror("cannot start a neighbour");
				exit(1);
			}
		}
	}
	pthread_barrier_wait(&begin);
	pthread_barrier_destroy(&begin);
	pthread_attr_destroy(&attributes);
	return 0;
}

int neighbours__stop(struct neighbours *all)
{
	int status = 0;

	for (struct neighbours *one = all; one; one = one->next)
		for (unsigned int i = 0; i < one->threads; i++)
			atomic_store_explicit(&one->thread[i].stop, true, memory_order_relaxed);
	for (struct neighbours *one = all; one; one = one->next) {
		memset(&one->latency, 0, sizeof(one->latency));
		for (unsigned int i = 0; i < one->threads; i++) {
			pthread_join(one->thread[i].thread, NULL);
			if (one->thread[i].failed)
				status = -1;
			latency__add(&one->latency, &one->thread[i].latency);
		}
	}
	return status;
}

struct json_object *neighbours__json(const struct neighbours *all)
{
	struct json_object *array = json_object_new_array();

	for (const struct neighbours *one = all; one; one = one->next) {
		struct json_object *object = json_object_new_object();

		json_object_object_add(object, "kind", json_object_new_string(one->kind->name));
		json_object_object_add(object, "threads", json_object_new_int(one->threads));
		json_object_object_add(object, "latency_ns", latency__json(&one->latency));
		json_object_array_add(array, object);
	}
	return array;
}

void neighbours__print(const struct neighbours *all)
{
	for (const struct neighbours *one = all; one; one = one->next)
		latency__print(one->kind->name, &one->latency);
}

void neighbours__free(struct neighbours *all)
{
	while (all) {
		struct neighbours *next = all->next;

		free(all->thread);
		free(all);
		all = next;
	}
}
