// SPDX-License-Identifier: GPL-2.0-or-later
#include "locks.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* An instance of our own, so that the next row does not count events of a row that was killed. */
#define INSTANCE "/sys/kernel/tracing/instances/matrix"
#define EVENT INSTANCE "/events/mmap_lock/mmap_lock_start_locking/"

static char trigger[80];
static char text[1 << 16];

static int put(const char *line)
{
	int fd = open(EVENT "trigger", O_WRONLY | O_CLOEXEC);
	int bad = fd < 0 || write(fd, line, strlen(line)) < 0;

	if (bad)
		fprintf(stderr, "matrix: cannot write %strigger: %m; has the kernel hist triggers?\n", EVENT);
	if (fd >= 0)
		close(fd);
	return bad ? -1 : 0;
}

int locks__watch(void)
{
	/* Writing a trigger with an exclamation mark in front removes the trigger. */
	if (mkdir(INSTANCE, 0700)) {
		fprintf(stderr, "matrix: cannot make %s: %m; run as root on a kernel with hist triggers\n", INSTANCE);
		return -1;
	}
	/* The kernel's copy to an untouched page would itself take the mmap_lock. */
	memset(text, 1, sizeof(text));
	snprintf(trigger, sizeof(trigger), "!hist:keys=common_pid if common_pid==%d", gettid());
	return put(trigger + 1);
}

void locks__end(void)
{
	put(trigger);
	rmdir(INSTANCE);
}

long locks__count(void)
{
	int fd = open(EVENT "hist", O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t got;
	char *hits;

	if (fd < 0)
		return -1;
	while ((got = read(fd, text + length, sizeof(text) - 1 - length)) > 0)
		length += got;
	close(fd);
	text[length] = 0;
	hits = strstr(text, "Hits: ");
	return hits ? atol(hits + strlen("Hits: ")) : -1;
}
