// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch.h"

static const char *const modes[] = { "off", "vma-lock", "on" };

int vmm__error(const char *format, ...)
{
	va_list args;

	fputs("vmm: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return -1;
}

const char *vmm_mode__name(enum vmm_mode mode)
{
	return mode == VMM_DEFAULT ? "default" : modes[mode];
}

int vmm_mode__parse(const char *name, enum vmm_mode *mode)
{
	for (int i = VMM_DEFAULT; i <= VMM_ON; i++) {
		if (!strcmp(name, vmm_mode__name(i))) {
			*mode = i;
			return 0;
		}
	}
	return vmm__error("there is no mode '%s': say off, vma-lock, on or default", name);
}

static size_t align(size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (size + page - 1) / page * page;
}

/* The program, then its page tables, then a struct walk for each vCPU. */
static uint64_t boot_gpa(const struct vmm *vmm, const void *hva)
{
	return (uintptr_t)hva - (uintptr_t)vmm->boot;
}

static int boot_memory(struct vmm *vmm)
{
	uint64_t top = VMM_RAM + vmm->ram_size;
	char *walks;

	vmm->code_size = align(__stop_guest_code - __start_guest_code);
	vmm->tables_size = align(arch__tables_size(top));
	vmm->boot_size = align(vmm->code_size + vmm->tables_size + vmm->vcpus * sizeof(struct walk));
	if (vmm->boot_size > VMM_RAM)
		return vmm__error("too many vCPUs or too much memory: the guest's program would need %zu bytes",
				  vmm->boot_size);
	/* Populate the memory: its faults must not count among those of a test. */
	vmm->boot = mmap(NULL, vmm->boot_size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (vmm->boot == MAP_FAILED)
		return vmm__error("no memory for the guest's program: %m");

	memcpy(vmm->boot, __start_guest_code, __stop_guest_code - __start_guest_code);
	arch__tables_init((char *)vmm->boot + vmm->code_size, vmm->code_size, top);
	walks = (char *)vmm->boot + vmm->code_size + vmm->tables_size;
	for (unsigned int i = 0; i < vmm->vcpus; i++)
		vmm->vcpu[i].walk = (struct walk *)walks + i;
	return vmm__map(vmm, VMM_BOOT_SLOT, 0, vmm->boot_size, vmm->boot);
}

static int vcpu__create(struct vcpu *vcpu, struct vmm *vmm, unsigned int id)
{
	vcpu->vmm = vmm;
	vcpu->fd = ioctl(vmm->fd, KVM_CREATE_VCPU, (unsigned long)id);
	if (vcpu->fd < 0)
		return vmm__error("cannot create vCPU %u: %m; KVM allows %u here", id, vmm__max_vcpus());
	vcpu->run = mmap(NULL, vmm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return vmm__error("cannot map the state of vCPU %u: %m", id);
	}
	return arch__vcpu_init(vcpu);
}

static int create(struct vmm *vmm, unsigned int vcpus, uint64_t ram_size, bool lapic)
{
	*vmm = (struct vmm) { .fd = -1, .ram_size = ram_size, .vcpus = vcpus, .lapic = lapic };
	vmm->dev = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vmm->dev < 0)
		return vmm__error("cannot open /dev/kvm: %m; is KVM in this kernel, and are you root?");
	vmm->vcpu = calloc(vcpus, sizeof(*vmm->vcpu));
	if (!vmm->vcpu)
		goto fail;
	for (unsigned int i = 0; i < vcpus; i++)
		vmm->vcpu[i].fd = -1;
	vmm->run_size = ioctl(vmm->dev, KVM_GET_VCPU_MMAP_SIZE, 0);
	vmm->fd = ioctl(vmm->dev, KVM_CREATE_VM, arch__vm_type());
	if (vmm->fd < 0) {
		vmm__error("cannot create a VM: %m; does /dev/kvm work on this machine?");
		goto fail;
	}
	if (lapic && arch__lapic(vmm))
		goto fail;
	if (boot_memory(vmm))
		goto fail;
	for (unsigned int i = 0; i < vcpus; i++)
		if (vcpu__create(&vmm->vcpu[i], vmm, i))
			goto fail;
	return 0;
fail:
	vmm__destroy(vmm);
	return -1;
}

int vmm__create(struct vmm *vmm, unsigned int vcpus, uint64_t ram_size)
{
	return create(vmm, vcpus, ram_size, false);
}

int vmm__create_lapic(struct vmm *vmm, unsigned int vcpus, uint64_t ram_size)
{
	return create(vmm, vcpus, ram_size, true);
}

void vmm__destroy(struct vmm *vmm)
{
	for (unsigned int i = 0; vmm->vcpu && i < vmm->vcpus; i++) {
		if (vmm->vcpu[i].run)
			munmap(vmm->vcpu[i].run, vmm->run_size);
		if (vmm->vcpu[i].fd >= 0)
			close(vmm->vcpu[i].fd);
	}
	free(vmm->vcpu);
	if (vmm->fd >= 0)
		close(vmm->fd);
	if (vmm->boot && vmm->boot != MAP_FAILED)
		munmap(vmm->boot, vmm->boot_size);
	close(vmm->dev);
}

int vmm__map(struct vmm *vmm, unsigned int slot, uint64_t gpa, uint64_t size, void *hva)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)hva,
	};

	if (ioctl(vmm->fd, KVM_SET_USER_MEMORY_REGION, &region))
		return vmm__error("cannot set memory slot %u at %#llx: %m", slot, (unsigned long long)gpa);
	return 0;
}

unsigned int vmm__max_vcpus(void)
{
	int dev = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int max = dev < 0 ? 0 : ioctl(dev, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);

	if (dev >= 0)
		close(dev);
	return max > 0 ? max : 0;
}

int vmm__set_mode(struct vmm *vmm, enum vmm_mode mode)
{
	struct kvm_enable_cap cap = { .cap = VMM_CAP_SPECULATIVE_FAULTS, .args = { mode } };

	if (mode == VMM_DEFAULT)
		return 0;
	if (ioctl(vmm->fd, KVM_CHECK_EXTENSION, VMM_CAP_SPECULATIVE_FAULTS) <= 0) {
		vmm__error("this kernel is without the series, it has no mode '%s': say default", modes[mode]);
		errno = ENOTSUP;
		return -1;
	}
	if (ioctl(vmm->fd, KVM_ENABLE_CAP, &cap))
		return vmm__error("cannot set mode '%s': %m", modes[mode]);
	return 0;
}

int vcpu__start(struct vcpu *vcpu, guest_program *program)
{
	uint64_t entry = (uintptr_t)program - (uintptr_t)__start_guest_code;
	uint64_t walk = boot_gpa(vcpu->vmm, vcpu->walk);

	return arch__vcpu_start(vcpu, entry, walk, walk + sizeof(struct walk));
}

int vcpu__run(struct vcpu *vcpu)
{
	for (;;) {
		if (ioctl(vcpu->fd, KVM_RUN, 0)) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			if (errno == EFAULT)
				return -EFAULT;
			return vmm__error("KVM_RUN: %m");
		}
		if (arch__vcpu_left(vcpu->run))
			return 0;
		return vmm__error("the guest left for reason %u, at page %#llx", vcpu->run->exit_reason,
				  (unsigned long long)vcpu->walk->page);
	}
}
