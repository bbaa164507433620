/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_X86_TDP_PGTABLE_H
#define __KVM_X86_TDP_PGTABLE_H

/*
 * The format of x86's second-level page tables: EPT (Intel SDM volume 3,
 * "Extended Page-Table Mechanism") and NPT (AMD APM volume 2, "Nested Paging";
 * the entries are those of long-mode paging).  Both have 512 64-bit entries in
 * a table and leaves at the three lowest levels, and in both an entry with bits
 * 2:0 (EPT) or bit 0 (NPT) clear maps nothing whatever its other bits say.
 * They differ in where permissions, state and free bits are, which struct
 * tdp_fmt says.
 *
 * Shadow pages have the same entries, and arch/x86/kvm/mmu/spte.[ch] makes and
 * decodes them by what is here.
 *
 * Pure: see virt/kvm/mmu/tdp_contract.h.  arch/x86/kvm/mmu/tdp_fmt.c checks the
 * constants against the architecture's.
 */

typedef u64 tdp_pte_t;

#define X86_TDP_LEVEL_BITS	9
#define X86_TDP_NR_ENTRIES	BIT(X86_TDP_LEVEL_BITS)
#define X86_TDP_MAX_LEAF_LEVEL	3

/* Set in tables and leaves, ignored by hardware. */
#define X86_TDP_PRESENT		BIT_ULL(11)
/* EPT's write permission and NPT's R/W. */
#define X86_TDP_WRITE		BIT_ULL(1)
/* Makes an entry above level 1 a leaf, in EPT and in NPT. */
#define X86_TDP_HUGE		BIT_ULL(7)
#define X86_TDP_PAGE_SHIFT	12

/*
 * NONE sets "suppress #VE", so that an EPT violation exits to KVM even if the
 * guest's #VE is enabled.  Everything else ignores bit 63 of an entry that is
 * not present.  32-bit kernels clear tables as if NONE were 0, and have no #VE.
 */
#ifdef CONFIG_X86_32
#define X86_TDP_NONE		0ull
#else
#define X86_TDP_NONE		BIT_ULL(63)
#endif
/* No permission bits, and no value that x86 uses for MMIO. */
#define X86_TDP_FROZEN		(X86_TDP_NONE | 0x5a0ull)

/*
 * Whether hardware keeps the accessed and dirty bits of a leaf, or whether
 * writes must be caught by write-protecting (nested guests with PML on, as the
 * log would hold L2's addresses).
 */
#define X86_TDP_AD_MASK		(3ull << 52)
#define X86_TDP_AD_ENABLED	0ull
#define X86_TDP_AD_DISABLED	BIT_ULL(52)
#define X86_TDP_AD_WRPROT_ONLY	BIT_ULL(53)

/* Where an access-tracked leaf keeps the R and X that it gave up. */
#define X86_TDP_SAVED_BITS	(BIT_ULL(0) | BIT_ULL(2))
#define X86_TDP_SAVED_SHIFT	54

/*
 * In a table: it is there because the NX huge page mitigation does not let
 * memory be mapped by an executable huge leaf.  Software bits of leaves are free
 * in tables.
 */
#define X86_TDP_NX_SPLIT	BIT_ULL(54)

/**
 * struct tdp_fmt - what is known at run time of an x86 root's entries
 * @present: bits of every table and leaf, apart from X86_TDP_PRESENT
 * @user: EPT's read permission, or NPT's U/S; bits of every table and leaf
 * @exec: bits that allow execution (EPT)
 * @noexec: bits that forbid execution (NPT)
 * @accessed: the accessed bit, 0 if hardware keeps none
 * @dirty: the dirty bit, 0 if hardware keeps none
 * @host_write: software bit of leaves whose page the host lets KVM write to
 * @mmu_write: software bit of leaves that KVM's shadow paging lets be writable
 * @acc_track: bits that an access-tracked leaf gives up (EPT without A/D bits)
 * @table_attr: attribute bits of tables (memory encryption)
 * @leaf_attr: attribute bits of leaves (memory type and encryption)
 * @addr: address bits of entries
 * @ad_type: X86_TDP_AD_* of leaves
 * @end_gfn: first gfn that cannot be mapped
 * @root_level: number of levels
 * @hw_log: hardware logs the writes that set a dirty bit (PML)
 */
struct tdp_fmt {
	u64 present;
	u64 user;
	u64 exec;
	u64 noexec;
	u64 accessed;
	u64 dirty;
	u64 host_write;
	u64 mmu_write;
	u64 acc_track;
	u64 table_attr;
	u64 leaf_attr;
	u64 addr;
	u64 ad_type;
	gfn_t end_gfn;
	u8 root_level;
	bool hw_log;
};

static inline int x86_tdp_fmt_root_level(const struct tdp_fmt *fmt)
{
	return fmt->root_level;
}

#define tdp_fmt_root_level x86_tdp_fmt_root_level

static inline unsigned int x86_tdp_fmt_level_shift(const struct tdp_fmt *fmt,
						   int level)
{
	return (level - 1) * X86_TDP_LEVEL_BITS;
}

#define tdp_fmt_level_shift x86_tdp_fmt_level_shift

static inline unsigned int x86_tdp_fmt_nr_entries(const struct tdp_fmt *fmt,
						  int level)
{
	return X86_TDP_NR_ENTRIES;
}

#define tdp_fmt_nr_entries x86_tdp_fmt_nr_entries

static inline bool x86_tdp_fmt_leaf_allowed(const struct tdp_fmt *fmt,
					    int level)
{
	return level <= X86_TDP_MAX_LEAF_LEVEL;
}

#define tdp_fmt_leaf_allowed x86_tdp_fmt_leaf_allowed

static inline gfn_t x86_tdp_fmt_end_gfn(const struct tdp_fmt *fmt)
{
	return fmt->end_gfn;
}

#define tdp_fmt_end_gfn x86_tdp_fmt_end_gfn

static inline tdp_pte_t x86_tdp_pte_none(const struct tdp_fmt *fmt)
{
	return X86_TDP_NONE;
}

#define tdp_pte_none x86_tdp_pte_none

static inline tdp_pte_t x86_tdp_pte_frozen(const struct tdp_fmt *fmt)
{
	return X86_TDP_FROZEN;
}

#define tdp_pte_frozen x86_tdp_pte_frozen

static inline enum tdp_kind x86_tdp_pte_kind(const struct tdp_fmt *fmt,
					     tdp_pte_t pte, int level)
{
	if (pte & X86_TDP_PRESENT) {
		if (level == 1 || (pte & X86_TDP_HUGE))
			return TDP_LEAF;
		return TDP_TABLE;
	}
	if (pte == X86_TDP_NONE)
		return TDP_NONE;
	if (pte == X86_TDP_FROZEN)
		return TDP_FROZEN;
	return TDP_ANNOTATED;
}

#define tdp_pte_kind x86_tdp_pte_kind

static inline u64 x86_tdp_pte_table_phys(const struct tdp_fmt *fmt,
					 tdp_pte_t pte)
{
	return pte & fmt->addr;
}

#define tdp_pte_table_phys x86_tdp_pte_table_phys

static inline bool x86_tdp_pte_table_pinned(const struct tdp_fmt *fmt,
					    tdp_pte_t pte)
{
	return pte & X86_TDP_NX_SPLIT;
}

#define tdp_pte_table_pinned x86_tdp_pte_table_pinned

static inline tdp_pte_t x86_tdp_pte_unpin_table(const struct tdp_fmt *fmt,
						tdp_pte_t pte)
{
	return pte & ~X86_TDP_NX_SPLIT;
}

#define tdp_pte_unpin_table x86_tdp_pte_unpin_table

static inline kvm_pfn_t x86_tdp_pte_pfn(const struct tdp_fmt *fmt,
					tdp_pte_t pte)
{
	return (pte & fmt->addr) >> X86_TDP_PAGE_SHIFT;
}

#define tdp_pte_pfn x86_tdp_pte_pfn

static inline bool x86_tdp_pte_alike(const struct tdp_fmt *fmt,
				     tdp_pte_t leaf, tdp_pte_t pte)
{
	return !((leaf ^ pte) & ~fmt->addr);
}

#define tdp_pte_alike x86_tdp_pte_alike

/* Does hardware keep the accessed and dirty bits of this leaf? */
static inline bool x86_tdp_pte_hw_ad(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return fmt->accessed &&
	       (pte & X86_TDP_AD_MASK) != X86_TDP_AD_DISABLED;
}

static inline tdp_pte_t x86_tdp_pte_make_table(const struct tdp_fmt *fmt,
					       u64 phys, u64 attr)
{
	tdp_pte_t pte = phys | X86_TDP_PRESENT | X86_TDP_WRITE | fmt->present |
			fmt->user | fmt->exec | fmt->table_attr | attr;

	if (x86_tdp_pte_hw_ad(fmt, pte))
		return pte | fmt->accessed;
	return pte | X86_TDP_AD_DISABLED;
}

#define tdp_pte_make_table x86_tdp_pte_make_table

static inline bool x86_tdp_pte_acc_tracked(const struct tdp_fmt *fmt,
					   tdp_pte_t pte)
{
	return !x86_tdp_pte_hw_ad(fmt, pte) && fmt->acc_track &&
	       !(pte & fmt->acc_track);
}

/*
 * Make a leaf look unused: clear the accessed bit, or take away all permissions
 * so that the next access faults.  W is not saved: an access-tracked leaf is
 * dirty tracked too, and gets W back only by a write.
 */
static inline tdp_pte_t x86_tdp_pte_mkold(const struct tdp_fmt *fmt,
					  tdp_pte_t pte)
{
	if (x86_tdp_pte_hw_ad(fmt, pte))
		return pte & ~fmt->accessed;
	if (!fmt->acc_track || x86_tdp_pte_acc_tracked(fmt, pte))
		return pte;
	pte |= (pte & X86_TDP_SAVED_BITS) << X86_TDP_SAVED_SHIFT;
	return pte & ~fmt->acc_track;
}

#define tdp_pte_mkold x86_tdp_pte_mkold

static inline tdp_pte_t x86_tdp_pte_mkyoung(const struct tdp_fmt *fmt,
					    tdp_pte_t pte)
{
	u64 saved;

	if (x86_tdp_pte_hw_ad(fmt, pte))
		return pte | fmt->accessed;
	if (!x86_tdp_pte_acc_tracked(fmt, pte))
		return pte;
	saved = (pte >> X86_TDP_SAVED_SHIFT) & X86_TDP_SAVED_BITS;
	pte &= ~(X86_TDP_SAVED_BITS << X86_TDP_SAVED_SHIFT);
	return pte | saved;
}

#define tdp_pte_mkyoung x86_tdp_pte_mkyoung

static inline tdp_pte_t x86_tdp_pte_make_leaf(const struct tdp_fmt *fmt,
					      kvm_pfn_t pfn, int level,
					      unsigned int flags, u64 attr)
{
	tdp_pte_t pte = (pfn << X86_TDP_PAGE_SHIFT) | X86_TDP_PRESENT |
			fmt->present | fmt->user | fmt->ad_type | attr;

	if (level > 1)
		pte |= X86_TDP_HUGE;
	pte |= (flags & TDP_EXEC) ? fmt->exec : fmt->noexec;
	if (flags & TDP_HOST_WRITE)
		pte |= fmt->host_write;
	if (flags & TDP_WRITE) {
		pte |= X86_TDP_WRITE | fmt->mmu_write;
		if (x86_tdp_pte_hw_ad(fmt, pte))
			pte |= fmt->dirty;
	}
	if (!(flags & TDP_YOUNG))
		return x86_tdp_pte_mkold(fmt, pte);
	if (x86_tdp_pte_hw_ad(fmt, pte))
		pte |= fmt->accessed;
	return pte;
}

#define tdp_pte_make_leaf x86_tdp_pte_make_leaf

static inline tdp_pte_t x86_tdp_pte_split_child(const struct tdp_fmt *fmt,
						tdp_pte_t huge, int level,
						unsigned int index)
{
	tdp_pte_t pte = huge;

	pte |= (u64)index << (x86_tdp_fmt_level_shift(fmt, level - 1) +
			      X86_TDP_PAGE_SHIFT);
	if (level == 2)
		pte &= ~X86_TDP_HUGE;
	return pte;
}

#define tdp_pte_split_child x86_tdp_pte_split_child

static inline tdp_pte_t x86_tdp_pte_make_block(const struct tdp_fmt *fmt,
					       tdp_pte_t part, int level,
					       unsigned int flags)
{
	kvm_pfn_t pfn = x86_tdp_pte_pfn(fmt, part);

	pfn &= ~((1ull << x86_tdp_fmt_level_shift(fmt, level)) - 1);
	return x86_tdp_pte_make_leaf(fmt, pfn, level, flags,
				     part & fmt->leaf_attr);
}

#define tdp_pte_make_block x86_tdp_pte_make_block

static inline bool x86_tdp_pte_writable(const struct tdp_fmt *fmt,
					tdp_pte_t pte)
{
	return pte & X86_TDP_WRITE;
}

#define tdp_pte_writable x86_tdp_pte_writable

static inline bool x86_tdp_pte_host_writable(const struct tdp_fmt *fmt,
					     tdp_pte_t pte)
{
	return pte & fmt->host_write;
}

#define tdp_pte_host_writable x86_tdp_pte_host_writable

/* Only a leaf that the host lets be writable has mmu_write. */
static inline bool x86_tdp_pte_may_mkwrite(const struct tdp_fmt *fmt,
					   tdp_pte_t pte)
{
	return pte & fmt->mmu_write;
}

#define tdp_pte_may_mkwrite x86_tdp_pte_may_mkwrite

static inline tdp_pte_t x86_tdp_pte_mkwrite(const struct tdp_fmt *fmt,
					    tdp_pte_t pte)
{
	pte = x86_tdp_pte_mkyoung(fmt, pte) | X86_TDP_WRITE;
	if (x86_tdp_pte_hw_ad(fmt, pte))
		pte |= fmt->dirty;
	return pte;
}

#define tdp_pte_mkwrite x86_tdp_pte_mkwrite

static inline bool x86_tdp_pte_executable(const struct tdp_fmt *fmt,
					  tdp_pte_t pte)
{
	return (x86_tdp_pte_mkyoung(fmt, pte) & (fmt->exec | fmt->noexec)) ==
	       fmt->exec;
}

#define tdp_pte_executable x86_tdp_pte_executable

static inline tdp_pte_t x86_tdp_pte_mkexec(const struct tdp_fmt *fmt,
					   tdp_pte_t pte)
{
	pte &= ~fmt->noexec;
	if (x86_tdp_pte_acc_tracked(fmt, pte))
		return pte | (fmt->exec << X86_TDP_SAVED_SHIFT);
	return pte | fmt->exec;
}

#define tdp_pte_mkexec x86_tdp_pte_mkexec

static inline bool x86_tdp_pte_allows(const struct tdp_fmt *fmt, tdp_pte_t pte,
				      unsigned int access)
{
	if (x86_tdp_pte_acc_tracked(fmt, pte))
		return false;
	if ((access & TDP_WRITE) && !(pte & X86_TDP_WRITE))
		return false;
	return !(access & TDP_EXEC) || x86_tdp_pte_executable(fmt, pte);
}

#define tdp_pte_allows x86_tdp_pte_allows

/*
 * PML logs a write that sets the dirty bit, once: for a huge leaf that is not
 * enough.
 */
static inline tdp_pte_t x86_tdp_pte_log_writes(const struct tdp_fmt *fmt,
					       tdp_pte_t pte, int level)
{
	if (fmt->hw_log && level == 1)
		return pte & ~fmt->dirty;
	return pte & ~X86_TDP_WRITE;
}

#define tdp_pte_log_writes x86_tdp_pte_log_writes

static inline bool x86_tdp_pte_young(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	if (x86_tdp_pte_hw_ad(fmt, pte))
		return pte & fmt->accessed;
	return !x86_tdp_pte_acc_tracked(fmt, pte);
}

#define tdp_pte_young x86_tdp_pte_young

static inline tdp_pte_t x86_tdp_pte_wrprot_tracked(const struct tdp_fmt *fmt,
						   tdp_pte_t pte)
{
	return pte & ~(X86_TDP_WRITE | fmt->mmu_write);
}

#define tdp_pte_wrprot_tracked x86_tdp_pte_wrprot_tracked

static inline bool x86_tdp_leaf_volatile(const struct tdp_fmt *fmt,
					 tdp_pte_t pte)
{
	/* A lockless write fault may give W back. */
	if ((pte & fmt->mmu_write) && !(pte & X86_TDP_WRITE))
		return true;
	if (!x86_tdp_pte_hw_ad(fmt, pte))
		return x86_tdp_pte_acc_tracked(fmt, pte);
	if (!(pte & fmt->accessed))
		return true;
	return (pte & X86_TDP_WRITE) && !(pte & fmt->dirty);
}

/*
 * Tables are not volatile: hardware may set their accessed bit, but they are
 * made with it, and KVM does not use it.
 */
static inline bool x86_tdp_pte_volatile(const struct tdp_fmt *fmt,
					tdp_pte_t pte, int level)
{
	return x86_tdp_pte_kind(fmt, pte, level) == TDP_LEAF &&
	       x86_tdp_leaf_volatile(fmt, pte);
}

#define tdp_pte_volatile x86_tdp_pte_volatile

/*
 * Access tracking is not flushed, so what an access-tracked leaf gave up may
 * still be cached.
 *
 * mmu_write counts although hardware ignores it: entries with it may have been
 * write-protected without a flush, i.e. may still be cached writable.
 */
static inline bool x86_tdp_pte_downgrades(const struct tdp_fmt *fmt,
					  tdp_pte_t old, tdp_pte_t new)
{
	u64 allows = X86_TDP_WRITE | fmt->user | fmt->exec | fmt->mmu_write;
	u64 lost = x86_tdp_pte_mkyoung(fmt, old) &
		   ~x86_tdp_pte_mkyoung(fmt, new);

	return ((lost | (old & ~new)) & allows) ||
	       (new & ~old & fmt->noexec) ||
	       (x86_tdp_pte_hw_ad(fmt, old) && (old & ~new & fmt->dirty));
}

#define tdp_pte_downgrades x86_tdp_pte_downgrades

/*
 * W, now or by a lockless write fault, takes what shadow paging and the host
 * allow.  Only what is access-tracked has given up something.
 */
static inline bool x86_tdp_leaf_consistent(const struct tdp_fmt *fmt,
					   tdp_pte_t pte)
{
	u64 saved = X86_TDP_SAVED_BITS << X86_TDP_SAVED_SHIFT;

	if ((pte & saved) && !x86_tdp_pte_acc_tracked(fmt, pte))
		return false;
	if (pte & fmt->mmu_write)
		return pte & fmt->host_write;
	return !(pte & X86_TDP_WRITE);
}

/*
 * What EPT suppresses #VE with is part of every table and leaf, whatever
 * else an access-tracked leaf gave up; so it is of NONE and FROZEN.
 */
static inline bool x86_tdp_pte_consistent(const struct tdp_fmt *fmt,
					  tdp_pte_t pte, int level)
{
	enum tdp_kind kind = x86_tdp_pte_kind(fmt, pte, level);
	u64 present = fmt->present & ~fmt->acc_track;

	if (kind != TDP_TABLE && kind != TDP_LEAF)
		return true;
	if ((pte & present) != present)
		return false;
	return kind == TDP_TABLE || x86_tdp_leaf_consistent(fmt, pte);
}

#define tdp_pte_consistent x86_tdp_pte_consistent

#endif /* __KVM_X86_TDP_PGTABLE_H */
