// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of a page-table format and of the page-table library on it,
 * whatever the architecture that the kernel is built for.
 *
 * tools/testing/kvm_tdp compares formats with models of the hardware, and tries
 * schedules of the whole MMU.  What is here needs no model: the laws of the
 * contract, which any format obeys; and the library with what it does not have
 * there, the kernel's atomics, RCU, pages, and CPUs that really race.
 */
#include <kunit/test.h>

#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/sched.h>

#include "tdp_kunit.h"

/* Found through the include path. */
#include <tdp_kunit_formats.h>

KUNIT_ARRAY_PARAM_DESC(tdp_kunit, tdp_kunit_formats, name);

/* Leaves. */

#define TDP_KUNIT_FLAGS		16
/* What becomes of a leaf that was made with some flags. */
#define TDP_KUNIT_STATES	6
#define TDP_KUNIT_MAX_LEAVES	(TDP_KUNIT_FLAGS * TDP_KUNIT_STATES)

static tdp_pte_t tdp_kunit_leaf(const struct tdp_kunit_format *f, kvm_pfn_t pfn,
				int level, unsigned int flags)
{
	return tdp_pte_make_leaf(&f->fmt, pfn, level, flags, f->attr);
}

static bool tdp_kunit_flags_legal(unsigned int flags)
{
	return !(flags & TDP_WRITE) || (flags & TDP_HOST_WRITE);
}

static int tdp_kunit_max_leaf(const struct tdp_fmt *fmt)
{
	int level = tdp_fmt_root_level(fmt);

	while (!tdp_fmt_leaf_allowed(fmt, level))
		level--;
	return level;
}

/* The same page, in all states that the format's functions can lead to. */
static unsigned int tdp_kunit_leaves(const struct tdp_kunit_format *f,
				     int level, tdp_pte_t *leaves)
{
	kvm_pfn_t pfn = 3 * tdp_span(&f->fmt, tdp_kunit_max_leaf(&f->fmt));
	const struct tdp_fmt *fmt = &f->fmt;
	unsigned int flags, nr = 0;
	tdp_pte_t pte;

	for (flags = 0; flags < TDP_KUNIT_FLAGS; flags++) {
		if (!tdp_kunit_flags_legal(flags))
			continue;
		pte = tdp_kunit_leaf(f, pfn, level, flags);
		leaves[nr++] = pte;
		leaves[nr++] = tdp_pte_mkyoung(fmt, pte);
		leaves[nr++] = tdp_pte_mkold(fmt, pte);
		leaves[nr++] = tdp_pte_log_writes(fmt, pte, level);
		leaves[nr++] = tdp_pte_mkold(fmt, tdp_pte_log_writes(fmt, pte,
								     level));
		leaves[nr++] = tdp_pte_wrprot_tracked(fmt, pte);
	}
	return nr;
}

static void tdp_kunit_kinds(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	const struct tdp_fmt *fmt = &f->fmt;
	tdp_pte_t none = tdp_pte_none(fmt), frozen = tdp_pte_frozen(fmt), pte;
	int bit, level;

	for (level = 1; level <= tdp_fmt_root_level(fmt); level++) {
		KUNIT_ASSERT_EQ(test, tdp_pte_kind(fmt, none, level), TDP_NONE);
		KUNIT_ASSERT_EQ(test, tdp_pte_kind(fmt, frozen, level),
				TDP_FROZEN);
		KUNIT_ASSERT_FALSE(test, tdp_pte_volatile(fmt, none, level));
		KUNIT_ASSERT_FALSE(test, tdp_pte_volatile(fmt, frozen, level));

		for (bit = TDP_KUNIT_PAGE_SHIFT;
		     level > 1 && bit < f->phys_bits; bit++) {
			pte = tdp_pte_make_table(fmt, BIT_ULL(bit), 0);
			KUNIT_ASSERT_EQ(test, tdp_pte_kind(fmt, pte, level),
					TDP_TABLE);
			KUNIT_ASSERT_EQ(test, tdp_pte_table_phys(fmt, pte),
					BIT_ULL(bit));
			KUNIT_ASSERT_FALSE(test,
					   tdp_pte_volatile(fmt, pte, level));
			KUNIT_ASSERT_FALSE(test,
					   tdp_pte_table_pinned(fmt, pte));
		}

		if (!tdp_fmt_leaf_allowed(fmt, level))
			continue;
		for (bit = tdp_fmt_level_shift(fmt, level);
		     bit < f->phys_bits - TDP_KUNIT_PAGE_SHIFT; bit++) {
			pte = tdp_kunit_leaf(f, BIT_ULL(bit), level, 0);
			KUNIT_ASSERT_EQ(test, tdp_pte_kind(fmt, pte, level),
					TDP_LEAF);
			KUNIT_ASSERT_EQ(test, tdp_pte_pfn(fmt, pte),
					BIT_ULL(bit));
		}
	}
}

/* A leaf says of itself what it was made with. */
static void tdp_kunit_check_leaf(struct kunit *test, int level,
				 unsigned int flags)
{
	const struct tdp_kunit_format *f = test->param_value;
	bool write = flags & TDP_WRITE, exec = flags & TDP_EXEC;
	const struct tdp_fmt *fmt = &f->fmt;
	tdp_pte_t pte, young;

	pte = tdp_kunit_leaf(f, 0, level, flags);
	young = tdp_pte_mkyoung(fmt, pte);
	KUNIT_ASSERT_TRUE(test, tdp_pte_consistent(fmt, pte, level));
	KUNIT_ASSERT_EQ(test, tdp_pte_young(fmt, pte), !!(flags & TDP_YOUNG));
	KUNIT_ASSERT_EQ(test, tdp_pte_host_writable(fmt, pte),
			!!(flags & TDP_HOST_WRITE));
	KUNIT_ASSERT_EQ(test, tdp_pte_may_mkwrite(fmt, pte), write);
	KUNIT_ASSERT_EQ(test, tdp_pte_executable(fmt, pte), exec);
	KUNIT_ASSERT_TRUE(test, tdp_pte_young(fmt, young));
	KUNIT_ASSERT_TRUE(test, tdp_pte_allows(fmt, young, 0));
	KUNIT_ASSERT_EQ(test, tdp_pte_allows(fmt, young, TDP_EXEC), exec);
	if (flags & TDP_YOUNG) {
		KUNIT_ASSERT_TRUE(test, young == pte);
		KUNIT_ASSERT_EQ(test, tdp_pte_allows(fmt, pte, TDP_WRITE),
				write);
	}
	if (write)
		KUNIT_ASSERT_TRUE(test,
				  tdp_pte_allows(fmt, tdp_pte_mkwrite(fmt, pte),
						 TDP_WRITE));
}

static void tdp_kunit_flags(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	int level, max = tdp_kunit_max_leaf(&f->fmt);
	unsigned int flags;

	for (level = 1; level <= max; level++) {
		for (flags = 0; flags < TDP_KUNIT_FLAGS; flags++) {
			if (tdp_kunit_flags_legal(flags))
				tdp_kunit_check_leaf(test, level, flags);
		}
	}
}

/* All that decides what becomes of a leaf, as bits. */
static unsigned int tdp_kunit_properties(const struct tdp_fmt *fmt,
					 tdp_pte_t pte, int level)
{
	return tdp_pte_young(fmt, pte) | tdp_pte_writable(fmt, pte) << 1 |
	       tdp_pte_may_mkwrite(fmt, pte) << 2 |
	       tdp_pte_host_writable(fmt, pte) << 3 |
	       tdp_pte_executable(fmt, pte) << 4 |
	       tdp_pte_allows(fmt, pte, 0) << 5 |
	       tdp_pte_allows(fmt, pte, TDP_WRITE) << 6 |
	       tdp_pte_allows(fmt, pte, TDP_EXEC) << 7 |
	       (tdp_pte_kind(fmt, pte, level) == TDP_LEAF) << 8 |
	       tdp_pte_consistent(fmt, pte, level) << 9;
}

static void tdp_kunit_split_child(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	int level, max = tdp_kunit_max_leaf(&f->fmt);
	const struct tdp_fmt *fmt = &f->fmt;
	tdp_pte_t *leaves, child;
	unsigned int i, j, nr;

	leaves = kunit_kmalloc_array(test, TDP_KUNIT_MAX_LEAVES,
				     sizeof(*leaves), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, leaves);

	for (level = 2; level <= max; level++) {
		nr = tdp_kunit_leaves(f, level, leaves);
		for (i = 0; i < nr; i++) {
			for (j = 0; j < tdp_fmt_nr_entries(fmt, level - 1);
			     j = 2 * j + 1) {
				child = tdp_pte_split_child(fmt, leaves[i],
							    level, j);
				KUNIT_ASSERT_EQ(test, tdp_pte_pfn(fmt, child),
						tdp_pte_pfn(fmt, leaves[i]) +
						j * tdp_span(fmt, level - 1));
				KUNIT_ASSERT_EQ(test,
						tdp_kunit_properties(fmt, child,
								     level - 1),
						tdp_kunit_properties(fmt,
								     leaves[i],
								     level));
			}
		}
	}
}

/* Whatever has become of a part, the block is as if it had been made at once. */
static void tdp_kunit_make_block(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	int level, max = tdp_kunit_max_leaf(&f->fmt);
	const struct tdp_fmt *fmt = &f->fmt;
	unsigned int i, index, flags, nr;
	tdp_pte_t *leaves, part, huge;

	leaves = kunit_kmalloc_array(test, TDP_KUNIT_MAX_LEAVES,
				     sizeof(*leaves), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, leaves);

	for (level = 2; level <= max; level++) {
		nr = tdp_kunit_leaves(f, level, leaves);
		for (i = 0; i < nr; i++) {
			index = i % tdp_fmt_nr_entries(fmt, level - 1);
			part = tdp_pte_split_child(fmt, leaves[i], level,
						   index);
			for (flags = 0; flags < TDP_KUNIT_FLAGS; flags++) {
				if (!tdp_kunit_flags_legal(flags))
					continue;
				huge = tdp_kunit_leaf(f,
						      tdp_pte_pfn(fmt,
								  leaves[i]),
						      level, flags);
				KUNIT_ASSERT_TRUE(test, huge ==
						  tdp_pte_make_block(fmt, part,
								     level,
								     flags));
			}
		}
	}
}

static void tdp_kunit_check_states(struct kunit *test, tdp_pte_t pte, int level)
{
	const struct tdp_kunit_format *f = test->param_value;
	const struct tdp_fmt *fmt = &f->fmt;
	bool exec = tdp_pte_executable(fmt, pte);
	bool may = tdp_pte_may_mkwrite(fmt, pte);
	tdp_pte_t new;

	new = tdp_pte_mkold(fmt, pte);
	KUNIT_ASSERT_FALSE(test, tdp_pte_young(fmt, new));
	KUNIT_ASSERT_EQ(test, tdp_pte_executable(fmt, new), exec);
	KUNIT_ASSERT_EQ(test, tdp_pte_may_mkwrite(fmt, new), may);
	new = tdp_pte_mkyoung(fmt, new);
	KUNIT_ASSERT_TRUE(test, tdp_pte_young(fmt, new));
	KUNIT_ASSERT_TRUE(test, tdp_pte_allows(fmt, new, 0));
	KUNIT_ASSERT_EQ(test, tdp_pte_allows(fmt, new, TDP_EXEC), exec);

	new = tdp_pte_log_writes(fmt, pte, level);
	KUNIT_ASSERT_EQ(test, tdp_pte_may_mkwrite(fmt, new), may);
	KUNIT_ASSERT_EQ(test, tdp_pte_young(fmt, new), tdp_pte_young(fmt, pte));
	KUNIT_ASSERT_TRUE(test, tdp_pte_log_writes(fmt, new, level) == new);

	new = tdp_pte_wrprot_tracked(fmt, pte);
	KUNIT_ASSERT_FALSE(test, tdp_pte_writable(fmt, new));
	KUNIT_ASSERT_FALSE(test, tdp_pte_may_mkwrite(fmt, new));
	KUNIT_ASSERT_EQ(test, tdp_pte_host_writable(fmt, new),
			tdp_pte_host_writable(fmt, pte));

	new = tdp_pte_mkexec(fmt, pte);
	KUNIT_ASSERT_TRUE(test, tdp_pte_executable(fmt, new));
	KUNIT_ASSERT_EQ(test, tdp_pte_young(fmt, new), tdp_pte_young(fmt, pte));

	if (!may)
		return;
	new = tdp_pte_mkwrite(fmt, pte);
	KUNIT_ASSERT_TRUE(test, tdp_pte_allows(fmt, new, TDP_WRITE));
	KUNIT_ASSERT_EQ(test, tdp_pte_executable(fmt, new), exec);
}

/* Who changes an entry without mmu_lock, or asks for no flush, may do so. */
static void tdp_kunit_check_rules(struct kunit *test, tdp_pte_t pte, int level)
{
	const struct tdp_kunit_format *f = test->param_value;
	const struct tdp_fmt *fmt = &f->fmt;
	tdp_pte_t young = tdp_pte_mkyoung(fmt, pte);
	bool lockless = young != pte;

	KUNIT_ASSERT_FALSE(test, tdp_pte_downgrades(fmt, pte, pte));
	KUNIT_ASSERT_FALSE(test, tdp_pte_downgrades(fmt, pte, young));
	KUNIT_ASSERT_FALSE(test, tdp_pte_downgrades(fmt, pte,
						    tdp_pte_mkexec(fmt, pte)));
	if (tdp_pte_may_mkwrite(fmt, pte)) {
		tdp_pte_t new = tdp_pte_mkwrite(fmt, pte);

		lockless |= new != pte;
		KUNIT_ASSERT_FALSE(test, tdp_pte_downgrades(fmt, pte, new));
		/* Although the leaf might say read-only already. */
		new = tdp_pte_wrprot_tracked(fmt, pte);
		KUNIT_ASSERT_TRUE(test, tdp_pte_downgrades(fmt, pte, new));
	}
	if (lockless)
		KUNIT_ASSERT_TRUE(test, tdp_pte_volatile(fmt, pte, level));
}

static void tdp_kunit_check_lost(struct kunit *test, tdp_pte_t old,
				 tdp_pte_t new)
{
	static const unsigned int access[] = { 0, TDP_WRITE, TDP_EXEC };
	const struct tdp_kunit_format *f = test->param_value;
	const struct tdp_fmt *fmt = &f->fmt;
	int i;

	for (i = 0; i < ARRAY_SIZE(access); i++) {
		if (tdp_pte_allows(fmt, old, access[i]) &&
		    !tdp_pte_allows(fmt, new, access[i]))
			KUNIT_ASSERT_TRUE(test,
					  tdp_pte_downgrades(fmt, old, new));
	}
}

static void tdp_kunit_states(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	int level, max = tdp_kunit_max_leaf(&f->fmt);
	unsigned int i, j, nr;
	tdp_pte_t *leaves;

	leaves = kunit_kmalloc_array(test, TDP_KUNIT_MAX_LEAVES,
				     sizeof(*leaves), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, leaves);

	for (level = 1; level <= max; level++) {
		nr = tdp_kunit_leaves(f, level, leaves);
		for (i = 0; i < nr; i++) {
			tdp_kunit_check_states(test, leaves[i], level);
			tdp_kunit_check_rules(test, leaves[i], level);
			for (j = 0; j < nr; j++)
				tdp_kunit_check_lost(test, leaves[i],
						     leaves[j]);
		}
	}
}

/* Trees: test->priv is the one of the test that runs. */

/*
 * struct tdp_kunit_tree - a tree and what there is in it
 * @pgt: the tree
 * @gather: debts, and the counts of all changes so far
 */
struct tdp_kunit_tree {
	struct tdp_pgtable pgt;
	struct tdp_gather gather;
};

/* Any gfn is mapped to this many pages behind it, so leaves can have any size. */
static kvm_pfn_t tdp_kunit_pfn(const struct tdp_fmt *fmt, gfn_t gfn)
{
	return gfn + tdp_span(fmt, tdp_kunit_max_leaf(fmt));
}

static tdp_pte_t *tdp_kunit_alloc(const struct tdp_fmt *fmt, int level,
				  gfp_t gfp)
{
	unsigned int i, nr = tdp_fmt_nr_entries(fmt, level);
	tdp_pte_t *table;

	table = (tdp_pte_t *)__get_free_pages(gfp,
					      get_order(nr * sizeof(*table)));
	for (i = 0; table && i < nr; i++)
		table[i] = tdp_pte_none(fmt);
	return table;
}

/* Replace an entry; no CPU uses the tree, so it need not stay broken. */
static bool tdp_kunit_change(struct tdp_iter *iter, struct tdp_gather *gather,
			     tdp_pte_t new, enum tdp_mode mode)
{
	bool done = tdp_iter_set(iter, gather, new, mode);

	tdp_gather_make(iter->pgt, gather);
	return done;
}

/*
 * Stand on the entry for a gfn at a level; link, or split into, tables on the
 * way there.
 *
 * Return: false if there is no way there.
 */
static bool tdp_kunit_reach(const struct tdp_pgtable *pgt,
			    struct tdp_gather *gather, struct tdp_iter *iter,
			    gfn_t gfn, int level)
{
	tdp_iter_start(iter, pgt, gfn);
	while (iter->level > level) {
		struct tdp_new_table new = {};
		bool done, split = false;

		switch (tdp_iter_kind(iter)) {
		case TDP_FROZEN:
			return false;
		case TDP_TABLE:
			tdp_iter_enter(iter);
			continue;
		case TDP_LEAF:
			split = true;
			break;
		case TDP_NONE:
		case TDP_ANNOTATED:
			break;
		}
		new.table = tdp_kunit_alloc(pgt->fmt, iter->level - 1,
					    GFP_ATOMIC);
		if (!new.table)
			return false;
		if (split)
			done = tdp_iter_split(iter, gather, &new, false);
		else
			done = tdp_iter_link(iter, gather, &new);
		tdp_gather_make(pgt, gather);
		if (!done)
			free_page((unsigned long)new.table);
	}
	return true;
}

/* By plain arithmetic: the entry for a gfn at a level, if there is a table. */
static tdp_pte_t *tdp_kunit_find(const struct tdp_pgtable *pgt, gfn_t gfn,
				 int level)
{
	tdp_pte_t *table = rcu_dereference(pgt->root), *pte;
	const struct tdp_fmt *fmt = pgt->fmt;
	int l;

	for (l = tdp_fmt_root_level(fmt);; l--) {
		pte = table + (gfn >> tdp_fmt_level_shift(fmt, l)) %
			      tdp_fmt_nr_entries(fmt, l);
		if (l == level)
			return pte;
		if (tdp_pte_kind(fmt, *pte, l) != TDP_TABLE)
			return NULL;
		table = __va(tdp_pte_table_phys(fmt, *pte));
	}
}

static void tdp_kunit_set(struct kunit *test, gfn_t gfn, int level,
			  tdp_pte_t new, enum tdp_mode mode)
{
	struct tdp_kunit_tree *t = test->priv;
	struct tdp_iter iter;
	bool done;

	rcu_read_lock();
	done = tdp_kunit_reach(&t->pgt, &t->gather, &iter, gfn, level) &&
	       tdp_kunit_change(&iter, &t->gather, new, mode);
	rcu_read_unlock();
	KUNIT_ASSERT_TRUE(test, done);
}

/* A leaf as tdp_kunit_pfn() has it. */
static tdp_pte_t tdp_kunit_map(struct kunit *test, gfn_t gfn, int level,
			       unsigned int flags)
{
	const struct tdp_kunit_format *f = test->param_value;
	tdp_pte_t pte;

	pte = tdp_kunit_leaf(f, tdp_kunit_pfn(&f->fmt, gfn), level, flags);
	tdp_kunit_set(test, gfn, level, pte, TDP_SHARED);
	return pte;
}

static void tdp_kunit_count(const struct tdp_fmt *fmt, tdp_pte_t *table,
			    int level, struct tdp_gather *sum)
{
	unsigned int i, nr = tdp_fmt_nr_entries(fmt, level);

	for (i = 0; i < nr; i++) {
		switch (tdp_pte_kind(fmt, table[i], level)) {
		case TDP_NONE:
		case TDP_FROZEN:
		case TDP_ANNOTATED:
			break;
		case TDP_TABLE:
			sum->tables++;
			tdp_kunit_count(fmt,
					__va(tdp_pte_table_phys(fmt, table[i])),
					level - 1, sum);
			break;
		case TDP_LEAF:
			sum->leaves[level - 1]++;
			break;
		}
	}
}

/* The counts are those of what there is.  Nobody else changes the tree now. */
static void tdp_kunit_check_counts(struct kunit *test)
{
	struct tdp_kunit_tree *t = test->priv;
	const struct tdp_fmt *fmt = t->pgt.fmt;
	struct tdp_gather sum = {};
	int level, root_level = tdp_fmt_root_level(fmt);

	rcu_read_lock();
	tdp_kunit_count(fmt, rcu_dereference(t->pgt.root), root_level, &sum);
	rcu_read_unlock();
	KUNIT_EXPECT_EQ(test, t->gather.tables, sum.tables);
	KUNIT_EXPECT_EQ(test, atomic_read(&tdp_kunit_seen.accounted),
			sum.tables);
	for (level = 1; level <= root_level; level++)
		KUNIT_EXPECT_EQ(test, t->gather.leaves[level - 1],
				sum.leaves[level - 1]);
}

static void tdp_kunit_zap(struct tdp_kunit_tree *t)
{
	const struct tdp_fmt *fmt = t->pgt.fmt;
	int root_level = tdp_fmt_root_level(fmt);
	struct tdp_iter iter;

	rcu_read_lock();
	for_each_tdp_pte(&iter, &t->pgt, 0, tdp_fmt_end_gfn(fmt), root_level) {
		if (!tdp_iter_set(&iter, &t->gather, tdp_pte_none(fmt),
				  TDP_EXCLUSIVE))
			break;
	}
	rcu_read_unlock();
	tdp_gather_flushed(&t->gather);
}

static int tdp_kunit_init(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	struct tdp_kunit_tree *t;

	t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	if (!t)
		return -ENOMEM;
	memset(&tdp_kunit_seen, 0, sizeof(tdp_kunit_seen));
	t->pgt.fmt = &f->fmt;
	t->pgt.root = (tdp_pte_t __rcu *)
		tdp_kunit_alloc(&f->fmt, tdp_fmt_root_level(&f->fmt),
				GFP_KERNEL);
	if (!t->pgt.root)
		return -ENOMEM;
	test->priv = t;
	return 0;
}

static void tdp_kunit_exit(struct kunit *test)
{
	struct tdp_kunit_tree *t = test->priv;
	const struct tdp_fmt *fmt;
	unsigned int nr;

	if (!t)
		return;
	fmt = t->pgt.fmt;
	nr = tdp_fmt_nr_entries(fmt, tdp_fmt_root_level(fmt));
	tdp_kunit_zap(t);
	tdp_kunit_check_counts(test);
	KUNIT_EXPECT_EQ(test, t->gather.tables, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&tdp_kunit_seen.warnings), 0);
	/* The callbacks that free tables are this module's. */
	rcu_barrier();
	free_pages((unsigned long)(__force void *)t->pgt.root,
		   get_order(nr * sizeof(tdp_pte_t)));
}

/*
 * A walk visits the entries that map a range, all of them, in order.
 *
 * Return: what is wrong with it, or NULL.
 */
static const char *tdp_kunit_check_walk(const struct tdp_pgtable *pgt,
					gfn_t start, gfn_t end, int min_level)
{
	const struct tdp_fmt *fmt = pgt->fmt;
	int level = tdp_fmt_root_level(fmt);
	gfn_t pos = start, span;
	struct tdp_iter iter;
	bool down = true;

	end = min(end, tdp_fmt_end_gfn(fmt));
	for_each_tdp_pte(&iter, pgt, start, end, min_level) {
		span = tdp_span(fmt, iter.level);
		if (pos >= end)
			return "it goes on behind the end";
		if (down ? iter.level != level : iter.level < level)
			return "it does not go down below a table";
		if (iter.gfn != (down ? pos & ~(span - 1) : pos))
			return "it leaves entries out, or visits them again";
		if (rcu_dereference(iter.ptep) !=
		    tdp_kunit_find(pgt, pos, iter.level))
			return "its entry is another";
		if (iter.old != *rcu_dereference(iter.ptep))
			return "its snapshot is not what the entry is";
		if (tdp_iter_inside(&iter, start) !=
		    (iter.gfn >= start &&
		     min(iter.gfn + span, tdp_fmt_end_gfn(fmt)) <= end))
			return "it does not know what lies inside";

		down = iter.level > min_level &&
		       tdp_iter_kind(&iter) == TDP_TABLE;
		level = iter.level - down;
		if (!down)
			pos = iter.gfn + span;
	}
	return pos < end ? "it ends before the end" : NULL;
}

static void tdp_kunit_walk_range(struct kunit *test, gfn_t start, gfn_t end,
				 int min_level)
{
	struct tdp_kunit_tree *t = test->priv;
	const char *wrong;

	rcu_read_lock();
	wrong = tdp_kunit_check_walk(&t->pgt, start, end, min_level);
	rcu_read_unlock();
	KUNIT_ASSERT_NULL_MSG(test, wrong, "%s: [%llx, %llx) down to %d",
			      wrong ?: "", start, end, min_level);
}

static void tdp_kunit_walk(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	const struct tdp_fmt *fmt = &f->fmt;
	gfn_t end = tdp_fmt_end_gfn(fmt);
	gfn_t block = tdp_span(fmt, 2), big = tdp_span(fmt, 3);
	const gfn_t places[] = { 0, 5, block - 1, block, 2 * block, big - 1,
				 big + 1, big + block + 2, end - 1 };
	const gfn_t lengths[] = { 0, 1, 2, block - 1, block + 2, 2 * big };
	int i, j, level;

	/* Some leaves, and a huge one; all else is as new. */
	for (i = 0; i < ARRAY_SIZE(places); i += 2)
		tdp_kunit_map(test, places[i], places[i] == 2 * block ? 2 : 1,
			      TDP_YOUNG);
	tdp_kunit_check_counts(test);

	for (level = 1; level <= tdp_fmt_root_level(fmt); level++) {
		for (i = 0; i < ARRAY_SIZE(places); i++) {
			for (j = 0; j < ARRAY_SIZE(lengths); j++)
				tdp_kunit_walk_range(test, places[i],
						     places[i] + lengths[j],
						     level);
		}
		tdp_kunit_walk_range(test, 0, end, level);
		tdp_kunit_walk_range(test, end, end + 1, level);
	}
}

/* A walk that restarts comes back by the root; one that is stopped ends. */
static void tdp_kunit_restart(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	int root_level = tdp_fmt_root_level(&f->fmt);
	struct tdp_kunit_tree *t = test->priv;
	unsigned int nr = 0, nr_root = 0;
	struct tdp_iter iter;
	bool again = true;

	tdp_kunit_map(test, 7, 1, TDP_YOUNG);
	rcu_read_lock();
	for_each_tdp_pte(&iter, &t->pgt, 6, 20, 1) {
		nr_root += iter.level == root_level;
		if (iter.level > 1)
			continue;
		nr++;
		if (iter.gfn == 7 && again) {
			again = false;
			tdp_iter_restart(&iter);
		} else if (iter.gfn == 9) {
			tdp_iter_stop(&iter);
		}
	}
	rcu_read_unlock();
	/* 6 and 7, 7 again, 8 and 9. */
	KUNIT_EXPECT_EQ(test, nr, 5);
	KUNIT_EXPECT_EQ(test, nr_root, 2);

	/* What looks for one gfn goes to no other. */
	rcu_read_lock();
	tdp_kunit_reach(&t->pgt, &t->gather, &iter, 7, 1);
	tdp_iter_advance(&iter);
	rcu_read_unlock();
	KUNIT_EXPECT_NULL(test, (__force void *)iter.ptep);
}

/* The write protocol. */

/* What a change owes, and nothing else; settle it. */
static void tdp_kunit_check_debt(struct kunit *test, gfn_t start, gfn_t end,
				 int level, enum tdp_flush flush)
{
	struct tdp_kunit_tree *t = test->priv;

	KUNIT_EXPECT_EQ(test, t->gather.flush, flush);
	if (flush != TDP_FLUSH_NOTHING) {
		KUNIT_EXPECT_EQ(test, t->gather.start, start);
		KUNIT_EXPECT_EQ(test, t->gather.end, end);
		KUNIT_EXPECT_EQ(test, t->gather.level, level);
	}
	tdp_gather_flushed(&t->gather);
	KUNIT_EXPECT_EQ(test, t->gather.flush, TDP_FLUSH_NOTHING);
}

static void tdp_kunit_check_set(struct kunit *test, enum tdp_mode mode)
{
	const struct tdp_kunit_format *f = test->param_value;
	struct tdp_kunit_tree *t = test->priv;
	const struct tdp_fmt *fmt = &f->fmt;
	tdp_pte_t leaf;
	int nr;

	leaf = tdp_kunit_map(test, 8, 1, TDP_HOST_WRITE | TDP_WRITE);
	tdp_kunit_check_counts(test);
	tdp_kunit_check_debt(test, 0, 0, 0, TDP_FLUSH_NOTHING);

	nr = atomic_read(&tdp_kunit_seen.changes);
	tdp_kunit_set(test, 8, 1, tdp_pte_wrprot_tracked(fmt, leaf), mode);
	KUNIT_EXPECT_EQ(test, atomic_read(&tdp_kunit_seen.changes), nr + 1);
	KUNIT_EXPECT_EQ(test, tdp_kunit_seen.old, (u64)leaf);
	tdp_kunit_check_counts(test);
	tdp_kunit_check_debt(test, 8, 9, 1, TDP_FLUSH_LEAF);

	tdp_kunit_set(test, 8, 1, tdp_pte_none(fmt), mode);
	KUNIT_EXPECT_EQ(test, t->gather.leaves[0], 0);
	tdp_kunit_check_counts(test);
	tdp_kunit_check_debt(test, 8, 9, 1, TDP_FLUSH_LEAF);
}

/* Debts add up. */
static void tdp_kunit_gather(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	struct tdp_kunit_tree *t = test->priv;
	const struct tdp_fmt *fmt = &f->fmt;
	gfn_t block = tdp_span(fmt, 2);

	KUNIT_EXPECT_TRUE(test, tdp_gather_is_empty(&t->gather));
	tdp_kunit_map(test, 4, 1, TDP_YOUNG);
	tdp_kunit_map(test, 20, 1, TDP_YOUNG);
	tdp_kunit_map(test, 3 * block, 2, TDP_YOUNG);
	tdp_kunit_check_debt(test, 0, 0, 0, TDP_FLUSH_NOTHING);

	tdp_kunit_set(test, 20, 1, tdp_pte_none(fmt), TDP_SHARED);
	tdp_kunit_set(test, 4, 1, tdp_pte_none(fmt), TDP_SHARED);
	KUNIT_EXPECT_FALSE(test, tdp_gather_is_empty(&t->gather));
	tdp_kunit_check_debt(test, 4, 21, 1, TDP_FLUSH_LEAF);

	tdp_kunit_map(test, 4, 1, TDP_YOUNG);
	tdp_kunit_set(test, 4, 1, tdp_pte_none(fmt), TDP_SHARED);
	tdp_kunit_set(test, 3 * block, 2, tdp_pte_none(fmt), TDP_SHARED);
	tdp_kunit_check_debt(test, 4, 4 * block, 0, TDP_FLUSH_LEAF);
}

static void tdp_kunit_set_shared(struct kunit *test)
{
	tdp_kunit_check_set(test, TDP_SHARED);
}

static void tdp_kunit_set_closed(struct kunit *test)
{
	tdp_kunit_check_set(test, TDP_CLOSED);
}

static void tdp_kunit_set_exclusive(struct kunit *test)
{
	tdp_kunit_check_set(test, TDP_EXCLUSIVE);
}

/* Somebody changes an entry behind the back of a walk that stands on it. */
static void tdp_kunit_lost(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	struct tdp_kunit_tree *t = test->priv;
	const struct tdp_fmt *fmt = &f->fmt;
	tdp_pte_t leaf, young, *pte;
	struct tdp_gather before;
	struct tdp_iter iter;
	bool set, updated;

	leaf = tdp_kunit_map(test, 3, 1, 0);
	young = tdp_pte_mkyoung(fmt, leaf);
	KUNIT_ASSERT_TRUE(test, leaf != young);
	memcpy(&before, &t->gather, sizeof(before));

	rcu_read_lock();
	tdp_kunit_reach(&t->pgt, &t->gather, &iter, 3, 1);
	pte = rcu_dereference(iter.ptep);
	WRITE_ONCE(*pte, young);
	set = tdp_iter_set(&iter, &t->gather, tdp_pte_none(fmt), TDP_SHARED);
	rcu_read_unlock();
	KUNIT_EXPECT_FALSE(test, set);
	KUNIT_EXPECT_TRUE(test, iter.old == young && *pte == young);
	KUNIT_EXPECT_MEMEQ(test, &before, &t->gather, sizeof(before));

	rcu_read_lock();
	tdp_kunit_reach(&t->pgt, &t->gather, &iter, 3, 1);
	WRITE_ONCE(*pte, leaf);
	updated = tdp_iter_update(&iter, tdp_pte_mkexec(fmt, young));
	rcu_read_unlock();
	KUNIT_EXPECT_FALSE(test, updated);
	KUNIT_EXPECT_TRUE(test, iter.old == leaf && *pte == leaf);

	/* What is exchanged with mmu_lock held for write is known. */
	rcu_read_lock();
	tdp_kunit_reach(&t->pgt, &t->gather, &iter, 3, 1);
	WRITE_ONCE(*pte, young);
	set = tdp_iter_set(&iter, &t->gather, tdp_pte_none(fmt), TDP_EXCLUSIVE);
	rcu_read_unlock();
	KUNIT_EXPECT_TRUE(test, set);
	KUNIT_EXPECT_TRUE(test, *pte == tdp_pte_none(fmt));
	KUNIT_EXPECT_EQ(test, tdp_kunit_seen.old, (u64)young);
	tdp_kunit_check_counts(test);
}

/* Who comes too late to link a table has it still. */
static void tdp_kunit_lost_link(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	struct tdp_kunit_tree *t = test->priv;
	const struct tdp_fmt *fmt = &f->fmt;
	struct tdp_new_table new = {};
	gfn_t gfn = tdp_span(fmt, 2);
	bool linked, split;
	struct tdp_iter iter;
	tdp_pte_t leaf, *pte;
	int tables;

	new.table = tdp_kunit_alloc(fmt, 1, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, new.table);
	leaf = tdp_kunit_leaf(f, tdp_kunit_pfn(fmt, gfn), 2, TDP_YOUNG);

	rcu_read_lock();
	tdp_kunit_reach(&t->pgt, &t->gather, &iter, gfn, 2);
	tables = t->gather.tables;
	pte = rcu_dereference(iter.ptep);
	WRITE_ONCE(*pte, leaf);
	linked = tdp_iter_link(&iter, &t->gather, &new);
	WRITE_ONCE(*pte, tdp_pte_none(fmt));
	split = tdp_iter_split(&iter, &t->gather, &new, false);
	rcu_read_unlock();

	KUNIT_EXPECT_FALSE(test, linked);
	KUNIT_EXPECT_FALSE(test, split);
	KUNIT_EXPECT_TRUE(test, iter.old == tdp_pte_none(fmt));
	KUNIT_EXPECT_EQ(test, t->gather.tables, tables);
	KUNIT_EXPECT_EQ(test, page_count(virt_to_page(new.table)), 1);
	tdp_kunit_check_counts(test);
	free_page((unsigned long)new.table);
}

/* What must never happen is noticed, and not done where that can be helped. */
static void tdp_kunit_bugs(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	struct tdp_kunit_tree *t = test->priv;
	const struct tdp_fmt *fmt = &f->fmt;
	tdp_pte_t leaf, *pte;
	struct tdp_iter iter;
	bool set;

	leaf = tdp_kunit_leaf(f, 1, 1, TDP_YOUNG);
	rcu_read_lock();
	tdp_kunit_reach(&t->pgt, &t->gather, &iter, 0, 1);
	pte = rcu_dereference(iter.ptep);
	WRITE_ONCE(*pte, tdp_pte_frozen(fmt));
	iter.old = *pte;
	set = tdp_iter_set(&iter, &t->gather, leaf, TDP_SHARED);
	rcu_read_unlock();
	KUNIT_EXPECT_FALSE(test, set);
	KUNIT_EXPECT_TRUE(test, *pte == tdp_pte_frozen(fmt));
	KUNIT_EXPECT_EQ(test, atomic_read(&tdp_kunit_seen.warnings), 1);
	WRITE_ONCE(*pte, tdp_pte_none(fmt));

	/* Other memory. */
	tdp_kunit_set(test, 0, 1, leaf, TDP_SHARED);
	KUNIT_EXPECT_EQ(test, atomic_read(&tdp_kunit_seen.warnings), 1);
	leaf = tdp_kunit_leaf(f, 2, 1, TDP_YOUNG);
	tdp_kunit_set(test, 0, 1, leaf, TDP_SHARED);
	KUNIT_EXPECT_EQ(test, atomic_read(&tdp_kunit_seen.warnings), 2);
	tdp_kunit_check_debt(test, 0, 1, 1, TDP_FLUSH_LEAF);

	/* A leaf that the guest could write to and the host may not. */
	tdp_kunit_set(test, 0, 1, tdp_pte_none(fmt), TDP_SHARED);
	leaf = tdp_kunit_leaf(f, 2, 1, TDP_YOUNG | TDP_WRITE);
	tdp_kunit_set(test, 0, 1, leaf, TDP_SHARED);
	KUNIT_EXPECT_EQ(test, atomic_read(&tdp_kunit_seen.warnings), 3);

	atomic_set(&tdp_kunit_seen.warnings, 0);
}

/* A huge leaf is split, in parts again, and recovered. */
static void tdp_kunit_split(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	struct tdp_kunit_tree *t = test->priv;
	const struct tdp_fmt *fmt = &f->fmt;
	int level, max = tdp_kunit_max_leaf(fmt);
	gfn_t gfn = tdp_span(fmt, max);
	unsigned int i, nr, wrong = 0;
	tdp_pte_t huge, part, *child;

	huge = tdp_kunit_map(test, gfn, max, TDP_YOUNG | TDP_EXEC);
	part = huge;
	for (level = max; level > 1; level--) {
		struct tdp_iter iter;
		bool reached;

		nr = tdp_fmt_nr_entries(fmt, level - 1);
		rcu_read_lock();
		reached = tdp_kunit_reach(&t->pgt, &t->gather, &iter, gfn,
					  level - 1);
		child = rcu_dereference(iter.ptep);
		for (i = 0; reached && i < nr; i++)
			wrong += child[i] != tdp_pte_split_child(fmt, part,
								 level, i);
		part = iter.old;
		rcu_read_unlock();
		KUNIT_ASSERT_TRUE(test, reached);
		KUNIT_EXPECT_EQ(test, wrong, 0);
		KUNIT_EXPECT_EQ(test, t->gather.leaves[level - 1],
				level == max ? 0 : nr - 1);
		KUNIT_EXPECT_EQ(test, t->gather.leaves[level - 2], nr);
		tdp_kunit_check_counts(test);
		tdp_kunit_check_debt(test, gfn, gfn + tdp_span(fmt, level),
				     level, f->breaks ? TDP_FLUSH_LEAF :
							TDP_FLUSH_NOTHING);
	}

	part = tdp_pte_make_block(fmt, part, max, TDP_YOUNG | TDP_EXEC);
	KUNIT_EXPECT_TRUE(test, part == huge);
	tdp_kunit_set(test, gfn, max, part, TDP_SHARED);
	KUNIT_EXPECT_EQ(test, t->gather.leaves[max - 1], 1);
	tdp_kunit_check_counts(test);
	tdp_kunit_check_debt(test, gfn, 2 * gfn, 0, TDP_FLUSH_TABLE);
}

/* Are all entries of a table that was removed out of everyone's reach? */
static bool tdp_kunit_all_frozen(const struct tdp_fmt *fmt, tdp_pte_t *table,
				 int level)
{
	unsigned int i, nr = tdp_fmt_nr_entries(fmt, level);

	for (i = 0; i < nr; i++) {
		if (tdp_pte_kind(fmt, table[i], level) != TDP_FROZEN)
			return false;
	}
	return true;
}

/* Tables that are removed are freed after the flush and a grace period. */
static void tdp_kunit_remove(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	int level, root_level = tdp_fmt_root_level(&f->fmt);
	struct page *pages[TDP_MAX_LEVELS] = {};
	struct tdp_kunit_tree *t = test->priv;
	const struct tdp_fmt *fmt = &f->fmt;
	struct tdp_gather debt = {};
	struct tdp_iter iter;
	unsigned int nr = 0;

	tdp_kunit_map(test, 0, 1, TDP_YOUNG);
	tdp_kunit_map(test, 1, 1, 0);
	KUNIT_ASSERT_EQ(test, t->gather.tables, root_level - 1);

	/* Hold on to the pages, to see when others let go of them. */
	rcu_read_lock();
	for_each_tdp_pte(&iter, &t->pgt, 0, 1, 1) {
		struct page *page;

		if (iter.level == root_level)
			continue;
		page = virt_to_page(rcu_dereference(iter.ptep));
		get_page(page);
		pages[iter.level - 1] = page;
	}
	rcu_read_unlock();
	for (level = 1; level < root_level; level++) {
		KUNIT_ASSERT_NOT_NULL(test, pages[level - 1]);
		KUNIT_EXPECT_EQ(test, page_count(pages[level - 1]), 2);
	}

	/* A walker who still looks at what is removed meanwhile. */
	rcu_read_lock();
	tdp_iter_start(&iter, &t->pgt, 0);
	if (tdp_kunit_change(&iter, &t->gather, tdp_pte_none(fmt),
			     TDP_SHARED)) {
		debt = t->gather;
		tdp_gather_flushed(&t->gather);
		for (level = 1; level < root_level; level++)
			nr += page_count(pages[level - 1]) == 2;
	}
	rcu_read_unlock();
	KUNIT_EXPECT_EQ(test, nr, root_level - 1);
	KUNIT_EXPECT_EQ(test, debt.flush, TDP_FLUSH_TABLE);
	KUNIT_EXPECT_EQ(test, debt.start, 0);
	KUNIT_EXPECT_EQ(test, debt.end, tdp_span(fmt, root_level));
	KUNIT_EXPECT_EQ(test, debt.level, 0);
	KUNIT_EXPECT_EQ(test, t->gather.tables, 0);
	tdp_kunit_check_counts(test);

	rcu_barrier();
	for (level = 1; level < root_level; level++) {
		struct page *page = pages[level - 1];

		KUNIT_EXPECT_TRUE(test,
				  tdp_kunit_all_frozen(fmt, page_address(page),
						       level));
		KUNIT_EXPECT_EQ(test, page_count(page), 1);
		put_page(page);
	}
}

/* Races, for KASAN, KCSAN and lockdep to look at. */

#define TDP_KUNIT_RACERS	4
#define TDP_KUNIT_ROUNDS	20000

/*
 * struct tdp_kunit_racer - a thread that maps, zaps and changes entries
 * @f: the format
 * @pgt: the tree
 * @gather: debts, and the counts of all its changes
 * @rnd: what it does next
 * @wrong: leaves that it found to map what nobody mapped there
 * @done: changes that were not lost to others
 * @task: the thread
 * @over: it has done all
 */
struct tdp_kunit_racer {
	const struct tdp_kunit_format *f;
	const struct tdp_pgtable *pgt;
	struct tdp_gather gather;
	struct rnd_state rnd;
	unsigned int wrong;
	unsigned int done;
	struct task_struct *task;
	struct completion over;
};

/* In four blocks, two of which have a table above in common. */
static gfn_t tdp_kunit_race_gfn(struct tdp_kunit_racer *r)
{
	const struct tdp_fmt *fmt = r->pgt->fmt;
	u32 n = prandom_u32_state(&r->rnd);

	return (n & 1) * tdp_span(fmt, tdp_kunit_max_leaf(fmt)) +
	       (n >> 1 & 1) * tdp_span(fmt, 2) + (n >> 2 & 1);
}

/* As a fault: a leaf where there is none, or in place of a table. */
static void tdp_kunit_race_map(struct tdp_kunit_racer *r, gfn_t gfn, int level)
{
	const struct tdp_fmt *fmt = r->pgt->fmt;
	struct tdp_iter iter;
	tdp_pte_t new;

	gfn = tdp_gfn_round(fmt, gfn, level);
	new = tdp_kunit_leaf(r->f, tdp_kunit_pfn(fmt, gfn), level,
			     TDP_WRITE | TDP_HOST_WRITE | TDP_YOUNG);
	if (!tdp_kunit_reach(r->pgt, &r->gather, &iter, gfn, level))
		return;

	switch (tdp_iter_kind(&iter)) {
	case TDP_FROZEN:
	case TDP_LEAF:
		break;
	case TDP_NONE:
	case TDP_ANNOTATED:
	case TDP_TABLE:
		r->done += tdp_kunit_change(&iter, &r->gather, new, TDP_SHARED);
		break;
	}
}

static void tdp_kunit_race_zap(struct tdp_kunit_racer *r, gfn_t gfn, int level)
{
	const struct tdp_fmt *fmt = r->pgt->fmt;
	struct tdp_iter iter;

	tdp_iter_start(&iter, r->pgt, gfn);
	while (iter.level > level && tdp_iter_kind(&iter) == TDP_TABLE)
		tdp_iter_enter(&iter);

	if (tdp_iter_kind(&iter) == TDP_LEAF ||
	    tdp_iter_kind(&iter) == TDP_TABLE)
		r->done += tdp_kunit_change(&iter, &r->gather,
					    tdp_pte_none(fmt), TDP_SHARED);
}

/* As aging, logging and lockless faults do. */
static void tdp_kunit_race_touch(struct tdp_kunit_racer *r, gfn_t gfn, int how)
{
	const struct tdp_fmt *fmt = r->pgt->fmt;
	struct tdp_iter iter;
	tdp_pte_t new;

	for_each_tdp_pte(&iter, r->pgt, gfn, gfn + 8, 1) {
		if (tdp_iter_kind(&iter) != TDP_LEAF)
			continue;
		if (tdp_pte_pfn(fmt, iter.old) != tdp_kunit_pfn(fmt, iter.gfn))
			r->wrong++;
		new = how == 0 ? tdp_pte_mkold(fmt, iter.old) :
		      how == 1 ? tdp_pte_log_writes(fmt, iter.old, iter.level) :
		      how == 2 ? tdp_pte_mkyoung(fmt, iter.old) :
				 tdp_pte_mkwrite(fmt, iter.old);
		if (new != iter.old)
			r->done += tdp_iter_update(&iter, new);
	}
}

static int tdp_kunit_race_thread(void *arg)
{
	struct tdp_kunit_racer *r = arg;
	int i, max = tdp_kunit_max_leaf(r->pgt->fmt);

	for (i = 0; i < TDP_KUNIT_ROUNDS; i++) {
		u32 n = prandom_u32_state(&r->rnd);
		gfn_t gfn = tdp_kunit_race_gfn(r);
		int level = 1 + (n >> 8) % max;

		rcu_read_lock();
		switch (n & 7) {
		case 0:
			tdp_kunit_race_zap(r, gfn, level);
			break;
		case 1:
		case 2:
			tdp_kunit_race_map(r, gfn, level);
			break;
		case 3:
			tdp_kunit_race_map(r, gfn, 1);
			break;
		default:
			tdp_kunit_race_touch(r, gfn, n & 3);
			break;
		}
		rcu_read_unlock();
		/* No CPU uses the tree, so there is nothing to flush. */
		tdp_gather_flushed(&r->gather);
		/* What is broken might not even have an end. */
		if (r->wrong || atomic_read(&tdp_kunit_seen.warnings))
			break;
		cond_resched();
	}
	complete(&r->over);
	return 0;
}

static void tdp_kunit_race(struct kunit *test)
{
	const struct tdp_kunit_format *f = test->param_value;
	struct tdp_kunit_tree *t = test->priv;
	struct tdp_kunit_racer *racers, *r;
	int i, level, nr_threads = 0;

	racers = kunit_kcalloc(test, TDP_KUNIT_RACERS, sizeof(*racers),
			       GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, racers);

	for (i = 0; i < TDP_KUNIT_RACERS; i++) {
		r = &racers[i];
		r->f = f;
		r->pgt = &t->pgt;
		prandom_seed_state(&r->rnd, i + 1);
		init_completion(&r->over);
		r->task = kthread_create(tdp_kunit_race_thread, r,
					 "tdp_kunit/%d", i);
		if (IS_ERR(r->task))
			continue;
		get_task_struct(r->task);
		nr_threads++;
	}
	for (i = 0; i < TDP_KUNIT_RACERS; i++) {
		if (!IS_ERR(racers[i].task))
			wake_up_process(racers[i].task);
	}
	for (i = 0; i < TDP_KUNIT_RACERS; i++) {
		r = &racers[i];
		if (IS_ERR(r->task))
			continue;
		wait_for_completion(&r->over);
		kthread_stop_put(r->task);
		KUNIT_EXPECT_EQ(test, r->wrong, 0);
		KUNIT_EXPECT_GT(test, r->done, 0);
		t->gather.tables += r->gather.tables;
		for (level = 1; level <= TDP_MAX_LEVELS; level++)
			t->gather.leaves[level - 1] +=
				r->gather.leaves[level - 1];
	}
	KUNIT_EXPECT_EQ(test, nr_threads, TDP_KUNIT_RACERS);
	tdp_kunit_check_counts(test);
}

static struct kunit_case tdp_kunit_cases[] = {
	KUNIT_CASE_PARAM(tdp_kunit_kinds, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_flags, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_split_child, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_make_block, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_states, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_walk, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_restart, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_gather, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_set_shared, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_set_closed, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_set_exclusive, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_lost, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_lost_link, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_bugs, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_split, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_remove, tdp_kunit_gen_params),
	KUNIT_CASE_PARAM(tdp_kunit_race, tdp_kunit_gen_params),
	{}
};

static struct kunit_suite tdp_kunit_suite = {
	.name = "kvm_tdp_" __stringify(TDP_KUNIT_FORMAT),
	.init = tdp_kunit_init,
	.exit = tdp_kunit_exit,
	.test_cases = tdp_kunit_cases,
};

kunit_test_suite(tdp_kunit_suite);

MODULE_DESCRIPTION("KUnit tests of KVM's TDP page tables");
MODULE_LICENSE("GPL");
