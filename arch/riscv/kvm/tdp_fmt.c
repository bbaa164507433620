// SPDX-License-Identifier: GPL-2.0-only
/*
 * The TDP page-table format, checked against the architecture's definitions,
 * which the format's header cannot include.
 */
#include <linux/build_bug.h>
#include <linux/pgtable.h>

#include <asm/csr.h>

#include <mmu/tdp_format.h>

static_assert(BIT(RISCV_TDP_LEVEL_BITS) == PTRS_PER_PTE);
static_assert(sizeof(tdp_pte_t) == sizeof(pte_t));
static_assert(RISCV_TDP_PAGE_SHIFT == PAGE_SHIFT);
static_assert(RISCV_TDP_PAGE_SHIFT == HGATP_PAGE_SHIFT);
static_assert(RISCV_TDP_PAGE_SHIFT +
	      (RISCV_TDP_MAX_LEAF_LEVEL - 1) * RISCV_TDP_LEVEL_BITS == PUD_SHIFT);
/* Sv57x4. */
static_assert(TDP_MAX_LEVELS >= 5);

static_assert(RISCV_TDP_VALID == _PAGE_PRESENT);
static_assert(RISCV_TDP_VALID == _PAGE_TABLE);
static_assert(RISCV_TDP_READ == _PAGE_READ);
static_assert(RISCV_TDP_WRITE == _PAGE_WRITE);
static_assert(RISCV_TDP_EXEC == _PAGE_EXEC);
static_assert(RISCV_TDP_LEAF == _PAGE_LEAF);
static_assert(RISCV_TDP_USER == _PAGE_USER);
static_assert(RISCV_TDP_ACCESSED == _PAGE_ACCESSED);
static_assert(RISCV_TDP_DIRTY == _PAGE_DIRTY);
static_assert(RISCV_TDP_SOFT == _PAGE_SOFT);
static_assert(RISCV_TDP_PFN == _PAGE_PFN_MASK);
static_assert(RISCV_TDP_PFN_SHIFT == _PAGE_PFN_SHIFT);
