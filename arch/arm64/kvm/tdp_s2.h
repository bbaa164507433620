/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_ARM64_TDP_S2_H
#define __KVM_ARM64_TDP_S2_H

#include <asm/kvm_nested.h>
#include <mmu/kvm_tdp.h>

/**
 * struct kvm_s2_tdp - stage 2 of a struct kvm_s2_mmu
 * @tdp: the TDP MMU, which has one root
 * @root: the root
 * @fmt: its format
 * @mmu: what hardware, and EL2, know of it
 */
struct kvm_s2_tdp {
	struct kvm_tdp tdp;
	struct kvm_tdp_root root;
	struct tdp_fmt fmt;
	struct kvm_s2_mmu *mmu;
};

/**
 * struct kvm_s2_fault - a stage 2 fault that takes more than a bit of a leaf
 * @tdp: what the TDP MMU has to know
 * @nested: how the guest's hypervisor maps the page, NULL if that is not in
 *	    the way
 * @exec: the access was an instruction fetch
 * @device: the page is not memory of the kernel
 * @uncached: the guest may map a @device as normal memory that is not cached
 */
struct kvm_s2_fault {
	struct kvm_tdp_fault tdp;
	struct kvm_s2_trans *nested;
	bool exec;
	bool device;
	bool uncached;
};

/* The architecture counts down from 3. */
static inline int kvm_s2_hw_level(int level)
{
	return KVM_PGTABLE_LAST_LEVEL + 1 - level;
}

int kvm_s2_tdp_create(struct kvm *kvm, struct kvm_s2_mmu *mmu);
void kvm_s2_tdp_release(struct kvm_s2_mmu *mmu);
void kvm_s2_tdp_destroy(struct kvm_s2_mmu *mmu);

void kvm_s2_flush_local(struct kvm_s2_mmu *mmu, phys_addr_t ipa);
void kvm_s2_flush_all(struct kvm_s2_mmu *mmu);
void kvm_s2_flush_range(struct kvm_s2_mmu *mmu, gfn_t gfn, u64 pages, int level);
tdp_pte_t kvm_s2_device_leaf(const struct kvm_s2_tdp *s2, kvm_pfn_t pfn,
			     bool writable);
bool kvm_s2_get_leaf(struct kvm_s2_mmu *mmu, phys_addr_t ipa, u64 *pte);
void kvm_s2_clean_range(struct kvm_s2_mmu *mmu, gfn_t start, gfn_t end);

/* In mmu.c. */
int kvm_s2_host_level(struct kvm *kvm, const struct kvm_memory_slot *slot,
		      gfn_t gfn);
void kvm_s2_sanitise_tags(struct kvm *kvm, kvm_pfn_t pfn, unsigned long size);

#endif /* __KVM_ARM64_TDP_S2_H */
