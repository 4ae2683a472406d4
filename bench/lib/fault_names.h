/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tiers that resolve faults and the reasons why a speculation is given up,
 * in the order of their numbers: for the agent, spfctl, bench/ and tests.
 *
 * A row is NAME, QMP's name, KVM's name.  NAME is that of KVM_SPF_TIER_NAME or
 * KVM_SPF_ABORT_NAME in kvm_spf_regs.h, QMP's that of query-kvm-spf, KVM's that
 * of the statistic hva_fault_NAME or spf_abort_NAME.  tests/agent/test_names.py
 * compares them with the series.
 */
#ifndef FAULT_NAMES_H
#define FAULT_NAMES_H

#define EACH_FAULT_TIER(ROW)					\
	ROW(FAST, "fast", "fast")				\
	ROW(SPECULATIVE, "speculative", "speculative")		\
	ROW(VMA_LOCK, "vma-lock", "vma_lock")			\
	ROW(MMAP_LOCK, "mmap-lock", "mmap_lock")

#define EACH_FAULT_ABORT(ROW)					\
	ROW(NO_VMA, "no-vma", "no_vma")				\
	ROW(VMA_BUSY, "vma-busy", "vma_busy")			\
	ROW(VMA_CHANGED, "vma-changed", "vma_changed")		\
	ROW(UNSUPPORTED, "unsupported", "unsupported")		\
	ROW(NO_TABLE, "no-table", "no_table")			\
	ROW(PTL_BUSY, "ptl-busy", "ptl_busy")			\
	ROW(PTE_CHANGED, "pte-changed", "pte_changed")		\
	ROW(NO_MEMORY, "no-memory", "no_memory")

/* As ROW: yields the elements of an array of names, with a comma after each. */
#define FAULT_QMP_NAME(name, qmp, kvm)	qmp,
#define FAULT_KVM_NAME(name, qmp, kvm)	kvm,
#define FAULT_TIER_NUMBER(name, qmp, kvm)	FAULT_TIER_##name,
#define FAULT_ABORT_NUMBER(name, qmp, kvm)	FAULT_ABORT_##name,

enum { EACH_FAULT_TIER(FAULT_TIER_NUMBER) FAULT_TIERS };
enum { EACH_FAULT_ABORT(FAULT_ABORT_NUMBER) FAULT_ABORTS };

#endif
