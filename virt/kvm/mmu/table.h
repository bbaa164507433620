/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_TABLE_H
#define __KVM_TDP_TABLE_H

#include "tdp_format.h"

/**
 * struct tdp_gather - what a walk owes for the entries it changed
 * @start: first gfn whose stale translations must be flushed
 * @end: first gfn behind; nothing is owed if it is 0
 * @flush: the strongest flush that is owed
 * @level: level of the leaves to flush, 0 if they differ or a table is among
 *	   them: a hint
 * @removed: tables that were unlinked and wait for the flush
 * @tables: by how much the number of linked tables changed
 * @leaves: by how much the number of leaves of each level changed, by level - 1
 *
 * The debt travels with the walk.  tdp_gather_flushed() pays the part of it
 * that is memory; the counts are the walk's owner's to settle.
 */
struct tdp_gather {
	gfn_t start;
	gfn_t end;
	enum tdp_flush flush;
	int level;
	struct page *removed;
	int tables;
	int leaves[TDP_MAX_LEVELS];
};

void tdp_gather_init(struct tdp_gather *gather);
void tdp_gather_add(struct tdp_gather *gather, gfn_t start, gfn_t end,
		    int level, enum tdp_flush flush);
void tdp_gather_remove(struct tdp_gather *gather, void *table);
void tdp_gather_flushed(struct tdp_gather *gather);

#endif /* __KVM_TDP_TABLE_H */
