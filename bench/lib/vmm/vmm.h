/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A minimal VMM, to drive KVM from tests and benchmarks.  The VM's vCPUs run C functions of ours (guest.h) on guest
 * memory that the caller provides.
 *
 *	vmm__create(&vmm, 2, size);
 *	vmm__set_mode(&vmm, VMM_ON);
 *	vmm__map(&vmm, VMM_RAM_SLOT, VMM_RAM, size, hva);
 *	vmm.vcpu[0].walk->... = ...;		(what it shall do)
 *	vcpu__start(&vmm.vcpu[0], guest_walk);	(from its beginning)
 *	vcpu__run(&vmm.vcpu[0]);		(on a thread of its own)
 *	vmm__destroy(&vmm);
 *
 * A function that fails prints one line on stderr, and returns -1.
 */
#ifndef VMM_H
#define VMM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest.h"

/* Values of KVM_CAP_SPECULATIVE_FAULTS; VMM_DEFAULT leaves the host's mode */
enum vmm_mode { VMM_DEFAULT = -1, VMM_OFF, VMM_VMA_LOCK, VMM_ON };

#define VMM_CAP_SPECULATIVE_FAULTS 0x5350

/* Guest physical memory: slot 0 is ours, for the guest's program; the rest is the caller's, from VMM_RAM up. */
enum { VMM_BOOT_SLOT, VMM_RAM_SLOT, VMM_FREE_SLOT };
#define VMM_RAM (UINT64_C(1) << 32)

struct vmm;

struct vcpu {
	struct vmm *vmm;
	int fd;
	struct kvm_run *run;
	struct walk *walk;	/* in guest memory */
};

struct vmm {
	int dev, fd;
	size_t run_size;
	uint64_t ram_size;
	bool lapic;
	void *boot;
	size_t boot_size, tables_size, code_size;
	unsigned int vcpus;
	struct vcpu *vcpu;
};

int vmm__create(struct vmm *vmm, unsigned int vcpus, uint64_t ram_size);
/*
 * Create local APICs and allow interrupts.  KVM may then put a fault off, and have the vCPU wait as if it were idle.
 * x86 only.
 */
int vmm__create_lapic(struct vmm *vmm, unsigned int vcpus, uint64_t ram_size);
void vmm__destroy(struct vmm *vmm);
int vmm__map(struct vmm *vmm, unsigned int slot, uint64_t gpa, uint64_t size, void *hva);
unsigned int vmm__max_vcpus(void);

/* Set the mode of this VM; find a mode by its name.  On a kernel without the series: -1, errno ENOTSUP. */
int vmm__set_mode(struct vmm *vmm, enum vmm_mode mode);
const char *vmm_mode__name(enum vmm_mode mode);
int vmm_mode__parse(const char *name, enum vmm_mode *mode);

int vcpu__start(struct vcpu *vcpu, guest_program *program);
/* Returns 0 when the program has ended, -EFAULT if KVM found no memory for walk->page; call again to retry. */
int vcpu__run(struct vcpu *vcpu);

int vmm__error(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
