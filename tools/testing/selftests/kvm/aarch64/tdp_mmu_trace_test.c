// SPDX-License-Identifier: GPL-2.0-only
/*
 * Record what the TDP MMU does to entries of stage 2, to TLBs and to caches while
 * a VM is populated, logged, aged and unmapped, and replay it by the rules of the
 * architecture (DDI 0487, "Use of break-before-make when updating translation
 * table entries"):
 *
 * - a valid entry that maps something else, or in other blocks, was invalid in
 *   between, and flushed: by its own level, or by none;
 * - whoever asked for an entry to be gone, or for writes to be caught, returns when
 *   no TLB has it any more;
 * - a page becomes visible to the guest when it was cleaned out of data caches.
 *
 * The replay is done a second time without the TLB invalidations, as what must not
 * pass.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/bitmap.h>
#include <linux/sizes.h>

#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#define TRACING		"/sys/kernel/tracing/instances/kvm_tdp"
#define SLOT		1
#define GPA		SZ_4G
#define GVA		SZ_4G
#define BYTES		SZ_8M
#define PAGES		(BYTES / SZ_4K)

#define S2_VALID	BIT(0)
#define S2_TYPE		BIT(1)
#define S2_S2AP_R	BIT(6)
#define S2_S2AP_W	BIT(7)
#define S2_AF		BIT(10)
#define S2_ADDR		GENMASK(47, 12)
#define S2_SOFT		GENMASK(58, 55)
#define S2_XN		GENMASK(54, 53)
/* What may change in a valid leaf. */
#define S2_FREE		(S2_S2AP_R | S2_S2AP_W | S2_AF | S2_SOFT | S2_XN)

/* ------------------------------------------------------------- recording -- */

static bool set(const char *name, const char *value)
{
	char path[128];
	bool done;
	int fd;

	snprintf(path, sizeof(path), TRACING "/%s", name);
	fd = open(path, O_WRONLY | O_TRUNC);
	if (fd < 0)
		return false;
	done = write(fd, value, strlen(value)) == strlen(value);
	close(fd);
	return done;
}

/* Everything that was asked for has been done, and returned. */
static void sync_point(const char *what)
{
	char text[64];

	snprintf(text, sizeof(text), "sync %s\n", what);
	TEST_ASSERT(set("trace_marker", text), "no mark could be made");
}

static struct kvm_vm *vm;
static struct kvm_vcpu *vcpu;
static uint64_t write_memory;

static void guest_code(void)
{
	uint64_t off;

	for (;;) {
		for (off = 0; off < BYTES; off += SZ_4K) {
			uint64_t *p = (uint64_t *)(GVA + off);

			if (READ_ONCE(write_memory))
				WRITE_ONCE(*p, off);
			else
				READ_ONCE(*p);
		}
		GUEST_SYNC(0);
	}
}

static void run_guest(bool write)
{
	struct ucall uc;

	write_memory = write;
	sync_global_to_guest(vm, write_memory);
	vcpu_run(vcpu);
	TEST_ASSERT_EQ(get_ucall(vcpu, &uc), UCALL_SYNC);
	sync_point("guest");
}

/* The host forgets that the pages of the memory were used. */
static void age(void *mem)
{
	int idle = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR);
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	uint64_t i, entry, pfn, word;

	if (idle < 0 || pagemap < 0)
		pr_info("no page_idle: nothing is aged\n");
	for (i = 0; i < PAGES && idle >= 0 && pagemap >= 0; i++) {
		TEST_ASSERT_EQ(pread(pagemap, &entry, 8,
				     ((uint64_t)mem / SZ_4K + i) * 8), 8);
		pfn = entry & GENMASK_ULL(54, 0);
		word = 1ull << (pfn % 64);
		TEST_ASSERT_EQ(pwrite(idle, &word, 8, pfn / 64 * 8), 8);
	}
	sync_point("aging");
	close(idle);
	close(pagemap);
}

static void record(bool huge)
{
	unsigned long *bitmap = bitmap_zalloc(PAGES);
	void *all, *mem;
	int i;

	all = mmap(NULL, BYTES + SZ_2M, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(all != MAP_FAILED, "mmap");
	mem = align_ptr_up(all, SZ_2M);
	TEST_ASSERT(!madvise(mem, BYTES, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE),
		    "madvise");
	memset(mem, 1, BYTES);

	vm_set_user_memory_region(vm, SLOT, 0, GPA, BYTES, mem);
	run_guest(false);
	run_guest(true);
	age(mem);
	run_guest(true);

	for (i = 0; i < 2; i++) {
		vm_set_user_memory_region(vm, SLOT, KVM_MEM_LOG_DIRTY_PAGES, GPA,
					  BYTES, mem);
		sync_point("log start");
		run_guest(true);
		kvm_vm_get_dirty_log(vm, SLOT, bitmap);
		kvm_vm_clear_dirty_log(vm, SLOT, bitmap, 0, PAGES);
		sync_point("log clear");
		if (i)
			run_guest(true);
		vm_set_user_memory_region(vm, SLOT, 0, GPA, BYTES, mem);
		sync_point("log stop");
		run_guest(true);
	}

	/* A page, a block, what is left, and all again. */
	madvise(mem + SZ_4K, SZ_4K, MADV_DONTNEED);
	sync_point("unmap of a page");
	run_guest(true);
	madvise(mem, SZ_2M, MADV_DONTNEED);
	sync_point("unmap of a block");
	run_guest(true);
	mprotect(mem, BYTES, PROT_READ);
	sync_point("write protection");
	mprotect(mem, BYTES, PROT_READ | PROT_WRITE);
	run_guest(true);
	vm_set_user_memory_region(vm, SLOT, 0, GPA, 0, mem);
	sync_point("slot deletion");

	munmap(all, BYTES + SZ_2M);
	free(bitmap);
}

/* The trace as it is, in one go: the kernel's file can skip a line after a seek. */
static FILE *read_trace(void)
{
	FILE *copy = tmpfile(), *from = fopen(TRACING "/trace", "r");
	char buf[4096];
	size_t n;

	TEST_ASSERT(from, TRACING "/trace");
	TEST_ASSERT(copy, "no temporary file");
	while ((n = fread(buf, 1, sizeof(buf), from)))
		TEST_ASSERT_EQ(fwrite(buf, 1, n, copy), n);
	fclose(from);
	rewind(copy);
	return copy;
}

/* Nothing was lost, or what is replayed is not what was done. */
static void check_complete(FILE *trace)
{
	unsigned long in_buffer, written;
	char *line = NULL, *p;
	bool found = false;
	size_t size = 0;

	while (!found && getline(&line, &size, trace) >= 0) {
		p = strstr(line, "entries-in-buffer/entries-written: ");
		if (!p)
			continue;
		found = sscanf(p, "entries-in-buffer/entries-written: %lu/%lu",
			       &in_buffer, &written) == 2;
	}
	free(line);
	TEST_ASSERT(found && in_buffer == written, "the trace is not complete");
}

/* ---------------------------------------------------------------- replay -- */

struct change {
	uint64_t gfn, old, new;
	unsigned int level;
};

struct tlbi {
	uint64_t ipa, pages;
	int level;
};

/* What a TLB can still have.  @level: of the leaf; 0: a table and what it maps. */
struct stale {
	uint64_t start, end;
	unsigned int level;
	bool gone;
};

#define MAX_STALE	4096

static struct stale stale[MAX_STALE];
static int nr_stale;

/* Entries that are invalid until they are made anew, or go. */
#define MAX_BROKEN	64

static struct change broken[MAX_BROKEN];
static int nr_broken;

/* Of the memory: what each gfn maps; 0 for nothing. */
static uint64_t pfns[PAGES];

/* A block may become a table, and a table a block, without a break. */
static bool free_size;

/* Pages of the host, by their pfn: whether data caches have nothing of them. */
#define NR_HOST_PAGES	BIT(16)

static struct host_page {
	uint64_t pfn;
	bool used, clean;
} *host_pages;		/* not in the guest's image */

static struct host_page *host_page(uint64_t pfn)
{
	struct host_page *page;
	unsigned int i;

	for (i = 0; i < NR_HOST_PAGES; i++) {
		page = &host_pages[(pfn + i) % NR_HOST_PAGES];
		if (page->used && page->pfn != pfn)
			continue;
		page->used = true;
		page->pfn = pfn;
		return page;
	}
	TEST_FAIL("more pages than there is room for");
}

static void set_clean(uint64_t pfn, uint64_t nr, bool clean)
{
	for (; nr; nr--)
		host_page(pfn++)->clean = clean;
}

static bool expect_violations;
static struct {
	unsigned int changes, tlbis, cleans, syncs, violations;
	unsigned int blocks;	/* that were mapped */
	unsigned int resized;	/* blocks that became tables, or tables blocks, at once */
} nr;

static void __printf(1, 2) violation(const char *fmt, ...)
{
	va_list ap;

	nr.violations++;
	if (expect_violations)
		return;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	TEST_ASSERT(nr.violations < 20, "too much is wrong");
}

static void add_stale(struct stale s)
{
	TEST_ASSERT(nr_stale < MAX_STALE, "nothing is flushed");
	stale[nr_stale++] = s;
}

static bool is_leaf(uint64_t pte, unsigned int level)
{
	return (pte & S2_VALID) && (level == 1 || !(pte & S2_TYPE));
}

static uint64_t pages_of(const struct change *c)
{
	return 1ull << 9 * (c->level - 1);
}

static bool in_memory(uint64_t gfn)
{
	return gfn >= GPA / SZ_4K && gfn < GPA / SZ_4K + PAGES;
}

/* Whoever gets the pages next may write past the caches. */
static void not_clean(const struct change *c)
{
	uint64_t i;

	for (i = c->gfn; i < c->gfn + pages_of(c); i++) {
		if (!in_memory(i))
			continue;
		set_clean(pfns[i - GPA / SZ_4K], 1, false);
		pfns[i - GPA / SZ_4K] = 0;
	}
}

/* From an entry that is valid. */
static void replay_take(const struct change *c)
{
	bool was_leaf = is_leaf(c->old, c->level), leaf = is_leaf(c->new, c->level);
	struct stale s = { c->gfn, c->gfn + pages_of(c), was_leaf ? c->level : 0 };

	/* Both sizes can be cached. */
	if (free_size)
		s.level = 0;
	if (!(c->new & S2_VALID)) {
		s.gone = true;
		add_stale(s);
		if (!c->new) {
			not_clean(c);
		} else {
			TEST_ASSERT(nr_broken < MAX_BROKEN, "nothing is made again");
			broken[nr_broken++] = *c;
		}
	} else if (was_leaf != leaf) {
		nr.resized++;
		if (!free_size)
			violation("gfn %lx level %u: %lx became %lx without a break",
				  c->gfn, c->level, c->old, c->new);
		/* The table can still be in use by walks. */
		if (leaf)
			add_stale(s);
	} else {
		if ((c->old ^ c->new) & ~S2_FREE)
			violation("gfn %lx level %u: %lx became %lx without a break",
				  c->gfn, c->level, c->old, c->new);
		if (c->old & ~c->new & (S2_S2AP_R | S2_S2AP_W))
			add_stale(s);
	}
}

/* Of an entry that is not valid. */
static void replay_make(const struct change *c)
{
	uint64_t end = c->gfn + pages_of(c), pfn = (c->new & S2_ADDR) / SZ_4K, i;

	for (i = 0; i < nr_broken; i++) {
		if (broken[i].gfn != c->gfn || broken[i].level != c->level)
			continue;
		if (!c->new)
			not_clean(c);
		broken[i] = broken[--nr_broken];
		break;
	}
	if (!(c->new & S2_VALID))
		return;
	for (i = 0; i < nr_stale; i++) {
		if (stale[i].gone && stale[i].start < end && c->gfn < stale[i].end)
			violation("gfn %lx level %u: %lx, and TLBs have gfns %lx-%lx, level %u",
				  c->gfn, c->level, c->new, stale[i].start,
				  stale[i].end, stale[i].level);
	}
	if (!is_leaf(c->new, c->level))
		return;
	nr.blocks += c->level > 1;
	for (i = 0; i < pages_of(c); i++) {
		if (in_memory(c->gfn + i))
			pfns[c->gfn + i - GPA / SZ_4K] = pfn + i;
		if (!host_page(pfn + i)->clean) {
			violation("gfn %lx level %u: pfn %lx was not cleaned",
				  c->gfn, c->level, pfn + i);
			break;
		}
	}
}

static void replay_change(const struct change *c)
{
	nr.changes++;
	if (c->old & S2_VALID)
		replay_take(c);
	else
		replay_make(c);
}

static void replay_tlbi(const struct tlbi *t)
{
	uint64_t start = t->ipa / SZ_4K, end = start + t->pages;
	int i, before = nr_stale;

	nr.tlbis++;
	if (!t->pages) {
		nr_stale = 0;
		return;
	}
	/* What is left is moved to the array's end, then to its start. */
	for (i = 0; i < before; i++) {
		struct stale s = stale[i];

		if (s.end <= start || end <= s.start ||
		    (t->level >= 0 && t->level != 4 - (int)s.level)) {
			add_stale(s);
			continue;
		}
		if (s.start < start)
			add_stale((struct stale) { s.start, start, s.level, s.gone });
		if (end < s.end)
			add_stale((struct stale) { end, s.end, s.level, s.gone });
	}
	nr_stale -= before;
	memmove(stale, stale + before, nr_stale * sizeof(*stale));
}

static void replay_sync(const char *what)
{
	nr.syncs++;
	if (!nr_stale)
		return;
	violation("after %.20s: TLBs can have gfns %lx-%lx, level %u%s", what,
		  stale[0].start, stale[0].end, stale[0].level,
		  stale[0].gone ? "" : ", writable");
	nr_stale = 0;
}

static void replay(FILE *trace, bool with_tlbis)
{
	char *line = NULL, *p;
	size_t size = 0;
	static const char change[] =
		": kvm_tdp_pte_changed: root %*s gfn %lx level %u old %lx new %lx";
	static const char tlbi[] = ": kvm_s2_tlbi: vmid: %*x, ipa: %lx, pages: %lu, level: %d";
	uint64_t pfn, pages;
	struct change c;
	struct tlbi t;

	rewind(trace);
	nr_stale = 0;
	nr_broken = 0;
	memset(&nr, 0, sizeof(nr));
	memset(pfns, 0, sizeof(pfns));
	memset(host_pages, 0, NR_HOST_PAGES * sizeof(*host_pages));
	expect_violations = !with_tlbis;

	while (getline(&line, &size, trace) >= 0) {
		p = strstr(line, ": kvm_tdp_pte_changed: ");
		if (p && sscanf(p, change, &c.gfn, &c.level, &c.old, &c.new) == 4) {
			replay_change(&c);
			continue;
		}
		p = strstr(line, ": kvm_s2_tlbi: ");
		if (p && sscanf(p, tlbi, &t.ipa, &t.pages, &t.level) == 3) {
			if (with_tlbis && !strstr(p, ", local"))
				replay_tlbi(&t);
			continue;
		}
		p = strstr(line, ": kvm_s2_maintain: ");
		if (p && sscanf(p, ": kvm_s2_maintain: pfn: %lx, pages: %lu", &pfn,
				&pages) == 2) {
			nr.cleans++;
			if (strstr(p, "unmapped"))
				set_clean(pfn, pages, false);
			else if (strstr(p, "dcache"))
				set_clean(pfn, pages, true);
			continue;
		}
		p = strstr(line, "sync ");
		if (p && strstr(line, "tracing_mark_write"))
			replay_sync(p + strlen("sync "));
		TEST_ASSERT(p || line[0] == '#', "cannot be replayed: %s", line);
	}
	free(line);
	if (with_tlbis)
		printf("%u entries changed, %u TLBIs, %u times caches, %u calls: %u violations\n",
		       nr.changes, nr.tlbis, nr.cleans, nr.syncs, nr.violations);
	TEST_ASSERT(nr.changes && nr.syncs, "nothing was recorded");
}

/* One CPU, so that what is recorded has one order. */
static void pin(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	TEST_ASSERT(!sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

static void run(bool huge)
{
	FILE *trace;

	pr_info("%s\n", huge ? "2M" : "4K");
	TEST_ASSERT(set("trace", "\n") && set("tracing_on", "1"), TRACING);
	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	vm_enable_cap(vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		      KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
	virt_map(vm, GVA, GPA, PAGES);
	record(huge);
	/* Nobody waits for a flush of what the VM leaves. */
	TEST_ASSERT(set("tracing_on", "0"), TRACING);
	kvm_vm_free(vm);

	trace = read_trace();
	check_complete(trace);
	replay(trace, true);
	TEST_ASSERT(!nr.violations, "stage 2 was not changed by the rules");
	TEST_ASSERT(!huge || nr.blocks, "the memory has no huge pages");
	TEST_ASSERT(!huge || !free_size == !nr.resized,
		    "kvm-arm.bbml2_noabort is %s, and %u entries changed their size at once",
		    free_size ? "set" : "not set", nr.resized);
	replay(trace, false);
	TEST_ASSERT(nr.violations, "what is never flushed passes, too");
	fclose(trace);
}

static bool has_free_size(void)
{
	char text[4096] = "";
	int fd = open("/proc/cmdline", O_RDONLY);
	bool has;

	has = fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 &&
	      (strstr(text, "kvm-arm.bbml2_noabort=1") ||
	       strstr(text, "kvm-arm.bbml2_noabort=y") ||
	       strstr(text, "kvm-arm.bbml2_noabort=on"));
	close(fd);
	return has;
}

int main(void)
{
	char pid[16];

	__TEST_REQUIRE(getpagesize() == SZ_4K, "needs pages of 4K");
	mkdir(TRACING, 0700);
	__TEST_REQUIRE(set("events/kvm/kvm_tdp_pte_changed/enable", "1") &&
		       set("events/kvm/kvm_s2_tlbi/enable", "1") &&
		       set("events/kvm/kvm_s2_maintain/enable", "1"),
		       "needs the TDP MMU's tracepoints");
	TEST_ASSERT(set("buffer_size_kb", "32768"), "no buffer for the trace");
	/* Others have guests, too, and the host moves pages of this one. */
	snprintf(pid, sizeof(pid), "%d", getpid());
	TEST_ASSERT(set("set_event_pid", pid), "set_event_pid");
	free_size = has_free_size();
	host_pages = calloc(NR_HOST_PAGES, sizeof(*host_pages));
	TEST_ASSERT(host_pages, "out of memory");
	pin();
	run(false);
	run(true);
	rmdir(TRACING);
	return 0;
}
