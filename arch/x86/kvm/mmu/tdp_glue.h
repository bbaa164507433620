/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_X86_MMU_TDP_GLUE_H
#define __KVM_X86_MMU_TDP_GLUE_H

#include <mmu/kvm_tdp.h>

#include "mmu_internal.h"
#include "spte.h"

/* What the core's hooks need of a fault beside the core's own view of it. */
struct x86_tdp_fault {
	struct kvm_tdp_fault tdp;
	struct kvm_page_fault *fault;
	struct kvm_mmu_memory_cache *nx_cache;
};

void kvm_mmu_alloc_tdp_root(struct kvm_vcpu *vcpu);
void kvm_mmu_put_tdp_root(struct kvm_mmu_page *sp);
int kvm_mmu_tdp_fault(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault);
int kvm_mmu_tdp_fast_fault(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault);

void kvm_mmu_init_tdp_nx(struct kvm *kvm);
int kvm_mmu_topup_tdp_nx(struct kvm_vcpu *vcpu);
#ifdef CONFIG_KVM_TDP_MMU
int kvm_mmu_create_tdp_nx_cache(void);
void kvm_mmu_destroy_tdp_nx_cache(void);
void kvm_mmu_free_tdp_nx(struct kvm_vcpu *vcpu);
unsigned long kvm_mmu_nr_tdp_nx(struct kvm *kvm);
#else
static inline int kvm_mmu_create_tdp_nx_cache(void)
{
	return 0;
}

static inline void kvm_mmu_destroy_tdp_nx_cache(void) {}
static inline void kvm_mmu_free_tdp_nx(struct kvm_vcpu *vcpu) {}

/* Constant, so that nothing else is called. */
static inline unsigned long kvm_mmu_nr_tdp_nx(struct kvm *kvm)
{
	return 0;
}
#endif

static inline bool is_tdp_mmu_page(struct kvm_mmu_page *sp)
{
	return IS_ENABLED(CONFIG_KVM_TDP_MMU) && sp->tdp_mmu_page;
}

static inline struct kvm_mmu_page *tdp_root_to_sp(struct kvm_tdp_root *root)
{
	return container_of(root, struct kvm_mmu_page, tdp_root);
}

/* The root that a vCPU with a direct MMU uses. */
static inline struct kvm_tdp_root *kvm_mmu_tdp_root(struct kvm_vcpu *vcpu)
{
	return &root_to_sp(vcpu->arch.mmu->root.hpa)->tdp_root;
}

#endif /* __KVM_X86_MMU_TDP_GLUE_H */
