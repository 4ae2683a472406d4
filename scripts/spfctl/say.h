/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Complaints, and small things that every part needs. */
#ifndef SPFCTL_SAY_H
#define SPFCTL_SAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* The reason of a failure: one line of printable characters, even if a VM supplied it. */
struct why {
	char text[256];
	bool passes;			/* all is well, and it will answer later */
};

/* All return -1, for `return fail(...)`. */
int fail(struct why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
int fail_for_now(struct why *why, const char *text);
int complain(const char *about, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Complain, unless @told has the same complaint: a live table repeats none. */
void complain_once(struct why *told, const char *about, const struct why *why);

/* Was there a complaint?  Then the exit status says so. */
bool complained(void);

/* From now on the last complaints are kept, to be printed below each table that wipes the terminal. */
void complaints_keep(void);
void complaints_print(void);

/* Bytes that a terminal might obey, or cannot show, become '?'. */
void make_printable(char *text);

int64_t now_ms(void);
/* The wall clock in UTC, as in ISO 8601: 2026-11-28T01:49:20Z. */
const char *time_stamp(char text[32]);

void *must_allocate(size_t size);
void *must_grow(void *memory, size_t size);
char *must_copy(const char *text);
/* Other characters, and '%', become %XX, so that different texts stay different. */
char *must_copy_printable(const char *text);

#endif
