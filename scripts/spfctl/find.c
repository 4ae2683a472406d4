// SPDX-License-Identifier: GPL-2.0-or-later
/* Which VMs there are: sockets that were named, sockets in a directory, libvirt's running domains. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "spfctl.h"

/* The VM at @where, which is made if it is new; NULL if it was seen already. */
static struct vm *see(struct vm **vms, const char *where)
{
	struct vm *vm;

	while (*vms && strcmp((*vms)->where, where))
		vms = &(*vms)->next;
	vm = *vms;
	if (vm && vm->seen)
		return NULL;
	if (!vm) {
		vm = must_allocate(sizeof(*vm));
		vm->where = must_copy(where);
		*vms = vm;
	}
	vm->seen = true;
	return vm;
}

static void see_socket(struct vm **vms, const char *path)
{
	struct vm *vm = see(vms, path);
	const char *slash = strrchr(path, '/');

	/* Until QEMU says what it is called. */
	if (vm && !vm->name)
		vm->name = must_copy_printable(slash ? slash + 1 : path);
}

static void see_domain(void *arg, const char *name, void *domain)
{
	char *where = must_allocate(strlen("libvirt:") + strlen(name) + 1);
	struct vm *vm;

	stpcpy(stpcpy(where, "libvirt:"), name);
	vm = see(arg, where);
	free(where);
	if (!vm || vm->domain) {
		libvirt_free(domain);
		return;
	}
	vm->name = must_copy(name);
	vm->name_known = true;
	vm->domain = domain;
}

static int is_socket(const char *directory, const char *name, char *path, size_t size)
{
	struct stat status;

	return snprintf(path, size, "%s/%s", directory, name) < (int)size && !stat(path, &status) &&
	       S_ISSOCK(status.st_mode);
}

/* In a live table, the same every second helps nobody. */
static void complain_once(struct why *told, const char *about, const struct why *why)
{
	if (strcmp(told->text, why->text) != 0)
		complain(about, "%s", why->text);
	*told = *why;
}

static void see_directory(struct vm **vms, const struct sources *sources)
{
	static struct why told;
	struct why why = { "" };
	struct dirent **entries;
	int count = scandir(sources->directory, &entries, NULL, alphasort);
	char path[512];

	if (count < 0) {
		if (!sources->by_default || errno != ENOENT) {
			fail(&why, "%s", strerror(errno));
			complain_once(&told, sources->directory, &why);
		}
		return;
	}
	for (int i = 0; i < count; i++) {
		if (is_socket(sources->directory, entries[i]->d_name, path, sizeof(path)))
			see_socket(vms, path);
		free(entries[i]);
	}
	free(entries);
	told = why;
}

static void see_libvirt(struct vm **vms, const struct sources *sources)
{
	static struct why told;
	struct why why = { "" };
	int status = libvirt_list(sources->libvirt, see_domain, vms, &why);

	if (status < 0 || (status == LIBVIRT_ABSENT && !sources->by_default))
		complain_once(&told, sources->libvirt, &why);
	else
		told.text[0] = 0;
}

static void vm_free(struct vm *vm)
{
	libvirt_free(vm->domain);
	free(vm->where);
	free(vm->name);
	free(vm);
}

static void search(struct vm **vms, const struct sources *sources)
{
	for (struct vm *vm = *vms; vm; vm = vm->next)
		vm->seen = false;
	for (size_t i = 0; i < sources->nr_sockets; i++)
		see_socket(vms, sources->sockets[i]);
	if (sources->directory)
		see_directory(vms, sources);
	if (sources->libvirt)
		see_libvirt(vms, sources);
	while (*vms) {
		struct vm *vm = *vms;

		if (vm->seen) {
			vms = &vm->next;
			continue;
		}
		*vms = vm->next;
		complain(vm->name, "the VM is gone");
		vm_free(vm);
	}
}

/* Two of one name could not be told apart, least of all by Prometheus. */
static void make_unique(struct vm *vms, struct vm *vm)
{
	for (; vms != vm; vms = vms->next) {
		if (strcmp(vms->name, vm->name) != 0)
			continue;
		free(vm->name);
		vm->name = must_copy_printable(vm->where);
		return;
	}
}

static bool is_wanted(const struct vm *vm, const struct sources *sources)
{
	for (size_t i = 0; i < sources->nr_names; i++) {
		if (!strcmp(vm->name, sources->names[i]))
			return true;
	}
	return !sources->nr_names;
}

void vms_check_names(const struct vm *vms, const struct sources *sources)
{
	for (size_t i = 0; i < sources->nr_names; i++) {
		const struct vm *vm = vms;

		while (vm && strcmp(vm->name, sources->names[i]) != 0)
			vm = vm->next;
		if (!vm)
			complain(sources->names[i], "no VM of this name was found");
	}
}

void vms_collect(struct vm **vms, const struct sources *sources)
{
	search(vms, sources);
	for (struct vm *vm = *vms; vm; vm = vm->next) {
		vm_collect(vm);
		make_unique(*vms, vm);
		vm->wanted = is_wanted(vm, sources);
		if (vm->has_now)
			vm->told.text[0] = 0;
		else if (vm->wanted)
			complain_once(&vm->told, vm->where, &vm->why);
	}
}

void vms_free(struct vm **vms)
{
	while (*vms) {
		struct vm *vm = *vms;

		*vms = vm->next;
		vm_free(vm);
	}
}
