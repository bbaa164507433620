// SPDX-License-Identifier: GPL-2.0-only
/*
 * The NX huge page mitigation on the TDP MMU.
 *
 * To execute from memory that an NX huge page could map, a vCPU makes it be
 * mapped by a table.  X86_TDP_NX_SPLIT in the entry keeps other faults from
 * putting the huge page back.  Tables for which there would be a huge page are
 * tracked, in the order in which they were made, so that the recovery worker can
 * give the oldest ones back.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "mmu.h"
#include "tdp_glue.h"
#include "x86.h"

/* A fault of a page that could be 1G and can only be 4K makes two. */
#define TDP_NX_TABLES_PER_FAULT	2

/*
 *		link			removed
 * NEW	---------------> TRACKED ---------------> (freed)
 *  |				|  its turn to be released
 *  | removed			v	removed
 *  v	   link		UNTRACKED --------------> (freed)
 * GONE	----------> (freed)
 */
enum tdp_nx_state {
	TDP_NX_NEW,		/* of the fault that links the table */
	TDP_NX_TRACKED,		/* in the list */
	TDP_NX_UNTRACKED,	/* of a table that was, or is being, released */
	TDP_NX_GONE,		/* the table is removed, the fault does not know */
};

/**
 * struct tdp_nx_table - a table that the mitigation made necessary
 * @link: in kvm_arch.tdp_nx.tables, if @state is TDP_NX_TRACKED
 * @root: root of the table; alive for as long as the table is linked
 * @gfn: a gfn that the table spans
 * @level: level of the entry that points to the table
 * @state: what becomes of it; under kvm_arch.tdp_nx.lock
 *
 * The note of the table, see struct tdp_new_table.
 */
struct tdp_nx_table {
	struct list_head link;
	struct kvm_tdp_root *root;
	gfn_t gfn;
	u8 level;
	u8 state;
};

static struct kmem_cache *tdp_nx_table_cache;

/**
 * kvm_mmu_create_tdp_nx_cache() - Prepare for tables to be tracked
 *
 * Return: 0 or -ENOMEM.
 */
int kvm_mmu_create_tdp_nx_cache(void)
{
	tdp_nx_table_cache = kmem_cache_create("kvm_tdp_nx_table",
					       sizeof(struct tdp_nx_table), 0,
					       SLAB_ACCOUNT, NULL);
	return tdp_nx_table_cache ? 0 : -ENOMEM;
}

/**
 * kvm_mmu_destroy_tdp_nx_cache() - Undo kvm_mmu_create_tdp_nx_cache(), if it was
 * called
 */
void kvm_mmu_destroy_tdp_nx_cache(void)
{
	kmem_cache_destroy(tdp_nx_table_cache);
	tdp_nx_table_cache = NULL;
}

/**
 * kvm_mmu_init_tdp_nx() - Prepare a VM
 * @kvm: the VM
 */
void kvm_mmu_init_tdp_nx(struct kvm *kvm)
{
	spin_lock_init(&kvm->arch.tdp_nx.lock);
	INIT_LIST_HEAD(&kvm->arch.tdp_nx.tables);
}

/**
 * kvm_mmu_topup_tdp_nx() - Prepare a fault that may need tables tracked
 * @vcpu: the vCPU
 *
 * Return: 0 or -ENOMEM.
 *
 * Context: May sleep.
 */
int kvm_mmu_topup_tdp_nx(struct kvm_vcpu *vcpu)
{
	struct kvm_mmu_memory_cache *cache = &vcpu->arch.tdp_nx_cache;

	cache->kmem_cache = tdp_nx_table_cache;
	return kvm_mmu_topup_memory_cache(cache, TDP_NX_TABLES_PER_FAULT);
}

/**
 * kvm_mmu_free_tdp_nx() - A vCPU needs nothing more
 * @vcpu: the vCPU
 */
void kvm_mmu_free_tdp_nx(struct kvm_vcpu *vcpu)
{
	kvm_mmu_free_memory_cache(&vcpu->arch.tdp_nx_cache);
}

/**
 * kvm_mmu_nr_tdp_nx() - How many tables are tracked
 * @kvm: the VM
 *
 * They are part of the statistic nx_lpage_splits.
 */
unsigned long kvm_mmu_nr_tdp_nx(struct kvm *kvm)
{
	return READ_ONCE(kvm->arch.tdp_nx.nr);
}

static void tdp_nx_track(struct kvm *kvm, struct tdp_nx_table *nx)
{
	lockdep_assert_held(&kvm->mmu_lock);
	lockdep_assert_held(&kvm->arch.tdp_nx.lock);

	nx->state = TDP_NX_TRACKED;
	list_add_tail(&nx->link, &kvm->arch.tdp_nx.tables);
	WRITE_ONCE(kvm->arch.tdp_nx.nr, kvm->arch.tdp_nx.nr + 1);
	/* Shadow paging counts in it too, with mmu_lock held for write. */
	++kvm->stat.nx_lpage_splits;
}

static void tdp_nx_untrack(struct kvm *kvm, struct tdp_nx_table *nx)
{
	lockdep_assert_held(&kvm->mmu_lock);
	lockdep_assert_held(&kvm->arch.tdp_nx.lock);

	nx->state = TDP_NX_UNTRACKED;
	list_del(&nx->link);
	WRITE_ONCE(kvm->arch.tdp_nx.nr, kvm->arch.tdp_nx.nr - 1);
	--kvm->stat.nx_lpage_splits;
}

bool kvm_arch_tdp_exec(struct kvm *kvm, int level, bool exec)
{
	return kvm_mmu_leaf_exec(kvm, level, exec);
}

void kvm_arch_tdp_prepare_table(struct kvm_tdp_root *root,
				struct kvm_tdp_fault *tdp_fault, int level,
				struct tdp_new_table *new)
{
	struct x86_tdp_fault *x86_fault =
		container_of(tdp_fault, struct x86_tdp_fault, tdp);
	struct kvm_page_fault *fault = x86_fault->fault;
	struct tdp_nx_table *nx;

	/* Could the memory be mapped by a leaf here but for the mitigation? */
	if (!fault->huge_page_disallowed || fault->req_level < level)
		return;

	new->attr = X86_TDP_NX_SPLIT;
	nx = kvm_mmu_memory_cache_alloc(x86_fault->nx_cache);
	nx->root = root;
	nx->gfn = fault->gfn;
	nx->level = level;
	nx->state = TDP_NX_NEW;
	new->note = nx;
}

void kvm_arch_tdp_table_linked(struct kvm_tdp *tdp, void *note, bool linked)
{
	struct tdp_nx_table *nx = note;
	struct kvm *kvm = tdp->kvm;

	if (!nx)
		return;

	if (linked) {
		spin_lock(&kvm->arch.tdp_nx.lock);
		linked = nx->state == TDP_NX_NEW;
		if (linked)
			tdp_nx_track(kvm, nx);
		spin_unlock(&kvm->arch.tdp_nx.lock);
	}

	/* Nobody has seen it, or the table is gone. */
	if (!linked)
		kmem_cache_free(tdp_nx_table_cache, nx);
}

void kvm_arch_tdp_table_removed(struct kvm_tdp *tdp, void *note)
{
	struct tdp_nx_table *nx = note;
	struct kvm *kvm = tdp->kvm;
	bool last = true;

	spin_lock(&kvm->arch.tdp_nx.lock);
	if (nx->state == TDP_NX_NEW) {
		nx->state = TDP_NX_GONE;
		last = false;
	} else if (nx->state == TDP_NX_TRACKED) {
		tdp_nx_untrack(kvm, nx);
	}
	spin_unlock(&kvm->arch.tdp_nx.lock);

	if (last)
		kmem_cache_free(tdp_nx_table_cache, nx);
}

/* The oldest comes first, and is not tracked any more. */
bool kvm_arch_tdp_next_pinned(struct kvm_tdp *tdp,
			      struct kvm_tdp_pinned *pinned)
{
	struct kvm *kvm = tdp->kvm;
	struct tdp_nx_table *nx;

	spin_lock(&kvm->arch.tdp_nx.lock);
	nx = list_first_entry_or_null(&kvm->arch.tdp_nx.tables,
				      struct tdp_nx_table, link);
	if (nx) {
		pinned->root = nx->root;
		pinned->gfn = nx->gfn;
		pinned->level = nx->level;
		/*
		 * A table of a memslot that is logged is not the mitigation's
		 * any more: recovery takes them all when logging ends.
		 */
		pinned->keep = kvm_mmu_nx_is_logged(kvm, nx->root->as_id,
						    nx->gfn);
		tdp_nx_untrack(kvm, nx);
		/* Who removes the table settles its note, then puts the root. */
		kvm_tdp_hold_root(nx->root);
	}
	spin_unlock(&kvm->arch.tdp_nx.lock);
	return nx;
}
