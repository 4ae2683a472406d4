// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Make each allocation of a fault fail, one after the other, by /proc/.../fail-nth.  The fault may fail then, but the
 * next one must succeed, and the page must have the right contents.  Prints a line of JSON for each kind of memory,
 * each way to touch it and each mode.
 */
#include "failures.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "number.h"
#include "pages.h"
#include "stats.h"
#include "vmm.h"

#define OLD	7	/* generations: the old contents, the new contents */
#define NEW	9
#define MOST	5000

static struct vmm vmm;
static int source;		/* a file with a page as written */
static int nth_fd;
static volatile sig_atomic_t signals;

void die(const char *what)
{
	fprintf(stderr, "failures: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void on_bus(int number)
{
	(void)number;
	signals++;
}

/* -- make the n-th allocation from now on fail, and find out whether there was one -- */

static void arm(unsigned int n)
{
	char text[20];

	if (pwrite(nth_fd, text, sprintf(text, "%u", n), 0) < 0)
		die("fail-nth");
}

/* These calls copy from and to us.  That counts as well, so the failure may hit them. */
static bool disarm(void)
{
	char text[20] = "";
	ssize_t got = pread(nth_fd, text, sizeof(text) - 1, 0);
	bool failed = got > 0 && !atoi(text);

	while (pwrite(nth_fd, "0", 1, 0) < 0)
		if (errno != EFAULT)
			die("fail-nth");
	return failed;
}

/* -- ways to touch a page: 0, or an errno -- */

static int run(void)
{
	struct vcpu *vcpu = vmm.vcpu;

	if (ioctl(vcpu->fd, KVM_RUN, 0))
		return errno;
	return vcpu->run->exit_reason == KVM_EXIT_IO ? 0 : EPROTO;
}

static void guest_start(enum walk_access access)
{
	struct walk *walk = vmm.vcpu->walk;

	walk->base = VMM_RAM;
	walk->count = walk->stride = 1;
	walk->access = access;
	walk->generation = NEW;
	if (vcpu__start(vmm.vcpu, guest_pages))
		exit(1);
}

static void guest_write_start(void)
{
	guest_start(WALK_WRITE);
}

static void guest_read_start(void)
{
	guest_start(WALK_READ);
}

static int thread_write(void)
{
	page_write((void *)area, VMM_RAM, NEW);
	return 0;
}

static int thread_read(void)
{
	(void)*(volatile uint64_t *)area;
	return 0;
}

static int kernel_write(void)
{
	ssize_t got = pread(source, area, PAGE, 0);

	return got == (ssize_t)PAGE ? 0 : got < 0 ? errno : EFAULT;
}

static const struct touch {
	const char *name;
	void (*start)(void);
	int (*go)(void);
	bool write, guest;
} touches[] = {
	{ "guest writes", guest_write_start, run, true, true },
	{ "guest reads", guest_read_start, run, false, true },
	{ "thread writes", NULL, thread_write, true, false },
	{ "thread reads", NULL, thread_read, false, false },
	{ "read() into it", NULL, kernel_write, true, false },
};

/* -- one kind, touched one way, in one mode -- */

/* Returns how often tier 1 had no memory. */
static long no_memory(const struct touch *touch)
{
	struct fault_stats stats = {};

	if (!touch->guest)
		return number_in("/proc/vmstat", "spf_abort_no_memory ");
	if (fault_stats__add(&stats, vmm.vcpu->fd))
		exit(1);
	for (int i = 0; i < FAULT_ABORTS; i++)
		if (strstr(fault_abort_names[i], "no_memory"))
			return stats.abort[i];
	return -1;
}

static void set_mode(const struct touch *touch, enum vmm_mode mode)
{
	int fd = open("/proc/sys/vm/speculative_user_faults", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, mode == VMM_ON ? "1" : "0", 1) != 1)
		die("vm.speculative_user_faults");
	close(fd);
	if (touch->guest && vmm__set_mode(&vmm, mode))
		exit(1);
}

static void each(const struct kind *kind, const struct touch *touch, enum vmm_mode mode)
{
	unsigned int n, survived = 0, wrong = 0, unusual = 0;
	long before;
	uint64_t old = kind->filled ? OLD : 0;

	set_mode(touch, mode);
	before = no_memory(touch);
	for (n = 1; n < MOST; n++) {
		bool failed;
		int error;

		signals = 0;

		kind->prepare();
		vmm.vcpu->walk->first = old;
		if (touch->start)
			touch->start();
		arm(n);
		error = touch->go();
		failed = disarm();
		if (error && error != ENOMEM && error != EFAULT) {
			fprintf(stderr, "failures: %s, %s: allocation %u: %s\n", kind->name, touch->name, n,
				strerror(error));
			unusual++;
		}
		survived += failed && !error && !signals;
		if (error && touch->go()) {
			fprintf(stderr, "failures: %s, %s: allocation %u: once more: %m\n", kind->name, touch->name, n);
			unusual++;
		}
		if (vmm.vcpu->walk->done || !page_is((void *)area, VMM_RAM, touch->write ? NEW : old))
			wrong++;
		vmm.vcpu->walk->done = 0;
		if (!failed)
			break;
	}
	printf("{\"kind\": \"%s\", \"touch\": \"%s\", \"mode\": \"%s\", \"allocations\": %u, \"survived\": %u, "
	       "\"no_memory\": %ld, \"wrong\": %u, \"unusual\": %u}\n", kind->name, touch->name,
	       vmm_mode__name(mode), n - 1, survived,
	       no_memory(touch) - before, wrong, unusual);
	fflush(stdout);
}

static void make_source(void)
{
	uint64_t page[PAGE / sizeof(uint64_t)] = {};

	page_write(page, VMM_RAM, NEW);
	source = memfd_create("source", MFD_CLOEXEC);
	if (source < 0 || write(source, page, PAGE) != (ssize_t)PAGE)
		die("memfd_create");
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_bus };
	char path[64];

	sigaction(SIGBUS, &action, NULL);
	snprintf(path, sizeof(path), "/proc/self/task/%d/fail-nth", gettid());
	nth_fd = open(path, O_RDWR | O_CLOEXEC);
	if (nth_fd < 0) {
		fputs("failures: no fail-nth; it needs a kernel with CONFIG_FAULT_INJECTION: --kernel debug\n", stderr);
		return 2;
	}
	make_source();
	kinds__init(OLD);
	if (vmm__create(&vmm, 1, AREA) || vmm__map(&vmm, VMM_RAM_SLOT, VMM_RAM, AREA, area))
		return 1;
	for (const struct kind *kind = kinds; kind->name; kind++)
		for (const struct touch *touch = touches; touch < touches + sizeof(touches) / sizeof(*touches); touch++)
			for (int mode = VMM_OFF; mode <= VMM_ON; mode++)
				/* Faults that are not a guest's have two modes. */
				if (touch->guest || mode != VMM_VMA_LOCK)
					each(kind, touch, mode);
	return 0;
}
