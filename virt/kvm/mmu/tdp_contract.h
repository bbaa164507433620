/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_CONTRACT_H
#define __KVM_TDP_CONTRACT_H

/*
 * What a page-table format, arch/<arch>/kvm/tdp_pgtable.h, has to provide.
 *
 * A format is pure: bits in, bits out.  It defines the type of an entry,
 * tdp_pte_t, and struct tdp_fmt with the facts that are known only at run time;
 * a struct tdp_fmt never changes once a root uses it.  Each function has a name
 * of the format's own, which a #define binds to the name below, so that the
 * declarations here check every prototype:
 *
 *	static inline u64 x86_tdp_pte_pfn(...) { ... }
 *	#define tdp_pte_pfn x86_tdp_pte_pfn
 *
 * Levels count from 1, the smallest leaf.  gfns and pfns are in host pages.
 * All functions can be called in any context and do not sleep.  Unless said
 * otherwise an entry that is passed in must have been loaded once, from memory
 * that others may change, and be of the kind that the function's name implies.
 */

/**
 * tdp_fmt_root_level() - Level of the root's entries
 * @fmt: the format
 */
static inline int tdp_fmt_root_level(const struct tdp_fmt *fmt);

/**
 * tdp_fmt_level_shift() - Base 2 logarithm of what an entry spans
 * @fmt: the format
 * @level: level of the entry, or one above the root
 *
 * Return: the shift that turns an entry's index into gfns.
 */
static inline unsigned int tdp_fmt_level_shift(const struct tdp_fmt *fmt,
					       int level);

/**
 * tdp_fmt_nr_entries() - Number of entries in a table
 * @fmt: the format
 * @level: level of the table's entries
 *
 * Return: a power of two.  A root can have more entries than fit in a page
 * (concatenated tables), or fewer; any other table spans what the entry does that
 * points to it.
 */
static inline unsigned int tdp_fmt_nr_entries(const struct tdp_fmt *fmt,
					      int level);

/**
 * tdp_fmt_leaf_allowed() - Can entries of a level be leaves?
 * @fmt: the format
 * @level: level of the entry
 */
static inline bool tdp_fmt_leaf_allowed(const struct tdp_fmt *fmt, int level);

/**
 * tdp_fmt_end_gfn() - End of the guest-physical address space
 * @fmt: the format
 *
 * Return: the first gfn that cannot be mapped, at most what the root spans.
 */
static inline gfn_t tdp_fmt_end_gfn(const struct tdp_fmt *fmt);

/**
 * tdp_pte_none() - The entry that maps nothing
 * @fmt: the format
 *
 * New tables must be filled with it.
 */
static inline tdp_pte_t tdp_pte_none(const struct tdp_fmt *fmt);

/**
 * tdp_pte_frozen() - The entry that maps nothing and has an owner
 * @fmt: the format
 *
 * To hardware the same as tdp_pte_none().
 */
static inline tdp_pte_t tdp_pte_frozen(const struct tdp_fmt *fmt);

/**
 * tdp_pte_kind() - Decode any entry
 * @fmt: the format
 * @pte: an entry of any kind
 * @level: its level
 */
static inline enum tdp_kind tdp_pte_kind(const struct tdp_fmt *fmt,
					 tdp_pte_t pte, int level);

/**
 * tdp_pte_make_table() - Make an entry that points to a table
 * @fmt: the format
 * @phys: physical address of the table, in bytes
 * @attr: what the glue wants to remember of the table, as bits of the entry
 *
 * The entry is made accessed, where tables have such a bit: hardware would set
 * it and spoil the cmpxchg that unlinks the table.
 */
static inline tdp_pte_t tdp_pte_make_table(const struct tdp_fmt *fmt, u64 phys,
					   u64 attr);

/**
 * tdp_pte_table_phys() - Address of the table that an entry points to
 * @fmt: the format
 * @pte: a TDP_TABLE
 *
 * Return: the physical address in bytes.
 */
static inline u64 tdp_pte_table_phys(const struct tdp_fmt *fmt, tdp_pte_t pte);

/**
 * tdp_pte_make_leaf() - Make an entry that maps guest memory
 * @fmt: the format
 * @pfn: first page, aligned to the size of the leaf
 * @level: level of the leaf, one for which tdp_fmt_leaf_allowed()
 * @flags: TDP_WRITE etc.; TDP_WRITE only together with TDP_HOST_WRITE
 * @attr: attributes that the format leaves to the glue (memory type), as bits
 *	  of the entry
 *
 * Reads are always allowed.  A leaf made without TDP_YOUNG does not count as
 * accessed; if hardware keeps no accessed bit its first use faults.  A writable
 * leaf is made dirty, where hardware keeps a dirty bit.
 */
static inline tdp_pte_t tdp_pte_make_leaf(const struct tdp_fmt *fmt,
					  kvm_pfn_t pfn, int level,
					  unsigned int flags, u64 attr);

/**
 * tdp_pte_pfn() - First page that a leaf maps
 * @fmt: the format
 * @pte: a TDP_LEAF
 */
static inline kvm_pfn_t tdp_pte_pfn(const struct tdp_fmt *fmt, tdp_pte_t pte);

/**
 * tdp_pte_split_child() - One of the leaves that a huge leaf splits into
 * @fmt: the format
 * @huge: a TDP_LEAF
 * @level: its level, above 1
 * @index: which child
 *
 * The child maps the same memory with the same permissions, state bits and
 * attributes one level lower.
 */
static inline tdp_pte_t tdp_pte_split_child(const struct tdp_fmt *fmt,
					    tdp_pte_t huge, int level,
					    unsigned int index);

/**
 * tdp_pte_make_block() - Make the leaf that smaller leaves are merged into
 * @fmt: the format
 * @part: a TDP_LEAF, any of those that the block replaces
 * @level: level of the block, above that of @part
 * @flags: as for tdp_pte_make_leaf()
 *
 * The opposite of tdp_pte_split_child().  Attributes of the glue are those of
 * @part.
 *
 * Return: the leaf that maps the aligned memory around @part.
 */
static inline tdp_pte_t tdp_pte_make_block(const struct tdp_fmt *fmt,
					   tdp_pte_t part, int level,
					   unsigned int flags);

/**
 * tdp_pte_allows() - Would an access go through now?
 * @fmt: the format
 * @pte: a TDP_LEAF
 * @access: TDP_WRITE, TDP_EXEC or 0 for a read
 */
static inline bool tdp_pte_allows(const struct tdp_fmt *fmt, tdp_pte_t pte,
				  unsigned int access);

/**
 * tdp_pte_host_writable() - Does the primary MMU allow writes to a leaf's page?
 * @fmt: the format
 * @pte: a TDP_LEAF
 */
static inline bool tdp_pte_host_writable(const struct tdp_fmt *fmt,
					 tdp_pte_t pte);

/**
 * tdp_pte_executable() - May the guest execute what a leaf maps?
 * @fmt: the format
 * @pte: a TDP_LEAF
 *
 * Return: true also if the leaf is old and the next access has to make it young.
 */
static inline bool tdp_pte_executable(const struct tdp_fmt *fmt, tdp_pte_t pte);

/**
 * tdp_pte_mkexec() - Let the guest execute what a leaf maps
 * @fmt: the format
 * @pte: a TDP_LEAF
 */
static inline tdp_pte_t tdp_pte_mkexec(const struct tdp_fmt *fmt,
				       tdp_pte_t pte);

/**
 * tdp_pte_may_mkwrite() - May a leaf become writable without mmu_lock?
 * @fmt: the format
 * @pte: a TDP_LEAF
 *
 * Return: true if the primary MMU allows writes, and KVM withholds them for
 * nothing but logging or access tracking.
 */
static inline bool tdp_pte_may_mkwrite(const struct tdp_fmt *fmt,
				       tdp_pte_t pte);

/**
 * tdp_pte_mkwrite() - Let the guest write, and count the leaf as accessed
 * @fmt: the format
 * @pte: a TDP_LEAF for which tdp_pte_may_mkwrite()
 *
 * Dirty, where hardware keeps a dirty bit; execute permission stays as it is.
 */
static inline tdp_pte_t tdp_pte_mkwrite(const struct tdp_fmt *fmt,
					tdp_pte_t pte);

/**
 * tdp_pte_mkyoung() - Count a leaf as accessed
 * @fmt: the format
 * @pte: a TDP_LEAF
 *
 * Return: the leaf with what it gave up when it was made old, except for write
 * access.
 */
static inline tdp_pte_t tdp_pte_mkyoung(const struct tdp_fmt *fmt,
					tdp_pte_t pte);

/**
 * tdp_pte_mkold() - Notice the next access to a leaf
 * @fmt: the format
 * @pte: a TDP_LEAF
 */
static inline tdp_pte_t tdp_pte_mkold(const struct tdp_fmt *fmt, tdp_pte_t pte);

/**
 * tdp_pte_log_writes() - Let the dirty log see the next write to a leaf
 * @fmt: the format
 * @pte: a TDP_LEAF
 * @level: its level
 *
 * By taking away write access, which tdp_pte_mkwrite() gives back, or the dirty
 * bit if hardware logs the pages where it sets it.
 */
static inline tdp_pte_t tdp_pte_log_writes(const struct tdp_fmt *fmt,
					   tdp_pte_t pte, int level);

/**
 * tdp_pte_writable() - Has a leaf write permission?
 * @fmt: the format
 * @pte: a TDP_LEAF
 *
 * Return: true also if the leaf is old, has kept the permission, and the next
 * access has to make it young.
 */
static inline bool tdp_pte_writable(const struct tdp_fmt *fmt, tdp_pte_t pte);

/**
 * tdp_pte_young() - Was a leaf accessed since it was last made old?
 * @fmt: the format
 * @pte: a TDP_LEAF
 */
static inline bool tdp_pte_young(const struct tdp_fmt *fmt, tdp_pte_t pte);

/**
 * tdp_pte_wrprot_tracked() - Write-protect a leaf whose gfn KVM tracks
 * @fmt: the format
 * @pte: a TDP_LEAF
 *
 * Beside the permission, remove the mark that lets lockless paths give it back
 * (x86's MMU-writable bit).
 *
 * Return: the protected leaf.
 */
static inline tdp_pte_t tdp_pte_wrprot_tracked(const struct tdp_fmt *fmt,
					       tdp_pte_t pte);

/**
 * tdp_pte_volatile() - Can an entry change although mmu_lock is held for write?
 * @fmt: the format
 * @pte: an entry of any kind
 * @level: its level
 *
 * Hardware sets accessed and dirty bits, lockless paths give back permissions.
 *
 * Return: true if a plain store could lose such a change and the change
 * matters.
 */
static inline bool tdp_pte_volatile(const struct tdp_fmt *fmt, tdp_pte_t pte,
				    int level);

/**
 * tdp_pte_downgrades() - Must cached copies of a leaf go when it is replaced?
 * @fmt: the format
 * @old: a TDP_LEAF
 * @new: the TDP_LEAF that replaces it at the same level, mapping the same pfn
 *
 * Return: true if @old, or what lockless paths can make of it, allows an access
 * that @new does not.
 */
static inline bool tdp_pte_downgrades(const struct tdp_fmt *fmt, tdp_pte_t old,
				      tdp_pte_t new);

/*
 * Optional.  Formats that do not define these get what stands here.  Some make
 * sense only together.
 */

#ifdef TDP_MAX_BROKEN
#if !defined(tdp_pte_need_bbm) || !defined(tdp_pte_broken) || \
	defined(TDP_REPLACE_FLUSHES) || TDP_MAX_BROKEN < 1 || TDP_MAX_BROKEN > 64
#error "bad combination for break-before-make"
#endif
#elif defined(tdp_pte_need_bbm) || defined(tdp_pte_broken)
#error "no room for broken entries"
#endif

#ifdef TDP_REPLACE_FLUSHES
#if !defined(tdp_pte_try_replace) || !defined(tdp_pte_exchange)
#error "nothing to replace and flush entries with"
#endif
#elif defined(tdp_pte_try_replace) || defined(tdp_pte_exchange)
#error "who flushes what is replaced?"
#endif

#ifndef tdp_pte_table_pinned
static inline bool default_tdp_pte_table_pinned(const struct tdp_fmt *fmt,
						tdp_pte_t pte)
{
	return false;
}

#define tdp_pte_table_pinned default_tdp_pte_table_pinned
#endif

/**
 * tdp_pte_table_pinned() - Must a fault leave a table where it is?
 * @fmt: the format
 * @pte: a TDP_TABLE
 *
 * Return: true if only a zap or a recovery may put a leaf in its place.
 */
static inline bool tdp_pte_table_pinned(const struct tdp_fmt *fmt,
					tdp_pte_t pte);

#ifndef tdp_pte_unpin_table
static inline tdp_pte_t default_tdp_pte_unpin_table(const struct tdp_fmt *fmt,
						    tdp_pte_t pte)
{
	return pte;
}

#define tdp_pte_unpin_table default_tdp_pte_unpin_table
#endif

/**
 * tdp_pte_unpin_table() - Let faults put a leaf in a table's place
 * @fmt: the format
 * @pte: a TDP_TABLE
 *
 * Return: the same table, for which tdp_pte_table_pinned() does not hold.
 */
static inline tdp_pte_t tdp_pte_unpin_table(const struct tdp_fmt *fmt,
					    tdp_pte_t pte);

#ifndef tdp_pte_slotless
static inline bool default_tdp_pte_slotless(const struct tdp_fmt *fmt,
					    tdp_pte_t pte)
{
	return false;
}

#define tdp_pte_slotless default_tdp_pte_slotless
#endif

/**
 * tdp_pte_slotless() - Is a leaf one that no memslot backs?
 * @fmt: the format
 * @pte: a TDP_LEAF
 *
 * See kvm_tdp_map_gfn().  A memslot can lie over it all the same.
 */
static inline bool tdp_pte_slotless(const struct tdp_fmt *fmt, tdp_pte_t pte);

#ifndef tdp_pte_alike
static inline bool default_tdp_pte_alike(const struct tdp_fmt *fmt,
					 tdp_pte_t leaf, tdp_pte_t pte)
{
	return false;
}

#define tdp_pte_alike default_tdp_pte_alike
#endif

/**
 * tdp_pte_alike() - Do two entries differ in nothing but what they map?
 * @fmt: the format
 * @leaf: a TDP_LEAF
 * @pte: an entry of any kind, at the same level
 *
 * Return: true only if @pte is a TDP_LEAF, too, and has the same permissions, state
 * and attributes.  false is right in any case.
 */
static inline bool tdp_pte_alike(const struct tdp_fmt *fmt, tdp_pte_t leaf,
				 tdp_pte_t pte);

#ifndef tdp_pte_consistent
static inline bool default_tdp_pte_consistent(const struct tdp_fmt *fmt,
					      tdp_pte_t pte, int level)
{
	return true;
}

#define tdp_pte_consistent default_tdp_pte_consistent
#endif

/**
 * tdp_pte_consistent() - May there be such an entry?
 * @fmt: the format
 * @pte: an entry of any kind
 * @level: its level
 *
 * For assertions of what the format promises beyond the meaning of its parts.
 *
 * Return: false if one of the format's functions made what it must not make.
 */
static inline bool tdp_pte_consistent(const struct tdp_fmt *fmt, tdp_pte_t pte,
				      int level);

/*
 * How live entries are replaced.  An architecture whose instructions replace an
 * entry and flush what is cached of it, and of all below, in one step offers all
 * three: TDP_REPLACE_FLUSHES as 1, and no flush is owed for entries any more.
 */
#ifndef TDP_REPLACE_FLUSHES
#define TDP_REPLACE_FLUSHES	0
#endif

#ifndef tdp_pte_try_replace
static inline bool default_tdp_pte_try_replace(const struct tdp_fmt *fmt,
					       tdp_pte_t *ptep, tdp_pte_t *old,
					       tdp_pte_t new, int level)
{
	return try_cmpxchg(ptep, old, new);
}

#define tdp_pte_try_replace default_tdp_pte_try_replace
#endif

/**
 * tdp_pte_try_replace() - Replace an entry, if it is what it was
 * @fmt: the format
 * @ptep: the entry
 * @old: what it was, of any kind; out: what it is, if it was not replaced
 * @new: its replacement, of any kind
 * @level: its level
 *
 * Fully ordered if it succeeds.
 *
 * Return: whether it was replaced.
 */
static inline bool tdp_pte_try_replace(const struct tdp_fmt *fmt,
				       tdp_pte_t *ptep, tdp_pte_t *old,
				       tdp_pte_t new, int level);

#ifndef tdp_pte_exchange
static inline tdp_pte_t default_tdp_pte_exchange(const struct tdp_fmt *fmt,
						 tdp_pte_t *ptep, tdp_pte_t new,
						 int level)
{
	return xchg(ptep, new);
}

#define tdp_pte_exchange default_tdp_pte_exchange
#endif

/**
 * tdp_pte_exchange() - Replace an entry, whatever it is
 * @fmt: the format
 * @ptep: the entry
 * @new: its replacement, of any kind
 * @level: its level
 *
 * Return: what it was.
 */
static inline tdp_pte_t tdp_pte_exchange(const struct tdp_fmt *fmt,
					 tdp_pte_t *ptep, tdp_pte_t new,
					 int level);

/*
 * The most entries that may be broken at a time, waiting for the flush after
 * which they are made; 0 if the format never needs that.
 */
#ifndef TDP_MAX_BROKEN
#define TDP_MAX_BROKEN	0
#endif

#ifndef tdp_pte_need_bbm
static inline bool default_tdp_pte_need_bbm(const struct tdp_fmt *fmt,
					    tdp_pte_t old, tdp_pte_t new,
					    int level)
{
	return false;
}

#define tdp_pte_need_bbm default_tdp_pte_need_bbm
#endif

/**
 * tdp_pte_need_bbm() - Does replacing an entry need break-before-make?
 * @fmt: the format
 * @old: the entry, of any kind
 * @new: the entry that replaces it, of any kind
 * @level: level of both
 *
 * Return: true if hardware could misbehave when it finds both in its caches,
 * so that @old must first be broken and flushed; if @new maps nothing, whether
 * that can be true of what comes next.  Formats that ever return true set
 * TDP_MAX_BROKEN.
 */
static inline bool tdp_pte_need_bbm(const struct tdp_fmt *fmt, tdp_pte_t old,
				    tdp_pte_t new, int level);

#ifndef tdp_fmt_maintains_unmapped
static inline bool default_tdp_fmt_maintains_unmapped(const struct tdp_fmt *fmt)
{
	return false;
}

#define tdp_fmt_maintains_unmapped default_tdp_fmt_maintains_unmapped
#endif

/**
 * tdp_fmt_maintains_unmapped() - Is there work to do for memory that is unmapped?
 * @fmt: the format
 *
 * After it was flushed: tdp_maintain_unmapped(), which the architecture defines.
 * So what is unmapped is broken first, even if nobody else looks.  For formats
 * that set TDP_MAX_BROKEN.
 */
static inline bool tdp_fmt_maintains_unmapped(const struct tdp_fmt *fmt);

#ifndef tdp_pte_broken
static inline tdp_pte_t default_tdp_pte_broken(const struct tdp_fmt *fmt)
{
	return tdp_pte_frozen(fmt);
}

#define tdp_pte_broken default_tdp_pte_broken
#endif

/**
 * tdp_pte_broken() - The frozen entry of a table that is linked
 * @fmt: the format
 *
 * Kept between break and make.  A TDP_FROZEN, but not the tdp_pte_frozen() of
 * tables that were removed, so that who makes it finds out that the table was.
 */
static inline tdp_pte_t tdp_pte_broken(const struct tdp_fmt *fmt);

#endif /* __KVM_TDP_CONTRACT_H */
