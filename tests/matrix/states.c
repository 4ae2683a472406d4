// SPDX-License-Identifier: GPL-2.0-or-later
/* Change guest memory from outside, into the states in which a fault may find it. */
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "matrix.h"
#include "number.h"
#include "pages.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

int row__fail(const char *what)
{
	fprintf(stderr, "matrix: %s: %m\n", what);
	return -1;
}

int row__advise(struct row *row, int advice, const char *name)
{
	return madvise(row->memory.hva, row->memory.size, advice) ? row__fail(name) : 0;
}

static int state_pageout(struct row *row)
{
	return row__advise(row, MADV_PAGEOUT, "MADV_PAGEOUT");
}

static int state_collapse(struct row *row)
{
	return row__advise(row, MADV_COLLAPSE, "MADV_COLLAPSE");
}

/* Clean pages of a file can be dropped. */
static int state_evict(struct row *row)
{
	return fsync(row->memory.fd) ? row__fail("fsync") : state_pageout(row);
}

static int state_free(struct row *row)
{
	return row__advise(row, MADV_FREE, "MADV_FREE");
}

/* As libvirt does when a domain's numatune is changed.  Memory on either node moves at least once. */
static int state_migrate(struct row *row)
{
	for (int node = 0; node <= 1; node++) {
		unsigned long nodes = 1ul << node;

		if (syscall(SYS_mbind, row->memory.hva, row->memory.size, MPOL_BIND, &nodes, 8 * sizeof(nodes),
			    MPOL_MF_MOVE | MPOL_MF_STRICT))
			return row__fail("mbind");
	}
	return 0;
}

/* Take memory from the guest as a balloon or virtio-mem does. */
static int state_dontneed(struct row *row)
{
	return row__advise(row, MADV_DONTNEED, "MADV_DONTNEED") ? -1 : row__forget(row);
}

static int state_punch(struct row *row)
{
	if (fallocate(row->memory.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, row->memory.size))
		return row__fail("fallocate");
	return row__forget(row);
}

static int state_remap(struct row *row)
{
	if (mmap(row->memory.hva, row->memory.size, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS,
		 -1, 0) == MAP_FAILED)
		return row__fail("mmap");
	return row__forget(row);
}

static int state_mlock(struct row *row)
{
	return mlock(row->memory.hva, row->memory.size) ? row__fail("mlock") : 0;
}

static int state_mlock_onfault(struct row *row)
{
	return mlock2(row->memory.hva, row->memory.size, MLOCK_ONFAULT) ? row__fail("mlock2") : 0;
}

/* A child that shares all pages, until this program ends. */
static int state_fork(struct row *row)
{
	pid_t child;

	/* Leave out the guest's program, which the row does not measure. */
	if (madvise(row->vmm.boot, row->vmm.boot_size, MADV_DONTFORK))
		return row__fail("MADV_DONTFORK");
	child = fork();
	if (child < 0)
		return row__fail("fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	return 0;
}

/* Another process that writes through its own mapping, as a vhost-user or virtiofs daemon does. */
static int state_peer(struct row *row)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return row__fail("fork");
	if (!child) {
		char *shared = mmap(NULL, row->memory.size, PROT_READ | PROT_WRITE, MAP_SHARED, row->memory.fd, 0);

		if (shared == MAP_FAILED)
			_exit(1);
		for (uint64_t i = 0; i < row->pages; i++)
			page_write((void *)(shared + i * row->stride), VMM_RAM + i * row->stride,
				   row->generation + 1);
		_exit(0);
	}
	if (waitpid(child, &status, 0) < 0 || status) {
		fprintf(stderr, "matrix: the peer could not write\n");
		return -1;
	}
	row->generation++;
	return 0;
}

int row__put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int bad = fd < 0 || write(fd, text, strlen(text)) < 0;

	if (fd >= 0)
		close(fd);
	return bad ? row__fail(path) : 0;
}

/* All pages become alike, and are merged. */
static int state_ksm(struct row *row)
{
	memset(row->memory.hva, 0x5a, row->memory.size);
	if (row__advise(row, MADV_MERGEABLE, "MADV_MERGEABLE") || row__put("/sys/kernel/mm/ksm/pages_to_scan", "100000") ||
	    row__put("/sys/kernel/mm/ksm/sleep_millisecs", "1") || row__put("/sys/kernel/mm/ksm/run", "1"))
		return -1;
	while (number_in("/proc/self/ksm_stat", "ksm_merging_pages ") < (long)row->pages / 2)
		usleep(10000);
	return row__put("/sys/kernel/mm/ksm/run", "0");
}

/* As a checkpoint of the VMM does: make pages read-only, to see which are written. */
static int state_soft_dirty(struct row *row)
{
	(void)row;
	return row__put("/proc/self/clear_refs", "4");
}

static int state_unmap(struct row *row)
{
	return munmap(row->memory.hva, row->memory.size) ? row__fail("munmap") : 0;
}

static int state_protect_none(struct row *row)
{
	return mprotect(row->memory.hva, row->memory.size, PROT_NONE) ? row__fail("mprotect") : 0;
}

static int state_protect_read(struct row *row)
{
	return mprotect(row->memory.hva, row->memory.size, PROT_READ) ? row__fail("mprotect") : 0;
}

static int state_truncate(struct row *row)
{
	return ftruncate(row->memory.fd, 0) ? row__fail("ftruncate") : 0;
}

static int state_hwpoison(struct row *row)
{
	return madvise(row->memory.hva, row->stride, MADV_HWPOISON) ? row__fail("MADV_HWPOISON") : 0;
}

/* -- memory slots -- */

static int slot(struct row *row, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = VMM_RAM_SLOT, .flags = flags, .guest_phys_addr = VMM_RAM,
		.memory_size = row->memory.size, .userspace_addr = (uintptr_t)row->memory.hva,
	};

	/* KVM cannot make an existing slot read-only. */
	if (flags & KVM_MEM_READONLY)
		if (vmm__map(&row->vmm, VMM_RAM_SLOT, VMM_RAM, 0, row->memory.hva))
			return -1;
	return ioctl(row->vmm.fd, KVM_SET_USER_MEMORY_REGION, &region) ? row__fail("KVM_SET_USER_MEMORY_REGION") : 0;
}

static int state_dirty_log(struct row *row)
{
	return slot(row, KVM_MEM_LOG_DIRTY_PAGES);
}

static int state_read_only_slot(struct row *row)
{
	return slot(row, KVM_MEM_READONLY);
}

/* A DIMM is pulled out, and another put in. */
static int state_unplug(struct row *row)
{
	if (vmm__map(&row->vmm, VMM_RAM_SLOT, VMM_RAM, 0, row->memory.hva))
		return -1;
	return state_unmap(row);
}

static int state_plug(struct row *row)
{
	return state_remap(row) || slot(row, 0) ? -1 : 0;
}

/* -- userfaultfd: the other side of post-copy, and of a background snapshot -- */

static struct row *served;
static bool only_read;	/* and so is never asked about a page that is write-protected */
static int uffd;

static void serve(const struct uffd_msg *message)
{
	uint64_t page = message->arg.pagefault.address & ~(UINT64_C(4096) - 1);
	uint64_t offset = page - (uintptr_t)served->memory.hva;

	served->messages++;
	/* A thread that is to be interrupted gets no answer. */
	if (served->until_signal)
		return;
	if (message->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR) {
		struct uffdio_continue go_on = { .range = { .start = page, .len = 4096 } };

		ioctl(uffd, UFFDIO_CONTINUE, &go_on);
	} else if (message->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
		struct uffdio_writeprotect off = { .range = { .start = page, .len = 4096 } };

		served->wrong += only_read;
		ioctl(uffd, UFFDIO_WRITEPROTECT, &off);
	} else {
		static uint64_t contents[512] __attribute__((aligned(4096)));
		struct uffdio_copy copy = { .dst = page, .src = (uintptr_t)contents, .len = 4096 };

		page_write(contents, VMM_RAM + offset, served->generation);
		ioctl(uffd, UFFDIO_COPY, &copy);
	}
}

static void *handler(void *unused)
{
	struct uffd_msg message;

	while (read(uffd, &message, sizeof(message)) == sizeof(message))
		if (message.event == UFFD_EVENT_PAGEFAULT)
			serve(&message);
	return unused;
}

int row__userfaultfd(struct row *row, uint64_t features, uint64_t mode)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)row->memory.hva, .len = row->memory.size }, .mode = mode,
	};
	pthread_t thread;

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &range))
		return row__fail("userfaultfd");
	served = row;
	return pthread_create(&thread, NULL, handler, NULL) ? row__fail("pthread_create") : 0;
}

/* Missing pages come from the handler with the next generation. */
static int state_postcopy(struct row *row)
{
	if (state_dontneed(row) || row__userfaultfd(row, 0, UFFDIO_REGISTER_MODE_MISSING))
		return -1;
	row->generation = 1;
	return 0;
}

static int state_snapshot(struct row *row)
{
	struct uffdio_writeprotect all = {
		.range = { .start = (uintptr_t)row->memory.hva, .len = row->memory.size },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	if (row__userfaultfd(row, 0, UFFDIO_REGISTER_MODE_WP))
		return -1;
	return ioctl(uffd, UFFDIO_WRITEPROTECT, &all) ? row__fail("UFFDIO_WRITEPROTECT") : 0;
}

/* Each page has a protection in the page table, and no contents. */
static int state_snapshot_unmapped(struct row *row)
{
	if (state_snapshot(row))
		return -1;
	only_read = true;
	return row__advise(row, MADV_DONTNEED, "MADV_DONTNEED");
}

const struct step states[] = {
	{ "pageout", "swap it out", state_pageout },
	{ "evict", "write the file back and drop its pages", state_evict },
	{ "free", "MADV_FREE", state_free },
	{ "migrate", "move it to node 1", state_migrate },
	{ "soft-dirty", "mark it clean, as programs do that track writes by /proc", state_soft_dirty },
	{ "collapse", "make huge pages of it", state_collapse },
	{ "dontneed", "give it back, as a balloon does", state_dontneed },
	{ "punch", "give the file's pages back", state_punch },
	{ "remap", "map new memory in its place", state_remap },
	{ "mlock", "lock it", state_mlock },
	{ "mlock-onfault", "lock what is touched from now on", state_mlock_onfault },
	{ "fork", "share it with a child", state_fork },
	{ "peer", "another process writes it", state_peer },
	{ "ksm", "make all pages alike and merge them", state_ksm },
	{ "unmap", "unmap it", state_unmap },
	{ "protect-none", "PROT_NONE", state_protect_none },
	{ "protect-read", "PROT_READ", state_protect_read },
	{ "truncate", "cut the file off", state_truncate },
	{ "hwpoison", "poison the first page", state_hwpoison },
	{ "unplug", "take the memory slot and the memory away", state_unplug },
	{ "plug", "and put new ones in their place", state_plug },
	{ "dirty-log", "log dirty pages", state_dirty_log },
	{ "read-only-slot", "map it read-only in the guest", state_read_only_slot },
	{ "postcopy", "pages missing, given by userfaultfd", state_postcopy },
	{ "snapshot", "write-protected by userfaultfd", state_snapshot },
	{ "snapshot-unmapped", "the same, and unmapped; only to be read", state_snapshot_unmapped },
	{ }
};
