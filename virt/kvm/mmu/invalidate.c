// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of roots: all at once they are taken out of use, under mmu_lock for
 * write, and then emptied one after the other, under mmu_lock for read, while
 * the vCPUs already build new trees.
 */
#include "walk.h"
#include "trace.h"

/**
 * kvm_tdp_invalidate_all_roots() - Take all roots out of use
 * @tdp: the MMU
 *
 * Takes time only for the number of roots.  The caller must make all vCPUs drop
 * their roots before it releases mmu_lock, and call
 * kvm_tdp_zap_invalidated_roots() after.
 *
 * Context: slots_lock held, or the VM's mm is going away; mmu_lock held for
 *	    write.  Neither if the VM is being destroyed and has no other users.
 */
void kvm_tdp_invalidate_all_roots(struct kvm_tdp *tdp)
{
	struct kvm *kvm = tdp->kvm;
	struct kvm_tdp_root *root;

	list_for_each_entry(root, &tdp->roots, link) {
		/* An invalid root can live on for as long as it has users. */
		if (root->invalid)
			continue;
		/* Not if this is the end of the VM, or of an attempt to make one. */
		if (refcount_read(&kvm->users_count) && kvm->created_vcpus)
			lockdep_assert_held_write(&kvm->mmu_lock);
		root->invalid = true;
		root->zap_pending = true;
		/* Nothing is flushed for it, so nobody waits for that. */
		root->pgt.unpaid = NULL;
		trace_kvm_tdp_root(root, KVM_TDP_ROOT_INVALIDATED);
		kvm_arch_tdp_root_invalidated(root);
	}
}

/**
 * kvm_tdp_zap_invalidated_roots() - Empty the roots that were taken out of use
 * @tdp: the MMU
 *
 * When this returns, nothing is mapped through them.
 *
 * Context: slots_lock held, or the VM's mm is going away, or the VM is being
 *	    destroyed.  Takes mmu_lock for read and yields.
 */
void kvm_tdp_zap_invalidated_roots(struct kvm_tdp *tdp)
{
	struct kvm_tdp_root *root;

	read_lock(&tdp->kvm->mmu_lock);
	for_each_kvm_tdp_root(tdp, root, KVM_TDP_ALL_AS, false) {
		if (!root->zap_pending)
			continue;
		root->zap_pending = false;
		KVM_BUG_ON(!root->invalid, tdp->kvm);

		kvm_tdp_zap_root(root, 0, tdp_fmt_end_gfn(root->pgt.fmt),
				 TDP_SHARED, true);
		/*
		 * The MMU's reference.  Not earlier: a notifier must be able to
		 * find the root for as long as it maps anything.
		 */
		kvm_tdp_put_root(root);
	}
	read_unlock(&tdp->kvm->mmu_lock);
}

/**
 * kvm_tdp_destroy() - Free all that an MMU holds
 * @tdp: the MMU
 *
 * Context: The VM has no users and no vCPUs any more.  May sleep.
 */
void kvm_tdp_destroy(struct kvm_tdp *tdp)
{
	kvm_tdp_invalidate_all_roots(tdp);
	kvm_tdp_zap_invalidated_roots(tdp);

	WARN_ON(!list_empty(&tdp->roots));
	WARN_ON(atomic64_read(&tdp->nr_tables));
	WARN_ON(atomic_read(&tdp->nr_unpaid));

	/* Callbacks that free roots and tables may use the VM. */
	rcu_barrier();
}
