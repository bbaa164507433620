// SPDX-License-Identifier: GPL-2.0-only
/*
 * How far vCPUs get while something is done to other memory of their VM.
 *
 * vCPUs fault on memory that they have not been to, all the time.  Meanwhile an
 * operation is done to a memslot that was populated, again and again; what the
 * vCPUs have touched is counted from the beginning to the end of it, and how long
 * each touch took, by the guest's clock; with -l also how long they and the operation
 * hold the mmu_lock, and wait for it.  The output is for comparing kernels: nothing is
 * asserted about time.
 */
#include <fcntl.h>
#include <linux/bitmap.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <asm/barrier.h>

#ifdef __aarch64__
#include "arch_timer.h"
#endif
#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#define OBJECT_SLOT	10
#define OBJECT_ADDR	0xc0000000ul
#define FRESH_SLOT	11
#define FRESH_ADDR	0x200000000ul
#define STATS_SLOT	12
#define STATS_ADDR	0xb0000000ul
#define MAX_VCPUS	8
#define NR_SINGLE	256
#define RING_ENTRIES	65536
/* Fewer than fill a vCPU's ring up to its soft limit, 64960 on x86. */
#define RING_PAGES	64512

#define LOCK_STAT	"/proc/lock_stat"

enum log_mode { GET, CLEAR, RING };
enum lock_mode { WRITE, READ, NR_LOCK_MODES };

/* Of what CONFIG_LOCK_STAT says of a lock; times in microseconds. */
struct lock_stat {
	uint64_t waited, taken;
	double longest_wait, total_wait, longest_hold, total_hold;
};

/* Eight buckets for each power of two: the error is less than an eighth. */
#define SUB_BITS	3
#define NR_BUCKETS	((64 - SUB_BITS + 1) << SUB_BITS)

/* Between a vCPU and the test: one page of memory for each. */
struct vcpu_stats {
	uint64_t touched;
	/* Set by the test: there is no more memory that it has not been to. */
	uint64_t limit;
	/*
	 * By the test: one more when an operation begins, and when it ends.  Touches
	 * during one, or during a part of it, are counted in took.
	 */
	uint64_t counting;
	uint64_t took[NR_BUCKETS];
};

static enum vm_mem_backing_src_type backing = DEFAULT_VM_MEM_SRC;
static int nr_vcpus = 1, runs = 20;
static const char *only;
static bool lock_stats;
static size_t all_pages, object_pages, fresh_pages, page_size;

static struct kvm_vm *vm;
static struct kvm_vcpu *populator;
static char *object, *fresh;
static char *stats_pages;
static unsigned long *dirty;
static struct kvm_userspace_memory_region2 region;

/* Known to the guest. */
static uint64_t guest_object_pages, guest_page_size;
static bool guest_stop;

static uint64_t guest_clock(void)
{
#ifdef __aarch64__
	return timer_get_cntct(VIRTUAL);
#else
	return rdtsc();
#endif
}

static unsigned int bucket_of(uint64_t value)
{
	unsigned int shift;

	if (value < 1 << SUB_BITS)
		return value;
	shift = 63 - __builtin_clzl(value) - SUB_BITS;
	return (shift << SUB_BITS) + (value >> shift);
}

/* The largest value of a bucket. */
static uint64_t bucket_last(unsigned int bucket)
{
	unsigned int shift = bucket >> SUB_BITS;

	if (!shift)
		return bucket;
	bucket = (bucket & ((1 << SUB_BITS) - 1)) + (1 << SUB_BITS);
	return ((uint64_t)(bucket + 1) << (shift - 1)) - 1;
}

static void guest_code(uint64_t id, uint64_t first, uint64_t nr)
{
	struct vcpu_stats *stats = (void *)(STATS_ADDR + id * guest_page_size);
	uint64_t count = 0, counting, start, end;

	while (!READ_ONCE(guest_stop)) {
		if (count == READ_ONCE(stats->limit)) {
			cpu_relax();
			continue;
		}
		counting = READ_ONCE(stats->counting);
		start = guest_clock();
		WRITE_ONCE(*(uint64_t *)(FRESH_ADDR + (first + count % nr) *
					 guest_page_size), count);
		end = guest_clock();
		if (counting % 2 || READ_ONCE(stats->counting) != counting)
			stats->took[bucket_of(end - start)]++;
		/* After took; the test reads it first. */
		smp_store_release(&stats->touched, ++count);
	}
	GUEST_DONE();
}

/* Not a vCPU that is looked at. */
static void populate_code(void)
{
	uint64_t page, count = 0;

	for (;;) {
		count++;
		for (page = 0; page < guest_object_pages; page++)
			WRITE_ONCE(*(uint64_t *)(OBJECT_ADDR + page * guest_page_size),
				   count);
		GUEST_SYNC(count);
	}
}

static void *vcpu_thread(void *arg)
{
	struct kvm_vcpu *vcpu = arg;

	vcpu_run(vcpu);
	TEST_ASSERT(get_ucall(vcpu, NULL) == UCALL_DONE, "exit reason %s",
		    exit_reason_str(vcpu->run->exit_reason));
	return NULL;
}

static void populate(void)
{
	vcpu_run(populator);
	TEST_ASSERT(get_ucall(populator, NULL) == UCALL_SYNC, "exit reason %s",
		    exit_reason_str(populator->run->exit_reason));
}

static struct vcpu_stats *stats_of(int vcpu)
{
	return (struct vcpu_stats *)(stats_pages + vcpu * page_size);
}

static uint64_t touched(void)
{
	uint64_t sum = 0;
	int i;

	for (i = 0; i < nr_vcpus; i++)
		sum += READ_ONCE(stats_of(i)->touched);
	return sum;
}

/* Has every vCPU done with the touch that it was at? */
static void wait_for_touches(void)
{
	uint64_t from;
	int i;

	for (i = 0; i < nr_vcpus; i++) {
		from = READ_ONCE(stats_of(i)->touched);
		/* Before took is read. */
		while (smp_load_acquire(&stats_of(i)->touched) == from &&
		       from != READ_ONCE(stats_of(i)->limit))
			sched_yield();
	}
}

static void count_touches(void)
{
	int i;

	for (i = 0; i < nr_vcpus; i++)
		WRITE_ONCE(stats_of(i)->counting, stats_of(i)->counting + 1);
}

/* Of the guest, in kHz. */
static double clock_khz(void)
{
#ifdef __aarch64__
	return timer_get_cntfrq() / 1000.0;
#else
	return __vcpu_ioctl(populator, KVM_GET_TSC_KHZ, NULL);
#endif
}

/* Return: by the guest's clock, what such a share of the touches did not exceed. */
static uint64_t percentile(const uint64_t *took, double share)
{
	uint64_t all = 0, sum = 0;
	int bucket;

	for (bucket = 0; bucket < NR_BUCKETS; bucket++)
		all += took[bucket];
	for (bucket = 0; bucket < NR_BUCKETS - 1; bucket++) {
		sum += took[bucket];
		if (sum && sum >= all * share)
			break;
	}
	return bucket_last(bucket);
}

/* Of what was counted since the last time. */
static void print_latencies(const char *name)
{
	static const double shares[] = { 0.5, 0.9, 0.99, 0.999, 1 };
	uint64_t took[NR_BUCKETS] = {}, nr = 0;
	int i, bucket;

	for (i = 0; i < nr_vcpus; i++) {
		for (bucket = 0; bucket < NR_BUCKETS; bucket++) {
			nr += stats_of(i)->took[bucket];
			took[bucket] += stats_of(i)->took[bucket];
		}
		memset(stats_of(i)->took, 0, sizeof(took));
	}
	if (!nr) {
		printf("# %s: nothing was touched meanwhile\n", name);
		return;
	}
	printf("latency,%s", name);
	for (i = 0; i < ARRAY_SIZE(shares); i++)
		printf(",%.0f", percentile(took, shares[i]) * 1e6 / clock_khz());
	printf("\n");
}

/* vCPUs must not come to the end of what they have not been to. */
static void refresh(void)
{
	uint64_t share = fresh_pages / nr_vcpus, limits[MAX_VCPUS];
	bool enough = true;
	int i;

	for (i = 0; i < nr_vcpus; i++) {
		limits[i] = READ_ONCE(stats_of(i)->touched) + share;
		enough &= READ_ONCE(stats_of(i)->limit) + share / 4 >= limits[i];
	}
	if (enough)
		return;
	madvise(fresh, fresh_pages * page_size, MADV_DONTNEED);
	for (i = 0; i < nr_vcpus; i++)
		WRITE_ONCE(stats_of(i)->limit, limits[i]);
}

static bool exhausted(void)
{
	int i;

	for (i = 0; i < nr_vcpus; i++)
		if (READ_ONCE(stats_of(i)->touched) == READ_ONCE(stats_of(i)->limit))
			return true;
	return false;
}

static void set_flags(uint32_t flags)
{
	region.flags = flags;
	vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &region);
}

static void set_size(uint64_t size)
{
	region.memory_size = size;
	vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &region);
}

/* The operations, and what comes before. */

static void nothing(void)
{
}

static void wait_a_bit(void)
{
	usleep(100000);
}

static void start_log(void)
{
	set_flags(KVM_MEM_LOG_DIRTY_PAGES);
}

static void stop_log(void)
{
	set_flags(0);
}

static void populate_unlogged(void)
{
	stop_log();
	populate();
}

static void populate_logged(void)
{
	start_log();
	populate();
}

static void get_log(void)
{
	kvm_vm_get_dirty_log(vm, OBJECT_SLOT, dirty);
}

static void populate_and_get(void)
{
	populate_logged();
	get_log();
}

static void clear_log(void)
{
	kvm_vm_clear_dirty_log(vm, OBJECT_SLOT, dirty, 0, object_pages);
}

static void harvest(void)
{
	struct kvm_dirty_gfn *ring = vcpu_map_dirty_ring(populator);
	static u32 fetch;

	populate_logged();
	for (;; fetch++) {
		struct kvm_dirty_gfn *gfn = &ring[fetch % RING_ENTRIES];

		/* Before the entry is read; KVM fills it first. */
		if (smp_load_acquire(&gfn->flags) != KVM_DIRTY_GFN_F_DIRTY)
			break;
		/* After it was read; the reset looks for this. */
		smp_store_release(&gfn->flags, KVM_DIRTY_GFN_F_RESET);
	}
}

static void reset_ring(void)
{
	kvm_vm_reset_dirty_ring(vm);
}

static struct {
	uint64_t pos, mask;
} *idle_words;
static size_t nr_idle_words;
static int idle_fd = -1, pagemap_fd = -1;

static void find_idle_words(void)
{
	uint64_t entry, pfn;
	size_t i;

	populate_unlogged();
	nr_idle_words = 0;
	for (i = 0; i < object_pages; i++) {
		off_t off = ((uintptr_t)object / getpagesize() + i) * 8;

		TEST_ASSERT_EQ(pread(pagemap_fd, &entry, 8, off), 8);
		pfn = entry & GENMASK_ULL(54, 0);
		if (!nr_idle_words || idle_words[nr_idle_words - 1].pos != pfn / 64 * 8) {
			idle_words[nr_idle_words].mask = 0;
			idle_words[nr_idle_words++].pos = pfn / 64 * 8;
		}
		idle_words[nr_idle_words - 1].mask |= 1ull << (pfn % 64);
	}
}

static void age(void)
{
	size_t i;

	for (i = 0; i < nr_idle_words; i++)
		TEST_ASSERT_EQ(pwrite(idle_fd, &idle_words[i].mask, 8,
				      idle_words[i].pos), 8);
}

static void unmap_all(void)
{
	madvise(object, object_pages * page_size, MADV_DONTNEED);
}

static void unmap_single(void)
{
	size_t i;

	for (i = 0; i < NR_SINGLE; i++)
		madvise(object + i * (object_pages / NR_SINGLE) * page_size,
			page_size, MADV_DONTNEED);
}

static void delete(void)
{
	set_size(0);
}

static void add_and_populate(void)
{
	if (!region.memory_size)
		set_size(object_pages * page_size);
	populate_unlogged();
}

static const struct op {
	const char *name;
	enum log_mode mode;
	void (*before)(void);
	void (*run)(void);
} ops[] = {
	{ "nothing",		CLEAR,	nothing,		wait_a_bit },
	{ "log start",		CLEAR,	populate_unlogged,	start_log },
	{ "clear log",		CLEAR,	populate_and_get,	clear_log },
	{ "log stop",		CLEAR,	populate_logged,	stop_log },
	{ "age",		CLEAR,	find_idle_words,	age },
	{ "unmap all",		CLEAR,	populate_unlogged,	unmap_all },
	{ "unmap single pages",	CLEAR,	populate_unlogged,	unmap_single },
	{ "delete memslot",	CLEAR,	add_and_populate,	delete },
	{ "get log",		GET,	populate_logged,	get_log },
	{ "reset ring",		RING,	harvest,		reset_ring },
};

static void lock_stat_reset(void)
{
	int fd = open(LOCK_STAT, O_WRONLY);

	TEST_ASSERT(fd >= 0, "No " LOCK_STAT ": -l needs CONFIG_LOCK_STAT");
	TEST_ASSERT_EQ(write(fd, "0", 1), 1);
	close(fd);
}

/* Adds what happened since lock_stat_reset(): times add up, the longest stays. */
static void lock_stat_add(struct lock_stat *stats)
{
	FILE *file = fopen(LOCK_STAT, "r");
	struct lock_stat now, *stat;
	char line[512], mode[4];
	int at;

	TEST_ASSERT(file, "No " LOCK_STAT);
	while (fgets(line, sizeof(line), file)) {
		/*
		 * name-W: or name-R:, or name: where it is taken for write only; then
		 * bounces, times, shortest, longest, total, average of waits, and of holds.
		 */
		if (sscanf(line, " &(kvm)->mmu_lock%3[-:WR]%n", mode, &at) != 1)
			continue;
		if (sscanf(line + at, "%*u %lu %*f %lf %lf %*f %*u %lu %*f %lf %lf",
			   &now.waited, &now.longest_wait, &now.total_wait,
			   &now.taken, &now.longest_hold, &now.total_hold) != 6)
			continue;
		stat = &stats[mode[1] == 'R' ? READ : WRITE];
		stat->waited += now.waited;
		stat->taken += now.taken;
		stat->total_wait += now.total_wait;
		stat->total_hold += now.total_hold;
		stat->longest_wait = max(stat->longest_wait, now.longest_wait);
		stat->longest_hold = max(stat->longest_hold, now.longest_hold);
	}
	fclose(file);
}

static void measure(const struct op *op)
{
	struct lock_stat stats[NR_LOCK_MODES] = {};
	uint64_t from, sum = 0, ns = 0;
	struct timespec start;
	int i, nr_exhausted = 0;

	for (i = 0; i < runs; i++) {
		op->before();
		/* There is something for the vCPUs to fault on, and they do. */
		refresh();
		wait_for_touches();

		if (lock_stats)
			lock_stat_reset();
		count_touches();
		from = touched();
		clock_gettime(CLOCK_MONOTONIC, &start);
		op->run();
		ns += timespec_to_ns(timespec_elapsed(start));
		sum += touched() - from;
		count_touches();
		nr_exhausted += exhausted();
		/* What has not ended yet is to be counted, too. */
		wait_for_touches();
		if (lock_stats)
			lock_stat_add(stats);
	}
	printf("progress,%s,%d,%lu,%lu,%.0f\n", op->name, runs, ns, sum,
	       sum * 1e9 / ns);
	print_latencies(op->name);
	if (nr_exhausted)
		printf("exhausted,%s,%d\n", op->name, nr_exhausted);
	for (i = 0; lock_stats && i < NR_LOCK_MODES; i++)
		printf("lock,%s,%s,%lu,%.2f,%.2f,%lu,%.2f,%.2f\n", op->name,
		       i == READ ? "read" : "write", stats[i].taken,
		       stats[i].longest_hold, stats[i].total_hold, stats[i].waited,
		       stats[i].longest_wait, stats[i].total_wait);
}

static void add_slot(int slot, uint64_t addr, size_t nr,
		     enum vm_mem_backing_src_type type)
{
	vm_userspace_mem_region_add(vm, type, addr, slot, nr, 0);
	virt_map(vm, addr, addr, nr);
}

static void run_mode(enum log_mode mode)
{
	pthread_t threads[MAX_VCPUS];
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	size_t share = fresh_pages / nr_vcpus, i;

	object_pages = mode == RING ? min_t(size_t, all_pages, RING_PAGES) : all_pages;
	vm = __vm_create(VM_SHAPE_DEFAULT, nr_vcpus + 1,
			 object_pages + fresh_pages + nr_vcpus);
	TEST_ASSERT(vm->page_size == page_size, "pages of %u bytes", vm->page_size);
	if (mode == RING)
		vm_enable_dirty_ring(vm, RING_ENTRIES * sizeof(struct kvm_dirty_gfn));
	else if (mode == CLEAR)
		vm_enable_cap(vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
			      KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
	for (i = 0; i < nr_vcpus; i++)
		vcpus[i] = vm_vcpu_add(vm, i, guest_code);
	populator = vm_vcpu_add(vm, nr_vcpus, populate_code);

	add_slot(OBJECT_SLOT, OBJECT_ADDR, object_pages, backing);
	add_slot(FRESH_SLOT, FRESH_ADDR, fresh_pages, VM_MEM_SRC_ANONYMOUS);
	add_slot(STATS_SLOT, STATS_ADDR, nr_vcpus, VM_MEM_SRC_ANONYMOUS);
	object = addr_gpa2hva(vm, OBJECT_ADDR);
	fresh = addr_gpa2hva(vm, FRESH_ADDR);
	stats_pages = addr_gpa2hva(vm, STATS_ADDR);
	region = memslot2region(vm, OBJECT_SLOT)->region;
	for (i = 0; i < nr_vcpus; i++)
		stats_of(i)->limit = share;

	guest_stop = false;
	guest_object_pages = object_pages;
	guest_page_size = page_size;
	sync_global_to_guest(vm, guest_stop);
	sync_global_to_guest(vm, guest_object_pages);
	sync_global_to_guest(vm, guest_page_size);
	for (i = 0; i < nr_vcpus; i++) {
		vcpu_args_set(vcpus[i], 3, (uint64_t)i, (uint64_t)(i * share),
			      (uint64_t)share);
		pthread_create(&threads[i], NULL, vcpu_thread, vcpus[i]);
	}

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		if (ops[i].mode != mode || (only && !strstr(only, ops[i].name)))
			continue;
		if (ops[i].run == age && (idle_fd < 0 || pagemap_fd < 0))
			printf("# no page_idle: aging is not measured\n");
		else
			measure(&ops[i]);
	}

	guest_stop = true;
	sync_global_to_guest(vm, guest_stop);
	for (i = 0; i < nr_vcpus; i++)
		pthread_join(threads[i], NULL);
	/* What frees the VM deletes all memslots that it knows. */
	if (!region.memory_size)
		set_size(object_pages * page_size);
	kvm_vm_free(vm);
}

static void help(const char *name)
{
	size_t i;

	printf("usage: %s [-hl] [-b bytes] [-f bytes] [-v vcpus] [-n runs] [-s type]\n"
	       "       [-o operations]\n"
	       " -b: memory that something is done to (default: 64M; for rings no\n"
	       "     more than %d pages of it)\n"
	       " -f: memory that vCPUs fault on (default: 256M)\n"
	       " -v: vCPUs, 1 to %d (default: %d)\n"
	       " -n: how often each operation is done (default: %d)\n"
	       " -l: print the mmu_lock's part of " LOCK_STAT ", too\n"
	       " -o: only these, with commas:\n",
	       name, RING_PAGES, MAX_VCPUS, nr_vcpus, runs);
	for (i = 0; i < ARRAY_SIZE(ops); i++)
		printf("     %s\n", ops[i].name);
	backing_src_help("-s");
	printf("prints: progress,operation,runs,nanoseconds,pages touched,pages a second\n"
	       "        latency,operation,nanoseconds that 50%%, 90%%, 99%%, 99.9%% and all of\n"
	       "                the touches did not exceed\n"
	       "        exhausted,operation,runs at whose end vCPUs had nothing left to fault on\n"
	       "        lock,operation,write|read,times taken,longest hold,all holds,\n"
	       "             times waited,longest wait,all waits (in microseconds)\n");
	exit(KSFT_FAIL);
}

int main(int argc, char **argv)
{
	size_t object_size = 64 << 20, fresh_size = 256 << 20;
	int opt;

	while ((opt = getopt(argc, argv, "hlb:f:v:n:s:o:")) != -1) {
		switch (opt) {
		case 'b':
			object_size = parse_size(optarg);
			break;
		case 'f':
			fresh_size = parse_size(optarg);
			break;
		case 'v':
			nr_vcpus = atoi_positive("Number of vCPUs", optarg);
			TEST_ASSERT(nr_vcpus <= MAX_VCPUS, "Too many vCPUs");
			break;
		case 'n':
			runs = atoi_positive("Number of runs", optarg);
			break;
		case 's':
			backing = parse_backing_src_type(optarg);
			break;
		case 'l':
			lock_stats = true;
			break;
		case 'o':
			only = optarg;
			break;
		default:
			help(argv[0]);
		}
	}

	page_size = getpagesize();
	all_pages = object_size / page_size;
	fresh_pages = fresh_size / page_size;
	TEST_ASSERT(sizeof(struct vcpu_stats) <= page_size, "Pages are too small");
	TEST_ASSERT(all_pages >= NR_SINGLE, "At least %u pages to do something to", NR_SINGLE);
	TEST_ASSERT(object_size <= FRESH_ADDR - OBJECT_ADDR, "At most 5G");
	dirty = bitmap_zalloc(all_pages);
	idle_words = calloc(all_pages, sizeof(*idle_words));
	TEST_ASSERT(dirty && idle_words, "out of memory");
	idle_fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR);
	pagemap_fd = open("/proc/self/pagemap", O_RDONLY);

	run_mode(CLEAR);
	run_mode(GET);
	if (kvm_has_cap(KVM_CAP_DIRTY_LOG_RING) ||
	    kvm_has_cap(KVM_CAP_DIRTY_LOG_RING_ACQ_REL))
		run_mode(RING);
	return 0;
}
