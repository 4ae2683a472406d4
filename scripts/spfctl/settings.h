/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The settings of the command line. */
#ifndef SPFCTL_SETTINGS_H
#define SPFCTL_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIRECTORY	"/run/kvmspf"
#define URI		"qemu:///system"

struct sources {
	const char **sockets;
	size_t nr_sockets;
	const char *directory;		/* of sockets, or NULL */
	const char *libvirt;		/* URI, or NULL */
	bool by_default;		/* the user named none: no complaint if there is none */
	char *const *names;		/* only these, unless there are none */
	size_t nr_names;
};

enum action { SHOW_TABLE, SHOW_CSV, SHOW_JSON, WRITE_PROMETHEUS, SET_MODE, WAIT_STORM };

enum column { BY_NOTHING, BY_VM, BY_FAST, BY_SPECULATIVE, BY_VMA_LOCK, BY_MMAP_LOCK, BY_ABORTS, BY_P99, BY_MAX };

struct settings {
	struct sources sources;
	enum action action;
	const char *file;		/* of WRITE_PROMETHEUS */
	int mode;			/* of SET_MODE */
	bool monitor;			/* ask libvirt's domains by QMP */
	bool per_vcpu;
	bool total;
	bool time;
	enum column sort;
	double interval;
	unsigned long count;		/* 0: for ever */
	int64_t timeout_ms;		/* for libvirt's list, and for each question to all VMs */
};

void settings_parse(struct settings *settings, int argc, char *const *argv);

#endif
