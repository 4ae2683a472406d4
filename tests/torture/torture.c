// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vCPUs and threads of the VMM storm faults on the same regions of memory, each on pages of its own, while mutator
 * threads do to the regions all that a VMM may do.  See cells.h for what is checked, and when.
 */
#include "arch.h"
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define CONTROL_BYTES	((sizeof(struct control) + REGION_BYTES - 1) & ~(REGION_BYTES - 1))

static struct torture torture;
static uint64_t seed;

int torture__small_pages(void *at, size_t size)
{
	return madvise(at, size, MADV_NOHUGEPAGE) && errno != EINVAL ? errno : 0;
}

int torture__fail(struct torture *all, const char *format, ...)
{
	va_list args;

	(void)all;
	fprintf(stderr, "torture: seed %lu: ", (unsigned long)seed);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(1);
}

/* -- workers -- */

static void on_signal(int number)
{
	(void)number;
}

/* Read the address from the registers: the kernel reports none if it finds no memory for it, which `inside` causes. */
static uintptr_t fault_address(const siginfo_t *info, const ucontext_t *context)
{
#ifdef __x86_64__
	(void)info;
	return (uintptr_t)context->uc_mcontext.gregs[REG_CR2];
#else
	(void)context;
	return (uintptr_t)info->si_addr;
#endif
}

/* The page is unmapped, moved away or protected: try again until it is back. */
static void on_fault(int number, siginfo_t *info, void *context)
{
	uintptr_t at = fault_address(info, context);

	if (at >= ARENA && at < SCRATCH) {
		sched_yield();
		return;
	}
	signal(number, SIG_DFL);
}

static void check(const struct worker *me, const char *who)
{
	const struct wrong *wrong = &me->wrong;

	if (wrong->seen)
		torture__fail(&torture, "%s %lu: page %lu word %lu: found %#lx, wrote %#lx; zero is %s, %s dropped",
			      who, (unsigned long)me->id, (unsigned long)wrong->page, (unsigned long)wrong->word,
			      (unsigned long)wrong->found, (unsigned long)wrong->expected,
			      wrong->zero ? "allowed" : "not allowed", wrong->sure ? "surely" : "not surely");
}

/* Make allocations of the calling thread fail, if the kernel can; `inside` says which and how often. */
static void let_allocations_fail(void)
{
	int fd = open("/proc/thread-self/make-it-fail", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "1", 1) != 1)
		torture__fail(&torture, "make-it-fail: %s", strerror(errno));
	close(fd);
}

static void *user_thread(void *arg)
{
	struct control *control = torture.control;
	struct worker *me = arg;
	uint64_t page;

	let_allocations_fail();
	while (!LOOK(control->stop))
		if (storm_step(control, me, control->host, &page))
			break;
	check(me, "thread");
	return NULL;
}

/* The page's slot is gone: the VMM does what the guest wanted. */
static void mmio(struct kvm_run *run)
{
	uint64_t offset = run->mmio.phys_addr - VMM_RAM;
	volatile uint64_t *at;
	uint64_t value;

	if (offset >= torture.regions * REGION_BYTES || run->mmio.len != sizeof(value))
		torture__fail(&torture, "a guest left for %#lx, %u bytes", (unsigned long)run->mmio.phys_addr,
			      run->mmio.len);
	at = (void *)(region_start(&torture, offset / REGION_BYTES) + offset % REGION_BYTES);
	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, sizeof(value));
		*at = value;
	} else {
		value = *at;
		memcpy(run->mmio.data, &value, sizeof(value));
	}
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;

	let_allocations_fail();
	for (;;) {
		if (ioctl(vcpu->fd, KVM_RUN, 0)) {
			if (errno != EINTR && errno != EAGAIN && errno != EFAULT)
				torture__fail(&torture, "KVM_RUN: %s", strerror(errno));
			sched_yield();
		} else if (arch__vcpu_left(vcpu->run)) {
			break;
		} else if (vcpu->run->exit_reason == KVM_EXIT_MMIO) {
			mmio(vcpu->run);
		} else {
			torture__fail(&torture, "a guest left for reason %u at page %#lx", vcpu->run->exit_reason,
				      (unsigned long)vcpu->walk->page);
		}
	}
	check(&torture.control->worker[vcpu->walk->first], "vCPU");
	return NULL;
}

/* -- mutators -- */

static bool chosen[64];

static void *mutator_thread(void *arg)
{
	struct mutator *me = arg;

	while (!atomic_load(&torture.over)) {
		unsigned int region = random_next(&me->random) % torture.regions, kind;

		do
			kind = random_next(&me->random) % mutation_count;
		while (!chosen[kind]);
		pthread_mutex_lock(&torture.region_lock[region]);
		mutations[kind].run(me, region);
		pthread_mutex_unlock(&torture.region_lock[region]);
		me->done[kind]++;
		/* Give the workers time to touch some of what was done. */
		usleep(random_next(&me->random) % 2000);
	}
	return NULL;
}

/* -- setting up -- */

static void *reserve(void *at, size_t size, int flags)
{
	at = mmap(at, size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);
	if (at == MAP_FAILED)
		torture__fail(&torture, "no memory: %s", strerror(errno));
	return at;
}

static void set_up(void)
{
	size_t arena = torture.regions * REGION_BYTES;
	struct control *control;

	if (vmm__create(&torture.vmm, torture.vcpus, arena + CONTROL_BYTES))
		exit(2);
	torture.highest = ioctl(torture.vmm.fd, KVM_CHECK_EXTENSION, VMM_CAP_SPECULATIVE_FAULTS);
	if (vmm__set_mode(&torture.vmm, torture.highest))
		exit(2);
	/* Share it, so that a fork does not copy it. */
	control = reserve(NULL, CONTROL_BYTES, MAP_SHARED | MAP_POPULATE);
	torture.control = control;
	torture.file = late__file();
	torture.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (torture.file < 0 || torture.pagemap < 0)
		torture__fail(&torture, "memfd, pagemap: %s", strerror(errno));
	madvise(torture.vmm.boot, torture.vmm.boot_size, MADV_DONTFORK);

	*control = (struct control) {
		.pages = torture.regions * REGION_PAGES, .workers = torture.vcpus + torture.threads,
	};
	for (unsigned int i = 0; i < control->workers; i++) {
		control->worker[i].id = i;
		control->worker[i].random = seed * 2654435761 + i + 1;
	}
	torture.region_lock = calloc(torture.regions, sizeof(*torture.region_lock));
	torture.vcpu_thread = calloc(torture.vcpus, sizeof(*torture.vcpu_thread));
	if (!torture.region_lock || !torture.vcpu_thread)
		torture__fail(&torture, "no memory");

	if (vmm__map(&torture.vmm, VMM_RAM_SLOT, VMM_RAM + arena, CONTROL_BYTES, control))
		exit(2);
	for (unsigned int i = 0; i < torture.regions; i++) {
		char *start = region_start(&torture, i);

		control->guest[i] = VMM_RAM + i * REGION_BYTES;
		control->host[i] = (uintptr_t)start;
		reserve(start, REGION_BYTES, MAP_PRIVATE | MAP_FIXED_NOREPLACE);
		pthread_mutex_init(&torture.region_lock[i], NULL);
		if (vmm__map(&torture.vmm, VMM_RAM_SLOT + 1 + i, control->guest[i], REGION_BYTES, start))
			exit(2);
	}
	for (unsigned int i = 0; i < torture.vcpus; i++) {
		torture.vmm.vcpu[i].walk->base = VMM_RAM + arena;
		torture.vmm.vcpu[i].walk->first = i;
		if (vcpu__start(&torture.vmm.vcpu[i], guest_storm))
			exit(2);
	}
}

static void start(pthread_t *thread, void *(*function)(void *), void *arg)
{
	if (pthread_create(thread, NULL, function, arg))
		torture__fail(&torture, "no thread");
}

static void report_speculation(void)
{
	FILE *counters = fopen("/proc/vmstat", "re");
	char line[128];

	while (counters && fgets(line, sizeof(line), counters))
		if (!strncmp(line, "spf_", 4))
			fputs(line, stdout);
	if (counters)
		fclose(counters);
}

static void report(const struct mutator *mutators, unsigned int count)
{
	uint64_t visits = 0;

	for (unsigned int i = 0; i < torture.control->workers; i++)
		visits += torture.control->worker[i].visits;
	printf("seed %lu: %lu visits, no wrong page; mutations:", (unsigned long)seed, (unsigned long)visits);
	for (unsigned int kind = 0; kind < mutation_count; kind++) {
		unsigned long done = 0;

		for (unsigned int i = 0; i < count; i++)
			done += mutators[i].done[kind];
		if (chosen[kind])
			printf(" %s %lu", mutations[kind].name, done);
	}
	putchar('\n');
	report_speculation();
}

static int storm(unsigned int count, unsigned int seconds)
{
	struct mutator *mutators = calloc(count, sizeof(*mutators));
	pthread_t threads[MAX_WORKERS] = {}, mutator[64] = {};

	if (!mutators)
		torture__fail(&torture, "no memory");
	for (unsigned int i = 0; i < torture.vcpus; i++)
		start(&torture.vcpu_thread[i], vcpu_thread, &torture.vmm.vcpu[i]);
	for (unsigned int i = 0; i < torture.threads; i++)
		start(&threads[i], user_thread, &torture.control->worker[torture.vcpus + i]);
	for (unsigned int i = 0; i < count; i++) {
		mutators[i].torture = &torture;
		mutators[i].random = (seed + 1) * 0x9e3779b97f4a7c15 + i;
		start(&mutator[i], mutator_thread, &mutators[i]);
	}
	for (unsigned int left = seconds; left; left = sleep(left))
		;
	atomic_store(&torture.over, true);
	for (unsigned int i = 0; i < count; i++)
		pthread_join(mutator[i], NULL);
	LOOK(torture.control->stop) = 1;
	for (unsigned int i = 0; i < torture.vcpus; i++)
		pthread_join(torture.vcpu_thread[i], NULL);
	for (unsigned int i = 0; i < torture.threads; i++)
		pthread_join(threads[i], NULL);
	report(mutators, count);
	free(mutators);
	return 0;
}

static void usage(FILE *out)
{
	fputs("usage: torture [--seed N] [--seconds N] [--vcpus N] [--threads N] [--mutators N] [--regions N]\n"
	      "  [--nodes N] [MUTATION...]\nMutations (default: all):", out);
	for (unsigned int i = 0; i < mutation_count; i++)
		fprintf(out, " %s", mutations[i].name);
	fputc('\n', out);
}

static void choose(int count, char **names)
{
	for (unsigned int kind = 0; kind < mutation_count; kind++)
		chosen[kind] = !count;
	for (int i = 0; i < count; i++) {
		unsigned int kind = 0;

		while (kind < mutation_count && strcmp(mutations[kind].name, names[i]))
			kind++;
		if (kind == mutation_count) {
			fprintf(stderr, "torture: there is no mutation '%s'; --help lists them\n", names[i]);
			exit(2);
		}
		chosen[kind] = true;
	}
}

int main(int argc, char **argv)
{
	enum { SEED, SECONDS, VCPUS, THREADS, MUTATORS, REGIONS, NODES, COUNT };
	static const struct option options[] = {
		{ "seed", 1, NULL, SEED }, { "seconds", 1, NULL, SECONDS }, { "vcpus", 1, NULL, VCPUS },
		{ "threads", 1, NULL, THREADS }, { "mutators", 1, NULL, MUTATORS }, { "regions", 1, NULL, REGIONS },
		{ "nodes", 1, NULL, NODES }, { "help", 0, NULL, 'h' }, { }
	};
	unsigned long value[COUNT] = { time(NULL), 20, 2, 2, 3, 8, 1 };
	static const unsigned long most[COUNT] = { -1ul, INT_MAX, 8, 8, 64, MAX_REGIONS, 8 };
	struct sigaction fault = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	struct sigaction ignored = { .sa_handler = on_signal };
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		char *end;

		if (option == 'h' || option == '?') {
			usage(option == 'h' ? stdout : stderr);
			return option == 'h' ? 0 : 2;
		}
		value[option] = strtoul(optarg, &end, 10);
		if (*end || (option != SEED && !value[option]) || value[option] > most[option]) {
			fprintf(stderr, "torture: --%s takes a number from 1 to %lu\n", options[option].name,
				most[option]);
			return 2;
		}
	}
	choose(argc - optind, argv + optind);
	seed = value[SEED];
	torture.vcpus = value[VCPUS];
	torture.threads = value[THREADS];
	torture.regions = value[REGIONS];
	torture.nodes = value[NODES];
	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGUSR1, &ignored, NULL);
	printf("seed %lu\n", (unsigned long)seed);
	fflush(stdout);
	set_up();
	return storm(value[MUTATORS], value[SECONDS]);
}
