// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults that need nothing but a bit or two of a leaf: a write to a page that is
 * protected for logging, an access to a page that was made old.  No lock, no
 * page, no memory.
 */
#include "walk.h"
#include "trace.h"

/* Enough to get past those who age or log; then the lock brings order. */
#define KVM_TDP_FAST_TRIES	4

/*
 * What the leaf has to become for the access to go through, or 0 if that is not
 * for this path to decide.
 *
 * Write access that the primary MMU or shadow paging withholds needs mmu_lock.
 * Execute access is never given: elsewhere that takes instruction-cache
 * maintenance, i.e. the page.  A huge leaf of a logged slot has to be split.
 */
static tdp_pte_t kvm_tdp_fast_pte(const struct tdp_iter *iter,
				  const struct kvm_memory_slot *slot,
				  unsigned int access)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	tdp_pte_t new = tdp_pte_mkyoung(fmt, iter->old);

	if (access & TDP_WRITE) {
		if (!tdp_pte_may_mkwrite(fmt, iter->old))
			return 0;
		if (iter->level > 1 && kvm_slot_dirty_track_enabled(slot))
			return 0;
		new = tdp_pte_mkwrite(fmt, iter->old);
	}
	return tdp_pte_allows(fmt, new, access) ? new : 0;
}

static int kvm_tdp_fast_fix(struct kvm_vcpu *vcpu, struct tdp_iter *iter,
			    const struct kvm_memory_slot *slot, gfn_t gfn,
			    unsigned int access)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	int try;

	for (try = 0; try < KVM_TDP_FAST_TRIES; try++) {
		enum tdp_kind kind = tdp_iter_kind(iter);
		tdp_pte_t old = iter->old, new;

		/* The owner of a frozen entry may need the time. */
		if (kind != TDP_LEAF)
			return kind == TDP_FROZEN ? KVM_TDP_RETRY : KVM_TDP_SLOW;
		if (tdp_pte_allows(fmt, old, access))
			return KVM_TDP_SPURIOUS;

		new = kvm_tdp_fast_pte(iter, slot, access);
		if (!new || new == old)
			return KVM_TDP_SLOW;
		if (!tdp_iter_update(iter, new))
			continue;

		/*
		 * After the update; clearing the log goes the other way round.
		 * See kvm_tdp_install().
		 */
		if (tdp_pte_writable(fmt, new) && !tdp_pte_writable(fmt, old))
			mark_page_dirty_in_slot(vcpu->kvm, slot, gfn);
		return KVM_TDP_FIXED;
	}
	return KVM_TDP_SLOW;
}

/**
 * kvm_tdp_fast_fault() - Let an access through, without mmu_lock
 * @vcpu: the vCPU
 * @root: the root it faulted on, referenced
 * @slot: the memslot of @gfn, or NULL
 * @gfn: the guest page
 * @access: TDP_WRITE, TDP_EXEC or 0 for a read
 *
 * The root may have become invalid, and the leaf can be zapped at any time: what
 * is changed is only what a mapping allows that is there, never that it is
 * there.
 *
 *	CPU0 (write fault)		CPU1 (notifier)
 *	reads RO leaf
 *					zaps it, flushes
 *					frees the page
 *	cmpxchg fails
 *
 * Return: KVM_TDP_FIXED, KVM_TDP_SPURIOUS if the access goes through already,
 * KVM_TDP_RETRY if the guest should find out, or KVM_TDP_SLOW.
 *
 * Context: SRCU read-side critical section.
 */
int kvm_tdp_fast_fault(struct kvm_vcpu *vcpu, struct kvm_tdp_root *root,
		       const struct kvm_memory_slot *slot, gfn_t gfn,
		       unsigned int access)
{
	struct tdp_iter iter __uninitialized;
	int r;

	if (!slot || gfn >= tdp_fmt_end_gfn(root->pgt.fmt))
		return KVM_TDP_SLOW;

	rcu_read_lock();
	tdp_iter_start(&iter, &root->pgt, gfn);
	while (tdp_iter_kind(&iter) == TDP_TABLE)
		tdp_iter_enter(&iter);
	r = kvm_tdp_fast_fix(vcpu, &iter, slot, gfn, access);
	rcu_read_unlock();

	if (r != KVM_TDP_SLOW)
		trace_kvm_tdp_fast_fault(root->as_id, gfn, iter.old, iter.level,
					 access, r);
	return r;
}
