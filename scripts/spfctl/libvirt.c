// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * VMs through libvirt.  The library is loaded when it is wanted, so that hosts without it have the rest.  A call to
 * libvirt lasts as long as the daemon, or the QEMU behind it, likes; each is made in a thread, to be able to go on
 * without it.
 */
#include <dlfcn.h>
#include <json-c/json.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "spfctl.h"

#define FUNCTION(name) typeof(name) *name

static struct {
	FUNCTION(virConnectOpen);
	FUNCTION(virConnectClose);
	FUNCTION(virConnectListAllDomains);
	FUNCTION(virDomainGetName);
	FUNCTION(virDomainFree);
	FUNCTION(virGetLastErrorMessage);
	FUNCTION(virSetErrorFunc);
	FUNCTION(virDomainQemuMonitorCommand);
} lib;

static const struct {
	const char *library;
	const char *name;
	size_t place;
} functions[] = {
#define IN(library, name) { library, #name, offsetof(typeof(lib), name) }
	IN("libvirt.so.0", virConnectOpen),
	IN("libvirt.so.0", virConnectClose),
	IN("libvirt.so.0", virConnectListAllDomains),
	IN("libvirt.so.0", virDomainGetName),
	IN("libvirt.so.0", virDomainFree),
	IN("libvirt.so.0", virGetLastErrorMessage),
	IN("libvirt.so.0", virSetErrorFunc),
	IN("libvirt-qemu.so.0", virDomainQemuMonitorCommand),
#undef IN
};

/* A call that is under way, or stuck. */
struct call {
	pthread_t thread;
	char *text;			/* URI or command */
	virDomainPtr domain;
	char *reply;
	virConnectPtr connection;
	virDomainPtr *domains;
	int count;			/* -1: it failed */
	char error[200];
};

struct domain {
	virDomainPtr domain;
	struct call *stuck;
};

static virConnectPtr connection;
static struct call *stuck_list;
static bool ever_stuck;

void libvirt_close(void)
{
	/* Else the daemon logs an error; but closing waits for a call that is still under way. */
	if (connection && !ever_stuck)
		lib.virConnectClose(connection);
	connection = NULL;
}

static void be_silent(void *data, virErrorPtr error)
{
	(void)data;
	(void)error;
}

static int load(struct why *why)
{
	if (lib.virConnectOpen)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		void *library = dlopen(functions[i].library, RTLD_NOW);
		void *function = library ? dlsym(library, functions[i].name) : NULL;

		if (!function) {
			memset(&lib, 0, sizeof(lib));
			return fail(why, "libvirt cannot be used: %s", dlerror());
		}
		memcpy((char *)&lib + functions[i].place, &function, sizeof(function));
	}
	lib.virSetErrorFunc(NULL, be_silent);
	return 0;
}

static struct call *call_new(const char *text)
{
	struct call *call = must_allocate(sizeof(*call));

	call->text = must_copy(text);
	return call;
}

static void call_free(struct call *call)
{
	if (!call)
		return;
	for (int i = 0; i < call->count; i++)
		lib.virDomainFree(call->domains[i]);
	free(call->domains);
	free(call->reply);
	free(call->text);
	free(call);
}

/* Run @work(@call) as long as we have time.  If it takes longer the call goes to @stuck, and -1 comes back. */
static int call_run(struct call *call, void *(*work)(void *), struct call **stuck, struct why *why)
{
	struct timespec end;

	if (*stuck && pthread_tryjoin_np((*stuck)->thread, NULL)) {
		call_free(call);
		return fail(why, "libvirt still does not answer");
	}
	call_free(*stuck);
	*stuck = NULL;
	if (pthread_create(&call->thread, NULL, work, call)) {
		call_free(call);
		return fail(why, "no thread to be had");
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += timeout_ms % 1000 * 1000000;
	end.tv_sec += timeout_ms / 1000 + end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	if (pthread_clockjoin_np(call->thread, NULL, CLOCK_MONOTONIC, &end)) {
		*stuck = call;
		ever_stuck = true;
		return fail(why, "no answer from libvirt within %g s", timeout_ms / 1000.0);
	}
	return 0;
}

static void *note_error(struct call *call)
{
	/* libvirt keeps a thread's last error for the thread. */
	snprintf(call->error, sizeof(call->error), "%s", lib.virGetLastErrorMessage());
	return NULL;
}

static void *list_work(void *arg)
{
	struct call *call = arg;

	if (!call->connection)
		call->connection = lib.virConnectOpen(call->text);
	call->count = call->connection ?
		lib.virConnectListAllDomains(call->connection, &call->domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE) : -1;
	return call->count < 0 ? note_error(call) : NULL;
}

int libvirt_list(const char *uri, found_fn *found, void *arg, struct why *why)
{
	struct call *call;
	int status = 0;

	if (load(why))
		return LIBVIRT_ABSENT;
	call = call_new(uri);
	call->connection = connection;
	if (call_run(call, list_work, &stuck_list, why))
		return -1;
	connection = call->connection;
	if (call->count < 0) {
		fail(why, "libvirt says: %s", call->error);
		status = connection ? -1 : LIBVIRT_ABSENT;
		libvirt_close();
	}
	for (int i = 0; i < call->count; i++) {
		struct domain *domain = must_allocate(sizeof(*domain));

		domain->domain = call->domains[i];
		found(arg, lib.virDomainGetName(domain->domain), domain);
	}
	/* They are found()'s now. */
	call->count = 0;
	call_free(call);
	return status;
}

static void *command_work(void *arg)
{
	struct call *call = arg;

	call->count = lib.virDomainQemuMonitorCommand(call->domain, call->text, &call->reply, 0);
	return call->count < 0 ? note_error(call) : NULL;
}

struct json_object *libvirt_execute(void *handle, const char *command, struct why *why)
{
	struct domain *domain = handle;
	struct json_object *answer = NULL;
	struct call *call = call_new(command);

	call->domain = domain->domain;
	if (call_run(call, command_work, &domain->stuck, why))
		return NULL;
	if (call->count < 0)
		fail(why, "libvirt says: %s", call->error);
	else
		answer = qmp_parse(call->reply, strlen(call->reply), why);
	call_free(call);
	return answer ? qmp_result(answer, why) : NULL;
}

void libvirt_free(void *handle)
{
	struct domain *domain = handle;

	if (!domain)
		return;
	/* What a stuck call uses is left to it. */
	if (!domain->stuck || !pthread_tryjoin_np(domain->stuck->thread, NULL)) {
		call_free(domain->stuck);
		lib.virDomainFree(domain->domain);
	}
	free(domain);
}
