// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tables that faults must leave in place, tdp_pte_table_pinned(): the backend
 * decides when they have been there for long enough.
 */
#include "walk.h"

/**
 * kvm_tdp_zap_table() - Zap a table
 * @root: the root, referenced by the caller
 * @gfn: a gfn that the table spans
 * @level: level of the entry that points to it
 *
 * Does nothing if there is no table.
 *
 * Context: mmu_lock held for read, slots or memory do not go away: faults can map
 *	    the range again meanwhile.
 */
void kvm_tdp_zap_table(struct kvm_tdp_root *root, gfn_t gfn, int level)
{
	struct kvm_tdp_walk walk = { .mode = TDP_SHARED };
	struct tdp_iter *iter = &walk.iter;

	for_each_kvm_tdp_pte(&walk, root, gfn, gfn + 1, level) {
		while (iter->level == level &&
		       tdp_iter_kind(iter) == TDP_TABLE &&
		       !tdp_iter_set(iter, &walk.gather,
				     tdp_pte_none(root->pgt.fmt), TDP_SHARED))
			;
	}
}

/**
 * kvm_tdp_unpin_table() - Let faults put a leaf in a table's place
 * @root: the root, referenced by the caller
 * @gfn: a gfn that the table spans
 * @level: level of the entry that points to it
 *
 * Does nothing if there is no table.
 *
 * Context: mmu_lock held for read.
 */
void kvm_tdp_unpin_table(struct kvm_tdp_root *root, gfn_t gfn, int level)
{
	struct kvm_tdp_walk walk = { .mode = TDP_SHARED };
	const struct tdp_fmt *fmt = root->pgt.fmt;
	struct tdp_iter *iter = &walk.iter;

	for_each_kvm_tdp_pte(&walk, root, gfn, gfn + 1, level) {
		while (iter->level == level &&
		       tdp_iter_kind(iter) == TDP_TABLE &&
		       !tdp_iter_set(iter, &walk.gather,
				     tdp_pte_unpin_table(fmt, iter->old),
				     TDP_SHARED))
			;
	}
}
