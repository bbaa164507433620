// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings that no memslot backs: pages of devices that KVM itself shows to the
 * guest.
 *
 * The primary MMU knows nothing of them, so no notifier takes them away; and what
 * logs, ages or recovers goes by memslot and passes them by.  No fault brings them
 * back, either.  User space can have put a memslot over them: then they are told
 * by tdp_pte_slotless() and left alone by all but those who unmap.
 */
#include "walk.h"

static bool kvm_tdp_link_empty(struct tdp_iter *iter, struct tdp_gather *gather,
			       struct kvm_mmu_memory_cache *tables)
{
	struct tdp_new_table new = {
		.table = kvm_mmu_memory_cache_alloc(tables),
	};

	if (tdp_iter_link(iter, gather, &new))
		return true;

	free_page((unsigned long)new.table);
	return false;
}

/**
 * kvm_tdp_map_gfn() - Map a page that no memslot backs
 * @root: the root, referenced by the caller, of a format without pinned tables
 * @gfn: the guest page
 * @leaf: the leaf for it, of level 1, for which tdp_pte_slotless()
 * @tables: preloaded tables, enough for all levels
 *
 * In place of what was mapped there, which may be another page.
 *
 * Return: 0, -EFAULT if @gfn cannot be mapped, or -EIO if @root is out of use.
 *
 * Context: mmu_lock held for write.
 */
int kvm_tdp_map_gfn(struct kvm_tdp_root *root, gfn_t gfn, tdp_pte_t leaf,
		    struct kvm_mmu_memory_cache *tables)
{
	struct tdp_gather gather __uninitialized;
	struct tdp_iter iter;
	int r = -EFAULT;

	/* Nobody would zap what is mapped there. */
	if (root->invalid)
		return -EIO;

	/* In two steps: this may wait for a flush, and the other may not. */
	kvm_tdp_zap_root(root, gfn, gfn + 1, TDP_EXCLUSIVE, false);

	tdp_gather_init(&gather);
	rcu_read_lock();
	for_each_tdp_pte(&iter, &root->pgt, gfn, gfn + 1, 1) {
		bool done = true;

		if (tdp_iter_kind(&iter) == TDP_TABLE)
			continue;
		if (iter.level > 1) {
			done = kvm_tdp_link_empty(&iter, &gather, tables);
		} else {
			done = tdp_iter_set(&iter, &gather, leaf, TDP_EXCLUSIVE);
			r = 0;
		}
		/* Nobody else installs anything. */
		KVM_BUG_ON(!done, root->tdp->kvm);
	}
	kvm_tdp_settle(root, &gather);
	rcu_read_unlock();
	return r;
}
