/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libvirt's library, loaded when it is needed: spfctl does the rest on hosts without it. */
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
	FUNCTION(virDomainGetState);
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

/* Valid once libvirt_load() has returned 0. */
extern struct libvirt lib;
int libvirt_load(struct why *why);

#endif
