/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SPFCTL_H
#define SPFCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

struct json_object;

/* -- why something failed: one line, fit for a terminal whoever wrote it -- */

struct why {
	char text[256];
};

/* Both return -1, for `return fail(...)`. */
int fail(struct why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
int complain(const char *about, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Did anybody complain?  Then the exit status says so. */
bool complained(void);

/* Bytes that a terminal might obey, or cannot show, become '?'. */
void make_printable(char *text);

int64_t now_ms(void);
void *must_allocate(size_t size);
char *must_copy(const char *text);
char *must_copy_printable(const char *text);

/* -- what a VM says of itself -- */

enum { NR_TIERS = 4, NR_ABORTS = 8, NR_CHOICES = 3, NR_MODES = 5, NR_BUCKETS = 32 };

/* As in QMP. */
extern const char *const tier_names[NR_TIERS];
extern const char *const abort_names[NR_ABORTS];
extern const char *const mode_names[NR_MODES];

struct snapshot {
	bool available;
	int mode;
	uint32_t vcpus;
	uint64_t host_ns;
	uint64_t faults[NR_TIERS];
	uint64_t aborts[NR_ABORTS];
	uint64_t ns_sum;
	uint64_t ns_max;
	uint64_t hist[NR_BUCKETS];	/* bucket 0: 0 ns; b: [2^(b-1), 2^b) ns; the last: what is longer, too */
};

int snapshot_parse(struct snapshot *snapshot, struct json_object *answer, struct why *why);

/* What happened from @before to @now; false if @before is no base: another VM, or its counters began anew. */
bool snapshot_minus(struct snapshot *delta, const struct snapshot *now, const struct snapshot *before);

uint64_t latency_count(const struct snapshot *snapshot);

/* No more than this many ns did @percent of all faults take; 0 without faults. */
uint64_t latency_percentile(const struct snapshot *snapshot, unsigned int percent);

/* -- a VM, and how to ask it -- */

struct vm {
	struct vm *next;
	char *where;			/* path of its QMP socket, or "libvirt:" and the domain's name */
	char *name;
	bool name_known;		/* or else it is a guess */
	void *domain;			/* libvirt's, or NULL */
	bool seen;			/* the last search found it */
	bool wanted;			/* it is among those that were named */
	bool has_now, has_before;
	struct snapshot now, before;
	struct why why;			/* if not @has_now */
	struct why told;		/* the last complaint about it */
};

/* Ask for a snapshot, and for the name if it is not known.  On failure @why says why. */
void vm_collect(struct vm *vm);
int vm_set_mode(struct vm *vm, int mode, struct why *why);

/* The object under "return" of a QMP answer, or NULL; takes over @answer. */
struct json_object *qmp_result(struct json_object *answer, struct why *why);
struct json_object *qmp_parse(const char *line, size_t length, struct why *why);

struct qmp;
struct qmp *qmp_open(const char *path, struct why *why);
struct json_object *qmp_execute(struct qmp *qmp, const char *command, struct why *why);
void qmp_close(struct qmp *qmp);

/* Everything with one VM has to be over within this. */
extern int64_t timeout_ms;

struct json_object *libvirt_execute(void *domain, const char *command, struct why *why);
enum { LIBVIRT_ABSENT = 1 };
/* Calls found() with each running domain, which found() has to free.  LIBVIRT_ABSENT if there is no libvirt for us. */
typedef void found_fn(void *arg, const char *name, void *domain);
int libvirt_list(const char *uri, found_fn *found, void *arg, struct why *why);
void libvirt_free(void *domain);
void libvirt_close(void);

/* -- all of them -- */

struct sources {
	const char **sockets;
	size_t nr_sockets;
	const char *directory;		/* of sockets, or NULL */
	const char *libvirt;		/* URI, or NULL */
	bool by_default;		/* nobody asked: what is not there is not missed */
	char *const *names;		/* only these, unless there are none */
	size_t nr_names;
};

/* Bring the list up to date and collect from each.  Complains of what does not answer, once for the same reason. */
void vms_collect(struct vm **vms, const struct sources *sources);
/* Complain of names that no VM has. */
void vms_check_names(const struct vm *vms, const struct sources *sources);
void vms_free(struct vm **vms);

/* -- what becomes of it -- */

void table_print(const struct vm *vms, bool with_head);
void json_print(const struct vm *vms);
void prometheus_write(const struct vm *vms, const char *path);

#endif
