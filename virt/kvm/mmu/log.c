// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty logging: let the log see the next write to a page.
 *
 * Leaves stay where they are and give up write access, or their dirty bit where
 * hardware logs the pages in which it sets one.  The flush is the caller's, in
 * all cases: an entry that needs no change here may have been changed, and not
 * been flushed, by somebody else, so what is owed is the range whose bits of the
 * log were cleared, or the slot whose logging starts.
 */
#include "walk.h"

/* Return: false if the entry must be looked at again. */
static bool kvm_tdp_log_leaf(struct tdp_iter *iter)
{
	tdp_pte_t new = tdp_pte_log_writes(iter->pgt->fmt, iter->old,
					   iter->level);

	if (tdp_pte_slotless(iter->pgt->fmt, iter->old))
		return true;
	return new == iter->old || tdp_iter_update(iter, new);
}

static void kvm_tdp_log_root(struct kvm_tdp_root *root, gfn_t start, gfn_t end,
			     enum tdp_mode mode)
{
	struct kvm_tdp_walk walk __uninitialized;
	struct tdp_iter *iter = &walk.iter;

	kvm_tdp_walk_init(&walk, mode, true);
	for_each_kvm_tdp_pte(&walk, root, start, end, 1) {
again:
		switch (tdp_iter_kind(iter)) {
		case TDP_NONE:
		case TDP_ANNOTATED:
		case TDP_TABLE:
			break;
		case TDP_FROZEN:
			tdp_iter_restart(iter);
			break;
		case TDP_LEAF:
			if (!kvm_tdp_log_leaf(iter))
				goto again;
			break;
		}
	}
}

/**
 * kvm_tdp_log_slot() - Start to log writes to a memslot
 * @tdp: the MMU
 * @slot: the slot
 *
 * The caller must flush the slot, whatever was found here, before the log
 * counts.
 *
 * Faults go on meanwhile.  They see that the slot is logged, as SRCU was
 * synchronized after the slots were exchanged: what they make writable they mark
 * dirty, so it does not matter whether it is protected again.
 *
 * Context: slots_lock held, the new slot is in place.  Takes mmu_lock for read
 *	    and yields.
 */
void kvm_tdp_log_slot(struct kvm_tdp *tdp, const struct kvm_memory_slot *slot)
{
	struct kvm_tdp_root *root;

	lockdep_assert_held(&tdp->kvm->slots_lock);

	read_lock(&tdp->kvm->mmu_lock);
	for_each_kvm_tdp_root(tdp, root, slot->as_id, true)
		kvm_tdp_log_root(root, slot->base_gfn,
				 slot->base_gfn + slot->npages, TDP_SHARED);
	read_unlock(&tdp->kvm->mmu_lock);

	kvm_tdp_wait_unpaid(tdp);
}

/**
 * kvm_tdp_log_gfn_range() - Log writes to a range of all address spaces
 * @tdp: the MMU
 * @start: first gfn
 * @end: first gfn behind
 *
 * For roots whose gfns are not those of memslots.  The caller must flush them.
 *
 * Context: mmu_lock held for write; yields.
 */
void kvm_tdp_log_gfn_range(struct kvm_tdp *tdp, gfn_t start, gfn_t end)
{
	struct kvm_tdp_root *root;

	for_each_kvm_tdp_root(tdp, root, KVM_TDP_ALL_AS, true)
		kvm_tdp_log_root(root, start, end, TDP_EXCLUSIVE);
}

/* Does the mask, of gfns from @gfn, have a bit in [start, start + nr)? */
static bool kvm_tdp_mask_hits(gfn_t gfn, unsigned long mask, gfn_t start,
			      gfn_t nr)
{
	gfn_t end = start + nr;

	start = max(start, gfn);
	end = min(end, gfn + BITS_PER_LONG);
	return start < end &&
	       (mask & GENMASK(end - gfn - 1, start - gfn));
}

/**
 * kvm_tdp_log_masked() - Log writes to some pages of a memslot again
 * @tdp: the MMU
 * @slot: the slot
 * @gfn: the gfn that bit 0 stands for, with no alignment
 * @mask: which pages, not 0
 *
 * For clearing the dirty log: bits first, entries (here) second, flush (by the
 * caller, and of all pages whose bits were cleared) third.  Touches no other
 * page, unless a huge leaf maps both.
 *
 * Context: mmu_lock held; the pages' bits in the log are cleared.  If it is held
 *	    for read, kvm_tdp_wait_unpaid() comes before the flush.
 */
void kvm_tdp_log_masked(struct kvm_tdp *tdp, const struct kvm_memory_slot *slot,
			gfn_t gfn, unsigned long mask)
{
	gfn_t start = gfn + __ffs(mask), end = gfn + __fls(mask) + 1;
	struct kvm_tdp_root *root;
	struct tdp_iter iter __uninitialized;

	lockdep_assert_held(&tdp->kvm->mmu_lock);

	rcu_read_lock();
	/* The lock stays, so that RCU protects them well enough. */
	list_for_each_entry_rcu(root, &tdp->roots, link) {
		if (root->as_id != slot->as_id || root->invalid)
			continue;
		for_each_tdp_pte(&iter, &root->pgt, start, end, 1) {
again:
			switch (tdp_iter_kind(&iter)) {
			case TDP_NONE:
			case TDP_ANNOTATED:
			case TDP_TABLE:
				break;
			case TDP_FROZEN:
				tdp_iter_restart(&iter);
				break;
			case TDP_LEAF:
				if (iter.level == 1 ?
				    !(mask & BIT(iter.gfn - gfn)) :
				    !kvm_tdp_mask_hits(gfn, mask, iter.gfn,
						       tdp_span(root->pgt.fmt,
								iter.level)))
					break;
				if (!kvm_tdp_log_leaf(&iter))
					goto again;
				break;
			}
		}
	}
	rcu_read_unlock();
}
