// SPDX-License-Identifier: GPL-2.0-or-later
#include "stats.h"

#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm.h"

const char *const fault_tier_names[FAULT_TIERS] = { EACH_FAULT_TIER(FAULT_KVM_NAME) };
const char *const fault_abort_names[FAULT_ABORTS] = { EACH_FAULT_ABORT(FAULT_KVM_NAME) };

static int find(int stats, const struct kvm_stats_header *header, const char *name, uint64_t *values, unsigned int max)
{
	size_t one = sizeof(struct kvm_stats_desc) + header->name_size, size = one * header->num_desc;
	char *all = malloc(size);
	int found = 0;

	if (!all || pread(stats, all, size, header->desc_offset) != (ssize_t)size) {
		free(all);
		return vmm__error("cannot read the statistics' descriptors: %m");
	}
	for (char *at = all; at < all + size; at += one) {
		struct kvm_stats_desc *desc = (void *)at;

		if (strncmp(desc->name, name, header->name_size))
			continue;
		found = desc->size < max ? desc->size : max;
		if (pread(stats, values, found * sizeof(*values), header->data_offset + desc->offset) !=
		    (ssize_t)(found * sizeof(*values)))
			found = vmm__error("cannot read statistic %s: %m", name);
		break;
	}
	free(all);
	return found;
}

int stats__get(int fd, const char *name, uint64_t *values, unsigned int max)
{
	int stats = ioctl(fd, KVM_GET_STATS_FD, NULL), found;
	struct kvm_stats_header header;

	if (stats < 0)
		return vmm__error("this KVM has no binary statistics: %m");
	if (pread(stats, &header, sizeof(header), 0) != sizeof(header))
		found = vmm__error("cannot read the statistics' header: %m");
	else
		found = find(stats, &header, name, values, max);
	close(stats);
	return found;
}

static int add(uint64_t *sum, int fd, const char *prefix, const char *name, unsigned int max)
{
	uint64_t values[FAULT_HIST] = { 0 };
	char whole[48];
	int found;

	snprintf(whole, sizeof(whole), "%s%s", prefix, name);
	found = stats__get(fd, whole, values, max);
	for (int i = 0; i < found; i++)
		sum[i] += values[i];
	return found;
}

int fault_stats__add(struct fault_stats *stats, int vcpu_fd)
{
	uint64_t max = 0;
	int found = 0;

	for (int i = 0; i < FAULT_TIERS; i++) {
		found = add(&stats->tier[i], vcpu_fd, "hva_fault_", fault_tier_names[i], 1);
		if (found <= 0)
			return found;
	}
	for (int i = 0; i < FAULT_ABORTS; i++)
		if (add(&stats->abort[i], vcpu_fd, "spf_abort_", fault_abort_names[i], 1) < 0)
			return -1;
	if (add(&stats->ns_sum, vcpu_fd, "hva_fault_", "ns_sum", 1) < 0 ||
	    add(stats->ns_hist, vcpu_fd, "hva_fault_", "ns_hist", FAULT_HIST) < 0 ||
	    stats__get(vcpu_fd, "hva_fault_ns_max", &max, 1) < 0)
		return -1;
	if (max > stats->ns_max)
		stats->ns_max = max;
	stats->known = true;
	return 0;
}
