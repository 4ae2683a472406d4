// SPDX-License-Identifier: GPL-2.0-or-later
#include <dlfcn.h>
#include <string.h>

#include "libvirt-load.h"

struct libvirt lib;

static const struct {
	const char *library;
	const char *name;
	size_t place;
} functions[] = {
#define IN(library, name) { library, #name, offsetof(struct libvirt, name) }
	IN("libvirt.so.0", virConnectOpen),
	IN("libvirt.so.0", virConnectClose),
	IN("libvirt.so.0", virConnectListAllDomains),
	IN("libvirt.so.0", virDomainGetName),
	IN("libvirt.so.0", virDomainGetUUIDString),
	IN("libvirt.so.0", virDomainGetID),
	IN("libvirt.so.0", virDomainGetState),
	IN("libvirt.so.0", virDomainLookupByUUIDString),
	IN("libvirt.so.0", virDomainFree),
	IN("libvirt.so.0", virDomainListGetStats),
	IN("libvirt.so.0", virDomainStatsRecordListFree),
	IN("libvirt.so.0", virGetLastErrorMessage),
	IN("libvirt.so.0", virSetErrorFunc),
	IN("libvirt.so.0", virEventRegisterDefaultImpl),
	IN("libvirt.so.0", virEventRunDefaultImpl),
	IN("libvirt.so.0", virConnectRegisterCloseCallback),
	IN("libvirt-qemu.so.0", virDomainQemuMonitorCommand),
	IN("libvirt-qemu.so.0", virConnectDomainQemuMonitorEventRegister),
#undef IN
};

static void be_silent(void *data, virErrorPtr error)
{
	(void)data;
	(void)error;
}

int libvirt_load(struct why *why)
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
