// SPDX-License-Identifier: GPL-2.0-only
/*
 * The iterator of the TDP MMU's page-table library.
 */
#include "iter.h"

/*
 * Find out how far the walk goes on in a lowest table, or in a part of a root that
 * is larger than other tables: walks that yield rely on its end.  Done once for
 * each: other steps shall not save registers for it.
 */
static noinline void tdp_iter_find_last(struct tdp_iter *iter)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	gfn_t end = tdp_gfn_round(fmt, iter->gfn, iter->level + 1) +
		    tdp_span(fmt, iter->level + 1);

	iter->step = tdp_span(fmt, iter->level);
	iter->last = tdp_gfn_round(fmt, min(iter->end, end) - 1, iter->level);
}

/**
 * __tdp_iter_advance() - Go to the next entry, wherever it is
 * @iter: a walk that is not over
 *
 * The part of tdp_iter_advance() that is not inline.
 */
void __tdp_iter_advance(struct tdp_iter *iter)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	int level = iter->level, root_level;

	if (iter->restart) {
		/* Whoever is waited for may share the core. */
		cpu_relax();
		if (iter->next < iter->end)
			tdp_iter_load_root(iter);
		else
			iter->ptep = NULL;
		return;
	}

	if (level > iter->min_level && tdp_iter_kind(iter) == TDP_TABLE) {
		tdp_iter_enter(iter);
		return;
	}

	iter->next = iter->gfn + tdp_span(fmt, level);
	if (iter->next >= iter->end) {
		iter->ptep = NULL;
		return;
	}

	if (tdp_index(fmt, iter->next, level)) {
		iter->gfn = iter->next;
		iter->ptep++;
		iter->old = tdp_pte_read(iter->ptep);
		if (level == iter->min_level)
			tdp_iter_find_last(iter);
		return;
	}

	/* Leave the tables that end here.  The root has no end before iter->end. */
	root_level = tdp_fmt_root_level(fmt);
	while (level < root_level && !tdp_index(fmt, iter->next, level))
		level++;
	tdp_iter_load(iter, level);
}
