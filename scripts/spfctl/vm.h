/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VMs of this host: how they are found, told apart and asked. */
#ifndef SPFCTL_VM_H
#define SPFCTL_VM_H

#include <sys/types.h>

#include "qmp.h"
#include "snapshot.h"

struct domain;
struct settings;
struct sources;

enum { UUID_SIZE = 37 };

/* The process, or the run of a domain.  Do not subtract the counters of another one. */
struct identity {
	pid_t pid;			/* of the process at the socket's other end, else 0 */
	uint64_t start;			/* of that process, in clock ticks since boot */
	int id;				/* libvirt's number of a running domain, else 0 */
};

struct vm {
	struct vm *next;
	char *where;			/* path of its QMP socket, or "libvirt:" and the domain's name */
	char *label;			/* known without asking: the socket's file name, or the domain's name */
	char *name;			/* what QEMU calls it; without that, as label */
	bool introduced;		/* its name and UUID are known */
	char uuid[UUID_SIZE];		/* "" if it is not known, or QEMU was given none */
	struct identity identity;
	struct domain *domain;		/* libvirt's, or NULL */
	bool seen;			/* the last search found it */
	bool wanted;			/* it is among those that the user named */
	bool has_now, has_before;
	struct snapshot now, before;
	struct why why;			/* if not @has_now */
	struct why told;		/* the last complaint about it */
	struct qmp *events;		/* fallback-storm.c's connection, or NULL */
	bool has_no_storms;
};

/* -- find.c -- */

/* Bring the list up to date. */
void vms_search(struct vm **vms, const struct settings *settings);
void vms_free(struct vm **vms);
/* Whether libvirt has listed its domains in the last search. */
enum libvirt_state { LIBVIRT_NOT_ASKED, LIBVIRT_MUTE, LIBVIRT_ANSWERED } vms_libvirt(void);

/* -- names.c -- */

/* Did the user name this VM, or none at all? */
bool vm_is_named(const struct vm *vm, const struct sources *sources);
/* Mark the VMs that the user named, as far as their names are known. */
void vms_mark_wanted(struct vm *vms, const struct sources *sources);
/* Does each name belong to a VM that has introduced itself? */
bool vms_names_are_known(const struct vm *vms, const struct sources *sources);
/* Complain of names that no VM has. */
void vms_check_names(const struct vm *vms, const struct sources *sources);
/* Complain of names that two have; -1 if there are any. */
int vms_check_unique(const struct vm *vms, const struct sources *sources);
/* The name to show: the VM's name, or its place if another VM that is shown has the same name. */
const char *vm_shown_as(const struct vm *vm, const struct vm *vms);

/* -- ask.c: all VMs at once, with one deadline -- */

enum question {
	ASK_NAME,			/* only its name and UUID */
	ASK_COUNTERS,
	ASK_SET_MODE,
};

struct asked {
	struct vm *vm;
	enum question question;
	struct why why;			/* "" if it answered */
};

void ask_all(struct asked *asked, size_t count, const struct settings *settings);
/* If another VM than before is at the other end of @vm, forget the old one. */
void vm_recognize(struct vm *vm, struct identity identity);
/* Take over what it says of itself. */
void vm_set_name(struct vm *vm, struct json_object *answer);
void vm_set_uuid(struct vm *vm, const char *uuid);
struct identity identity_of_peer(pid_t pid);

/* -- collect.c -- */

/* Search, and ask the VMs that the user named.  Complains of each that does not answer, once for the same reason. */
void vms_collect(struct vm **vms, const struct settings *settings);
/* Search, and only learn the name of each VM. */
void vms_identify(struct vm **vms, const struct settings *settings);
void vms_set_mode(struct vm **vms, const struct settings *settings);

#endif
