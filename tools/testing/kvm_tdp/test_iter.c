// SPDX-License-Identifier: GPL-2.0-only
/*
 * The iterator: over random trees, against a plain recursion.
 */
#include "test.h"

#define MAX_VISITS 400000u

struct visit {
	gfn_t gfn;
	int level;
	tdp_pte_t pte;
};

static struct visit visits[MAX_VISITS];
static unsigned int nr_visits;

/* What a walk should see. */
static void model_walk(tdp_pte_t *table, int level, gfn_t gfn, gfn_t start,
		       gfn_t end, int min_level)
{
	u64 span = model_span(level);
	int i;

	for (i = 0; i < 1 << model_nr_bits(level); i++, gfn += span) {
		if (gfn + span <= start || gfn >= end)
			continue;
		CHECK(nr_visits < MAX_VISITS);
		visits[nr_visits++] = (struct visit) { gfn, level, table[i] };
		if (level > min_level &&
		    tdp_pte_kind(fmt, table[i], level) == TDP_TABLE)
			model_walk(tdp_phys_to_table(hw_view(table[i],
							     level).phys),
				   level - 1, gfn, start, end, min_level);
	}
}

static void model_visits(struct tree *t, gfn_t start, gfn_t end, int min_level)
{
	int root = root_level();

	nr_visits = 0;
	end = min(end, tdp_fmt_end_gfn(fmt));
	if (start < end && min_level <= root)
		model_walk(t->pgt.root, root, 0, start, end, min_level);
}

static void check_walk(struct tree *t, gfn_t start, gfn_t end, int min_level)
{
	struct tdp_iter iter;
	unsigned int i = 0;

	model_visits(t, start, end, min_level);
	rcu_read_lock();
	for_each_tdp_pte(&iter, &t->pgt, start, end, min_level) {
		CHECK(i < nr_visits, "[%llx, %llx): too many", start, end);
		CHECK(iter.gfn == visits[i].gfn && iter.level == visits[i].level,
		      "%llx at level %d, not %llx at level %d", iter.gfn,
		      iter.level, visits[i].gfn, visits[i].level);
		CHECK(iter.old == visits[i].pte);
		CHECK(iter.ptep == tree_find(t, iter.gfn,
					     &(int){ iter.level }));
		i++;
	}
	rcu_read_unlock();
	CHECK(i == nr_visits, "[%llx, %llx): %u of %u", start, end, i,
	      nr_visits);
}

static void random_range(gfn_t *start, gfn_t *end)
{
	*start = random_gfn();
	*end = rnd(2) ? random_gfn() : *start + 1 + rnd(model_span(2) * 3);
	if (*start > *end) {
		gfn_t gfn = *start;

		*start = *end;
		*end = gfn;
	}
}

static void test_walk(void)
{
	struct tree t;
	int round, i;

	for (round = 0; round < 8; round++) {
		tree_init(&t);
		tree_fill(&t, rnd(24));
		check_walk(&t, 0, tdp_fmt_end_gfn(fmt), 1);
		for (i = 0; i < 40; i++) {
			gfn_t start, end;

			random_range(&start, &end);
			check_walk(&t, start, end, random_level());
		}
		tree_destroy(&t);
	}
}

static void test_edges(void)
{
	gfn_t end = tdp_fmt_end_gfn(fmt);
	int root = root_level();
	struct tdp_iter iter;
	struct tree t;

	tree_init(&t);
	tree_fill(&t, 24);
	tree_set(&t, 0, 1, random_pte(1), TDP_SHARED);
	tree_set(&t, end - 1, 1, random_pte(1), TDP_SHARED);

	check_walk(&t, 0, 0, 1);
	check_walk(&t, 5, 5, 1);
	check_walk(&t, 7, 3, 1);
	check_walk(&t, 0, 1, 1);
	check_walk(&t, end - 1, end, 1);
	CHECK(nr_visits == root);
	check_walk(&t, end - 1, -1ull, 1);
	CHECK(nr_visits == root);
	check_walk(&t, end, -1ull, 1);
	CHECK(!nr_visits);
	check_walk(&t, -1ull - 1, -1ull, 1);
	check_walk(&t, 0, -1ull, root);
	check_walk(&t, 0, -1ull, root + 1);
	CHECK(!nr_visits);

	/* Where a table ends, from its last entry. */
	check_walk(&t, model_span(2) - 1, model_span(2) + 1, 1);

	/* The end of a walk is what can be mapped. */
	rcu_read_lock();
	tdp_iter_init(&iter, &t.pgt, 0, -1ull, 1);
	CHECK(iter.end == end);
	rcu_read_unlock();
	tree_destroy(&t);
}

/* Change the entry where a walk is, in its body. */
static void change(struct tree *t, struct tdp_iter *iter)
{
	u64 attr = random_table_attr();
	tdp_pte_t new;
	void *table;

	switch (tdp_iter_kind(iter)) {
	case TDP_NONE:
	case TDP_ANNOTATED:
	case TDP_LEAF:
		if (iter->level == 1)
			return;
		table = alloc_table(iter->level - 1);
		CHECK(tdp_iter_kind(iter) == TDP_LEAF ?
		      tdp_iter_split(iter, &t->gather, NEW_TABLE(table, attr),
				     rnd(2)) :
		      tdp_iter_link(iter, &t->gather, NEW_TABLE(table, attr)));
		tdp_gather_make(&t->pgt, &t->gather);
		break;
	case TDP_TABLE:
		new = tdp_pte_none(fmt);
		if (rnd(2))
			new = tdp_pte_unpin_table(fmt, iter->old);
		CHECK(set_and_make(iter, &t->gather, new, random_mode(new)));
		tdp_gather_flushed(&t->gather);
		break;
	case TDP_FROZEN:
		CHECK(false);
	}
}

/*
 * Changes of the current entry.  Those of the body decide where the walk goes;
 * those behind its back do not, even if the table is gone: then the walk finds
 * out there, and restarts.
 */
static void test_change(void)
{
	gfn_t start, end, from, max_gfn = tdp_fmt_end_gfn(fmt);
	int round, changes, min_level, root = root_level();
	struct tdp_iter iter;
	struct tree t;
	void *table;
	u64 phys;

	for (round = 0; round < 30; round++) {
		gfn_t gfn;
		int level = root;

		tree_init(&t);
		tree_fill(&t, rnd(12));
		random_range(&start, &end);
		min_level = random_level();
		changes = 30;
		table = NULL;
		from = start;
		gfn = start & ~(model_span(root) - 1);

		rcu_read_lock();
		for_each_tdp_pte(&iter, &t.pgt, start, end, min_level) {
			tdp_pte_t *pte = tree_find(&t, gfn, &(int){ level });
			tdp_pte_t snapshot, new;

			CHECK(gfn < end && gfn < max_gfn, "walked too far");
			CHECK(iter.gfn == gfn && iter.level == level,
			      "%llx at level %d, not %llx at level %d",
			      iter.gfn, iter.level, gfn, level);
			if (table) {
				CHECK(tdp_table_to_page(iter.ptep) ==
				      tdp_table_to_page(table));
				CHECK(tdp_pte_kind(fmt, iter.old, level) <=
				      TDP_FROZEN);
				table = NULL;
				tdp_iter_restart(&iter);
				from = max(gfn, from);
				level = root;
				gfn = from & ~(model_span(level) - 1);
				continue;
			}
			CHECK(iter.ptep == pte && iter.old == *pte);

			if (changes && !rnd(3)) {
				changes--;
				change(&t, &iter);
				CHECK(iter.old == *pte);
			} else if (changes && !rnd(3)) {
				changes--;
				snapshot = iter.old;
				new = random_pte(level);
				tree_set(&t, max(gfn, iter.next), level, new,
					 random_mode(new));
				CHECK(iter.old == snapshot);
			}

			if (level > min_level &&
			    tdp_pte_kind(fmt, iter.old, level) == TDP_TABLE) {
				phys = hw_view(iter.old, level).phys;
				if (iter.old != *pte)
					table = tdp_phys_to_table(phys);
				level--;
				gfn = max(gfn, from) &
				      ~(model_span(level) - 1);
				continue;
			}
			gfn += model_span(level);
			while (level < root && !(gfn % model_span(level + 1)))
				level++;
		}
		rcu_read_unlock();
		CHECK(start >= end || gfn >= end || gfn >= max_gfn,
		      "ends early");
		tree_destroy(&t);
	}
}

/*
 * Walks that restart wherever they can, some after the tables that they are in
 * were removed and freed: nothing is skipped, nothing done twice.
 */
static void test_restart(void)
{
	int round, root = root_level();
	gfn_t start, end, last, next;
	struct tdp_iter iter;
	unsigned int i, steps;
	bool remove, again;
	struct tree t;

	for (round = 0; round < 30; round++) {
		tree_init(&t);
		tree_fill(&t, rnd(12));
		random_range(&start, &end);
		model_visits(&t, start, end, 1);
		remove = round & 1;
		again = false;
		last = -1ull;
		next = start;
		steps = 0;
		i = 0;

		rcu_read_lock();
		for_each_tdp_pte(&iter, &t.pgt, start, end, 1) {
			int level = iter.level;
			tdp_pte_t *pte, none = tdp_pte_none(fmt);

			CHECK(steps++ < 20 * MAX_VISITS, "no end");
			CHECK(iter.next == next, "at %llx, not %llx",
			      iter.next, next);
			CHECK(iter.gfn == (next & ~(model_span(level) - 1)));
			CHECK(!again || level == root, "not from the root");
			pte = tree_find(&t, next, &level);
			CHECK(iter.ptep == pte && iter.level == level);

			/* In the end all is visited, in the order of the model. */
			if (!remove && i < nr_visits &&
			    iter.gfn == visits[i].gfn &&
			    iter.level == visits[i].level) {
				CHECK(iter.old == visits[i].pte);
				i++;
			}

			again = last != next && level != root && rnd(4);
			if (again) {
				last = next;
				tdp_iter_restart(&iter);
				if (remove && !rnd(4)) {
					tree_set(&t, next, level + 1, none,
						 random_mode(none));
					rcu_read_unlock();
					test_grace_period();
					rcu_read_lock();
				}
				continue;
			}
			if (tdp_pte_kind(fmt, *pte, level) != TDP_TABLE)
				next = iter.gfn + model_span(level);
		}
		rcu_read_unlock();
		CHECK(next >= min(end, tdp_fmt_end_gfn(fmt)), "ends early");
		CHECK(remove || i == nr_visits, "%u of %u", i, nr_visits);
		tree_destroy(&t);
	}
}

/* A walk that is stopped ends there; the next one does not notice. */
static void test_stop(void)
{
	struct tdp_iter iter;
	unsigned int i, stop;
	gfn_t start, end;
	struct tree t;
	int round;

	for (round = 0; round < 60; round++) {
		tree_init(&t);
		tree_fill(&t, rnd(12));
		random_range(&start, &end);
		if (start == end)
			end++;
		model_visits(&t, start, end, 1);
		/* Sometimes where it would have ended anyway. */
		stop = rnd(4) ? rnd(nr_visits) : nr_visits - 1;

		rcu_read_lock();
		i = 0;
		for_each_tdp_pte(&iter, &t.pgt, start, end, 1) {
			CHECK(i <= stop, "at %llx, level %d", iter.gfn,
			      iter.level);
			CHECK(iter.gfn == visits[i].gfn &&
			      iter.level == visits[i].level);
			if (i++ < stop)
				continue;
			/* It wins over a restart. */
			if (round & 1)
				tdp_iter_restart(&iter);
			tdp_iter_stop(&iter);
			if (round & 2)
				tdp_iter_restart(&iter);
		}
		CHECK(i == stop + 1);

		i = 0;
		for_each_tdp_pte(&iter, &t.pgt, start, end, 1) {
			CHECK(i < nr_visits && iter.gfn == visits[i].gfn &&
			      iter.level == visits[i].level);
			i++;
		}
		CHECK(i == nr_visits, "%u of %u", i, nr_visits);
		rcu_read_unlock();
		tree_destroy(&t);
	}
}

/* Down to what maps one gfn. */
static void test_start(void)
{
	gfn_t gfn, end = tdp_fmt_end_gfn(fmt);
	int i, level, root = root_level();
	struct tdp_iter iter;
	struct tree t;

	tree_init(&t);
	tree_fill(&t, 24);
	rcu_read_lock();
	for (i = 0; i < 200; i++) {
		gfn = i ? random_gfn() : end - 1;
		tdp_iter_start(&iter, &t.pgt, gfn);
		CHECK(iter.next == gfn && iter.end == gfn + 1);
		for (level = root; ; level--) {
			tdp_pte_t *pte = tree_find(&t, gfn, &(int){ level });

			CHECK(iter.level == level && iter.ptep == pte);
			CHECK(iter.old == *pte);
			CHECK(iter.gfn == (gfn & ~(model_span(level) - 1)));
			if (tdp_iter_kind(&iter) != TDP_TABLE)
				break;
			tdp_iter_enter(&iter);
		}
		/* There is nothing else to visit. */
		tdp_iter_advance(&iter);
		CHECK(!iter.ptep);
	}
	rcu_read_unlock();
	tree_destroy(&t);
}

static void test_inside(void)
{
	gfn_t max_gfn = tdp_fmt_end_gfn(fmt);
	struct tdp_iter iter;
	struct tree t;
	int i;

	tree_init(&t);
	tree_fill(&t, 24);
	for (i = 0; i < 100; i++) {
		gfn_t start, end;

		random_range(&start, &end);
		if (!rnd(4))
			end = max_gfn;
		rcu_read_lock();
		for_each_tdp_pte(&iter, &t.pgt, start, end, 1) {
			gfn_t behind = iter.gfn + model_span(iter.level);

			/*
			 * What lies behind the last gfn that can be mapped does
			 * not count, or the last tables would never go.
			 */
			behind = min(behind, max_gfn);
			CHECK(tdp_iter_inside(&iter, start) ==
			      (iter.gfn >= start && behind <= end),
			      "%llx at level %d in [%llx, %llx)", iter.gfn,
			      iter.level, start, end);
		}
		rcu_read_unlock();
	}
	tree_destroy(&t);
}

const struct test iter_tests[] = {
	{ "iter_walk", test_walk },
	{ "iter_edges", test_edges },
	{ "iter_change", test_change },
	{ "iter_restart", test_restart },
	{ "iter_stop", test_stop },
	{ "iter_start", test_start },
	{ "iter_inside", test_inside },
	{ }
};
