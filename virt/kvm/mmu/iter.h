/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_ITER_H
#define __KVM_TDP_ITER_H

#include "tdp_format.h"

/**
 * struct tdp_iter - a pre-order walk over the entries that map [start, end)
 * @pgt: the tree
 * @next: every gfn of the walk below this one is done with; the entry at the
 *	  iterator's position covers it or starts there
 * @end: first gfn behind the walk
 * @gfn: first gfn that the current entry spans
 * @ptep: the current entry, NULL when the walk is over
 * @old: the current entry's value, loaded once.  All decisions are taken on
 *	 this snapshot.  Follows what the body itself makes of the entry.
 * @replaced: what the last tdp_iter_set() replaced
 * @table: the tables on the way to @ptep, by level - 1
 * @level: level of the current entry
 * @min_level: lowest level that the walk descends to
 * @restart: the next step goes to the root, see tdp_iter_restart()
 *
 * Tables are protected by RCU: a walk, from tdp_iter_init() to its end, lies in
 * one read-side critical section, unless it restarts when it enters a new one.
 */
struct tdp_iter {
	const struct tdp_pgtable *pgt;
	gfn_t next;
	gfn_t end;
	gfn_t gfn;
	tdp_pte_t __rcu *ptep;
	tdp_pte_t old;
	tdp_pte_t replaced;
	tdp_pte_t __rcu *table[TDP_MAX_LEVELS];
	u8 level;
	u8 min_level;
	bool restart;
};

void tdp_iter_init(struct tdp_iter *iter, const struct tdp_pgtable *pgt,
		   gfn_t start, gfn_t end, int min_level);
void tdp_iter_advance(struct tdp_iter *iter);

/**
 * tdp_pte_read() - Load an entry once
 * @ptep: the entry
 *
 * Context: RCU read-side critical section.
 */
static inline tdp_pte_t tdp_pte_read(tdp_pte_t __rcu *ptep)
{
	return READ_ONCE(*rcu_dereference(ptep));
}

/**
 * tdp_iter_kind() - Decode the current entry's snapshot
 * @iter: the walk
 */
static inline enum tdp_kind tdp_iter_kind(const struct tdp_iter *iter)
{
	return tdp_pte_kind(iter->pgt->fmt, iter->old, iter->level);
}

/**
 * tdp_iter_restart() - Let the walk come back to the current entry by the root
 * @iter: the walk
 *
 * The next step goes to the root's entry for the first gfn that is not done
 * with, instead of forward.  For whoever met a frozen entry and may neither
 * skip it (its owner may yet make a leaf) nor wait for it (those of removed
 * tables stay frozen for ever), and after RCU's protection was given up.
 */
static inline void tdp_iter_restart(struct tdp_iter *iter)
{
	iter->restart = true;
}

/**
 * tdp_iter_inside() - Does all that the current entry can map lie in the walk?
 * @iter: the walk
 * @start: where the walk started
 */
static inline bool tdp_iter_inside(const struct tdp_iter *iter, gfn_t start)
{
	return iter->gfn >= start &&
	       tdp_entry_end(iter->pgt->fmt, iter->gfn, iter->level) <= iter->end;
}

/**
 * for_each_tdp_pte() - Visit all entries that map [@start, @end)
 * @iter: the iterator
 * @pgt: the tree
 * @start: first gfn
 * @end: first gfn behind
 * @min_level: lowest level to visit
 *
 * Entries are visited before those of the table that they point to.  The body
 * may change the current entry: whether to descend is decided on its value
 * after the body.  If the body left a table that is none any more, because
 * somebody else replaced it, the entry is visited again: the walk neither enters
 * what is not linked nor passes over a leaf that the body has not seen.
 *
 * Context: RCU read-side critical section.
 */
#define for_each_tdp_pte(iter, pgt, start, end, min_level)		\
	for (tdp_iter_init(iter, pgt, start, end, min_level);		\
	     (iter)->ptep;						\
	     tdp_iter_advance(iter))

#endif /* __KVM_TDP_ITER_H */
