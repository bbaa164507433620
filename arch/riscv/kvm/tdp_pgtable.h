/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_RISCV_TDP_PGTABLE_H
#define __KVM_RISCV_TDP_PGTABLE_H

/*
 * The format of RISC-V's G-stage page tables: Sv39x4, Sv48x4 and Sv57x4 (The
 * RISC-V Instruction Set Manual, volume II, "Two-Stage Address Translation").
 * Entries are those of the S-stage, 512 in a table but 2048 in the root.  What
 * tells a leaf from a table is whether it has any of R, W and X, whatever its
 * level.
 *
 * Without Svadu, or where KVM leaves it disabled, hardware does not set A and D
 * but faults: on any access if A is clear, and on a write if D is.  So A is the
 * permission that an old leaf gives up.  D would be a second write permission,
 * for which there is no use: whatever is made writable is dirty, and stays so.
 *
 * Pure: see virt/kvm/mmu/tdp_contract.h.  arch/riscv/kvm/tdp_fmt.c checks the
 * constants against the architecture's.
 */

typedef u64 tdp_pte_t;

#define RISCV_TDP_LEVEL_BITS		9
/* By how many the index of a root's entry is wider. */
#define RISCV_TDP_ROOT_EXTRA_BITS	2
/*
 * Any entry can be a leaf, but the primary MMU maps nothing larger: neither does
 * KVM.
 */
#define RISCV_TDP_MAX_LEAF_LEVEL	3

#define RISCV_TDP_VALID			BIT_ULL(0)
#define RISCV_TDP_READ			BIT_ULL(1)
#define RISCV_TDP_WRITE			BIT_ULL(2)
#define RISCV_TDP_EXEC			BIT_ULL(3)
/* All guest accesses are user accesses to the G-stage. */
#define RISCV_TDP_USER			BIT_ULL(4)
#define RISCV_TDP_ACCESSED		BIT_ULL(6)
#define RISCV_TDP_DIRTY			BIT_ULL(7)
/* The two bits that hardware leaves to software; not used in tables. */
#define RISCV_TDP_HOST_WRITE		BIT_ULL(8)
#define RISCV_TDP_MMU_WRITE		BIT_ULL(9)
#define RISCV_TDP_SOFT			(RISCV_TDP_HOST_WRITE | \
					 RISCV_TDP_MMU_WRITE)
#define RISCV_TDP_LEAF			(RISCV_TDP_READ | RISCV_TDP_WRITE | \
					 RISCV_TDP_EXEC)
#define RISCV_TDP_PFN			(((1ull << 44) - 1) << 10)
#define RISCV_TDP_PFN_SHIFT		10
#define RISCV_TDP_PAGE_SHIFT		12

/* Without VALID, no other bit means anything to hardware. */
#define RISCV_TDP_NONE			0ull
#define RISCV_TDP_FROZEN		RISCV_TDP_SOFT

/**
 * struct tdp_fmt - what is known at run time of a G-stage root's entries
 * @leaf_attr: attribute bits of leaves (memory type, with Svpbmt)
 * @end_gfn: first gfn that cannot be mapped
 * @root_level: number of levels
 * @hw_ad: hardware sets A and D in the G-stage, on all harts; what guests are told
 *	   of Svadu, and henvcfg.ADUE, is about their own tables
 */
struct tdp_fmt {
	u64 leaf_attr;
	gfn_t end_gfn;
	u8 root_level;
	bool hw_ad;
};

static inline int riscv_tdp_fmt_root_level(const struct tdp_fmt *fmt)
{
	return fmt->root_level;
}

#define tdp_fmt_root_level riscv_tdp_fmt_root_level

static inline unsigned int riscv_tdp_fmt_level_shift(const struct tdp_fmt *fmt,
						     int level)
{
	return (level - 1) * RISCV_TDP_LEVEL_BITS;
}

#define tdp_fmt_level_shift riscv_tdp_fmt_level_shift

static inline unsigned int riscv_tdp_fmt_nr_entries(const struct tdp_fmt *fmt,
						    int level)
{
	unsigned int bits = RISCV_TDP_LEVEL_BITS;

	if (level == fmt->root_level)
		bits += RISCV_TDP_ROOT_EXTRA_BITS;
	return 1u << bits;
}

#define tdp_fmt_nr_entries riscv_tdp_fmt_nr_entries

static inline bool riscv_tdp_fmt_leaf_allowed(const struct tdp_fmt *fmt,
					      int level)
{
	return level <= RISCV_TDP_MAX_LEAF_LEVEL;
}

#define tdp_fmt_leaf_allowed riscv_tdp_fmt_leaf_allowed

static inline gfn_t riscv_tdp_fmt_end_gfn(const struct tdp_fmt *fmt)
{
	return fmt->end_gfn;
}

#define tdp_fmt_end_gfn riscv_tdp_fmt_end_gfn

static inline tdp_pte_t riscv_tdp_pte_none(const struct tdp_fmt *fmt)
{
	return RISCV_TDP_NONE;
}

#define tdp_pte_none riscv_tdp_pte_none

static inline tdp_pte_t riscv_tdp_pte_frozen(const struct tdp_fmt *fmt)
{
	return RISCV_TDP_FROZEN;
}

#define tdp_pte_frozen riscv_tdp_pte_frozen

static inline enum tdp_kind riscv_tdp_pte_kind(const struct tdp_fmt *fmt,
					       tdp_pte_t pte, int level)
{
	if (pte & RISCV_TDP_VALID)
		return pte & RISCV_TDP_LEAF ? TDP_LEAF : TDP_TABLE;
	if (pte == RISCV_TDP_NONE)
		return TDP_NONE;
	return pte == RISCV_TDP_FROZEN ? TDP_FROZEN : TDP_ANNOTATED;
}

#define tdp_pte_kind riscv_tdp_pte_kind

/* A, D and U are reserved in tables, so there is no accessed bit to set. */
static inline tdp_pte_t riscv_tdp_pte_make_table(const struct tdp_fmt *fmt,
						 u64 phys, u64 attr)
{
	return (phys >> RISCV_TDP_PAGE_SHIFT << RISCV_TDP_PFN_SHIFT) |
	       RISCV_TDP_VALID | attr;
}

#define tdp_pte_make_table riscv_tdp_pte_make_table

static inline kvm_pfn_t riscv_tdp_pte_pfn(const struct tdp_fmt *fmt,
					  tdp_pte_t pte)
{
	return (pte & RISCV_TDP_PFN) >> RISCV_TDP_PFN_SHIFT;
}

#define tdp_pte_pfn riscv_tdp_pte_pfn

static inline bool riscv_tdp_pte_alike(const struct tdp_fmt *fmt,
				       tdp_pte_t leaf, tdp_pte_t pte)
{
	return !((leaf ^ pte) & ~RISCV_TDP_PFN);
}

#define tdp_pte_alike riscv_tdp_pte_alike

static inline u64 riscv_tdp_pte_table_phys(const struct tdp_fmt *fmt,
					   tdp_pte_t pte)
{
	return riscv_tdp_pte_pfn(fmt, pte) << RISCV_TDP_PAGE_SHIFT;
}

#define tdp_pte_table_phys riscv_tdp_pte_table_phys

/* Where hardware does not set D it means nothing without W, and goes with it. */
static inline tdp_pte_t riscv_tdp_pte_wrprot(const struct tdp_fmt *fmt,
					     tdp_pte_t pte)
{
	pte &= ~RISCV_TDP_WRITE;
	return fmt->hw_ad ? pte : pte & ~RISCV_TDP_DIRTY;
}

/*
 * Where an old leaf faults W goes with A, and comes back by a write only: a leaf
 * with W is one that the guest can write to.
 */
static inline tdp_pte_t riscv_tdp_pte_mkold(const struct tdp_fmt *fmt,
					    tdp_pte_t pte)
{
	pte &= ~RISCV_TDP_ACCESSED;
	return fmt->hw_ad ? pte : riscv_tdp_pte_wrprot(fmt, pte);
}

#define tdp_pte_mkold riscv_tdp_pte_mkold

static inline tdp_pte_t riscv_tdp_pte_mkyoung(const struct tdp_fmt *fmt,
					      tdp_pte_t pte)
{
	return pte | RISCV_TDP_ACCESSED;
}

#define tdp_pte_mkyoung riscv_tdp_pte_mkyoung

static inline tdp_pte_t riscv_tdp_pte_make_leaf(const struct tdp_fmt *fmt,
						kvm_pfn_t pfn, int level,
						unsigned int flags, u64 attr)
{
	tdp_pte_t pte = (pfn << RISCV_TDP_PFN_SHIFT) | RISCV_TDP_VALID |
			RISCV_TDP_READ | RISCV_TDP_USER | attr;

	if (flags & TDP_EXEC)
		pte |= RISCV_TDP_EXEC;
	if (flags & TDP_HOST_WRITE)
		pte |= RISCV_TDP_HOST_WRITE;
	if (flags & TDP_WRITE)
		pte |= RISCV_TDP_WRITE | RISCV_TDP_DIRTY | RISCV_TDP_MMU_WRITE;
	if (flags & TDP_YOUNG)
		return riscv_tdp_pte_mkyoung(fmt, pte);
	return riscv_tdp_pte_mkold(fmt, pte);
}

#define tdp_pte_make_leaf riscv_tdp_pte_make_leaf

static inline tdp_pte_t riscv_tdp_pte_split_child(const struct tdp_fmt *fmt,
						  tdp_pte_t huge, int level,
						  unsigned int index)
{
	return huge | (u64)index << (riscv_tdp_fmt_level_shift(fmt, level - 1) +
				     RISCV_TDP_PFN_SHIFT);
}

#define tdp_pte_split_child riscv_tdp_pte_split_child

static inline tdp_pte_t riscv_tdp_pte_make_block(const struct tdp_fmt *fmt,
						 tdp_pte_t part, int level,
						 unsigned int flags)
{
	kvm_pfn_t pfn = riscv_tdp_pte_pfn(fmt, part);

	pfn &= ~((1ull << riscv_tdp_fmt_level_shift(fmt, level)) - 1);
	return riscv_tdp_pte_make_leaf(fmt, pfn, level, flags,
				       part & fmt->leaf_attr);
}

#define tdp_pte_make_block riscv_tdp_pte_make_block

static inline bool riscv_tdp_pte_writable(const struct tdp_fmt *fmt,
					  tdp_pte_t pte)
{
	return pte & RISCV_TDP_WRITE;
}

#define tdp_pte_writable riscv_tdp_pte_writable

static inline bool riscv_tdp_pte_host_writable(const struct tdp_fmt *fmt,
					       tdp_pte_t pte)
{
	return pte & RISCV_TDP_HOST_WRITE;
}

#define tdp_pte_host_writable riscv_tdp_pte_host_writable

/* Only a leaf that the host lets be writable has MMU_WRITE. */
static inline bool riscv_tdp_pte_may_mkwrite(const struct tdp_fmt *fmt,
					     tdp_pte_t pte)
{
	return pte & RISCV_TDP_MMU_WRITE;
}

#define tdp_pte_may_mkwrite riscv_tdp_pte_may_mkwrite

static inline tdp_pte_t riscv_tdp_pte_mkwrite(const struct tdp_fmt *fmt,
					      tdp_pte_t pte)
{
	return riscv_tdp_pte_mkyoung(fmt, pte) | RISCV_TDP_WRITE |
	       RISCV_TDP_DIRTY;
}

#define tdp_pte_mkwrite riscv_tdp_pte_mkwrite

static inline bool riscv_tdp_pte_executable(const struct tdp_fmt *fmt,
					    tdp_pte_t pte)
{
	return pte & RISCV_TDP_EXEC;
}

#define tdp_pte_executable riscv_tdp_pte_executable

static inline tdp_pte_t riscv_tdp_pte_mkexec(const struct tdp_fmt *fmt,
					     tdp_pte_t pte)
{
	return pte | RISCV_TDP_EXEC;
}

#define tdp_pte_mkexec riscv_tdp_pte_mkexec

static inline bool riscv_tdp_pte_young(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return pte & RISCV_TDP_ACCESSED;
}

#define tdp_pte_young riscv_tdp_pte_young

static inline bool riscv_tdp_pte_allows(const struct tdp_fmt *fmt,
					tdp_pte_t pte, unsigned int access)
{
	if (!fmt->hw_ad && !riscv_tdp_pte_young(fmt, pte))
		return false;
	if ((access & TDP_WRITE) && !riscv_tdp_pte_writable(fmt, pte))
		return false;
	return !(access & TDP_EXEC) || riscv_tdp_pte_executable(fmt, pte);
}

#define tdp_pte_allows riscv_tdp_pte_allows

static inline tdp_pte_t riscv_tdp_pte_log_writes(const struct tdp_fmt *fmt,
						 tdp_pte_t pte, int level)
{
	return riscv_tdp_pte_wrprot(fmt, pte);
}

#define tdp_pte_log_writes riscv_tdp_pte_log_writes

static inline tdp_pte_t riscv_tdp_pte_wrprot_tracked(const struct tdp_fmt *fmt,
						     tdp_pte_t pte)
{
	return riscv_tdp_pte_wrprot(fmt, pte) & ~RISCV_TDP_MMU_WRITE;
}

#define tdp_pte_wrprot_tracked riscv_tdp_pte_wrprot_tracked

/*
 * Hardware or, where it does not set A, a lockless fault makes an old leaf
 * young; a lockless write fault gives W back.  No bit of a table changes, and D
 * is set together with W.
 */
static inline bool riscv_tdp_pte_volatile(const struct tdp_fmt *fmt,
					  tdp_pte_t pte, int level)
{
	if (riscv_tdp_pte_kind(fmt, pte, level) != TDP_LEAF)
		return false;
	if ((pte & RISCV_TDP_MMU_WRITE) && !(pte & RISCV_TDP_WRITE))
		return true;
	return !(pte & RISCV_TDP_ACCESSED);
}

#define tdp_pte_volatile riscv_tdp_pte_volatile

/*
 * MMU_WRITE counts although hardware ignores it: a leaf with it may have been
 * write-protected without a flush, i.e. may still be cached writable.
 *
 * A copy that is cached with D or, where it is set, with A keeps hardware from
 * setting it again.  That nobody waits for A to be set is the contract's choice;
 * where hardware does not set it, it is a permission.
 */
static inline bool riscv_tdp_pte_downgrades(const struct tdp_fmt *fmt,
					    tdp_pte_t old, tdp_pte_t new)
{
	u64 allows = RISCV_TDP_LEAF | RISCV_TDP_MMU_WRITE;

	allows |= fmt->hw_ad ? RISCV_TDP_DIRTY : RISCV_TDP_ACCESSED;
	return old & ~new & allows;
}

#define tdp_pte_downgrades riscv_tdp_pte_downgrades

/*
 * W takes what KVM and the host allow, and finds set what hardware would have to
 * set, or fault for, otherwise.
 */
static inline bool riscv_tdp_pte_consistent(const struct tdp_fmt *fmt,
					    tdp_pte_t pte, int level)
{
	u64 needs = 0;

	if (riscv_tdp_pte_kind(fmt, pte, level) != TDP_LEAF)
		return true;
	if (pte & RISCV_TDP_WRITE)
		needs |= RISCV_TDP_DIRTY | RISCV_TDP_MMU_WRITE |
			 (fmt->hw_ad ? 0 : RISCV_TDP_ACCESSED);
	if (pte & (RISCV_TDP_WRITE | RISCV_TDP_MMU_WRITE))
		needs |= RISCV_TDP_HOST_WRITE;
	return (pte & needs) == needs;
}

#define tdp_pte_consistent riscv_tdp_pte_consistent

#endif /* __KVM_RISCV_TDP_PGTABLE_H */
