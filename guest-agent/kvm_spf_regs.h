/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers of the kvm-spf device: what a guest reads of its own host's
 * memory faults.
 *
 * The QEMU series has the same as include/hw/misc/kvm_spf_regs.h, in QEMU's
 * style.  A test fails when they differ by more than comments and white space.
 *
 * BAR 0 is memory, prefetchable, 64 bits wide.  All fields are little-endian
 * and aligned to their size.  The guest reads plain memory; what it writes is
 * thrown away, but for the doorbell.
 *
 * To read a snapshot:
 *   1. write any 32-bit value to KVM_SPF_DOORBELL, if what is there is too old:
 *      the host collects new figures and publishes them (see @generation);
 *   2. read @seq until it is even;
 *   3. read what is wanted;
 *   4. read @seq again: if it changed, go to 2.
 * Counters only grow while @epoch stays the same.  When it changes (reset,
 * migration), take the next snapshot as a new baseline.
 *
 * Compatibility: fields are only ever added, within the reserved space or at
 * the end, and a feature bit says that they are there.  @version changes only
 * if the meaning of an existing field does; a reader knows its own version and
 * refuses others.
 */
#ifndef KVM_SPF_REGS_H
#define KVM_SPF_REGS_H

#define KVM_SPF_PCI_VENDOR_ID		0x1af4
#define KVM_SPF_PCI_DEVICE_ID		0x10f0

#define KVM_SPF_MAGIC			0x4650534bu	/* "KSPF" */
#define KVM_SPF_VERSION			1

/* Bytes into BAR 0. */
#define KVM_SPF_MAGIC_OFF		0x000	/* u32 KVM_SPF_MAGIC */
#define KVM_SPF_VERSION_OFF		0x004	/* u32 KVM_SPF_VERSION */
#define KVM_SPF_SIZE			0x008	/* u32 bytes that mean something, records included */
#define KVM_SPF_DOORBELL		0x00c	/* u32 write: collect now; reads as 0 */
#define KVM_SPF_FEATURES		0x010	/* u64 KVM_SPF_F_* */
#define KVM_SPF_EPOCH			0x018	/* u64 another value after reset and migration */
#define KVM_SPF_SEQ			0x020	/* u32 odd while the host writes */
#define KVM_SPF_MODE			0x024	/* u32 KVM_SPF_MODE_* */
#define KVM_SPF_GENERATION		0x028	/* u64 collections so far in this epoch */
#define KVM_SPF_HOST_NS			0x030	/* u64 host's CLOCK_MONOTONIC when collected, ns */
#define KVM_SPF_INTERVAL_NS		0x038	/* u64 between the two collections the rates are of, ns */
#define KVM_SPF_NR_VCPUS		0x040	/* u32 vCPUs summed up */
#define KVM_SPF_NR_RECORDS		0x044	/* u32 per-vCPU records that follow, 0 without PER_VCPU */
#define KVM_SPF_RECORDS			0x048	/* u32 where the first record is */
#define KVM_SPF_RECORD_SIZE		0x04c	/* u32 from one record to the next */
#define KVM_SPF_TOTALS			0x080	/* a block of counters, as in a record, all vCPUs together */
#define KVM_SPF_RATES			0x300	/* u64 each: tiers then aborts, events in 1000 s */
#define KVM_SPF_RECORDS_OFF		0x400	/* KVM_SPF_RECORDS of version 1 */

/*
 * A block of counters: KVM_SPF_TOTALS, and at KVM_SPF_RECORD_BLOCK in each
 * record.  Bytes into the block; all u64.
 */
#define KVM_SPF_TIER(t)			(0x000 + 8 * (t))	/* faults resolved, KVM_SPF_TIER_* */
#define KVM_SPF_ABORT(r)		(0x040 + 8 * (r))	/* speculation given up, KVM_SPF_ABORT_* */
#define KVM_SPF_NS_SUM			0x0c0	/* time in resolving faults, ns */
#define KVM_SPF_NS_MAX			0x0c8	/* longest since the vCPU was made, ns */
#define KVM_SPF_NS_COUNT		0x0d0	/* faults timed */
#define KVM_SPF_NS_HIST(b)		(0x100 + 8 * (b))	/* bucket 0: 0 ns; b: [2^(b-1), 2^b) ns */
#define KVM_SPF_NS_BUCKETS		32	/* the last bucket holds what is longer, too */
#define KVM_SPF_BLOCK_SIZE		0x200

/* A per-vCPU record; bytes into the record. */
#define KVM_SPF_RECORD_VCPU		0x000	/* u32 index of the vCPU as QEMU counts */
#define KVM_SPF_RECORD_BLOCK		0x040
#define KVM_SPF_RECORD_BYTES		0x240	/* KVM_SPF_RECORD_SIZE of version 1 */

enum {
	KVM_SPF_TIER_FAST,
	KVM_SPF_TIER_SPECULATIVE,
	KVM_SPF_TIER_VMA_LOCK,
	KVM_SPF_TIER_MMAP_LOCK,
	KVM_SPF_NR_TIERS
};

enum {
	KVM_SPF_ABORT_NO_VMA,
	KVM_SPF_ABORT_VMA_BUSY,
	KVM_SPF_ABORT_VMA_CHANGED,
	KVM_SPF_ABORT_UNSUPPORTED,
	KVM_SPF_ABORT_NO_TABLE,
	KVM_SPF_ABORT_PTL_BUSY,
	KVM_SPF_ABORT_PTE_CHANGED,
	KVM_SPF_ABORT_NO_MEMORY,
	KVM_SPF_NR_ABORTS
};

enum {
	KVM_SPF_MODE_OFF,
	KVM_SPF_MODE_VMA_LOCK,
	KVM_SPF_MODE_ON,
	KVM_SPF_MODE_UNAVAILABLE = 0xffffffff	/* the host cannot tell, or does not do it */
};

/* KVM_SPF_FEATURES */
#define KVM_SPF_F_COUNTERS		(1ull << 0)	/* the host's kernel counts: totals are real */
#define KVM_SPF_F_LATENCY		(1ull << 1)	/* it times faults: KVM_SPF_NS_* */
#define KVM_SPF_F_PER_VCPU		(1ull << 2)	/* there are records */
#define KVM_SPF_F_RATES			(1ull << 3)	/* KVM_SPF_RATES are kept */

#endif
