// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the TDP MMU in virt/kvm/mmu to x86: what it asks of every architecture.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "mmu.h"
#include "tdp_glue.h"
#include "x86.h"

void kvm_arch_tdp_free_root(struct kvm_tdp_root *root)
{
	struct kvm_mmu_page *sp = tdp_root_to_sp(root);

	free_page((unsigned long)sp->spt);
	kmem_cache_free(mmu_page_header_cache, sp);
}

void kvm_arch_tdp_root_invalidated(struct kvm_tdp_root *root)
{
	/* is_obsolete_sp() and is_root_usable() look here. */
	tdp_root_to_sp(root)->role.invalid = true;
}

void kvm_arch_tdp_account_leaves(struct kvm_tdp *tdp, int level, int nr)
{
	kvm_update_page_stats(tdp->kvm, level, nr);
}

void kvm_arch_tdp_flush(struct kvm_tdp *tdp, const struct tdp_gather *gather)
{
	kvm_flush_remote_tlbs_range(tdp->kvm, gather->start,
				    gather->end - gather->start);
}

int kvm_arch_tdp_fault_level(struct kvm_vcpu *vcpu,
			     struct kvm_tdp_fault *tdp_fault)
{
	struct kvm_page_fault *fault =
		container_of(tdp_fault, struct x86_tdp_fault, tdp)->fault;

	kvm_mmu_hugepage_adjust(vcpu, fault);
	return fault->goal_level;
}

/* Not inline: each block would have registers saved for it. */
static noinline int
kvm_tdp_private_recover_level(struct kvm *kvm,
			      const struct kvm_memory_slot *slot, gfn_t gfn)
{
	if (kvm_mem_is_private(kvm, gfn))
		return PG_LEVEL_4K;
	return kvm_mmu_max_mapping_level(kvm, slot, gfn, PG_LEVEL_NUM);
}

int kvm_arch_tdp_recover_level(struct kvm *kvm,
			       const struct kvm_memory_slot *slot, gfn_t gfn)
{
	if (kvm_slot_can_be_private(slot))
		return kvm_tdp_private_recover_level(kvm, slot, gfn);
	return kvm_mmu_max_mapping_level(kvm, slot, gfn, PG_LEVEL_NUM);
}

tdp_pte_t kvm_arch_tdp_fault_pte(struct kvm_vcpu *vcpu,
				 const struct kvm_tdp_root *root,
				 struct kvm_tdp_fault *fault, int level,
				 unsigned int old)
{
	const struct tdp_fmt *fmt = root->pgt.fmt;
	gfn_t gfn = tdp_gfn_round(fmt, fault->gfn, level);
	kvm_pfn_t pfn = fault->pfn & ~(tdp_span(fmt, level) - 1);
	unsigned int flags = 0;
	u64 pte;

	if (!fault->slot)
		return make_mmio_spte(vcpu, gfn, ACC_ALL);

	if (!fault->prefetch)
		flags |= TDP_YOUNG;

	if (kvm_mmu_leaf_exec(vcpu->kvm, level, true))
		flags |= TDP_EXEC;

	if (fault->host_writable) {
		flags |= TDP_HOST_WRITE;
		if (kvm_mmu_leaf_write(vcpu->kvm, fault->slot, gfn,
				       old & TDP_WRITE, true, fault->prefetch))
			flags |= TDP_WRITE;
		else
			fault->wrprot = true;
	}

	pte = tdp_pte_make_leaf(fmt, pfn, level, flags,
				kvm_mmu_leaf_attr(vcpu, gfn, pfn));
	kvm_mmu_check_leaf(vcpu, pte, level);
	return pte;
}
