// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest page faults.
 *
 * Any number of vCPUs fault at the same time, with mmu_lock held for read.
 * What decides about each entry is one cmpxchg; who loses it looks again at
 * what is there now.
 */
#include "walk.h"
#include "trace.h"

/*
 * Was the answer of the primary MMU, from before mmu_lock was taken, taken back
 * in the meantime?  For a huge leaf all of its memory must still be good:
 *
 *	CPU0 (fault on gfn A)		CPU1 (notifier for gfn B)
 *	looks up A's page
 *					opens invalidation of B
 *					zaps B, drops mmu_lock
 *	read_lock(mmu_lock)
 *	A is not invalidated
 *	host maps A by a block
 *	  that covers B, still
 *	installs the block: B is	frees B's page
 *	  mapped again
 */
static bool kvm_tdp_fault_stale(struct kvm *kvm, struct kvm_tdp_root *root,
				const struct kvm_tdp_fault *fault, int level)
{
	const struct tdp_fmt *fmt = root->pgt.fmt;
	gfn_t start = tdp_gfn_round(fmt, fault->slot_gfn, level);

	return mmu_invalidate_retry_range(kvm, fault->mmu_seq, start,
					  start + tdp_span(fmt, level));
}

/*
 * A leaf is in the way, and of another page.  Pages are exchanged only by a
 * notifier, which zaps first.  But a guest's hypervisor can map another one and
 * not say so, or too late for a fault that was in progress.
 */
static int kvm_tdp_other_page(struct kvm_tdp_root *root,
			      const struct kvm_tdp_fault *fault,
			      struct tdp_iter *iter, struct tdp_gather *gather)
{
	if (tdp_pte_slotless(root->pgt.fmt, iter->old))
		return -EFAULT;
	if (KVM_BUG_ON(!fault->shadow, root->tdp->kvm))
		return -EIO;

	if (tdp_iter_zap(iter, gather, TDP_SHARED))
		kvm_tdp_settle(root, gather);
	return -EAGAIN;
}

/*
 * Install the leaf, or annotation, at the entry where the walk is.
 *
 * Return: a kvm_tdp_result, -EAGAIN if the entry changed meanwhile, or -EIO if
 * it maps other memory, which can only be a bug.
 */
static int kvm_tdp_install(struct kvm_vcpu *vcpu, struct kvm_tdp_root *root,
			   struct kvm_tdp_fault *fault, struct tdp_iter *iter,
			   struct tdp_gather *gather)
{
	const struct tdp_fmt *fmt = root->pgt.fmt;
	bool was_leaf = tdp_iter_kind(iter) == TDP_LEAF;
	struct kvm *kvm = vcpu->kvm;
	unsigned int old = 0;
	tdp_pte_t new;
	bool changed;

	if (was_leaf && tdp_pte_writable(fmt, iter->old))
		old |= TDP_WRITE;
	if (was_leaf && tdp_pte_executable(fmt, iter->old))
		old |= TDP_EXEC;

	fault->wrprot = false;
	new = kvm_arch_tdp_fault_pte(vcpu, root, fault, iter->level, old);

	if (was_leaf &&
	    !tdp_pte_change(fmt, iter->old, new, iter->level).legal)
		return kvm_tdp_other_page(root, fault, iter, gather);

	changed = new != iter->old;
	if (changed) {
		if (fault->slot)
			kvm_arch_tdp_prepare_leaf(vcpu, fault, iter->level,
						  !was_leaf,
						  tdp_pte_executable(fmt, new) &&
						  !(old & TDP_EXEC));
		if (!tdp_iter_set(iter, gather, new, TDP_SHARED))
			return -EAGAIN;
		/* In a table, possibly, that was waiting for this leaf. */
		if (tdp_gather_has_broken(gather))
			kvm_tdp_settle(root, gather);
	}

	if (!fault->slot)
		return KVM_TDP_ANNOTATED;

	if (changed) {
		kvm_set_page_mapped(fault->page, fault->host_writable);

		/*
		 * After the install, on every path.  Clearing the log goes the
		 * other way round, bits first and entries second:
		 *
		 *	CPU0 (fault)		CPU1 (clear log)
		 *	install writable	clear bits
		 *	mark dirty		protect, flush
		 *
		 * Whatever the order, the page ends up not writable or marked.
		 * The cmpxchg and what clears the bits are fully ordered.
		 * Who finds the entry installed but not yet marked (a spurious
		 * fault) can go on: the mark comes before this vCPU leaves KVM.
		 */
		if (tdp_pte_writable(fmt, new) &&
		    kvm_slot_dirty_track_enabled(fault->slot)) {
			WARN_ON_ONCE(iter->level > 1);
			mark_page_dirty_in_slot(kvm, fault->slot,
						fault->slot_gfn);
		}
	}

	if (fault->wrprot && fault->write)
		return KVM_TDP_WRPROT;
	return changed ? KVM_TDP_FIXED : KVM_TDP_SPURIOUS;
}

/*
 * Make a table for the entry where the walk is, above the leaf's level.
 *
 * Return: false if the entry changed meanwhile.
 */
static bool kvm_tdp_make_table(struct kvm_tdp_root *root,
			       struct kvm_tdp_fault *fault,
			       struct tdp_iter *iter, struct tdp_gather *gather)
{
	struct tdp_new_table new = {
		.table = kvm_mmu_memory_cache_alloc(fault->tables),
	};
	bool split = tdp_iter_kind(iter) == TDP_LEAF;
	struct kvm_tdp *tdp = root->tdp;
	bool done;

	kvm_arch_tdp_prepare_table(root, fault, iter->level, &new);
	if (split)
		done = tdp_iter_split(iter, gather, &new,
				      kvm_arch_tdp_exec(tdp->kvm,
							iter->level - 1, false));
	else
		done = tdp_iter_link(iter, gather, &new);
	kvm_arch_tdp_table_linked(tdp, new.note, done);

	/* Never linked, so nobody has seen it. */
	if (!done)
		free_page((unsigned long)new.table);
	if (done && split)
		trace_kvm_tdp_split(root->as_id, iter->gfn, iter->level);
	return done;
}

static int kvm_tdp_map(struct kvm_vcpu *vcpu, struct kvm_tdp_root *root,
		       struct kvm_tdp_fault *fault, struct tdp_gather *gather)
{
	struct tdp_iter iter __uninitialized;
	int r;

	/* A guest can access what no memslot can map. */
	if (fault->gfn >= tdp_fmt_end_gfn(root->pgt.fmt))
		return fault->slot ? -EFAULT : KVM_TDP_ANNOTATED;

	tdp_iter_start(&iter, &root->pgt, fault->gfn);
	for (;;) {
		while (iter.level > fault->level &&
		       tdp_iter_kind(&iter) == TDP_TABLE)
			tdp_iter_enter(&iter);

		switch (tdp_iter_kind(&iter)) {
		case TDP_FROZEN:
			/* Its owner may need the time that this CPU would spin. */
			return KVM_TDP_RETRY;
		case TDP_TABLE:
			if (fault->prefetch ||
			    tdp_pte_table_pinned(root->pgt.fmt, iter.old)) {
				fault->level--;
				continue;
			}
			break;
		case TDP_LEAF:
			/* Prefetching makes nothing better than this. */
			if (fault->prefetch) {
				fault->level = iter.level;
				return KVM_TDP_SPURIOUS;
			}
			fallthrough;
		case TDP_NONE:
		case TDP_ANNOTATED:
			if (iter.level == fault->level)
				break;
			/* Each entry can cost one table more than was loaded. */
			if (!kvm_tdp_make_table(root, fault, &iter, gather))
				return KVM_TDP_RETRY;
			continue;
		}

		r = kvm_tdp_install(vcpu, root, fault, &iter, gather);
		if (r != -EAGAIN)
			return r;
	}
}

/**
 * kvm_tdp_handle_fault() - Map the page that a vCPU needs
 * @vcpu: the vCPU
 * @root: the root it faulted on, referenced
 * @fault: the fault, with its page looked up
 *
 * Return: an enum kvm_tdp_result; -EFAULT if the gfn cannot be mapped or
 * something is mapped there that is not of the memslot, -EIO if
 * another page is mapped there, which is a bug and ends the VM.
 *
 * Context: SRCU read-side critical section; takes mmu_lock for read.
 */
int kvm_tdp_handle_fault(struct kvm_vcpu *vcpu, struct kvm_tdp_root *root,
			 struct kvm_tdp_fault *fault)
{
	struct kvm *kvm = vcpu->kvm;
	struct tdp_gather gather __uninitialized;
	int r = KVM_TDP_RETRY;

	fault->level = 1;

	read_lock(&kvm->mmu_lock);

	/* Nobody would zap what an invalid root maps from now on. */
	if (root->invalid)
		goto out;

	if (fault->slot) {
		if (kvm_tdp_fault_stale(kvm, root, fault, 1))
			goto out;
		fault->level = kvm_arch_tdp_fault_level(vcpu, fault);
		/* The page itself is good; the vCPU need not wait for others. */
		if (fault->level > 1 &&
		    kvm_tdp_fault_stale(kvm, root, fault, fault->level))
			fault->level = 1;
	}

	tdp_gather_init(&gather);
	rcu_read_lock();
	r = kvm_tdp_map(vcpu, root, fault, &gather);
	kvm_tdp_settle(root, &gather);
	rcu_read_unlock();
out:
	read_unlock(&kvm->mmu_lock);
	trace_kvm_tdp_fault(fault, root->as_id, r);
	return r;
}
