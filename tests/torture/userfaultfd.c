// SPDX-License-Identifier: GPL-2.0-or-later
/* Once UFFDIO_REGISTER has returned, only its handler fills a missing page. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "torture.h"

enum { FILL_AT_MOST = 40 };

struct watch {
	struct mutator *me;
	char *start;
	int fd;
	uint64_t before[REGION_PAGES], after[REGION_PAGES];
	bool filled[REGION_PAGES];
};

static int fail(struct watch *watch, const char *what)
{
	return torture__fail(watch->me->torture, "%s: %s", what, strerror(errno));
}

static int fill(struct watch *watch, uint64_t address)
{
	struct uffdio_zeropage zero = { .range = { .start = address & -(uint64_t)PAGE_BYTES, .len = PAGE_BYTES } };

	watch->filled[(zero.range.start - (uintptr_t)watch->start) / PAGE_BYTES] = true;
	/* EEXIST: two faults of one page */
	if (ioctl(watch->fd, UFFDIO_ZEROPAGE, &zero) && errno != EEXIST && errno != EAGAIN)
		return fail(watch, "UFFDIO_ZEROPAGE");
	return 0;
}

/* Serve some faults, or as many as there are in a while. */
static int serve(struct watch *watch)
{
	struct pollfd ready = { .fd = watch->fd, .events = POLLIN };
	struct uffd_msg message;

	for (int i = 0; i < FILL_AT_MOST && poll(&ready, 1, 5) > 0; i++) {
		if (read(watch->fd, &message, sizeof(message)) != sizeof(message))
			continue;
		if (message.event == UFFD_EVENT_PAGEFAULT && fill(watch, message.arg.pagefault.address))
			return -1;
	}
	return 0;
}

static int watch_region(struct watch *watch, unsigned int region)
{
	struct torture *torture = watch->me->torture;
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)watch->start, .len = REGION_BYTES },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	unsigned int wrong = 0, first = 0;
	int status = 0;

	if (ioctl(watch->fd, UFFDIO_API, &api))
		return fail(watch, "UFFDIO_API");
	/*
	 * Empty the region, so that there is much to fault when it is registered.  Use small pages: while a huge zero
	 * page is split, for a write to it, its pmd is empty, and pagemap looks at a pmd without a lock.
	 */
	drop_begins(torture, region, true);
	if (torture__small_pages(watch->start, REGION_BYTES) ||
	    madvise(watch->start, REGION_BYTES, MADV_DONTNEED))
		status = fail(watch, "madvise");
	drop_ended(torture, region, true);
	if (status)
		return -1;
	if (ioctl(watch->fd, UFFDIO_REGISTER, &range))
		return fail(watch, "UFFDIO_REGISTER");
	look_at_pagemap(torture, watch->start, watch->before);
	status = serve(watch);
	look_at_pagemap(torture, watch->start, watch->after);
	if (ioctl(watch->fd, UFFDIO_UNREGISTER, &range.range))
		return fail(watch, "UFFDIO_UNREGISTER");

	for (int i = REGION_PAGES - 1; i >= 0; i--)
		if (is_there(watch->after[i]) && !is_there(watch->before[i]) && !watch->filled[i]) {
			wrong++;
			first = i;
		}
	if (!status && wrong)
		status = torture__fail(torture, "region %u: %u pages, the first is %u, filled after UFFDIO_REGISTER, not by us",
				       region, wrong, first);
	return status;
}

int mutate_userfaultfd(struct mutator *me, unsigned int region)
{
	struct watch watch = { .me = me, .start = region_start(me->torture, region) };
	int status;

	watch.fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (watch.fd < 0)
		status = fail(&watch, "userfaultfd");
	else
		status = watch_region(&watch, region);
	close(watch.fd);
	return status;
}
