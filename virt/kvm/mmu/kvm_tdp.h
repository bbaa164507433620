/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_H
#define __KVM_TDP_H

/*
 * The TDP MMU's interface to the architectures: what they call, kvm_tdp_*(),
 * and what they implement, kvm_arch_tdp_*().
 */
#include <linux/kvm_host.h>
#include <linux/kvm_tdp_types.h>

#include "table.h"

/**
 * struct kvm_tdp_root - a root, as KVM sees it
 * @link: in kvm_tdp.roots
 * @rcu: frees the root, see kvm_arch_tdp_free_root()
 * @tdp: the MMU it belongs to
 * @pgt: the tree
 * @key: roots of an MMU with the same key are interchangeable
 * @refs: users; the MMU itself is one until the root was invalidated and zapped
 * @as_id: the address space whose memslots it maps
 * @invalid: not to be used by a vCPU any more.  Set once, with mmu_lock held
 *	     for write; read with mmu_lock held.
 * @zap_pending: kvm_tdp_zap_invalidated_roots() has it to zap and owns the
 *		 MMU's reference.  Protected by slots_lock, or only touched as the
 *		 VM ends.
 *
 * Embedded in what the architecture calls a root.
 */
struct kvm_tdp_root {
	struct list_head link;
	struct rcu_head rcu;
	struct kvm_tdp *tdp;
	struct tdp_pgtable pgt;
	u32 key;
	refcount_t refs;
	u8 as_id;
	bool invalid;
	bool zap_pending;
};

/**
 * enum kvm_tdp_result - how a fault ended, if not with an error
 * @KVM_TDP_RETRY: let the guest try again
 * @KVM_TDP_FIXED: mapped
 * @KVM_TDP_SPURIOUS: was mapped already
 * @KVM_TDP_WRPROT: mapped, but the write that faulted is not allowed
 * @KVM_TDP_ANNOTATED: not memory; the backend's annotation is in place
 * @KVM_TDP_SLOW: from kvm_tdp_fast_fault(): not without mmu_lock
 *
 * None is negative.
 */
enum kvm_tdp_result {
	KVM_TDP_RETRY,
	KVM_TDP_FIXED,
	KVM_TDP_SPURIOUS,
	KVM_TDP_WRPROT,
	KVM_TDP_ANNOTATED,
	KVM_TDP_SLOW,
};

/**
 * struct kvm_tdp_fault - a fault that is being handled
 * @gfn: the guest page, by which the root maps it
 * @slot_gfn: the same page in @slot: another gfn only if @shadow
 * @pfn: the host page that backs @gfn
 * @page: the page of @pfn, referenced by the caller; NULL if it has none that
 *	  can be
 * @slot: the memslot of @slot_gfn; NULL if there is none, i.e. for an annotation
 * @mmu_seq: mmu_invalidate_seq from before @pfn was looked up
 * @tables: preloaded tables, enough for all levels
 * @write: the access was a write
 * @prefetch: nobody accessed the page: do not replace a leaf, nor count the
 *	      page as accessed
 * @shadow: the root maps what a guest's own hypervisor calls guest pages
 * @host_writable: the primary MMU allows writes to @pfn
 * @wrprot: out: the leaf was made read-only although @host_writable
 * @level: out: level of the leaf
 */
struct kvm_tdp_fault {
	gfn_t gfn;
	gfn_t slot_gfn;
	kvm_pfn_t pfn;
	struct page *page;
	struct kvm_memory_slot *slot;
	unsigned long mmu_seq;
	struct kvm_mmu_memory_cache *tables;
	bool write;
	bool prefetch;
	bool shadow;
	bool host_writable;
	bool wrprot;
	int level;
};

/**
 * struct kvm_tdp_pinned - a table that faults had to leave in place
 * @root: its root, referenced for who gets this
 * @gfn: a gfn that the table spans
 * @level: level of the entry that points to it
 * @keep: leave the table, and let faults put a leaf in its place; else zap it
 */
struct kvm_tdp_pinned {
	struct kvm_tdp_root *root;
	gfn_t gfn;
	int level;
	bool keep;
};

void kvm_tdp_init(struct kvm_tdp *tdp, struct kvm *kvm);
void kvm_tdp_destroy(struct kvm_tdp *tdp);

struct kvm_tdp_root *kvm_tdp_get_root(struct kvm_tdp *tdp, u32 key);
struct kvm_tdp_root *kvm_tdp_add_root(struct kvm_tdp *tdp,
				      struct kvm_tdp_root *root);
void kvm_tdp_free_root(struct kvm_tdp_root *root);

/**
 * kvm_tdp_hold_root() - Take a reference to a root
 * @root: the root; somebody else has one
 */
static inline void kvm_tdp_hold_root(struct kvm_tdp_root *root)
{
	refcount_inc(&root->refs);
}

/**
 * kvm_tdp_put_root() - Drop a reference to a root
 * @root: the root
 *
 * Frees it, after a grace period, if it was the last one.
 *
 * Context: mmu_lock held.
 */
static inline void kvm_tdp_put_root(struct kvm_tdp_root *root)
{
	lockdep_assert_held(&root->tdp->kvm->mmu_lock);

	if (refcount_dec_and_test(&root->refs))
		kvm_tdp_free_root(root);
}

void kvm_tdp_invalidate_all_roots(struct kvm_tdp *tdp);
void kvm_tdp_zap_invalidated_roots(struct kvm_tdp *tdp);

int kvm_tdp_handle_fault(struct kvm_vcpu *vcpu, struct kvm_tdp_root *root,
			 struct kvm_tdp_fault *fault);
int kvm_tdp_fast_fault(struct kvm_vcpu *vcpu, struct kvm_tdp_root *root,
		       const struct kvm_memory_slot *slot, gfn_t gfn,
		       unsigned int access);
int kvm_tdp_map_gfn(struct kvm_tdp_root *root, gfn_t gfn, tdp_pte_t leaf,
		    struct kvm_mmu_memory_cache *tables);

void kvm_tdp_unmap_gfn_range(struct kvm_tdp *tdp,
			     const struct kvm_gfn_range *range);
void kvm_tdp_unmap_gfn_range_shared(struct kvm_tdp *tdp,
				    const struct kvm_gfn_range *range);
void kvm_tdp_zap_gfn_range(struct kvm_tdp *tdp, gfn_t start, gfn_t end,
			   bool may_yield);
void kvm_tdp_zap_gfn_range_shared(struct kvm_tdp *tdp, gfn_t start, gfn_t end);
void kvm_tdp_zap_all(struct kvm_tdp *tdp);
void kvm_tdp_wait_unpaid(struct kvm_tdp *tdp);

void kvm_tdp_log_slot(struct kvm_tdp *tdp, const struct kvm_memory_slot *slot);
void kvm_tdp_log_gfn_range(struct kvm_tdp *tdp, gfn_t start, gfn_t end);
void kvm_tdp_log_masked(struct kvm_tdp *tdp, const struct kvm_memory_slot *slot,
			gfn_t gfn, unsigned long mask);
int kvm_tdp_split_slot(struct kvm_tdp *tdp, const struct kvm_memory_slot *slot);
int kvm_tdp_split_range(struct kvm_tdp *tdp, const struct kvm_memory_slot *slot,
			gfn_t start, gfn_t end, enum tdp_mode mode);
void kvm_tdp_recover_slot(struct kvm_tdp *tdp,
			  const struct kvm_memory_slot *slot);

bool kvm_tdp_age_gfn_range(struct kvm_tdp *tdp,
			   const struct kvm_gfn_range *range);
bool kvm_tdp_test_age_gfn_range(struct kvm_tdp *tdp,
				const struct kvm_gfn_range *range);

bool kvm_tdp_write_protect_gfn(struct kvm_tdp *tdp,
			       const struct kvm_memory_slot *slot, gfn_t gfn,
			       int min_level);

void kvm_tdp_release_pinned(struct kvm_tdp *tdp, unsigned long nr);

int kvm_tdp_get_walk(struct kvm_tdp_root *root, gfn_t gfn, tdp_pte_t *ptes);

/**
 * kvm_arch_tdp_flush() - Flush stale translations of an MMU from all CPUs
 * @tdp: the MMU
 * @gather: what is owed: range in gfns, level hint, whether tables were removed
 *
 * Stores to entries that were made before are visible to the walkers of all CPUs
 * before they are flushed, and what the flush covers is gone on return.
 *
 * Context: mmu_lock held, RCU read-side critical section; must not sleep.
 */
void kvm_arch_tdp_flush(struct kvm_tdp *tdp, const struct tdp_gather *gather);

/**
 * kvm_arch_tdp_free_root() - Free a root that nobody can reach any more
 * @root: the root; its tree is empty
 *
 * Nothing was flushed when it was emptied.  CPUs have its entries cached, also of
 * tables that are gone: what tags these (VMID, ASID, address of the root) must be
 * flushed before a CPU uses another root with it.
 *
 * Context: RCU callback.
 */
void kvm_arch_tdp_free_root(struct kvm_tdp_root *root);

/**
 * kvm_arch_tdp_root_invalidated() - A root was made invalid
 * @root: the root
 *
 * For architectures that keep the state in a place of their own, too.  The
 * caller of kvm_tdp_invalidate_all_roots() makes the vCPUs drop it.
 *
 * Context: mmu_lock held for write, or the VM is being destroyed.
 */
void kvm_arch_tdp_root_invalidated(struct kvm_tdp_root *root);

/**
 * kvm_arch_tdp_account_leaves() - Count leaves for the VM's statistics
 * @tdp: the MMU
 * @level: level of the leaves
 * @nr: how many there are more
 *
 * Context: Any.
 */
void kvm_arch_tdp_account_leaves(struct kvm_tdp *tdp, int level, int nr);

/**
 * kvm_arch_tdp_fault_level() - The largest leaf that a fault may install
 * @vcpu: the vCPU
 * @fault: the fault; @fault->slot is not NULL
 *
 * Return: a level for which the memslot and the host's mapping of the page
 * cover the whole block.
 *
 * Context: mmu_lock held for read, the fault is not stale.
 */
int kvm_arch_tdp_fault_level(struct kvm_vcpu *vcpu,
			     struct kvm_tdp_fault *fault);

/**
 * kvm_arch_tdp_fault_pte() - Make the entry that a fault installs
 * @vcpu: the vCPU
 * @root: the root
 * @fault: the fault; sets @fault->wrprot
 * @level: level of the entry
 * @old: what the leaf allows that it replaces: TDP_WRITE, TDP_EXEC; 0 if it
 *	 replaces none
 *
 * Who lets the guest execute only where it tries to must keep TDP_EXEC of @old.
 * Must not touch the dirty log: the page is marked after the entry is installed.
 *
 * Return: a TDP_LEAF, or a TDP_ANNOTATED if @fault->slot is NULL.
 *
 * Context: mmu_lock held for read.
 */
tdp_pte_t kvm_arch_tdp_fault_pte(struct kvm_vcpu *vcpu,
				 const struct kvm_tdp_root *root,
				 struct kvm_tdp_fault *fault, int level,
				 unsigned int old);

/**
 * kvm_arch_tdp_prepare_leaf() - Make memory fit to be seen by the guest
 * @vcpu: the vCPU
 * @fault: the fault; @fault->page is referenced
 * @level: level of the leaf that is about to be installed
 * @fresh: it replaces no leaf, which would be of the same memory
 * @exec: it can be executed from, and what it replaces could not
 *
 * Optional, together with kvm_arch_tdp_prepare_block():
 * __KVM_HAVE_ARCH_TDP_PREPARE.
 *
 * For cache maintenance and tags (@fresh), and for instruction caches
 * (@exec): for the whole leaf, as whatever was mapped there before may have
 * covered only part of it.  Is called again if the leaf could not be installed and
 * is made anew.
 *
 * Context: mmu_lock held for read, RCU read-side critical section.
 */
#ifdef __KVM_HAVE_ARCH_TDP_PREPARE
void kvm_arch_tdp_prepare_leaf(struct kvm_vcpu *vcpu,
			       const struct kvm_tdp_fault *fault, int level,
			       bool fresh, bool exec);
#else
static inline void
kvm_arch_tdp_prepare_leaf(struct kvm_vcpu *vcpu,
			  const struct kvm_tdp_fault *fault, int level,
			  bool fresh, bool exec)
{
}
#endif

/**
 * kvm_arch_tdp_exec() - Is a leaf executable that others are made into?
 * @kvm: the VM
 * @level: level of the leaf: a part of one that is split, or a block that takes
 *	   the place of smaller ones
 * @exec: whether what it is made from was, all of it
 *
 * Optional, see __KVM_HAVE_ARCH_TDP_EXEC.
 *
 * Context: mmu_lock held.
 */
#ifdef __KVM_HAVE_ARCH_TDP_EXEC
bool kvm_arch_tdp_exec(struct kvm *kvm, int level, bool exec);
#else
static inline bool kvm_arch_tdp_exec(struct kvm *kvm, int level, bool exec)
{
	return exec;
}
#endif

/**
 * kvm_arch_tdp_prepare_block() - Make a recovered block fit to be seen
 * @kvm: the VM
 * @pfn: any page of the block
 * @level: level of the leaf that is about to be installed
 * @exec: the leaf is executable
 * @full: all of the block is mapped now, by smaller leaves; if not, pages of it
 *	  may never have been prepared
 *
 * For cache maintenance and tags, like kvm_arch_tdp_prepare_leaf().
 *
 * Return: false if there must not be such a leaf.
 *
 * Context: mmu_lock held for read, RCU read-side critical section; no
 *	    invalidation of the block is in progress.
 */
#ifdef __KVM_HAVE_ARCH_TDP_PREPARE
bool kvm_arch_tdp_prepare_block(struct kvm *kvm, kvm_pfn_t pfn, int level,
				bool exec, bool full);
#else
static inline bool kvm_arch_tdp_prepare_block(struct kvm *kvm, kvm_pfn_t pfn,
					      int level, bool exec, bool full)
{
	return true;
}
#endif

/**
 * kvm_arch_tdp_recover_level() - The largest leaf that may map a gfn now
 * @kvm: the VM
 * @slot: the memslot of @gfn, not logged
 * @gfn: first gfn of a table's span, which lies in @slot
 *
 * Return: a level for which the memslot allows, and the primary MMU uses, a
 * mapping of the whole block; 1 for memory that must not be recovered (private).
 *
 * Context: mmu_lock held for read.  The primary MMU may be about to change its
 *	    mapping: the answer decides whether a table stays; who maps a leaf
 *	    checks for invalidations afterwards.
 */
int kvm_arch_tdp_recover_level(struct kvm *kvm,
			       const struct kvm_memory_slot *slot, gfn_t gfn);

#ifdef __KVM_HAVE_ARCH_TDP_TABLES
/**
 * kvm_arch_tdp_prepare_table() - A fault is about to link a table
 * @root: the root
 * @fault: the fault
 * @level: level of the entry that will point to the table
 * @new: the table; set its @attr and @note if there is something to remember
 *
 * Optional, together with the three that follow: __KVM_HAVE_ARCH_TDP_TABLES.
 *
 * Context: mmu_lock held for read, RCU read-side critical section.
 */
void kvm_arch_tdp_prepare_table(struct kvm_tdp_root *root,
				struct kvm_tdp_fault *fault, int level,
				struct tdp_new_table *new);

/**
 * kvm_arch_tdp_table_linked() - A table was linked, or not
 * @tdp: the MMU
 * @note: its note, or NULL
 * @linked: whether it was; if not, the backend has the note back
 *
 * A table that was linked can be removed by someone else before this is called.
 *
 * Context: mmu_lock held for read, RCU read-side critical section.
 */
void kvm_arch_tdp_table_linked(struct kvm_tdp *tdp, void *note, bool linked);

/**
 * kvm_arch_tdp_table_removed() - A table was removed
 * @tdp: the MMU
 * @note: its note, which the backend has back
 *
 * Context: mmu_lock held, RCU read-side critical section.
 */
void kvm_arch_tdp_table_removed(struct kvm_tdp *tdp, void *note);

/**
 * kvm_arch_tdp_next_pinned() - The next pinned table to release
 * @tdp: the MMU
 * @pinned: out: the table
 *
 * Chooses a table only once: by the next call it need not be gone.
 *
 * Return: false if there is none.
 *
 * Context: mmu_lock held for read, RCU read-side critical section.
 */
bool kvm_arch_tdp_next_pinned(struct kvm_tdp *tdp,
			      struct kvm_tdp_pinned *pinned);
#else
static inline void kvm_arch_tdp_prepare_table(struct kvm_tdp_root *root,
					      struct kvm_tdp_fault *fault,
					      int level,
					      struct tdp_new_table *new)
{
}

static inline void kvm_arch_tdp_table_linked(struct kvm_tdp *tdp, void *note,
					     bool linked)
{
}

static inline void kvm_arch_tdp_table_removed(struct kvm_tdp *tdp, void *note)
{
}

static inline bool kvm_arch_tdp_next_pinned(struct kvm_tdp *tdp,
					    struct kvm_tdp_pinned *pinned)
{
	return false;
}
#endif

#endif /* __KVM_TDP_H */
