// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the primary MMU relies on: when a notifier has returned, no vCPU reaches
 * the pages that it took away.
 *
 * Threads give random ranges of the guest's memory back, often the same at the
 * same time, while vCPUs write to all of it.  What they get from the kernel next
 * is likely to be the same pages: nobody may write to them.  And what a thread
 * puts in the place of the pages that it gave back alone, the vCPUs must see.
 *
 * And a notifier for all memory, up to the last address that there is, leaves
 * nothing mapped.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <asm/barrier.h>

#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#define TEST_SLOT	10
#define TEST_ADDR	0xc0000000ul
#define TOKENS_SLOT	11
#define TOKENS_ADDR	0x80000000ul
#define MAX_VCPUS	8
#define MAX_THREADS	8
/*
 * What a vCPU goes to for a while: what its CPU has cached must not outlive the
 * pages, and exits can end that, so it must not fault all the time.
 */
#define WINDOW		8
#define WINDOW_VISITS	10000
/* Pages that are looked at after each range that was given back. */
#define NR_PROBES	64

/* The end of a page: what its owner put there; the rest is the vCPUs'. */
#define TOKEN_OFFSET(page_size)	((page_size) - 8)

static enum vm_mem_backing_src_type backing = DEFAULT_VM_MEM_SRC;
static int nr_vcpus = 1, nr_threads = 2, rounds = 200;
static size_t nr_pages, page_size;
static char *memory;
static uint64_t *tokens, *visits, *windows;

/* Known to the guest. */
static uint64_t guest_pages, guest_page_size, guest_visits, guest_windows;
static bool guest_stop;

static void guest_visit(uint64_t page, uint64_t id, uint64_t count)
{
	uint64_t addr = TEST_ADDR + page * guest_page_size;
	uint64_t *want = (uint64_t *)TOKENS_ADDR + page;
	uint64_t before, found, after;

	/* Before the page; pairs with the release in mark(). */
	before = smp_load_acquire(want);
	found = READ_ONCE(*(uint64_t *)(addr + TOKEN_OFFSET(guest_page_size)));
	/* The owner takes the token back before the page. */
	smp_rmb();
	after = READ_ONCE(*want);
	if (before && before == after)
		GUEST_ASSERT_EQ(found, before);

	WRITE_ONCE(*(uint64_t *)(addr + id * 8), count);
}

static void guest_code(uint64_t id)
{
	uint64_t count, window = 0;

	for (count = 0; !READ_ONCE(guest_stop); count++) {
		if (!(count % WINDOW_VISITS)) {
			window = (id + count / WINDOW_VISITS * 7919) * WINDOW %
				 guest_pages;
			WRITE_ONCE(((uint64_t *)guest_windows)[id], window);
		}
		guest_visit(window + count % WINDOW, id, count);
		WRITE_ONCE(((uint64_t *)guest_visits)[id], count);
	}
	GUEST_DONE();
}

static void *vcpu_thread(void *arg)
{
	struct kvm_vcpu *vcpu = arg;
	struct ucall uc;

	vcpu_run(vcpu);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_DONE:
		return NULL;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	default:
		TEST_FAIL("exit reason %s", exit_reason_str(vcpu->run->exit_reason));
	}
	return NULL;
}

static void give_back(size_t first, size_t nr)
{
	TEST_ASSERT(!madvise(memory + first * page_size, nr * page_size,
			     MADV_DONTNEED), "MADV_DONTNEED: %s", strerror(errno));
}

/* Until a vCPU has been to other pages, too. */
static void wait_for_visits(void)
{
	uint64_t end = READ_ONCE(visits[0]) + WINDOW_VISITS;

	while (READ_ONCE(visits[0]) < end)
		sched_yield();
}

/* Who still writes to what was given back, and belongs to us now? */
static void probe_freed(char *probe)
{
	size_t i, size = NR_PROBES * page_size;

	TEST_ASSERT(!madvise(probe, size, MADV_DONTNEED), "MADV_DONTNEED: %s",
		    strerror(errno));
	for (i = 0; i < size; i += sizeof(uint64_t))
		WRITE_ONCE(*(uint64_t *)(probe + i), ~i);
	wait_for_visits();
	for (i = 0; i < size; i += sizeof(uint64_t))
		TEST_ASSERT(READ_ONCE(*(uint64_t *)(probe + i)) == ~i,
			    "A page was written to after it was unmapped: %lx at %zx",
			    *(uint64_t *)(probe + i), i);
}

/*
 * A range of one half of the memory, and the page of it that is next to be used.
 * What a CPU has cached may be gone by the vCPU's next exit, so that is where a
 * vCPU is now, if it is in that half.
 */
static size_t random_range(unsigned int *seed, size_t base, size_t *first,
			   size_t *nr)
{
	/* Some of a page, some of a table, some of several, some of all. */
	size_t limit = nr_pages / 2, max = limit >> (rand_r(seed) % 4 * 4);
	size_t page = READ_ONCE(windows[rand_r(seed) % nr_vcpus]) - base;

	if (page >= limit)
		page = rand_r(seed) % limit / WINDOW * WINDOW;
	*nr = 1 + rand_r(seed) % (max ?: 1);
	*first = rand_r(seed) % *nr;
	*first = page - (*first < page ? *first : page);
	if (*first + *nr > limit)
		*nr = limit - *first;
	*first += base;
	return page + base;
}

/* The first half of the memory is everybody's. */
static void *freeing_thread(void *arg)
{
	unsigned int seed = (uintptr_t)arg;
	size_t first, nr;
	char *probe;
	int i;

	probe = mmap(NULL, NR_PROBES * page_size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(probe != MAP_FAILED, "mmap: %s", strerror(errno));

	for (i = 0; i < rounds; i++) {
		random_range(&seed, 0, &first, &nr);
		give_back(first, nr);
		probe_freed(probe);
	}
	munmap(probe, NR_PROBES * page_size);
	return NULL;
}

static void mark(size_t page, uint64_t token)
{
	WRITE_ONCE(*(uint64_t *)(memory + page * page_size +
				 TOKEN_OFFSET(page_size)), token);
	/* After the page's; pairs with guest_visit(). */
	smp_store_release(&tokens[page], token);
}

/* The second half is this thread's, which marks its pages, one in a window. */
static void free_and_mark(void)
{
	size_t first, nr, page, next;
	unsigned int seed = 12345;
	uint64_t token = 0;
	int i;

	for (i = 0; i < rounds; i++) {
		next = random_range(&seed, nr_pages / 2, &first, &nr);
		for (page = first; page < first + nr; page++)
			WRITE_ONCE(tokens[page], 0);
		/* vCPUs that find another token than they want look again. */
		smp_wmb();
		give_back(first, nr);

		mark(next, ++token);
		wait_for_visits();
		for (page = roundup(first, WINDOW); page < first + nr; page += WINDOW)
			mark(page, token);
	}
}

/* The VM's leaves, or -1 where the kernel does not count them. */
static long count_leaves(struct kvm_vm *vm)
{
	static const char *const names[] = {
		"pages_4k", "pages_2m", "pages_1g",
		"pages_pte", "pages_pmd", "pages_pud",
	};
	long leaves, sum = -1;
	char path[128];
	FILE *file;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/%s",
			 getpid(), vm->fd, names[i]);
		file = fopen(path, "r");
		if (!file)
			continue;
		TEST_ASSERT(fscanf(file, "%ld", &leaves) == 1, "%s is empty", path);
		fclose(file);
		sum = (sum < 0 ? 0 : sum) + leaves;
	}
	return sum;
}

/* To clear the soft-dirty bits of a process is to change all that it maps. */
static void unmap_all(struct kvm_vm *vm)
{
	long leaves = count_leaves(vm);
	int fd;

	if (leaves < 0) {
		printf("# leaves are not counted: clear_refs is not tested\n");
		return;
	}
	TEST_ASSERT(leaves, "Nothing is mapped by now");
	fd = open("/proc/self/clear_refs", O_WRONLY);
	TEST_ASSERT(fd >= 0, "/proc/self/clear_refs: %s", strerror(errno));
	TEST_ASSERT_EQ(write(fd, "4", 1), 1);
	close(fd);
	leaves = count_leaves(vm);
	TEST_ASSERT(!leaves, "%ld leaves are mapped still", leaves);
}

static void run_test(void)
{
	size_t nr_tokens = DIV_ROUND_UP((nr_pages + 2 * MAX_VCPUS) * sizeof(uint64_t),
					page_size);
	pthread_t vcpu_threads[MAX_VCPUS], threads[MAX_THREADS];
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct kvm_vm *vm;
	long i;

	vm = __vm_create(VM_SHAPE_DEFAULT, nr_vcpus, nr_pages + nr_tokens);
	TEST_ASSERT(vm->page_size == page_size, "pages of %u bytes", vm->page_size);
	for (i = 0; i < nr_vcpus; i++)
		vcpus[i] = vm_vcpu_add(vm, i, guest_code);
	vm_userspace_mem_region_add(vm, backing, TEST_ADDR, TEST_SLOT, nr_pages, 0);
	virt_map(vm, TEST_ADDR, TEST_ADDR, nr_pages);
	vm_userspace_mem_region_add(vm, DEFAULT_VM_MEM_SRC, TOKENS_ADDR,
				    TOKENS_SLOT, nr_tokens, 0);
	virt_map(vm, TOKENS_ADDR, TOKENS_ADDR, nr_tokens);
	memory = addr_gpa2hva(vm, TEST_ADDR);
	tokens = addr_gpa2hva(vm, TOKENS_ADDR);
	visits = tokens + nr_pages;
	windows = visits + MAX_VCPUS;

	guest_pages = nr_pages;
	guest_page_size = page_size;
	guest_visits = TOKENS_ADDR + nr_pages * sizeof(uint64_t);
	guest_windows = guest_visits + MAX_VCPUS * sizeof(uint64_t);
	sync_global_to_guest(vm, guest_pages);
	sync_global_to_guest(vm, guest_page_size);
	sync_global_to_guest(vm, guest_visits);
	sync_global_to_guest(vm, guest_windows);
	for (i = 0; i < nr_vcpus; i++) {
		vcpu_args_set(vcpus[i], 1, (uint64_t)i);
		pthread_create(&vcpu_threads[i], NULL, vcpu_thread, vcpus[i]);
	}
	for (i = 0; i < nr_threads; i++)
		pthread_create(&threads[i], NULL, freeing_thread, (void *)i);

	free_and_mark();
	for (i = 0; i < nr_threads; i++)
		pthread_join(threads[i], NULL);
	guest_stop = true;
	sync_global_to_guest(vm, guest_stop);
	for (i = 0; i < nr_vcpus; i++)
		pthread_join(vcpu_threads[i], NULL);

	unmap_all(vm);
	kvm_vm_free(vm);
}

static void help(const char *name)
{
	printf("usage: %s [-h] [-b bytes] [-v vcpus] [-t threads] [-r rounds] [-s type]\n"
	       " -b: memory (default: 16M)\n"
	       " -v: vCPUs, 1 to %d (default: %d)\n"
	       " -t: threads that give memory back, besides one (default: %d)\n"
	       " -r: how often each does (default: %d)\n",
	       name, MAX_VCPUS, nr_vcpus, nr_threads, rounds);
	backing_src_help("-s");
	exit(KSFT_FAIL);
}

int main(int argc, char **argv)
{
	size_t size = 16 << 20;
	int opt;

	while ((opt = getopt(argc, argv, "hb:v:t:r:s:")) != -1) {
		switch (opt) {
		case 'b':
			size = parse_size(optarg);
			break;
		case 'v':
			nr_vcpus = atoi_positive("Number of vCPUs", optarg);
			TEST_ASSERT(nr_vcpus <= MAX_VCPUS, "Too many vCPUs");
			break;
		case 't':
			nr_threads = atoi_non_negative("Number of threads", optarg);
			TEST_ASSERT(nr_threads <= MAX_THREADS, "Too many threads");
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
	nr_pages = size / page_size / (2 * WINDOW) * (2 * WINDOW);
	TEST_ASSERT(nr_pages, "At least %u pages", 2 * WINDOW);

	run_test();
	return 0;
}
