// SPDX-License-Identifier: GPL-2.0-only
/*
 * Walks of the TDP MMU: the one place that yields, flushes and settles.
 */
#include "walk.h"

/**
 * kvm_tdp_settle() - Pay what is owed for changes of a root
 * @root: the root
 * @gather: the debt; empty afterwards
 *
 * Nothing is flushed for an invalid root: no vCPU can enter the guest with it,
 * and vCPUs flush when they load another.
 *
 * Context: mmu_lock held since the first change, in the RCU read-side critical
 *	    section in which the tables were unlinked.
 */
void kvm_tdp_settle(struct kvm_tdp_root *root, struct tdp_gather *gather)
{
	struct kvm_tdp *tdp = root->tdp;
	int level;

	lockdep_assert_held(&tdp->kvm->mmu_lock);
	RCU_LOCKDEP_WARN(!rcu_read_lock_held(), "tables may be freed too early");

	if (gather->flush != TDP_FLUSH_NOTHING && !root->invalid)
		kvm_arch_tdp_flush(tdp, gather);

	if (gather->tables) {
		atomic64_add(gather->tables, &tdp->nr_tables);
		gather->tables = 0;
	}
	for (level = 1; level <= TDP_MAX_LEVELS; level++) {
		if (!gather->leaves[level - 1])
			continue;
		kvm_arch_tdp_account_leaves(tdp, level,
					    gather->leaves[level - 1]);
		gather->leaves[level - 1] = 0;
	}
	tdp_gather_flushed(gather);
}

/**
 * kvm_tdp_walk_begin() - Start a walk, see for_each_kvm_tdp_pte()
 * @walk: the walk
 * @root: the root, referenced by the caller
 * @start: first gfn
 * @end: first gfn behind
 * @min_level: lowest level to visit
 */
void kvm_tdp_walk_begin(struct kvm_tdp_walk *walk, struct kvm_tdp_root *root,
			gfn_t start, gfn_t end, int min_level)
	__acquires(RCU)
{
	kvm_tdp_assert_locked(root->tdp->kvm, walk->mode);

	walk->root = root;
	walk->start = start;
	walk->yielded = start;
	tdp_gather_init(&walk->gather);

	rcu_read_lock();
	tdp_iter_init(&walk->iter, &root->pgt, start, end, min_level);
}

static bool kvm_tdp_walk_must_yield(struct kvm_tdp_walk *walk)
{
	gfn_t done = walk->iter.next - walk->yielded;

	if (!walk->may_yield || !done)
		return false;

	if (need_resched())
		return true;

	/*
	 * Not rwlock_needbreak(), which is constant 0 unless the kernel is
	 * fully preemptible: a waiting writer blocks all new readers, i.e. all
	 * vCPUs that fault, in every preemption model.
	 *
	 * Yielding costs a flush, so do not let faulting vCPUs stop a writer at
	 * every entry: a table's worth of entries bounds the hold as well.
	 */
	return done >= tdp_span(walk->root->pgt.fmt, 2) &&
	       rwlock_is_contended(&walk->root->tdp->kvm->mmu_lock);
}

static void kvm_tdp_walk_yield(struct kvm_tdp_walk *walk)
	__must_hold(RCU)
	__must_hold(&walk->root->tdp->kvm->mmu_lock)
{
	rwlock_t *lock = &walk->root->tdp->kvm->mmu_lock;

	/* Others rely on it that what reads as not mapped is not cached. */
	kvm_tdp_settle(walk->root, &walk->gather);

	rcu_read_unlock();
	if (walk->mode == TDP_SHARED)
		read_unlock(lock);
	else
		write_unlock(lock);

	if (!cond_resched())
		cpu_relax();

	if (walk->mode == TDP_SHARED)
		read_lock(lock);
	else
		write_lock(lock);
	rcu_read_lock();

	walk->yielded = walk->iter.next;
	tdp_iter_restart(&walk->iter);
}

/**
 * kvm_tdp_walk_next() - Go on, see for_each_kvm_tdp_pte()
 * @walk: the walk
 */
void kvm_tdp_walk_next(struct kvm_tdp_walk *walk)
{
	tdp_iter_advance(&walk->iter);

	if (walk->iter.ptep && kvm_tdp_walk_must_yield(walk)) {
		kvm_tdp_walk_yield(walk);
		tdp_iter_advance(&walk->iter);
	}
}

/**
 * kvm_tdp_walk_end() - Pay and end a walk, see for_each_kvm_tdp_pte()
 * @walk: the walk
 */
void kvm_tdp_walk_end(struct kvm_tdp_walk *walk)
	__releases(RCU)
{
	kvm_tdp_settle(walk->root, &walk->gather);
	rcu_read_unlock();
}

/**
 * kvm_tdp_get_walk() - Read the entries that map a gfn
 * @root: the root, referenced by the caller
 * @gfn: the gfn
 * @ptes: out: the entries by level; room for TDP_MAX_LEVELS + 1
 *
 * Return: the lowest level that was read, negative if @gfn cannot be mapped.
 *
 * Context: Any.  The entries may have changed by the time of the return.
 */
int kvm_tdp_get_walk(struct kvm_tdp_root *root, gfn_t gfn, tdp_pte_t *ptes)
{
	struct tdp_iter iter;
	int level = -1;

	rcu_read_lock();
	for_each_tdp_pte(&iter, &root->pgt, gfn, gfn + 1, 1) {
		level = iter.level;
		ptes[level] = iter.old;
	}
	rcu_read_unlock();
	return level;
}
