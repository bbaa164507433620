// SPDX-License-Identifier: GPL-2.0-only
/*
 * Litmus tests: what the scheduler's store buffers let a task see, and the
 * orderings on which the TDP MMU relies.  Those of the second kind are in
 * litmus/, under the same names, for the kernel's memory model, which knows more
 * than delayed stores.
 */
#include "test.h"
#include "shim.h"

/* What the tasks share, and what each has read. */
static struct {
	int x, y;
	int pte, table, dirty;
	int seq, open, page;
	int r[4][4];
	spinlock_t mmu_lock, ptl;
} s;

#define ld(var) ({				\
	sched_point("load  " #var, 0, 0);	\
	shared_load(&s.var); })

#define st(var, val) do {			\
	sched_point("store " #var, 0, 0);	\
	shared_store(&s.var, val);		\
} while (0)

#define st_release(var, val) do {		\
	sched_point("store " #var, 0, 0);	\
	shared_store_release(&s.var, val);	\
} while (0)

#define swap(var, val) ({			\
	sched_point("xchg  " #var, 0, 0);	\
	shared_xchg(&s.var, val); })

/* Return: what was there. */
#define __cas(var, old, new, relaxed) ({				\
	int __old = (old);						\
	sched_point("cmpxchg " #var, 0, 0);				\
	__shared_cmpxchg(&s.var, &__old, new, relaxed);			\
	__old; })

#define cas(var, old, new)		__cas(var, old, new, false)
#define cas_relaxed(var, old, new)	__cas(var, old, new, true)

/* Store buffering. */

static void sb0(void)
{
	st(x, 1);
	s.r[0][0] = ld(y);
}

static void sb1(void)
{
	st(y, 1);
	s.r[1][0] = ld(x);
}

static void sb0_mb(void)
{
	st(x, 1);
	sched_mb();
	s.r[0][0] = ld(y);
}

static void sb1_mb(void)
{
	st(y, 1);
	sched_mb();
	s.r[1][0] = ld(x);
}

static void sb1_wmb(void)
{
	st(y, 1);
	sched_wmb();
	s.r[1][0] = ld(x);
}

static void sb1_xchg(void)
{
	swap(y, 1);
	s.r[1][0] = ld(x);
}

/* Also if it fails, which orders nothing. */
static void sb1_cas_fails(void)
{
	st(y, 1);
	cas(page, 1, 2);
	s.r[1][0] = ld(x);
}

static bool sb(void)
{
	return !s.r[0][0] && !s.r[1][0];
}

static void sb0_own(void)
{
	st(x, 1);
	s.r[0][1] = ld(x);
	s.r[0][0] = ld(y);
}

static void sb1_own(void)
{
	st(y, 1);
	s.r[1][1] = ld(y);
	s.r[1][0] = ld(x);
}

static bool own_unseen(void)
{
	return !s.r[0][1] || !s.r[1][1];
}

static void sb0_locked(void)
{
	st(x, 1);
	spin_lock(&s.mmu_lock);
	s.r[0][0] = ld(y);
	spin_unlock(&s.mmu_lock);
}

static void sb1_locked(void)
{
	st(y, 1);
	spin_lock(&s.ptl);
	s.r[1][0] = ld(x);
	spin_unlock(&s.ptl);
}

static void sb0_unlocked(void)
{
	spin_lock(&s.mmu_lock);
	st(x, 1);
	spin_unlock(&s.mmu_lock);
	s.r[0][0] = ld(y);
}

/* Message passing. */

static void mp0(void)
{
	st(x, 1);
	st(y, 1);
}

static void mp0_wmb(void)
{
	st(x, 1);
	sched_wmb();
	st(y, 1);
}

static void mp0_release(void)
{
	st(x, 1);
	st_release(y, 1);
}

static void mp0_cas(void)
{
	st(x, 1);
	cas(y, 0, 1);
}

static void mp0_cas_relaxed(void)
{
	st(x, 1);
	cas_relaxed(y, 0, 1);
}

static void mp1(void)
{
	s.r[1][0] = ld(y);
	s.r[1][1] = ld(x);
}

static bool mp(void)
{
	return s.r[1][0] && !s.r[1][1];
}

/* Others. */

static void w22_0(void)
{
	st(x, 1);
	st(y, 2);
}

static void w22_1(void)
{
	st(y, 1);
	st(x, 2);
}

static bool w22(void)
{
	return s.x == 1 && s.y == 1;
}

static void r1(void)
{
	st(y, 2);
	s.r[1][0] = ld(x);
}

static bool r(void)
{
	return s.y == 2 && !s.r[1][0];
}

static void lb0(void)
{
	s.r[0][0] = ld(x);
	st(y, 1);
}

static void lb1(void)
{
	s.r[1][0] = ld(y);
	st(x, 1);
}

static bool lb(void)
{
	return s.r[0][0] && s.r[1][0];
}

static void store_x(void)
{
	st(x, 1);
}

static void store_x_twice(void)
{
	st(x, 1);
	st(x, 2);
}

static void store_y(void)
{
	st(y, 1);
}

static void read_xy(void)
{
	s.r[2][0] = ld(x);
	s.r[2][1] = ld(y);
}

static void read_yx(void)
{
	s.r[3][0] = ld(y);
	s.r[3][1] = ld(x);
}

static bool iriw(void)
{
	return s.r[2][0] && !s.r[2][1] && s.r[3][0] && !s.r[3][1];
}

static void read_xx(void)
{
	s.r[1][0] = ld(x);
	s.r[1][1] = ld(x);
}

static bool back(void)
{
	return s.r[1][0] > s.r[1][1] || s.x != 2;
}

static void claim_relaxed(void)
{
	s.r[0][0] = !cas_relaxed(x, 0, 1);
}

static void claim(void)
{
	s.r[1][0] = !cas(x, 0, 2);
}

/* The TDP MMU.  Entries: */
#define NONE	0
#define LEAF	1
#define MADE	2	/* what it becomes: writable, or a table */
#define AGED	3
#define FROZEN	9

static void set_leaf(void)
{
	s.pte = LEAF;
	s.page = 1;
}

static void set_dirty_leaf(void)
{
	s.pte = LEAF;
	s.dirty = 1;
}

static void set_table(void)
{
	s.pte = MADE;
}

static void link_table(void)
{
	st(table, 1);
	cas(pte, NONE, MADE);
}

static void link_table_relaxed(void)
{
	st(table, 1);
	cas_relaxed(pte, NONE, MADE);
}

static void walk(void)
{
	s.r[1][0] = ld(pte);
	if (s.r[1][0] == MADE)
		s.r[1][1] = ld(table);
}

static bool not_filled(void)
{
	return s.r[1][0] == MADE && !s.r[1][1];
}

static void fast_fault(void)
{
	if (ld(pte) == LEAF)
		cas(pte, LEAF, MADE);
}

static void fast_fault_once(void)
{
	if (ld(pte) == LEAF)
		st(pte, MADE);
}

static void zap(void)
{
	swap(pte, NONE);
}

static bool mapped(void)
{
	return s.pte == MADE;
}

static void install_mark(void)
{
	cas(pte, LEAF, MADE);
	st(dirty, 1);
}

static void mark_install(void)
{
	st(dirty, 1);
	cas(pte, LEAF, MADE);
}

static void install_relaxed_mark(void)
{
	cas_relaxed(pte, LEAF, MADE);
	st(dirty, 1);
}

static void freeze_make_mark(void)
{
	cas(pte, LEAF, FROZEN);
	sched_mb();
	st(pte, MADE);
	st(dirty, 1);
}

static void make_mark(void)
{
	st(pte, MADE);
	st(dirty, 1);
}

static void protect(void)
{
	s.r[1][1] = ld(pte);
	if (s.r[1][1] == MADE)
		cas(pte, MADE, LEAF);
}

static void clear_log(void)
{
	swap(dirty, 0);
	protect();
}

static void clear_log_once(void)
{
	if (ld(dirty))
		st(dirty, 0);
	protect();
}

/* Who finds it frozen looks again. */
static bool not_logged(void)
{
	return s.pte == MADE && !s.dirty && s.r[1][1] != FROZEN;
}

static void freeze_make(void)
{
	s.r[0][0] = cas(pte, LEAF, FROZEN);
	if (s.r[0][0] != LEAF)
		return;
	sched_mb();
	st(pte, MADE);
}

static void freeze_once_make(void)
{
	s.r[0][0] = ld(pte);
	if (s.r[0][0] != LEAF)
		return;
	st(pte, FROZEN);
	sched_mb();
	st(pte, MADE);
}

static void age(void)
{
	if (ld(pte) == LEAF)
		s.r[1][0] = cas(pte, LEAF, AGED);
}

static bool both(void)
{
	return s.r[0][0] == LEAF && s.r[1][0] == LEAF;
}

static void split(void)
{
	st(table, 1);
	cas_relaxed(pte, LEAF, FROZEN);
	sched_mb();
	st(pte, MADE);
}

static void split_once(void)
{
	st(table, 1);
	cas_relaxed(pte, LEAF, FROZEN);
	st(pte, MADE);
}

static void walk_rcu(void)
{
	rcu_read_lock();
	walk();
	rcu_read_unlock();
}

static void unlink_table(void)
{
	swap(pte, NONE);
	sched_mb();
	st(table, 2);
}

static struct rcu_head rcu_head;
static bool waits;

static void grace_period(struct rcu_head *head)
{
	waits = false;
}

static bool is_over(const void *arg)
{
	return !waits;
}

static void unlink_table_rcu(void)
{
	swap(pte, NONE);
	sched_mb();
	waits = true;
	rcu_head = (struct rcu_head) {};
	call_rcu(&rcu_head, grace_period);
	/* What ends the grace period if there is no reader. */
	rcu_read_lock();
	rcu_read_unlock();
	sched_wait(is_over, NULL, "grace period");
	st(table, 2);
}

static bool read_freed(void)
{
	return s.r[1][1] == 2;
}

static int lookup(void)
{
	int page;

	spin_lock(&s.ptl);
	page = ld(page);
	spin_unlock(&s.ptl);
	return page;
}

static void map_page(int seq, int page)
{
	spin_lock(&s.mmu_lock);
	if (!ld(open) && ld(seq) == seq)
		st(pte, page);
	spin_unlock(&s.mmu_lock);
}

static void fault_seq_lookup(void)
{
	int seq = ld(seq);

	map_page(seq, lookup());
}

static void fault_lookup_seq(void)
{
	int page = lookup();

	map_page(ld(seq), page);
}

static void notifier(void)
{
	spin_lock(&s.mmu_lock);
	st(open, 1);
	st(pte, NONE);
	spin_unlock(&s.mmu_lock);
	spin_lock(&s.ptl);
	st(page, 2);
	spin_unlock(&s.ptl);
	spin_lock(&s.mmu_lock);
	st(seq, 1);
	st(open, 0);
	spin_unlock(&s.mmu_lock);
}

static bool maps_old_page(void)
{
	return s.pte == 1;
}

/* Two who zap the same leaf: one finds it gone, and whether all was flushed. */

static void zap_owing(void)
{
	/* How many owe, see tdp_gather_owe(). */
	st(open, 1);
	cas(pte, LEAF, NONE);
	/* The flush. */
	st(page, 0);
	sched_mb();
	st(open, 0);
}

static void zap_owing_late(void)
{
	cas(pte, LEAF, NONE);
	st(open, 1);
	st(page, 0);
	sched_mb();
	st(open, 0);
}

static void zap_paid_early(void)
{
	st(open, 1);
	cas(pte, LEAF, NONE);
	st(open, 0);
	st(page, 0);
}

static void zap_nothing(void)
{
	s.r[1][0] = ld(pte);
	sched_mb();
	s.r[1][1] = ld(open);
	s.r[1][2] = ld(page);
}

static bool returns_early(void)
{
	return s.r[1][0] == NONE && !s.r[1][1] && s.r[1][2];
}

/* Who looks at the memory of a leaf, and who takes it away. */

static void look(void)
{
	st(open, 1);
	sched_mb();
	s.r[0][0] = ld(pte);
}

static void look_once(void)
{
	st(open, 1);
	s.r[0][0] = ld(pte);
}

static void zap_and_ask(void)
{
	cas(pte, LEAF, NONE);
	sched_mb();
	s.r[1][0] = ld(open);
}

static bool looks_at_freed(void)
{
	return s.r[0][0] == LEAF && !s.r[1][0];
}

/*
 * A litmus test
 * @name: its name
 * @seen: where its outcome is seen: S without buffers, T with all stores in
 *	  order, P with stores to one address in order
 * @init: sets what is not 0 to begin with
 * @outcome: does @seen speak of this end?
 * @tasks: what runs
 */
static const struct shape {
	const char *name;
	const char *seen;
	void (*init)(void);
	bool (*outcome)(void);

	void (*tasks[MAX_TASKS])(void);
} shapes[] = {
	{ "sched_sb", "-TP", NULL, sb, { sb0, sb1 } },
	{ "sched_sb+mbs", "---", NULL, sb, { sb0_mb, sb1_mb } },
	{ "sched_sb+mb+po", "-TP", NULL, sb, { sb0_mb, sb1 } },
	{ "sched_sb+mb+wmb", "-TP", NULL, sb, { sb0_mb, sb1_wmb } },
	{ "sched_sb+mb+xchg", "---", NULL, sb, { sb0_mb, sb1_xchg } },
	{ "sched_sb+mb+failed", "-TP", NULL, sb, { sb0_mb, sb1_cas_fails } },
	{ "sched_sb+locks", "-TP", NULL, sb, { sb0_locked, sb1_locked } },
	{ "sched_sb+unlock+mb", "---", NULL, sb, { sb0_unlocked, sb1_mb } },
	{ "sched_sb+own", "-TP", NULL, sb, { sb0_own, sb1_own } },
	{ "sched_own", "---", NULL, own_unseen, { sb0_own, sb1_own } },
	{ "sched_mp", "--P", NULL, mp, { mp0, mp1 } },
	{ "sched_mp+wmb", "---", NULL, mp, { mp0_wmb, mp1 } },
	{ "sched_mp+release", "---", NULL, mp, { mp0_release, mp1 } },
	{ "sched_mp+cmpxchg", "---", NULL, mp, { mp0_cas, mp1 } },
	{ "sched_mp+relaxed", "--P", NULL, mp, { mp0_cas_relaxed, mp1 } },
	{ "sched_2+2w", "--P", NULL, w22, { w22_0, w22_1 } },
	{ "sched_r", "-TP", NULL, r, { mp0, r1 } },
	{ "sched_lb", "---", NULL, lb, { lb0, lb1 } },
	{ "sched_iriw", "---", NULL, iriw,
	  { store_x, store_y, read_xy, read_yx } },
	{ "sched_corr", "---", NULL, back, { store_x_twice, read_xx } },
	{ "sched_atomic", "---", NULL, lb, { claim_relaxed, claim } },

	{ "litmus_publish-table+cmpxchg", "---", NULL, not_filled,
	  { link_table, walk } },
	{ "litmus_publish-table+cmpxchg_relaxed", "--P", NULL, not_filled,
	  { link_table_relaxed, walk } },
	{ "litmus_fast-fault-zap+cmpxchg", "---", set_leaf, mapped,
	  { fast_fault, zap } },
	{ "litmus_fast-fault-zap+once", "STP", set_leaf, mapped,
	  { fast_fault_once, zap } },
	{ "litmus_log-clear+install-mark", "---", set_dirty_leaf, not_logged,
	  { install_mark, clear_log } },
	{ "litmus_log-clear+mark-install", "STP", set_dirty_leaf, not_logged,
	  { mark_install, clear_log } },
	{ "litmus_log-clear+install_relaxed-mark", "--P", set_dirty_leaf,
	  not_logged, { install_relaxed_mark, clear_log } },
	{ "litmus_log-clear+install-mark+clear_once", "-TP", set_dirty_leaf,
	  not_logged, { install_mark, clear_log_once } },
	{ "litmus_log-clear+freeze-make-mark", "---", set_dirty_leaf,
	  not_logged, { freeze_make_mark, clear_log } },
	{ "litmus_log-clear+make-mark", "--P", set_dirty_leaf,
	  not_logged, { make_mark, clear_log } },
	{ "litmus_freeze-flush-make+cmpxchg", "---", set_leaf, both,
	  { freeze_make, age } },
	{ "litmus_freeze-flush-make+once", "STP", set_leaf, both,
	  { freeze_once_make, age } },
	{ "litmus_freeze-flush-make-table+mb", "---", set_leaf, not_filled,
	  { split, walk } },
	{ "litmus_freeze-flush-make-table+once", "--P", set_leaf, not_filled,
	  { split_once, walk } },
	{ "litmus_free-table+rcu", "---", set_table, read_freed,
	  { unlink_table_rcu, walk_rcu } },
	{ "litmus_free-table+flush", "STP", set_table, read_freed,
	  { unlink_table, walk_rcu } },
	{ "litmus_fault-notifier+seq-lookup", "---", set_leaf, maps_old_page,
	  { fault_seq_lookup, notifier } },
	{ "litmus_zap-zap+owe-cmpxchg", "---", set_leaf, returns_early,
	  { zap_owing, zap_nothing } },
	{ "litmus_zap-zap+cmpxchg-owe", "STP", set_leaf, returns_early,
	  { zap_owing_late, zap_nothing } },
	{ "litmus_zap-zap+pay-flush", "STP", set_leaf, returns_early,
	  { zap_paid_early, zap_nothing } },
	{ "litmus_look-zap+mb", "---", set_leaf, looks_at_freed,
	  { look, zap_and_ask } },
	{ "litmus_look-zap+once", "-TP", set_leaf, looks_at_freed,
	  { look_once, zap_and_ask } },
	{ "litmus_fault-notifier+lookup-seq", "STP", set_leaf, maps_old_page,
	  { fault_lookup_seq, notifier } },
};

static void run_task(void *arg)
{
	void (*const *run)(void) = arg;

	(*run)();
}

/* Is the outcome among the ends of the schedules?  Fails if it must not be. */
static bool reached(const struct shape *shape, enum sched_memory memory,
		    bool allowed)
{
	struct sched_task tasks[MAX_TASKS];
	bool found = false;
	int nr;

	for (nr = 0; shape->tasks[nr]; nr++)
		tasks[nr] = (struct sched_task) {
			.name = "task",
			.run = run_task,
			.arg = (void *)&shape->tasks[nr],
		};
	sched_set_memory(memory);
	sched_explore(nr > 2 ? 2 : 4, 1000000);
	do {
		memset(&s, 0, sizeof(s));
		if (shape->init)
			shape->init();
		sched_run(tasks, nr);
		found |= shape->outcome();
		CHECK(allowed || !found, "the outcome is seen, memory %d",
		      memory);
	} while (sched_next());
	return found;
}

static void test_shape(void)
{
	const struct shape *shape = &shapes[running->arg];
	static enum sched_memory memory;
	static int last = -1;

	/* What failed is run again, to be shown. */
	if (last != running->arg)
		memory = SCHED_SC;
	last = running->arg;
	for (; memory <= SCHED_PSO; memory++) {
		bool allowed = shape->seen[memory] != '-';

		CHECK(reached(shape, memory, allowed) == allowed,
		      "the outcome is not seen, memory %d", memory);
	}
	last = -1;
}

/* They know of no format: once is enough. */
const struct test *litmus_tests(void)
{
	static struct test tests[ARRAY_SIZE(shapes) + 1];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(shapes); i++)
		tests[i] = (struct test) {
			.name = shapes[i].name,
			.run = test_shape,
			.arg = i,
			.races = true,
		};
	return tests;
}
