// SPDX-License-Identifier: GPL-2.0-only
/*
 * The write protocol: changes of single entries, alone and in races.
 */
#include "test.h"

#define MAX_SAMPLES 64

/* Entries of all kinds. */
static unsigned int samples(int level, tdp_pte_t *out)
{
	unsigned int flags, nr = 0;
	int i;

	out[nr++] = tdp_pte_none(fmt);
	out[nr++] = tdp_pte_frozen(fmt);
	out[nr++] = model_annotated(1);
	out[nr++] = model_annotated(rnd(-1ull));
	if (level > 1) {
		out[nr++] = tdp_pte_make_table(fmt, 0x5000, 0);
		out[nr++] = tdp_pte_make_table(fmt, 0x7000, 0);
		out[nr++] = tdp_pte_make_table(fmt, 0x7000, model_table_pin());
	}
	if (!model_leaf_allowed(level))
		return nr;
	for (i = 0; i < 2; i++) {
		for (flags = 0; flags < 16; flags++) {
			if ((flags & TDP_WRITE) && !(flags & TDP_HOST_WRITE))
				continue;
			out[nr++] = tdp_pte_make_leaf(fmt,
						      i * model_span(level),
						      level, flags,
						      model_attr());
		}
	}
	return nr;
}

static void check_change(tdp_pte_t old, tdp_pte_t new, int level)
{
	struct tdp_change c = tdp_pte_change(fmt, old, new, level);
	enum tdp_kind from = tdp_pte_kind(fmt, old, level);
	enum tdp_kind to = tdp_pte_kind(fmt, new, level);
	bool moved = from == to && (from == TDP_LEAF || from == TDP_TABLE) &&
		     hw_view(old, level).phys != hw_view(new, level).phys;
	enum tdp_flush flush = TDP_FLUSH_NOTHING;

	if (from == TDP_TABLE && to != TDP_TABLE)
		flush = TDP_FLUSH_TABLE;
	else if (from == TDP_LEAF && to == TDP_LEAF)
		flush = moved || tdp_pte_downgrades(fmt, old, new) ?
			TDP_FLUSH_LEAF : TDP_FLUSH_NOTHING;
	else if (from == TDP_LEAF && to != TDP_TABLE)
		flush = TDP_FLUSH_LEAF;

	CHECK(c.leaves == (to == TDP_LEAF) - (from == TDP_LEAF));
	CHECK(c.flush == flush, "%llx to %llx at level %d: %d, not %d",
	      (u64)old, (u64)new, level, c.flush, flush);
	CHECK(c.removes_table == (from == TDP_TABLE && to != TDP_TABLE));
	CHECK(c.legal == !moved);
}

static void test_pairs(void)
{
	tdp_pte_t s[MAX_SAMPLES];
	unsigned int i, j, nr;
	int level;

	for (level = 1; level <= root_level(); level++) {
		nr = samples(level, s);
		for (i = 0; i < nr; i++) {
			for (j = 0; j < nr; j++)
				check_change(s[i], s[j], level);
		}
	}
}

/* What someone else makes of an entry just before the next store. */
static tdp_pte_t others_pte;

static void others_store(tdp_pte_t *entry, int level)
{
	*entry = others_pte;
}

static bool gather_same(const struct tdp_gather *a, const struct tdp_gather *b)
{
	return a->start == b->start && a->end == b->end &&
	       a->flush == b->flush && a->level == b->level &&
	       a->removed == b->removed && a->tables == b->tables &&
	       !memcmp(a->leaves, b->leaves, sizeof(a->leaves));
}

/* A lost race: nothing was done, and the snapshot is what is there now. */
static void check_lost(struct tree *t, gfn_t gfn, int level, tdp_pte_t old,
		       tdp_pte_t others)
{
	struct tdp_gather before;
	struct tdp_iter iter;
	void *table = NULL;
	int accounted;
	tdp_pte_t *pte;
	bool done;

	tree_set(t, gfn, level, old, TDP_EXCLUSIVE);
	accounted = nr_accounted;
	pte = tree_find(t, gfn, &level);
	before = t->gather;
	others_pte = others;

	rcu_read_lock();
	stand(t, &iter, gfn, level);
	if (level > 1 && rnd(2))
		table = alloc_table(level - 1);
	store_hook = others_store;
	if (!table)
		done = tdp_iter_set(&iter, &t->gather, model_annotated(7),
				    TDP_SHARED);
	else if (tdp_iter_kind(&iter) == TDP_LEAF)
		done = tdp_iter_split(&iter, &t->gather, NEW_TABLE(table), false);
	else
		done = tdp_iter_link(&iter, &t->gather, NEW_TABLE(table));
	store_hook = NULL;
	CHECK(!done);
	CHECK(*pte == others && iter.old == others);
	CHECK(gather_same(&before, &t->gather));
	CHECK(accounted == nr_accounted);
	rcu_read_unlock();

	if (table)
		free_unlinked(table);
	/* Behind the protocol's back, as were the others. */
	*pte = old;
}

static void test_lost(void)
{
	tdp_pte_t s[MAX_SAMPLES];
	unsigned int i, j, nr;
	struct tree t;
	int level;

	tree_init(&t);
	for (level = 1; level <= root_level(); level++) {
		nr = samples(level, s);
		for (i = 0; i < nr; i++) {
			enum tdp_kind kind = tdp_pte_kind(fmt, s[i], level);

			if (kind == TDP_FROZEN || kind == TDP_TABLE)
				continue;
			for (j = 0; j < nr; j++) {
				if (s[i] != s[j])
					check_lost(&t, 0, level, s[i], s[j]);
			}
		}
	}
	tree_destroy(&t);
}

/*
 * The store of an exclusive owner: what hardware and lockless paths do to a leaf
 * between its snapshot and its store counts for the flush.
 */
static void check_exclusive(struct tree *t, gfn_t gfn, int level, tdp_pte_t old,
			    tdp_pte_t others, tdp_pte_t new)
{
	tdp_pte_t *pte = tree_find(t, gfn, &level);
	struct tdp_gather g;
	struct tdp_iter iter;

	tdp_gather_init(&g);
	*pte = old;
	others_pte = others;

	rcu_read_lock();
	stand(t, &iter, gfn, level);
	store_hook = others_store;
	CHECK(tdp_iter_set(&iter, &g, new, TDP_EXCLUSIVE));
	store_hook = NULL;
	rcu_read_unlock();

	CHECK(*pte == new);
	CHECK(g.flush == tdp_pte_change(fmt, others, new, level).flush,
	      "%llx changed to %llx is lost", (u64)old, (u64)others);
	*pte = tdp_pte_none(fmt);
}

static void test_exclusive(void)
{
	tdp_pte_t leaves[MAX_LEAVES];
	gfn_t gfn = random_gfn();
	unsigned int i, nr;
	struct tree t;
	int level;

	tree_init(&t);
	for (level = root_level(); level; level--) {
		tree_set(&t, gfn, level, tdp_pte_none(fmt), TDP_EXCLUSIVE);
		if (!model_leaf_allowed(level))
			continue;
		nr = all_leaves(level, random_pfn(level), leaves);
		for (i = 0; i < nr; i++) {
			tdp_pte_t old = leaves[i];
			tdp_pte_t fixed = sw_lockless(old, level);
			tdp_pte_t others[] = {
				old,
				hw_access(old, level, TEST_R),
				hw_access(old, level, TEST_W),
				fixed,
				hw_access(fixed, level, TEST_W),
			};
			int j;

			for (j = 0; j < 5; j++) {
				check_exclusive(&t, gfn, level, old, others[j],
						old);
				check_exclusive(&t, gfn, level, old, others[j],
						tdp_pte_none(fmt));
				check_exclusive(&t, gfn, level, old, others[j],
						leaves[rnd(nr)]);
			}
		}
	}
	tree_destroy(&t);
}

/* What is a bug of the caller warns. */
static void test_bugs(void)
{
	tdp_pte_t *pte, frozen = tdp_pte_frozen(fmt);
	struct tdp_gather before;
	struct tdp_iter iter;
	struct tree t;
	int mode;

	tree_init(&t);
	for (mode = TDP_SHARED; mode <= TDP_EXCLUSIVE; mode++) {
		/* Over an entry that someone else owns. */
		tree_set(&t, 0, 1, tdp_pte_none(fmt), mode);
		pte = tree_find(&t, 0, &(int){ 1 });
		*pte = frozen;
		before = t.gather;
		rcu_read_lock();
		stand(&t, &iter, 0, 1);
		expect_warnings = 1;
		CHECK(!tdp_iter_set(&iter, &t.gather, random_pte(1), mode));
		CHECK(!expect_warnings);
		rcu_read_unlock();
		CHECK(*pte == frozen && gather_same(&before, &t.gather));

		/* Other memory in place. */
		*pte = tdp_pte_none(fmt);
		tree_set(&t, 0, 1, tdp_pte_make_leaf(fmt, 3, 1, TDP_YOUNG, 0),
			 mode);
		rcu_read_lock();
		stand(&t, &iter, 0, 1);
		expect_warnings = 1;
		CHECK(tdp_iter_set(&iter, &t.gather,
				   tdp_pte_make_leaf(fmt, 4, 1, TDP_YOUNG, 0),
				   mode));
		CHECK(!expect_warnings);
		CHECK(t.gather.flush == TDP_FLUSH_LEAF);
		tdp_gather_flushed(&t.gather);
		rcu_read_unlock();
	}
	tree_destroy(&t);
}

static void test_split(void)
{
	int level, i;
	unsigned int n, nr;
	tdp_pte_t leaves[MAX_LEAVES];

	if (max_leaf_level() == 1)
		test_skip("no huge leaves");
	for (level = 2; level <= max_leaf_level(); level++) {
		kvm_pfn_t pfn = random_pfn(level);

		nr = all_leaves(level, pfn, leaves);
		for (n = 0; n < nr; n++) {
			struct tdp_gather before;
			struct tdp_iter iter;
			struct tree t;

			tree_init(&t);
			tree_set(&t, 0, level, leaves[n], TDP_SHARED);
			before = t.gather;

			rcu_read_lock();
			stand(&t, &iter, 0, level);
			CHECK(tdp_iter_split(&iter, &t.gather,
					     NEW_TABLE(alloc_table(level - 1)),
					     false));
			rcu_read_unlock();

			/* No debt. */
			before.tables++;
			before.leaves[level - 1]--;
			before.leaves[level - 2] += 1 << model_nr_bits(level - 1);
			CHECK(gather_same(&before, &t.gather));
			check_counts(&t);

			for (i = 0; i < 1 << model_nr_bits(level - 1); i++) {
				gfn_t gfn = i * model_span(level - 1);
				int l = level - 1;
				tdp_pte_t *pte = tree_find(&t, gfn, &l);
				struct view v = hw_view(*pte, l);

				CHECK(l == level - 1 && !v.table && !v.bad);
				CHECK(v.phys == (pfn + gfn) << 12);
				CHECK(v.access == hw_allows(leaves[n], level));
			}
			tree_destroy(&t);
		}
	}
}

/*
 * The update of a leaf that others may change at the same time: done whole, or
 * not at all and then the snapshot is what the others made.
 */
static void check_update(struct tree *t, gfn_t gfn, int level, tdp_pte_t old,
			 tdp_pte_t others, tdp_pte_t new)
{
	struct tdp_gather before = t->gather;
	tdp_pte_t *pte = tree_find(t, gfn, &level);
	struct tdp_iter iter;
	bool done;

	*pte = old;
	others_pte = others;
	rcu_read_lock();
	stand(t, &iter, gfn, level);
	store_hook = others_store;
	done = tdp_iter_update(&iter, new);
	store_hook = NULL;
	rcu_read_unlock();

	CHECK(done == (others == old));
	CHECK(*pte == (done ? new : others) && iter.old == *pte);
	CHECK(gather_same(&before, &t->gather));
	*pte = tdp_pte_none(fmt);
}

static void test_update(void)
{
	tdp_pte_t leaves[MAX_LEAVES];
	gfn_t gfn = random_gfn();
	struct tdp_iter iter;
	unsigned int i, nr;
	struct tree t;
	int level;

	tree_init(&t);
	for (level = root_level(); level; level--) {
		tree_set(&t, gfn, level, tdp_pte_none(fmt), TDP_EXCLUSIVE);
		if (!model_leaf_allowed(level))
			continue;
		nr = all_leaves(level, random_pfn(level), leaves);
		for (i = 0; i < nr; i++) {
			tdp_pte_t old = leaves[i], new = leaves[rnd(nr)];

			check_update(&t, gfn, level, old, old, new);
			check_update(&t, gfn, level, old, leaves[rnd(nr)], new);
			check_update(&t, gfn, level, old, tdp_pte_none(fmt),
				     new);
			check_update(&t, gfn, level, old, tdp_pte_frozen(fmt),
				     new);
		}

		/* It maps nothing that was not mapped, and no other memory. */
		rcu_read_lock();
		stand(&t, &iter, gfn, level);
		expect_warnings = 1;
		iter.old = leaves[0];
		tdp_iter_update(&iter, tdp_pte_make_leaf(fmt,
							 tdp_pte_pfn(fmt, leaves[0]) ^
							 model_span(level), level,
							 TDP_YOUNG, model_attr()));
		CHECK(!expect_warnings);
		rcu_read_unlock();
	}
	tree_destroy(&t);
}

/* A split that grants execution, and remembers why it was made. */
static void test_split_exec(void)
{
	struct tdp_new_table new = { .attr = model_table_pin() };
	tdp_pte_t leaves[MAX_LEAVES];
	unsigned int i, n, nr;
	struct tdp_iter iter;
	struct tree t;
	int level;

	for (level = 2; level <= max_leaf_level(); level++) {
		nr = all_leaves(level, 0, leaves);
		for (n = 0; n < nr; n++) {
			tdp_pte_t *table;

			tree_init(&t);
			tree_set(&t, 0, level, leaves[n], TDP_SHARED);
			rcu_read_lock();
			stand(&t, &iter, 0, level);
			new.table = alloc_table(level - 1);
			CHECK(tdp_iter_split(&iter, &t.gather, &new, true));
			CHECK(tdp_pte_table_pinned(fmt, iter.old));
			CHECK(!hw_view(iter.old, level).bad);
			table = tdp_pte_table(fmt, iter.old);
			for (i = 0; i < 1u << model_nr_bits(level - 1); i++) {
				tdp_pte_t was = tdp_pte_split_child(fmt, leaves[n],
								    level, i);

				CHECK(table[i] == tdp_pte_mkexec(fmt, was));
			}

			/* The same table, remembered differently. */
			expect_warnings = 0;
			CHECK(tdp_iter_set(&iter, &t.gather,
					   tdp_pte_unpin_table(fmt, iter.old),
					   TDP_SHARED));
			CHECK(!tdp_pte_table_pinned(fmt, iter.old));
			CHECK(tdp_pte_table(fmt, iter.old) == table);
			CHECK(!t.gather.removed &&
			      t.gather.flush == TDP_FLUSH_NOTHING);
			rcu_read_unlock();
			check_counts(&t);
			tree_destroy(&t);
		}
	}
}

const struct test pte_tests[] = {
	{ "pte_update", test_update },
	{ "pte_split_exec", test_split_exec },
	{ "pte_change", test_pairs },
	{ "pte_lost", test_lost },
	{ "pte_exclusive", test_exclusive },
	{ "pte_bugs", test_bugs },
	{ "pte_split", test_split },
	{ }
};
