// SPDX-License-Identifier: GPL-2.0-or-later
/* One VM: asked over its QMP socket, or through libvirt. */
#include <json-c/json.h>
#include <stdlib.h>

#include "spfctl.h"

/* One or more commands to one VM. */
struct talk {
	void *domain;
	struct qmp *qmp;
};

static int talk_begin(struct talk *talk, const struct vm *vm, struct why *why)
{
	talk->domain = vm->domain;
	talk->qmp = vm->domain ? NULL : qmp_open(vm->where, why);
	return talk->domain || talk->qmp ? 0 : -1;
}

static struct json_object *ask(struct talk *talk, const char *command, struct why *why)
{
	return talk->qmp ? qmp_execute(talk->qmp, command, why) : libvirt_execute(talk->domain, command, why);
}

static void talk_end(struct talk *talk)
{
	if (talk->qmp)
		qmp_close(talk->qmp);
}

static int learn_name(struct vm *vm, struct talk *talk)
{
	struct json_object *answer = ask(talk, "{\"execute\":\"query-name\"}", &vm->why);
	struct json_object *name;

	if (!answer)
		return -1;
	if (json_object_object_get_ex(answer, "name", &name) && json_object_is_type(name, json_type_string) &&
	    json_object_get_string_len(name)) {
		free(vm->name);
		vm->name = must_copy(json_object_get_string(name));
	}
	vm->name_known = true;
	json_object_put(answer);
	return 0;
}

void vm_collect(struct vm *vm)
{
	struct json_object *answer = NULL;
	struct talk talk;

	vm->has_before = vm->has_now;
	vm->before = vm->now;
	vm->has_now = false;
	if (talk_begin(&talk, vm, &vm->why))
		return;
	if (vm->name_known || !learn_name(vm, &talk))
		answer = ask(&talk, "{\"execute\":\"query-kvm-spf\"}", &vm->why);
	if (answer)
		vm->has_now = !snapshot_parse(&vm->now, answer, &vm->why);
	json_object_put(answer);
	talk_end(&talk);
}

int vm_set_mode(struct vm *vm, int mode, struct why *why)
{
	struct json_object *answer;
	struct talk talk;
	char command[96];

	if (talk_begin(&talk, vm, why))
		return -1;
	snprintf(command, sizeof(command), "{\"execute\":\"kvm-spf-set-mode\",\"arguments\":{\"mode\":\"%s\"}}",
		 mode_names[mode]);
	answer = ask(&talk, command, why);
	talk_end(&talk);
	json_object_put(answer);
	return answer ? 0 : -1;
}
