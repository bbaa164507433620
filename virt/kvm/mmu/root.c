// SPDX-License-Identifier: GPL-2.0-only
/*
 * Roots of the TDP MMU.
 *
 * The MMU holds a reference to each valid root, so that a root outlives the
 * vCPUs that use it and the next vCPU finds it.  invalidate.c puts it.
 */
#include "walk.h"
#include "trace.h"

/**
 * kvm_tdp_init() - Initialize an MMU
 * @tdp: the MMU
 * @kvm: the VM
 */
void kvm_tdp_init(struct kvm_tdp *tdp, struct kvm *kvm)
{
	tdp->kvm = kvm;
	INIT_LIST_HEAD(&tdp->roots);
	spin_lock_init(&tdp->roots_lock);
	atomic64_set(&tdp->nr_tables, 0);
	atomic_set(&tdp->nr_unpaid, 0);
}

/**
 * __kvm_tdp_next_root() - Go to the next root
 * @tdp: the MMU
 * @prev: the root before, NULL to start.  Its reference is put.
 * @as_id: address space, or KVM_TDP_ALL_AS
 * @valid_only: leave out invalid roots
 *
 * The part of kvm_tdp_next_root() that is not inline.
 *
 * Return: the next root, referenced, or NULL.
 */
struct kvm_tdp_root *__kvm_tdp_next_root(struct kvm_tdp *tdp,
					 struct kvm_tdp_root *prev,
					 int as_id, bool valid_only)
{
	/* A referenced root is in the list. */
	struct list_head *pos = prev ? &prev->link : &tdp->roots;
	struct kvm_tdp_root *root;

	/* For root->invalid; the list itself needs RCU. */
	lockdep_assert_held(&tdp->kvm->mmu_lock);

	rcu_read_lock();
	root = list_entry_rcu(pos->next, struct kvm_tdp_root, link);
	list_for_each_entry_from_rcu(root, &tdp->roots, link) {
		if (as_id != KVM_TDP_ALL_AS && root->as_id != as_id)
			continue;
		if (valid_only && root->invalid)
			continue;
		/* Zero: on its way out, and empty. */
		if (refcount_inc_not_zero(&root->refs))
			goto out;
	}
	root = NULL;
out:
	rcu_read_unlock();

	if (prev)
		kvm_tdp_put_root(prev);
	return root;
}

/**
 * kvm_tdp_get_root() - Find a valid root
 * @tdp: the MMU
 * @key: its key
 *
 * Return: the root, with a reference for the caller, or NULL.
 *
 * Context: mmu_lock held.
 */
struct kvm_tdp_root *kvm_tdp_get_root(struct kvm_tdp *tdp, u32 key)
{
	struct kvm_tdp_root *root;

	for_each_kvm_tdp_root(tdp, root, KVM_TDP_ALL_AS, true) {
		if (root->key == key)
			break;
	}
	return root;
}

/* A root can be several pages, side by side. */
static void kvm_tdp_account_root(const struct kvm_tdp_root *root, int sign)
{
	const struct tdp_fmt *fmt = root->pgt.fmt;
	unsigned int nr = tdp_fmt_nr_entries(fmt, tdp_fmt_root_level(fmt));

	tdp_account_table((__force void *)root->pgt.root,
			  sign * DIV_ROUND_UP(nr * sizeof(tdp_pte_t), PAGE_SIZE));
}

/**
 * kvm_tdp_add_root() - Put a new root to use
 * @tdp: the MMU
 * @root: the root: pgt with an empty table, key and as_id set, all else zero
 *
 * Return: @root, or a root with the same key that someone else added first,
 * with a reference for the caller.  In the second case @root stays the
 * caller's.
 *
 * Context: mmu_lock held, so that no root becomes invalid meanwhile.
 */
struct kvm_tdp_root *kvm_tdp_add_root(struct kvm_tdp *tdp,
				      struct kvm_tdp_root *root)
{
	struct kvm_tdp_root *other;

	lockdep_assert_held(&tdp->kvm->mmu_lock);

	spin_lock(&tdp->roots_lock);
	list_for_each_entry(other, &tdp->roots, link) {
		/* The MMU's reference keeps valid roots alive. */
		if (!other->invalid && other->key == root->key &&
		    !WARN_ON_ONCE(!refcount_inc_not_zero(&other->refs)))
			goto out;
	}
	root->tdp = tdp;
	root->pgt.unpaid = &tdp->nr_unpaid;
	/* The MMU's and the caller's. */
	refcount_set(&root->refs, 2);
	list_add_rcu(&root->link, &tdp->roots);
	kvm_tdp_account_root(root, 1);
	other = root;
	trace_kvm_tdp_root(root, KVM_TDP_ROOT_ADDED);
out:
	spin_unlock(&tdp->roots_lock);
	return other;
}

static void kvm_tdp_free_root_rcu(struct rcu_head *rcu)
{
	struct kvm_tdp_root *root = container_of(rcu, struct kvm_tdp_root, rcu);

	kvm_arch_tdp_free_root(root);
}

/**
 * kvm_tdp_free_root() - Free a root after its last reference was dropped
 * @root: the root
 *
 * Context: mmu_lock held, so that who holds it for write can walk the list.
 */
void kvm_tdp_free_root(struct kvm_tdp_root *root)
{
	struct kvm_tdp *tdp = root->tdp;

	lockdep_assert_held(&tdp->kvm->mmu_lock);

	/* Valid roots are the MMU's too. */
	KVM_BUG_ON(!root->invalid, tdp->kvm);

	spin_lock(&tdp->roots_lock);
	list_del_rcu(&root->link);
	spin_unlock(&tdp->roots_lock);

	trace_kvm_tdp_root(root, KVM_TDP_ROOT_FREED);
	kvm_tdp_account_root(root, -1);
	call_rcu(&root->rcu, kvm_tdp_free_root_rcu);
}
