// SPDX-License-Identifier: GPL-2.0-only
/*
 * Write-protecting, for gfns whose content KVM tracks.
 */
#include "walk.h"

/**
 * kvm_tdp_write_protect_gfn() - Let KVM see all writes to a gfn
 * @tdp: the MMU
 * @slot: its memslot
 * @gfn: the gfn
 * @min_level: lowest level of leaves to protect
 *
 * For shadow paging, which keeps copies of guest page tables.  Lockless paths
 * can give write access back to leaves that were protected for other reasons,
 * but not to these.
 *
 * Return: true if the caller must flush @gfn before it releases mmu_lock.
 *
 * Context: mmu_lock held for write.
 */
bool kvm_tdp_write_protect_gfn(struct kvm_tdp *tdp,
			       const struct kvm_memory_slot *slot, gfn_t gfn,
			       int min_level)
{
	struct kvm_tdp_root *root;
	struct tdp_gather gather;
	struct tdp_iter iter;
	bool flush = false;

	lockdep_assert_held_write(&tdp->kvm->mmu_lock);
	tdp_gather_init(&gather);

	for_each_kvm_tdp_root(tdp, root, slot->as_id, true) {
		const struct tdp_fmt *fmt = root->pgt.fmt;

		rcu_read_lock();
		for_each_tdp_pte(&iter, &root->pgt, gfn, gfn + 1, min_level) {
			tdp_pte_t new;

			if (tdp_iter_kind(&iter) != TDP_LEAF)
				continue;
			new = tdp_pte_wrprot_tracked(fmt, iter.old);
			if (new == iter.old)
				continue;
			/* Nobody else is there. */
			WARN_ON_ONCE(!tdp_iter_set(&iter, &gather, new,
						   TDP_EXCLUSIVE));
		}
		rcu_read_unlock();
		flush |= gather.flush != TDP_FLUSH_NOTHING;
	}
	return flush;
}
