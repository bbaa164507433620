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
		out[nr++] = tdp_pte_make_table(fmt, 0x5000, model_pinned());
		out[nr++] = tdp_pte_make_table(fmt, 0x7000, 0);
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
	bool removes = from == TDP_TABLE && to != TDP_TABLE;
	enum tdp_flush flush = TDP_FLUSH_NOTHING;

	if (removes)
		flush = TDP_FLUSH_TABLE;
	else if (from == TDP_LEAF && to == TDP_LEAF)
		flush = moved || tdp_pte_downgrades(fmt, old, new) ?
			TDP_FLUSH_LEAF : TDP_FLUSH_NOTHING;
	else if (from == TDP_LEAF && to != TDP_TABLE)
		flush = TDP_FLUSH_LEAF;

	CHECK(c.leaves == (to == TDP_LEAF) - (from == TDP_LEAF));
	CHECK(c.flush == flush, "%llx to %llx at level %d: %d, not %d",
	      (u64)old, (u64)new, level, c.flush, flush);
	CHECK(c.removes_table == removes);
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
	       a->notes == b->notes && a->levels == b->levels &&
	       !memcmp(a->leaves, b->leaves, sizeof(a->leaves));
}

/* The last change was traced as it was. */
static void check_traced(const struct tdp_iter *iter, tdp_pte_t old,
			 tdp_pte_t new, unsigned int nr)
{
	CHECK(traced.nr == nr);
	CHECK(traced.pgt == iter->pgt && traced.gfn == iter->gfn &&
	      traced.level == iter->level);
	CHECK(traced.old == old && traced.new == new,
	      "%llx to %llx was traced as %llx to %llx", (u64)old, (u64)new,
	      traced.old, traced.new);
}

/* A lost race: nothing was done, and the snapshot is what is there now. */
static void check_lost(struct tree *t, gfn_t gfn, int level, tdp_pte_t old,
		       tdp_pte_t others)
{
	struct tdp_gather before;
	struct tdp_iter iter;
	unsigned int nr_traced;
	void *table = NULL;
	int accounted;
	tdp_pte_t *pte;
	bool done;

	tree_set(t, gfn, level, old, TDP_EXCLUSIVE);
	accounted = nr_accounted;
	nr_traced = traced.nr;
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
		done = tdp_iter_split(&iter, &t->gather, NEW_TABLE(table, 0),
				      rnd(2));
	else
		done = tdp_iter_link(&iter, &t->gather, NEW_TABLE(table, 0));
	store_hook = NULL;
	CHECK(!done);
	CHECK(*pte == others && iter.old == others);
	CHECK(gather_same(&before, &t->gather));
	CHECK(accounted == nr_accounted && nr_traced == traced.nr);
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
 * The store of an exclusive owner: what hardware and lockless paths do to a
 * leaf between its snapshot and its store is not lost, and counts for the flush.
 */
static void check_exclusive(struct tree *t, gfn_t gfn, int level, tdp_pte_t old,
			    tdp_pte_t others, tdp_pte_t new)
{
	tdp_pte_t *pte = tree_find(t, gfn, &level), now;
	unsigned int nr_traced = traced.nr;
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

	CHECK(iter.old == new);
	CHECK(g.nr_broken == (tdp_fmt_maintains_unmapped(fmt) &&
			      new == tdp_pte_none(fmt)));
	now = g.nr_broken ? tdp_pte_broken(fmt) : new;
	CHECK(*pte == now);
	check_traced(&iter, others, now, nr_traced + 1);
	CHECK(g.flush == owed(tdp_pte_change(fmt, others, new, level).flush));
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

/* One attempt to change a leaf, which owes nothing. */
static void check_update(struct tree *t, gfn_t gfn, int level, tdp_pte_t old,
			 tdp_pte_t others, tdp_pte_t new)
{
	tdp_pte_t *pte = tree_find(t, gfn, &level);
	struct tdp_gather before = t->gather;
	unsigned int nr_traced = traced.nr;
	int accounted = nr_accounted;
	bool won = old == others;
	struct tdp_iter iter;

	*pte = old;
	others_pte = others;

	rcu_read_lock();
	stand(t, &iter, gfn, level);
	store_hook = others_store;
	CHECK(tdp_iter_update(&iter, new) == won);
	store_hook = NULL;
	rcu_read_unlock();

	CHECK(*pte == (won ? new : others), "%llx, %llx by others, is %llx",
	      (u64)old, (u64)others, (u64)*pte);
	CHECK(iter.old == *pte && iter.level == level);
	if (won)
		check_traced(&iter, old, new, nr_traced + 1);
	CHECK(traced.nr == nr_traced + won);
	CHECK(gather_same(&before, &t->gather));
	CHECK(accounted == nr_accounted);
	*pte = old;
}

static void test_update(void)
{
	tdp_pte_t leaves[MAX_LEAVES], s[MAX_SAMPLES];
	unsigned int i, j, nr, nr_s;
	struct tree t;
	int level;

	tree_init(&t);
	for (level = 1; level <= max_leaf_level(); level++) {
		nr = all_leaves(level, random_pfn(level), leaves);
		nr_s = samples(level, s);
		tree_set(&t, 0, level, leaves[0], TDP_EXCLUSIVE);
		for (i = 0; i < nr; i++) {
			tdp_pte_t old = leaves[i], new = leaves[rnd(nr)];
			tdp_pte_t fixed = sw_lockless(old, level);

			for (j = 0; j < nr; j++)
				check_update(&t, 0, level, old, old, leaves[j]);
			check_update(&t, 0, level, old, fixed, new);
			/* Also if others did just that. */
			check_update(&t, 0, level, old, fixed, fixed);
			check_update(&t, 0, level, old,
				     hw_access(old, level, TEST_W), new);
			for (j = 0; j < nr_s; j++)
				check_update(&t, 0, level, old, s[j], new);
		}
		tree_set(&t, 0, level, leaves[0], TDP_EXCLUSIVE);
	}
	tree_destroy(&t);
}

static void check_update_bug(struct tree *t, int level, tdp_pte_t old,
			     tdp_pte_t new, int warnings)
{
	tdp_pte_t *pte = tree_find(t, 0, &level), was = *pte;
	struct tdp_iter iter;

	*pte = old;
	rcu_read_lock();
	stand(t, &iter, 0, level);
	expect_warnings = warnings;
	tdp_iter_update(&iter, new);
	CHECK(!expect_warnings, "%llx became %llx", (u64)old, (u64)new);
	rcu_read_unlock();
	*pte = was;
}

/* An update is for leaves, and maps the same. */
static void test_update_bugs(void)
{
	unsigned int i, nr;
	struct tree t;
	int level;

	tree_init(&t);
	for (level = 1; level <= max_leaf_level(); level++) {
		tdp_pte_t leaf = tdp_pte_make_leaf(fmt, 0, level, TDP_YOUNG, 0);
		tdp_pte_t none = tdp_pte_none(fmt);
		tdp_pte_t frozen = tdp_pte_frozen(fmt);
		tdp_pte_t leaves[MAX_LEAVES];

		tree_set(&t, 0, level, leaf, TDP_EXCLUSIVE);
		/* These have the leaf's address, so that they warn once. */
		check_update_bug(&t, level, none, leaf, 1);
		check_update_bug(&t, level, frozen, leaf, 1);
		check_update_bug(&t, level, leaf, none, 1);
		check_update_bug(&t, level, leaf, frozen, 1);
		check_update_bug(&t, level, none, none, 2);
		if (level > 1) {
			tdp_pte_t table = tdp_pte_make_table(fmt, 0, 0);

			check_update_bug(&t, level, table, leaf, 1);
			check_update_bug(&t, level, leaf, table, 1);
			check_update_bug(&t, level, table,
					 tdp_pte_unpin_table(fmt, table), 2);
		}

		nr = all_leaves(level, model_span(level), leaves);
		for (i = 0; i < nr; i++) {
			check_update_bug(&t, level, leaf, leaves[i], 1);
			check_update_bug(&t, level, leaves[i], leaf, 1);
		}
	}
	tree_destroy(&t);
}

/* The same table, remembered differently. */
static void check_same_table(struct tree *t, struct tdp_iter *iter, u64 attr,
			     enum tdp_mode mode)
{
	int root = root_level(), level = root;
	tdp_pte_t *pte = tree_find(t, 0, &level);
	tdp_pte_t old = *pte, new, others;
	struct tdp_gather before = t->gather;
	unsigned int nr_traced = traced.nr;
	u64 marks = model_table_marks();

	new = tdp_pte_make_table(fmt, hw_view(old, root).phys, attr);

	/* Who loses leaves it as others made it. */
	if (mode != TDP_EXCLUSIVE) {
		others = tdp_pte_make_table(fmt, hw_view(old, root).phys,
					    attr ^ (marks & -marks));
		*pte = new;
		stand(t, iter, 0, root);
		others_pte = others;
		store_hook = others_store;
		CHECK(!tdp_iter_set(iter, &t->gather, old, mode));
		store_hook = NULL;
		CHECK(*pte == others && iter->old == others);
		CHECK(traced.nr == nr_traced);
		*pte = old;
	}

	stand(t, iter, 0, root);
	CHECK(tdp_iter_set(iter, &t->gather, new, mode));
	CHECK(*pte == new && iter->old == new);
	check_traced(iter, old, new, nr_traced + 1);
	CHECK(gather_same(&before, &t->gather));
	CHECK(tdp_pte_table_pinned(fmt, *pte) == !!(attr & model_pinned()));
	check_counts(t);
}

static void test_same_table(void)
{
	int i, l, root = root_level();
	struct tdp_gather before;
	tdp_pte_t *pte, leaf;
	struct tdp_iter iter;
	struct tree t;
	void *other;

	if (root == 1)
		test_skip("no tables");
	tree_init(&t);
	leaf = tdp_pte_make_leaf(fmt, 5, 1, TDP_YOUNG, model_attr());
	tree_set(&t, 0, 1, leaf, TDP_SHARED);
	rcu_read_lock();
	for (i = 0; i < 20; i++)
		check_same_table(&t, &iter, random_table_attr(),
				 i & 1 ? TDP_EXCLUSIVE : TDP_SHARED);

	/* The walk goes on into it, and all is there. */
	stand(&t, &iter, 0, root);
	CHECK(tdp_iter_set(&iter, &t.gather,
			   tdp_pte_unpin_table(fmt, iter.old), TDP_SHARED));
	for (l = root - 1; l; l--) {
		iter.min_level = 1;
		tdp_iter_advance(&iter);
		CHECK(iter.level == l && iter.gfn == 0);
	}
	CHECK(iter.old == leaf);

	/* Another one is a bug, and nothing more is broken by it. */
	other = alloc_table(root - 1);
	for (i = TDP_SHARED; i <= TDP_EXCLUSIVE; i++) {
		tdp_pte_t old;

		l = root;
		pte = tree_find(&t, 0, &l);
		old = *pte;
		before = t.gather;
		stand(&t, &iter, 0, root);
		expect_warnings = 1;
		CHECK(tdp_iter_set(&iter, &t.gather,
				   tdp_pte_make_table(fmt,
						      tdp_table_to_phys(other),
						      0), i));
		CHECK(!expect_warnings);
		CHECK(gather_same(&before, &t.gather));
		*pte = old;
	}
	rcu_read_unlock();
	free_unlinked(other);
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
		CHECK(set_and_make(&iter, &t.gather,
				   tdp_pte_make_leaf(fmt, 4, 1, TDP_YOUNG, 0),
				   mode));
		CHECK(!expect_warnings);
		CHECK(t.gather.flush == owed(TDP_FLUSH_LEAF));
		tdp_gather_flushed(&t.gather);

		/* Writable to the guest, but not to the host. */
		expect_warnings = 1;
		CHECK(tdp_iter_set(&iter, &t.gather,
				   tdp_pte_make_leaf(fmt, 4, 1,
						     TDP_YOUNG | TDP_WRITE, 0),
				   mode));
		CHECK(!expect_warnings);
		rcu_read_unlock();
	}
	tree_destroy(&t);
}

/* In one step, or in two: nobody sees the table before the flush. */
static void check_split_step(struct tdp_iter *iter, struct tdp_gather *g,
			     tdp_pte_t huge)
{
	if (model_breaks() == BREAKS_SIZE) {
		tdp_pte_t broken = tdp_pte_broken(fmt);

		CHECK(*iter->ptep == broken && g->nr_broken == 1);
		check_traced(iter, huge, broken, traced.nr);
		huge = broken;
	}
	tdp_gather_make(iter->pgt, g);
	check_traced(iter, huge, iter->old, traced.nr);
}

/* Splits one huge leaf, with or without execute permission for its parts. */
static void check_split(int level, kvm_pfn_t pfn, tdp_pte_t huge, bool exec)
{
	unsigned int access = hw_allows(huge, level);
	unsigned int back = hw_allows(sw_restored(huge, level), level);
	int i, l, nr = 1 << model_nr_bits(level - 1);
	u64 attr = random_table_attr();
	struct tdp_gather before;
	struct tdp_iter iter;
	struct tree t;
	tdp_pte_t *pte;

	/* What is old allows nothing yet. */
	if (exec) {
		access |= access ? TEST_X : 0;
		back |= TEST_X;
	}

	tree_init(&t);
	tree_set(&t, 0, level, huge, TDP_SHARED);
	before = t.gather;

	rcu_read_lock();
	stand(&t, &iter, 0, level);
	CHECK(tdp_iter_split(&iter, &t.gather,
			     NEW_TABLE(alloc_table(level - 1), attr), exec));
	check_split_step(&iter, &t.gather, huge);
	rcu_read_unlock();

	/* No debt, unless the leaf was broken. */
	if (model_breaks() == BREAKS_SIZE) {
		before.end = model_span(level);
		before.flush = TDP_FLUSH_LEAF;
		before.level = level;
	}
	before.tables++;
	before.leaves[level - 1]--;
	before.leaves[level - 2] += nr;
	before.levels |= 1u << (level - 2);
	CHECK(gather_same(&before, &t.gather));
	check_counts(&t);

	l = level;
	pte = tree_find(&t, 0, &l);
	CHECK(*pte == iter.old && hw_view(*pte, level).table);
	CHECK((*pte & model_table_marks()) == attr);

	for (i = 0; i < nr; i++) {
		gfn_t gfn = i * model_span(level - 1);
		struct view v;

		l = level - 1;
		pte = tree_find(&t, gfn, &l);
		v = hw_view(*pte, l);
		CHECK(l == level - 1 && !v.table && !v.bad);
		CHECK(v.phys == (pfn + gfn) << PAGE_SHIFT);
		CHECK(v.access == access, "%llx became %llx", (u64)huge,
		      (u64)*pte);
		CHECK(hw_allows(sw_restored(*pte, l), l) == back);
		CHECK(v.accessed == hw_view(huge, level).accessed);
		CHECK(v.dirty == hw_view(huge, level).dirty);
		CHECK(sw_marks(*pte) == sw_marks(huge));
	}
	tree_destroy(&t);
}

static void test_split(void)
{
	tdp_pte_t leaves[MAX_LEAVES];
	unsigned int n, nr;
	int level;

	if (max_leaf_level() == 1)
		test_skip("no huge leaves");
	for (level = 2; level <= max_leaf_level(); level++) {
		kvm_pfn_t pfn = random_pfn(level);

		nr = all_leaves(level, pfn, leaves);
		/* Large tables take their time. */
		for (n = 0; n < nr; n += model_nr_bits(1) > 9 ? 7 : 1) {
			check_split(level, pfn, leaves[n], false);
			check_split(level, pfn, leaves[n], true);
		}
	}
}

/* What a walk owes is the tree's. */
static void settle(struct tree *t, struct tdp_gather *g)
{
	int i;

	t->gather.tables += g->tables;
	for (i = 0; i < root_level(); i++)
		t->gather.leaves[i] += g->leaves[i];
	t->gather.levels |= g->levels;
	tdp_gather_flushed(g);
}

/* What the backend was told to maintain. */
static unsigned int nr_unmapped;
static u64 last_unmapped;

void tdp_maintain_unmapped(const struct tdp_pgtable *pgt, u64 pte, int level)
{
	CHECK(tdp_pte_kind(fmt, pte, level) == TDP_LEAF);
	nr_unmapped++;
	last_unmapped = pte;
}

/*
 * Someone else removes the table in which an entry is broken: who broke it takes
 * back what it would have become.  With @old at level @at, the entry at @level
 * becomes @new, or a table of smaller leaves if that is NULL.
 */
static void check_break_lost(int at, tdp_pte_t old, int level,
			     const tdp_pte_t *new)
{
	struct tdp_gather mine, others;
	struct tdp_iter iter, above;
	tdp_pte_t *lowest;
	struct tree t;

	tree_init(&t);
	tree_set(&t, 0, at, old, TDP_SHARED);
	lowest = tree_find(&t, 0, &at);
	tdp_gather_init(&mine);
	tdp_gather_init(&others);

	rcu_read_lock();
	stand(&t, &iter, 0, level);
	if (new)
		CHECK(tdp_iter_set(&iter, &mine, *new, TDP_SHARED));
	else
		CHECK(tdp_iter_split(&iter, &mine,
				     NEW_TABLE(alloc_table(level - 1), 0),
				     false));
	CHECK(mine.nr_broken == 1);
	/* A table that goes is not taken apart while CPUs wait. */
	CHECK(at == level || *lowest == old);

	stand(&t, &above, 0, level + 1);
	CHECK(set_and_make(&above, &others, tdp_pte_none(fmt), TDP_SHARED));
	mine.maintain = true;
	nr_unmapped = 0;
	tdp_gather_make(&t.pgt, &mine);
	CHECK(!mine.nr_broken);
	/* Nobody maps what was broken any more. */
	CHECK(nr_unmapped == tdp_fmt_maintains_unmapped(fmt));
	CHECK(*iter.ptep == tdp_pte_frozen(fmt), "a removed entry was made");

	/* Between the two nothing is left. */
	settle(&t, &mine);
	settle(&t, &others);
	check_counts(&t);
	rcu_read_unlock();
	tree_destroy(&t);
}

static void test_break_lost(void)
{
	tdp_pte_t none = tdp_pte_none(fmt), leaf;
	int level;

	if (model_breaks() != BREAKS_SIZE)
		test_skip("breaks nothing");
	for (level = 1; level < root_level(); level++) {
		if (!model_leaf_allowed(level))
			continue;
		leaf = tdp_pte_make_leaf(fmt, 0, level, TDP_YOUNG, 0);
		check_break_lost(level, leaf, level, &none);
		if (level > 1)
			check_break_lost(level, leaf, level, NULL);
	}
}

/* A block takes the place of a table. */
static void test_break_block_lost(void)
{
	tdp_pte_t leaf = tdp_pte_make_leaf(fmt, 0, 1, TDP_YOUNG, 0), block;

	if (model_breaks() != BREAKS_SIZE || root_level() < 3 ||
	    !model_leaf_allowed(2))
		test_skip("no such blocks");
	block = tdp_pte_make_leaf(fmt, 0, 2, TDP_YOUNG, 0);
	check_break_lost(1, leaf, 2, &block);
}

/* An entry for which there is no room stays as it is: nobody would make it. */
static void test_break_full(void)
{
	tdp_pte_t leaf = tdp_pte_make_leaf(fmt, 0, 1, TDP_YOUNG, 0);
	struct tdp_gather g = {};
	struct tdp_iter iter;
	struct tree t;

	if (model_breaks() == BREAKS_NOTHING)
		test_skip("breaks nothing");
	tree_init(&t);
	tree_set(&t, 0, 1, leaf, TDP_SHARED);

	rcu_read_lock();
	stand(&t, &iter, 0, 1);
	g.nr_broken = TDP_MAX_BROKEN;
	expect_warnings = 1;
	CHECK(!tdp_iter_set(&iter, &g, tdp_pte_none(fmt), TDP_SHARED));
	CHECK(!expect_warnings && *iter.ptep == leaf);
	rcu_read_unlock();
	tree_destroy(&t);
}

/* What lies beside an entry that is to be made is others' as well as this walk's. */
static void test_break_private(void)
{
	gfn_t span = model_span(2);
	struct tdp_gather g;
	struct tdp_iter iter;
	struct tree t;

	if (model_breaks() != BREAKS_SIZE || root_level() < 2 ||
	    !model_leaf_allowed(2) || tdp_fmt_end_gfn(fmt) < 2 * span)
		test_skip("no such leaves");
	tree_init(&t);
	tree_set(&t, 0, 2, tdp_pte_make_leaf(fmt, 0, 2, TDP_YOUNG, 0),
		 TDP_SHARED);
	tree_set(&t, span, 1, tdp_pte_none(fmt), TDP_SHARED);
	tdp_gather_init(&g);

	rcu_read_lock();
	stand(&t, &iter, 0, 2);
	CHECK(tdp_iter_split(&iter, &g, NEW_TABLE(alloc_table(1), 0), false));
	CHECK(g.nr_broken == 1);

	stand(&t, &iter, span, 1);
	others_pte = model_annotated(7);
	store_hook = others_store;
	CHECK(!tdp_iter_set(&iter, &g, tdp_pte_make_leaf(fmt, 1, 1, 0, 0),
			    TDP_SHARED));
	store_hook = NULL;
	CHECK(*iter.ptep == others_pte);
	*iter.ptep = tdp_pte_none(fmt);

	tdp_gather_make(&t.pgt, &g);
	settle(&t, &g);
	check_counts(&t);
	rcu_read_unlock();
	tree_destroy(&t);
}

/* Zap the entry of gfn 0 at a level.  Return: how many leaves were maintained. */
static unsigned int maintained(struct tree *t, int level, enum tdp_mode mode,
			       tdp_pte_t new, bool maintain)
{
	struct tdp_iter iter;

	rcu_read_lock();
	stand(t, &iter, 0, level);
	nr_unmapped = 0;
	CHECK(tdp_iter_set(&iter, &t->gather, new, mode));
	/* Not before the flush. */
	CHECK(!nr_unmapped && t->gather.nr_broken == 1);
	CHECK(*iter.ptep == tdp_pte_broken(fmt));
	t->gather.maintain = maintain;
	tdp_gather_make(&t->pgt, &t->gather);
	tdp_gather_flushed(&t->gather);
	rcu_read_unlock();
	return nr_unmapped;
}

static void test_unmapped(void)
{
	tdp_pte_t none = tdp_pte_none(fmt), leaf, block;
	enum tdp_mode mode;
	struct tree t;
	int i;

	if (!tdp_fmt_maintains_unmapped(fmt))
		test_skip("there is nothing to do");

	tree_init(&t);
	for (mode = TDP_SHARED; mode <= TDP_EXCLUSIVE; mode++) {
		leaf = tdp_pte_make_leaf(fmt, 7, 1, TDP_YOUNG, 0);
		tree_set(&t, 0, 1, leaf, mode);
		CHECK(maintained(&t, 1, mode, none, true) == 1);
		CHECK(last_unmapped == leaf);
		tree_set(&t, 0, 1, leaf, mode);
		CHECK(!maintained(&t, 1, mode, none, false));

		/* All of a table. */
		if (root_level() < 2)
			continue;
		for (i = 0; i < 3; i++) {
			leaf = tdp_pte_make_leaf(fmt, i, 1, TDP_YOUNG, 0);
			tree_set(&t, i, 1, leaf, mode);
		}
		CHECK(maintained(&t, 2, mode, none, true) == 3);

		/* Unless it stays mapped. */
		if (model_breaks() != BREAKS_SIZE || !model_leaf_allowed(2))
			continue;
		block = tdp_pte_make_leaf(fmt, 0, 2, TDP_YOUNG, 0);
		tree_set(&t, 0, 1, leaf, mode);
		CHECK(!maintained(&t, 2, mode, block, true));
		CHECK(maintained(&t, 2, mode, none, true) == 1);
	}
	tree_destroy(&t);
}

const struct test pte_tests[] = {
	{ "pte_change", test_pairs },
	{ "pte_lost", test_lost },
	{ "pte_exclusive", test_exclusive },
	{ "pte_update", test_update },
	{ "pte_update_bugs", test_update_bugs },
	{ "pte_same_table", test_same_table },
	{ "pte_bugs", test_bugs },
	{ "pte_split", test_split },
	{ "pte_break_private", test_break_private },
	{ "pte_break_lost", test_break_lost },
	{ "pte_break_block_lost", test_break_block_lost },
	{ "pte_break_full", test_break_full },
	{ "pte_unmapped", test_unmapped },
	{ }
};
