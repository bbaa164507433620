// SPDX-License-Identifier: GPL-2.0-only
/*
 * What live migration relies on: copy all memory once, then what the dirty log
 * reports while vCPUs write, and in the end the copy is the memory.  A write that
 * the log never reported, or reported before a CPU that still could write did,
 * leaves the copy behind.
 *
 * The log is cleared by KVM_GET_DIRTY_LOG, by KVM_CLEAR_DIRTY_LOG of random pages
 * (those that are not cleared must stay in the log), also if it begins with all
 * pages in it, or by resetting dirty rings.
 */
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <asm/barrier.h>

#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#define TEST_SLOT	10
#define TEST_ADDR	0xc0000000ul
#define MAX_VCPUS	8
#define RING_ENTRIES	4096
/* What a vCPU writes to at a time: pages, and how often. */
#define WINDOW		8
#define WINDOW_WRITES	2048

enum log_mode { GET, CLEAR, CLEAR_ALL_SET, RING, NR_MODES };

static const char * const mode_names[] = {
	"get", "clear", "clear, initially all set", "ring",
};

static enum vm_mem_backing_src_type backing = DEFAULT_VM_MEM_SRC;
static int nr_vcpus = 2, rounds = 100;
static size_t nr_pages, page_size;

/* Known to the guest. */
static uint64_t guest_pages, guest_page_size;
static bool guest_stop;

/*
 * Write to some pages for a while, then leave them for others: where a vCPU goes
 * on writing to a page the log makes good what it missed.
 */
static void guest_code(uint64_t id)
{
	uint64_t first = id * guest_pages / MAX_VCPUS, count = 0, page;

	while (!READ_ONCE(guest_stop)) {
		page = (first + count % WINDOW) % guest_pages;
		WRITE_ONCE(*(uint64_t *)(TEST_ADDR + page * guest_page_size +
					 id * 8), ++count);
		if (!(count % WINDOW_WRITES))
			first += WINDOW;
	}
	GUEST_DONE();
}

static void *vcpu_thread(void *arg)
{
	struct kvm_vcpu *vcpu = arg;

	for (;;) {
		int r = __vcpu_run(vcpu);

		TEST_ASSERT(!r || errno == EINTR, "KVM_RUN: %s", strerror(errno));
		if (!r && vcpu->run->exit_reason == KVM_EXIT_DIRTY_RING_FULL) {
			usleep(100);
			continue;
		}
		if (!r && get_ucall(vcpu, NULL) == UCALL_DONE)
			return NULL;
		TEST_ASSERT(r, "exit reason %s",
			    exit_reason_str(vcpu->run->exit_reason));
	}
}

struct copy {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	u32 fetch[MAX_VCPUS];
	unsigned long *dirty, *cleared, *kept;
	char *memory, *copy;
	size_t copied;
};

static void copy_pages(struct copy *c, const unsigned long *pages)
{
	size_t page;

	for (page = 0; page < nr_pages; page++) {
		if (!test_bit(page, pages))
			continue;
		memcpy(c->copy + page * page_size, c->memory + page * page_size,
		       page_size);
		c->copied++;
	}
}

static void get_and_copy(struct copy *c)
{
	kvm_vm_get_dirty_log(c->vm, TEST_SLOT, c->dirty);
	copy_pages(c, c->dirty);
}

/* Some of the pages of some ranges, or all. */
static void clear_and_copy(struct copy *c, bool all)
{
	size_t first = 0, nr, i;

	kvm_vm_get_dirty_log(c->vm, TEST_SLOT, c->dirty);
	for (i = 0; i < BITS_TO_LONGS(nr_pages); i++) {
		unsigned long bits = all ? -1ul : random() ^ random() << 31 ^ random() << 62;

		TEST_ASSERT(!(c->kept[i] & ~c->dirty[i]),
			    "pages %lx after %zu left the log without being cleared",
			    c->kept[i] & ~c->dirty[i], i * BITS_PER_LONG);
		c->cleared[i] = c->dirty[i] & bits;
		c->kept[i] = c->dirty[i] & ~bits;
	}
	while (first < nr_pages) {
		nr = all ? nr_pages : (1 + random() % 32) * BITS_PER_LONG;
		nr = nr_pages - first < nr ? nr_pages - first : nr;
		kvm_vm_clear_dirty_log(c->vm, TEST_SLOT,
				       c->cleared + first / BITS_PER_LONG,
				       first, nr);
		first += nr;
	}
	copy_pages(c, c->cleared);
}

static void reset_and_copy(struct copy *c)
{
	struct kvm_dirty_gfn *ring, *gfn;
	int i, reset, nr = 0;

	bitmap_zero(c->dirty, nr_pages);
	for (i = 0; i < nr_vcpus; i++) {
		ring = vcpu_map_dirty_ring(c->vcpus[i]);
		for (;; nr++) {
			gfn = &ring[c->fetch[i] % RING_ENTRIES];
			/* Before the entry is read; KVM fills it first. */
			if (smp_load_acquire(&gfn->flags) != KVM_DIRTY_GFN_F_DIRTY)
				break;
			if (gfn->slot == TEST_SLOT)
				__set_bit(gfn->offset, c->dirty);
			/* After it was read; the reset looks for this. */
			smp_store_release(&gfn->flags, KVM_DIRTY_GFN_F_RESET);
			c->fetch[i]++;
		}
	}
	reset = kvm_vm_reset_dirty_ring(c->vm);
	TEST_ASSERT(reset == nr, "%d entries harvested, %d reset", nr, reset);
	copy_pages(c, c->dirty);
}

static void copy_dirty(struct copy *c, enum log_mode mode, bool last)
{
	if (mode == GET)
		get_and_copy(c);
	else if (mode == RING)
		reset_and_copy(c);
	else
		clear_and_copy(c, last);
}

static void run_test(enum log_mode mode)
{
	struct copy c = {};
	pthread_t threads[MAX_VCPUS];
	size_t page;
	int i;

	c.vm = __vm_create(VM_SHAPE_DEFAULT, nr_vcpus, nr_pages);
	TEST_ASSERT(c.vm->page_size == page_size, "pages of %u bytes",
		    c.vm->page_size);
	if (mode == RING)
		vm_enable_dirty_ring(c.vm, RING_ENTRIES *
				     sizeof(struct kvm_dirty_gfn));
	else if (mode != GET)
		vm_enable_cap(c.vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
			      KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE |
			      (mode == CLEAR_ALL_SET ? KVM_DIRTY_LOG_INITIALLY_SET :
						       0));
	for (i = 0; i < nr_vcpus; i++)
		c.vcpus[i] = vm_vcpu_add(c.vm, i, guest_code);
	vm_userspace_mem_region_add(c.vm, backing, TEST_ADDR, TEST_SLOT,
				    nr_pages, 0);
	virt_map(c.vm, TEST_ADDR, TEST_ADDR, nr_pages);

	c.memory = addr_gpa2hva(c.vm, TEST_ADDR);
	c.copy = malloc(nr_pages * page_size);
	c.dirty = bitmap_zalloc(nr_pages);
	c.cleared = bitmap_zalloc(nr_pages);
	c.kept = bitmap_zalloc(nr_pages);
	TEST_ASSERT(c.copy && c.dirty && c.cleared && c.kept, "out of memory");

	guest_pages = nr_pages;
	guest_page_size = page_size;
	guest_stop = false;
	sync_global_to_guest(c.vm, guest_pages);
	sync_global_to_guest(c.vm, guest_page_size);
	sync_global_to_guest(c.vm, guest_stop);
	for (i = 0; i < nr_vcpus; i++) {
		vcpu_args_set(c.vcpus[i], 1, (uint64_t)i);
		pthread_create(&threads[i], NULL, vcpu_thread, c.vcpus[i]);
	}

	/* Huge pages come before the log. */
	usleep(20000);
	vm_mem_region_set_flags(c.vm, TEST_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	memcpy(c.copy, c.memory, nr_pages * page_size);
	for (i = 0; i < rounds; i++) {
		usleep(1000);
		copy_dirty(&c, mode, false);
	}

	guest_stop = true;
	sync_global_to_guest(c.vm, guest_stop);
	/* A vCPU with a full ring comes to its end when there is room. */
	for (i = 0; i < nr_vcpus; i++) {
		while (pthread_tryjoin_np(threads[i], NULL)) {
			if (mode == RING)
				copy_dirty(&c, mode, false);
			usleep(1000);
		}
	}
	copy_dirty(&c, mode, true);

	for (page = 0; page < nr_pages; page++)
		TEST_ASSERT(!memcmp(c.copy + page * page_size,
				    c.memory + page * page_size, page_size),
			    "page %zu was written to, and not logged", page);
	pr_info("%s: %zu pages copied, all the same\n", mode_names[mode], c.copied);

	free(c.kept);
	free(c.cleared);
	free(c.dirty);
	free(c.copy);
	kvm_vm_free(c.vm);
}

static void help(const char *name)
{
	printf("usage: %s [-h] [-b bytes] [-v vcpus] [-r rounds] [-s type]\n"
	       " -b: memory (default: 16M)\n"
	       " -v: vCPUs, 1 to %d (default: %d)\n"
	       " -r: how often the log is read in each mode (default: %d)\n",
	       name, MAX_VCPUS, nr_vcpus, rounds);
	backing_src_help("-s");
	exit(KSFT_FAIL);
}

int main(int argc, char **argv)
{
	size_t size = 16 << 20;
	enum log_mode mode;
	int opt;

	while ((opt = getopt(argc, argv, "hb:v:r:s:")) != -1) {
		switch (opt) {
		case 'b':
			size = parse_size(optarg);
			break;
		case 'v':
			nr_vcpus = atoi_positive("Number of vCPUs", optarg);
			TEST_ASSERT(nr_vcpus <= MAX_VCPUS, "Too many vCPUs");
			break;
		case 'r':
			rounds = atoi_positive("Number of rounds", optarg);
			break;
		case 's':
			backing = parse_backing_src_type(optarg);
			break;
		default:
			help(argv[0]);
		}
	}

	page_size = getpagesize();
	nr_pages = size / page_size / BITS_PER_LONG * BITS_PER_LONG;
	TEST_ASSERT(nr_pages, "At least %zu bytes", BITS_PER_LONG * page_size);

	for (mode = 0; mode < NR_MODES; mode++) {
		if ((mode == CLEAR || mode == CLEAR_ALL_SET) &&
		    !kvm_has_cap(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2))
			continue;
		if (mode == RING && !kvm_has_cap(KVM_CAP_DIRTY_LOG_RING) &&
		    !kvm_has_cap(KVM_CAP_DIRTY_LOG_RING_ACQ_REL))
			continue;
		run_test(mode);
	}
	return 0;
}
