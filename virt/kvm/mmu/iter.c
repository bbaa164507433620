// SPDX-License-Identifier: GPL-2.0-only
/*
 * The iterator of the TDP MMU's page-table library.
 */
#include "iter.h"

/* Stand on the entry for iter->next in the table at iter->level. */
static void tdp_iter_load(struct tdp_iter *iter)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;

	iter->gfn = tdp_gfn_round(fmt, iter->next, iter->level);
	iter->ptep = iter->table[iter->level - 1] +
		     tdp_index(fmt, iter->next, iter->level);
	iter->old = tdp_pte_read(iter->ptep);
}

static void tdp_iter_load_root(struct tdp_iter *iter)
{
	iter->restart = false;
	iter->level = tdp_fmt_root_level(iter->pgt->fmt);
	iter->table[iter->level - 1] = iter->pgt->root;
	tdp_iter_load(iter);
}

/**
 * tdp_iter_init() - Start a walk
 * @iter: the iterator
 * @pgt: the tree
 * @start: first gfn
 * @end: first gfn behind the walk; what cannot be mapped is left out
 * @min_level: lowest level to visit
 *
 * Context: RCU read-side critical section.
 */
void tdp_iter_init(struct tdp_iter *iter, const struct tdp_pgtable *pgt,
		   gfn_t start, gfn_t end, int min_level)
{
	iter->pgt = pgt;
	iter->next = start;
	iter->end = min(end, tdp_fmt_end_gfn(pgt->fmt));
	iter->min_level = min_level;
	iter->ptep = NULL;

	if (start < iter->end && min_level <= tdp_fmt_root_level(pgt->fmt))
		tdp_iter_load_root(iter);
}

/*
 * Go to the first entry, for iter->next, of the table below the current one, or
 * stay if that table was just taken away.
 *
 * Return: false if there is nothing below, so that the walk goes forward.
 */
static bool tdp_iter_down(struct tdp_iter *iter)
{
	bool was_table = tdp_iter_kind(iter) == TDP_TABLE;

	if (iter->level == iter->min_level)
		return false;

	/* Load again: a table that is no longer linked must not be entered. */
	iter->old = tdp_pte_read(iter->ptep);
	if (tdp_iter_kind(iter) != TDP_TABLE)
		return was_table;

	iter->level--;
	iter->table[iter->level - 1] = tdp_pte_table(iter->pgt->fmt, iter->old);
	tdp_iter_load(iter);
	return true;
}

/**
 * tdp_iter_advance() - Go to the next entry
 * @iter: a walk that is not over
 *
 * Down if the current entry is a table now, else forward in its table, or else
 * in one of those above.
 *
 * Context: RCU read-side critical section, the same as since the walk last
 *	    stood on the root.
 */
void tdp_iter_advance(struct tdp_iter *iter)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	int root_level = tdp_fmt_root_level(fmt);

	if (iter->restart) {
		tdp_iter_load_root(iter);
		return;
	}

	if (tdp_iter_down(iter))
		return;

	iter->next = iter->gfn + tdp_span(fmt, iter->level);
	if (iter->next >= iter->end) {
		iter->ptep = NULL;
		return;
	}

	/* Leave the tables that end here.  The root has no end before iter->end. */
	while (iter->level < root_level && !tdp_index(fmt, iter->next, iter->level))
		iter->level++;
	tdp_iter_load(iter);
}
