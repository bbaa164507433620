// SPDX-License-Identifier: GPL-2.0-only
/*
 * Debts of a walk, and the end of tables.
 *
 * A table ends in four steps, and its page may be used for something else only
 * after all of them: it is unlinked from its parent; its entries are frozen, so
 * that nobody who still looks at it installs anything; the TLBs and walk caches
 * of all CPUs that may have seen it are flushed; an RCU grace period lets go of
 * software walkers.
 */
#include "table.h"

/*
 * The most tables that one RCU callback frees: those below one entry of level
 * 3 in a format with 4K tables.  Callbacks run with bottom halves off.
 */
#define TDP_FREE_BATCH	512

/**
 * tdp_gather_break() - Owe an entry
 * @gather: the debt
 * @ptep: the entry, broken by the caller
 * @gfn: first gfn that it spans
 * @level: its level
 * @old: what it was
 * @new: what it becomes after the flush
 */
void tdp_gather_break(struct tdp_gather *gather, tdp_pte_t __rcu *ptep,
		      gfn_t gfn, int level, tdp_pte_t old, tdp_pte_t new)
{
	gather->broken[gather->nr_broken++] = (struct tdp_broken) {
		.ptep = ptep,
		.old = old,
		.new = new,
		.gfn = gfn,
		.level = level,
	};
}

/**
 * tdp_gather_remove() - Take over a table that was unlinked
 * @gather: the debt
 * @table: the table, all its entries frozen or beyond change
 *
 * The table stops to count as memory in use here and not when its page is
 * freed: what it maps is gone.
 */
void tdp_gather_remove(struct tdp_gather *gather, void *table)
{
	struct page *page = tdp_table_to_page(table);

	tdp_account_table(table, -1);
	tdp_removed_set_next(page, gather->removed);
	gather->removed = page;
	gather->tables--;
	if (tdp_table_note(page))
		gather->notes++;
}

static void tdp_free_removed(struct rcu_head *head)
{
	struct page *page = container_of(head, struct page, rcu_head);
	struct page *next;

	for (; page; page = next) {
		next = tdp_removed_next(page);
		tdp_removed_set_next(page, NULL);
		__free_page(page);
	}
}

/**
 * tdp_gather_free_removed() - Free the removed tables after a grace period
 * @gather: the debt
 *
 * The part of tdp_gather_flushed() that is not inline.
 */
void tdp_gather_free_removed(struct tdp_gather *gather)
{
	struct page *head = gather->removed;

	/* Or the backend would use what it thinks is still linked. */
	WARN_ON_ONCE(gather->notes);

	while (head) {
		struct page *last = head, *rest;
		unsigned int n = 1;

		while (n < TDP_FREE_BATCH && tdp_removed_next(last)) {
			last = tdp_removed_next(last);
			n++;
		}
		rest = tdp_removed_next(last);
		tdp_removed_set_next(last, NULL);
		call_rcu(&head->rcu_head, tdp_free_removed);
		head = rest;
	}
	gather->removed = NULL;
}
