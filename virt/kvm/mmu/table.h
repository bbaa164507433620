/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_TABLE_H
#define __KVM_TDP_TABLE_H

#include "tdp_format.h"

/**
 * struct tdp_new_table - a table that is about to be linked
 * @table: the table, never linked before
 * @attr: see tdp_pte_make_table()
 * @note: what the backend wants to get back when the table is removed, or NULL
 */
struct tdp_new_table {
	void *table;
	u64 attr;
	void *note;
};

/**
 * struct tdp_broken - an entry between break and make
 * @ptep: the entry
 * @old: what it was
 * @new: what it becomes after the flush
 * @gfn: first gfn that it spans
 * @level: its level
 */
struct tdp_broken {
	tdp_pte_t __rcu *ptep;
	tdp_pte_t old;
	tdp_pte_t new;
	u64 gfn : 56;
	u64 level : 8;
};

/**
 * struct tdp_gather - what a walk owes for the entries it changed
 * @start: first gfn whose stale translations must be flushed
 * @end: first gfn behind; nothing is owed if it is 0
 * @removed: tables that were unlinked and wait for the flush
 * @flush: the strongest flush that is owed, enum tdp_flush
 * @level: level of the leaves to flush in the tables, 0 if they differ or a
 *	   table is among them.  Where a split needs no break CPUs may have
 *	   cached what was split, which is larger.
 * @levels: levels whose number of leaves may have changed, by bit level - 1
 * @nr_broken: how many are @broken
 * @notes: how many of @removed have a note, tdp_table_note(), which the walk's
 *	   owner must take back
 * @tables: by how much the number of linked tables changed
 * @leaves: by how much the number of leaves of each level changed, by level - 1
 * @maintain: guests can have used what is unmapped, see
 *	      tdp_fmt_maintains_unmapped()
 * @unpaid: where this walk counts as one that owes, or NULL
 * @broken: entries to be made after the flush
 *
 * The debt travels with the walk.  tdp_gather_make() and tdp_gather_flushed()
 * pay the part of it that is entries and memory; the counts are the walk's
 * owner's to settle.
 *
 * Who has broken entries lets nobody wait: mmu_lock and RCU are held until they
 * are made, which is before the walk sleeps, yields, or comes back to an entry
 * that someone else has frozen.
 */
struct tdp_gather {
	gfn_t start;
	gfn_t end;
	struct page *removed;
	u8 flush;
	u8 level;
	u8 levels;
	u8 nr_broken;
	int notes;
	int tables;
	int leaves[TDP_MAX_LEVELS];
	bool maintain;
	atomic_t *unpaid;
	struct tdp_broken broken[TDP_MAX_BROKEN];
};

/**
 * tdp_gather_init() - Start with no debt
 * @gather: the debt
 */
static inline void tdp_gather_init(struct tdp_gather *gather)
{
	int level;

	/*
	 * By hand, as single pages are unmapped one by one: a memset() of this
	 * size can be a call.  Not the room for broken entries, which is large.
	 */
	gather->start = 0;
	gather->end = 0;
	gather->removed = NULL;
	gather->flush = TDP_FLUSH_NOTHING;
	gather->level = 0;
	gather->levels = 0;
	gather->nr_broken = 0;
	gather->notes = 0;
	gather->tables = 0;
	for (level = 1; level <= TDP_MAX_LEVELS; level++)
		gather->leaves[level - 1] = 0;
	gather->maintain = false;
	gather->unpaid = NULL;
}

/**
 * tdp_gather_is_full() - Is there no room to break another entry?
 * @gather: the debt
 */
static inline bool tdp_gather_is_full(const struct tdp_gather *gather)
{
	return TDP_MAX_BROKEN && gather->nr_broken == TDP_MAX_BROKEN;
}

/**
 * tdp_gather_has_broken() - Are there entries that wait for their flush?
 * @gather: the debt
 */
static inline bool tdp_gather_has_broken(const struct tdp_gather *gather)
{
	return TDP_MAX_BROKEN && gather->nr_broken;
}

/**
 * tdp_gather_is_empty() - Is there nothing to pay and nothing to count?
 * @gather: the debt
 */
static inline bool tdp_gather_is_empty(const struct tdp_gather *gather)
{
	return gather->flush == TDP_FLUSH_NOTHING && !gather->tables &&
	       !gather->levels && !gather->unpaid;
}

/**
 * tdp_gather_owe() - Let others see that something is about to be owed
 * @pgt: the tree
 * @gather: the debt
 *
 * Context: Before an entry is replaced by a cmpxchg, which is fully ordered: who
 *	    finds it gone, and a barrier later nothing unpaid, knows that it was
 *	    flushed.
 */
static inline void tdp_gather_owe(const struct tdp_pgtable *pgt,
				  struct tdp_gather *gather)
{
	if (gather->unpaid || !pgt->unpaid)
		return;
	gather->unpaid = pgt->unpaid;
	atomic_inc(gather->unpaid);
}

/**
 * tdp_gather_paid() - Let others see that nothing is owed any more
 * @gather: the debt
 *
 * Context: What was owed is flushed, made and maintained.
 */
static inline void tdp_gather_paid(struct tdp_gather *gather)
{
	if (!gather->unpaid)
		return;
	/* Pairs with the acquire of who waits for it. */
	smp_mb__before_atomic();
	atomic_dec(gather->unpaid);
	gather->unpaid = NULL;
}

/**
 * tdp_gather_leaves() - Count leaves
 * @gather: the debt
 * @level: their level
 * @nr: how many there are more
 */
static inline void tdp_gather_leaves(struct tdp_gather *gather, int level,
				     int nr)
{
	gather->leaves[level - 1] += nr;
	gather->levels |= BIT(level - 1);
}

/**
 * tdp_gather_add() - Owe a flush
 * @gather: the debt
 * @start: first gfn
 * @end: first gfn behind
 * @level: level of the entry that changed
 * @flush: what has to be flushed, see tdp_pte_change()
 */
static inline void tdp_gather_add(struct tdp_gather *gather, gfn_t start,
				  gfn_t end, int level, enum tdp_flush flush)
{
	/* Below an unlinked table nothing says which levels were cached. */
	if (flush == TDP_FLUSH_TABLE)
		level = 0;

	if (!gather->end) {
		gather->start = start;
		gather->end = end;
		gather->level = level;
		gather->flush = flush;
		return;
	}
	gather->start = min(gather->start, start);
	gather->end = max(gather->end, end);
	if (gather->level != level)
		gather->level = 0;
	gather->flush = max_t(u8, gather->flush, flush);
}

void tdp_gather_break(struct tdp_gather *gather, tdp_pte_t __rcu *ptep,
		      gfn_t gfn, int level, tdp_pte_t old, tdp_pte_t new);
void tdp_gather_remove(struct tdp_gather *gather, void *table);
void tdp_gather_free_removed(struct tdp_gather *gather);

/**
 * tdp_gather_flushed() - Settle after the flush that was owed
 * @gather: the debt
 *
 * Free the removed tables after a grace period.  The counts stay.
 *
 * Context: Any; the flush is done, or none was owed because no CPU can use the
 *	    tree any more.
 */
static inline void tdp_gather_flushed(struct tdp_gather *gather)
{
	if (gather->removed)
		tdp_gather_free_removed(gather);
	gather->start = 0;
	gather->end = 0;
	gather->level = 0;
	gather->flush = TDP_FLUSH_NOTHING;
}

#endif /* __KVM_TDP_TABLE_H */
