// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Ask many VMs at once.  One poll loop talks to all sockets, with one deadline
 * for all of them, so that neither mute peers, nor a flood of events, nor a
 * byte now and then can delay it for longer.  Threads ask libvirt's domains
 * meanwhile.
 */
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain.h"
#include "settings.h"
#include "vm.h"

/* A vCPU has less than 1 KiB in an answer. */
enum { LONGEST_WITH_VCPUS = 1 << 22 };

enum step { GREETING, CAPABILITIES, NAME, UUID, COUNTERS, MODE, NR_STEPS };

struct talk {
	struct asked *asked;
	struct qmp qmp;
	enum step steps[NR_STEPS];
	size_t nr_steps, step;
};

struct identity identity_of_peer(pid_t pid)
{
	struct identity identity = { .pid = pid };
	char path[32], line[1024], *end;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return identity;
	/* The name in parentheses may contain anything.  The start time is the twentieth field after it. */
	if (fgets(line, sizeof(line), file) && (end = strrchr(line, ')'))) {
		for (int field = 0; end && field < 20; field++)
			end = strchr(end + 1, ' ');
		identity.start = end ? strtoull(end + 1, NULL, 10) : 0;
	}
	fclose(file);
	return identity;
}

void vm_recognize(struct vm *vm, struct identity identity)
{
	struct identity *old = &vm->identity;

	if (old->pid == identity.pid && old->start == identity.start && old->id == identity.id)
		return;
	*old = identity;
	vm->introduced = false;
	vm->has_now = vm->has_before = vm->has_no_storms = false;
	vm->uuid[0] = 0;
	free(vm->name);
	vm->name = must_copy(vm->label);
}

void vm_set_name(struct vm *vm, struct json_object *answer)
{
	const char *name = json_text(answer, "name");

	free(vm->name);
	vm->name = must_copy(*name ? name : vm->label);
}

void vm_set_uuid(struct vm *vm, const char *uuid)
{
	/* QEMU answers zeros if it was given no UUID. */
	if (strspn(uuid, "0-") == strlen(uuid))
		uuid = "";
	snprintf(vm->uuid, sizeof(vm->uuid), "%s", uuid);
	make_printable(vm->uuid);
}

static void add_step(struct talk *talk, enum step step)
{
	talk->steps[talk->nr_steps++] = step;
}

static void command_for(char command[96], enum step step, const struct settings *settings)
{
	static const char *const commands[NR_STEPS] = {
		[CAPABILITIES] = "{\"execute\":\"qmp_capabilities\"}",
		[NAME] = "{\"execute\":\"query-name\"}",
		[UUID] = "{\"execute\":\"query-uuid\"}",
		[COUNTERS] = "{\"execute\":\"query-kvm-spf\"}",
	};

	if (step == MODE)
		snprintf(command, 96, "{\"execute\":\"kvm-spf-set-mode\",\"arguments\":{\"mode\":\"%s\"}}",
			 mode_names[settings->mode]);
	else if (step == COUNTERS && settings->per_vcpu)
		snprintf(command, 96, "{\"execute\":\"query-kvm-spf\",\"arguments\":{\"per-vcpu\":true}}");
	else
		snprintf(command, 96, "%s", commands[step]);
}

static int talk_begin(struct talk *talk, struct asked *asked, const struct settings *settings)
{
	struct vm *vm = asked->vm;
	bool known = vm->introduced;

	*talk = (struct talk){ .asked = asked };
	if (qmp_open(&talk->qmp, vm->where, &asked->why))
		return -1;
	vm_recognize(vm, identity_of_peer(talk->qmp.peer));
	if (asked->question == ASK_SET_MODE && known && !vm->introduced)
		return fail(&asked->why, "another VM has taken its socket over");
	if (settings->per_vcpu)
		talk->qmp.longest = LONGEST_WITH_VCPUS;
	add_step(talk, GREETING);
	add_step(talk, CAPABILITIES);
	if (!vm->introduced) {
		add_step(talk, NAME);
		add_step(talk, UUID);
	}
	if (asked->question == ASK_COUNTERS)
		add_step(talk, COUNTERS);
	if (asked->question == ASK_SET_MODE)
		add_step(talk, MODE);
	return 0;
}

static int take_counters(struct vm *vm, struct json_object *answer, struct why *why)
{
	if (snapshot_parse(&vm->now, answer, why)) {
		snapshot_free(&vm->now);
		return -1;
	}
	vm->has_now = true;
	return 0;
}

static int greeted(struct talk *talk, struct json_object *line, const struct settings *settings)
{
	char command[96];
	bool right = json_object_object_get_ex(line, "QMP", NULL);

	json_object_put(line);
	if (!right)
		return fail(&talk->asked->why, "what listens there does not speak QMP");
	/* Send all commands at once: QEMU answers in this order. */
	for (size_t i = 1; i < talk->nr_steps; i++) {
		command_for(command, talk->steps[i], settings);
		qmp_say(&talk->qmp, command);
	}
	return 0;
}

/* @line is the answer to the step that we are at, or an event. */
static int heard(struct talk *talk, struct json_object *line, const struct settings *settings)
{
	struct why *why = &talk->asked->why;
	struct vm *vm = talk->asked->vm;
	int status = 0;

	if (talk->steps[talk->step] == GREETING) {
		talk->step++;
		return greeted(talk, line, settings);
	}
	if (json_object_object_get_ex(line, "event", NULL)) {
		json_object_put(line);
		return 0;
	}
	line = qmp_result(line, why);
	if (!line)
		return -1;
	switch (talk->steps[talk->step++]) {
	case NAME:
		vm_set_name(vm, line);
		break;
	case UUID:
		vm_set_uuid(vm, json_text(line, "UUID"));
		vm->introduced = true;
		break;
	case COUNTERS:
		status = take_counters(vm, line, why);
		break;
	default:
		break;
	}
	json_object_put(line);
	return status;
}

/* Is there more to come?  Otherwise the conversation is over, successful or not. */
static bool talk_on(struct talk *talk, const struct settings *settings)
{
	struct why *why = &talk->asked->why;
	struct json_object *line = NULL;
	int status = qmp_transfer(&talk->qmp, why);

	while (!status && talk->step < talk->nr_steps) {
		status = qmp_next(&talk->qmp, &line, why);
		if (!status)
			return true;
		status = status < 0 ? status : heard(talk, line, settings);
	}
	return false;
}

static void talk_to_sockets(struct talk *talks, size_t count, int64_t deadline, const struct settings *settings)
{
	struct pollfd *polled = must_allocate(count * sizeof(*polled));
	struct talk **polled_talks = must_allocate(count * sizeof(struct talk *));

	for (;;) {
		int64_t left = deadline - now_ms();
		size_t n = 0;

		for (size_t i = 0; i < count; i++) {
			if (talks[i].qmp.fd < 0)
				continue;
			polled[n] = (struct pollfd){ talks[i].qmp.fd, qmp_events(&talks[i].qmp), 0 };
			polled_talks[n++] = &talks[i];
		}
		if (!n || left <= 0)
			break;
		if (poll(polled, n, (int)left) <= 0)
			continue;
		for (size_t i = 0; i < n; i++) {
			if (polled[i].revents && !talk_on(polled_talks[i], settings))
				qmp_close(&polled_talks[i]->qmp);
		}
	}
	for (size_t i = 0; i < count; i++) {
		if (talks[i].qmp.fd < 0)
			continue;
		fail(&talks[i].asked->why, "no answer within %g s; a QMP socket serves one client at a time",
		     (double)settings->timeout_ms / 1000);
		qmp_close(&talks[i].qmp);
	}
	free(polled);
	free(polled_talks);
}

static void begin_domain(struct asked *asked, const struct settings *settings)
{
	char command[96];

	if (asked->question == ASK_COUNTERS && !settings->monitor) {
		domain_begin(asked->vm->domain, NULL, &asked->why);
		return;
	}
	command_for(command, asked->question == ASK_SET_MODE ? MODE : COUNTERS, settings);
	domain_begin(asked->vm->domain, command, &asked->why);
}

static void end_domain(struct asked *asked, int64_t deadline, const struct settings *settings)
{
	struct vm *vm = asked->vm;
	struct json_object *answer;

	if (asked->question == ASK_COUNTERS && !settings->monitor) {
		vm->has_now = !domain_end_statistics(vm->domain, deadline, settings->timeout_ms, &vm->now,
						     &asked->why);
		return;
	}
	answer = domain_end_command(vm->domain, deadline, settings->timeout_ms, &asked->why);
	if (answer && asked->question == ASK_COUNTERS)
		take_counters(vm, answer, &asked->why);
	json_object_put(answer);
}

void ask_all(struct asked *asked, size_t count, const struct settings *settings)
{
	struct talk *talks = must_allocate(count * sizeof(*talks));
	int64_t deadline = now_ms() + settings->timeout_ms;
	size_t nr_talks = 0;

	for (size_t i = 0; i < count; i++) {
		if (asked[i].vm->domain)
			begin_domain(&asked[i], settings);
		else if (talk_begin(&talks[nr_talks], &asked[i], settings))
			qmp_close(&talks[nr_talks].qmp);
		else
			nr_talks++;
	}
	talk_to_sockets(talks, nr_talks, deadline, settings);
	for (size_t i = 0; i < count; i++) {
		if (asked[i].vm->domain && !*asked[i].why.text)
			end_domain(&asked[i], deadline, settings);
	}
	free(talks);
}
