/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_WALK_H
#define __KVM_TDP_WALK_H

#include "kvm_tdp.h"
#include "pte.h"

/**
 * struct kvm_tdp_walk - a walk that holds mmu_lock and pays its debts
 * @root: the root, referenced
 * @iter: where the walk is
 * @gather: what it owes
 * @yielded: iter.next when the walk last yielded: at least one entry is done
 *	     with before the next time
 * @mode: TDP_SHARED or TDP_EXCLUSIVE: mmu_lock is held for read or for write
 * @may_yield: give way to waiters and to the scheduler
 *
 * A walk that ended leaves it fit for the next.
 */
struct kvm_tdp_walk {
	struct kvm_tdp_root *root;
	struct tdp_iter iter;
	struct tdp_gather gather;
	gfn_t yielded;
	enum tdp_mode mode;
	bool may_yield;
};

void kvm_tdp_walk_yield(struct kvm_tdp_walk *walk);
int kvm_tdp_walk_refill(struct kvm_tdp_walk *walk,
			struct kvm_mmu_memory_cache *cache, int capacity);
void kvm_tdp_settle(struct kvm_tdp_root *root, struct tdp_gather *gather);

/**
 * kvm_tdp_walk_init() - Prepare for walks
 * @walk: the walk
 * @mode: how mmu_lock is held
 * @may_yield: mmu_lock may be dropped on the way
 *
 * Nothing more is initialized than a walk needs: notifiers for single pages walk
 * trees that have nothing there, for each page.
 */
static inline void kvm_tdp_walk_init(struct kvm_tdp_walk *walk,
				     enum tdp_mode mode, bool may_yield)
{
	tdp_gather_init(&walk->gather);
	walk->mode = mode;
	walk->may_yield = may_yield;
}

static inline void kvm_tdp_assert_locked(struct kvm *kvm, enum tdp_mode mode)
{
	if (mode == TDP_EXCLUSIVE)
		lockdep_assert_held_write(&kvm->mmu_lock);
	else
		lockdep_assert_held_read(&kvm->mmu_lock);
}

/**
 * kvm_tdp_walk_begin() - Start a walk, see for_each_kvm_tdp_pte()
 * @walk: the walk
 * @root: the root, referenced by the caller
 * @start: first gfn
 * @end: first gfn behind
 * @min_level: lowest level to visit
 */
static inline void kvm_tdp_walk_begin(struct kvm_tdp_walk *walk,
				      struct kvm_tdp_root *root, gfn_t start,
				      gfn_t end, int min_level)
	__acquires(RCU)
{
	kvm_tdp_assert_locked(root->tdp->kvm, walk->mode);

	walk->root = root;
	walk->yielded = start;

	rcu_read_lock();
	tdp_iter_init(&walk->iter, &root->pgt, start, end, min_level);
}

/**
 * kvm_tdp_walk_hold_pages() - Let no notifier return until the walk yields or ends
 * @walk: the walk, of a valid root, which changes nothing
 *
 * For who looks at the memory of leaves, which can be zapped at any time now.
 *
 *	CPU0 (looks at pages)		CPU1 (notifier)
 *	counts as one that owes		zaps the leaf (cmpxchg)
 *	smp_mb()			smp_mb()
 *	reads the leaf			does anyone owe something?
 *
 * Either CPU0 finds the leaf zapped, or CPU1 waits for it.
 *
 * Return: true if the entry was read too early: come back to it.
 */
static inline bool kvm_tdp_walk_hold_pages(struct kvm_tdp_walk *walk)
{
	lockdep_assert_held_read(&walk->root->tdp->kvm->mmu_lock);

	if (walk->gather.unpaid || WARN_ON_ONCE(!walk->root->pgt.unpaid))
		return false;
	tdp_gather_owe(&walk->root->pgt, &walk->gather);
	/* Pairs with kvm_tdp_wait_unpaid(). */
	smp_mb__after_atomic();
	return true;
}

/* Has the walk made progress, and is somebody waiting? */
static inline bool kvm_tdp_walk_must_yield(struct kvm_tdp_walk *walk)
{
	gfn_t done;

	if (!walk->may_yield)
		return false;

	if (need_resched())
		return walk->iter.next != walk->yielded;

	/*
	 * Not rwlock_needbreak(), which is constant 0 unless the kernel is
	 * fully preemptible: a waiting writer blocks all new readers, i.e. all
	 * vCPUs that fault, in every preemption model.  PREEMPT_RT does not say
	 * whether one waits.
	 *
	 * Yielding costs a flush, so do not let faulting vCPUs stop a writer at
	 * every entry.  Looked at where a table of level 1 begins or ends, and
	 * at each entry above: at least one table's worth, so that less than
	 * two bound the hold.
	 */
	if (walk->iter.level == 1 && tdp_iter_goes_on(&walk->iter))
		return false;
	done = walk->iter.next - walk->yielded;
	return done >= tdp_span(walk->root->pgt.fmt, 2) &&
	       (IS_ENABLED(CONFIG_PREEMPT_RT) ||
		rwlock_is_contended(&walk->root->tdp->kvm->mmu_lock));
}

/*
 * Broken entries stop the vCPUs that need them, so only neighbours wait for each
 * other.  And who waits for the owner of a frozen entry must not own one, too.
 */
static inline bool kvm_tdp_walk_must_make(const struct kvm_tdp_walk *walk)
{
	const struct tdp_fmt *fmt = walk->root->pgt.fmt;
	const struct tdp_gather *gather = &walk->gather;
	const struct tdp_broken *last = &gather->broken[gather->nr_broken - 1];

	/* What is large takes its time by itself. */
	if (tdp_fmt_maintains_unmapped(fmt) && last->level > 2)
		return true;

	return tdp_gather_is_full(gather) || walk->iter.restart ||
	       walk->iter.gfn - last->gfn >= tdp_span(fmt, last->level);
}

/**
 * kvm_tdp_walk_next() - Go on, see for_each_kvm_tdp_pte()
 * @walk: the walk
 */
static inline void kvm_tdp_walk_next(struct kvm_tdp_walk *walk)
{
	if (tdp_gather_has_broken(&walk->gather) && kvm_tdp_walk_must_make(walk))
		kvm_tdp_settle(walk->root, &walk->gather);

	tdp_iter_advance(&walk->iter);

	if (walk->iter.ptep && kvm_tdp_walk_must_yield(walk))
		kvm_tdp_walk_yield(walk);
}

/**
 * kvm_tdp_walk_end() - Pay and end a walk, see for_each_kvm_tdp_pte()
 * @walk: the walk
 */
static inline void kvm_tdp_walk_end(struct kvm_tdp_walk *walk)
	__releases(RCU)
{
	if (!tdp_gather_is_empty(&walk->gather))
		kvm_tdp_settle(walk->root, &walk->gather);
	rcu_read_unlock();
}

/**
 * for_each_kvm_tdp_pte() - Visit all entries that map [@start, @end)
 * @walk: the walk, after kvm_tdp_walk_init()
 * @root: the root
 * @start: first gfn
 * @end: first gfn behind
 * @min_level: lowest level to visit
 *
 * Between two entries the walk may drop mmu_lock and come back by the root: an
 * entry above the current gfn can be visited again.  Pays all debts whenever it
 * drops the lock and at its end; do not leave it by break or return.
 *
 * Context: mmu_lock held as walk->mode says.
 */
#define for_each_kvm_tdp_pte(walk, root, start, end, min_level)		\
	for (kvm_tdp_walk_begin(walk, root, start, end, min_level);	\
	     (walk)->iter.ptep || (kvm_tdp_walk_end(walk), false);	\
	     kvm_tdp_walk_next(walk))

void kvm_tdp_zap_root(struct kvm_tdp_root *root, gfn_t start, gfn_t end,
		      enum tdp_mode mode, bool may_yield);

struct kvm_tdp_root *__kvm_tdp_next_root(struct kvm_tdp *tdp,
					 struct kvm_tdp_root *prev,
					 int as_id, bool valid_only);

/* Go to the next root, see for_each_kvm_tdp_root(). */
static inline struct kvm_tdp_root *kvm_tdp_next_root(struct kvm_tdp *tdp,
						     struct kvm_tdp_root *prev,
						     int as_id, bool valid_only)
{
	/* As nearly always: there is nothing for RCU to protect. */
	if (prev && rcu_access_pointer(list_next_rcu(&prev->link)) == &tdp->roots) {
		kvm_tdp_put_root(prev);
		return NULL;
	}

	return __kvm_tdp_next_root(tdp, prev, as_id, valid_only);
}

/* Roots of any address space. */
#define KVM_TDP_ALL_AS	(-1)

/**
 * for_each_kvm_tdp_root() - Visit roots
 * @tdp: the MMU
 * @root: the current root, referenced: mmu_lock may be dropped in the body
 * @as_id: address space, or KVM_TDP_ALL_AS
 * @valid_only: leave out invalid roots
 *
 * Whoever leaves the loop early owns the reference.
 *
 * Context: mmu_lock held.
 */
#define for_each_kvm_tdp_root(tdp, root, as_id, valid_only)		\
	for (root = kvm_tdp_next_root(tdp, NULL, as_id, valid_only);	\
	     root;							\
	     root = kvm_tdp_next_root(tdp, root, as_id, valid_only))

#endif /* __KVM_TDP_WALK_H */
