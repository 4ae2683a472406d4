/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VMs through libvirt. */
#ifndef SPFCTL_DOMAIN_H
#define SPFCTL_DOMAIN_H

#include "snapshot.h"

struct domain;
struct json_object;

/*
 * Calls found() with each running domain.  Returns LIBVIRT_ABSENT if this host has no libvirt library, and -1 if
 * libvirt did not answer, so that its domains are unknown.
 */
enum { LIBVIRT_ABSENT = 1 };
typedef void domain_found_fn(void *arg, const char *name, const char *uuid, int id);
int domains_list(const char *uri, int64_t timeout_ms, domain_found_fn *found, void *arg, struct why *why);
void domains_close(void);

struct domain *domain_new(const char *uri, const char *uuid);
void domain_free(struct domain *domain);

/*
 * Begin to ask for libvirt's own statistics, which taints nothing, or, with a QMP command, over the monitor.  Then wait
 * for the answer until @deadline of now_ms(); complaints give @timeout_ms as that time.
 */
int domain_begin(struct domain *domain, const char *command, struct why *why);
int domain_end_statistics(struct domain *domain, int64_t deadline, int64_t timeout_ms, struct snapshot *snapshot,
			  struct why *why);
struct json_object *domain_end_command(struct domain *domain, int64_t deadline, int64_t timeout_ms, struct why *why);

/*
 * Subscribe to an event of QMP's from all domains.  Returns a file descriptor, or -1.  Its lines are JSON objects with
 * "domain" and "data".  End of file means that libvirt has gone.
 */
int domains_listen(const char *uri, const char *event, struct why *why);

#endif
