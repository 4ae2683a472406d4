/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Differences between x86-64 and POWER. */
#ifndef VMM_ARCH_H
#define VMM_ARCH_H

#include "vmm.h"

/* The linker knows where a section with such a name starts and stops. */
#define __guest __attribute__((section("guest_code"), noinline, used))

extern const char __start_guest_code[], __stop_guest_code[];

#if defined(__x86_64__)
#define LEAVE_PORT 0xf0

static inline __attribute__((always_inline)) uint64_t guest_clock(void)
{
	uint32_t low, high;

	asm volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void cpu_relax(void)
{
	asm volatile("pause" : : : "memory");
}

static inline __attribute__((always_inline, noreturn)) void guest_leave(void)
{
	for (;;)
		asm volatile("outb %%al, %0" : : "i"(LEAVE_PORT) : "memory");
}
#elif defined(__powerpc64__)
#define LEAVE_HCALL 0xf000

static inline __attribute__((always_inline)) uint64_t guest_clock(void)
{
	uint64_t ticks;

	asm volatile("isync; mftb %0; isync" : "=r"(ticks) : : "memory");
	return ticks;
}

static inline void cpu_relax(void)
{
	asm volatile("or 27, 27, 27" : : : "memory");
}

static inline __attribute__((always_inline, noreturn)) void guest_leave(void)
{
	for (;;) {
		register uint64_t number asm("r3") = LEAVE_HCALL;

		asm volatile("sc 1" : "+r"(number) : : "memory");
	}
}
#else
#error "x86-64 and ppc64le only"
#endif

unsigned long arch__vm_type(void);
int arch__lapic(struct vmm *vmm);
/* Page tables of the guest, if it has any, for guest memory below `top`. */
size_t arch__tables_size(uint64_t top);
void arch__tables_init(void *tables, uint64_t gpa, uint64_t top);
int arch__vcpu_init(struct vcpu *vcpu);
int arch__vcpu_start(struct vcpu *vcpu, uint64_t entry, uint64_t argument, uint64_t stack);
bool arch__vcpu_left(const struct kvm_run *run);
/* Ticks of guest_clock() in a second. */
double arch__clock_hz(const struct vcpu *vcpu);

#endif
