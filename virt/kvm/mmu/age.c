// SPDX-License-Identifier: GPL-2.0-only
/*
 * Aging: has the guest used a range?
 */
#include "walk.h"

/**
 * kvm_tdp_age_gfn_range() - Make a range old
 * @tdp: the MMU
 * @range: the range, of one memslot
 *
 * Leaves are zapped: the next access faults and makes a young one.  No page is
 * touched.
 *
 * Return: true if a page of the range was young.
 *
 * Context: mmu_lock held for write.
 */
bool kvm_tdp_age_gfn_range(struct kvm_tdp *tdp,
			   const struct kvm_gfn_range *range)
{
	struct kvm_tdp_walk walk = { .mode = TDP_EXCLUSIVE };
	struct tdp_iter *iter = &walk.iter;
	struct kvm_tdp_root *root;
	bool young = false;

	for_each_kvm_tdp_root(tdp, root, range->slot->as_id, false) {
		const struct tdp_fmt *fmt = root->pgt.fmt;

		for_each_kvm_tdp_pte(&walk, root, range->start, range->end, 1) {
			if (tdp_iter_kind(iter) != TDP_LEAF)
				continue;
			/* Nobody else is there. */
			WARN_ON_ONCE(!tdp_iter_set(iter, &walk.gather,
						   tdp_pte_none(fmt),
						   TDP_EXCLUSIVE));
			young |= tdp_pte_young(fmt, iter->replaced);
		}
	}
	return young;
}

/**
 * kvm_tdp_test_age_gfn_range() - Is a range young?
 * @tdp: the MMU
 * @range: the range, of one memslot
 *
 * Context: mmu_lock held.
 */
bool kvm_tdp_test_age_gfn_range(struct kvm_tdp *tdp,
				const struct kvm_gfn_range *range)
{
	struct kvm_tdp_root *root;
	struct tdp_iter iter;
	bool young = false;

	for_each_kvm_tdp_root(tdp, root, range->slot->as_id, false) {
		rcu_read_lock();
		for_each_tdp_pte(&iter, &root->pgt, range->start, range->end,
				 1) {
			if (tdp_iter_kind(&iter) != TDP_LEAF)
				continue;
			young = tdp_pte_young(root->pgt.fmt, iter.old);
			if (young)
				break;
		}
		rcu_read_unlock();
		if (young) {
			kvm_tdp_put_root(root);
			break;
		}
	}
	return young;
}
