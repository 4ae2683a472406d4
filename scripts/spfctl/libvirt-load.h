/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libvirt's library, which is loaded when it is wanted, so that hosts without it have the rest. */
#ifndef SPFCTL_LIBVIRT_LOAD_H
#define SPFCTL_LIBVIRT_LOAD_H

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "say.h"

#define FUNCTION(name) typeof(name) *name

struct libvirt {
	FUNCTION(virConnectOpen);
	FUNCTION(virConnectClose);
	FUNCTION(virConnectListAllDomains);
	FUNCTION(virDomainGetName);
	FUNCTION(virDomainGetUUIDString);
	FUNCTION(virDomainGetID);
	FUNCTION(virDomainLookupByUUIDString);
	FUNCTION(virDomainFree);
	FUNCTION(virDomainListGetStats);
	FUNCTION(virDomainStatsRecordListFree);
	FUNCTION(virGetLastErrorMessage);
	FUNCTION(virSetErrorFunc);
	FUNCTION(virEventRegisterDefaultImpl);
	FUNCTION(virEventRunDefaultImpl);
	FUNCTION(virConnectRegisterCloseCallback);
	FUNCTION(virDomainQemuMonitorCommand);
	FUNCTION(virConnectDomainQemuMonitorEventRegister);
};

#undef FUNCTION

/* Of use once libvirt_load() has returned 0. */
extern struct libvirt lib;
int libvirt_load(struct why *why);

#endif
