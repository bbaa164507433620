// SPDX-License-Identifier: GPL-2.0-only
/*
 * Zapping: take mappings away, and tables with them.
 *
 * When these return, all that was mapped in the range is gone from the tables
 * and, for roots that vCPUs can use, from the TLBs.  No page is touched: it can
 * be someone else's as soon as it is not mapped any more.
 */
#include "walk.h"
#include "trace.h"

/*
 * How to zap the walk's entry: who holds mmu_lock for read has made sure that no
 * fault maps anything in the range, but what a huge leaf maps can reach beyond it.
 */
static enum tdp_mode kvm_tdp_zap_mode(const struct tdp_iter *iter, gfn_t start,
				      enum tdp_mode mode, int whole)
{
	/* Where nothing is broken they are the same. */
	if (!TDP_MAX_BROKEN || mode == TDP_EXCLUSIVE)
		return mode;
	return iter->level <= whole || tdp_iter_inside(iter, start) ?
	       TDP_CLOSED : TDP_SHARED;
}

/* Inline: most notifiers find nothing to zap, and what they pay is calls. */
static __always_inline void kvm_tdp_zap_pass(struct kvm_tdp_root *root,
					     gfn_t start, gfn_t end,
					     enum tdp_mode mode, bool may_yield,
					     int level, int min_level, int whole)
{
	struct kvm_tdp_walk walk __uninitialized;
	struct tdp_iter *iter = &walk.iter;

	kvm_tdp_walk_init(&walk, mode, may_yield);
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
		if (!tdp_iter_zap(iter, &walk.gather,
				  kvm_tdp_zap_mode(iter, start, mode, whole)))
			goto again;
	}
}

/* Does all that an entry of a level can map lie in the range? */
static bool kvm_tdp_spans_entry(const struct tdp_fmt *fmt, gfn_t start,
				gfn_t end, int level)
{
	gfn_t first;

	/* For notifiers of single pages. */
	if (end - start < tdp_span(fmt, 2) && end < tdp_fmt_end_gfn(fmt))
		return false;

	first = tdp_gfn_round(fmt, start + tdp_span(fmt, level) - 1, level);
	return level <= tdp_fmt_root_level(fmt) &&
	       tdp_entry_end(fmt, first, level) <=
	       min(end, tdp_fmt_end_gfn(fmt));
}

/**
 * kvm_tdp_zap_root() - Zap a range of one root
 * @root: the root, referenced by the caller
 * @start: first gfn
 * @end: first gfn behind
 * @mode: TDP_SHARED or TDP_EXCLUSIVE: how mmu_lock is held
 * @may_yield: mmu_lock may be dropped on the way
 *
 * Tables that lie wholly in the range are freed.  One pass for each level, from
 * the lowest tables up: then no step frees more than one full table, however
 * large the range is, and the walk can yield in between.
 *
 * ANNOTATED entries stay where their table does: they map nothing.
 *
 * Context: mmu_lock held; for read only if no fault puts anything into the range
 *	    until this returns: an invalidation of it is open, its memslot is not
 *	    to be found any more, @root is out of use, or the VM cannot run.
 */
void kvm_tdp_zap_root(struct kvm_tdp_root *root, gfn_t start, gfn_t end,
		      enum tdp_mode mode, bool may_yield)
{
	const struct tdp_fmt *fmt = root->pgt.fmt;
	int level = 2, min_level, whole = 1;

	trace_kvm_tdp_zap(root->as_id, start, end, mode == TDP_EXCLUSIVE,
			  root->invalid);

	/*
	 * A fault or a recovery can put a leaf in the place of a level 3 table
	 * in one step, so that must never stall: prove it when roots go.
	 */
	if (IS_ENABLED(CONFIG_KVM_PROVE_MMU) && root->invalid &&
	    tdp_fmt_leaf_allowed(fmt, 3))
		level = 3;

	/*
	 * Up to which level is no entry only partly in the range?  It is the lowest
	 * to visit: tables below go as a whole, and steps there are cheap.
	 */
	if (!((start | end) & (tdp_span(fmt, 2) - 1)) &&
	    tdp_fmt_root_level(fmt) >= 2)
		whole = 2;
	min_level = whole;

	/* The first pass is due even if no table lies in the range. */
	do {
		kvm_tdp_zap_pass(root, start, end, mode, may_yield, level,
				 min_level, whole);
		/* What is smaller than the next pass's tables is gone. */
		min_level = ++level;
	} while (kvm_tdp_spans_entry(fmt, start, end, level));
}

static void kvm_tdp_unmap(struct kvm_tdp *tdp, const struct kvm_gfn_range *range,
			  enum tdp_mode mode)
{
	struct kvm_tdp_root *root;

	/* Invalid roots, too: they map the same pages until they are zapped. */
	for_each_kvm_tdp_root(tdp, root, range->slot->as_id, false)
		kvm_tdp_zap_root(root, range->start, range->end, mode,
				 range->may_block);
}

/**
 * kvm_tdp_unmap_gfn_range() - Unmap what the primary MMU takes away
 * @tdp: the MMU
 * @range: the range, of one memslot
 *
 * For ranges so small that to take mmu_lock once more costs more than the vCPUs
 * gain by it.
 *
 * Context: mmu_lock held for write since the invalidation was opened; yields
 *	    if range->may_block.
 */
void kvm_tdp_unmap_gfn_range(struct kvm_tdp *tdp,
			     const struct kvm_gfn_range *range)
{
	kvm_tdp_unmap(tdp, range, TDP_EXCLUSIVE);
}

/**
 * kvm_tdp_unmap_gfn_range_shared() - Unmap what the primary MMU takes away
 * @tdp: the MMU
 * @range: the range, of one memslot
 *
 * Beside faults on other pages; those on the range's wait for the invalidation
 * to be closed.
 *
 * Context: An invalidation of the range is open, or no fault can find the
 *	    memslot any more.  Takes mmu_lock for read, yields if
 *	    range->may_block.
 */
void kvm_tdp_unmap_gfn_range_shared(struct kvm_tdp *tdp,
				    const struct kvm_gfn_range *range)
{
	read_lock(&tdp->kvm->mmu_lock);
	kvm_tdp_unmap(tdp, range, TDP_SHARED);
	read_unlock(&tdp->kvm->mmu_lock);

	kvm_tdp_wait_unpaid(tdp);
}

/**
 * kvm_tdp_zap_gfn_range() - Zap a range of all address spaces
 * @tdp: the MMU
 * @start: first gfn
 * @end: first gfn behind
 * @may_yield: mmu_lock may be dropped on the way
 *
 * For valid roots only: the reason is a change of what new mappings look like,
 * or the MMU has no others.
 *
 * Context: mmu_lock held for write, an invalidation of the memory is open, or it
 *	    does not matter that faults map parts of it again meanwhile.
 */
void kvm_tdp_zap_gfn_range(struct kvm_tdp *tdp, gfn_t start, gfn_t end,
			   bool may_yield)
{
	struct kvm_tdp_root *root;

	for_each_kvm_tdp_root(tdp, root, KVM_TDP_ALL_AS, true)
		kvm_tdp_zap_root(root, start, end, TDP_EXCLUSIVE, may_yield);
}

/**
 * kvm_tdp_zap_gfn_range_shared() - Zap a range of all address spaces
 * @tdp: the MMU
 * @start: first gfn
 * @end: first gfn behind
 *
 * As kvm_tdp_zap_gfn_range(), beside faults on other pages.
 *
 * Context: An invalidation of the range is open.  Takes mmu_lock for read and
 *	    yields.
 */
void kvm_tdp_zap_gfn_range_shared(struct kvm_tdp *tdp, gfn_t start, gfn_t end)
{
	struct kvm_tdp_root *root;

	read_lock(&tdp->kvm->mmu_lock);
	for_each_kvm_tdp_root(tdp, root, KVM_TDP_ALL_AS, true)
		kvm_tdp_zap_root(root, start, end, TDP_SHARED, true);
	read_unlock(&tdp->kvm->mmu_lock);

	kvm_tdp_wait_unpaid(tdp);
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
