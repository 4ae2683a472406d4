/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads of the VMM that change its address space while the guest has faults. */
#ifndef BENCH_NEIGHBOURS_H
#define BENCH_NEIGHBOURS_H

#include <json-c/json.h>
#include <stdint.h>

struct vmm;
struct neighbours;

/* Add "mprotect" or "mprotect:4".  Call again to add more; for the first, `to` is NULL. */
struct neighbours *neighbours__add(struct neighbours *to, const char *kind_and_threads);
void neighbours__list(void);

/* Start them; all have begun when this returns.  Each has a CPU of its own, from the nth on; n of -1: any. */
int neighbours__start(struct neighbours *all, struct vmm *vmm, int n);
/* Returns -1 if one of them had to give up; it has printed why. */
int neighbours__stop(struct neighbours *all);

struct json_object *neighbours__json(const struct neighbours *all);
void neighbours__print(const struct neighbours *all);
void neighbours__free(struct neighbours *all);

#endif
