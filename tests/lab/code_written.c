// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * In the lab: a thread writes code while another executes it, as the kernel does
 * to switch a static branch.  The code returns a number.  Once all CPUs have
 * synchronised after a store, no call may return the number from before it.
 */
#define _GNU_SOURCE
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STORES = 100000, PAGE = 4096, NUMBER = 4 };

/* nop; nop; nop; mov $0, %eax; ret.  The number is aligned: its store is one access. */
static const uint8_t code[] = { 0x90, 0x90, 0x90, 0xb8, 0, 0, 0, 0, 0xc3 };

static uint32_t (*number)(void);
static _Atomic uint32_t due;
static uint32_t stale, instead_of;

static void *execute(void *unused)
{
	for (uint32_t least = 0; least < STORES && !instead_of;) {
		least = due;
		stale = number();
		if (stale < least)
			instead_of = least;
	}
	return unused;
}

int main(void)
{
	int file = memfd_create("code", 0);
	void *written, *executed;
	_Atomic uint32_t *where;
	pthread_t thread;

	if (file < 0 || ftruncate(file, PAGE) ||
	    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0)) {
		perror("code_written");
		return 1;
	}
	written = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	executed = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
	if (written == MAP_FAILED || executed == MAP_FAILED) {
		perror("code_written: mmap");
		return 1;
	}
	memcpy(written, code, sizeof(code));
	memcpy(&number, &executed, sizeof(number));
	where = (_Atomic uint32_t *)((char *)written + NUMBER);
	if (pthread_create(&thread, NULL, execute, NULL))
		return 1;
	for (uint32_t store = 1; store <= STORES; store++) {
		atomic_store_explicit(where, store, memory_order_relaxed);
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
		due = store;
	}
	pthread_join(thread, NULL);
	if (instead_of) {
		printf("the code returned %u after %u had been stored\n", stale, instead_of);
		return 1;
	}
	printf("%u stores\n", STORES);
	return 0;
}
