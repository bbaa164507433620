// SPDX-License-Identifier: GPL-2.0-only
/*
 * What changes leave behind: debts of flushes, tables that are removed; and
 * random changes of whole trees.
 */
#include "test.h"

/* Gathers, against sets of what was added. */
static void test_gather(void)
{
	struct tdp_gather g;
	int round, i;

	for (round = 0; round < 2000; round++) {
		gfn_t start = -1ull, end = 0;
		enum tdp_flush flush = TDP_FLUSH_NOTHING;
		unsigned int levels = 0;
		int nr = rnd(5);

		tdp_gather_init(&g);
		for (i = 0; i < nr; i++) {
			gfn_t s = rnd(100), e = s + 1 + rnd(100);
			enum tdp_flush f = rnd(8) ? TDP_FLUSH_LEAF :
						    TDP_FLUSH_TABLE;
			int level = 1 + (rnd(4) ? 0 : rnd(3));

			tdp_gather_add(&g, s, e, level, f);
			start = min(start, s);
			end = max(end, e);
			flush = max(flush, f);
			levels |= f == TDP_FLUSH_LEAF ? 1u << level : 1u;
		}
		CHECK(g.end == end && g.flush == flush);
		CHECK(!nr || g.start == start);
		/* A hint is given only if it is right for all. */
		if (nr)
			CHECK(g.level == (levels & (levels - 1) ? 0 :
					  __builtin_ctz(levels)));
		CHECK(tdp_gather_is_empty(&g) == !nr);
		g.tables = 5;
		tdp_gather_flushed(&g);
		CHECK(!g.end && !g.flush && !g.level && g.tables == 5);
		CHECK(!tdp_gather_is_empty(&g));

		/* Counts of which nothing remains are still to be settled. */
		g.tables = 0;
		CHECK(tdp_gather_is_empty(&g));
		i = 1 + rnd(TDP_MAX_LEVELS);
		tdp_gather_leaves(&g, i, 3);
		CHECK(g.leaves[i - 1] == 3 && g.levels == 1u << (i - 1));
		tdp_gather_leaves(&g, i, -3);
		CHECK(!g.leaves[i - 1] && !tdp_gather_is_empty(&g));
	}
}

/*
 * What a removal counts that was not there when it began: a vCPU races with it,
 * as far as the mode lets it.
 */
static struct counts raced;
static enum tdp_mode race_mode;

/* Give notes to some of the tables that are linked; how many? */
static int note_tables(tdp_pte_t *table, int level)
{
	int i, noted = 0;
	u64 phys;

	if (rnd(2)) {
		tdp_table_set_note(tdp_table_to_page(table), table);
		noted++;
	}
	for (i = 0; i < 1 << model_nr_bits(level); i++) {
		if (tdp_pte_kind(fmt, table[i], level) != TDP_TABLE)
			continue;
		phys = hw_view(table[i], level).phys;
		noted += note_tables(tdp_phys_to_table(phys), level - 1);
	}
	return noted;
}

/* As the owner of a walk does, before the tables may go. */
static void take_notes_back(struct tdp_gather *g)
{
	struct page *page;

	for (page = g->removed; page; page = tdp_removed_next(page)) {
		if (!tdp_table_note(page))
			continue;
		CHECK(tdp_table_note(page) == page_table(page));
		tdp_table_set_note(page, NULL);
		g->notes--;
	}
}

static void race_removal(tdp_pte_t *entry, int level)
{
	enum tdp_kind kind = tdp_pte_kind(fmt, *entry, level);
	void *table;

	if (rnd(2))
		return;
	if (kind == TDP_LEAF) {
		if (rnd(2))
			*entry = sw_lockless(*entry, level);
		*entry = hw_access(*entry, level, 1u << rnd(3));
	}
	if (race_mode != TDP_SHARED || kind != TDP_NONE)
		return;
	if (level > 1 && !rnd(64)) {
		table = alloc_table(level - 1);
		tdp_account_table(table, 1);
		*entry = tdp_pte_make_table(fmt, tdp_table_to_phys(table),
					    random_table_attr());
		raced.tables++;
	} else {
		*entry = random_pte(level);
		if (tdp_pte_kind(fmt, *entry, level) == TDP_LEAF)
			raced.leaves[level - 1]++;
	}
}

/* All that was removed is beyond change, and is still there. */
static void check_removed(const struct tdp_gather *g, enum tdp_mode mode)
{
	int i, tables = 0;
	struct page *page;

	for (page = g->removed; page; page = tdp_removed_next(page)) {
		tdp_pte_t *table = page_table(page);

		CHECK(page->state == PAGE_TABLE && !page->accounted);
		for (i = 0; i < 1 << model_nr_bits(page->level); i++) {
			/* Nobody else can install anything. */
			if (mode == TDP_EXCLUSIVE &&
			    table[i] == tdp_pte_none(fmt))
				continue;
			CHECK(table[i] == tdp_pte_frozen(fmt), "entry is %llx",
			      (u64)table[i]);
		}
		tables++;
	}
	CHECK(tables == -g->tables, "%d of %d tables", tables, -g->tables);
}

/* Remove what is below the first entry of the root. */
static void check_remove(struct tree *t, tdp_pte_t new, enum tdp_mode mode)
{
	int root = root_level(), level = root, i;
	tdp_pte_t *pte = tree_find(t, 0, &level);
	struct tdp_gather g, before;
	struct counts c = { };
	struct tdp_iter iter;
	tdp_pte_t *table;
	int notes;

	table = tdp_phys_to_table(hw_view(*pte, root).phys);
	count_tree(table, root - 1, &c);
	notes = note_tables(table, root - 1);
	memset(&raced, 0, sizeof(raced));
	race_mode = mode;
	tdp_gather_init(&g);

	rcu_read_lock();
	stand(t, &iter, 0, root);
	store_hook = race_removal;
	CHECK(tdp_iter_set(&iter, &g, new, mode));
	store_hook = NULL;
	tdp_gather_make(&t->pgt, &g);

	CHECK(*pte == new);
	CHECK(g.flush == owed(TDP_FLUSH_TABLE) && !g.level);
	CHECK(g.start == 0 && g.end == (g.flush ? model_span(root) : 0));
	check_removed(&g, mode);
	CHECK(g.tables == -c.tables - raced.tables);
	c.leaves[root - 1] -= tdp_pte_kind(fmt, new, root) == TDP_LEAF;
	for (i = 0; i < root; i++) {
		CHECK(g.leaves[i] == -c.leaves[i] - raced.leaves[i],
		      "%d leaves, %d, and %d by others", g.leaves[i],
		      c.leaves[i], raced.leaves[i]);
		/* Or nobody settles the counts. */
		CHECK(!g.leaves[i] || (g.levels & (1u << i)));
		t->gather.leaves[i] += g.leaves[i] + raced.leaves[i];
	}
	t->gather.tables += g.tables + raced.tables;
	t->gather.levels |= g.levels;

	CHECK(g.notes == notes, "%d of %d notes", g.notes, notes);
	take_notes_back(&g);
	CHECK(!g.notes, "%d notes are not there", g.notes);

	/* Not before the flush; not before readers are gone. */
	CHECK(!nr_freed);
	before = g;
	tdp_gather_flushed(&g);
	CHECK(!g.removed && !g.end && !nr_freed);
	for (i = 0; i < root; i++)
		CHECK(g.leaves[i] == before.leaves[i]);
	rcu_read_unlock();
	test_grace_period();
	CHECK(nr_freed == -g.tables, "%u of %d were freed", nr_freed,
	      -g.tables);
	nr_freed = 0;
}

static void test_remove(void)
{
	int i, round, root = root_level();
	struct tree t;
	tdp_pte_t new;

	if (root == 1)
		test_skip("no tables");
	for (round = 0; round < 16; round++) {
		tree_init(&t);
		for (i = rnd(20); i >= 0; i--) {
			gfn_t gfn = random_gfn() % model_span(root);
			int level = 1 + rnd(root - 1);

			new = random_pte(level);
			tree_set(&t, gfn, level, new, random_mode(new));
		}
		test_grace_period();
		nr_freed = 0;
		new = round & 2 ? random_pte(root) : tdp_pte_none(fmt);
		check_remove(&t, new, random_mode(new));
		tree_destroy(&t);
		nr_freed = 0;
	}
}

/* Notes that are not taken back, in the tables that the flush would free. */
static void test_notes(void)
{
	struct tdp_new_table new = {};
	int root = root_level();
	struct tdp_iter iter;
	struct tdp_gather g;
	struct page *page;
	struct tree t;

	if (root == 1)
		test_skip("no tables");
	tree_init(&t);

	/* What the last user of the page left there is no note. */
	new.table = alloc_table(root - 1);
	new.note = NULL;
	page = tdp_table_to_page(new.table);
	tdp_table_set_note(page, &root);
	rcu_read_lock();
	stand(&t, &iter, 0, root);
	CHECK(tdp_iter_link(&iter, &t.gather, &new));
	CHECK(!tdp_table_note(page));
	CHECK(set_and_make(&iter, &t.gather, tdp_pte_none(fmt), TDP_SHARED));
	CHECK(!t.gather.notes);
	tdp_gather_flushed(&t.gather);

	new.table = alloc_table(root - 1);
	new.note = &t;
	page = tdp_table_to_page(new.table);
	CHECK(tdp_iter_link(&iter, &t.gather, &new));
	CHECK(tdp_table_note(page) == &t);
	CHECK(set_and_make(&iter, &t.gather, tdp_pte_none(fmt), TDP_SHARED));

	/* They are a debt that no other flush pays. */
	tdp_gather_init(&g);
	tdp_gather_flushed(&g);
	CHECK(t.gather.notes == 1);
	expect_warnings = 1;
	tdp_gather_flushed(&t.gather);
	CHECK(!expect_warnings);

	tdp_table_set_note(page, NULL);
	t.gather.notes = 0;
	rcu_read_unlock();
	tree_destroy(&t);
}

/* More tables than one RCU callback may free; that is checked where it runs. */
static void test_batches(void)
{
	int root = root_level();
	gfn_t gfn, span = model_span(root);
	struct tdp_iter iter;
	struct tree t;

	if (root == 1)
		test_skip("no tables");
	tree_init(&t);
	for (gfn = 0; gfn < min(tdp_fmt_end_gfn(fmt), 1500 * model_span(2));
	     gfn += model_span(2))
		tree_set(&t, gfn, 1, tdp_pte_make_leaf(fmt, gfn, 1, 0, 0),
			 TDP_SHARED);

	rcu_read_lock();
	for_each_tdp_pte(&iter, &t.pgt, 0, gfn, root)
		CHECK(set_and_make(&iter, &t.gather, tdp_pte_none(fmt),
				   TDP_SHARED));
	CHECK(!owed(TDP_FLUSH_TABLE) ||
	      (t.gather.start == 0 && t.gather.end >= gfn &&
	       t.gather.end < gfn + span));
	check_counts(&t);
	tdp_gather_flushed(&t.gather);
	rcu_read_unlock();
	test_grace_period();
	CHECK(nr_tables == 1, "%u", nr_tables);
	tree_destroy(&t);
}

/* Random changes of small trees, against a plain map of all gfns. */
#define MAX_GFNS 1024

struct mapped {
	kvm_pfn_t pfn;
	unsigned int access;
	int level;
};

static void read_map(const struct tree *t, struct mapped *map)
{
	gfn_t gfn;

	for (gfn = 0; gfn < tdp_fmt_end_gfn(fmt); gfn++) {
		int level = 1;
		tdp_pte_t pte = *tree_find(t, gfn, &level);
		struct view v = hw_view(sw_lockless(pte, level), level);

		map[gfn] = (struct mapped) { .access = v.access };
		if (!v.access)
			continue;
		map[gfn].pfn = (v.phys >> PAGE_SHIFT) + gfn % model_span(level);
		map[gfn].level = level;
	}
}

/* Hardware and lockless paths, whenever an entry is about to change. */
static void race_leaf(tdp_pte_t *entry, int level)
{
	if (tdp_pte_kind(fmt, *entry, level) != TDP_LEAF)
		return;
	if (!rnd(4))
		*entry = sw_lockless(*entry, level);
	if (!rnd(4))
		*entry = hw_access(*entry, level, 1u << rnd(3));
}

static void check_step(struct tree *t, struct mapped *was, struct mapped *is)
{
	struct tdp_gather *g = &t->gather;
	gfn_t gfn, pick = random_gfn();
	int level = random_level();
	tdp_pte_t new = random_pte(level);
	struct view v;
	u64 span;

	if (!rnd(4)) {
		tdp_pte_t *pte = tree_find(t, pick, &level);

		if (tdp_pte_kind(fmt, *pte, level) == TDP_LEAF)
			new = tdp_pte_wrprot_tracked(fmt, *pte);
	}
	v = hw_view(sw_lockless(new, level), level);
	span = model_span(level);
	pick -= pick % span;

	tree_set_owing(t, pick, level, new, random_mode(new));
	read_map(t, is);

	/* Or more, if a leaf above was broken. */
	CHECK(!g->end || model_breaks() == BREAKS_SIZE ||
	      (g->start == pick && g->end == pick + span),
	      "[%llx, %llx) for %llx at level %d", g->start, g->end, pick,
	      level);
	for (gfn = 0; gfn < tdp_fmt_end_gfn(fmt); gfn++) {
		struct mapped want = was[gfn];

		if (gfn - pick < span)
			want = (struct mapped) {
				.access = v.access,
				.pfn = v.access ?
				       (v.phys >> PAGE_SHIFT) + gfn - pick : 0,
			};
		CHECK(is[gfn].access == want.access && is[gfn].pfn == want.pfn,
		      "%llx", gfn);

		/* Someone may still use what was there. */
		if (!(was[gfn].access & ~want.access) &&
		    (!was[gfn].access || was[gfn].pfn == want.pfn))
			continue;
		CHECK(gfn >= g->start && gfn < g->end, "%llx not flushed", gfn);
		/* A leaf above was split first, which owes nothing. */
		if (model_breaks() == BREAKS_SIZE)
			continue;
		CHECK(!g->level || g->level == level);
		CHECK(g->flush == TDP_FLUSH_TABLE || g->level);
	}
	CHECK(!g->removed || g->flush == TDP_FLUSH_TABLE);
	tdp_gather_flushed(g);
	check_counts(t);
	test_grace_period();
}

static void test_random(void)
{
	static struct mapped map[2][MAX_GFNS];
	struct tree t;
	int i;

	if (tdp_fmt_end_gfn(fmt) > MAX_GFNS)
		test_skip("too large");
	tree_init(&t);
	store_hook = race_leaf;
	read_map(&t, map[0]);
	for (i = 0; i < 400; i++)
		check_step(&t, map[i & 1], map[!(i & 1)]);
	tree_destroy(&t);
}

static const struct test table_tests[] = {
	{ "table_gather", test_gather },
	{ "table_remove", test_remove },
	{ "table_notes", test_notes },
	{ "table_batches", test_batches },
	{ "table_random", test_random },
	{ }
};

const struct test *test_group(unsigned int nr)
{
	const struct test *const groups[] = {
		litmus_tests(), format_tests, iter_tests, pte_tests,
		table_tests, NULL,
	};

	return groups[nr];
}
