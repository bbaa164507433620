// SPDX-License-Identifier: GPL-2.0-only
/*
 * The TDP formats that this host uses: that of shadow pages, which depends on
 * the vendor module, the CPU and module parameters, and what roots add.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <mmu/tdp_format.h>

#include "mmu.h"
#include "mmu_internal.h"
#include "spte.h"
#include "tdp_fmt.h"

/* The format header cannot include these, so check its constants here. */
static_assert(X86_TDP_NR_ENTRIES * sizeof(tdp_pte_t) == PAGE_SIZE);
static_assert(X86_TDP_MAX_LEAF_LEVEL == KVM_MAX_HUGEPAGE_LEVEL);
static_assert(TDP_MAX_LEVELS >= PT64_ROOT_MAX_LEVEL);
static_assert(X86_TDP_WRITE == PT_WRITABLE_MASK);
static_assert(X86_TDP_WRITE == VMX_EPT_WRITABLE_MASK);
static_assert(X86_TDP_HUGE == PT_PAGE_SIZE_MASK);
static_assert(X86_TDP_PAGE_SHIFT == PAGE_SHIFT);
static_assert(X86_TDP_SAVED_BITS ==
	      (VMX_EPT_READABLE_MASK | VMX_EPT_EXECUTABLE_MASK));

/* By whether there are 5 levels, and whether writes must be caught by W. */
static struct tdp_fmt x86_tdp_fmts[2][2] __read_mostly;

static void x86_tdp_init_fmt(struct tdp_fmt *fmt, int root_level,
			     bool wrprot_only)
{
	gfn_t reach = 1ull << (root_level * X86_TDP_LEVEL_BITS);

	*fmt = shadow_fmt;
	fmt->leaf_attr = shadow_memtype_mask | shadow_me_mask;
	fmt->end_gfn = min(kvm_mmu_max_gfn() + 1, reach);
	fmt->root_level = root_level;

	if (!kvm_ad_enabled())
		fmt->ad_type = X86_TDP_AD_DISABLED;
	else if (wrprot_only)
		fmt->ad_type = X86_TDP_AD_WRPROT_ONLY;
	else
		fmt->ad_type = X86_TDP_AD_ENABLED;
	fmt->hw_log = fmt->ad_type == X86_TDP_AD_ENABLED &&
		      kvm_x86_ops.cpu_dirty_log_size;
}

/**
 * kvm_mmu_init_tdp_formats() - Take over what the vendor module chose
 *
 * Context: After the vendor module's hardware setup and before the first VM.
 */
void kvm_mmu_init_tdp_formats(void)
{
	int five, wrprot_only;

	for (five = 0; five < 2; five++) {
		for (wrprot_only = 0; wrprot_only < 2; wrprot_only++)
			x86_tdp_init_fmt(&x86_tdp_fmts[five][wrprot_only],
					 five ? PT64_ROOT_5LEVEL :
						PT64_ROOT_4LEVEL,
					 wrprot_only);
	}
}

/**
 * kvm_mmu_tdp_format() - The format of a root
 * @role: the root's role
 *
 * Return: the format; valid until the vendor module is unloaded.
 */
const struct tdp_fmt *kvm_mmu_tdp_format(union kvm_mmu_page_role role)
{
	/* L2's writes are logged for L1: see kvm_mmu_page_ad_need_write_protect(). */
	bool wrprot_only = kvm_x86_ops.cpu_dirty_log_size && role.guest_mode;

	return &x86_tdp_fmts[role.level == PT64_ROOT_5LEVEL][wrprot_only];
}
