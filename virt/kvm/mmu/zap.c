// SPDX-License-Identifier: GPL-2.0-only
/*
 * Zapping: take mappings away, and tables with them.
 *
 * When these return, all that was mapped in the range is gone from the tables
 * and, for roots that vCPUs can use, from the TLBs.  No page is touched: it can
 * be someone else's as soon as it is not mapped any more.
 */
#include "walk.h"

static void kvm_tdp_zap_pass(struct kvm_tdp_root *root, gfn_t start, gfn_t end,
			     enum tdp_mode mode, bool may_yield, int level)
{
	struct kvm_tdp_walk walk = { .mode = mode, .may_yield = may_yield };
	struct tdp_iter *iter = &walk.iter;
	/* What is smaller than the pass's tables went in the passes before. */
	int min_level = level == 2 ? 1 : level;

	for_each_kvm_tdp_pte(&walk, root, start, end, min_level) {
again:
		switch (tdp_iter_kind(iter)) {
		case TDP_NONE:
		case TDP_ANNOTATED:
			continue;
		case TDP_FROZEN:
			tdp_iter_restart(iter);
			continue;
		case TDP_TABLE:
			if (iter->level > level || !tdp_iter_inside(iter, start))
				continue;
			break;
		case TDP_LEAF:
			/* A leaf that is only partly in the range goes, too. */
			break;
		}
		if (!tdp_iter_set(iter, &walk.gather,
				  tdp_pte_none(root->pgt.fmt), mode))
			goto again;
	}
}

/**
 * kvm_tdp_zap_root() - Zap a range of one root
 * @root: the root, referenced by the caller
 * @start: first gfn
 * @end: first gfn behind
 * @mode: how mmu_lock is held
 * @may_yield: mmu_lock may be dropped on the way
 *
 * Tables that lie wholly in the range are freed.  One pass for each level, from
 * the lowest tables up: then no step frees more than one full table, however
 * large the range is, and the walk can yield in between.
 *
 * ANNOTATED entries stay where their table does: they map nothing.
 *
 * Context: mmu_lock held; for read only if it does not matter that faults map
 *	    parts of the range again meanwhile.
 */
void kvm_tdp_zap_root(struct kvm_tdp_root *root, gfn_t start, gfn_t end,
		      enum tdp_mode mode, bool may_yield)
{
	const struct tdp_fmt *fmt = root->pgt.fmt;
	int level;

	end = min(end, tdp_fmt_end_gfn(fmt));

	for (level = 2; level <= tdp_fmt_root_level(fmt); level++) {
		gfn_t first = tdp_gfn_round(fmt, start + tdp_span(fmt, level) - 1,
					    level);

		/* The first pass is due even if no table lies in the range. */
		if (level > 2 && tdp_entry_end(fmt, first, level) > end)
			break;
		kvm_tdp_zap_pass(root, start, end, mode, may_yield, level);
	}
}

/**
 * kvm_tdp_unmap_gfn_range() - Unmap what the primary MMU takes away
 * @tdp: the MMU
 * @range: the range, of one memslot
 *
 * Invalid roots included: they map the same pages until they are zapped.
 *
 * Context: mmu_lock held for write since the invalidation was opened, or since
 *	    the slot was found invalid; yields if range->may_block.
 */
void kvm_tdp_unmap_gfn_range(struct kvm_tdp *tdp,
			     const struct kvm_gfn_range *range)
{
	struct kvm_tdp_root *root;

	for_each_kvm_tdp_root(tdp, root, range->slot->as_id, false)
		kvm_tdp_zap_root(root, range->start, range->end, TDP_EXCLUSIVE,
				 range->may_block);
}

/**
 * kvm_tdp_zap_gfn_range() - Zap a range of all address spaces
 * @tdp: the MMU
 * @start: first gfn
 * @end: first gfn behind
 *
 * For valid roots only: the reason is a change of what new mappings look like,
 * not of the memory.
 *
 * Context: mmu_lock held for write, an invalidation of the range is open;
 *	    yields.
 */
void kvm_tdp_zap_gfn_range(struct kvm_tdp *tdp, gfn_t start, gfn_t end)
{
	struct kvm_tdp_root *root;

	for_each_kvm_tdp_root(tdp, root, KVM_TDP_ALL_AS, true)
		kvm_tdp_zap_root(root, start, end, TDP_EXCLUSIVE, true);
}

/**
 * kvm_tdp_zap_slot() - Make every page of a memslot fault again
 * @tdp: the MMU
 * @slot: the slot
 *
 * When dirty logging starts, so that each page is logged when it is mapped
 * again; when it stops, so that huge leaves come back.
 *
 * Faults go on meanwhile.  They see the new flags already, as SRCU was
 * synchronized after the slots were exchanged, so it does not matter whether
 * what they install is zapped.
 *
 * Context: slots_lock held, the new slot is in place.  Takes mmu_lock for read
 *	    and yields.
 */
void kvm_tdp_zap_slot(struct kvm_tdp *tdp, const struct kvm_memory_slot *slot)
{
	struct kvm_tdp_root *root;

	lockdep_assert_held(&tdp->kvm->slots_lock);

	read_lock(&tdp->kvm->mmu_lock);
	for_each_kvm_tdp_root(tdp, root, slot->as_id, true)
		kvm_tdp_zap_root(root, slot->base_gfn,
				 slot->base_gfn + slot->npages, TDP_SHARED,
				 true);
	read_unlock(&tdp->kvm->mmu_lock);
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
 * kvm_tdp_zap_masked() - Make some pages of a memslot fault again
 * @tdp: the MMU
 * @slot: the slot
 * @gfn: the gfn that bit 0 stands for, with no alignment
 * @mask: which pages, not 0
 *
 * For clearing the dirty log: bits first, entries (here) second, flush (here,
 * too) third.  Touches no other page, unless a huge leaf maps both.
 *
 * Context: mmu_lock held for write; the pages' bits in the log are cleared.
 */
void kvm_tdp_zap_masked(struct kvm_tdp *tdp, const struct kvm_memory_slot *slot,
			gfn_t gfn, unsigned long mask)
{
	struct kvm_tdp_walk walk = { .mode = TDP_EXCLUSIVE };
	struct tdp_iter *iter = &walk.iter;
	struct kvm_tdp_root *root;

	for_each_kvm_tdp_root(tdp, root, slot->as_id, true) {
		const struct tdp_fmt *fmt = root->pgt.fmt;

		for_each_kvm_tdp_pte(&walk, root, gfn + __ffs(mask),
				     gfn + __fls(mask) + 1, 1) {
			if (tdp_iter_kind(iter) != TDP_LEAF)
				continue;
			if (!kvm_tdp_mask_hits(gfn, mask, iter->gfn,
					       tdp_span(fmt, iter->level)))
				continue;
			/* Nobody else is there. */
			WARN_ON_ONCE(!tdp_iter_set(iter, &walk.gather,
						   tdp_pte_none(fmt),
						   TDP_EXCLUSIVE));
		}
	}
}

/**
 * kvm_tdp_zap_all() - Zap everything
 * @tdp: the MMU
 *
 * Invalid roots included.  When the VM's mm goes away; the guest cannot run any
 * more.
 *
 * Context: Takes mmu_lock for read and yields.
 */
void kvm_tdp_zap_all(struct kvm_tdp *tdp)
{
	struct kvm_tdp_root *root;

	read_lock(&tdp->kvm->mmu_lock);
	for_each_kvm_tdp_root(tdp, root, KVM_TDP_ALL_AS, false)
		kvm_tdp_zap_root(root, 0, tdp_fmt_end_gfn(root->pgt.fmt),
				 TDP_SHARED, true);
	read_unlock(&tdp->kvm->mmu_lock);
}
