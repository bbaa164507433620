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
 * @last: up to where steps in a table of @min_level are only steps: first gfn
 *	  that the last such entry spans.  Elsewhere not above @gfn
 * @step: gfns that an entry of @min_level spans, if @last is not 0
 * @gfn: first gfn that the current entry spans
 * @ptep: the current entry, NULL when the walk is over
 * @old: the current entry's value, loaded once.  All decisions are taken on
 *	 this snapshot.  Follows what the body itself makes of the entry.
 * @table: the tables on the way to @ptep, by level - 1
 * @level: level of the current entry
 * @min_level: lowest level that the walk descends to
 * @restart: the next step goes to the root, see tdp_iter_restart()
 *
 * Large, and tdp_iter_init() sets what a walk needs: it is __uninitialized where
 * time matters, or else the compiler may clear all of it.
 *
 * Tables are protected by RCU: a walk, from tdp_iter_init() to its end, lies in
 * one read-side critical section, unless it restarts when it enters a new one.
 */
struct tdp_iter {
	const struct tdp_pgtable *pgt;
	gfn_t next;
	gfn_t end;
	gfn_t last;
	gfn_t step;
	gfn_t gfn;
	tdp_pte_t __rcu *ptep;
	tdp_pte_t old;
	tdp_pte_t __rcu *table[TDP_MAX_LEVELS];
	u8 level;
	u8 min_level;
	bool restart;
};

void __tdp_iter_advance(struct tdp_iter *iter);

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

/* Stand on the entry for iter->next in the table of @nr entries, of any level. */
static inline void __tdp_iter_load(struct tdp_iter *iter, int level,
				   unsigned int nr)
{
	unsigned int shift = tdp_fmt_level_shift(iter->pgt->fmt, level);
	gfn_t index = iter->next >> shift;

	iter->level = level;
	iter->gfn = index << shift;
	iter->ptep = iter->table[level - 1] + (index & (nr - 1));
	iter->old = tdp_pte_read(iter->ptep);
}

static inline void tdp_iter_load(struct tdp_iter *iter, int level)
{
	__tdp_iter_load(iter, level,
			tdp_fmt_nr_entries(iter->pgt->fmt, level));
}

/* Stand on the root's entry for iter->next. */
static inline void tdp_iter_load_root(struct tdp_iter *iter)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	int level = tdp_fmt_root_level(fmt);
	unsigned int nr = tdp_fmt_nr_entries(fmt, level);

	iter->restart = false;
	iter->table[level - 1] = iter->pgt->root;
	__tdp_iter_load(iter, level, nr);
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
static inline void tdp_iter_init(struct tdp_iter *iter,
				 const struct tdp_pgtable *pgt, gfn_t start,
				 gfn_t end, int min_level)
{
	iter->pgt = pgt;
	iter->next = start;
	iter->end = min(end, tdp_fmt_end_gfn(pgt->fmt));
	iter->last = 0;
	iter->min_level = min_level;
	iter->ptep = NULL;

	if (start < iter->end && min_level <= tdp_fmt_root_level(pgt->fmt))
		tdp_iter_load_root(iter);
}

/**
 * tdp_iter_start() - Start to look for one gfn
 * @iter: the iterator
 * @pgt: the tree
 * @gfn: the gfn, below tdp_fmt_end_gfn()
 *
 * For walks that go nowhere but down, by tdp_iter_enter().
 *
 * Context: RCU read-side critical section.
 */
static inline void tdp_iter_start(struct tdp_iter *iter,
				  const struct tdp_pgtable *pgt, gfn_t gfn)
{
	iter->pgt = pgt;
	iter->next = gfn;
	iter->end = gfn + 1;
	iter->last = 0;
	iter->min_level = 1;
	tdp_iter_load_root(iter);
}

/**
 * tdp_iter_enter() - Go down to the table that the current entry points to
 * @iter: the walk, its snapshot a TDP_TABLE
 *
 * The table can have been unlinked since the snapshot was taken: then what is
 * found there is frozen, or will be.
 *
 * Context: RCU read-side critical section, the same as since the snapshot.
 */
static inline void tdp_iter_enter(struct tdp_iter *iter)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	int level = iter->level - 1;

	iter->table[level - 1] = tdp_pte_table(fmt, iter->old);
	/* The table is no root: a number that is nearly always a constant. */
	__tdp_iter_load(iter, level, 1u << (tdp_fmt_level_shift(fmt, level + 1) -
					    tdp_fmt_level_shift(fmt, level)));
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
	iter->last = 0;
}

/**
 * tdp_iter_stop() - Let the walk end with this step
 * @iter: the walk
 */
static inline void tdp_iter_stop(struct tdp_iter *iter)
{
	iter->end = iter->next;
	tdp_iter_restart(iter);
}

/**
 * tdp_iter_goes_on() - Is the next step known to be one in a lowest table?
 * @iter: a walk that is not over
 *
 * Not known for the first step in a table, and not so after tdp_iter_restart().
 */
static inline bool tdp_iter_goes_on(const struct tdp_iter *iter)
{
	return iter->gfn < iter->last;
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
static inline void tdp_iter_advance(struct tdp_iter *iter)
{
	/* Nearly all steps. */
	if (tdp_iter_goes_on(iter)) {
		iter->gfn += iter->step;
		iter->next = iter->gfn;
		iter->old = tdp_pte_read(++iter->ptep);
	} else {
		__tdp_iter_advance(iter);
	}
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
 * may change the current entry: whether to descend is decided on the snapshot as
 * the body left it.  The table can have been unlinked meanwhile; a body that
 * promises something restarts the walk when it meets a frozen entry.
 *
 * Context: RCU read-side critical section.
 */
#define for_each_tdp_pte(iter, pgt, start, end, min_level)		\
	for (tdp_iter_init(iter, pgt, start, end, min_level);		\
	     (iter)->ptep;						\
	     tdp_iter_advance(iter))

#endif /* __KVM_TDP_ITER_H */
