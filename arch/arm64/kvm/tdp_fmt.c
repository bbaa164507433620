// SPDX-License-Identifier: GPL-2.0-only
/*
 * The format header cannot include these, so check its constants here.
 */
#include <mmu/tdp_format.h>

#include <asm/kvm_arm.h>
#include <asm/kvm_pgtable.h>

static_assert(sizeof(tdp_pte_t) == sizeof(kvm_pte_t));
static_assert(sizeof(tdp_pte_t) << ARM64_TDP_LEVEL_BITS == PAGE_SIZE);
static_assert(TDP_MAX_LEVELS >=
	      KVM_PGTABLE_LAST_LEVEL - KVM_PGTABLE_FIRST_LEVEL + 1);
static_assert(ARM64_TDP_VALID == KVM_PTE_VALID);
static_assert(ARM64_TDP_S2AP_R == KVM_PTE_LEAF_ATTR_LO_S2_S2AP_R);
static_assert(ARM64_TDP_S2AP_W == KVM_PTE_LEAF_ATTR_LO_S2_S2AP_W);
static_assert(ARM64_TDP_AF == KVM_PTE_LEAF_ATTR_LO_S2_AF);
static_assert(ARM64_TDP_XN == KVM_PTE_LEAF_ATTR_HI_S2_XN);
static_assert(ARM64_TDP_BROKEN == KVM_INVALID_PTE_LOCKED);

/* What KVM keeps in a leaf lies where hardware lets it. */
static_assert(!((ARM64_TDP_HOST_WRITE | ARM64_TDP_MMU_WRITE |
		 ARM64_TDP_SLOTLESS) & ~KVM_PTE_LEAF_ATTR_HI_SW));

/* Annotations of owners are neither of what belongs to nobody. */
static_assert(!((ARM64_TDP_BROKEN | ARM64_TDP_FROZEN) &
		KVM_INVALID_PTE_OWNER_MASK));
