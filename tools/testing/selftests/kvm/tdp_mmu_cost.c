// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the operations of KVM's TDP MMU cost, one after the other, by a single
 * thread: under an emulator that counts instructions (QEMU's -icount) the
 * numbers are exact and repeat, and those of two kernels can be compared.
 *
 * Prints "cost,memory,operation,unit,count,ticks" for each time that something
 * was measured, in order.  Nothing here is a threshold: the test fails only if
 * an operation does.
 *
 * With -m instead what KVM's page tables take: "bytes,when,what,bytes".
 *
 * With -s N memory can be larger than the machine's: only each N-th page of 4K
 * is touched, and huge pages are a few that the memory consists of again and
 * again.  All numbers of pages that are printed are of those touched.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/arm-smccc.h>
#include <linux/bitmap.h>
#include <linux/mman.h>
#include <linux/sizes.h>
#include <linux/userfaultfd.h>

#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#define SLOT	1
#define GPA	SZ_4G
#define GVA	SZ_4G

/* Times to do what needs to be repeated. */
#define CYCLES	6
/* ... in memory that is sparse, for costs that are compared by their growth. */
#define SPARSE_CYCLES	2
/* Single pages that are unmapped of it: as many as of the smallest. */
#define SPARSE_SINGLE	64
/* Of sparse memory, what there really is of huge pages. */
#define WINDOW	SZ_64M

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

/* The host answers, and does nothing else. */
static void do_nothing(void)
{
#if defined(__x86_64__)
	/* KVM_HC_VAPIC_POLL_IRQ */
	kvm_hypercall(1, 0, 0, 0, 0);
#elif defined(__aarch64__)
	struct arm_smccc_res res;

	smccc_hvc(ARM_SMCCC_VERSION_FUNC_ID, 0, 0, 0, 0, 0, 0, 0, &res);
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
				do_nothing();
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
/* From a page that is touched to the next, in bytes; how many they are. */
static uint64_t stride = SZ_4K, ntouched;
static bool sparse;
static int cycles = CYCLES;
static void *mem;

#define MAX_COSTS	1024

/* Printed when nothing is measured any more. */
static struct cost {
	const char *memory, *what, *unit;
	uint64_t count, ticks;
} costs[MAX_COSTS];
static unsigned int nr_costs;

static const char *memory;
static uint64_t started;

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

/*
 * What is measured stands between two marks: instructions that do nothing and
 * that no compiler makes, for an emulator to see.
 */
static inline void mark_begin(void)
{
#if defined(__x86_64__)
	asm volatile(".byte 0x0f, 0x1f, 0x80; .long 0x7464b001");
#elif defined(__aarch64__)
	asm volatile("movz xzr, #0xb001, lsl #48");
#endif
}

static inline void mark_end(void)
{
#if defined(__x86_64__)
	asm volatile(".byte 0x0f, 0x1f, 0x80; .long 0x7464b000");
#elif defined(__aarch64__)
	asm volatile("movz xzr, #0xb000, lsl #48");
#endif
}

static void begin(void)
{
	started = ticks();
	mark_begin();
}

static void end(const char *what, const char *unit, uint64_t count)
{
	uint64_t t;

	mark_end();
	t = ticks();
	TEST_ASSERT(nr_costs < MAX_COSTS, "too many operations");
	costs[nr_costs++] = (struct cost) { memory, what, unit, count,
					    t - started };
}

/* One round of the guest's loop, an iteration for each stride of its memory. */
static void set_guest(enum guest_op op, uint64_t size, uint64_t stride)
{
	cmd.op = op;
	cmd.bytes = size;
	cmd.stride = stride;
	sync_global_to_guest(vm, cmd);
}

static void run_guest(void)
{
	struct ucall uc;

	vcpu_run(vcpu);
	TEST_ASSERT_EQ(get_ucall(vcpu, &uc), UCALL_SYNC);
}

static void touch(enum guest_op op, uint64_t stride)
{
	set_guest(op, bytes, stride);
	run_guest();
}

static void measure_touch(const char *what, const char *unit, uint64_t count,
			  enum guest_op op, uint64_t stride)
{
	set_guest(op, bytes, stride);
	begin();
	run_guest();
	end(what, unit, count);
}

static void set_slot(uint64_t size, uint32_t flags)
{
	vm_set_user_memory_region(vm, SLOT, flags, GPA, size, mem);
}

static void start_log(void)
{
	begin();
	set_slot(bytes, KVM_MEM_LOG_DIRTY_PAGES);
	end("log start", "page", ntouched);
}

static void stop_log(void)
{
	begin();
	set_slot(bytes, 0);
	end("log stop", "page", ntouched);
}

static void clear_log(const char *what, uint64_t count)
{
	kvm_vm_get_dirty_log(vm, SLOT, bitmap);
	begin();
	kvm_vm_clear_dirty_log(vm, SLOT, bitmap, 0, npages);
	end(what, "page", count);
}

static void log_cycle(void)
{
	start_log();
	measure_touch("write while logging", "fault", ntouched, OP_WRITE, stride);

	begin();
	kvm_vm_get_dirty_log(vm, SLOT, bitmap);
	end("get log", "page", ntouched);

	clear_log("clear log", ntouched);
	measure_touch("write after clear", "fault", ntouched, OP_WRITE, stride);

	begin();
	kvm_vm_get_dirty_log(vm, SLOT, bitmap);
	kvm_vm_clear_dirty_log(vm, SLOT, bitmap, 0, npages);
	end("get and clear log", "page", ntouched);

	touch(OP_WRITE, 16 * stride);
	clear_log("clear sparse log", ntouched / 16);

	stop_log();
	measure_touch("write after log stop", "page", ntouched, OP_WRITE, stride);
}

/* Of each huge page one page is written, then all is read. */
static void sparse_log_cycle(void)
{
	uint64_t nr = bytes / SZ_2M;

	start_log();
	measure_touch("first write to 2M", "fault", nr, OP_WRITE, SZ_2M);
	measure_touch("read after it", "page", ntouched, OP_READ, stride);
	stop_log();
	measure_touch("read after log stop", "page", ntouched, OP_READ, stride);
}

/* Notifier: clear young, for all pages of the memory. */
static void age(void)
{
	struct {
		uint64_t pos, mask;
	} *words = calloc(ntouched, sizeof(*words));
	uint64_t i, entry, pfn, nr = 0;
	int pagemap, idle;

	TEST_ASSERT(words, "out of memory");
	idle = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR);
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	if (idle < 0 || pagemap < 0) {
		printf("# no page_idle: aging is not measured\n");
		goto out;
	}

	for (i = 0; i < ntouched; i++) {
		off_t off = ((uint64_t)mem + i * stride) / SZ_4K * 8;

		TEST_ASSERT_EQ(pread(pagemap, &entry, 8, off), 8);
		pfn = entry & GENMASK_ULL(54, 0);
		if (!nr || words[nr - 1].pos != pfn / 64 * 8)
			words[nr++].pos = pfn / 64 * 8;
		words[nr - 1].mask |= 1ull << (pfn % 64);
	}

	begin();
	for (i = 0; i < nr; i++)
		TEST_ASSERT_EQ(pwrite(idle, &words[i].mask, 8, words[i].pos), 8);
	end("age", "page", ntouched);
	measure_touch("read after aging", "page", ntouched, OP_READ, stride);
out:
	if (idle >= 0)
		close(idle);
	if (pagemap >= 0)
		close(pagemap);
	free(words);
}

/* With eager splitting set or not where that is a VM's own: before its memory. */
static void create_vm(bool eager)
{
#ifdef __aarch64__
	struct userspace_mem_region *slot0;
	int i;

	vm = ____vm_create(VM_SHAPE_DEFAULT);
	vm_enable_cap(vm, KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE, eager ? SZ_2M : 0);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, 0, 0,
				    vm_adjust_num_guest_pages(vm->mode, 2048 + npages / 256),
				    0);
	for (i = 0; i < NR_MEM_REGIONS; i++)
		vm->memslots[i] = 0;
	kvm_vm_elf_load(vm, program_invocation_name);
	slot0 = memslot2region(vm, 0);
	ucall_init(vm, slot0->region.guest_phys_addr + slot0->region.memory_size);
	kvm_arch_vm_post_create(vm);
	vcpu = vm_vcpu_add(vm, 0, guest_code);
#else
	vm = __vm_create_with_one_vcpu(&vcpu, npages, guest_code);
#endif
	vm_enable_cap(vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		      KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
	virt_map(vm, GVA, GPA, npages);
}

/* All of it is mapped before a vCPU asks for it. */
static void pre_fault(uint64_t nr)
{
	struct kvm_pre_fault_memory range = { .gpa = GPA, .size = bytes };
	int r;

	if (!kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY))
		return;

	set_slot(0, 0);
	set_slot(bytes, 0);
	/*
	 * A vCPU gives up the roots that went with a memslot when it runs.  Before
	 * that older kernels retry to pre-fault for ever.
	 */
	set_guest(OP_EXITS, 1, 1);
	run_guest();

	begin();
	do {
		r = __vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range);
	} while (range.size && (!r || errno == EINTR || errno == EAGAIN));
	end("pre-fault", "fault", nr);
	TEST_ASSERT(!range.size, KVM_IOCTL_ERROR(KVM_PRE_FAULT_MEMORY, r));
}

static void *serve_userfaults(void *arg)
{
	struct uffdio_copy copy = { .len = SZ_4K };
	struct uffd_msg msg;
	int r, fd = *(int *)arg;
	uint64_t served = 0;
	void *page;

	page = aligned_alloc(SZ_4K, SZ_4K);
	TEST_ASSERT(page, "out of memory");
	memset(page, 1, SZ_4K);
	copy.src = (uintptr_t)page;
	while (served < ntouched) {
		TEST_ASSERT_EQ(read(fd, &msg, sizeof(msg)), sizeof(msg));
		copy.dst = msg.arg.pagefault.address & ~(SZ_4K - 1ull);
		copy.copy = 0;
		r = ioctl(fd, UFFDIO_COPY, &copy);
		/* A page can be asked for more than once. */
		TEST_ASSERT(!r || errno == EEXIST, "UFFDIO_COPY: errno %i", errno);
		served += !r;
	}
	free(page);
	return NULL;
}

/* As after a post-copy migration: what the guest wants comes from elsewhere. */
static void userfaults(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)mem, .len = bytes },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	pthread_t thread;
	int fd;

	fd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (fd < 0) {
		printf("# no userfaultfd: demand paging by it is not measured\n");
		return;
	}
	TEST_ASSERT(!ioctl(fd, UFFDIO_API, &api), "UFFDIO_API");
	madvise(mem, bytes, MADV_DONTNEED);
	TEST_ASSERT(!ioctl(fd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER");
	pthread_create(&thread, NULL, serve_userfaults, &fd);

	measure_touch("userfaultfd by write", "page", ntouched, OP_WRITE, stride);

	pthread_join(thread, NULL);
	TEST_ASSERT(!ioctl(fd, UFFDIO_UNREGISTER, &reg.range), "UFFDIO_UNREGISTER");
	close(fd);
}

/* The host's own tables map all that the guest touches. */
static void touch_in_host(void)
{
	uint64_t off;

	for (off = 0; off < bytes; off += stride)
		WRITE_ONCE(*((char *)mem + off), 1);
}

static void set_bytes(uint64_t size)
{
	bytes = size;
	npages = bytes / SZ_4K;
	ntouched = bytes / stride;
}

/* A few huge pages, at all addresses.  Return: false if there are none. */
static bool repeat_window(void)
{
	uint64_t off, size = min_t(uint64_t, WINDOW, bytes);
	/* Huge pages are of 2M where nobody says otherwise. */
	int fd = memfd_create("window", MFD_HUGETLB);
	void *part = MAP_FAILED;

	if (fd < 0 || ftruncate(fd, size)) {
		printf("# no huge pages: they are not measured\n");
		return false;
	}
	for (off = 0; off < bytes; off += size) {
		part = mmap((char *)mem + off, min_t(uint64_t, size, bytes - off),
			    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
		if (part == MAP_FAILED)
			break;
	}
	close(fd);
	if (part == MAP_FAILED)
		printf("# no %lu bytes of huge pages: they are not measured\n", size);
	return part != MAP_FAILED;
}

static void run(const char *name, bool huge, bool eager)
{
	uint64_t i, n = huge ? bytes / SZ_2M : ntouched;
	bool window = huge && sparse;
	uint64_t nr_single;
	void *all;

	memory = name;
	all = mmap(NULL, bytes + SZ_2M, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	TEST_ASSERT(all != MAP_FAILED, "mmap of %lu bytes", bytes);
	mem = align_ptr_up(all, SZ_2M);
	if (window) {
		if (!repeat_window())
			goto out;
	} else {
		TEST_ASSERT(!madvise(mem, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE),
			    "madvise");
	}
	touch_in_host();
	create_vm(eager);

	set_guest(OP_EXITS, 4096, 1);
	run_guest();
	for (i = 0; i < cycles; i++) {
		begin();
		run_guest();
		end("exit", "exit", 4096);
	}

	set_slot(bytes, 0);
	measure_touch("populate by write", "fault", n, OP_WRITE, stride);
	measure_touch("write, mapped", "page", ntouched, OP_WRITE, stride);

	for (i = 0; i < cycles; i++) {
		begin();
		set_slot(0, 0);
		end("slot deletion", "page", ntouched);
		begin();
		set_slot(bytes, 0);
		end("slot addition", "slot", 1);
		if (i)
			touch(OP_WRITE, stride);
		else
			measure_touch("refault by write", "fault", n, OP_WRITE,
				      stride);
	}
	set_slot(0, 0);
	set_slot(bytes, 0);
	measure_touch("refault by read", "fault", n, OP_READ, stride);
	/* That would map what the guest never touches. */
	if (!sparse)
		pre_fault(n);
	touch(OP_WRITE, stride);

	/* Huge pages from a pool have no age. */
	if (!window)
		age();

	for (i = 0; i < cycles; i++)
		log_cycle();
	if (huge)
		sparse_log_cycle();

	/* Single pages, which the host gives back: parts of huge ones in a pool stay. */
	if (!window) {
		nr_single = sparse ? SPARSE_SINGLE : 1024;
		begin();
		for (i = 0; i < nr_single; i++)
			madvise(mem + i * stride, SZ_4K, MADV_DONTNEED);
		end("unmap single pages", "page", nr_single);
		touch_in_host();
		touch(OP_WRITE, stride);
	}

	begin();
	madvise(mem, bytes, MADV_DONTNEED);
	end("unmap all", "page", ntouched);

	/* What neither KVM nor the host has mapped; of a window the host has. */
	measure_touch("demand paging by write", "fault", n, OP_WRITE, stride);
	if (!huge)
		userfaults();
	touch_in_host();
	touch(OP_WRITE, stride);

	/* The VM goes with all its memory mapped. */
	begin();
	kvm_vm_release(vm);
	end("teardown", "page", ntouched);
out:
	munmap(all, bytes + SZ_2M);
}

/* One page of 1 GiB, of which a page of 4K is touched now and then. */
static void run_1g(const char *name, bool eager)
{
	uint64_t all_bytes = bytes;
	int i;

	memory = name;
	set_bytes(SZ_1G);
	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_1GB, -1, 0);
	if (mem == MAP_FAILED) {
		printf("# no free page of 1 GiB: %s is not measured\n", name);
		goto out;
	}
	memset(mem, 1, bytes);
	create_vm(eager);
	set_slot(bytes, 0);
	measure_touch("populate by write", "fault", 1, OP_WRITE, SZ_1G);
	for (i = 0; i < cycles; i++) {
		begin();
		set_slot(0, 0);
		end("slot deletion", "page", npages);
		set_slot(bytes, 0);
		measure_touch("refault by write", "fault", 1, OP_WRITE, SZ_1G);
	}
	for (i = 0; i < cycles; i++) {
		start_log();
		measure_touch("first write to 1G", "fault", 1, OP_WRITE, SZ_1G);
		measure_touch("read of each 2M after it", "page", SZ_1G / SZ_2M,
			      OP_READ, SZ_2M);
		stop_log();
		measure_touch("read of each 2M after log stop", "page",
			      SZ_1G / SZ_2M, OP_READ, SZ_2M);
	}
	touch(OP_WRITE, SZ_2M);
	begin();
	kvm_vm_release(vm);
	end("teardown", "page", npages);
	munmap(mem, bytes);
out:
	set_bytes(all_bytes);
}

/* Of all VMs: there should be no other, or one that does nothing. */
static void print_bytes(const char *when)
{
	static const char *const slabs[] = {
		"kvm_mmu_page_header", "pte_list_desc", "kvm_tdp_nx_table",
	};
	uint64_t tables = 0, nr, pages;
	char line[256], name[64];
	unsigned int i;
	FILE *file;

	/* Objects are freed by RCU. */
	usleep(500000);
	/* CPUs count for themselves until then; only root may ask. */
	file = fopen("/proc/sys/vm/stat_refresh", "r");
	if (file) {
		TEST_ASSERT(!fgets(line, sizeof(line), file), "stat_refresh: %s", line);
		fclose(file);
	}

	file = fopen("/proc/meminfo", "r");
	TEST_ASSERT(file, "No /proc/meminfo");
	while (fgets(line, sizeof(line), file) &&
	       sscanf(line, "SecPageTables: %lu", &tables) != 1)
		;
	fclose(file);
	printf("bytes,%s,page tables,%lu\n", when, tables * 1024);

	file = fopen("/proc/slabinfo", "r");
	TEST_ASSERT(file, "No /proc/slabinfo");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63s %*u %*u %*u %*u %lu : %*s %*u %*u %*u : %*s %*u %lu",
			   name, &pages, &nr) != 3)
			continue;
		for (i = 0; i < ARRAY_SIZE(slabs); i++) {
			if (!strcmp(name, slabs[i]))
				printf("bytes,%s,slab %s,%lu\n", when, name,
				       nr * pages * SZ_4K);
		}
	}
	fclose(file);
}

/* What tables take, and what is left of them when parts of the memory are gone. */
static void run_bytes(void)
{
	uint64_t off;

	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(mem != MAP_FAILED, "mmap of %lu bytes", bytes);
	TEST_ASSERT(!madvise(mem, bytes, MADV_NOHUGEPAGE), "madvise");
	memset(mem, 1, bytes);
	create_vm(false);
	set_guest(OP_EXITS, 1, 1);
	run_guest();
	set_slot(bytes, 0);
	print_bytes("at first");

	touch(OP_WRITE, stride);
	print_bytes("all mapped");

	for (off = 0; off < bytes; off += 2 * SZ_4K)
		madvise(mem + off, SZ_4K, MADV_DONTNEED);
	print_bytes("every other page unmapped");

	for (off = 0; off < bytes; off += 2 * SZ_2M)
		madvise(mem + off, SZ_2M, MADV_DONTNEED);
	print_bytes("every other 2M unmapped");

	madvise(mem, bytes, MADV_DONTNEED);
	print_bytes("all unmapped");

	kvm_vm_release(vm);
	print_bytes("VM released");
	munmap(mem, bytes);
}

int main(int argc, char *argv[])
{
	bool only_bytes = false;
	int opt, mb = 64;
	unsigned int i;

	while ((opt = getopt(argc, argv, "hmb:s:")) != -1) {
		switch (opt) {
		case 'm':
			only_bytes = true;
			break;
		case 'b':
			mb = atoi_positive("MiB", optarg);
			break;
		case 's':
			stride = SZ_4K * (uint64_t)atoi_positive("Pages", optarg);
			sparse = true;
			cycles = SPARSE_CYCLES;
			break;
		default:
			printf("usage: %s [-m] [-b MiB] [-s pages]\n"
			       " -m: print what KVM's page tables take, instead\n"
			       " -s: touch only one page of so many\n",
			       argv[0]);
			exit(opt == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}
	TEST_REQUIRE(getpagesize() == SZ_4K);
	TEST_ASSERT(mb >= 2 && mb % 2 == 0, "no whole number of huge pages");
	TEST_ASSERT(SZ_2M % stride == 0, "a huge page is no whole number of strides");
	TEST_ASSERT(!sparse || (uint64_t)mb * SZ_1M / stride >= SPARSE_SINGLE,
		    "too few pages are touched");
	set_bytes((uint64_t)mb * SZ_1M);
	if (only_bytes) {
		run_bytes();
		return 0;
	}
	bitmap = bitmap_zalloc(npages);

	run("4K", false, false);
	run("2M", true, true);
	if (!sparse)
		run_1g("1G", true);
#ifdef __aarch64__
	run("2M lazy", true, false);
	if (!sparse)
		run_1g("1G lazy", false);
#endif

	for (i = 0; i < nr_costs; i++)
		printf("cost,%s,%s,%s,%lu,%lu\n", costs[i].memory, costs[i].what,
		       costs[i].unit, costs[i].count, costs[i].ticks);
	free(bitmap);
	return 0;
}
