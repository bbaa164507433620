/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_PTE_H
#define __KVM_TDP_PTE_H

#include "iter.h"
#include "table.h"

/**
 * struct tdp_change - what a change of an entry means
 * @leaves: by how much it changes the number of leaves at the entry's level
 * @flush: what stale translations it leaves
 * @removes_table: it unlinks a table
 * @legal: false for what must never happen: memory under a leaf exchanged in
 *	   place (a notifier was missed), one table for another
 */
struct tdp_change {
	s8 leaves;
	u8 flush;
	bool removes_table;
	bool legal;
};

struct tdp_change tdp_pte_change(const struct tdp_fmt *fmt, tdp_pte_t old,
				 tdp_pte_t new, int level);

void tdp_gather_make(const struct tdp_pgtable *pgt, struct tdp_gather *gather);

bool __must_check tdp_iter_set(struct tdp_iter *iter, struct tdp_gather *gather,
			       tdp_pte_t new, enum tdp_mode mode);
bool __must_check tdp_iter_zap(struct tdp_iter *iter, struct tdp_gather *gather,
			       enum tdp_mode mode);
bool tdp_iter_update(struct tdp_iter *iter, tdp_pte_t new);
bool __must_check tdp_iter_link(struct tdp_iter *iter,
				struct tdp_gather *gather,
				const struct tdp_new_table *new);
bool __must_check tdp_iter_split(struct tdp_iter *iter,
				 struct tdp_gather *gather,
				 const struct tdp_new_table *new, bool exec);

#endif /* __KVM_TDP_PTE_H */
