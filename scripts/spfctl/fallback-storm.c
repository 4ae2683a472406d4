// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Wait for KVM_SPF_FALLBACK_STORM. spfctl keeps each socket open for that long.
 * It asks each QEMU for its counters once, so as not to wait for one that is
 * too old. libvirt passes the event on from all domains, and taints none for
 * it.
 */
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "domain.h"
#include "output.h"

#define EVENT	"KVM_SPF_FALLBACK_STORM"

struct waiting {
	struct vm **vms;
	const struct settings *settings;
	unsigned long seen, wanted;
	struct qmp libvirt;
	bool listens;
};

static double rate(struct json_object *data, const char *what, const char *name)
{
	struct json_object *rates, *inner, *value;

	if (!json_object_object_get_ex(data, "rates", &rates) || !json_object_object_get_ex(rates, what, &inner) ||
	    !json_object_object_get_ex(inner, name, &value))
		return 0;
	return json_object_get_double(value);
}

static const char *main_reason(struct json_object *data)
{
	const char *most = "-";
	double highest = 0;

	for (size_t i = 0; i < NR_ABORTS; i++) {
		if (rate(data, "aborts", abort_names[i]) > highest) {
			most = abort_names[i];
			highest = rate(data, "aborts", most);
		}
	}
	return most;
}

static void print_storm(struct waiting *waiting, const struct vm *vm, struct json_object *data)
{
	char stamp[32], *name = must_copy_printable(vm_shown_as(vm, *waiting->vms));
	char *mode = must_copy_printable(json_text(data, "mode"));
	struct json_object *threshold;
	bool has_threshold = json_object_object_get_ex(data, "threshold", &threshold);

	printf("%s %s mmap-lock %.0f/s threshold %lu/s mode %s mainly %s\n", time_stamp(stamp), name,
	       rate(data, "faults", "mmap-lock"), has_threshold ? json_object_get_uint64(threshold) : 0, mode,
	       main_reason(data));
	free(name);
	free(mode);
	fflush(stdout);
	waiting->seen++;
}

static void stop(struct vm *vm)
{
	qmp_close(vm->events);
	free(vm->events);
	vm->events = NULL;
}

static void start(struct vm *vm)
{
	struct why why;

	if (vm->events || vm->domain || vm->has_no_storms || !vm->wanted || !vm->introduced)
		return;
	vm->events = must_allocate(sizeof(*vm->events));
	if (qmp_open(vm->events, vm->where, &why)) {
		stop(vm);
		complain_once(&vm->told, vm->where, &why);
		return;
	}
	qmp_say(vm->events, "{\"execute\":\"qmp_capabilities\"}");
	qmp_say(vm->events, "{\"execute\":\"query-kvm-spf\"}");
}

/* Takes over @line. */
static int heard(struct waiting *waiting, struct vm *vm, struct json_object *line, struct why *why)
{
	struct json_object *data = NULL;

	if (json_object_object_get_ex(line, "event", NULL)) {
		if (!strcmp(json_text(line, "event"), EVENT) && json_object_object_get_ex(line, "data", &data))
			print_storm(waiting, vm, data);
	} else if (!json_object_object_get_ex(line, "QMP", NULL)) {
		line = qmp_result(line, why);
		vm->has_no_storms = !line;
		if (!line)
			return -1;
	}
	json_object_put(line);
	return 0;
}

static void listen_to(struct waiting *waiting, struct vm *vm)
{
	struct json_object *line;
	struct why why;
	int status = qmp_transfer(vm->events, &why);

	while (!status && waiting->seen < waiting->wanted) {
		status = qmp_next(vm->events, &line, &why);
		if (!status)
			return;
		status = status < 0 ? status : heard(waiting, vm, line, &why);
	}
	if (status) {
		complain_once(&vm->told, vm->where, &why);
		stop(vm);
		/* Another VM may use the socket next. */
		vm->introduced = vm->has_no_storms;
	}
}

static void find(struct waiting *waiting)
{
	vms_identify(waiting->vms, waiting->settings);
	for (struct vm *vm = *waiting->vms; vm; vm = vm->next)
		start(vm);
}

static void no_libvirt(struct waiting *waiting, const char *why)
{
	if (waiting->listens)
		complain(waiting->settings->sources.libvirt, "%s", why);
	waiting->listens = false;
}

/* Takes over @line. */
static void from_libvirt(struct waiting *waiting, struct json_object *line)
{
	struct json_object *data = NULL;
	struct why why;

	if (json_object_object_get_ex(line, "error", NULL)) {
		fail(&why, "libvirt says: %s", json_text(line, "error"));
		no_libvirt(waiting, why.text);
	}
	/* A VM that has started since the last search is not in the list yet. */
	find(waiting);
	for (struct vm *vm = *waiting->vms; vm; vm = vm->next) {
		if (vm->domain && vm->wanted && !strcmp(vm->label, json_text(line, "domain")) &&
		    json_object_object_get_ex(line, "data", &data))
			print_storm(waiting, vm, data);
	}
	json_object_put(line);
}

static void listen_to_libvirt(struct waiting *waiting)
{
	struct json_object *line;
	struct why why;
	int status = qmp_transfer(&waiting->libvirt, &why);

	while (waiting->seen < waiting->wanted && qmp_next(&waiting->libvirt, &line, &why) > 0)
		from_libvirt(waiting, line);
	if (status)
		no_libvirt(waiting, "libvirt has gone");
}

static bool is_waited_for(const struct waiting *waiting, const struct vm *vm)
{
	return vm->wanted && (vm->domain ? waiting->listens : !!vm->events);
}

/* Wait for an interval, or until there is input; false if no VM is left to wait for. */
static bool wait_for_one(struct waiting *waiting)
{
	size_t count = 1, n = 0;
	struct pollfd *polled;
	struct vm **polled_vms;
	bool anybody = false;

	for (const struct vm *vm = *waiting->vms; vm; vm = vm->next)
		count++;
	polled = must_allocate(count * sizeof(*polled));
	polled_vms = must_allocate(count * sizeof(*polled_vms));
	for (struct vm *vm = *waiting->vms; vm; vm = vm->next) {
		anybody |= is_waited_for(waiting, vm);
		if (!vm->events)
			continue;
		polled[n] = (struct pollfd){ vm->events->fd, qmp_events(vm->events), 0 };
		polled_vms[n++] = vm;
	}
	polled[n] = (struct pollfd){ waiting->listens ? waiting->libvirt.fd : -1, POLLIN, 0 };
	if (anybody && poll(polled, n + 1, (int)(waiting->settings->interval * 1000)) > 0) {
		for (size_t i = 0; i < n; i++) {
			if (polled[i].revents)
				listen_to(waiting, polled_vms[i]);
		}
		if (polled[n].revents)
			listen_to_libvirt(waiting);
	}
	free(polled);
	free(polled_vms);
	return anybody;
}

static void begin_libvirt(struct waiting *waiting)
{
	const struct sources *sources = &waiting->settings->sources;
	struct why why;

	if (!sources->libvirt)
		return;
	waiting->libvirt = (struct qmp){ .fd = domains_listen(sources->libvirt, EVENT, &why), .longest = 1 << 16 };
	waiting->listens = waiting->libvirt.fd >= 0;
}

void storms_wait(struct vm **vms, const struct settings *settings)
{
	struct waiting waiting = { .vms = vms, .settings = settings, .libvirt.fd = -1 };

	waiting.wanted = settings->count ? settings->count : 1;
	begin_libvirt(&waiting);
	find(&waiting);
	vms_check_names(*vms, &settings->sources);
	while (waiting.seen < waiting.wanted) {
		if (!wait_for_one(&waiting)) {
			complain("no storm", "there is no VM to wait for");
			break;
		}
		find(&waiting);
	}
	qmp_close(&waiting.libvirt);
}
