/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __SHIM_KVM_HOST_H
#define __SHIM_KVM_HOST_H

/*
 * The VM that the TDP MMU is tested with: as much of KVM as the MMU uses, and
 * what vm.c knows of it.
 */
#include <shim.h>
#include <linux/kvm_tdp_types.h>

#define KVM_MEM_LOG_DIRTY_PAGES	1u
#define KVM_MEMSLOT_INVALID	2u

#define __KVM_HAVE_ARCH_TDP_EXEC
#define __KVM_HAVE_ARCH_TDP_TABLES
#define __KVM_HAVE_ARCH_TDP_PREPARE

/**
 * struct kvm_memory_slot - a memslot
 * @base_gfn: first gfn
 * @npages: its size
 * @flags: KVM_MEM_*
 * @as_id: address space
 * @dirty: the dirty bitmap, a byte for each page
 */
struct kvm_memory_slot {
	gfn_t base_gfn;
	unsigned long npages;
	u32 flags;
	u16 as_id;
	u8 *dirty;
};

struct kvm_gfn_range {
	struct kvm_memory_slot *slot;
	gfn_t start;
	gfn_t end;
	bool may_block;
};

struct kvm {
	rwlock_t mmu_lock;
	struct mutex slots_lock;	/* changes of memslots */
	refcount_t users_count;
	int created_vcpus;
	unsigned long mmu_invalidate_seq;
	long mmu_invalidate_in_progress;
	gfn_t mmu_invalidate_range_start;
	gfn_t mmu_invalidate_range_end;
	struct kvm_tdp tdp;
};

struct kvm_vcpu {
	struct kvm *kvm;
};

static inline bool
kvm_slot_dirty_track_enabled(const struct kvm_memory_slot *slot)
{
	return slot->flags & KVM_MEM_LOG_DIRTY_PAGES;
}

struct kvm_tdp_fault;

void vm_prepare_leaf(struct kvm_vcpu *vcpu, const struct kvm_tdp_fault *fault,
		     int level, bool fresh, bool exec);
bool vm_prepare_block(struct kvm *kvm, kvm_pfn_t pfn, int level, bool exec,
		      bool full);
void mark_page_dirty_in_slot(struct kvm *kvm,
			     const struct kvm_memory_slot *slot, gfn_t gfn);
void kvm_set_page_mapped(struct page *page, bool host_writable);
bool test_kvm_bug(bool cond, const char *file, int line, const char *what);

#define KVM_BUG_ON(cond, kvm)	test_kvm_bug(cond, __FILE__, __LINE__, #cond)

/* As in the kernel, see mmu_invalidate_retry_range() there. */
static inline int mmu_invalidate_retry_range(struct kvm *kvm,
					     unsigned long mmu_seq,
					     gfn_t start, gfn_t end)
{
	lockdep_assert_held(&kvm->mmu_lock);
	if (kvm->mmu_invalidate_in_progress &&
	    end > kvm->mmu_invalidate_range_start &&
	    start < kvm->mmu_invalidate_range_end)
		return 1;
	return kvm->mmu_invalidate_seq != mmu_seq;
}

/* Tables that were allocated before a lock was taken. */
#define KVM_CACHE_OBJECTS	40
#define GFP_KERNEL_ACCOUNT	1u

/**
 * struct kvm_mmu_memory_cache - preloaded tables
 * @gfp_custom: if not 0: contents need not be initialized
 * @nobjs: how many there are
 * @objects: the tables
 */
struct kvm_mmu_memory_cache {
	unsigned int gfp_custom;
	int nobjs;
	void *objects[KVM_CACHE_OBJECTS];
};

int __kvm_mmu_topup_memory_cache(struct kvm_mmu_memory_cache *mc, int capacity,
				 int min);
void *kvm_mmu_memory_cache_alloc(struct kvm_mmu_memory_cache *mc);
void kvm_mmu_free_memory_cache(struct kvm_mmu_memory_cache *mc);
void free_page(unsigned long addr);

#endif /* __SHIM_KVM_HOST_H */
