// SPDX-License-Identifier: GPL-2.0-or-later
#include "memory.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GIB (UINT64_C(1) << 30)

static const struct kind {
	const char *name;
	int map;		/* flags of mmap() */
	int advice;		/* 0: none */
	bool fd;
	bool device;		/* a device's size is fixed */
	bool secret;		/* memfd_secret() */
	bool ring;		/* perf's, whose ->fault() has no ->map_pages() beside it */
	unsigned int memfd;	/* flags of memfd_create() */
	uint64_t align;
} kinds[] = {
	{ "plain", MAP_PRIVATE | MAP_ANONYMOUS, .align = 2 << 20 },
	{ "memfd-huge", MAP_SHARED, MADV_HUGEPAGE, true, .align = 2 << 20 },
	{ "memfd-private", MAP_PRIVATE, .fd = true, .align = 2 << 20 },
	{ "file-private:", MAP_PRIVATE, .fd = true, .align = 2 << 20 },
	{ "hugetlb-shared", MAP_SHARED, .fd = true, .memfd = MFD_HUGETLB | MFD_HUGE_2MB, .align = 2 << 20 },
	{ "device:", MAP_SHARED, .fd = true, .device = true, .align = 2 << 20 },
	{ "secret", MAP_SHARED, .fd = true, .secret = true, .align = 2 << 20 },
	{ "ring", MAP_SHARED, .fd = true, .device = true, .ring = true, .align = 2 << 20 },
	{ "hugetlb-1G", MAP_SHARED, .fd = true, .memfd = MFD_HUGETLB | MFD_HUGE_1GB, .align = GIB },
};

static int open_ring(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_DUMMY, .disabled = 1,
	};

	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static int open_memory(const struct kind *kind, const char *spec, uint64_t size)
{
	const char *path = strchr(spec, ':');
	int fd;

	if (path)
		fd = open(path + 1, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	else if (kind->ring)
		fd = open_ring();
	else if (kind->secret)
		fd = syscall(SYS_memfd_secret, O_CLOEXEC);
	else
		fd = memfd_create("guest", kind->memfd);
	if (fd >= 0 && !kind->device && ftruncate(fd, size)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int create(struct backing *memory, const struct kind *kind, const char *spec, uint64_t size)
{
	uintptr_t start;

	memory->fd = kind->fd ? open_memory(kind, spec, size) : -1;
	if (kind->fd && memory->fd < 0)
		return -1;
	memory->map_size = size + kind->align;
	memory->map = mmap(NULL, memory->map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory->map == MAP_FAILED)
		return -1;
	start = ((uintptr_t)memory->map + kind->align - 1) & ~(kind->align - 1);
	/* A ring has a page of its own in front. */
	memory->hva = mmap((void *)start, size + (kind->ring ? 4096 : 0), PROT_READ | PROT_WRITE,
			   MAP_FIXED | kind->map, memory->fd, 0);
	if (memory->hva == MAP_FAILED)
		return -1;
	if (kind->ring)
		memory->hva = (char *)memory->hva + 4096;
	return kind->advice ? madvise(memory->hva, size, kind->advice) : 0;
}

int memory__create(struct backing *memory, char *spec, uint64_t size)
{
	char *numa = strchr(spec, ',');

	if (numa)
		*numa++ = 0;
	*memory = (struct backing) { .kind = spec, .numa = numa, .size = size, .fd = -1 };
	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		const char *name = kinds[i].name;

		if (strchr(name, ':') ? strncmp(spec, name, strlen(name)) : strcmp(spec, name))
			continue;
		if (!create(memory, &kinds[i], spec, size))
			return 0;
		fprintf(stderr, "matrix: no memory of kind %s: %m; does the host have it?\n", spec);
		backing__destroy(memory);
		return -1;
	}
	return backing__create(memory);
}
