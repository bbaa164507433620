// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the operations of KVM's TDP MMU cost, one after the other, by a single
 * thread: under an emulator that counts instructions (QEMU's -icount) the
 * numbers are exact and repeat, and those of two kernels can be compared.
 *
 * Prints "operation,unit,count,ticks" for each.  Nothing here is a threshold:
 * the test fails only if an operation does.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/bitmap.h>
#include <linux/sizes.h>

#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#define SLOT	1
#define GPA	SZ_4G
#define GVA	SZ_4G

/* Times to do what needs to be repeated. */
#define CYCLES	6

enum guest_op {
	OP_READ,
	OP_WRITE,
	OP_EXITS,
};

static struct {
	uint64_t op;
	uint64_t bytes;
	uint64_t stride;
} cmd;

static uint64_t ticks(void)
{
#ifdef __x86_64__
	return rdtsc();
#else
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
#endif
}

static void guest_code(void)
{
	uint64_t off;

	for (;;) {
		uint64_t op = READ_ONCE(cmd.op);

		for (off = 0; off < cmd.bytes; off += cmd.stride) {
			uint64_t *p = (uint64_t *)(GVA + off);

			switch (op) {
			case OP_READ:
				READ_ONCE(*p);
				break;
			case OP_WRITE:
				WRITE_ONCE(*p, off);
				break;
			case OP_EXITS:
#ifdef __x86_64__
				/* KVM_HC_VAPIC_POLL_IRQ: answered with 0. */
				kvm_hypercall(1, 0, 0, 0, 0);
#endif
				break;
			}
		}
		GUEST_SYNC(0);
	}
}

static struct kvm_vm *vm;
static struct kvm_vcpu *vcpu;
static unsigned long *bitmap;
static uint64_t bytes, npages;
static void *mem;

/* Return: ticks that the guest's loop took, faults included. */
static uint64_t guest(enum guest_op op, uint64_t size, uint64_t stride)
{
	struct ucall uc;
	uint64_t t;

	cmd.op = op;
	cmd.bytes = size;
	cmd.stride = stride;
	sync_global_to_guest(vm, cmd);

	t = ticks();
	vcpu_run(vcpu);
	t = ticks() - t;
	TEST_ASSERT_EQ(get_ucall(vcpu, &uc), UCALL_SYNC);
	return t;
}

#define MAX_COSTS	64

static struct cost {
	const char *backing, *what, *unit;
	uint64_t count, ticks;
} costs[MAX_COSTS];

/*
 * Keep the least of what an operation took each time: some wait for SRCU, whose
 * grace periods take what they like.
 */
static void report(const char *backing, const char *what, const char *unit,
		   uint64_t count, uint64_t t)
{
	struct cost *c;

	for (c = costs; c->what; c++) {
		if (!strcmp(c->backing, backing) && !strcmp(c->what, what))
			break;
	}
	TEST_ASSERT(c < costs + MAX_COSTS - 1, "too many operations");
	if (!c->what || t < c->ticks)
		*c = (struct cost) { backing, what, unit, count, t };
}

static void set_slot(uint64_t size, uint32_t flags)
{
	vm_set_user_memory_region(vm, SLOT, flags, GPA, size, mem);
}

static void log_cycle(const char *backing)
{
	uint64_t t;

	t = ticks();
	set_slot(bytes, KVM_MEM_LOG_DIRTY_PAGES);
	report(backing, "log start", "page", npages, ticks() - t);

	report(backing, "write while logging", "fault", npages,
	       guest(OP_WRITE, bytes, SZ_4K));

	t = ticks();
	kvm_vm_get_dirty_log(vm, SLOT, bitmap);
	report(backing, "get log", "page", npages, ticks() - t);

	t = ticks();
	kvm_vm_clear_dirty_log(vm, SLOT, bitmap, 0, npages);
	report(backing, "clear log", "page", npages, ticks() - t);

	report(backing, "write after clear", "fault", npages,
	       guest(OP_WRITE, bytes, SZ_4K));

	t = ticks();
	kvm_vm_get_dirty_log(vm, SLOT, bitmap);
	kvm_vm_clear_dirty_log(vm, SLOT, bitmap, 0, npages);
	report(backing, "get and clear log", "page", npages, ticks() - t);

	/* One page in 16. */
	guest(OP_WRITE, bytes, 16 * SZ_4K);
	kvm_vm_get_dirty_log(vm, SLOT, bitmap);
	t = ticks();
	kvm_vm_clear_dirty_log(vm, SLOT, bitmap, 0, npages);
	report(backing, "clear sparse log", "page", npages / 16, ticks() - t);

	t = ticks();
	set_slot(bytes, 0);
	report(backing, "log stop", "page", npages, ticks() - t);

	report(backing, "write after log stop", "page", npages,
	       guest(OP_WRITE, bytes, SZ_4K));
}

/* Notifier: clear young, for all pages of the memory. */
static void age(const char *backing)
{
	uint64_t i, t, entry, pfn, word = 0, last = ~0ull;
	int pagemap, idle;

	idle = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR);
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	if (idle < 0 || pagemap < 0) {
		printf("# no page_idle: aging is not measured\n");
		return;
	}

	t = 0;
	for (i = 0; i <= npages; i++) {
		pfn = 0;
		if (i < npages) {
			off_t off = ((uint64_t)mem / SZ_4K + i) * 8;

			TEST_ASSERT_EQ(pread(pagemap, &entry, 8, off), 8);
			pfn = entry & GENMASK_ULL(54, 0);
		}
		if (last != ~0ull && (i == npages || pfn / 64 != last)) {
			uint64_t t0 = ticks();

			TEST_ASSERT_EQ(pwrite(idle, &word, 8, last * 8), 8);
			t += ticks() - t0;
			word = 0;
		}
		last = pfn / 64;
		word |= 1ull << (pfn % 64);
	}
	report(backing, "age", "page", npages, t);
	close(idle);
	close(pagemap);
}

static void run(const char *backing, bool huge)
{
	uint64_t t, i, n;

	mem = mmap(NULL, bytes + SZ_2M, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(mem != MAP_FAILED, "mmap of %lu bytes", bytes);
	mem = (void *)(((unsigned long)mem + SZ_2M - 1) & ~(SZ_2M - 1ul));
	TEST_ASSERT(!madvise(mem, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE),
		    "madvise");
	memset(mem, 1, bytes);

	vm_enable_cap(vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		      KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);

	report(backing, "exit", "exit", 4096, guest(OP_EXITS, 4096, 1));

	set_slot(bytes, 0);
	n = huge ? bytes / SZ_2M : npages;
	report(backing, "populate by write", "fault", n,
	       guest(OP_WRITE, bytes, SZ_4K));
	report(backing, "write, mapped", "page", npages,
	       guest(OP_WRITE, bytes, SZ_4K));

	t = ticks();
	set_slot(0, 0);
	report(backing, "slot deletion", "page", npages, ticks() - t);

	set_slot(bytes, 0);
	report(backing, "refault by write", "fault", n,
	       guest(OP_WRITE, bytes, SZ_4K));
	for (i = 1; i < CYCLES; i++) {
		t = ticks();
		set_slot(0, 0);
		report(backing, "slot deletion", "page", npages, ticks() - t);
		set_slot(bytes, 0);
		guest(OP_WRITE, bytes, SZ_4K);
	}
	set_slot(0, 0);
	set_slot(bytes, 0);
	report(backing, "refault by read", "fault", n,
	       guest(OP_READ, bytes, SZ_4K));
	guest(OP_WRITE, bytes, SZ_4K);

	age(backing);
	report(backing, "read after aging", "page", npages,
	       guest(OP_READ, bytes, SZ_4K));

	for (i = 0; i < CYCLES; i++)
		log_cycle(backing);

	/* Single pages, which the host gives back. */
	t = ticks();
	for (i = 0; i < 1024; i++)
		madvise(mem + i * SZ_4K, SZ_4K, MADV_DONTNEED);
	report(backing, "unmap single pages", "page", 1024, ticks() - t);
	memset(mem, 1, bytes);
	guest(OP_WRITE, bytes, SZ_4K);

	t = ticks();
	madvise(mem, bytes, MADV_DONTNEED);
	report(backing, "unmap all", "page", npages, ticks() - t);

	set_slot(0, 0);
	munmap(mem, bytes);
}

int main(int argc, char *argv[])
{
	int opt, mb = 64;
	struct cost *c;

	while ((opt = getopt(argc, argv, "hb:")) != -1) {
		switch (opt) {
		case 'b':
			mb = atoi_positive("MiB", optarg);
			break;
		default:
			printf("usage: %s [-b MiB]\n", argv[0]);
			exit(opt == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}
	bytes = (uint64_t)mb * SZ_1M;
	npages = bytes / SZ_4K;
	bitmap = bitmap_zalloc(npages);

	vm = __vm_create_with_one_vcpu(&vcpu, npages, guest_code);
	virt_map(vm, GVA, GPA, npages);

	run("4K", false);
	run("2M", true);

	kvm_vm_free(vm);

	for (c = costs; c->what; c++)
		printf("cost,%s,%s,%s,%lu,%lu\n", c->backing, c->what, c->unit,
		       c->count, c->ticks);
	return 0;
}
