// SPDX-License-Identifier: GPL-2.0-or-later
#include "arch.h"
#include "shadowed.h"

#define MSR_EFER	0xc0000080
#define MSR_PAT		0x277
#define MSR_HSAVE	0xc0010117
#define EFER_SVME	0x1000

static inline __attribute__((always_inline)) uint64_t rdmsr(uint32_t number)
{
	uint32_t low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
	return (uint64_t)high << 32 | low;
}

static inline __attribute__((always_inline)) void wrmsr(uint32_t number, uint64_t value)
{
	asm volatile("wrmsr" : : "c"(number), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

#define FIELD(type, offset)	(*(volatile type *)(vmcb + (offset)))
#define SHARED_WORD(name)	(((volatile uint64_t *)GPA(SHARED))[name])

/* RBX is L1's. */
void __guest guest_l2(struct walk *walk)
{
	(void)walk;
	asm volatile("1: mov (%rbx), %rax; vmmcall; jmp 1b");
}

static inline __attribute__((always_inline)) uint64_t enter(char *vmcb, uint64_t entry, uint64_t *left)
{
	uint64_t rax = (uintptr_t)vmcb;

	FIELD(uint64_t, 0x578) = entry;
	FIELD(uint8_t, 0x5c) = 1;	/* flush the TLB */
	asm volatile("vmload %%rax; vmrun %%rax; vmsave %%rax; stgi" : "+a"(rax) : "b"(LOOK) : "memory");
	*left = FIELD(uint64_t, 0x70);
	return FIELD(uint64_t, 0x5f8);
}

/* walk->base: where guest_l2 is.  Once without `go`, so that nothing but L2 is new. */
void __guest guest_l1(struct walk *walk)
{
	char *vmcb = (char *)GPA(VMCB);
	uint64_t value, left;

	if (!walk->access) {
		*(volatile uint64_t *)GPA(SAVED) = 0;
		*(volatile uint64_t *)GPA(STACK) = 0;
		SHARED_WORD(GO) = 0;
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
		wrmsr(MSR_HSAVE, GPA(SAVED));
		asm volatile("vmsave %%rax" : : "a"(vmcb) : "memory");
		FIELD(uint32_t, 0x0c) = 1u << 31;	/* intercept shutdowns, */
		FIELD(uint32_t, 0x10) = 3;		/* VMRUN and VMMCALL */
		FIELD(uint32_t, 0x58) = 1;
		FIELD(uint64_t, 0x90) = 1;		/* nested paging */
		FIELD(uint64_t, 0xb0) = GPA(ROOT);
		for (unsigned int segment = 0x400; segment < 0x440; segment += 0x10) {
			FIELD(uint16_t, segment) = segment == 0x410 ? 8 : 16;
			FIELD(uint16_t, segment + 2) = segment == 0x410 ? 0xa9b : 0xc93;
			FIELD(uint32_t, segment + 4) = ~0u;
			FIELD(uint64_t, segment + 8) = 0;
		}
		FIELD(uint64_t, 0x4d0) = rdmsr(MSR_EFER);
		asm volatile("mov %%cr4, %0" : "=r"(value));
		FIELD(uint64_t, 0x548) = value;
		asm volatile("mov %%cr3, %0" : "=r"(value));
		FIELD(uint64_t, 0x550) = value;
		asm volatile("mov %%cr0, %0" : "=r"(value));
		FIELD(uint64_t, 0x558) = value;
		FIELD(uint64_t, 0x560) = 0x400;
		FIELD(uint64_t, 0x568) = 0xffff0ff0;
		FIELD(uint64_t, 0x570) = 2;
		FIELD(uint64_t, 0x5d8) = GPA(STACK + 1);
		FIELD(uint64_t, 0x668) = rdmsr(MSR_PAT);
		guest_leave();
	}
	SHARED_WORD(GO) = 1;
	value = enter(vmcb, walk->base, &left);
	SHARED_WORD(SEEN_FIRST) = value;
	SHARED_WORD(EXIT_FIRST) = left;
	while (!SHARED_WORD(STORED))
		cpu_relax();
	value = enter(vmcb, walk->base, &left);
	SHARED_WORD(SEEN_LAST) = value;
	SHARED_WORD(EXIT_LAST) = left;
	guest_leave();
}

/* Store walk->generation at walk->base, after so many rounds of waiting. */
void __guest guest_store(struct walk *walk)
{
	volatile uint64_t *entry = (void *)walk->base;

	if (walk->access) {
		while (!SHARED_WORD(GO))
			cpu_relax();
		for (uint64_t i = 0; i < walk->count; i++)
			asm volatile("nop");
		*entry = walk->generation;
		SHARED_WORD(STORED) = 1;
	}
	guest_leave();
}
