/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_DEPS_H
#define __KVM_TDP_DEPS_H

/*
 * All that the page-table library (everything in this directory that does not
 * know struct kvm) needs from its surroundings: memory accesses, RCU, and the
 * descriptors of the pages that tables are made of.  tools/testing/kvm_tdp
 * supplies the same from user space.
 */
#ifdef __KERNEL__

#include <linux/align.h>
#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/bug.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/gfp.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/processor.h>
#include <linux/rcupdate.h>
#include <linux/tracepoint-defs.h>
#include <linux/types.h>

#include <linux/kvm_types.h>

struct tdp_pgtable;

DECLARE_TRACEPOINT(kvm_tdp_pte_changed);

void __tdp_trace_pte_changed(const struct tdp_pgtable *pgt, gfn_t gfn,
			     int level, u64 old, u64 new);

/* An entry of a linked table changed from @old to @new. */
static inline void tdp_trace_pte_changed(const struct tdp_pgtable *pgt,
					 gfn_t gfn, int level, u64 old, u64 new)
{
	if (tracepoint_enabled(kvm_tdp_pte_changed))
		__tdp_trace_pte_changed(pgt, gfn, level, old, new);
}

void tdp_maintain_unmapped(const struct tdp_pgtable *pgt, u64 pte, int level);

static inline void *tdp_phys_to_table(u64 phys)
{
	return __va(phys);
}

static inline u64 tdp_table_to_phys(const void *table)
{
	return __pa(table);
}

/*
 * Removed tables wait for their flush in a list.  Link them through the word
 * of the descriptor that does not alias the rcu_head, and not through the
 * tables themselves, which lockless walkers may still read.
 */
static inline struct page *tdp_removed_next(struct page *page)
{
	return (struct page *)page_private(page);
}

static inline void tdp_removed_set_next(struct page *page, struct page *next)
{
	BUILD_BUG_ON(offsetof(struct page, private) <
		     offsetofend(struct page, rcu_head));
	set_page_private(page, (unsigned long)next);
}

static inline struct page *tdp_table_to_page(const void *table)
{
	return virt_to_page(table);
}

/*
 * What the backend wants to know of a table for as long as it is linked, see
 * struct tdp_gather.  Lies in a word of the descriptor that page tables do not
 * use.
 */
static inline void *tdp_table_note(const struct page *page)
{
	return (void *)page->index;
}

static inline void tdp_table_set_note(struct page *page, void *note)
{
	BUILD_BUG_ON(offsetof(struct page, index) <
		     offsetofend(struct page, rcu_head));
	page->index = (unsigned long)note;
}

/* Count pages of a table in, or out of, NR_SECONDARY_PAGETABLE and the memcg's. */
static inline void tdp_account_table(void *table, int nr)
{
	mod_lruvec_page_state(virt_to_page(table), NR_SECONDARY_PAGETABLE, nr);
}

#else
#include "tdp_deps_user.h"
#endif

#endif /* __KVM_TDP_DEPS_H */
