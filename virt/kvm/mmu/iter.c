// SPDX-License-Identifier: GPL-2.0-only
/*
 * The iterator of the TDP MMU's page-table library.
 */
#include "iter.h"

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
	int root_level;

	if (iter->restart) {
		/* Whoever is waited for may share the core. */
		cpu_relax();
		if (iter->next < iter->end)
			tdp_iter_load_root(iter);
		else
			iter->ptep = NULL;
		return;
	}

	if (iter->level > iter->min_level && tdp_iter_kind(iter) == TDP_TABLE) {
		tdp_iter_enter(iter);
		return;
	}

	iter->next = iter->gfn + tdp_span(fmt, iter->level);
	if (iter->next >= iter->end) {
		iter->ptep = NULL;
		return;
	}

	if (tdp_index(fmt, iter->next, iter->level)) {
		iter->gfn = iter->next;
		iter->ptep++;
		iter->old = tdp_pte_read(iter->ptep);
		return;
	}

	/* Leave the tables that end here.  The root has no end before iter->end. */
	root_level = tdp_fmt_root_level(fmt);
	while (iter->level < root_level && !tdp_index(fmt, iter->next, iter->level))
		iter->level++;
	tdp_iter_load(iter);
}
