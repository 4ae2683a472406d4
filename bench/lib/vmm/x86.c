// SPDX-License-Identifier: GPL-2.0-or-later
/* Guests in long mode, with tables that map guest physical memory one to one by pages of 2 MiB. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch.h"

#define TABLE		4096
#define ENTRIES		512
#define SPAN		(UINT64_C(1) << 30)	/* of a page directory */

/* Accessed and dirty are set, so that the CPU need not write them. */
#define PTE_TABLE	0x063
#define PTE_2M		0x0e3

#define CR0		0x80000031		/* PG, NE, ET, PE */
#define CR4_PAE		0x20
#define EFER		0x500			/* LMA, LME */
#define RFLAGS_IF	0x200

unsigned long arch__vm_type(void)
{
	return 0;
}

int arch__lapic(struct vmm *vmm)
{
	return ioctl(vmm->fd, KVM_CREATE_IRQCHIP, 0) ? vmm__error("no interrupt controllers: %m") : 0;
}

static uint64_t directories(uint64_t top)
{
	return (top + SPAN - 1) / SPAN;
}

static uint64_t pointer_tables(uint64_t top)
{
	return (directories(top) + ENTRIES - 1) / ENTRIES;
}

size_t arch__tables_size(uint64_t top)
{
	return TABLE * (1 + pointer_tables(top) + directories(top));
}

void arch__tables_init(void *tables, uint64_t gpa, uint64_t top)
{
	uint64_t *root = tables, *pointers = root + ENTRIES;
	uint64_t *entries = pointers + ENTRIES * pointer_tables(top);
	uint64_t i;

	for (i = 0; i < pointer_tables(top); i++)
		root[i] = (gpa + TABLE * (1 + i)) | PTE_TABLE;
	for (i = 0; i < directories(top); i++)
		pointers[i] = (gpa + TABLE * (1 + pointer_tables(top) + i)) | PTE_TABLE;
	for (i = 0; i < directories(top) * ENTRIES; i++)
		entries[i] = (i << 21) | PTE_2M;
}

/* Give the guest all features of the host, above all the width of its addresses. */
static int set_cpuid(struct vcpu *vcpu)
{
	enum { MAX = 256 };
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + MAX * sizeof(cpuid->entries[0]));
	int status = -1;

	if (!cpuid)
		return vmm__error("no memory");
	cpuid->nent = MAX;
	if (ioctl(vcpu->vmm->dev, KVM_GET_SUPPORTED_CPUID, cpuid) || ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid))
		vmm__error("cannot set CPUID: %m");
	else
		status = 0;
	free(cpuid);
	return status;
}

int arch__vcpu_init(struct vcpu *vcpu)
{
	struct kvm_segment code = { .type = 11, .present = 1, .s = 1, .l = 1, .g = 1, .limit = ~0u, .selector = 8 };
	struct kvm_segment data = { .type = 3, .present = 1, .s = 1, .db = 1, .g = 1, .limit = ~0u, .selector = 16 };
	struct kvm_sregs sregs;

	if (set_cpuid(vcpu))
		return -1;
	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return vmm__error("cannot read the system registers: %m");
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr0 = CR0;
	sregs.cr3 = vcpu->vmm->code_size;
	sregs.cr4 = CR4_PAE;
	sregs.efer = EFER;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs))
		return vmm__error("cannot set the system registers: %m");
	return 0;
}

int arch__vcpu_start(struct vcpu *vcpu, uint64_t entry, uint64_t argument, uint64_t stack)
{
	struct kvm_regs regs = {
		.rip = entry,
		.rdi = argument,
		.rsp = stack - 8,	/* as after a call */
		.rflags = 2 | (vcpu->vmm->lapic ? RFLAGS_IF : 0),
	};

	/* If the vCPU left by an outb, the next KVM_RUN would finish that: do it before the registers change. */
	vcpu->run->immediate_exit = 1;
	ioctl(vcpu->fd, KVM_RUN, 0);
	vcpu->run->immediate_exit = 0;
	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		return vmm__error("cannot set the registers: %m");
	return 0;
}

bool arch__vcpu_left(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_IO && run->io.port == LEAVE_PORT;
}

double arch__clock_hz(const struct vcpu *vcpu)
{
	return ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0) * 1e3;
}
