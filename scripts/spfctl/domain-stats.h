/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `virsh domstats --vcpu` shows, as a snapshot. */
#ifndef SPFCTL_DOMAIN_STATS_H
#define SPFCTL_DOMAIN_STATS_H

#include <libvirt/libvirt.h>

#include "snapshot.h"

/* On failure sets @why to the reason.  The snapshot has neither histograms nor the mode. */
int stats_to_snapshot(struct snapshot *snapshot, const virDomainStatsRecord *record, struct why *why);

#endif
