/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_ARM64_TDP_PGTABLE_H
#define __KVM_ARM64_TDP_PGTABLE_H

/*
 * The format of arm64's stage 2 tables (Arm ARM, D8.3 "Translation table
 * descriptor formats"), for granules of 4K, 16K and 64K: that of the host, since
 * gfns are in host pages.  A table fills a page.  The root can have fewer
 * entries, or up to 16 tables side by side.
 *
 * The architecture counts levels the other way round: its level 3 is level 1
 * here, its level -1 would be level 5.
 *
 * Pure: see virt/kvm/mmu/tdp_contract.h.  PAGE_SHIFT comes from whoever includes
 * this file; arch/arm64/kvm/tdp_fmt.c checks the constants against the
 * architecture's.
 */

typedef u64 tdp_pte_t;

/* An entry takes 8 bytes of a page. */
#define ARM64_TDP_LEVEL_BITS	(PAGE_SHIFT - 3)

#define ARM64_TDP_VALID		BIT_ULL(0)
/* A table above level 1, and a page at level 1; else a block. */
#define ARM64_TDP_TYPE		BIT_ULL(1)
#define ARM64_TDP_S2AP_R	BIT_ULL(6)
#define ARM64_TDP_S2AP_W	BIT_ULL(7)
#define ARM64_TDP_AF		BIT_ULL(10)
/* With FEAT_XNX the upper one of two bits: nobody may execute. */
#define ARM64_TDP_XN		BIT_ULL(54)

/*
 * Ignored by hardware.  55 and 56 are nested virtualization's level hint, in the
 * stage 2s that shadow a guest's.
 */
#define ARM64_TDP_SLOTLESS	BIT_ULL(56)
#define ARM64_TDP_HOST_WRITE	BIT_ULL(57)
#define ARM64_TDP_MMU_WRITE	BIT_ULL(58)

/*
 * Not valid, so not cached, whatever the other bits say.  The hypervisor's own
 * tables mark their locked entries with the same bit.
 */
#define ARM64_TDP_NONE		0ull
#define ARM64_TDP_BROKEN	BIT_ULL(10)
#define ARM64_TDP_FROZEN	BIT_ULL(11)

/* Bounds the flush, and the stack that a walk takes. */
#define TDP_MAX_BROKEN		16

/**
 * struct tdp_fmt - what is known at run time of a stage 2
 * @end_gfn: first gfn that cannot be mapped, from the size of the IPA space
 * @leaf_attr: attribute bits of leaves: memory type, and shareability unless it
 *	       is @lpa2, which has it in a register
 * @slotless: a bit that marks leaves which no memslot backs; 0 where nested
 *	      virtualization's level hint takes it
 * @root_level: number of levels
 * @root_bits: base 2 logarithm of the number of entries of the root
 * @max_leaf: highest level of leaves
 * @lpa2: 4K or 16K granule with 52-bit addresses
 * @hw_af: hardware sets the access flag, on all CPUs that there can be (VTCR_EL2.HA
 *	   can be set where only some do); false is right in any case
 * @free_size: what is mapped may become smaller or larger without a break.  Only
 *	       where all CPUs are known to raise no conflict abort, and never to
 *	       merge old and new: FEAT_BBM level 2 promises the second only.
 * @clean_unmapped: guests can use memory without caches (no FEAT_S2FWB), so that
 *		    clean lines, older than what is in memory, can be left of it
 */
struct tdp_fmt {
	gfn_t end_gfn;
	u64 leaf_attr;
	u64 slotless;
	u8 root_level;
	u8 root_bits;
	u8 max_leaf;
	bool lpa2;
	bool hw_af;
	bool free_size;
	bool clean_unmapped;
};

static inline int arm64_tdp_fmt_root_level(const struct tdp_fmt *fmt)
{
	return fmt->root_level;
}

#define tdp_fmt_root_level arm64_tdp_fmt_root_level

static inline unsigned int arm64_tdp_fmt_level_shift(const struct tdp_fmt *fmt,
						     int level)
{
	return (level - 1) * ARM64_TDP_LEVEL_BITS;
}

#define tdp_fmt_level_shift arm64_tdp_fmt_level_shift

static inline unsigned int arm64_tdp_fmt_nr_entries(const struct tdp_fmt *fmt,
						    int level)
{
	return 1u << (level == fmt->root_level ? fmt->root_bits :
						 ARM64_TDP_LEVEL_BITS);
}

#define tdp_fmt_nr_entries arm64_tdp_fmt_nr_entries

static inline bool arm64_tdp_fmt_leaf_allowed(const struct tdp_fmt *fmt,
					      int level)
{
	return level <= fmt->max_leaf;
}

#define tdp_fmt_leaf_allowed arm64_tdp_fmt_leaf_allowed

static inline gfn_t arm64_tdp_fmt_end_gfn(const struct tdp_fmt *fmt)
{
	return fmt->end_gfn;
}

#define tdp_fmt_end_gfn arm64_tdp_fmt_end_gfn

/*
 * The upper bits of addresses of 52 bits are where an entry has room: 51:48 in
 * 15:12 with 64K pages, 51:50 in 9:8 with smaller ones.
 */
static inline u64 arm64_tdp_addr_mask(const struct tdp_fmt *fmt)
{
	if (PAGE_SHIFT == 16)
		return GENMASK_ULL(47, 12);
	return fmt->lpa2 ? GENMASK_ULL(49, PAGE_SHIFT) | GENMASK_ULL(9, 8) :
			   GENMASK_ULL(47, PAGE_SHIFT);
}

static inline u64 arm64_tdp_phys_to_addr(const struct tdp_fmt *fmt, u64 phys)
{
	if (PAGE_SHIFT == 16)
		phys |= phys >> 48 << 12;
	else if (fmt->lpa2)
		phys |= phys >> 50 << 8;
	return phys & arm64_tdp_addr_mask(fmt);
}

static inline u64 arm64_tdp_addr_to_phys(const struct tdp_fmt *fmt,
					 tdp_pte_t pte)
{
	u64 addr = pte & arm64_tdp_addr_mask(fmt);
	u64 low = addr & (BIT_ULL(PAGE_SHIFT) - 1);

	if (PAGE_SHIFT == 16)
		return (addr ^ low) | low >> 12 << 48;
	return (addr ^ low) | low >> 8 << 50;
}

static inline bool arm64_tdp_fmt_maintains_unmapped(const struct tdp_fmt *fmt)
{
	return fmt->clean_unmapped;
}

#define tdp_fmt_maintains_unmapped arm64_tdp_fmt_maintains_unmapped

static inline tdp_pte_t arm64_tdp_pte_none(const struct tdp_fmt *fmt)
{
	return ARM64_TDP_NONE;
}

#define tdp_pte_none arm64_tdp_pte_none

static inline tdp_pte_t arm64_tdp_pte_frozen(const struct tdp_fmt *fmt)
{
	return ARM64_TDP_FROZEN;
}

#define tdp_pte_frozen arm64_tdp_pte_frozen

static inline tdp_pte_t arm64_tdp_pte_broken(const struct tdp_fmt *fmt)
{
	return ARM64_TDP_BROKEN;
}

#define tdp_pte_broken arm64_tdp_pte_broken

static inline enum tdp_kind arm64_tdp_pte_kind(const struct tdp_fmt *fmt,
					       tdp_pte_t pte, int level)
{
	if (pte & ARM64_TDP_VALID)
		return level > 1 && (pte & ARM64_TDP_TYPE) ? TDP_TABLE :
							     TDP_LEAF;
	if (pte == ARM64_TDP_NONE)
		return TDP_NONE;
	if (pte == ARM64_TDP_FROZEN || pte == ARM64_TDP_BROKEN)
		return TDP_FROZEN;
	return TDP_ANNOTATED;
}

#define tdp_pte_kind arm64_tdp_pte_kind

/* Stage 2 has neither permissions nor, as KVM sets it up, a flag of tables. */
static inline tdp_pte_t arm64_tdp_pte_make_table(const struct tdp_fmt *fmt,
						 u64 phys, u64 attr)
{
	return arm64_tdp_phys_to_addr(fmt, phys) | ARM64_TDP_VALID |
	       ARM64_TDP_TYPE | attr;
}

#define tdp_pte_make_table arm64_tdp_pte_make_table

static inline u64 arm64_tdp_pte_table_phys(const struct tdp_fmt *fmt,
					   tdp_pte_t pte)
{
	return arm64_tdp_addr_to_phys(fmt, pte);
}

#define tdp_pte_table_phys arm64_tdp_pte_table_phys

static inline tdp_pte_t arm64_tdp_pte_make_leaf(const struct tdp_fmt *fmt,
						kvm_pfn_t pfn, int level,
						unsigned int flags, u64 attr)
{
	tdp_pte_t pte = arm64_tdp_phys_to_addr(fmt, pfn << PAGE_SHIFT) |
			ARM64_TDP_VALID | ARM64_TDP_S2AP_R | attr;

	if (level == 1)
		pte |= ARM64_TDP_TYPE;
	if (!(flags & TDP_EXEC))
		pte |= ARM64_TDP_XN;
	if (flags & TDP_WRITE)
		pte |= ARM64_TDP_S2AP_W | ARM64_TDP_MMU_WRITE;
	if (flags & TDP_HOST_WRITE)
		pte |= ARM64_TDP_HOST_WRITE;
	if (flags & TDP_YOUNG)
		pte |= ARM64_TDP_AF;
	return pte;
}

#define tdp_pte_make_leaf arm64_tdp_pte_make_leaf

static inline kvm_pfn_t arm64_tdp_pte_pfn(const struct tdp_fmt *fmt,
					  tdp_pte_t pte)
{
	return arm64_tdp_addr_to_phys(fmt, pte) >> PAGE_SHIFT;
}

#define tdp_pte_pfn arm64_tdp_pte_pfn

static inline bool arm64_tdp_pte_alike(const struct tdp_fmt *fmt,
				       tdp_pte_t leaf, tdp_pte_t pte)
{
	return !((leaf ^ pte) & ~arm64_tdp_addr_mask(fmt));
}

#define tdp_pte_alike arm64_tdp_pte_alike

static inline tdp_pte_t arm64_tdp_pte_split_child(const struct tdp_fmt *fmt,
						  tdp_pte_t huge, int level,
						  unsigned int index)
{
	unsigned int shift = arm64_tdp_fmt_level_shift(fmt, level - 1);
	u64 phys = arm64_tdp_addr_to_phys(fmt, huge);

	phys += (u64)index << (shift + PAGE_SHIFT);
	huge &= ~arm64_tdp_addr_mask(fmt);
	if (level == 2)
		huge |= ARM64_TDP_TYPE;
	return huge | arm64_tdp_phys_to_addr(fmt, phys);
}

#define tdp_pte_split_child arm64_tdp_pte_split_child

static inline tdp_pte_t arm64_tdp_pte_make_block(const struct tdp_fmt *fmt,
						 tdp_pte_t part, int level,
						 unsigned int flags)
{
	unsigned int shift = arm64_tdp_fmt_level_shift(fmt, level);
	kvm_pfn_t pfn = arm64_tdp_pte_pfn(fmt, part);

	return arm64_tdp_pte_make_leaf(fmt, pfn >> shift << shift, level, flags,
				       part & fmt->leaf_attr);
}

#define tdp_pte_make_block arm64_tdp_pte_make_block

static inline bool arm64_tdp_pte_writable(const struct tdp_fmt *fmt,
					  tdp_pte_t pte)
{
	return pte & ARM64_TDP_S2AP_W;
}

#define tdp_pte_writable arm64_tdp_pte_writable

static inline bool arm64_tdp_pte_host_writable(const struct tdp_fmt *fmt,
					       tdp_pte_t pte)
{
	return pte & ARM64_TDP_HOST_WRITE;
}

#define tdp_pte_host_writable arm64_tdp_pte_host_writable

static inline bool arm64_tdp_pte_slotless(const struct tdp_fmt *fmt,
					  tdp_pte_t pte)
{
	return pte & fmt->slotless;
}

#define tdp_pte_slotless arm64_tdp_pte_slotless

static inline bool arm64_tdp_pte_executable(const struct tdp_fmt *fmt,
					    tdp_pte_t pte)
{
	return !(pte & ARM64_TDP_XN);
}

#define tdp_pte_executable arm64_tdp_pte_executable

static inline tdp_pte_t arm64_tdp_pte_mkexec(const struct tdp_fmt *fmt,
					     tdp_pte_t pte)
{
	return pte & ~ARM64_TDP_XN;
}

#define tdp_pte_mkexec arm64_tdp_pte_mkexec

static inline bool arm64_tdp_pte_allows(const struct tdp_fmt *fmt,
					tdp_pte_t pte, unsigned int access)
{
	if (!fmt->hw_af && !(pte & ARM64_TDP_AF))
		return false;
	if ((access & TDP_WRITE) && !(pte & ARM64_TDP_S2AP_W))
		return false;
	return !(access & TDP_EXEC) || !(pte & ARM64_TDP_XN);
}

#define tdp_pte_allows arm64_tdp_pte_allows

static inline bool arm64_tdp_pte_may_mkwrite(const struct tdp_fmt *fmt,
					     tdp_pte_t pte)
{
	return pte & ARM64_TDP_MMU_WRITE;
}

#define tdp_pte_may_mkwrite arm64_tdp_pte_may_mkwrite

static inline tdp_pte_t arm64_tdp_pte_mkwrite(const struct tdp_fmt *fmt,
					      tdp_pte_t pte)
{
	return pte | ARM64_TDP_AF | ARM64_TDP_S2AP_W;
}

#define tdp_pte_mkwrite arm64_tdp_pte_mkwrite

static inline bool arm64_tdp_pte_young(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return pte & ARM64_TDP_AF;
}

#define tdp_pte_young arm64_tdp_pte_young

static inline tdp_pte_t arm64_tdp_pte_mkyoung(const struct tdp_fmt *fmt,
					      tdp_pte_t pte)
{
	return pte | ARM64_TDP_AF;
}

#define tdp_pte_mkyoung arm64_tdp_pte_mkyoung

static inline tdp_pte_t arm64_tdp_pte_mkold(const struct tdp_fmt *fmt,
					    tdp_pte_t pte)
{
	return pte & ~ARM64_TDP_AF;
}

#define tdp_pte_mkold arm64_tdp_pte_mkold

static inline tdp_pte_t arm64_tdp_pte_log_writes(const struct tdp_fmt *fmt,
						 tdp_pte_t pte, int level)
{
	return pte & ~ARM64_TDP_S2AP_W;
}

#define tdp_pte_log_writes arm64_tdp_pte_log_writes

static inline tdp_pte_t arm64_tdp_pte_wrprot_tracked(const struct tdp_fmt *fmt,
						     tdp_pte_t pte)
{
	return pte & ~(ARM64_TDP_S2AP_W | ARM64_TDP_MMU_WRITE);
}

#define tdp_pte_wrprot_tracked arm64_tdp_pte_wrprot_tracked

/* Hardware, or a lockless fault, sets AF; a lockless fault gives W back. */
static inline bool arm64_tdp_pte_volatile(const struct tdp_fmt *fmt,
					  tdp_pte_t pte, int level)
{
	if (arm64_tdp_pte_kind(fmt, pte, level) != TDP_LEAF)
		return false;
	return !(pte & ARM64_TDP_AF) ||
	       (pte & (ARM64_TDP_MMU_WRITE | ARM64_TDP_S2AP_W)) ==
	       ARM64_TDP_MMU_WRITE;
}

#define tdp_pte_volatile arm64_tdp_pte_volatile

/* What has MMU_WRITE may be cached writable, as logging flushes later. */
static inline bool arm64_tdp_pte_downgrades(const struct tdp_fmt *fmt,
					    tdp_pte_t old, tdp_pte_t new)
{
	u64 allows = ARM64_TDP_S2AP_R | ARM64_TDP_S2AP_W | ARM64_TDP_MMU_WRITE;

	/* Without a flush what is cached goes on, and nobody sees its use. */
	if (!fmt->hw_af)
		allows |= ARM64_TDP_AF;
	return (old & ~new & allows) || (new & ~old & ARM64_TDP_XN);
}

#define tdp_pte_downgrades arm64_tdp_pte_downgrades

/*
 * Arm ARM (DDI 0487), "Using break-before-make when updating translation table
 * entries": the memory, its attributes, or the size of what is mapped changes.
 * Permissions and the access flag may change in place.
 */
static inline bool arm64_tdp_pte_need_bbm(const struct tdp_fmt *fmt,
					  tdp_pte_t old, tdp_pte_t new,
					  int level)
{
	enum tdp_kind from = arm64_tdp_pte_kind(fmt, old, level);
	enum tdp_kind to = arm64_tdp_pte_kind(fmt, new, level);

	if (!(old & ARM64_TDP_VALID))
		return false;
	/* Whatever comes next. */
	if (!(new & ARM64_TDP_VALID))
		return true;
	if (from != to)
		return !fmt->free_size;
	if (from == TDP_TABLE)
		return false;
	return (old ^ new) & (arm64_tdp_addr_mask(fmt) | fmt->leaf_attr);
}

#define tdp_pte_need_bbm arm64_tdp_pte_need_bbm

/* W, now or by a lockless write fault, takes what the host allows. */
static inline bool arm64_tdp_pte_consistent(const struct tdp_fmt *fmt,
					    tdp_pte_t pte, int level)
{
	if (arm64_tdp_pte_kind(fmt, pte, level) != TDP_LEAF)
		return true;
	if (pte & ARM64_TDP_MMU_WRITE)
		return pte & ARM64_TDP_HOST_WRITE;
	return !(pte & ARM64_TDP_S2AP_W);
}

#define tdp_pte_consistent arm64_tdp_pte_consistent

#endif /* __KVM_ARM64_TDP_PGTABLE_H */
