// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM without firmware, devices or interrupts: long mode, with page tables
 * that map all of its first GiBs to the same address. The program is linked
 * there, and the memory that it asks for is put there.
 */
#define _GNU_SOURCE
#include "nested.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define PAGE		4096UL
#define LEAF		(2UL << 20)
#define GIB		(1UL << 30)
#define GIBS		4
#define MEMORY		(2 * GIB)		/* its address; the heap begins in the GiB behind the program */
#define STACK		(4 * PAGE)
#define ENTRIES		512

/* Architecture manuals: AMD64 APM volume 2, 5.3 (tables), 3.1 (control registers), 4.7 (descriptors). */
#define PTE_TABLE	0x7			/* present, writable, user */
#define PTE_LEAF	0x87
#define CR0		0x80010033UL		/* PG, WP, NE, ET, MP, PE */
#define CR4		0x620UL			/* OSXMMEXCPT, OSFXSR, PAE */
#define EFER		0x500UL			/* LMA, LME */
#define RFLAGS		0x2UL

struct nested_vcpu {
	int fd;
	struct kvm_run *run;
	uint8_t *stack;
};

/* The linker's: where the program begins, and where its data end. */
extern char __executable_start[], _end[];

/* What a vCPU begins with: %rax is the function. */
extern char nested_entry[];
asm(".pushsection .text\n"
    "nested_entry:\n"
    "	call *%rax\n"
    "	hlt\n"
    ".popsection");

static uint8_t *memory;
static size_t memory_size;
static uint64_t root[ENTRIES] __attribute__((aligned(PAGE)));
static uint64_t directories[ENTRIES] __attribute__((aligned(PAGE)));
static uint64_t leaves[GIBS * ENTRIES] __attribute__((aligned(PAGE)));
static int kvm, vm = -1, run_size;

void *nested_memory(size_t size)
{
	memory_size = (size + LEAF - 1) & ~(LEAF - 1);
	memory = mmap((void *)MEMORY, memory_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

static int add_slot(unsigned int slot, uint64_t start, uint64_t end)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = start,
		.userspace_addr = start,
		.memory_size = end - start,
	};

	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static int new_vm(void)
{
	uint64_t start = (uint64_t)__executable_start & -PAGE, end = ((uint64_t)_end + PAGE - 1) & -PAGE;
	int i;

	/* An initramfs of one file has no device nodes. */
	if (mknod("/dev/kvm", S_IFCHR | 0600, makedev(10, 232)) && errno != EEXIST)
		return -1;
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return -1;
	run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0 || add_slot(0, start, end) || add_slot(1, MEMORY, MEMORY + memory_size))
		return -1;

	root[0] = (uint64_t)directories | PTE_TABLE;
	for (i = 0; i < GIBS; i++)
		directories[i] = (uint64_t)&leaves[i * ENTRIES] | PTE_TABLE;
	for (i = 0; i < GIBS * ENTRIES; i++)
		leaves[i] = i * LEAF | PTE_LEAF;
	return 0;
}

/* All that there is. */
static int set_cpuid(struct nested_vcpu *vcpu)
{
	enum { MOST = 256 };
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + MOST * sizeof(cpuid->entries[0]));
	int ret = -1;

	if (!cpuid)
		return -1;
	cpuid->nent = MOST;
	if (!ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid))
		ret = ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid);
	free(cpuid);
	return ret;
}

static int enter_long_mode(struct nested_vcpu *vcpu)
{
	struct kvm_segment data = { .limit = ~0U, .selector = 0x10, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };
	struct kvm_segment code = { .limit = ~0U, .selector = 0x8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return -1;
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr0 = CR0;
	sregs.cr3 = (uint64_t)root;
	sregs.cr4 = CR4;
	sregs.efer = EFER;
	return ioctl(vcpu->fd, KVM_SET_SREGS, &sregs);
}

struct nested_vcpu *nested_vcpu(void)
{
	static uint8_t stacks[64][STACK] __attribute__((aligned(PAGE)));
	static unsigned int nr_vcpus;
	struct nested_vcpu *vcpu = calloc(1, sizeof(*vcpu));

	if (!vcpu || nr_vcpus == sizeof(stacks) / STACK || (vm < 0 && new_vm()))
		return NULL;
	vcpu->fd = ioctl(vm, KVM_CREATE_VCPU, nr_vcpus);
	if (vcpu->fd < 0 || set_cpuid(vcpu) || enter_long_mode(vcpu))
		return NULL;
	vcpu->run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	vcpu->stack = stacks[nr_vcpus++];
	return vcpu->run == MAP_FAILED ? NULL : vcpu;
}

int nested_call(struct nested_vcpu *vcpu, void (*fn)(void *arg), void *arg)
{
	struct kvm_regs regs = {
		.rip = (uint64_t)nested_entry,
		.rax = (uint64_t)fn,
		.rdi = (uint64_t)arg,
		.rsp = (uint64_t)vcpu->stack + STACK,
		.rflags = RFLAGS,
	};

	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		return -1;
	while (ioctl(vcpu->fd, KVM_RUN, 0))
		if (errno != EINTR && errno != EAGAIN)
			return -1;
	if (vcpu->run->exit_reason == KVM_EXIT_HLT)
		return 0;
	errno = EFAULT;
	return -1;
}
