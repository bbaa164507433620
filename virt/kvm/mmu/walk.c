// SPDX-License-Identifier: GPL-2.0-only
/*
 * Walks of the TDP MMU: the one place that yields, flushes and settles.
 */
#include "walk.h"
#include "trace.h"

/* Give back what the backend knew of the tables that were removed. */
static void kvm_tdp_settle_notes(struct kvm_tdp *tdp, struct tdp_gather *gather)
{
	struct page *page;
	void *note;

	for (page = gather->removed; gather->notes;
	     page = tdp_removed_next(page)) {
		note = tdp_table_note(page);
		if (!note)
			continue;
		tdp_table_set_note(page, NULL);
		kvm_arch_tdp_table_removed(tdp, note);
		gather->notes--;
	}
}

/**
 * kvm_tdp_settle() - Pay what is owed for changes of a root
 * @root: the root
 * @gather: the debt; empty afterwards
 *
 * Nothing is flushed for an invalid root: no vCPU can enter the guest with it,
 * and what is cached by its tag is flushed before that of another root, see
 * kvm_arch_tdp_free_root().
 *
 * Context: mmu_lock held since the first change, in the RCU read-side critical
 *	    section in which the tables were unlinked.
 */
void kvm_tdp_settle(struct kvm_tdp_root *root, struct tdp_gather *gather)
{
	struct kvm_tdp *tdp = root->tdp;
	unsigned long levels;
	int level;

	lockdep_assert_held(&tdp->kvm->mmu_lock);
	RCU_LOCKDEP_WARN(!rcu_read_lock_held(), "tables may be freed too early");

	if (gather->flush != TDP_FLUSH_NOTHING && !root->invalid) {
		trace_kvm_tdp_flush(root->as_id, gather);
		kvm_arch_tdp_flush(tdp, gather);
	}
	if (tdp_gather_has_broken(gather)) {
		gather->maintain = !root->invalid;
		tdp_gather_make(&root->pgt, gather);
	}

	if (gather->tables) {
		atomic64_add(gather->tables, &tdp->nr_tables);
		gather->tables = 0;
	}
	for (levels = gather->levels; levels; levels &= levels - 1) {
		level = __ffs(levels) + 1;
		kvm_arch_tdp_account_leaves(tdp, level,
					    gather->leaves[level - 1]);
		gather->leaves[level - 1] = 0;
	}
	gather->levels = 0;

	if (gather->notes)
		kvm_tdp_settle_notes(tdp, gather);
	if (gather->flush != TDP_FLUSH_NOTHING ||
	    (TDP_REPLACE_FLUSHES && gather->removed))
		tdp_gather_flushed(gather);
	tdp_gather_paid(gather);
}

/**
 * kvm_tdp_wait_unpaid() - Wait until nothing is cached that others took away
 * @tdp: the MMU
 *
 * For who promises something about a range, and walked it with mmu_lock held for
 * read: what it found gone may have been taken away by somebody else at the same
 * time.
 *
 *	CPU0 (notifier)			CPU1 (another, for the same range)
 *	zaps the leaf
 *					finds nothing to zap
 *					returns: the page is freed
 *	flushes				a vCPU still writes to it
 *
 * A flush of its own does not help who is to flush anyway, as for the dirty log:
 * a vCPU can have the way to a table cached that was unlinked, and whose leaves
 * are not frozen yet.
 *
 * They pay before they release mmu_lock, so that a writer waits for all of them.
 * None is needed but if something was taken away at the same time.
 *
 * Context: After the walk; mmu_lock not held.
 */
void kvm_tdp_wait_unpaid(struct kvm_tdp *tdp)
{
	rwlock_t *lock = &tdp->kvm->mmu_lock;

	lockdep_assert_not_held(lock);

	/*
	 * What the walk found comes before what is owed.  Pairs with the cmpxchg
	 * after tdp_gather_owe(), and with kvm_tdp_walk_hold_pages().
	 */
	smp_mb();
	/* Pairs with tdp_gather_paid(). */
	if (!atomic_read_acquire(&tdp->nr_unpaid))
		return;

	write_lock(lock);
	write_unlock(lock);
}

static void kvm_tdp_walk_unlock(struct kvm_tdp_walk *walk)
	__releases(RCU)
	__releases(&walk->root->tdp->kvm->mmu_lock)
{
	rwlock_t *lock = &walk->root->tdp->kvm->mmu_lock;

	/* Others rely on it that what reads as not mapped is not cached. */
	kvm_tdp_settle(walk->root, &walk->gather);

	rcu_read_unlock();
	if (walk->mode == TDP_EXCLUSIVE)
		write_unlock(lock);
	else
		read_unlock(lock);
}

/* What the iterator stands on may be gone: the walk comes back by the root. */
static void kvm_tdp_walk_relock(struct kvm_tdp_walk *walk)
	__acquires(&walk->root->tdp->kvm->mmu_lock)
	__acquires(RCU)
{
	rwlock_t *lock = &walk->root->tdp->kvm->mmu_lock;

	if (walk->mode == TDP_EXCLUSIVE)
		write_lock(lock);
	else
		read_lock(lock);
	rcu_read_lock();

	walk->yielded = walk->iter.next;
	tdp_iter_restart(&walk->iter);
}

/**
 * kvm_tdp_walk_yield() - Give way, and come back by the root
 * @walk: the walk, on an entry
 */
void kvm_tdp_walk_yield(struct kvm_tdp_walk *walk)
	__must_hold(RCU)
	__must_hold(&walk->root->tdp->kvm->mmu_lock)
{
	trace_kvm_tdp_yield(walk->root->as_id, walk->iter.next,
			    walk->mode == TDP_EXCLUSIVE);

	kvm_tdp_walk_unlock(walk);
	if (!cond_resched())
		cpu_relax();
	kvm_tdp_walk_relock(walk);
	tdp_iter_advance(&walk->iter);
}

/**
 * kvm_tdp_walk_refill() - Get tables for a walk, which yields meanwhile
 * @walk: the walk; must not look at its entry any more in this step
 * @cache: where to put them
 * @capacity: how many to get if all goes well, always the same for a cache
 *
 * If there are none to be had the walk ends with this step.
 *
 * Return: 0 or -ENOMEM.
 */
int kvm_tdp_walk_refill(struct kvm_tdp_walk *walk,
			struct kvm_mmu_memory_cache *cache, int capacity)
	__must_hold(RCU)
	__must_hold(&walk->root->tdp->kvm->mmu_lock)
{
	int r;

	WARN_ON_ONCE(!walk->may_yield);

	kvm_tdp_walk_unlock(walk);
	r = __kvm_mmu_topup_memory_cache(cache, capacity, 1);
	cond_resched();
	kvm_tdp_walk_relock(walk);

	if (r)
		tdp_iter_stop(&walk->iter);
	return r;
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
