// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A small kernel for the emulator.  It turns protection keys on and off in CR4 while the translation of a page that
 * they forbid is in the TLB.  It writes the page fault's error code of each access to the debug port.
 *
 * Supervisor code runs in pages of user mode; SMEP and SMAP are off.
 */
#include <stdint.h>

#define P	1ull
#define RW	2ull
#define US	4ull
#define PS	0x80ull		/* a page of 2 MiB */
#define KEY_1	(1ull << 59)

#define DENY_KEY_1	0xc

#define CR4_PKE	(1ull << 22)
#define CR4_PKS	(1ull << 24)
#define MSR_PKRS	0x6e1

#define MIB	(1ul << 20)

extern uint64_t pd[512];
extern const char page_fault[];

/* Set by the handler, which returns to the instruction after the access. */
uint64_t fault_error, fault_resume;

asm(".section .multiboot, \"a\"\n"
    ".balign 4\n"
    ".long 0x1badb002, 0, -0x1badb002\n"

    ".bss\n"
    ".balign 4096\n"
    ".globl pd\n"
    "pml4:	.skip 4096\n"
    "pdpt:	.skip 4096\n"
    "pd:	.skip 4096\n"
    "stack:	.skip 4096\n"
    "stack_end:\n"

    ".data\n"
    "gdt:	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff\n"
    "gdt_pointer:\n"
    "	.word 23\n"
    "	.long gdt\n"

    ".text\n"
    ".code32\n"
    ".globl _start\n"
    "_start:\n"
    "	lgdt gdt_pointer\n"
    "	movl $pdpt + 7, pml4\n"
    "	movl $pd + 7, pdpt\n"
    "	movl $0x87, pd\n"		/* the first 2 MiB, where we are */
    "	movl %cr4, %eax\n"
    "	orl $0x20, %eax\n"		/* PAE */
    "	movl %eax, %cr4\n"
    "	movl $pml4, %eax\n"
    "	movl %eax, %cr3\n"
    "	movl $0xc0000080, %ecx\n"	/* EFER */
    "	rdmsr\n"
    "	orl $0x100, %eax\n"		/* LME */
    "	wrmsr\n"
    "	movl %cr0, %eax\n"
    "	orl $0x80000000, %eax\n"	/* PG */
    "	movl %eax, %cr0\n"
    "	ljmp $8, $1f\n"
    ".code64\n"
    "1:	movl $16, %eax\n"
    "	movl %eax, %ss\n"
    "	movq $stack_end, %rsp\n"
    "	call run\n"

    "page_fault:\n"
    "	pushq %rax\n"
    "	movq 8(%rsp), %rax\n"
    "	movq %rax, fault_error\n"
    "	movq fault_resume, %rax\n"
    "	movq %rax, 16(%rsp)\n"
    "	popq %rax\n"
    "	addq $8, %rsp\n"
    "	iretq\n");

static void out(uint16_t port, uint8_t byte)
{
	asm volatile("outb %0, %1" : : "a"(byte), "Nd"(port));
}

static void say(const char *text)
{
	while (*text)
		out(0xe9, *text++);
}

/* The error code of a read of @at, 0 if it does not fault. */
static void read_page(const char *when, const void *at)
{
	uint32_t value;

	fault_error = 0;
	asm volatile("movq $1f, %1\n\tmovl (%2), %0\n1:"
		     : "=&r"(value), "=m"(fault_resume) : "r"(at) : "memory");
	say(when);
	say(" 0x");
	out(0xe9, "0123456789abcdef"[fault_error >> 4 & 0xf]);
	out(0xe9, "0123456789abcdef"[fault_error & 0xf]);
}

static void keys(uint64_t bit, int on)
{
	uint64_t cr4;

	asm volatile("movq %%cr4, %0" : "=r"(cr4));
	cr4 = on ? cr4 | bit : cr4 & ~bit;
	asm volatile("movq %0, %%cr4" : : "r"(cr4) : "memory");
}

/* PKRU and PKRS are set already: a write to them would flush the TLB. */
static void on_and_off(const char *name, uint64_t bit, const void *at)
{
	say(name);
	keys(bit, 0);
	read_page(": off", at);
	keys(bit, 1);
	read_page(", on", at);
	keys(bit, 0);
	read_page(", off", at);
	say("\n");
}

static void set_page_fault_handler(void)
{
	static uint64_t idt[15 * 2];
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = { sizeof(idt) - 1, (uintptr_t)idt };
	uint64_t at = (uintptr_t)page_fault;

	idt[14 * 2] = (at & 0xffff) | 8 << 16 | 0x8eull << 40 | (at >> 16 & 0xffff) << 48;
	asm volatile("lidt %0" : : "m"(pointer));
}

void __attribute__((used, noreturn)) run(void)
{
	set_page_fault_handler();
	pd[1] = 2 * MIB | P | RW | US | PS | KEY_1;
	pd[2] = 4 * MIB | P | RW | PS | KEY_1;

	keys(CR4_PKE, 1);
	asm volatile("wrpkru" : : "a"(DENY_KEY_1), "c"(0), "d"(0));
	asm volatile("wrmsr" : : "a"(DENY_KEY_1), "c"(MSR_PKRS), "d"(0));
	on_and_off("PKE", CR4_PKE, (void *)(2 * MIB));
	on_and_off("PKS", CR4_PKS, (void *)(4 * MIB));
	out(0xf4, 0);
	for (;;)
		asm volatile("hlt");
}
