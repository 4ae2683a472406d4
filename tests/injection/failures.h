/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The states of a page before its fault that failures.c tries. */
#ifndef FAILURES_H
#define FAILURES_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE	UINT64_C(4096)
#define BLOCK	(UINT64_C(2) << 20)	/* of one page table */
#define AREA	(2 * BLOCK)

struct kind {
	const char *name;
	void (*prepare)(void);	/* the first page of `area` */
	bool filled;		/* the page still has its old contents */
};

extern const struct kind kinds[];	/* the last has no name */
extern char *area;

void kinds__init(uint64_t old_generation);
void die(const char *what) __attribute__((noreturn));

#endif
