/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_KUNIT_H
#define __KVM_TDP_KUNIT_H

/*
 * A copy of the page-table library for the format that the tests are compiled
 * for.  KVM and other formats have theirs, and all can be linked together: so
 * the functions of each get names of their own.
 */
#include <linux/args.h>

#define TDP_KUNIT_NAME(name) \
	CONCATENATE(CONCATENATE(TDP_KUNIT_FORMAT, _kunit_), name)

#define __tdp_iter_advance	TDP_KUNIT_NAME(__tdp_iter_advance)
#define tdp_iter_link		TDP_KUNIT_NAME(tdp_iter_link)
#define tdp_iter_set		TDP_KUNIT_NAME(tdp_iter_set)
#define tdp_iter_split		TDP_KUNIT_NAME(tdp_iter_split)
#define tdp_iter_update		TDP_KUNIT_NAME(tdp_iter_update)
#define tdp_iter_zap		TDP_KUNIT_NAME(tdp_iter_zap)
#define tdp_pte_change		TDP_KUNIT_NAME(tdp_pte_change)
#define tdp_gather_break	TDP_KUNIT_NAME(tdp_gather_break)
#define tdp_gather_free_removed	TDP_KUNIT_NAME(tdp_gather_free_removed)
#define tdp_gather_make		TDP_KUNIT_NAME(tdp_gather_make)
#define tdp_gather_remove	TDP_KUNIT_NAME(tdp_gather_remove)

/* Check what KVM can leave unchecked. */
#undef CONFIG_KVM_PROVE_MMU
#define CONFIG_KVM_PROVE_MMU	1

#include "../tdp_format.h"

/**
 * struct tdp_kunit_seen - what the library told its surroundings
 * @old: what the last change of an entry replaced
 * @changes: how many there were
 * @accounted: tables
 * @warnings: how many bugs it found
 */
struct tdp_kunit_seen {
	u64 old;
	atomic_t changes;
	atomic_t accounted;
	atomic_t warnings;
};

static struct tdp_kunit_seen tdp_kunit_seen;

/* The tracepoint is KVM's, and its trees have roots of another kind. */
static inline void tdp_kunit_changed(const struct tdp_pgtable *pgt, gfn_t gfn,
				     int level, u64 old, u64 new)
{
	WRITE_ONCE(tdp_kunit_seen.old, old);
	atomic_inc(&tdp_kunit_seen.changes);
}

#define tdp_trace_pte_changed tdp_kunit_changed

/* No guest has used what the tests unmap. */
static inline void tdp_kunit_unmapped(const struct tdp_pgtable *pgt, u64 pte,
				      int level)
{
}

#define tdp_maintain_unmapped tdp_kunit_unmapped

static inline void tdp_kunit_account(void *table, int nr)
{
	atomic_add(nr, &tdp_kunit_seen.accounted);
	tdp_account_table(table, nr);
}

#define tdp_account_table tdp_kunit_account

/* A warning fails the test, which a splat in the log would not. */
static inline bool tdp_kunit_warn(bool bug, const char *what)
{
	if (bug && atomic_inc_return(&tdp_kunit_seen.warnings) <= 4)
		pr_info("tdp_kunit: %s\n", what);
	return bug;
}

#undef WARN_ON_ONCE
#define WARN_ON_ONCE(cond)	tdp_kunit_warn(cond, #cond)

#include "../iter.c"
#include "../pte.c"
#include "../table.c"

/**
 * struct tdp_kunit_format - a format to test
 * @name: its name
 * @fmt: the format
 * @attr: attributes for leaves
 * @phys_bits: width of physical addresses
 * @breaks: what is mapped must be broken before its size changes
 */
struct tdp_kunit_format {
	const char *name;
	struct tdp_fmt fmt;
	u64 attr;
	int phys_bits;
	bool breaks;
};

#endif /* __KVM_TDP_KUNIT_H */
