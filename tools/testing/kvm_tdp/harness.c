// SPDX-License-Identifier: GPL-2.0-only
/*
 * The surroundings of the page-table library, random trees, and main().
 */
#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test.h"
#include "sched.h"
#include "shim.h"

#define NR_PAGES	32768u
/* Where tables seem to be; below 4 GiB for the toy's 32-bit entries. */
#define POOL_PHYS	0x40000000ull
#define POISON		0x6b

const struct tdp_fmt *fmt;
int expect_warnings;
unsigned int test_effort = 1;
int race_case, race_bound = 1, race_memory = -1;
const struct test *running;
char test_where[96];
void (*store_hook)(tdp_pte_t *entry, int level);
void (*page_freed)(void *table);
void (*entry_purged)(const tdp_pte_t *ptep);
void (*entry_made)(const struct tdp_pgtable *pgt, gfn_t gfn, int level);
TASK_LOCAL struct traced traced;
unsigned int nr_tables, nr_freed;
int nr_accounted;

static jmp_buf test_end;
static const char *skipped;
static unsigned char *pool;
static struct page pages[NR_PAGES];
static unsigned int nr_pages;
static TASK_LOCAL u64 rnd_state;

#ifdef TDP_THREADS
static char locked;
#endif

/*
 * For what the tests keep in common.  The sanitizer does not see it: a lock that
 * it knows would order, and so hide, what threads do before and after it.
 */
void test_lock(void)
{
#ifdef TDP_THREADS
	while (__atomic_test_and_set(&locked, __ATOMIC_ACQUIRE))
		;
#endif
}

void test_unlock(void)
{
#ifdef TDP_THREADS
	__atomic_clear(&locked, __ATOMIC_RELEASE);
#endif
}

/* In main's context, after a failure was reported. */
void test_abort(void)
{
	longjmp(test_end, 1);
}

void test_fail(void)
{
	if (test_where[0])
		printf(" (%s)", test_where);
	putchar('\n');
	if (task)
		sched_fail();
	test_abort();
}

void test_skip(const char *why)
{
	skipped = why;
	longjmp(test_end, 1);
}

bool test_warn(bool cond, const char *file, int line, const char *what)
{
	if (cond && expect_warnings-- <= 0) {
		printf("    # %s:%d: warning: %s", file, line, what);
		test_fail();
	}
	return cond;
}

void rnd_seed(u64 seed)
{
	rnd_state = 0x5deece66d ^ seed << 7;
}

u64 rnd(u64 n)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return rnd_state * 0x2545f4914f6cdd1d % n;
}

/* Tables, each from a page of its own that is not used again in a test. */

void *alloc_table(int level)
{
	unsigned int i, nr = 1u << model_nr_bits(level);
	unsigned int size = nr * sizeof(tdp_pte_t), offset = 0;
	tdp_pte_t none = tdp_pte_none(fmt);
	unsigned char *table;

	test_lock();
	table = pool + nr_pages * PAGE_SIZE;
	do {
		CHECK(nr_pages < NR_PAGES, "more tables than the pool has");
		pages[nr_pages].state = PAGE_TABLE;
		pages[nr_pages].level = level;
		pages[nr_pages].offset = offset++;
		nr_pages++;
	} while (nr_pages * PAGE_SIZE < table - pool + size);
	test_unlock();

	for (i = 0; i < nr; i++)
		((tdp_pte_t *)table)[i] = none;
	test_add(&nr_tables, 1);
	return table;
}

struct page *tdp_table_to_page(const void *table)
{
	size_t offset = (unsigned char *)table - pool;
	struct page *page = &pages[offset / PAGE_SIZE];

	CHECK(offset < nr_pages * PAGE_SIZE, "%p is no table", table);
	return page - page->offset;
}

void *page_table(const struct page *page)
{
	return pool + (page - pages) * PAGE_SIZE;
}

void __free_page(struct page *page)
{
	CHECK(page->state == PAGE_TABLE, "freed twice");
	CHECK(!page->accounted, "freed while accounted");
	CHECK(!page->note, "freed with a note");
	CHECK(!sched_stores_to(page_table(page), PAGE_SIZE),
	      "freed before a store to it is seen");
	if (page_freed)
		page_freed(page_table(page));
	page->state = PAGE_FREED;
	memset(page_table(page), POISON,
	       sizeof(tdp_pte_t) << model_nr_bits(page->level));
	test_add(&nr_tables, -1);
	test_add(&nr_freed, 1);
}

void free_unlinked(void *table)
{
	struct page *page = tdp_table_to_page(table);

	/* Left there by an attempt to link it; means nothing. */
	page->note = NULL;
	__free_page(page);
}

void *tdp_phys_to_table(u64 phys)
{
	void *table = pool + (phys - POOL_PHYS);

	CHECK(!(phys % PAGE_SIZE), "phys %llx", phys);
	tdp_table_to_page(table);
	return table;
}

u64 tdp_table_to_phys(const void *table)
{
	return (unsigned char *)table - pool + POOL_PHYS;
}

void tdp_account_table(void *table, int nr)
{
	struct page *page = tdp_table_to_page(table);
	int now, pages = DIV_ROUND_UP(sizeof(tdp_pte_t) <<
				      model_nr_bits(page->level), PAGE_SIZE);

	/* Roots are counted by pages. */
	if (page->level < root_level())
		pages = 1;
	CHECK(nr == pages || nr == -pages, "%d for %d pages", nr, pages);
	nr = nr < 0 ? -1 : 1;
	now = test_add(&page->accounted, nr);
	test_add(&nr_accounted, nr);
	/*
	 * It is counted after it was linked, so that threads, but not tasks, can
	 * have removed it by then.
	 */
#ifdef TDP_THREADS
	CHECK(now >= -1 && now <= 1);
#else
	CHECK(now == 0 || now == 1);
#endif
}

/* Accesses. */

void test_deref(const void *entry)
{
	CHECK(rcu_read_lock_held(), "not in an RCU read-side critical section");
	CHECK(tdp_table_to_page(entry)->state == PAGE_TABLE, "freed table");
	check_filled(entry);
}

/*
 * Who fills a table with plain stores must order them before the store that
 * links it.  These stores are not delayed, but who could see that is told.
 */
void table_filled_by(void *table, int by)
{
	struct page *page = tdp_table_to_page(table);

	page->filler = by;
	page->filled = sched_barriers(by);
}

void check_filled(const void *entry)
{
	struct page *page = tdp_table_to_page(entry);

	if (!sched_reorders_stores())
		return;
	CHECK(!page->filler || page->filler == task ||
	      page->filled != sched_barriers(page->filler),
	      "reads a table before its contents");
}

/*
 * Others go first.  In races only the first entries of a table, which are all
 * that the tests' gfns need, are worth it.
 */
static void entry_point(const char *what, const void *entry)
{
	size_t offset = (const unsigned char *)entry - pool;
	unsigned int index = offset % PAGE_SIZE / sizeof(tdp_pte_t);

	if (sched_running && index < RACE_ENTRIES)
		sched_point(what, offset / PAGE_SIZE, index);
}

void test_load(const void *entry)
{
	entry_point("load  %llu[%llu]", entry);
	test_deref(entry);
}

void test_store(void *entry)
{
	void (*hook)(tdp_pte_t *entry, int level) = store_hook;

	entry_point("store %llu[%llu]", entry);
	test_deref(entry);
	if (!hook)
		return;
	store_hook = NULL;
	hook(entry, tdp_table_to_page(entry)->level);
	store_hook = hook;
}

void tdp_trace_pte_changed(const struct tdp_pgtable *pgt, gfn_t gfn, int level,
			   u64 old, u64 new)
{
	traced = (struct traced) { pgt, gfn, level, old, new, traced.nr + 1 };
	sched_note("  gfn %llx L%d: %llx > %llx", gfn, level, old, new);
	if (entry_made && tdp_pte_kind(fmt, new, level) >= TDP_TABLE)
		entry_made(pgt, gfn, level);
}

/* Trees. */

gfn_t random_gfn(void)
{
	gfn_t end = tdp_fmt_end_gfn(fmt);
	gfn_t gfn[] = { 0, end, end / 2, model_span(random_level()) };

	/* Around few places, so that tables have company. */
	return (gfn[rnd(4)] + rnd(3) * model_span(random_level()) + rnd(4) -
		rnd(4)) % end;
}

kvm_pfn_t random_pfn(int level)
{
	return rnd(1ull << (model_phys_bits() - PAGE_SHIFT)) & ~(model_span(level) - 1);
}

u64 random_table_attr(void)
{
	return rnd(-1ull) & model_table_marks();
}

tdp_pte_t random_pte(int level)
{
	unsigned int flags = rnd(16);

	if (!rnd(4))
		return tdp_pte_none(fmt);
	if (!rnd(4) || !model_leaf_allowed(level))
		return model_annotated(rnd(-1ull));
	if (flags & TDP_WRITE)
		flags |= TDP_HOST_WRITE;
	return tdp_pte_make_leaf(fmt, random_pfn(level), level, flags,
				 model_attr());
}

unsigned int all_leaves(int level, kvm_pfn_t pfn, tdp_pte_t *leaves)
{
	u64 bits = model_leaf_bits(), set = 0;
	unsigned int nr = 0;

	do {
		tdp_pte_t pte = model_leaf_base(level) | set |
				model_address(pfn);

		if (model_leaf_legal(pte)) {
			CHECK(nr < MAX_LEAVES);
			leaves[nr++] = pte;
		}
		set = (set - bits) & bits;
	} while (set);
	return nr;
}

void tree_init(struct tree *t)
{
	t->pgt.fmt = fmt;
	t->pgt.unpaid = NULL;
	t->pgt.root = alloc_table(root_level());
	tdp_gather_init(&t->gather);
}

bool set_and_make(struct tdp_iter *iter, struct tdp_gather *gather,
		  tdp_pte_t new, enum tdp_mode mode)
{
	if (!tdp_iter_set(iter, gather, new, mode))
		return false;

	/* Broken or made: its owner sees what it will be. */
	CHECK(iter->old == new);
	CHECK(*iter->ptep == (gather->nr_broken ? tdp_pte_broken(fmt) : new));
	tdp_gather_make(iter->pgt, gather);
	CHECK(*iter->ptep == new && !gather->nr_broken);
	return true;
}

/* Make all on the way that is needed; leave the debt to the caller. */
void tree_set_owing(struct tree *t, gfn_t gfn, int level, tdp_pte_t new,
		    enum tdp_mode mode)
{
	struct tdp_gather *g = &t->gather;
	struct tdp_iter iter;

	rcu_read_lock();
	for_each_tdp_pte(&iter, &t->pgt, gfn, gfn + 1, level) {
		enum tdp_kind kind;
		void *table;
		bool done;
again:
		kind = tdp_iter_kind(&iter);
		CHECK(kind != TDP_FROZEN);
		if (iter.level == level) {
			/* Other memory: only over nothing. */
			if (kind == TDP_LEAF &&
			    tdp_pte_kind(fmt, new, level) == TDP_LEAF &&
			    hw_view(new, level).phys !=
			    hw_view(iter.old, level).phys) {
				if (!set_and_make(&iter, g, tdp_pte_none(fmt),
						  mode))
					goto again;
			}
			if (!set_and_make(&iter, g, new, mode))
				goto again;
		} else if (kind != TDP_TABLE) {
			table = alloc_table(iter.level - 1);
			done = kind == TDP_LEAF ?
			       tdp_iter_split(&iter, g,
					      NEW_TABLE(table,
							random_table_attr()),
					      false) :
			       tdp_iter_link(&iter, g,
					     NEW_TABLE(table,
						       random_table_attr()));
			if (!done) {
				free_unlinked(table);
				goto again;
			}
			tdp_gather_make(&t->pgt, g);
		}
	}
	rcu_read_unlock();
}

void tree_set(struct tree *t, gfn_t gfn, int level, tdp_pte_t new,
	      enum tdp_mode mode)
{
	tree_set_owing(t, gfn, level, new, mode);
	tdp_gather_flushed(&t->gather);
}

void stand(struct tree *t, struct tdp_iter *iter, gfn_t gfn, int level)
{
	for_each_tdp_pte(iter, &t->pgt, gfn, gfn + 1, level) {
		if (iter->level == level)
			return;
	}
	CHECK(false, "%llx at level %d is not there", gfn, level);
}

/* Where nobody maps anything, entries are only taken away. */
enum tdp_mode random_mode(tdp_pte_t new)
{
	if (new == tdp_pte_none(fmt) && !rnd(3))
		return TDP_CLOSED;
	return rnd(2) ? TDP_EXCLUSIVE : TDP_SHARED;
}

void tree_fill(struct tree *t, unsigned int nr)
{
	while (nr--) {
		int level = random_level();

		tdp_pte_t new = random_pte(level);

		tree_set(t, random_gfn(), level, new, random_mode(new));
	}
}

/* Others may change the entries that it reads. */
tdp_pte_t *pgt_find(const struct tdp_pgtable *pgt, gfn_t gfn, int *level)
{
	int l = root_level();
	tdp_pte_t *table = pgt->root;

	for (;; l--) {
		gfn_t index = (gfn >> model_shift(l)) %
			      (1u << model_nr_bits(l));
		tdp_pte_t pte = __atomic_load_n(&table[index], __ATOMIC_ACQUIRE);

		if (l == *level || tdp_pte_kind(fmt, pte, l) != TDP_TABLE) {
			*level = l;
			return &table[index];
		}
		table = tdp_phys_to_table(hw_view(pte, l).phys);
	}
}

tdp_pte_t *tree_find(const struct tree *t, gfn_t gfn, int *level)
{
	return pgt_find(&t->pgt, gfn, level);
}

void count_tree(tdp_pte_t *table, int level, struct counts *c)
{
	tdp_pte_t none = tdp_pte_none(fmt);
	int i;

	c->tables++;
	for (i = 0; i < 1 << model_nr_bits(level); i++) {
		enum tdp_kind kind;

		if (table[i] == none)
			continue;
		kind = tdp_pte_kind(fmt, table[i], level);
		c->leaves[level - 1] += kind == TDP_LEAF;
		if (kind == TDP_TABLE)
			count_tree(tdp_phys_to_table(hw_view(table[i],
							     level).phys),
				   level - 1, c);
	}
}

/* What the gather counted is what is there. */
void check_counts(const struct tree *t)
{
	struct counts c = { .tables = -1 };
	int i;

	count_tree(t->pgt.root, root_level(), &c);
	CHECK(c.tables == t->gather.tables, "%d tables, counted %d", c.tables,
	      t->gather.tables);
	CHECK(c.tables == nr_accounted);
	for (i = 0; i < root_level(); i++) {
		CHECK(c.leaves[i] == t->gather.leaves[i]);
		CHECK(!c.leaves[i] || (t->gather.levels & (1u << i)));
	}
}

void tree_destroy(struct tree *t)
{
	int level = root_level();
	gfn_t gfn, span = model_span(level);

	check_counts(t);
	for (gfn = 0; gfn < tdp_fmt_end_gfn(fmt); gfn += span)
		tree_set(t, gfn, level, tdp_pte_none(fmt), TDP_EXCLUSIVE);
	check_counts(t);
	CHECK(!t->gather.tables);
	test_grace_period();
	free_unlinked(t->pgt.root);
	CHECK(!nr_tables, "%u tables were lost", nr_tables);
}

/* Running. */

/* The tests count what there is; what fails leaves it where it is. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

bool pool_is_low(void)
{
	return nr_pages > NR_PAGES - 4096;
}

/* All tables are gone: use their pages again. */
void pool_reset(void)
{
	memset(pages, 0, sizeof(*pages) * nr_pages);
	nr_pages = 0;
	nr_tables = 0;
	nr_freed = 0;
	nr_accounted = 0;
}

static void reset(void)
{
	pool_reset();
	shim_reset();
	sched_reset();
	store_hook = NULL;
	page_freed = NULL;
	memset(&traced, 0, sizeof(traced));
	expect_warnings = 0;
	test_where[0] = 0;
	rnd_seed(0);
}

static bool run_once(const struct test *test)
{
	reset();
	skipped = NULL;
	running = test;
	if (setjmp(test_end))
		return skipped;
	test->run();
	CHECK(test_rcu_idle(), "a grace period is due");
	CHECK(!nr_tables, "%u tables were lost", nr_tables);
	CHECK(!nr_accounted);
	CHECK(!expect_warnings, "%d warnings did not come", expect_warnings);
	return true;
}

/* What failed in one of many schedules is shown again, step by step. */
static bool run(const struct test *test, const char *name)
{
	int number = 0, replayed = race_case;

	/* What hangs has failed. */
	alarm(300 * test_effort * (race_bound > 1 ? 100 : 1));
	if (run_once(test))
		return true;
	if (!sched_exploring() || replayed)
		return false;
	/* What is not a race has no cases. */
	if (sscanf(test_where, "case %d", &number) != 1)
		number = 0;
	printf("    # again: --replay %d/", number);
	sched_print_path();
	printf(" %s\n", name);
	race_case = number;
	sched_show(NULL);
	run_once(test);
	sched_hide();
	race_case = 0;
	return false;
}

/* Does a name contain one of several strings?  All do if there are none. */
static bool wanted(const char *name, char **only)
{
	if (!*only)
		return true;
	while (*only && !strstr(name, *only))
		only++;
	return *only;
}

/* A result for each test and format, or only for those that are wanted. */
static int run_all(char **only, bool list, bool *ok)
{
	const struct test *test;
	unsigned int f, g;
	const char *format;
	char name[128];
	bool passed;
	int nr = 0;

	for (f = 0; (format = model_use(f)); f++) {
		for (g = 0; (test = test_group(g)); g++) {
			for (; test->name; test++) {
				snprintf(name, sizeof(name), "%s.%s",
					 test->name, format);
				if (!wanted(name, only) ||
				    (test->races && !model_races(test->unmaps)) ||
				    (test->operates && !model_operates()))
					continue;
				nr++;
				if (list)
					continue;
				passed = run(test, name);
				*ok &= passed;
				printf("    %sok %d %s%s%s\n",
				       passed ? "" : "not ", nr, name,
				       skipped ? " # SKIP " : "",
				       skipped ? skipped : "");
				fflush(stdout);
			}
		}
	}
	return nr;
}

/*
 * [--effort N] [--bound N] [--memory N] [--replay CASE/CHOICES] [NAME...]: the
 * tests with such a string in their names, or all; more that is random; more
 * preemptions; which stores can be late, enum sched_memory; one schedule, to be
 * shown.
 */
static char **options(char **argv)
{
	int n;

	for (argv++; argv[0] && argv[1] && argv[0][0] == '-'; argv += 2) {
		if (!strcmp(argv[0], "--effort")) {
			test_effort = max(1, atoi(argv[1]));
		} else if (!strcmp(argv[0], "--bound")) {
			race_bound = max(1, atoi(argv[1]));
		} else if (!strcmp(argv[0], "--memory")) {
			race_memory = atoi(argv[1]);
		} else if (!strcmp(argv[0], "--replay") &&
			   sscanf(argv[1], "%d/%n", &race_case, &n) == 1) {
			sched_show(argv[1] + n);
		} else {
			fprintf(stderr, "what is %s %s?\n", argv[0], argv[1]);
			exit(2);
		}
	}
	return argv;
}

int main(int argc, char **argv)
{
	bool ok = true;

	pool = mmap(NULL, NR_PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	argv = options(argv);
	printf("    KTAP version 1\n    1..%d\n", run_all(argv, true, &ok));
	run_all(argv, false, &ok);
	return !ok;
}
