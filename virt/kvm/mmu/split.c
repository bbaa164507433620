// SPDX-License-Identifier: GPL-2.0-only
/*
 * Eager splitting of huge leaves, so that no vCPU pays for it when dirty logging
 * makes it write to one.
 */
#include "walk.h"
#include "trace.h"

/*
 * Tables to get at a time: each time costs a walk from the root, and a flush if
 * leaves have to be broken.
 */
#define KVM_TDP_SPLIT_TABLES	(TDP_MAX_BROKEN ?: 8)

static int kvm_tdp_split_root(struct kvm_tdp_root *root, gfn_t start, gfn_t end,
			      enum tdp_mode mode,
			      struct kvm_mmu_memory_cache *tables)
{
	struct kvm_tdp_walk walk __uninitialized;
	struct kvm *kvm = root->tdp->kvm;
	struct tdp_iter *iter = &walk.iter;
	struct tdp_new_table new = {};
	int r = 0;

	kvm_tdp_walk_init(&walk, mode, true);
	for_each_kvm_tdp_pte(&walk, root, start, end, 2) {
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
			if (!new.table && !tables->nobjs) {
				r = kvm_tdp_walk_refill(&walk, tables,
							KVM_TDP_SPLIT_TABLES);
				break;
			}
			if (!new.table)
				new.table = kvm_mmu_memory_cache_alloc(tables);
			if (!tdp_iter_split(iter, &walk.gather, &new,
					    kvm_arch_tdp_exec(kvm, iter->level - 1,
							      false)))
				goto again;
			trace_kvm_tdp_split(root->as_id, iter->gfn, iter->level);
			new.table = NULL;
			break;
		}
	}

	/* Who lost it to someone else's split or zap has it still. */
	if (new.table)
		free_page((unsigned long)new.table);
	return r;
}

static int kvm_tdp_split(struct kvm_tdp *tdp,
			 const struct kvm_memory_slot *slot, gfn_t start,
			 gfn_t end, enum tdp_mode mode)
{
	/* What is split fills its table: no need to do so before. */
	struct kvm_mmu_memory_cache tables = {
		.gfp_custom = GFP_KERNEL_ACCOUNT,
	};
	struct kvm_tdp_root *root;
	int r = 0;

	for_each_kvm_tdp_root(tdp, root, slot->as_id, true) {
		r = kvm_tdp_split_root(root, start, end, mode, &tables);
		if (r) {
			kvm_tdp_put_root(root);
			break;
		}
	}
	kvm_mmu_free_memory_cache(&tables);
	return r;
}

/**
 * kvm_tdp_split_slot() - Split all huge leaves of a memslot
 * @tdp: the MMU
 * @slot: the slot
 *
 * The smaller leaves allow what the huge ones did, so no flush is owed.
 *
 * Return: 0, or -ENOMEM if some could not be split: they work as well, and are
 * split by the faults of the vCPUs that write to them.
 *
 * Context: slots_lock held.  Takes mmu_lock for read, yields and allocates.
 */
int kvm_tdp_split_slot(struct kvm_tdp *tdp, const struct kvm_memory_slot *slot)
{
	int r;

	lockdep_assert_held(&tdp->kvm->slots_lock);

	read_lock(&tdp->kvm->mmu_lock);
	r = kvm_tdp_split(tdp, slot, slot->base_gfn,
			  slot->base_gfn + slot->npages, TDP_SHARED);
	read_unlock(&tdp->kvm->mmu_lock);
	return r;
}

/**
 * kvm_tdp_split_range() - Split all huge leaves in a range of a memslot
 * @tdp: the MMU
 * @slot: the slot
 * @start: first gfn
 * @end: first gfn behind
 * @mode: how mmu_lock is held
 *
 * Return: as kvm_tdp_split_slot().
 *
 * Context: slots_lock held, mmu_lock held and dropped on the way.
 */
int kvm_tdp_split_range(struct kvm_tdp *tdp, const struct kvm_memory_slot *slot,
			gfn_t start, gfn_t end, enum tdp_mode mode)
{
	/* mmu_lock is dropped: slots, and so roots, must stay nevertheless. */
	lockdep_assert_held(&tdp->kvm->slots_lock);

	return kvm_tdp_split(tdp, slot, start, end, mode);
}
