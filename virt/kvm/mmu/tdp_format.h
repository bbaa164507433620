/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_FORMAT_H
#define __KVM_TDP_FORMAT_H

/*
 * The page-table format of the architecture that is being built, checked
 * against the contract, and the geometry that follows from it.  Nothing outside
 * a format knows how many entries a table has or how its levels are spaced.
 */
#include "tdp_deps.h"
#include "tdp_types.h"

/* Found through the include path: arch/<arch>/kvm/tdp_pgtable.h. */
#include <tdp_pgtable.h>

#include "tdp_contract.h"

/**
 * struct tdp_pgtable - one page-table tree
 * @fmt: its format
 * @root: its root table
 * @unpaid: counts the walks that owe something for what they took away, while
 *	    others can look at the tree; NULL if nobody relies on it
 */
struct tdp_pgtable {
	const struct tdp_fmt *fmt;
	tdp_pte_t __rcu *root;
	atomic_t *unpaid;
};

/**
 * tdp_span() - Number of gfns that an entry spans
 * @fmt: the format
 * @level: level of the entry
 */
static inline gfn_t tdp_span(const struct tdp_fmt *fmt, int level)
{
	return 1ull << tdp_fmt_level_shift(fmt, level);
}

/**
 * tdp_gfn_round() - First gfn that the entry for a gfn spans
 * @fmt: the format
 * @gfn: any gfn
 * @level: level of the entry
 */
static inline gfn_t tdp_gfn_round(const struct tdp_fmt *fmt, gfn_t gfn,
				  int level)
{
	return gfn & ~(tdp_span(fmt, level) - 1);
}

/**
 * tdp_entry_end() - First gfn behind those that an entry can map
 * @fmt: the format
 * @gfn: first gfn that the entry spans
 * @level: level of the entry
 *
 * The last entries of a tree can span more than the address space has.
 */
static inline gfn_t tdp_entry_end(const struct tdp_fmt *fmt, gfn_t gfn,
				  int level)
{
	return min(gfn + tdp_span(fmt, level), tdp_fmt_end_gfn(fmt));
}

/**
 * tdp_index() - Index, in its table, of the entry for a gfn
 * @fmt: the format
 * @gfn: any gfn below tdp_fmt_end_gfn()
 * @level: level of the entry
 */
static inline unsigned int tdp_index(const struct tdp_fmt *fmt, gfn_t gfn,
				     int level)
{
	return (gfn >> tdp_fmt_level_shift(fmt, level)) &
	       (tdp_fmt_nr_entries(fmt, level) - 1);
}

/**
 * tdp_pte_table() - The table that an entry points to
 * @fmt: the format
 * @pte: a TDP_TABLE
 */
static inline tdp_pte_t __rcu *tdp_pte_table(const struct tdp_fmt *fmt,
					     tdp_pte_t pte)
{
	return (tdp_pte_t __rcu *)tdp_phys_to_table(tdp_pte_table_phys(fmt, pte));
}

#endif /* __KVM_TDP_FORMAT_H */
