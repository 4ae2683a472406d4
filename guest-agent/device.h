/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kvm-spf device: find it, map its BAR 0, read it as kvm_spf_regs.h says.
 */
#ifndef SPF_DEVICE_H
#define SPF_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "snapshot.h"

struct device {
	volatile uint8_t *bar;
	uint8_t *copy;		/* contents of the BAR at the last read */
	size_t size;		/* of both */
};

/* @path: the file to map; NULL: that of the first kvm-spf device of this guest. */
int device__open(struct device *device, const char *path, struct error *error);
void device__close(struct device *device);

/* Ask a host that counts for new figures and wait for them.  Then read them, with the per-vCPU records if @records. */
int device__collect(struct device *device, bool records, struct snapshot *snapshot, struct error *error);

/* The same, but print a warning if the host collected nothing new. */
void device__warn_stale(const struct snapshot *snapshot);

#endif
