// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A call to libvirt lasts as long as the daemon, or the QEMU behind it, takes.
 * A thread makes each call, so that spfctl can go on without its answer.  Each
 * domain has a connection of its own: the daemon serves few calls of one
 * connection at a time, and some mute QEMUs would delay all others.
 */
#include <json-c/json.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "domain-stats.h"
#include "domain.h"
#include "libvirt-load.h"
#include "qmp.h"

struct found {
	char *name;
	char uuid[VIR_UUID_STRING_BUFLEN];
	int id;
};

/* A call that is under way or stuck, and its result. */
struct call {
	pthread_t thread;
	char *uri;
	char *uuid;
	char *command;			/* or NULL */
	virConnectPtr connection;	/* the call's own while it runs */
	bool failed;
	struct why why;
	char *reply;			/* to @command */
	struct snapshot snapshot;	/* or else */
	struct found *found;
	size_t nr_found;
};

struct domain {
	struct domain *next_left;
	char *uri, *uuid;
	virConnectPtr connection;
	struct call *call;		/* under way, or NULL */
	struct why why;			/* the complaint, if it was given up while it goes on */
};

/* The call that lists the domains belongs to a domain without a UUID. */
static struct domain all;
/* Objects of calls that may still end.  After a stuck call, closing its connection may get stuck, too. */
static bool ever_stuck;
static struct domain *left;

enum { CLOSE_MS = 1000 };

static char *copy_or_null(const char *text)
{
	return text ? must_copy(text) : NULL;
}

static void call_free(struct call *call)
{
	for (size_t i = 0; i < call->nr_found; i++)
		free(call->found[i].name);
	free(call->found);
	snapshot_free(&call->snapshot);
	free(call->reply);
	free(call->command);
	free(call->uuid);
	free(call->uri);
	free(call);
}

static void *note_error(struct call *call)
{
	/* libvirt keeps a thread's last error for the thread. */
	fail(&call->why, "libvirt says: %s", lib.virGetLastErrorMessage());
	call->failed = true;
	/* The connection may be one to a daemon that has gone. */
	if (call->connection)
		lib.virConnectClose(call->connection);
	call->connection = NULL;
	return NULL;
}

static bool connect_to(struct call *call)
{
	if (!call->connection)
		call->connection = lib.virConnectOpen(call->uri);
	return call->connection;
}

static int by_name(const void *left, const void *right)
{
	return strcmp(((const struct found *)left)->name, ((const struct found *)right)->name);
}

static void *list_work(void *arg)
{
	struct call *call = arg;
	virDomainPtr *domains = NULL;
	int count = -1;

	if (connect_to(call))
		count = lib.virConnectListAllDomains(call->connection, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
	if (count < 0)
		return note_error(call);
	call->found = must_allocate((size_t)count * sizeof(*call->found));
	for (int i = 0; i < count; i++) {
		struct found *found = &call->found[call->nr_found++];

		found->name = must_copy(lib.virDomainGetName(domains[i]));
		lib.virDomainGetUUIDString(domains[i], found->uuid);
		found->id = (int)lib.virDomainGetID(domains[i]);
		lib.virDomainFree(domains[i]);
	}
	free(domains);
	/* libvirt returns them in any order. */
	qsort(call->found, call->nr_found, sizeof(*call->found), by_name);
	return NULL;
}

static void read_statistics(struct call *call, virDomainPtr domain)
{
	virDomainPtr one[] = { domain, NULL };
	virDomainStatsRecordPtr *records = NULL;
	int count = lib.virDomainListGetStats(one, VIR_DOMAIN_STATS_VCPU, &records, 0);

	if (count < 0)
		note_error(call);
	else if (!count)
		call->failed = fail(&call->why, "libvirt has no statistics of it");
	else
		call->failed = stats_to_snapshot(&call->snapshot, records[0], &call->why);
	if (count >= 0)
		lib.virDomainStatsRecordListFree(records);
}

/*
 * While libvirt starts a domain, or lets one come from another host, it holds back all that others want of its QEMU.
 * That may take minutes, if QEMU allocates the guest's memory first, or for as long as the memory is on its way.  Return
 * which it is, or NULL.
 */
static const char *held_back(virDomainPtr domain)
{
	int state, reason;

	if (lib.virDomainGetState(domain, &state, &reason, 0) || state != VIR_DOMAIN_PAUSED)
		return NULL;
	if (reason == VIR_DOMAIN_PAUSED_STARTING_UP)
		return "libvirt is still starting it";
	return reason == VIR_DOMAIN_PAUSED_MIGRATION ? "libvirt is still migrating it" : NULL;
}

static void *domain_work(void *arg)
{
	struct call *call = arg;
	virDomainPtr domain = connect_to(call) ?
		lib.virDomainLookupByUUIDString(call->connection, call->uuid) : NULL;
	const char *held;

	if (!domain)
		return note_error(call);
	held = held_back(domain);
	if (held)
		call->failed = fail_for_now(&call->why, held);
	else if (!call->command)
		read_statistics(call, domain);
	else if (lib.virDomainQemuMonitorCommand(domain, call->command, &call->reply, 0) < 0)
		note_error(call);
	lib.virDomainFree(domain);
	return NULL;
}

static void *close_work(void *arg)
{
	struct call *call = arg;

	lib.virConnectClose(call->connection);
	call->connection = NULL;
	return NULL;
}

/* Take the connection back from a call that is over. */
static struct call *reap(struct domain *domain)
{
	struct call *call = domain->call;

	domain->call = NULL;
	domain->connection = call->connection;
	call->connection = NULL;
	return call;
}

/* libvirt may write to a daemon that has gone.  Block SIGPIPE in its threads, so that it does not end us. */
static int start_thread(struct call *call, void *(*work)(void *))
{
	sigset_t pipe, before;
	int status;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, &before);
	status = pthread_create(&call->thread, NULL, work, call);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return status;
}

static int begin(struct domain *domain, const char *command, void *(*work)(void *), struct why *why)
{
	struct call *call;

	if (domain->call) {
		if (pthread_tryjoin_np(domain->call->thread, NULL)) {
			*why = domain->why;
			return -1;
		}
		call_free(reap(domain));
	}
	call = must_allocate(sizeof(*call));
	call->uri = copy_or_null(domain->uri);
	call->uuid = copy_or_null(domain->uuid);
	call->command = copy_or_null(command);
	call->connection = domain->connection;
	if (start_thread(call, work)) {
		call_free(call);
		return fail(why, "cannot start a thread");
	}
	domain->connection = NULL;
	domain->call = call;
	return 0;
}

/* Return the call that was begun, once it is over; NULL if it takes longer, or failed. */
static struct call *end(struct domain *domain, int64_t deadline, int64_t timeout_ms, struct why *why)
{
	struct timespec until = { deadline / 1000, deadline % 1000 * 1000000 };
	struct call *call;

	if (pthread_clockjoin_np(domain->call->thread, NULL, CLOCK_MONOTONIC, &until)) {
		ever_stuck = true;
		fail(&domain->why, "no answer from libvirt within %g s", (double)timeout_ms / 1000);
		*why = domain->why;
		return NULL;
	}
	call = reap(domain);
	if (!call->failed)
		return call;
	*why = call->why;
	call_free(call);
	return NULL;
}

/* Else the daemon logs an error. */
static void close_connection(struct domain *domain)
{
	struct why why;
	struct call *call;

	if (domain->call || !domain->connection || ever_stuck || begin(domain, NULL, close_work, &why))
		return;
	call = end(domain, now_ms() + CLOSE_MS, CLOSE_MS, &why);
	if (call)
		call_free(call);
}

int domains_list(const char *uri, int64_t timeout_ms, domain_found_fn *found, void *arg, struct why *why)
{
	struct call *call;

	if (libvirt_load(why))
		return LIBVIRT_ABSENT;
	if (!all.uri)
		all.uri = must_copy(uri);
	if (begin(&all, NULL, list_work, why))
		return -1;
	call = end(&all, now_ms() + timeout_ms, timeout_ms, why);
	if (!call)
		return -1;
	for (size_t i = 0; i < call->nr_found; i++)
		found(arg, call->found[i].name, call->found[i].uuid, call->found[i].id);
	call_free(call);
	return 0;
}

void domains_close(void)
{
	close_connection(&all);
	if (!all.call)
		free(all.uri);
}

struct domain *domain_new(const char *uri, const char *uuid)
{
	struct domain *domain = must_allocate(sizeof(*domain));

	domain->uri = must_copy(uri);
	domain->uuid = must_copy(uuid);
	return domain;
}

void domain_free(struct domain *domain)
{
	if (!domain)
		return;
	if (domain->call && !pthread_tryjoin_np(domain->call->thread, NULL))
		call_free(reap(domain));
	close_connection(domain);
	if (domain->call || domain->connection) {
		domain->next_left = left;
		left = domain;
		return;
	}
	free(domain->uri);
	free(domain->uuid);
	free(domain);
}

int domain_begin(struct domain *domain, const char *command, struct why *why)
{
	return begin(domain, command, domain_work, why);
}

int domain_end_statistics(struct domain *domain, int64_t deadline, int64_t timeout_ms, struct snapshot *snapshot,
			  struct why *why)
{
	struct call *call = end(domain, deadline, timeout_ms, why);

	if (!call)
		return -1;
	*snapshot = call->snapshot;
	call->snapshot = (struct snapshot){ 0 };
	call_free(call);
	return 0;
}

struct json_object *domain_end_command(struct domain *domain, int64_t deadline, int64_t timeout_ms, struct why *why)
{
	struct call *call = end(domain, deadline, timeout_ms, why);
	struct json_object *answer = call ? qmp_parse(call->reply, strlen(call->reply), why) : NULL;

	if (call)
		call_free(call);
	return answer ? qmp_result(answer, why) : NULL;
}
