// SPDX-License-Identifier: GPL-2.0-only
/*
 * The n-th allocation of memory fails, for each n: of the vCPU that faults in
 * the guest's memory, and of the thread that starts to log it.  The vCPU may
 * give up with -ENOMEM and goes on when there is memory; logging has to start,
 * by splitting huge pages later if not now.  Nothing that the guest wrote may
 * be missing, in memory or in the log.
 *
 * Needs CONFIG_FAULT_INJECTION with FAILSLAB and FAIL_PAGE_ALLOC, and debugfs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/bitmap.h>
#include <linux/sizes.h>

#include "kvm_util.h"
#include "test_util.h"
#include "ucall_common.h"

#define DEBUGFS		"/sys/kernel/debug/"
#define SLOT		1
/*
 * Regions far from each other, so that each needs tables of its own: together
 * more than a vCPU loads before its first fault.
 */
#define NR_REGIONS	40
#define REGION_BYTES	SZ_2M
#define REGION_STRIDE	((uint64_t)SZ_1G)
#define GPA		SZ_4G
#define GVA		SZ_4G
#define PAGES		(REGION_BYTES / SZ_4K)

#ifdef __aarch64__
#define STAT_2M		"pages_pmd"
#else
#define STAT_2M		"pages_2m"
#endif

/* What the guest writes to, and what. */
static uint64_t nr_regions, stride, round;

static void guest_code(void)
{
	uint64_t r, off;

	for (;;) {
		GUEST_SYNC(0);
		for (r = 0; r < READ_ONCE(nr_regions); r++) {
			for (off = 0; off < REGION_BYTES; off += READ_ONCE(stride))
				WRITE_ONCE(*(uint64_t *)(GVA + off +
							 r * REGION_STRIDE),
					   READ_ONCE(round) + off);
		}
	}
}

/* Return: whether there is such a setting. */
static bool set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	bool done;

	if (fd < 0)
		return false;
	done = write(fd, value, strlen(value)) == strlen(value);
	close(fd);
	return done;
}

static int fail_nth_fd;

static void fail_nth(unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	TEST_ASSERT_EQ(pwrite(fail_nth_fd, text, len, 0), len);
}

/* Return: whether an allocation failed since fail_nth(n). */
static bool has_failed(void)
{
	char text[16] = "";

	TEST_ASSERT(pread(fail_nth_fd, text, sizeof(text) - 1, 0) > 0,
		    "fail-nth cannot be read");
	fail_nth(0);
	return !atoi(text);
}

static void *mem[NR_REGIONS];

static void run_guest(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	vcpu_run(vcpu);
	TEST_ASSERT_EQ(get_ucall(vcpu, &uc), UCALL_SYNC);
}

/* The guest has run, and used nothing of the regions. */
static struct kvm_vm *new_vm(struct kvm_vcpu **vcpu)
{
	struct kvm_vm *vm;
	int r;

	vm = __vm_create_with_one_vcpu(vcpu, NR_REGIONS * PAGES, guest_code);
	for (r = 0; r < NR_REGIONS; r++) {
		vm_set_user_memory_region(vm, SLOT + r, 0,
					  GPA + r * REGION_STRIDE,
					  REGION_BYTES, mem[r]);
		virt_map(vm, GVA + r * REGION_STRIDE, GPA + r * REGION_STRIDE,
			 PAGES);
	}
	run_guest(*vcpu);
	return vm;
}

static void next_round(struct kvm_vm *vm, uint64_t regions, uint64_t step)
{
	nr_regions = regions;
	stride = step;
	round += SZ_1G;
	sync_global_to_guest(vm, nr_regions);
	sync_global_to_guest(vm, stride);
	sync_global_to_guest(vm, round);
}

static void check_memory(void)
{
	uint64_t r, off;

	for (r = 0; r < nr_regions; r++) {
		for (off = 0; off < REGION_BYTES; off += stride)
			TEST_ASSERT_EQ(*(uint64_t *)(mem[r] + off), round + off);
	}
}

/* Return: false once there are not so many allocations. */
static bool fault(unsigned int n, unsigned int *nr_enomem)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = new_vm(&vcpu);
	struct ucall uc;
	bool failed;
	int r, err;

	next_round(vm, NR_REGIONS, REGION_BYTES);
	fail_nth(n);
	r = __vcpu_run(vcpu);
	err = errno;
	failed = has_failed();

	TEST_ASSERT(!r || (failed && err == ENOMEM),
		    "KVM_RUN: %s, with allocation %u %s", strerror(err), n,
		    failed ? "failed" : "not reached");
	if (r) {
		++*nr_enomem;
		run_guest(vcpu);
	} else {
		TEST_ASSERT_EQ(get_ucall(vcpu, &uc), UCALL_SYNC);
	}
	check_memory();
	kvm_vm_free(vm);
	return failed;
}

static bool start_log(unsigned int n, bool huge)
{
	unsigned long *bitmap = bitmap_zalloc(PAGES);
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = new_vm(&vcpu);
	bool failed;
	int r;

	next_round(vm, 1, SZ_4K);
	run_guest(vcpu);
	if (huge)
		TEST_ASSERT(vm_get_stat(vm, STAT_2M), "no huge page to split");

	fail_nth(n);
	r = __vm_set_user_memory_region(vm, SLOT, KVM_MEM_LOG_DIRTY_PAGES, GPA,
					REGION_BYTES, mem[0]);
	failed = has_failed();
	TEST_ASSERT(!r || (failed && errno == ENOMEM),
		    "log start: %s, with allocation %u %s", strerror(errno), n,
		    failed ? "failed" : "not reached");
	/* The memslot itself needs memory. */
	if (r)
		vm_set_user_memory_region(vm, SLOT, KVM_MEM_LOG_DIRTY_PAGES,
					  GPA, REGION_BYTES, mem[0]);

	next_round(vm, 1, SZ_4K);
	run_guest(vcpu);
	check_memory();
	kvm_vm_get_dirty_log(vm, SLOT, bitmap);
	for (r = 0; r < PAGES; r++)
		TEST_ASSERT(test_bit(r, bitmap), "page %d is not in the log", r);

	kvm_vm_free(vm);
	free(bitmap);
	return failed;
}

/* Return: how many allocations a log start makes. */
static unsigned int run(const char *backing, bool huge)
{
	size_t bytes = (NR_REGIONS + 1) * REGION_BYTES;
	unsigned int n, nr_enomem = 0;
	void *all;
	int r;

	all = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(all != MAP_FAILED, "mmap");
	if (thp_configured())
		TEST_ASSERT(!madvise(all, bytes, huge ? MADV_HUGEPAGE :
							MADV_NOHUGEPAGE),
			    "madvise");
	/* What the host allocates for it is not meant here. */
	memset(all, 1, bytes);
	for (r = 0; r < NR_REGIONS; r++)
		mem[r] = align_ptr_up(all, REGION_BYTES) + r * REGION_BYTES;

	for (n = 1; fault(n, &nr_enomem); n++)
		;
	TEST_ASSERT(nr_enomem, "no allocation of a fault could fail");
	printf("%s: %u allocations failed in faults, -ENOMEM %u times\n",
	       backing, n - 1, nr_enomem);

	for (n = 1; start_log(n, huge); n++)
		;
	printf("%s: %u allocations failed in log starts\n", backing, n - 1);
	munmap(all, bytes);
	return n - 1;
}

int main(void)
{
	unsigned int nr;

	__TEST_REQUIRE(getpagesize() == SZ_4K, "needs pages of 4K");
	fail_nth_fd = open("/proc/thread-self/fail-nth", O_RDWR);
	__TEST_REQUIRE(fail_nth_fd >= 0 &&
		       set(DEBUGFS "failslab/ignore-gfp-wait", "N") &&
		       set(DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N") &&
		       set(DEBUGFS "fail_page_alloc/min-order", "0"),
		       "needs FAILSLAB and FAIL_PAGE_ALLOC, and debugfs");
	/* Not a backtrace for each. */
	set(DEBUGFS "failslab/verbose", "0");
	set(DEBUGFS "fail_page_alloc/verbose", "0");

	nr = run("4K", false);
	if (thp_configured())
		TEST_ASSERT(run("2M", true) > nr,
			    "nothing was allocated to split huge pages");
	close(fail_nth_fd);
	return 0;
}
