// SPDX-License-Identifier: GPL-2.0-or-later
/* Find the VMs: sockets that were named, sockets in a directory, libvirt's running domains. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "domain.h"
#include "settings.h"
#include "vm.h"

/* Return the VM at @where, created if it is new; NULL if this search has seen it already. */
static struct vm *see(struct vm **vms, const char *where, const char *label)
{
	struct vm *vm;

	while (*vms && strcmp((*vms)->where, where) != 0)
		vms = &(*vms)->next;
	vm = *vms;
	if (vm && vm->seen)
		return NULL;
	if (!vm) {
		vm = must_allocate(sizeof(*vm));
		vm->where = must_copy(where);
		vm->label = must_copy(label);
		vm->name = must_copy(label);
		*vms = vm;
	}
	vm->seen = true;
	return vm;
}

static void see_socket(struct vm **vms, const char *path)
{
	const char *slash = strrchr(path, '/');
	/* A path need not be UTF-8. */
	char *label = must_copy_printable(slash ? slash + 1 : path);

	see(vms, path, label);
	free(label);
}

struct search {
	struct vm **vms;
	const char *uri;
};

static void see_domain(void *arg, const char *name, const char *uuid, int id)
{
	struct search *search = arg;
	char *where = must_allocate(strlen("libvirt:") + strlen(name) + 1);
	struct vm *vm;

	stpcpy(stpcpy(where, "libvirt:"), name);
	vm = see(search->vms, where, name);
	free(where);
	if (!vm)
		return;
	/* A domain may be undefined, and another be given its name. */
	if (vm->domain && strcmp(vm->uuid, uuid) != 0) {
		domain_free(vm->domain);
		vm->domain = NULL;
	}
	if (!vm->domain)
		vm->domain = domain_new(search->uri, uuid);
	vm_recognize(vm, (struct identity){ .id = id });
	vm_set_uuid(vm, uuid);
	vm->introduced = true;
}

static int is_socket(const char *directory, const char *name, char *path, size_t size)
{
	struct stat status;

	return snprintf(path, size, "%s/%s", directory, name) < (int)size && !stat(path, &status) &&
	       S_ISSOCK(status.st_mode);
}

static void see_directory(struct vm **vms, const struct sources *sources)
{
	static struct why told;
	struct why why = { .text = "" };
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

static enum libvirt_state libvirt;

enum libvirt_state vms_libvirt(void)
{
	return libvirt;
}

static void see_libvirt(struct vm **vms, const struct settings *settings)
{
	static struct why told;
	struct why why = { .text = "" };
	const struct sources *sources = &settings->sources;
	struct search search = { vms, sources->libvirt };
	int status = domains_list(sources->libvirt, settings->timeout_ms, see_domain, &search, &why);

	libvirt = status == LIBVIRT_ABSENT ? LIBVIRT_NOT_ASKED : status < 0 ? LIBVIRT_MUTE : LIBVIRT_ANSWERED;
	if (status < 0 || (status == LIBVIRT_ABSENT && !sources->by_default))
		complain_once(&told, sources->libvirt, &why);
	else
		told.text[0] = 0;
	/* A libvirt that does not answer says nothing about its domains: keep them. */
	for (struct vm *vm = *vms; status < 0 && vm; vm = vm->next)
		vm->seen |= !!vm->domain;
}

static void vm_free(struct vm *vm)
{
	domain_free(vm->domain);
	if (vm->events)
		qmp_close(vm->events);
	free(vm->events);
	snapshot_free(&vm->now);
	snapshot_free(&vm->before);
	free(vm->where);
	free(vm->label);
	free(vm->name);
	free(vm);
}

void vms_search(struct vm **vms, const struct settings *settings)
{
	const struct sources *sources = &settings->sources;

	for (struct vm *vm = *vms; vm; vm = vm->next)
		vm->seen = false;
	for (size_t i = 0; i < sources->nr_sockets; i++)
		see_socket(vms, sources->sockets[i]);
	if (sources->directory)
		see_directory(vms, sources);
	if (sources->libvirt)
		see_libvirt(vms, settings);
	while (*vms) {
		struct vm *vm = *vms;

		if (vm->seen) {
			vms = &vm->next;
			continue;
		}
		*vms = vm->next;
		if (vm->wanted)
			complain(vm->name, "the VM is gone");
		vm_free(vm);
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
