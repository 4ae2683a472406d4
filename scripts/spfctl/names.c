// SPDX-License-Identifier: GPL-2.0-or-later
/* Find the VM of a name on the command line: QEMU's or libvirt's name for it, or else the file name of its socket. */
#include <string.h>

#include "settings.h"
#include "vm.h"

static bool has_name(const struct vm *vm, const char *name)
{
	return !strcmp(vm->name, name) || !strcmp(vm->where, name);
}

/* The same VM, found by its socket and through libvirt. */
static bool is_twin(const struct vm *vm, const struct vm *other)
{
	return vm->domain && !other->domain && other->introduced && *vm->uuid && !strcmp(vm->uuid, other->uuid);
}

bool vm_is_named(const struct vm *vm, const struct sources *sources)
{
	for (size_t i = 0; i < sources->nr_names; i++) {
		if (has_name(vm, sources->names[i]))
			return true;
	}
	return !sources->nr_names;
}

void vms_mark_wanted(struct vm *vms, const struct sources *sources)
{
	for (struct vm *vm = vms; vm; vm = vm->next) {
		vm->wanted = vm_is_named(vm, sources);
		for (const struct vm *other = vms; vm->domain && other; other = other->next) {
			if (is_twin(vm, other) && vm_is_named(other, sources))
				vm->wanted = false;
		}
	}
}

static const struct vm *by_name(const struct vm *vm, const char *name)
{
	while (vm && !(vm->wanted && has_name(vm, name)))
		vm = vm->next;
	return vm;
}

bool vms_names_are_known(const struct vm *vms, const struct sources *sources)
{
	for (size_t i = 0; i < sources->nr_names; i++) {
		const struct vm *vm = by_name(vms, sources->names[i]);

		while (vm && !vm->introduced)
			vm = by_name(vm->next, sources->names[i]);
		if (!vm)
			return false;
	}
	return true;
}

void vms_check_names(const struct vm *vms, const struct sources *sources)
{
	for (size_t i = 0; i < sources->nr_names; i++) {
		if (!by_name(vms, sources->names[i]))
			complain(sources->names[i], "no VM of this name was found");
	}
}

static void complain_of_one(const struct vm *vm)
{
	if (vm->identity.pid)
		complain(vm->where, "a VM '%s', process %d, UUID %s", vm->name, vm->identity.pid,
			 *vm->uuid ? vm->uuid : "unknown");
	else
		complain(vm->where, "a VM '%s', UUID %s", vm->name, *vm->uuid ? vm->uuid : "unknown");
}

int vms_check_unique(const struct vm *vms, const struct sources *sources)
{
	int status = 0;

	for (size_t i = 0; i < sources->nr_names; i++) {
		const char *name = sources->names[i];
		const struct vm *first = by_name(vms, name), *next = first ? by_name(first->next, name) : NULL;

		if (!next)
			continue;
		status = complain(name, "more than one VM has this name; say which by --socket, or by one of these "
				  "instead of the name");
		for (; first; first = by_name(first->next, name))
			complain_of_one(first);
	}
	return status;
}

const char *vm_shown_as(const struct vm *vm, const struct vm *vms)
{
	for (; vms; vms = vms->next) {
		if (vms != vm && vms->wanted && !strcmp(vms->name, vm->name))
			return vm->where;
	}
	return vm->name;
}
