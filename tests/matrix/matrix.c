// SPDX-License-Identifier: GPL-2.0-or-later
/* One row of the matrix of memory kinds and states, see usage(); prints one line of JSON. */
#include "matrix.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "footprint.h"
#include "locks.h"
#include "pages.h"

static const char *const outcomes[] = { "ok", "EFAULT", "SIGBUS", "MMIO", "other" };

/* -- a run of the guest -- */

static volatile sig_atomic_t bus;

static void on_bus(int number)
{
	bus = number;
}

static enum outcome run(struct row *row, struct vcpu *vcpu)
{
	while (!bus) {
		if (!ioctl(vcpu->fd, KVM_RUN, 0)) {
			if (vcpu->run->exit_reason == KVM_EXIT_IO)
				return OUTCOME_OK;
			return vcpu->run->exit_reason == KVM_EXIT_MMIO ? OUTCOME_MMIO : OUTCOME_OTHER;
		}
		if (errno == EFAULT)
			return OUTCOME_EFAULT;
		if (errno != EINTR && errno != EAGAIN)
			return OUTCOME_OTHER;
		if (errno == EINTR && row->until_signal)
			return OUTCOME_OK;
	}
	return OUTCOME_SIGBUS;
}

/* The vCPU's thread itself begins and ends the count, so that its own start and end do not count. */
static void *vcpu_thread(void *arg)
{
	struct row *row = arg;
	struct vcpu *vcpu = row->vmm.vcpu;
	struct rusage start, end;
	long before = 0;

	/* The name of the thread tells which one submits I/O. */
	prctl(PR_SET_NAME, "vcpu");
	row->tid = gettid();
	if (row->measuring && locks__watch()) {
		row->outcome = OUTCOME_OTHER;
		return NULL;
	}
	if (row->measuring)
		before = locks__count();
	getrusage(RUSAGE_THREAD, &start);
	row->outcome = run(row, vcpu);
	getrusage(RUSAGE_THREAD, &end);
	if (row->measuring) {
		row->major += end.ru_majflt - start.ru_majflt;
		row->locks += locks__count() - before;
		locks__end();
	}
	return NULL;
}

int row__guest(struct row *row, enum walk_access access)
{
	struct vcpu *vcpu = row->vmm.vcpu;
	struct walk *walk = vcpu->walk;
	pthread_t thread;

	/* Drop an earlier signal, which does not belong to this run. */
	bus = 0;
	walk->base = VMM_RAM;
	walk->stride = row->stride;
	walk->count = row->pages;
	walk->access = access;
	walk->first = row->generation;
	walk->generation = row->generation + 1;
	if (vcpu__start(vcpu, guest_pages))
		return -1;
	if (pthread_create(&thread, NULL, vcpu_thread, row)) {
		fprintf(stderr, "matrix: no thread: %m\n");
		return -1;
	}
	pthread_join(thread, NULL);
	row->wrong += walk->done;
	walk->done = 0;
	if (access & WALK_WRITE)
		row->generation++;
	return 0;
}

static int step_read(struct row *row)
{
	return row__guest(row, WALK_READ);
}

static int step_write(struct row *row)
{
	return row__guest(row, WALK_READ | WALK_WRITE);
}

/* Do not read first: a read would be a fault of its own. */
static int step_overwrite(struct row *row)
{
	return row__guest(row, WALK_WRITE);
}

static int step_host(struct row *row)
{
	for (uint64_t i = 0; i < row->pages; i++) {
		uint64_t offset = i * row->stride;

		row->wrong += !page_is((void *)((char *)row->memory.hva + offset), VMM_RAM + offset, row->generation);
	}
	return 0;
}

static int step_measure(struct row *row)
{
	struct fault_stats so_far = {};

	row->measuring = true;
	row->locks = 0;
	row->major = 0;
	row->messages = 0;
	if (fault_stats__add(&so_far, row->vmm.vcpu->fd))
		return -1;
	row->faults = so_far;
	return 0;
}

static const struct step steps[] = {
	{ "read", "the guest looks whether all pages hold what they should", step_read },
	{ "write", "the guest looks, and writes all pages anew", step_write },
	{ "overwrite", "the guest writes all pages anew", step_overwrite },
	{ "host", "the host looks", step_host },
	{ "measure", "count from here on", step_measure },
	{ }
};

/* -- the row -- */

static void usage(FILE *out)
{
	fputs("usage: matrix MODE MEMORY MIB PAGES STEP...\n"
	      "MODE: off, vma-lock, on.  MEMORY: " BACKING_KINDS ",\n"
	      "  plain, memfd-huge, memfd-private, file-private:PATH, hugetlb-shared, hugetlb-1G, device:PATH,\n"
	      "  secret, ring; then perhaps ,POLICY:NODES.  Steps:\n", out);
	for (const struct step *step = steps; step->name; step++)
		fprintf(out, "  %-16s%s\n", step->name, step->what);
	for (const struct step *step = states; step->name; step++)
		fprintf(out, "  %-16s%s\n", step->name, step->what);
	for (const struct step *step = waits; step->name; step++)
		fprintf(out, "  %-16s%s\n", step->name, step->what);
}

static const struct step *find(const struct step *in, const char *name)
{
	for (; in->name; in++)
		if (!strcmp(in->name, name))
			return in;
	return NULL;
}

static int finish(struct row *row)
{
	struct fault_stats now = {};

	if (fault_stats__add(&now, row->vmm.vcpu->fd))
		return -1;
	printf("{");
	for (int i = 0; i < FAULT_TIERS; i++)
		printf("\"%s\": %lu, ", fault_tier_names[i], (unsigned long)(now.tier[i] - row->faults.tier[i]));
	for (int i = 0; i < FAULT_ABORTS; i++)
		printf("\"%s\": %lu, ", fault_abort_names[i], (unsigned long)(now.abort[i] - row->faults.abort[i]));
	printf("\"locks\": %ld, \"pages\": %lu, \"wrong\": %lu, \"outcome\": \"%s\", ", row->locks,
	       (unsigned long)row->pages, (unsigned long)row->wrong, outcomes[row->outcome]);
	printf("\"major\": %ld, \"messages\": %lu, \"memory\": ", row->major, row->messages);
	footprint__print(row->memory.hva, row->memory.size);
	puts("}");
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_bus };
	struct row row = {};
	enum vmm_mode mode;
	uint64_t size;
	bool async;

	if (argc < 6) {
		usage(stderr);
		return 2;
	}
	sigaction(SIGBUS, &action, NULL);
	size = strtoull(argv[3], NULL, 10) << 20;
	row.pages = strtoull(argv[4], NULL, 10);
	if (!row.pages || !size || size % row.pages) {
		fprintf(stderr, "matrix: %s MiB cannot be %s equal parts\n", argv[3], argv[4]);
		return 2;
	}
	row.stride = size / row.pages;
	async = !strcmp(argv[5], "async");
	if (vmm_mode__parse(argv[1], &mode) || (async ? vmm__create_lapic : vmm__create)(&row.vmm, 1, size))
		return 2;
	/* Lock all memory but the guest's, so that the VMM waits for no other memory. */
	if (async && mlockall(MCL_CURRENT))
		return 2;
	if (vmm__set_mode(&row.vmm, mode) || memory__create(&row.memory, argv[2], size) ||
	    vmm__map(&row.vmm, VMM_RAM_SLOT, VMM_RAM, row.memory.size, row.memory.hva))
		return 2;
	for (int i = 5; i < argc; i++) {
		const struct step *step = find(steps, argv[i]);

		if (!step)
			step = find(states, argv[i]);
		if (!step)
			step = find(waits, argv[i]);
		if (!step) {
			fprintf(stderr, "matrix: there is no step '%s'; without arguments, it lists them\n", argv[i]);
			return 2;
		}
		if (step->run(&row))
			return 1;
		if (row.outcome != OUTCOME_OK)
			break;
	}
	return finish(&row) ? 1 : 0;
}
