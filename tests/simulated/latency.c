// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How late interrupts are while other CPUs execute.  CPU 0 is the caller's.  CPU 1 is the target's, which looks at the
 * clock all the time, and sees an interrupt as a gap.  BUSY processes, each on a CPU of its own, count.  SAMPLES times
 * for each BUSY, the least one first:
 *
 *	ipi	membarrier() interrupts the target: from the call to the last look before the gap
 *	trip	the same: from the call to its return
 *	timer	a timer of the target's interrupts it: from when that is due to the last look before the gap
 *	sleep	the caller sleeps: from when that is to end to its next look at the clock
 *
 * Prints "look 0 NS", the time from one look to the next, and a line "WHAT BUSY NS..." for each of these, which has all
 * samples.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "pinned.h"

enum { CALLER, TARGET, FIRST_BUSY };
enum { IPI, TRIP, TIMER, SLEEP, KINDS, SAMPLES = 40 };

#define SECOND INT64_C(1000000000)
/* Two looks that are further apart have an interrupt between them. */
#define GAP 150
/* How long before it is due a timer is set. */
#define AHEAD 20000
/* Until all CPUs have done what they do for a tick. */
#define SETTLE 400000
/* By how much later in a round each sample begins.  It divides no quantum. */
#define STEP 53

static const char *const names[KINDS] = { [IPI] = "ipi", [TRIP] = "trip", [TIMER] = "timer", [SLEEP] = "sleep" };
static int64_t samples[KINDS][SAMPLES];

/* The last look before the last gap.  The caller waits for it to change. */
static int64_t gap;
/* When the target's timer is due; < 0: the caller wants one. */
static int64_t due;
static int64_t look;
static int timer;

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * SECOND + now.tv_nsec;
}

static int64_t get(int64_t *shared)
{
	return __atomic_load_n(shared, __ATOMIC_ACQUIRE);
}

static void set(int64_t *shared, int64_t value)
{
	__atomic_store_n(shared, value, __ATOMIC_RELEASE);
}

static struct timespec time_of(int64_t ns)
{
	return (struct timespec) { ns / SECOND, ns % SECOND };
}

static void set_timer(void)
{
	int64_t at = now_ns() + AHEAD;
	struct itimerspec when = { .it_value = time_of(at) };

	if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL))
		err(1, "timerfd_settime");
	set(&due, at);
}

static void *be_target(void *data)
{
	int64_t was = now_ns(), now;

	for (;;) {
		if (get(&due) < 0) {
			set_timer();
			was = now_ns();
		}
		now = now_ns();
		if (now - was > GAP)
			set(&gap, was);
		else
			set(&look, now - was);
		was = now;
	}
	return data;
}

static int64_t next_gap(int64_t before)
{
	int64_t at;

	while ((at = get(&gap)) == before)
		;
	return at;
}

static void stay_on(unsigned int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		err(1, "CPU %u", cpu);
}

static void keep_busy(unsigned int cpu)
{
	switch (fork()) {
	case -1:
		err(1, "fork");
	case 0:
		stay_on(cpu);
		for (;;)
			asm volatile("");
	}
}

/* Let each sample begin at another place of a round. */
static void pass(uint64_t ns)
{
	for (ns = ns / 2 + 1; ns; ns--)
		asm volatile("");
}

static void interrupt_target(unsigned int i)
{
	int64_t before = get(&gap), from = now_ns(), to;

	if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
		err(1, "membarrier");
	to = now_ns();
	samples[IPI][i] = next_gap(before) - from;
	samples[TRIP][i] = to - from;
}

static void let_timer_interrupt(unsigned int i)
{
	int64_t before = get(&gap);

	set(&due, -1);
	while (get(&due) < 0)
		;
	samples[TIMER][i] = next_gap(before) - get(&due);
}

static void sleep_until(unsigned int i)
{
	int64_t until = now_ns() + AHEAD;
	struct timespec when = time_of(until);

	errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
	if (errno)
		err(1, "clock_nanosleep");
	samples[SLEEP][i] = now_ns() - until;
}

/*
 * All CPUs have their ticks at the same time, and between two ticks there is time for all samples.  The first sleep
 * after a fork() takes long: the kernel looks for work for the CPU that becomes idle.
 */
static void wait_for_tick(void)
{
	int64_t until;

	sleep_until(0);
	until = next_gap(get(&gap)) + SETTLE;
	while (now_ns() < until)
		;
}

static void measure(unsigned int busy)
{
	wait_for_tick();
	for (unsigned int i = 0; i < SAMPLES; i++) {
		pass(i * STEP);
		interrupt_target(i);
		let_timer_interrupt(i);
		sleep_until(i);
	}
	for (unsigned int kind = 0; kind < KINDS; kind++) {
		printf("%s %u", names[kind], busy);
		for (unsigned int i = 0; i < SAMPLES; i++)
			printf(" %ld", samples[kind][i]);
		putchar('\n');
	}
}

int main(int argc, char **argv)
{
	unsigned int busy = 0;

	if (argc < 2) {
		fputs("usage: latency BUSY...\n", stderr);
		return 2;
	}
	stay_on(CALLER);
	timer = timerfd_create(CLOCK_MONOTONIC, 0);
	/* Let the kernel not put off the end of a sleep. */
	if (timer < 0 || prctl(PR_SET_TIMERSLACK, 1) ||
	    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
		err(1, "preparing");
	start_on(TARGET, be_target, NULL);
	for (int i = 1; i < argc; i++) {
		for (; busy < strtoul(argv[i], NULL, 10); busy++)
			keep_busy(FIRST_BUSY + busy);
		measure(busy);
	}
	printf("look 0 %ld\n", get(&look));
	return 0;
}
