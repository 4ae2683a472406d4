// SPDX-License-Identifier: GPL-2.0-or-later
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "port.h"

#define PORTS		"/sys/class/virtio-ports"
#define PATIENCE_MS	5000

/*
 * That a host has connected, and what it has written, come by different queues:
 * a request may be here before the kernel knows of a host that would read the
 * answer.  So wait for one, for NAPS * NAP.
 */
#define NAP		(NS_PER_SEC / 100)
#define NAPS		25

static bool has_our_name(const char *port)
{
	char path[sizeof(PORTS) + 300], name[64] = "";
	FILE *f;

	snprintf(path, sizeof(path), PORTS "/%s/name", port);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(name, sizeof(name), f))
		name[0] = 0;
	fclose(f);
	name[strcspn(name, "\n")] = 0;
	return !strcmp(name, PORT_NAME);
}

/* Look in sysfs rather than for udev's link: a minimal guest has no udev. */
static int find(char *path, size_t size, struct error *error)
{
	struct dirent *entry;
	DIR *dir = opendir(PORTS);
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		found = has_our_name(entry->d_name);
		if (found)
			snprintf(path, size, "/dev/%s", entry->d_name);
	}
	if (dir)
		closedir(dir);
	if (!found)
		return fail(error, STATUS_NO_DEVICE,
			    "this guest has no port " PORT_NAME ": start QEMU with -device virtserialport,name=" PORT_NAME);
	return 0;
}

int port__open(const char *path, struct error *error)
{
	char found[300];
	int fd;

	if (!path) {
		if (find(found, sizeof(found), error))
			return -1;
		path = found;
	}
	fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		fail(error, STATUS_NO_DEVICE, "cannot open %s: %s%s", path, strerror(errno),
		     errno == EBUSY ? "; does another agent serve it?" : "");
	return fd;
}

ssize_t port__read(int fd, char *buffer, size_t size, struct error *error)
{
	ssize_t got = read(fd, buffer, size);

	if (got >= 0)
		return got;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	if (errno == ENODEV)
		return fail(error, STATUS_PORT_GONE, "the port is gone: the host unplugged it");
	return fail(error, STATUS_FAILED, "cannot read the port: %s", strerror(errno));
}

void port__write(int fd, const char *text, size_t length)
{
	struct pollfd wait = { .fd = fd, .events = POLLOUT };
	int naps = NAPS;

	while (length) {
		ssize_t put = write(fd, text, length);

		if (put > 0) {
			text += put;
			length -= (size_t)put;
		} else if (put < 0 && errno != EAGAIN && errno != EINTR) {
			return;
		} else if (poll(&wait, 1, PATIENCE_MS) <= 0) {
			return;
		} else if (!(wait.revents & POLLOUT)) {
			if (!naps--)
				return;
			clock__sleep(NAP);
		}
	}
}
