// SPDX-License-Identifier: GPL-2.0-only
/*
 * Recovery: when dirty logging ends, huge leaves take the place of the tables
 * that they were split into.
 */
#include "walk.h"
#include "trace.h"

/* What the leaves below a table have in common. */
struct kvm_tdp_parts {
	tdp_pte_t part;		/* one of them */
	bool found;		/* there is one */
	bool young;		/* one is */
	bool host_writable;	/* one is */
	bool executable;	/* all are */
	bool full;		/* there is nothing else */
	bool slotless;		/* one is not of the memslot */
};

/* Recursion is bounded by the number of levels that leaves have. */
static void kvm_tdp_scan(const struct tdp_fmt *fmt, tdp_pte_t __rcu *table,
			 int level, struct kvm_tdp_parts *parts)
{
	unsigned int i, nr = tdp_fmt_nr_entries(fmt, level);
	bool seen = false;	/* parts->part is of this table */

	for (i = 0; i < nr; i++) {
		tdp_pte_t pte = tdp_pte_read(table + i);

		/* Most are like the one before: nothing new. */
		if (seen && tdp_pte_alike(fmt, parts->part, pte))
			continue;

		switch (tdp_pte_kind(fmt, pte, level)) {
		case TDP_NONE:
		case TDP_FROZEN:
		case TDP_ANNOTATED:
			parts->full = false;
			break;
		case TDP_TABLE:
			kvm_tdp_scan(fmt, tdp_pte_table(fmt, pte), level - 1,
				     parts);
			seen = false;
			break;
		case TDP_LEAF:
			seen = true;
			parts->part = pte;
			parts->found = true;
			parts->young |= tdp_pte_young(fmt, pte);
			parts->host_writable |= tdp_pte_host_writable(fmt, pte);
			parts->executable &= tdp_pte_executable(fmt, pte);
			parts->slotless |= tdp_pte_slotless(fmt, pte);
			break;
		}
	}
}

/*
 * Make the block that the table at the walk's entry can be replaced by.
 *
 * The primary MMU maps the block by one entry, so that what it allows for one
 * page it allows for all: it takes permissions away only by a notifier, which
 * zaps the leaves that have them.  A memslot that lets the block be mapped at
 * this level has no page that shadow paging protects.  So the block may be
 * writable if one of its parts may.
 *
 * Return: the block; the table, if it must stay; what maps nothing, if there is
 * nothing mapped now or the backend does not want the block.
 */
static tdp_pte_t kvm_tdp_make_block(struct kvm_tdp_walk *walk)
{
	const struct tdp_iter *iter = &walk->iter;
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	struct kvm *kvm = walk->root->tdp->kvm;
	struct kvm_tdp_parts parts = { .executable = true, .full = true };
	unsigned int flags = 0;

	kvm_tdp_scan(fmt, tdp_pte_table(fmt, iter->old), iter->level - 1,
		     &parts);
	if (!parts.found)
		return tdp_pte_none(fmt);
	/* Other memory than the block's; and no fault brings it back. */
	if (parts.slotless)
		return iter->old;

	if (parts.young)
		flags |= TDP_YOUNG;
	if (parts.host_writable)
		flags |= TDP_HOST_WRITE | TDP_WRITE;
	if (kvm_arch_tdp_exec(kvm, iter->level, parts.executable))
		flags |= TDP_EXEC;

	/* That can take its time, and vCPUs may wait for what is broken. */
	if (!parts.full && tdp_gather_has_broken(&walk->gather))
		kvm_tdp_settle(walk->root, &walk->gather);
	if (!kvm_arch_tdp_prepare_block(kvm, tdp_pte_pfn(fmt, parts.part),
					iter->level, flags & TDP_EXEC,
					parts.full))
		return tdp_pte_none(fmt);

	return tdp_pte_make_block(fmt, parts.part, iter->level, flags);
}

/* Could the block of the table at the walk's entry be mapped by a leaf? */
static bool kvm_tdp_can_recover(struct kvm *kvm,
				const struct kvm_memory_slot *slot,
				const struct tdp_iter *iter)
{
	return tdp_fmt_leaf_allowed(iter->pgt->fmt, iter->level) &&
	       tdp_iter_inside(iter, slot->base_gfn) &&
	       kvm_arch_tdp_recover_level(kvm, slot, iter->gfn) >= iter->level;
}

/*
 * What takes the place of the table at the walk's entry.
 *
 * A leaf maps more than the table does.  Pages of the block whose invalidation
 * is in progress must not come back: they were zapped already, and will be freed.
 * What is invalidated later needs mmu_lock for write to begin with, so that it
 * finds the leaf.
 *
 * Where there can be no leaf now the table goes all the same, or the guest's
 * memory would stay in small pages for good: present ones cause no more faults.
 */
static tdp_pte_t kvm_tdp_recovered(struct kvm_tdp_walk *walk)
{
	const struct tdp_iter *iter = &walk->iter;
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	struct kvm *kvm = walk->root->tdp->kvm;

	if (mmu_invalidate_retry_range(kvm, kvm->mmu_invalidate_seq, iter->gfn,
				       iter->gfn + tdp_span(fmt, iter->level)))
		return tdp_pte_none(fmt);

	return kvm_tdp_make_block(walk);
}

/**
 * kvm_tdp_recover_slot() - Put huge leaves back where the primary MMU has them
 * @tdp: the MMU
 * @slot: the slot, not logged
 *
 * Pages that the guest may write to are writable again, so that no fault
 * follows.
 *
 * Context: slots_lock held, the new slot is in place.  Takes mmu_lock for read
 *	    and yields.
 */
void kvm_tdp_recover_slot(struct kvm_tdp *tdp,
			  const struct kvm_memory_slot *slot)
{
	struct kvm_tdp_walk walk __uninitialized;
	struct tdp_iter *iter = &walk.iter;
	struct kvm_tdp_root *root;
	tdp_pte_t new;

	lockdep_assert_held(&tdp->kvm->slots_lock);

	kvm_tdp_walk_init(&walk, TDP_SHARED, true);
	read_lock(&tdp->kvm->mmu_lock);
	for_each_kvm_tdp_root(tdp, root, slot->as_id, true) {
		for_each_kvm_tdp_pte(&walk, root, slot->base_gfn,
				     slot->base_gfn + slot->npages, 2) {
			/*
			 * A table is all that matters: who finds it replaced has
			 * lost to a zap, or to a fault that made the leaf.
			 */
			if (tdp_iter_kind(iter) != TDP_TABLE)
				continue;
			if (!kvm_tdp_can_recover(tdp->kvm, slot, iter))
				continue;
			new = kvm_tdp_recovered(&walk);
			if (new == iter->old)
				continue;
			if (tdp_iter_set(iter, &walk.gather, new, TDP_SHARED))
				trace_kvm_tdp_recover(root->as_id, iter->gfn,
						      iter->level);
		}
	}
	read_unlock(&tdp->kvm->mmu_lock);
}
