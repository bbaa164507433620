// SPDX-License-Identifier: GPL-2.0-only
/*
 * Between arm64's stage 2 and the TDP MMU in virt/kvm/mmu: roots, and what the
 * MMU asks of every architecture.
 *
 * Each struct kvm_s2_mmu, the VM's own and those that shadow the stage 2 of a
 * guest's hypervisor, is a TDP MMU of its own with a single root: the VMID is the
 * domain of a flush.  EL2 sees the address of the root, and the struct kvm_s2_mmu.
 */
#include <mmu/walk.h>

#include <linux/cpufeature.h>
#include <linux/init.h>
#include <linux/jump_label.h>

#include <asm/kvm_mmu.h>
#include <asm/kvm_pgtable.h>
#include <asm/tlbflush.h>

#include "tdp_s2.h"
#include "trace.h"

/* Beyond that many operations the VMID is flushed; a choice, not measured. */
#define KVM_S2_MAX_TLBIS	64

/*
 * What is mapped may become smaller or larger without a break.  FEAT_BBM level 2
 * lets hardware raise TLB conflict aborts for that, which nobody here handles, so
 * it takes someone who knows that no CPU does: see tdp-mmu.rst.
 */
static DEFINE_STATIC_KEY_FALSE(kvm_s2_free_size);
static bool kvm_s2_free_size_asked __initdata;

static int __init kvm_s2_parse_free_size(char *arg)
{
	return kstrtobool(arg, &kvm_s2_free_size_asked);
}
early_param("kvm-arm.bbml2_noabort", kvm_s2_parse_free_size);

static int __init kvm_s2_init_free_size(void)
{
	u64 mmfr2 = read_sanitised_ftr_reg(SYS_ID_AA64MMFR2_EL1);

	if (!kvm_s2_free_size_asked)
		return 0;
	if (SYS_FIELD_GET(ID_AA64MMFR2_EL1, BBM, mmfr2) < 2) {
		pr_warn("kvm: not all CPUs have FEAT_BBM level 2: kvm-arm.bbml2_noabort is ignored\n");
		return 0;
	}
	static_branch_enable(&kvm_s2_free_size);
	return 0;
}
late_initcall(kvm_s2_init_free_size);

static struct kvm_s2_tdp *to_s2(struct kvm_tdp *tdp)
{
	return container_of(tdp, struct kvm_s2_tdp, tdp);
}

static size_t kvm_s2_root_size(const struct tdp_fmt *fmt)
{
	unsigned int nr = tdp_fmt_nr_entries(fmt, tdp_fmt_root_level(fmt));

	return PAGE_ALIGN(nr * sizeof(tdp_pte_t));
}

static void kvm_s2_init_fmt(struct tdp_fmt *fmt, u64 vtcr, bool nested)
{
	unsigned int bits = VTCR_EL2_IPA(vtcr) - PAGE_SHIFT;

	fmt->end_gfn = BIT_ULL(bits);
	fmt->root_level = VTCR_EL2_LVLS(vtcr);
	fmt->root_bits = bits - (fmt->root_level - 1) * ARM64_TDP_LEVEL_BITS;
	fmt->max_leaf = KVM_PGTABLE_LAST_LEVEL + 1 - KVM_PGTABLE_MIN_BLOCK_LEVEL;
	fmt->max_leaf = min(fmt->max_leaf, fmt->root_level);
	fmt->slotless = nested ? 0 : ARM64_TDP_SLOTLESS;
	fmt->lpa2 = kvm_lpa2_is_enabled();
	fmt->leaf_attr = KVM_PTE_LEAF_ATTR_LO_S2_MEMATTR;
	if (!fmt->lpa2)
		fmt->leaf_attr |= KVM_PTE_LEAF_ATTR_LO_S2_SH;
	/* VTCR_EL2.HA is set even if only some CPUs listen to it. */
	fmt->hw_af = false;
	fmt->free_size = static_branch_unlikely(&kvm_s2_free_size);
	fmt->clean_unmapped = !cpus_have_final_cap(ARM64_HAS_STAGE2_FWB);
}

/**
 * kvm_s2_tdp_create() - Make the tree of a stage 2
 * @kvm: the VM
 * @mmu: its stage 2; @mmu->vtcr is set
 *
 * Return: 0 or -ENOMEM.
 *
 * Context: May sleep.
 */
int kvm_s2_tdp_create(struct kvm *kvm, struct kvm_s2_mmu *mmu)
{
	struct kvm_s2_tdp *s2;
	void *table;

	s2 = kzalloc(sizeof(*s2), GFP_KERNEL_ACCOUNT);
	if (!s2)
		return -ENOMEM;

	kvm_s2_init_fmt(&s2->fmt, mmu->vtcr, kvm_is_nested_s2_mmu(kvm, mmu));
	table = alloc_pages_exact(kvm_s2_root_size(&s2->fmt),
				  GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!table) {
		kfree(s2);
		return -ENOMEM;
	}

	kvm_tdp_init(&s2->tdp, kvm);
	s2->mmu = mmu;
	s2->root.pgt.fmt = &s2->fmt;
	s2->root.pgt.root = (tdp_pte_t __rcu *)table;

	/* There is no other, and the reference is @mmu's. */
	read_lock(&kvm->mmu_lock);
	WARN_ON_ONCE(kvm_tdp_add_root(&s2->tdp, &s2->root) != &s2->root);
	read_unlock(&kvm->mmu_lock);

	/* The table walker sees that the root is empty. */
	dsb(ishst);
	mmu->pgd_phys = __pa(table);
	mmu->tdp = s2;
	return 0;
}

/**
 * kvm_s2_tdp_release() - Unmap everything, as the VM's mm goes away
 * @mmu: the stage 2
 *
 * No vCPU enters the guest any more, so the root is taken out of use first: then
 * nothing is flushed, nor cleaned.  What has its VMID cached is flushed before
 * another VM gets that.
 *
 * Context: Takes mmu_lock and yields.
 */
void kvm_s2_tdp_release(struct kvm_s2_mmu *mmu)
{
	struct kvm_tdp *tdp = &mmu->tdp->tdp;

	write_lock(&tdp->kvm->mmu_lock);
	kvm_tdp_invalidate_all_roots(tdp);
	write_unlock(&tdp->kvm->mmu_lock);

	kvm_tdp_zap_invalidated_roots(tdp);
}

/**
 * kvm_s2_tdp_destroy() - Free the tree of a stage 2
 * @mmu: the stage 2, which no vCPU uses any more
 *
 * Context: The VM has no users.  May sleep.
 */
void kvm_s2_tdp_destroy(struct kvm_s2_mmu *mmu)
{
	struct kvm_s2_tdp *s2 = mmu->tdp;

	/* The VM lives on if a shadow stage 2 could not be set up. */
	write_lock(&s2->tdp.kvm->mmu_lock);
	kvm_tdp_invalidate_all_roots(&s2->tdp);
	kvm_tdp_put_root(&s2->root);
	write_unlock(&s2->tdp.kvm->mmu_lock);

	kvm_tdp_destroy(&s2->tdp);
	mmu->pgd_phys = 0;
	mmu->tdp = NULL;
	kfree(s2);
}

void kvm_arch_tdp_free_root(struct kvm_tdp_root *root)
{
	free_pages_exact((__force void *)root->pgt.root,
			 kvm_s2_root_size(root->pgt.fmt));
}

void kvm_arch_tdp_root_invalidated(struct kvm_tdp_root *root)
{
}

void kvm_arch_tdp_account_leaves(struct kvm_tdp *tdp, int level, int nr)
{
	atomic64_add(nr, &tdp->kvm->stat.pages[level - 1]);
}

static u64 kvm_s2_vmid(const struct kvm_s2_mmu *mmu)
{
	return atomic64_read(&mmu->vmid.id);
}

/**
 * kvm_s2_flush_local() - Flush what a permission fault can have come from
 * @mmu: the stage 2 of the vCPU that runs on this CPU
 * @ipa: the address that it faulted on
 *
 * A copy of what the access was denied by can be cached, also if the entry allows
 * it, or was changed by someone else.
 */
void kvm_s2_flush_local(struct kvm_s2_mmu *mmu, phys_addr_t ipa)
{
	trace_kvm_s2_tlbi(kvm_s2_vmid(mmu), ipa, 1, TLBI_TTL_UNKNOWN, true);
	kvm_call_hyp(__kvm_tlb_flush_vmid_ipa_nsh, mmu, ipa & PAGE_MASK,
		     TLBI_TTL_UNKNOWN);
}

/**
 * kvm_s2_flush_all() - Flush what a stage 2 has cached, of all addresses
 * @mmu: the stage 2
 */
void kvm_s2_flush_all(struct kvm_s2_mmu *mmu)
{
	trace_kvm_s2_tlbi(kvm_s2_vmid(mmu), 0, 0, TLBI_TTL_UNKNOWN, false);
	kvm_call_hyp(__kvm_tlb_flush_vmid, mmu);
}

/**
 * kvm_s2_flush_range() - Flush what a stage 2 has cached of a range
 * @mmu: the stage 2
 * @gfn: the first page
 * @pages: how many
 * @level: the level of the leaves, all of which are whole, if they have one; 0
 *	   for tables and leaves of any level
 *
 * Where a range takes an instruction for each leaf, only up to a point.
 */
void kvm_s2_flush_range(struct kvm_s2_mmu *mmu, gfn_t gfn, u64 pages, int level)
{
	u64 span = level ? tdp_span(&mmu->tdp->fmt, level) : 1;
	int ttl = level ? kvm_s2_hw_level(level) : TLBI_TTL_UNKNOWN;
	gpa_t addr = gfn_to_gpa(gfn);
	u64 step;

	if (level && pages == span) {
		trace_kvm_s2_tlbi(kvm_s2_vmid(mmu), addr, pages, ttl, false);
		kvm_call_hyp(__kvm_tlb_flush_vmid_ipa, mmu, addr, ttl);
		return;
	}

	if (!system_supports_tlb_range() && pages > KVM_S2_MAX_TLBIS * span) {
		kvm_s2_flush_all(mmu);
		return;
	}

	for (; pages; pages -= step, addr += step << PAGE_SHIFT) {
		step = min_t(u64, pages, MAX_TLBI_RANGE_PAGES);
		trace_kvm_s2_tlbi(kvm_s2_vmid(mmu), addr, step, ttl, false);
		kvm_call_hyp(__kvm_tlb_flush_vmid_range, mmu, addr, step, ttl);
	}
}

void kvm_arch_tdp_flush(struct kvm_tdp *tdp, const struct tdp_gather *gather)
{
	struct kvm_s2_tdp *s2 = to_s2(tdp);
	int level = 0;

	/* Where nothing breaks, what was split can be cached, with its level. */
	if (gather->flush == TDP_FLUSH_LEAF && !s2->fmt.free_size)
		level = gather->level;
	kvm_s2_flush_range(s2->mmu, gather->start, gather->end - gather->start,
			   level);
}

int kvm_arch_tdp_fault_level(struct kvm_vcpu *vcpu, struct kvm_tdp_fault *fault)
{
	struct kvm_s2_fault *s2_fault =
		container_of(fault, struct kvm_s2_fault, tdp);
	const struct tdp_fmt *fmt = &vcpu->arch.hw_mmu->tdp->fmt;
	int level;

	if (kvm_slot_dirty_track_enabled(fault->slot))
		return 1;

	level = kvm_s2_host_level(vcpu->kvm, fault->slot, fault->slot_gfn);
	/* Not more at once than the guest's hypervisor maps. */
	while (s2_fault->nested && level > 1 &&
	       tdp_span(fmt, level) << PAGE_SHIFT >
	       kvm_s2_trans_size(s2_fault->nested))
		level--;
	return level;
}

int kvm_arch_tdp_recover_level(struct kvm *kvm,
			       const struct kvm_memory_slot *slot, gfn_t gfn)
{
	return kvm_s2_host_level(kvm, slot, gfn);
}

static u64 kvm_s2_leaf_attr(bool device, bool uncached)
{
	bool fwb = cpus_have_final_cap(ARM64_HAS_STAGE2_FWB);
	u64 attr;

	if (!device)
		attr = PAGE_S2_MEMATTR(NORMAL, fwb);
	else if (uncached)
		attr = PAGE_S2_MEMATTR(NORMAL_NC, fwb);
	else
		attr = PAGE_S2_MEMATTR(DEVICE_nGnRE, fwb);

	if (!kvm_lpa2_is_enabled())
		attr |= FIELD_PREP(KVM_PTE_LEAF_ATTR_LO_S2_SH,
				   KVM_PTE_LEAF_ATTR_LO_S2_SH_IS);
	return attr;
}

/**
 * kvm_s2_device_leaf() - Make a leaf for a page of a device
 * @s2: the stage 2
 * @pfn: the page
 * @writable: whether the guest may write to it
 */
tdp_pte_t kvm_s2_device_leaf(const struct kvm_s2_tdp *s2, kvm_pfn_t pfn,
			     bool writable)
{
	unsigned int flags = TDP_YOUNG;

	if (writable)
		flags |= TDP_WRITE | TDP_HOST_WRITE;
	return tdp_pte_make_leaf(&s2->fmt, pfn, 1, flags,
				 kvm_s2_leaf_attr(true, false) |
				 s2->fmt.slotless);
}

static bool kvm_s2_leaf_exec(const struct kvm_s2_fault *s2_fault,
			     unsigned int old)
{
	/* For an instruction fetch the guest's stage 2 was asked before. */
	if (s2_fault->exec || (old & TDP_EXEC))
		return true;
	/* It costs nothing where instruction caches need no maintenance. */
	return !s2_fault->device && cpus_have_final_cap(ARM64_HAS_CACHE_DIC) &&
	       (!s2_fault->nested ||
		kvm_s2_trans_executable(s2_fault->nested));
}

tdp_pte_t kvm_arch_tdp_fault_pte(struct kvm_vcpu *vcpu,
				 const struct kvm_tdp_root *root,
				 struct kvm_tdp_fault *fault, int level,
				 unsigned int old)
{
	struct kvm_s2_fault *s2_fault =
		container_of(fault, struct kvm_s2_fault, tdp);
	struct kvm_s2_trans *nested = s2_fault->nested;
	u64 attr = kvm_s2_leaf_attr(s2_fault->device, s2_fault->uncached);
	kvm_pfn_t pfn = fault->pfn & ~(tdp_span(root->pgt.fmt, level) - 1);
	unsigned int flags = TDP_YOUNG;
	tdp_pte_t pte;

	if (fault->host_writable)
		flags |= TDP_HOST_WRITE;
	if (fault->host_writable && (!nested || kvm_s2_trans_writable(nested)))
		flags |= TDP_WRITE;
	if (kvm_s2_leaf_exec(s2_fault, old))
		flags |= TDP_EXEC;
	/* The span of the guest's mapping, for the guest's TLB invalidation. */
	if (nested)
		attr |= kvm_encode_nested_level(nested);

	pte = tdp_pte_make_leaf(root->pgt.fmt, pfn, level, flags, attr);

	if (nested && !kvm_s2_trans_readable(nested))
		pte &= ~ARM64_TDP_S2AP_R;
	/* The log has to see the first write; one that it saw goes on. */
	if (kvm_slot_dirty_track_enabled(fault->slot) && !fault->write &&
	    !(old & TDP_WRITE))
		pte = tdp_pte_log_writes(root->pgt.fmt, pte, level);

	fault->wrprot = fault->host_writable &&
			!tdp_pte_writable(root->pgt.fmt, pte);
	return pte;
}

static void kvm_s2_maintain(kvm_pfn_t pfn, u64 pages, unsigned int what)
{
	void *va = __va(PFN_PHYS(pfn));

	trace_kvm_s2_maintain(pfn, pages, what);
	if (what & KVM_S2_DCACHE)
		__clean_dcache_guest_page(va, pages << PAGE_SHIFT);
	if (what & KVM_S2_ICACHE)
		__invalidate_icache_guest_page(va, pages << PAGE_SHIFT);
}

void kvm_arch_tdp_prepare_leaf(struct kvm_vcpu *vcpu,
			       const struct kvm_tdp_fault *fault, int level,
			       bool fresh, bool exec)
{
	const struct kvm_s2_fault *s2_fault =
		container_of(fault, struct kvm_s2_fault, tdp);
	u64 pages = tdp_span(&vcpu->arch.hw_mmu->tdp->fmt, level);
	kvm_pfn_t pfn = fault->pfn & ~(pages - 1);

	if (s2_fault->device)
		return;
	if (fresh && kvm_has_mte(vcpu->kvm)) {
		trace_kvm_s2_maintain(pfn, pages, KVM_S2_TAGS);
		kvm_s2_sanitise_tags(vcpu->kvm, pfn, pages << PAGE_SHIFT);
	}
	kvm_s2_maintain(pfn, pages,
			(fresh ? KVM_S2_DCACHE : 0) |
			(exec ? KVM_S2_ICACHE : 0));
}

/* Parts of the block that are not mapped may never have been prepared. */
bool kvm_arch_tdp_prepare_block(struct kvm *kvm, kvm_pfn_t pfn, int level,
				bool exec, bool full)
{
	u64 pages = tdp_span(&kvm->arch.mmu.tdp->fmt, level);

	pfn &= ~(pages - 1);
	if (full || !pfn_is_map_memory(pfn))
		return true;
	/* That takes the pages' owner, see try_page_mte_tagging(). */
	if (kvm_has_mte(kvm))
		return false;

	kvm_s2_maintain(pfn, pages,
			KVM_S2_DCACHE | (exec ? KVM_S2_ICACHE : 0));
	return true;
}

/* @what: KVM_S2_UNMAPPED, or 0 if it stays mapped */
static void kvm_s2_clean_leaf(const struct tdp_fmt *fmt, tdp_pte_t pte,
			      int level, unsigned int what)
{
	bool fwb = cpus_have_final_cap(ARM64_HAS_STAGE2_FWB);

	/* Devices, and what the guest never gets cached. */
	if ((pte & KVM_PTE_LEAF_ATTR_LO_S2_MEMATTR) !=
	    PAGE_S2_MEMATTR(NORMAL, fwb))
		return;
	kvm_s2_maintain(tdp_pte_pfn(fmt, pte), tdp_span(fmt, level),
			KVM_S2_DCACHE | what);
}

/*
 * A guest that writes past the caches leaves lines there that CPUs have fetched
 * before.  They are clean, but who does I/O with the page next must not find them.
 * The page is the guest's until the notifier that takes it away returns.
 */
void tdp_maintain_unmapped(const struct tdp_pgtable *pgt, u64 pte, int level)
{
	kvm_s2_clean_leaf(pgt->fmt, pte, level, KVM_S2_UNMAPPED);
}

/**
 * kvm_s2_clean_range() - Clean what the guest has mapped out of data caches
 * @mmu: the stage 2
 * @start: first gfn
 * @end: first gfn behind
 *
 * Context: mmu_lock held for read; yields.
 */
void kvm_s2_clean_range(struct kvm_s2_mmu *mmu, gfn_t start, gfn_t end)
{
	struct kvm_s2_tdp *s2 = mmu->tdp;
	struct kvm_tdp_walk walk;
	struct tdp_iter *iter = &walk.iter;

	kvm_tdp_walk_init(&walk, TDP_SHARED, true);
	for_each_kvm_tdp_pte(&walk, &s2->root, start, end, 1) {
		switch (tdp_iter_kind(iter)) {
		case TDP_NONE:
		case TDP_ANNOTATED:
		case TDP_TABLE:
			break;
		case TDP_FROZEN:
			tdp_iter_restart(iter);
			break;
		case TDP_LEAF:
			/* Its vCPUs are gone, and so may be its pages. */
			if (s2->root.invalid)
				break;
			if (kvm_tdp_walk_hold_pages(&walk)) {
				tdp_iter_restart(iter);
				break;
			}
			kvm_s2_clean_leaf(&s2->fmt, iter->old, iter->level, 0);
			break;
		}
	}
}

/**
 * kvm_s2_get_leaf() - Read the leaf that maps an address
 * @mmu: the stage 2
 * @ipa: the address
 * @pte: out: the leaf
 *
 * Return: false if nothing is mapped there.
 *
 * Context: Any.
 */
bool kvm_s2_get_leaf(struct kvm_s2_mmu *mmu, phys_addr_t ipa, u64 *pte)
{
	tdp_pte_t ptes[TDP_MAX_LEVELS + 1];
	int level;

	level = kvm_tdp_get_walk(&mmu->tdp->root, gpa_to_gfn(ipa), ptes);
	if (level < 0 ||
	    tdp_pte_kind(&mmu->tdp->fmt, ptes[level], level) != TDP_LEAF)
		return false;

	*pte = ptes[level];
	return true;
}
