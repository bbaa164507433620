// SPDX-License-Identifier: GPL-2.0-only
/*
 * From x86's MMU to the TDP MMU in virt/kvm/mmu: roots and faults.
 *
 * A TDP root is a struct kvm_mmu_page, as root_to_sp() must work for it; all
 * other tables are bare pages: there is no struct kvm_mmu_page for them, and
 * sptep_to_sp() must not be used on their entries.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "mmu.h"
#include "tdp_fmt.h"
#include "tdp_glue.h"
#include "x86.h"

/**
 * kvm_mmu_alloc_tdp_root() - Give a vCPU a TDP root
 * @vcpu: the vCPU, its memory caches filled
 *
 * All vCPUs whose roles are the same share a root.
 */
void kvm_mmu_alloc_tdp_root(struct kvm_vcpu *vcpu)
{
	struct kvm_mmu *mmu = vcpu->arch.mmu;
	union kvm_mmu_page_role role = mmu->root_role;
	struct kvm_tdp *tdp = &vcpu->kvm->arch.tdp;
	struct kvm_mmu_page *sp = NULL;
	struct kvm_tdp_root *root;

	read_lock(&vcpu->kvm->mmu_lock);

	/* Most vCPUs find one, and need not serialize. */
	root = kvm_tdp_get_root(tdp, role.word);
	if (!root) {
		sp = kvm_mmu_memory_cache_alloc(&vcpu->arch.mmu_page_header_cache);
		sp->spt = kvm_mmu_memory_cache_alloc(&vcpu->arch.mmu_shadow_page_cache);
		sp->role = role;
		sp->tdp_mmu_page = true;
		set_page_private(virt_to_page(sp->spt), (unsigned long)sp);

		sp->tdp_root.pgt.fmt = kvm_mmu_tdp_format(role);
		sp->tdp_root.pgt.root = (tdp_pte_t __rcu *)sp->spt;
		sp->tdp_root.key = role.word;
		sp->tdp_root.as_id = kvm_mmu_role_as_id(role);
		root = kvm_tdp_add_root(tdp, &sp->tdp_root);
	}

	/* vCPUs look for obsolete roots, like this one soon, before they run. */
	mmu->root.hpa = __pa(tdp_root_to_sp(root)->spt);
	mmu->root.pgd = 0;

	read_unlock(&vcpu->kvm->mmu_lock);

	/* Someone else was faster; nobody has seen this one. */
	if (sp && root != &sp->tdp_root)
		kvm_arch_tdp_free_root(&sp->tdp_root);
}

/**
 * kvm_mmu_put_tdp_root() - A vCPU does not use its TDP root any more
 * @sp: the root
 */
void kvm_mmu_put_tdp_root(struct kvm_mmu_page *sp)
{
	kvm_tdp_put_root(&sp->tdp_root);
}

/**
 * kvm_mmu_tdp_fault() - Handle a fault on a TDP root
 * @vcpu: the vCPU
 * @fault: the fault, after kvm_faultin_pfn()
 *
 * Return: RET_PF_* or a negative error.
 *
 * Context: SRCU read-side critical section, @fault->pfn referenced.  Takes
 *	    mmu_lock for read.
 */
int kvm_mmu_tdp_fault(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	struct x86_tdp_fault x86_fault = {
		.tdp = {
			.gfn		= fault->gfn,
			.slot_gfn	= fault->gfn,
			.pfn		= fault->pfn,
			.page		= fault->page,
			.slot		= fault->slot,
			.mmu_seq	= fault->mmu_seq,
			.tables		= &vcpu->arch.mmu_shadow_page_cache,
			.write		= fault->write,
			.prefetch	= fault->prefetch,
			.host_writable	= fault->map_writable,
		},
		.fault = fault,
		.nx_cache = &vcpu->arch.tdp_nx_cache,
	};
	int r;

	r = kvm_tdp_handle_fault(vcpu, kvm_mmu_tdp_root(vcpu), &x86_fault.tdp);
	fault->goal_level = x86_fault.tdp.level;

	switch (r) {
	case KVM_TDP_RETRY:
		return RET_PF_RETRY;
	case KVM_TDP_FIXED:
		return RET_PF_FIXED;
	case KVM_TDP_SPURIOUS:
		return RET_PF_SPURIOUS;
	case KVM_TDP_WRPROT:
		return RET_PF_WRITE_PROTECTED;
	case KVM_TDP_ANNOTATED:
		vcpu->stat.pf_mmio_spte_created++;
		return RET_PF_EMULATE;
	default:
		return r;
	}
}

/**
 * kvm_mmu_tdp_fast_fault() - Handle a fault on a TDP root without mmu_lock
 * @vcpu: the vCPU
 * @fault: the fault, one for which page_fault_can_be_fast()
 *
 * Return: RET_PF_FIXED, RET_PF_SPURIOUS, RET_PF_RETRY, or RET_PF_INVALID if that
 * cannot be.
 *
 * Context: SRCU read-side critical section.
 */
int kvm_mmu_tdp_fast_fault(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	unsigned int access = 0;

	if (fault->write)
		access |= TDP_WRITE;
	if (fault->exec)
		access |= TDP_EXEC;

	switch (kvm_tdp_fast_fault(vcpu, kvm_mmu_tdp_root(vcpu), fault->slot,
				   fault->gfn, access)) {
	case KVM_TDP_FIXED:
		return RET_PF_FIXED;
	case KVM_TDP_SPURIOUS:
		return RET_PF_SPURIOUS;
	case KVM_TDP_RETRY:
		return RET_PF_RETRY;
	default:
		return RET_PF_INVALID;
	}
}
