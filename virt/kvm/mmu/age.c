// SPDX-License-Identifier: GPL-2.0-only
/*
 * Aging: has the guest used a range?
 *
 * Advisory, so nothing is locked or promised: what is frozen has no say, who
 * loses a race leaves the page young, and whatever stays cached in a TLB lets the
 * guest use a page unnoticed until its entry is flushed for another reason.  No
 * page is touched: without mmu_lock it can be someone else's already.
 */
#include "walk.h"

/**
 * kvm_tdp_age_gfn_range() - Make a range old
 * @tdp: the MMU
 * @range: the range, of one memslot
 *
 * One attempt for each leaf: if others change it at the same time, it is in use.
 *
 * A flush is the caller's business, and an optimization: dirty logging pays for
 * the write access that an old leaf without hardware's accessed bits gives up.
 *
 * Return: true if a page of the range was young.
 *
 * Context: Any; mmu_lock need not be held.
 */
bool kvm_tdp_age_gfn_range(struct kvm_tdp *tdp,
			   const struct kvm_gfn_range *range)
{
	struct kvm_tdp_root *root;
	struct tdp_iter iter __uninitialized;
	bool young = false;

	rcu_read_lock();
	list_for_each_entry_rcu(root, &tdp->roots, link) {
		const struct tdp_fmt *fmt = root->pgt.fmt;

		if (root->as_id != range->slot->as_id)
			continue;

		for_each_tdp_pte(&iter, &root->pgt, range->start, range->end,
				 1) {
			if (tdp_iter_kind(&iter) != TDP_LEAF ||
			    !tdp_pte_young(fmt, iter.old) ||
			    tdp_pte_slotless(fmt, iter.old))
				continue;
			young = true;
			/* One attempt, whatever comes of it. */
			tdp_iter_update(&iter, tdp_pte_mkold(fmt, iter.old));
		}
	}
	rcu_read_unlock();
	return young;
}

/**
 * kvm_tdp_test_age_gfn_range() - Is a range young?
 * @tdp: the MMU
 * @range: the range, of one memslot
 *
 * Return: true if a page of the range is young.
 *
 * Context: Any; mmu_lock need not be held.
 */
bool kvm_tdp_test_age_gfn_range(struct kvm_tdp *tdp,
				const struct kvm_gfn_range *range)
{
	struct kvm_tdp_root *root;
	struct tdp_iter iter __uninitialized;
	bool young = false;

	rcu_read_lock();
	list_for_each_entry_rcu(root, &tdp->roots, link) {
		const struct tdp_fmt *fmt = root->pgt.fmt;

		if (root->as_id != range->slot->as_id)
			continue;

		for_each_tdp_pte(&iter, &root->pgt, range->start, range->end,
				 1) {
			young = tdp_iter_kind(&iter) == TDP_LEAF &&
				tdp_pte_young(fmt, iter.old) &&
				!tdp_pte_slotless(fmt, iter.old);
			if (young)
				goto out;
		}
	}
out:
	rcu_read_unlock();
	return young;
}
