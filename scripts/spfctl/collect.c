// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Search for VMs, then ask those that the user named.  If only QEMU may know a
 * name, ask all sockets for theirs first. libvirt tells the names of its
 * domains, so ask no other domain: a command over its monitor taints a domain.
 */
#include <stdlib.h>

#include "settings.h"
#include "vm.h"

typedef bool choose_fn(const struct vm *vm);

static bool is_wanted(const struct vm *vm)
{
	return vm->wanted;
}

static bool is_stranger(const struct vm *vm)
{
	return !vm->domain && !vm->introduced;
}

static bool is_other_stranger(const struct vm *vm)
{
	return is_stranger(vm) && !vm->wanted;
}

static bool is_known(const struct vm *vm)
{
	return vm->wanted && vm->introduced;
}

static bool is_unread(const struct vm *vm)
{
	return vm->wanted && !vm->has_now && !vm->why.text[0];
}

static void ask(struct vm *vms, choose_fn *choose, enum question question, const struct settings *settings)
{
	struct asked *asked;
	size_t count = 0, i = 0;

	for (const struct vm *vm = vms; vm; vm = vm->next)
		count += choose(vm);
	asked = must_allocate(count * sizeof(*asked));
	for (struct vm *vm = vms; vm; vm = vm->next) {
		if (choose(vm))
			asked[i++] = (struct asked){ .vm = vm, .question = question };
	}
	ask_all(asked, count, settings);
	for (i = 0; i < count; i++)
		asked[i].vm->why = asked[i].why;
	free(asked);
}

static void begin_anew(struct vm *vms)
{
	for (struct vm *vm = vms; vm; vm = vm->next) {
		snapshot_free(&vm->before);
		vm->before = vm->now;
		vm->has_before = vm->has_now;
		vm->now = (struct snapshot){ 0 };
		vm->has_now = false;
		vm->why.text[0] = 0;
	}
}

/* Ask all sockets for their names: any QEMU may have one of those that were given. */
static void learn_names(struct vm *vms, const struct settings *settings)
{
	ask(vms, is_other_stranger, ASK_NAME, settings);
	for (struct vm *vm = vms; vm; vm = vm->next) {
		if (!vm->wanted)
			vm->why.text[0] = 0;
	}
	vms_mark_wanted(vms, &settings->sources);
}

static void tell(struct vm *vms)
{
	for (struct vm *vm = vms; vm; vm = vm->next) {
		if (!vm->wanted)
			continue;
		if (vm->why.text[0] && !vm->why.passes)
			complain_once(&vm->told, vm->where, &vm->why);
		else
			vm->told.text[0] = 0;
	}
}

void vms_collect(struct vm **vms, const struct settings *settings)
{
	const struct sources *sources = &settings->sources;

	vms_search(vms, settings);
	begin_anew(*vms);
	vms_mark_wanted(*vms, sources);
	ask(*vms, is_wanted, ASK_COUNTERS, settings);
	vms_mark_wanted(*vms, sources);
	if (!vms_names_are_known(*vms, sources)) {
		learn_names(*vms, settings);
		ask(*vms, is_unread, ASK_COUNTERS, settings);
	}
	tell(*vms);
}

void vms_identify(struct vm **vms, const struct settings *settings)
{
	vms_search(vms, settings);
	for (struct vm *vm = *vms; vm; vm = vm->next)
		vm->why.text[0] = 0;
	ask(*vms, is_stranger, ASK_NAME, settings);
	vms_mark_wanted(*vms, &settings->sources);
	for (struct vm *vm = *vms; vm; vm = vm->next) {
		if (vm->wanted && vm->why.text[0])
			complain_once(&vm->told, vm->where, &vm->why);
	}
}

void vms_set_mode(struct vm **vms, const struct settings *settings)
{
	const struct sources *sources = &settings->sources;

	/* All VMs of that name must be known before the mode of one is changed. */
	vms_identify(vms, settings);
	vms_check_names(*vms, sources);
	if (vms_check_unique(*vms, sources))
		return;
	ask(*vms, is_known, ASK_SET_MODE, settings);
	for (const struct vm *vm = *vms; vm; vm = vm->next) {
		if (is_known(vm) && vm->why.text[0])
			complain(vm->name, "%s", vm->why.text);
	}
}
