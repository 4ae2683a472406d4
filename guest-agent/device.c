// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "device.h"

#define PCI_DEVICES	"/sys/bus/pci/devices"
#define BAR_MAX		(64u << 20)
#define PATIENCE	(2 * NS_PER_SEC)

/* ---- find and map ---- */

static uint32_t sysfs_id(const char *name, const char *file)
{
	char path[sizeof(PCI_DEVICES) + 300];
	unsigned int id = 0;
	FILE *f;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", name, file);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%x", &id) != 1)
		id = 0;
	fclose(f);
	return id;
}

static int find(char *path, size_t size, struct error *error)
{
	struct dirent *entry;
	DIR *dir = opendir(PCI_DEVICES);

	while (dir && (entry = readdir(dir))) {
		if (sysfs_id(entry->d_name, "vendor") != KVM_SPF_PCI_VENDOR_ID ||
		    sysfs_id(entry->d_name, "device") != KVM_SPF_PCI_DEVICE_ID)
			continue;
		snprintf(path, size, PCI_DEVICES "/%s/resource0", entry->d_name);
		closedir(dir);
		return 0;
	}
	if (dir)
		closedir(dir);
	return fail(error, STATUS_NO_DEVICE,
		    "this guest has no kvm-spf device: start QEMU with -device kvm-spf");
}

static int map(struct device *device, const char *path, struct error *error)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;
	void *bar;

	if (fd < 0)
		return fail(error, STATUS_NO_DEVICE, "cannot open %s: %s%s", path, strerror(errno),
			    errno == EACCES ? "; run this as root" : "");
	if (fstat(fd, &st) || st.st_size < SNAPSHOT_MIN || st.st_size > BAR_MAX) {
		close(fd);
		return fail(error, STATUS_NO_DEVICE, "%s has not the size of a kvm-spf BAR; name its resource0", path);
	}
	bar = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bar == MAP_FAILED) {
		fail(error, STATUS_NO_DEVICE, "cannot map %s: %s%s", path, strerror(errno),
		     errno == EPERM ? "; kernel lockdown forbids it" : "");
		close(fd);
		return -1;
	}
	close(fd);
	device->bar = bar;
	device->size = (size_t)st.st_size;
	return 0;
}

/* ---- read ---- */

static uint32_t bar32(const struct device *device, size_t offset)
{
	return le32toh(*(volatile uint32_t *)(device->bar + offset));
}

static uint64_t bar64(const struct device *device, size_t offset)
{
	return le64toh(*(volatile uint64_t *)(device->bar + offset));
}

/*
 * Copy the first @bytes as they were at one time.  The host makes @seq odd,
 * writes the figures and makes @seq even, with write barriers between.  They
 * pair with the fences here, which keep our loads in the matching order.
 */
static int copy_whole(struct device *device, size_t bytes, struct error *error)
{
	uint64_t end = clock__ns() + PATIENCE;

	for (;;) {
		uint32_t seq = bar32(device, KVM_SPF_SEQ);

		atomic_thread_fence(memory_order_acquire);
		if (!(seq & 1)) {
			for (size_t at = 0; at < bytes; at += 8)
				*(uint64_t *)(device->copy + at) = *(volatile uint64_t *)(device->bar + at);
			atomic_thread_fence(memory_order_acquire);
			if (bar32(device, KVM_SPF_SEQ) == seq)
				return 0;
		}
		if (clock__ns() > end)
			return fail(error, STATUS_FAILED, "the kvm-spf device never holds still: its host may hang");
		clock__sleep(20000);
	}
}

static int read_bar(struct device *device, bool records, struct snapshot *s, struct error *error)
{
	/* If SIZE grows during the copy, snapshot__parse() sees the new size, and that the copy is shorter. */
	size_t bytes = records ? bar32(device, KVM_SPF_SIZE) : 0;

	if (bytes > device->size)
		bytes = device->size;
	bytes = bytes < SNAPSHOT_MIN ? SNAPSHOT_MIN : bytes & ~(size_t)7;
	if (copy_whole(device, bytes, error))
		return -1;
	if (snapshot__parse(s, device->copy, bytes, records, error))
		return -1;
	s->guest_ns = clock__ns();
	return 0;
}

/*
 * Ring, and wait until the generation grows or a new epoch begins, in which it starts anew.
 */
static bool wait_for_news(struct device *device)
{
	uint64_t epoch = bar64(device, KVM_SPF_EPOCH), generation = bar64(device, KVM_SPF_GENERATION);
	uint64_t end = clock__ns() + PATIENCE;

	*(volatile uint32_t *)(device->bar + KVM_SPF_DOORBELL) = htole32(1);
	for (uint64_t pause = 50000;; pause = pause < 2000000 ? 2 * pause : pause) {
		if (bar64(device, KVM_SPF_GENERATION) > generation || bar64(device, KVM_SPF_EPOCH) != epoch)
			return true;
		if (clock__ns() > end)
			return false;
		clock__sleep(pause);
	}
}

/* Without counters the device collects nothing, and so ignores the doorbell. */
static bool collects(const struct device *device)
{
	return bar64(device, KVM_SPF_FEATURES) & KVM_SPF_F_COUNTERS;
}

int device__collect(struct device *device, bool records, struct snapshot *snapshot, struct error *error)
{
	bool news = true;

	/*
	 * The first new generation may be of a collection that had begun before we rang, at the host's interval or for
	 * another reader.  The second is not. By then the guest may be on another host, whose device has no counters.
	 */
	for (int ring = 0; ring < 2 && news && collects(device); ring++)
		news = wait_for_news(device);

	if (read_bar(device, records, snapshot, error))
		return -1;
	snapshot->stale = !news;
	return 0;
}

void device__warn_stale(const struct snapshot *snapshot)
{
	if (snapshot->stale)
		fprintf(stderr, "spf-agent: the host collected nothing new within %llu s: these figures are old\n",
			PATIENCE / NS_PER_SEC);
}

/* ---- open and close ---- */

int device__open(struct device *device, const char *path, struct error *error)
{
	char found[sizeof(PCI_DEVICES) + 300];
	struct snapshot snapshot;

	memset(device, 0, sizeof(*device));
	if (!path) {
		if (find(found, sizeof(found), error))
			return -1;
		path = found;
	}
	if (map(device, path, error))
		return -1;
	device->copy = malloc(device->size);
	if (!device->copy) {
		device__close(device);
		return fail(error, STATUS_FAILED, "out of memory");
	}
	if (read_bar(device, false, &snapshot, error)) {
		device__close(device);
		return -1;
	}
	return 0;
}

void device__close(struct device *device)
{
	free(device->copy);
	munmap((void *)device->bar, device->size);
}
