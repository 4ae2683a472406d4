// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A thread waits for an event of asynchronous I/O, which the kernel copies to memory of the thread's while it looks
 * whether to go on waiting.  It does so ROUNDS times into a new page each, then ROUNDS times into pages that are there.
 * Prints the number of the thread.
 */
#define _GNU_SOURCE
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "fresh.h"

enum { ROUNDS = 20 };

static char *mem;
static aio_context_t context;
static pthread_barrier_t turn;
static int waiter;

static struct io_event *place(int round)
{
	return (struct io_event *)(mem + (1 + round % ROUNDS) * PAGE);
}

static void *wait_for_each(void *unused)
{
	waiter = gettid();
	for (int i = 0; i < 2 * ROUNDS; i++) {
		pthread_barrier_wait(&turn);
		if (syscall(SYS_io_getevents, context, 1, 1, place(i), NULL) != 1)
			err(1, "io_getevents");
		pthread_barrier_wait(&turn);
	}
	return unused;
}

/* Return once the waiter sleeps in its call. */
static void let_it_sleep(void)
{
	char path[64], text[64], want[16];

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", waiter);
	snprintf(want, sizeof(want), "%d ", SYS_io_getevents);
	do {
		int fd = open(path, O_RDONLY);
		ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

		if (len < 0)
			err(1, "%s", path);
		text[len] = '\0';
		close(fd);
	} while (strncmp(text, want, strlen(want)));
}

int main(void)
{
	int zero = open("/dev/zero", O_RDONLY);
	char byte;
	struct iocb read_a_byte = { .aio_fildes = zero, .aio_lio_opcode = IOCB_CMD_PREAD,
				    .aio_buf = (unsigned long)&byte, .aio_nbytes = 1 };
	struct iocb *list[] = { &read_a_byte };
	pthread_t thread;

	/* The waiter must wait for no page of its program. */
	if (mlockall(MCL_CURRENT))
		err(1, "mlockall");
	mem = fresh_memory(TABLE);
	/* Making the page table and the anon_vma takes a lock: make them first. */
	mem[0] = 1;
	pthread_barrier_init(&turn, NULL, 2);
	if (zero < 0 || syscall(SYS_io_setup, 1, &context))
		err(1, "/dev/zero, io_setup");
	if (pthread_create(&thread, NULL, wait_for_each, NULL))
		errx(1, "pthread_create");
	for (int i = 0; i < 2 * ROUNDS; i++) {
		pthread_barrier_wait(&turn);
		let_it_sleep();
		/* The read is over when this returns. */
		if (syscall(SYS_io_submit, context, 1, list) != 1)
			err(1, "io_submit");
		pthread_barrier_wait(&turn);
		if (place(i)->res != 1)
			errx(1, "round %d: %lld", i, (long long)place(i)->res);
	}
	pthread_join(thread, NULL);
	printf("%d %d\n", waiter, ROUNDS);
	return 0;
}
