// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tables that faults must leave in place, tdp_pte_table_pinned(): the backend
 * decides which have been there for long enough.
 */
#include "walk.h"

/* Bounds what waits for a flush to be freed. */
#define KVM_TDP_RELEASE_BATCH	64

static void kvm_tdp_release_table(const struct kvm_tdp_pinned *pinned,
				  struct tdp_gather *gather)
{
	const struct tdp_fmt *fmt = pinned->root->pgt.fmt;
	struct tdp_iter iter;
	tdp_pte_t new;

	for_each_tdp_pte(&iter, &pinned->root->pgt, pinned->gfn,
			 pinned->gfn + 1, pinned->level) {
		while (iter.level == pinned->level &&
		       tdp_iter_kind(&iter) == TDP_TABLE) {
			new = pinned->keep ?
			      tdp_pte_unpin_table(fmt, iter.old) :
			      tdp_pte_none(fmt);
			if (tdp_iter_set(&iter, gather, new, TDP_SHARED))
				break;
		}
	}
}

/* Pay what is owed for a root, if there is one, and have done with it. */
static void kvm_tdp_release_root(struct kvm_tdp_root *root,
				 struct tdp_gather *gather)
	__must_hold(RCU)
{
	if (!root)
		return;

	kvm_tdp_settle(root, gather);
	kvm_tdp_put_root(root);
}

/**
 * kvm_tdp_release_pinned() - Release tables that faults had to leave in place
 * @tdp: the MMU
 * @nr: how many; fewer if the backend knows no more
 *
 * The backend says which and how, kvm_arch_tdp_next_pinned().  Many are paid for
 * by one flush.
 *
 * Context: SRCU read-side critical section.  Takes mmu_lock for read and yields:
 *	    faults can map the memory again meanwhile.
 */
void kvm_tdp_release_pinned(struct kvm_tdp *tdp, unsigned long nr)
{
	rwlock_t *lock = &tdp->kvm->mmu_lock;
	struct kvm_tdp_root *root = NULL;
	struct kvm_tdp_pinned pinned;
	struct tdp_gather gather;
	unsigned int owed = 0;
	bool yield;

	tdp_gather_init(&gather);
	read_lock(lock);
	rcu_read_lock();
	for (; nr && kvm_arch_tdp_next_pinned(tdp, &pinned); nr--) {
		if (pinned.root == root) {
			kvm_tdp_put_root(pinned.root);
		} else {
			kvm_tdp_release_root(root, &gather);
			root = pinned.root;
			owed = 0;
		}
		kvm_tdp_release_table(&pinned, &gather);

		yield = need_resched() || rwlock_is_contended(lock);
		if (++owed < KVM_TDP_RELEASE_BATCH && !yield &&
		    !tdp_gather_is_full(&gather))
			continue;

		kvm_tdp_release_root(root, &gather);
		root = NULL;
		owed = 0;
		if (yield) {
			rcu_read_unlock();
			read_unlock(lock);
			cond_resched();
			read_lock(lock);
			rcu_read_lock();
		}
	}
	kvm_tdp_release_root(root, &gather);
	rcu_read_unlock();
	read_unlock(lock);
}
