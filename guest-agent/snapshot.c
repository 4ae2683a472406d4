// SPDX-License-Identifier: GPL-2.0-or-later
#include <endian.h>
#include <string.h>

#include "snapshot.h"

static uint32_t get32(const uint8_t *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return le32toh(value);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t value;

	memcpy(&value, p, sizeof(value));
	return le64toh(value);
}

static void get_counters(const uint8_t *block, struct counters *c)
{
	for (int i = 0; i < KVM_SPF_NR_TIERS; i++)
		c->tier[i] = get64(block + KVM_SPF_TIER(i));
	for (int i = 0; i < KVM_SPF_NR_ABORTS; i++)
		c->abort[i] = get64(block + KVM_SPF_ABORT(i));
	c->ns_sum = get64(block + KVM_SPF_NS_SUM);
	c->ns_max = get64(block + KVM_SPF_NS_MAX);
	c->ns_count = get64(block + KVM_SPF_NS_COUNT);
	for (int i = 0; i < KVM_SPF_NS_BUCKETS; i++)
		c->ns_hist[i] = get64(block + KVM_SPF_NS_HIST(i));
}

/* The device says where its records are.  Do not read beyond the size that it claims, nor beyond the copy. */
static int get_records(const uint8_t *copy, size_t bytes, struct snapshot *s, struct error *error)
{
	uint64_t count = get32(copy + KVM_SPF_NR_RECORDS);
	uint64_t first = get32(copy + KVM_SPF_RECORDS);
	uint64_t size = get32(copy + KVM_SPF_RECORD_SIZE);

	if (!count)
		return 0;
	if (size < KVM_SPF_RECORD_BYTES || first > bytes || count > (bytes - first) / size)
		return fail(error, STATUS_FAILED, "the kvm-spf device says its records are where it has none");
	s->nr_records = (uint32_t)count;
	s->records = copy + first;
	s->record_size = size;
	return 0;
}

int snapshot__parse(struct snapshot *s, const uint8_t *copy, size_t copied, bool records, struct error *error)
{
	uint32_t version = get32(copy + KVM_SPF_VERSION_OFF);
	size_t size = get32(copy + KVM_SPF_SIZE);

	memset(s, 0, sizeof(*s));
	if (get32(copy + KVM_SPF_MAGIC_OFF) != KVM_SPF_MAGIC)
		return fail(error, STATUS_NO_DEVICE, "what is there is no kvm-spf device");
	if (version != KVM_SPF_VERSION)
		return fail(error, STATUS_NO_DEVICE, "the kvm-spf device has version %u, this agent reads version %u: %s",
			    version, KVM_SPF_VERSION, version > KVM_SPF_VERSION ? "take a newer agent" : "take an older agent");
	if (size < KVM_SPF_TOTALS + KVM_SPF_BLOCK_SIZE)
		return fail(error, STATUS_FAILED, "the kvm-spf device says it holds %zu bytes: too few", size);
	if (size > copied)
		size = copied;

	s->features = get64(copy + KVM_SPF_FEATURES);
	s->epoch = get64(copy + KVM_SPF_EPOCH);
	s->mode = get32(copy + KVM_SPF_MODE);
	s->generation = get64(copy + KVM_SPF_GENERATION);
	s->host_ns = get64(copy + KVM_SPF_HOST_NS);
	s->interval_ns = get64(copy + KVM_SPF_INTERVAL_NS);
	s->nr_vcpus = get32(copy + KVM_SPF_NR_VCPUS);
	get_counters(copy + KVM_SPF_TOTALS, &s->total);
	if (size < KVM_SPF_RATES + sizeof(s->rates))
		s->features &= ~KVM_SPF_F_RATES;
	for (size_t i = 0; s->features & KVM_SPF_F_RATES && i < sizeof(s->rates) / 8; i++)
		s->rates[i] = get64(copy + KVM_SPF_RATES + 8 * i);
	if (records && s->features & KVM_SPF_F_PER_VCPU)
		return get_records(copy, size, s, error);
	return 0;
}

uint32_t snapshot__record(const struct snapshot *s, uint32_t index, struct counters *counters)
{
	const uint8_t *record = s->records + index * s->record_size;

	get_counters(record + KVM_SPF_RECORD_BLOCK, counters);
	return get32(record + KVM_SPF_RECORD_VCPU);
}

/* Counters only grow within an epoch, but a host may be wrong. */
static uint64_t more(uint64_t after, uint64_t before)
{
	return after > before ? after - before : 0;
}

static void counters__minus(const struct counters *after, const struct counters *before, struct counters *delta)
{
	for (int i = 0; i < KVM_SPF_NR_TIERS; i++)
		delta->tier[i] = more(after->tier[i], before->tier[i]);
	for (int i = 0; i < KVM_SPF_NR_ABORTS; i++)
		delta->abort[i] = more(after->abort[i], before->abort[i]);
	delta->ns_sum = more(after->ns_sum, before->ns_sum);
	delta->ns_count = more(after->ns_count, before->ns_count);
	delta->ns_max = after->ns_max;	/* a maximum has no difference */
	for (int i = 0; i < KVM_SPF_NS_BUCKETS; i++)
		delta->ns_hist[i] = more(after->ns_hist[i], before->ns_hist[i]);
}

uint64_t counters__aborts(const struct counters *counters)
{
	uint64_t sum = 0;

	for (int i = 0; i < KVM_SPF_NR_ABORTS; i++)
		sum += counters->abort[i];
	return sum;
}

bool snapshot__minus(const struct snapshot *after, const struct snapshot *before, struct counters *delta)
{
	if (after->epoch != before->epoch)
		return false;
	counters__minus(&after->total, &before->total, delta);
	return true;
}
