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

int kvm_arch_tdp_recover_level(struct kvm *kvm,
			       const struct kvm_memory_slot *slot, gfn_t gfn)
{
	if (kvm_slot_dirty_track_enabled(slot))
		return PG_LEVEL_4K;
	if (kvm_slot_can_be_private(slot) && kvm_mem_is_private(kvm, gfn))
		return PG_LEVEL_4K;
	return kvm_mmu_max_mapping_level(kvm, slot, gfn, PG_LEVEL_NUM);
}

tdp_pte_t kvm_arch_tdp_fault_pte(struct kvm_vcpu *vcpu,
				 const struct kvm_tdp_root *root,
				 struct kvm_tdp_fault *fault, int level,
				 bool old_writable)
{
	const struct tdp_fmt *fmt = root->pgt.fmt;
	gfn_t gfn = tdp_gfn_round(fmt, fault->gfn, level);
	kvm_pfn_t pfn = fault->pfn & ~(tdp_span(fmt, level) - 1);
	struct kvm *kvm = vcpu->kvm;
	unsigned int flags = 0;
	bool mmio;
	u64 attr = 0;
	u64 pte;

	if (!fault->slot)
		return make_mmio_spte(vcpu, gfn, ACC_ALL);

	if (!fault->prefetch)
		flags |= TDP_YOUNG;

	if (kvm_arch_tdp_exec(kvm, level, true))
		flags |= TDP_EXEC;

	if (fault->host_writable) {
		flags |= TDP_HOST_WRITE;
		/*
		 * Shadow pages of a gfn that is writable already are out of
		 * sync, or gone.  Else look them up, and if they cannot be put
		 * out of sync let the guest not write.  A barrier there orders
		 * the marking of shadow pages before the entry is installed.
		 */
		if (old_writable ||
		    !mmu_try_to_unsync_pages(kvm, fault->slot, gfn, true,
					     fault->prefetch))
			flags |= TDP_WRITE;
		else
			fault->wrprot = true;
	}

	if (shadow_memtype_mask || shadow_me_value) {
		mmio = kvm_is_mmio_pfn(pfn);
		if (shadow_memtype_mask)
			attr |= kvm_x86_call(get_mt_mask)(vcpu, gfn, mmio);
		if (!mmio)
			attr |= shadow_me_value;
	}

	pte = tdp_pte_make_leaf(fmt, pfn, level, flags, attr);

	WARN_ONCE(is_rsvd_spte(&vcpu->arch.mmu->shadow_zero_check, pte, level),
		  "pte = 0x%llx, level = %d, rsvd bits = 0x%llx", pte, level,
		  get_rsvd_bits(&vcpu->arch.mmu->shadow_zero_check, pte, level));
	return pte;
}
