/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TOY_TDP_PGTABLE_H
#define __KVM_TOY_TDP_PGTABLE_H

/*
 * A format of no machine, for trees that are deep, small, and of odd shapes,
 * and for encodings that differ from x86's wherever they can: 32-bit entries, a
 * bit that makes an entry invalid, a bit that forbids writes, leaves at any
 * level and told apart by a bit of tables.
 */
typedef u32 tdp_pte_t;

#define TOY_INVALID	BIT(0)
#define TOY_TABLE	BIT(1)
#define TOY_RDONLY	BIT(2)
#define TOY_EXEC	BIT(3)
#define TOY_ACCESSED	BIT(4)
#define TOY_MMU_WRITE	BIT(5)	/* ignored by hardware */
#define TOY_HOST_WRITE	BIT(6)	/* ignored by hardware */
#define TOY_ATTR	(BIT(8) | BIT(9))
#define TOY_PINNED	BIT(10)	/* of tables, ignored by hardware */
#define TOY_ADDR	(~0u << 12)

#define TOY_NONE	TOY_INVALID
#define TOY_FROZEN	(TOY_INVALID | TOY_TABLE)
#define TOY_BROKEN	(TOY_INVALID | TOY_RDONLY)

/* Few, so that walks have to make entries on the way. */
#define TDP_MAX_BROKEN	2

/**
 * struct tdp_fmt - the shape of a tree
 * @end_gfn: first gfn that cannot be mapped
 * @bits: base 2 logarithm of the number of entries in a table
 * @root_bits: the same for the root
 * @root_level: number of levels
 * @max_leaf: highest level of leaves
 * @breaks: break-before-make for what changes more than permissions
 */
struct tdp_fmt {
	gfn_t end_gfn;
	u8 bits;
	u8 root_bits;
	u8 root_level;
	u8 max_leaf;
	bool breaks;
};

static inline int toy_fmt_root_level(const struct tdp_fmt *fmt)
{
	return fmt->root_level;
}

#define tdp_fmt_root_level toy_fmt_root_level

static inline unsigned int toy_fmt_level_shift(const struct tdp_fmt *fmt,
					       int level)
{
	return (level - 1) * fmt->bits;
}

#define tdp_fmt_level_shift toy_fmt_level_shift

static inline unsigned int toy_fmt_nr_entries(const struct tdp_fmt *fmt,
					      int level)
{
	return 1u << (level == fmt->root_level ? fmt->root_bits : fmt->bits);
}

#define tdp_fmt_nr_entries toy_fmt_nr_entries

static inline bool toy_fmt_leaf_allowed(const struct tdp_fmt *fmt, int level)
{
	return level <= fmt->max_leaf;
}

#define tdp_fmt_leaf_allowed toy_fmt_leaf_allowed

static inline gfn_t toy_fmt_end_gfn(const struct tdp_fmt *fmt)
{
	return fmt->end_gfn;
}

#define tdp_fmt_end_gfn toy_fmt_end_gfn

static inline tdp_pte_t toy_pte_none(const struct tdp_fmt *fmt)
{
	return TOY_NONE;
}

#define tdp_pte_none toy_pte_none

static inline tdp_pte_t toy_pte_frozen(const struct tdp_fmt *fmt)
{
	return TOY_FROZEN;
}

#define tdp_pte_frozen toy_pte_frozen

static inline enum tdp_kind toy_pte_kind(const struct tdp_fmt *fmt,
					 tdp_pte_t pte, int level)
{
	if (!(pte & TOY_INVALID))
		return pte & TOY_TABLE ? TDP_TABLE : TDP_LEAF;
	if (pte == TOY_NONE)
		return TDP_NONE;
	if (pte == TOY_FROZEN || pte == TOY_BROKEN)
		return TDP_FROZEN;
	return TDP_ANNOTATED;
}

#define tdp_pte_kind toy_pte_kind

static inline tdp_pte_t toy_pte_broken(const struct tdp_fmt *fmt)
{
	return TOY_BROKEN;
}

#define tdp_pte_broken toy_pte_broken

static inline tdp_pte_t toy_pte_make_table(const struct tdp_fmt *fmt, u64 phys,
					   u64 attr)
{
	return phys | TOY_TABLE | TOY_EXEC | TOY_ACCESSED | attr;
}

#define tdp_pte_make_table toy_pte_make_table

static inline u64 toy_pte_table_phys(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return pte & TOY_ADDR;
}

#define tdp_pte_table_phys toy_pte_table_phys

static inline bool toy_pte_table_pinned(const struct tdp_fmt *fmt,
					tdp_pte_t pte)
{
	return pte & TOY_PINNED;
}

#define tdp_pte_table_pinned toy_pte_table_pinned

static inline tdp_pte_t toy_pte_unpin_table(const struct tdp_fmt *fmt,
					    tdp_pte_t pte)
{
	return pte & ~TOY_PINNED;
}

#define tdp_pte_unpin_table toy_pte_unpin_table

static inline tdp_pte_t toy_pte_make_leaf(const struct tdp_fmt *fmt,
					  kvm_pfn_t pfn, int level,
					  unsigned int flags, u64 attr)
{
	tdp_pte_t pte = (pfn << 12) | attr;

	pte |= flags & TDP_WRITE ? TOY_MMU_WRITE : TOY_RDONLY;
	if (flags & TDP_EXEC)
		pte |= TOY_EXEC;
	if (flags & TDP_HOST_WRITE)
		pte |= TOY_HOST_WRITE;
	if (flags & TDP_YOUNG)
		pte |= TOY_ACCESSED;
	return pte;
}

#define tdp_pte_make_leaf toy_pte_make_leaf

static inline kvm_pfn_t toy_pte_pfn(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return pte >> 12;
}

#define tdp_pte_pfn toy_pte_pfn

static inline tdp_pte_t toy_pte_split_child(const struct tdp_fmt *fmt,
					    tdp_pte_t huge, int level,
					    unsigned int index)
{
	return huge + (index << (toy_fmt_level_shift(fmt, level - 1) + 12));
}

#define tdp_pte_split_child toy_pte_split_child

static inline tdp_pte_t toy_pte_make_block(const struct tdp_fmt *fmt,
					   tdp_pte_t part, int level,
					   unsigned int flags)
{
	unsigned int shift = toy_fmt_level_shift(fmt, level);

	return toy_pte_make_leaf(fmt, toy_pte_pfn(fmt, part) >> shift << shift,
				 level, flags, part & TOY_ATTR);
}

#define tdp_pte_make_block toy_pte_make_block

static inline bool toy_pte_writable(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return !(pte & TOY_RDONLY);
}

#define tdp_pte_writable toy_pte_writable

static inline bool toy_pte_host_writable(const struct tdp_fmt *fmt,
					 tdp_pte_t pte)
{
	return pte & TOY_HOST_WRITE;
}

#define tdp_pte_host_writable toy_pte_host_writable

static inline bool toy_pte_executable(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return pte & TOY_EXEC;
}

#define tdp_pte_executable toy_pte_executable

static inline tdp_pte_t toy_pte_mkexec(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return pte | TOY_EXEC;
}

#define tdp_pte_mkexec toy_pte_mkexec

static inline bool toy_pte_allows(const struct tdp_fmt *fmt, tdp_pte_t pte,
				  unsigned int access)
{
	return !((access & TDP_WRITE) && (pte & TOY_RDONLY)) &&
	       !((access & TDP_EXEC) && !(pte & TOY_EXEC));
}

#define tdp_pte_allows toy_pte_allows

static inline bool toy_pte_may_mkwrite(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return pte & TOY_MMU_WRITE;
}

#define tdp_pte_may_mkwrite toy_pte_may_mkwrite

static inline tdp_pte_t toy_pte_mkwrite(const struct tdp_fmt *fmt,
					tdp_pte_t pte)
{
	return (pte | TOY_ACCESSED) & ~TOY_RDONLY;
}

#define tdp_pte_mkwrite toy_pte_mkwrite

static inline tdp_pte_t toy_pte_mkyoung(const struct tdp_fmt *fmt,
					tdp_pte_t pte)
{
	return pte | TOY_ACCESSED;
}

#define tdp_pte_mkyoung toy_pte_mkyoung

static inline tdp_pte_t toy_pte_mkold(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return pte & ~TOY_ACCESSED;
}

#define tdp_pte_mkold toy_pte_mkold

static inline tdp_pte_t toy_pte_log_writes(const struct tdp_fmt *fmt,
					   tdp_pte_t pte, int level)
{
	return pte | TOY_RDONLY;
}

#define tdp_pte_log_writes toy_pte_log_writes

static inline bool toy_pte_young(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return pte & TOY_ACCESSED;
}

#define tdp_pte_young toy_pte_young

static inline tdp_pte_t toy_pte_wrprot_tracked(const struct tdp_fmt *fmt,
					       tdp_pte_t pte)
{
	return (pte | TOY_RDONLY) & ~TOY_MMU_WRITE;
}

#define tdp_pte_wrprot_tracked toy_pte_wrprot_tracked

static inline bool toy_pte_volatile(const struct tdp_fmt *fmt, tdp_pte_t pte,
				    int level)
{
	if (toy_pte_kind(fmt, pte, level) != TDP_LEAF)
		return false;
	return !(pte & TOY_ACCESSED) ||
	       ((pte & TOY_RDONLY) && (pte & TOY_MMU_WRITE));
}

#define tdp_pte_volatile toy_pte_volatile

static inline bool toy_pte_downgrades(const struct tdp_fmt *fmt, tdp_pte_t old,
				      tdp_pte_t new)
{
	return (old & ~new & (TOY_MMU_WRITE | TOY_EXEC)) ||
	       (new & ~old & TOY_RDONLY);
}

#define tdp_pte_downgrades toy_pte_downgrades

static inline bool toy_pte_need_bbm(const struct tdp_fmt *fmt, tdp_pte_t old,
				    tdp_pte_t new, int level)
{
	if (!fmt->breaks || (old & TOY_INVALID))
		return false;
	if ((new & TOY_INVALID) || ((old ^ new) & TOY_TABLE))
		return true;
	return !(old & TOY_TABLE) && ((old ^ new) & (TOY_ADDR | TOY_ATTR));
}

#define tdp_pte_need_bbm toy_pte_need_bbm

static inline bool toy_pte_consistent(const struct tdp_fmt *fmt, tdp_pte_t pte,
				      int level)
{
	if (toy_pte_kind(fmt, pte, level) != TDP_LEAF)
		return true;
	return pte & (pte & TOY_MMU_WRITE ? TOY_HOST_WRITE : TOY_RDONLY);
}

#define tdp_pte_consistent toy_pte_consistent

#endif /* __KVM_TOY_TDP_PGTABLE_H */
