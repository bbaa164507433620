/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_S390_TDP_PGTABLE_H
#define __KVM_S390_TDP_PGTABLE_H

/*
 * A format that asks of the core what s390's would, with bits of its own: 2048
 * entries in the upper tables and 256 in the lowest; an entry has a lock; what
 * replaces it (IPTE, IDTE, CRDTE) does not look at its old value, and flushes;
 * hardware keeps no accessed bit, so that old leaves are invalid.
 */
typedef u64 tdp_pte_t;

#define S390_PRESENT	BIT_ULL(0)	/* software: a table or a leaf */
#define S390_MMU_WRITE	BIT_ULL(1)	/* software */
#define S390_HOST_WRITE	BIT_ULL(2)	/* software */
#define S390_PINNED	BIT_ULL(3)	/* software, of tables */
#define S390_INVALID	BIT_ULL(5)
#define S390_NOEXEC	BIT_ULL(8)
#define S390_PROTECT	BIT_ULL(9)
#define S390_HUGE	BIT_ULL(10)
#define S390_ADDR	(~0xfffull)

#define S390_NONE	S390_INVALID
#define S390_FROZEN	(S390_INVALID | S390_PROTECT)

#define S390_PAGE_BITS	8
#define S390_TABLE_BITS	11

/**
 * struct tdp_fmt - the shape of a tree
 * @end_gfn: first gfn that cannot be mapped
 * @root_level: number of levels
 */
struct tdp_fmt {
	gfn_t end_gfn;
	u8 root_level;
};

/* From the machine: an entry's lock, and the instructions that replace it. */
void s390_lock_entry(tdp_pte_t *ptep);
void s390_unlock_entry(tdp_pte_t *ptep);
void s390_replace_and_purge(tdp_pte_t *ptep, tdp_pte_t new);

static inline int s390_fmt_root_level(const struct tdp_fmt *fmt)
{
	return fmt->root_level;
}

#define tdp_fmt_root_level s390_fmt_root_level

static inline unsigned int s390_fmt_level_shift(const struct tdp_fmt *fmt,
						int level)
{
	return level == 1 ? 0 : S390_PAGE_BITS + (level - 2) * S390_TABLE_BITS;
}

#define tdp_fmt_level_shift s390_fmt_level_shift

static inline unsigned int s390_fmt_nr_entries(const struct tdp_fmt *fmt,
					       int level)
{
	return 1u << (level == 1 ? S390_PAGE_BITS : S390_TABLE_BITS);
}

#define tdp_fmt_nr_entries s390_fmt_nr_entries

static inline bool s390_fmt_leaf_allowed(const struct tdp_fmt *fmt, int level)
{
	return level <= 3;
}

#define tdp_fmt_leaf_allowed s390_fmt_leaf_allowed

static inline gfn_t s390_fmt_end_gfn(const struct tdp_fmt *fmt)
{
	return fmt->end_gfn;
}

#define tdp_fmt_end_gfn s390_fmt_end_gfn

static inline tdp_pte_t s390_pte_none(const struct tdp_fmt *fmt)
{
	return S390_NONE;
}

#define tdp_pte_none s390_pte_none

static inline tdp_pte_t s390_pte_frozen(const struct tdp_fmt *fmt)
{
	return S390_FROZEN;
}

#define tdp_pte_frozen s390_pte_frozen

static inline enum tdp_kind s390_pte_kind(const struct tdp_fmt *fmt,
					  tdp_pte_t pte, int level)
{
	if (pte & S390_PRESENT)
		return level == 1 || (pte & S390_HUGE) ? TDP_LEAF : TDP_TABLE;
	if (pte == S390_NONE)
		return TDP_NONE;
	return pte == S390_FROZEN ? TDP_FROZEN : TDP_ANNOTATED;
}

#define tdp_pte_kind s390_pte_kind

#define TDP_REPLACE_FLUSHES	1

static inline bool s390_pte_try_replace(const struct tdp_fmt *fmt,
					tdp_pte_t *ptep, tdp_pte_t *old,
					tdp_pte_t new, int level)
{
	tdp_pte_t now;
	bool same;

	s390_lock_entry(ptep);
	now = READ_ONCE(*ptep);
	same = now == *old;
	if (same)
		s390_replace_and_purge(ptep, new);
	s390_unlock_entry(ptep);

	*old = now;
	return same;
}

#define tdp_pte_try_replace s390_pte_try_replace

static inline tdp_pte_t s390_pte_exchange(const struct tdp_fmt *fmt,
					  tdp_pte_t *ptep, tdp_pte_t new,
					  int level)
{
	tdp_pte_t old;

	s390_lock_entry(ptep);
	old = READ_ONCE(*ptep);
	s390_replace_and_purge(ptep, new);
	s390_unlock_entry(ptep);
	return old;
}

#define tdp_pte_exchange s390_pte_exchange

static inline tdp_pte_t s390_pte_make_table(const struct tdp_fmt *fmt, u64 phys,
					    u64 attr)
{
	return phys | S390_PRESENT | attr;
}

#define tdp_pte_make_table s390_pte_make_table

static inline u64 s390_pte_table_phys(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return pte & S390_ADDR;
}

#define tdp_pte_table_phys s390_pte_table_phys

static inline bool s390_pte_table_pinned(const struct tdp_fmt *fmt,
					 tdp_pte_t pte)
{
	return pte & S390_PINNED;
}

#define tdp_pte_table_pinned s390_pte_table_pinned

static inline tdp_pte_t s390_pte_unpin_table(const struct tdp_fmt *fmt,
					     tdp_pte_t pte)
{
	return pte & ~S390_PINNED;
}

#define tdp_pte_unpin_table s390_pte_unpin_table

static inline tdp_pte_t s390_pte_make_leaf(const struct tdp_fmt *fmt,
					   kvm_pfn_t pfn, int level,
					   unsigned int flags, u64 attr)
{
	tdp_pte_t pte = (pfn << 12) | S390_PRESENT | attr;

	if (level > 1)
		pte |= S390_HUGE;
	if (!(flags & TDP_EXEC))
		pte |= S390_NOEXEC;
	if (flags & TDP_HOST_WRITE)
		pte |= S390_HOST_WRITE;
	if (!(flags & TDP_YOUNG))
		pte |= S390_INVALID;
	return pte | (flags & TDP_WRITE ? S390_MMU_WRITE : S390_PROTECT);
}

#define tdp_pte_make_leaf s390_pte_make_leaf

static inline kvm_pfn_t s390_pte_pfn(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return pte >> 12;
}

#define tdp_pte_pfn s390_pte_pfn

static inline tdp_pte_t s390_pte_split_child(const struct tdp_fmt *fmt,
					     tdp_pte_t huge, int level,
					     unsigned int index)
{
	huge += (u64)index << (s390_fmt_level_shift(fmt, level - 1) + 12);
	return level == 2 ? huge & ~S390_HUGE : huge;
}

#define tdp_pte_split_child s390_pte_split_child

static inline tdp_pte_t s390_pte_make_block(const struct tdp_fmt *fmt,
					    tdp_pte_t part, int level,
					    unsigned int flags)
{
	unsigned int shift = s390_fmt_level_shift(fmt, level);

	return s390_pte_make_leaf(fmt, s390_pte_pfn(fmt, part) >> shift << shift,
				  level, flags, 0);
}

#define tdp_pte_make_block s390_pte_make_block

static inline bool s390_pte_writable(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return !(pte & S390_PROTECT);
}

#define tdp_pte_writable s390_pte_writable

static inline bool s390_pte_host_writable(const struct tdp_fmt *fmt,
					  tdp_pte_t pte)
{
	return pte & S390_HOST_WRITE;
}

#define tdp_pte_host_writable s390_pte_host_writable

static inline bool s390_pte_executable(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return !(pte & S390_NOEXEC);
}

#define tdp_pte_executable s390_pte_executable

static inline tdp_pte_t s390_pte_mkexec(const struct tdp_fmt *fmt,
					tdp_pte_t pte)
{
	return pte & ~S390_NOEXEC;
}

#define tdp_pte_mkexec s390_pte_mkexec

static inline bool s390_pte_allows(const struct tdp_fmt *fmt, tdp_pte_t pte,
				   unsigned int access)
{
	return !(pte & S390_INVALID) &&
	       !((access & TDP_WRITE) && (pte & S390_PROTECT)) &&
	       !((access & TDP_EXEC) && (pte & S390_NOEXEC));
}

#define tdp_pte_allows s390_pte_allows

static inline bool s390_pte_may_mkwrite(const struct tdp_fmt *fmt,
					tdp_pte_t pte)
{
	return pte & S390_MMU_WRITE;
}

#define tdp_pte_may_mkwrite s390_pte_may_mkwrite

static inline tdp_pte_t s390_pte_mkwrite(const struct tdp_fmt *fmt,
					 tdp_pte_t pte)
{
	return pte & ~(S390_INVALID | S390_PROTECT);
}

#define tdp_pte_mkwrite s390_pte_mkwrite

static inline tdp_pte_t s390_pte_mkyoung(const struct tdp_fmt *fmt,
					 tdp_pte_t pte)
{
	return pte & ~S390_INVALID;
}

#define tdp_pte_mkyoung s390_pte_mkyoung

static inline tdp_pte_t s390_pte_mkold(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return pte | S390_INVALID;
}

#define tdp_pte_mkold s390_pte_mkold

static inline tdp_pte_t s390_pte_log_writes(const struct tdp_fmt *fmt,
					    tdp_pte_t pte, int level)
{
	return pte | S390_PROTECT;
}

#define tdp_pte_log_writes s390_pte_log_writes

static inline bool s390_pte_young(const struct tdp_fmt *fmt, tdp_pte_t pte)
{
	return !(pte & S390_INVALID);
}

#define tdp_pte_young s390_pte_young

static inline tdp_pte_t s390_pte_wrprot_tracked(const struct tdp_fmt *fmt,
						tdp_pte_t pte)
{
	return (pte | S390_PROTECT) & ~S390_MMU_WRITE;
}

#define tdp_pte_wrprot_tracked s390_pte_wrprot_tracked

static inline bool s390_pte_volatile(const struct tdp_fmt *fmt, tdp_pte_t pte,
				     int level)
{
	if (s390_pte_kind(fmt, pte, level) != TDP_LEAF)
		return false;
	return (pte & S390_INVALID) ||
	       ((pte & S390_PROTECT) && (pte & S390_MMU_WRITE));
}

#define tdp_pte_volatile s390_pte_volatile

/* What replaces an entry flushes; the answer is for tests and traces. */
static inline bool s390_pte_downgrades(const struct tdp_fmt *fmt, tdp_pte_t old,
				       tdp_pte_t new)
{
	return (old & ~new & S390_MMU_WRITE) ||
	       (new & ~old & (S390_INVALID | S390_NOEXEC | S390_PROTECT));
}

#define tdp_pte_downgrades s390_pte_downgrades

static inline bool s390_pte_consistent(const struct tdp_fmt *fmt, tdp_pte_t pte,
				       int level)
{
	if (s390_pte_kind(fmt, pte, level) != TDP_LEAF)
		return true;
	return pte & (pte & S390_MMU_WRITE ? S390_HOST_WRITE : S390_PROTECT);
}

#define tdp_pte_consistent s390_pte_consistent

#endif /* __KVM_S390_TDP_PGTABLE_H */
