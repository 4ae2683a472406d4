// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Little-endian guests of KVM-HV in real mode.  They have no page tables, so that each address is a guest physical one.
 */
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/platform/ppc.h>

#include "arch.h"

#define MSR_SF		(UINT64_C(1) << 63)
#define MSR_ME		0x1000
#define MSR_LE		1

/* The fixed part of a stack frame of the ELFv2 ABI, above the stack pointer. */
#define FRAME		32

unsigned long arch__vm_type(void)
{
	return 1;	/* HV */
}

int arch__lapic(struct vmm *vmm)
{
	(void)vmm;
	return vmm__error("there are no local APICs here");
}

size_t arch__tables_size(uint64_t top)
{
	(void)top;
	return 0;
}

void arch__tables_init(void *tables, uint64_t gpa, uint64_t top)
{
	(void)tables;
	(void)gpa;
	(void)top;
}

/* Only a guest with firmware of the PAPR kind may make hypercalls. */
int arch__vcpu_init(struct vcpu *vcpu)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_PPC_PAPR };

	if (ioctl(vcpu->fd, KVM_ENABLE_CAP, &cap))
		return vmm__error("cannot let the vCPU make hypercalls: %m");
	return 0;
}

int arch__vcpu_start(struct vcpu *vcpu, uint64_t entry, uint64_t argument, uint64_t stack)
{
	struct kvm_regs regs;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs))
		return vmm__error("cannot read the registers: %m");
	regs.pc = entry;
	regs.msr = MSR_SF | MSR_ME | MSR_LE;
	regs.gpr[1] = stack - FRAME;
	regs.gpr[3] = argument;
	regs.gpr[12] = entry;
	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		return vmm__error("cannot set the registers: %m");
	/* If the last program has left by a hypercall, KVM_RUN first puts its results into r3 and r4 to r12. */
	vcpu->run->papr_hcall.ret = argument;
	vcpu->run->papr_hcall.args[8] = entry;
	return 0;
}

bool arch__vcpu_left(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_PAPR_HCALL && run->papr_hcall.nr == LEAVE_HCALL;
}

double arch__clock_hz(const struct vcpu *vcpu)
{
	(void)vcpu;
	return __ppc_get_timebase_freq();
}
