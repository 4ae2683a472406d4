// SPDX-License-Identifier: GPL-2.0-or-later
/* What may happen to the host under a VMM: memory and CPUs go and come, a neighbour runs out of memory. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "torture.h"

enum { MEMORY_BLOCKS = 32, OOM_BYTES = 16 << 20 };

/* Returns 0 or an error number.  A host may lack the file, or refuse for now: that is no failure of ours. */
static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int status = 0;

	if (fd < 0)
		return errno;
	if (write(fd, text, strlen(text)) < 0)
		status = errno;
	close(fd);
	return status;
}

/* Mutations of the host take a second each, the others milliseconds: make one attempt in sixteen. */
static bool seldom(struct mutator *me)
{
	return !(random_next(&me->random) & 15);
}

static pthread_mutex_t hotplug = PTHREAD_MUTEX_INITIALIZER;

/* Turn it off and on again.  Only turning it on must not fail. */
static int unplug(struct mutator *me, const char *path, const char *off, const char *on)
{
	int status = 0;

	pthread_mutex_lock(&hotplug);
	if (!put(path, off))
		status = put(path, on);
	pthread_mutex_unlock(&hotplug);
	return status ? torture__fail(me->torture, "%s: %s", path, strerror(status)) : 0;
}

/* All of a block's pages are migrated away first. */
int mutate_unplug_memory(struct mutator *me, unsigned int region)
{
	char path[80];

	(void)region;
	if (!seldom(me))
		return 0;
	snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%u/state",
		 (unsigned int)(random_next(&me->random) % MEMORY_BLOCKS));
	return unplug(me, path, "offline", "online");
}

int mutate_unplug_cpu(struct mutator *me, unsigned int region)
{
	(void)region;
	return seldom(me) ? unplug(me, "/sys/devices/system/cpu/cpu1/online", "0", "1") : 0;
}

static void *touch(void *memory)
{
	for (;;)
		for (size_t at = 0; at < OOM_BYTES; at += PAGE_BYTES)
			((volatile char *)memory)[at] = 1;
	return NULL;
}

/* Two threads fault while their memory is reaped: `inside` has made the group, smaller than what they touch. */
static void run_out_of_memory(void)
{
	pthread_t thread;
	void *memory;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (put("/sys/fs/cgroup/torture/cgroup.procs", "0"))
		_exit(0);
	memory = mmap(NULL, OOM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || torture__small_pages(memory, OOM_BYTES) ||
	    pthread_create(&thread, NULL, touch, memory))
		_exit(1);
	touch((char *)memory);
}

int mutate_oom(struct mutator *me, unsigned int region)
{
	pid_t child;
	int status;

	(void)region;
	if (!seldom(me))
		return 0;
	child = fork();
	if (!child)
		run_out_of_memory();
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return torture__fail(me->torture, "oom: %s", strerror(errno));
	if (status && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		return torture__fail(me->torture, "oom: status %#x", status);
	return 0;
}
