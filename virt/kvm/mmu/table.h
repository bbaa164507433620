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
 * struct tdp_gather - what a walk owes for the entries it changed
 * @start: first gfn whose stale translations must be flushed
 * @end: first gfn behind; nothing is owed if it is 0
 * @removed: tables that were unlinked and wait for the flush
 * @flush: the strongest flush that is owed, enum tdp_flush
 * @level: level of the leaves to flush, 0 if they differ or a table is among
 *	   them: a hint
 * @levels: levels whose number of leaves may have changed, by bit level - 1
 * @notes: how many of @removed have a note, tdp_table_note(), which the walk's
 *	   owner must take back
 * @tables: by how much the number of linked tables changed
 * @leaves: by how much the number of leaves of each level changed, by level - 1
 *
 * The debt travels with the walk.  tdp_gather_flushed() pays the part of it
 * that is memory; the counts are the walk's owner's to settle.
 */
struct tdp_gather {
	gfn_t start;
	gfn_t end;
	struct page *removed;
	u8 flush;
	u8 level;
	u8 levels;
	int notes;
	int tables;
	int leaves[TDP_MAX_LEVELS];
};

/**
 * tdp_gather_init() - Start with no debt
 * @gather: the debt
 */
static inline void tdp_gather_init(struct tdp_gather *gather)
{
	*gather = (struct tdp_gather) {};
}

/**
 * tdp_gather_is_empty() - Is there nothing to pay and nothing to count?
 * @gather: the debt
 */
static inline bool tdp_gather_is_empty(const struct tdp_gather *gather)
{
	return gather->flush == TDP_FLUSH_NOTHING && !gather->tables &&
	       !gather->levels;
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

void tdp_gather_add(struct tdp_gather *gather, gfn_t start, gfn_t end,
		    int level, enum tdp_flush flush);
void tdp_gather_remove(struct tdp_gather *gather, void *table);
void tdp_gather_flushed(struct tdp_gather *gather);

#endif /* __KVM_TDP_TABLE_H */
