// SPDX-License-Identifier: GPL-2.0-only
/*
 * The write protocol.  No other file stores to an entry of a live table.
 *
 * TDP_SHARED, TDP_CLOSED: try_cmpxchg against the walk's snapshot.  Who loses gets
 * the new value as its snapshot and decides again, by type.
 *
 * TDP_EXCLUSIVE: nobody else installs or removes anything, but hardware and
 * lockless paths may still change volatile bits.  Entries that can have such a
 * change pending are exchanged, others are stored to.
 *
 * A table is filled before it is linked.  The cmpxchg that links it is fully
 * ordered, and pairs with the address dependency from a walker's load of the
 * entry to its loads from the table.
 *
 * Where hardware must not find the old and the new entry at the same time
 * (tdp_pte_need_bbm()) the protocol has three steps: the entry is broken, which
 * nobody else may change; what is cached of it is flushed; it is made.  Neighbours
 * share the flush, see kvm_tdp_settle().  A table that goes is taken apart only
 * then, as vCPUs wait for the entry.
 *
 *	CPU0 (recovers a table)		CPU1 (zaps the table above)
 *	breaks the table's entry
 *					unlinks the table above, freezes
 *					  all entries below, CPU0's too
 *	flushes				flushes
 *	make: is not what CPU0 broke
 *	gives up the block, frees	frees the table above
 *	  its table
 */
#include "pte.h"

/* Inline, as it is on the path of every fault. */
static __always_inline struct tdp_change
__tdp_pte_change(const struct tdp_fmt *fmt, tdp_pte_t old, tdp_pte_t new,
		 int level)
{
	enum tdp_kind to = tdp_pte_kind(fmt, new, level);
	struct tdp_change c = {
		.leaves = to == TDP_LEAF,
		.flush = TDP_FLUSH_NOTHING,
		.legal = true,
	};

	switch (tdp_pte_kind(fmt, old, level)) {
	case TDP_NONE:
	case TDP_FROZEN:
	case TDP_ANNOTATED:
		break;
	case TDP_TABLE:
		/* The same table can be remembered differently. */
		if (to == TDP_TABLE) {
			c.legal = tdp_pte_table_phys(fmt, old) ==
				  tdp_pte_table_phys(fmt, new);
			break;
		}
		c.removes_table = true;
		c.flush = TDP_FLUSH_TABLE;
		break;
	case TDP_LEAF:
		c.leaves--;
		if (to == TDP_TABLE)
			break;
		if (to != TDP_LEAF) {
			c.flush = TDP_FLUSH_LEAF;
			break;
		}
		c.legal = tdp_pte_pfn(fmt, old) == tdp_pte_pfn(fmt, new);
		if (!c.legal || tdp_pte_downgrades(fmt, old, new))
			c.flush = TDP_FLUSH_LEAF;
		break;
	}
	return c;
}

/**
 * tdp_pte_change() - What does it mean to replace one entry by another?
 * @fmt: the format
 * @old: the entry
 * @new: its replacement
 * @level: level of both
 *
 * A pure function; tdp_iter_set() acts on it.
 *
 * A leaf that is replaced by a table leaves nothing to flush if the table maps
 * the same (tdp_iter_split()); no one replaces it by any other table.
 */
struct tdp_change tdp_pte_change(const struct tdp_fmt *fmt, tdp_pte_t old,
				 tdp_pte_t new, int level)
{
	return __tdp_pte_change(fmt, old, new, level);
}

/* What is about to be installed; the check costs a little on every path. */
static void tdp_pte_assert(const struct tdp_fmt *fmt, tdp_pte_t pte, int level)
{
	if (IS_ENABLED(CONFIG_KVM_PROVE_MMU))
		WARN_ON_ONCE(!tdp_pte_consistent(fmt, pte, level));
}

/* Return: what was there. */
static tdp_pte_t tdp_pte_store(struct tdp_iter *iter, tdp_pte_t new)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	tdp_pte_t *pte = rcu_dereference(iter->ptep);

	if (TDP_REPLACE_FLUSHES || tdp_pte_volatile(fmt, iter->old, iter->level))
		return tdp_pte_exchange(fmt, pte, new, iter->level);

	WRITE_ONCE(*pte, new);
	return iter->old;
}

/*
 * Freeze an entry of a table that is no longer linked.
 *
 * Return: what it was.
 */
static tdp_pte_t tdp_pte_freeze(const struct tdp_fmt *fmt,
				tdp_pte_t __rcu *ptep, int level,
				enum tdp_mode mode)
{
	tdp_pte_t *pte = rcu_dereference(ptep);
	tdp_pte_t frozen = tdp_pte_frozen(fmt);
	tdp_pte_t old;

	if (mode == TDP_EXCLUSIVE) {
		old = READ_ONCE(*pte);
		/* Lockless paths change leaves only, and install nothing. */
		if (tdp_pte_kind(fmt, old, level) == TDP_NONE)
			return old;
		if (!TDP_REPLACE_FLUSHES && !tdp_pte_volatile(fmt, old, level)) {
			WRITE_ONCE(*pte, frozen);
			return old;
		}
	}
	old = tdp_pte_exchange(fmt, pte, frozen, level);
	/*
	 * Who broke an entry counts what it will be, and takes that back when it
	 * cannot be made.
	 */
	WARN_ON_ONCE(tdp_pte_kind(fmt, old, level) == TDP_FROZEN &&
		     (!TDP_MAX_BROKEN || old != tdp_pte_broken(fmt)));
	return old;
}

/*
 * Hand over a table that was unlinked, and all below it.  Recursion is bounded
 * by the number of levels.
 */
static void tdp_remove_table(const struct tdp_pgtable *pgt,
			     struct tdp_gather *gather, tdp_pte_t __rcu *table,
			     int level, enum tdp_mode mode, bool maintain)
{
	const struct tdp_fmt *fmt = pgt->fmt;
	unsigned int i, nr = tdp_fmt_nr_entries(fmt, level);

	for (i = 0; i < nr; i++) {
		tdp_pte_t old = tdp_pte_freeze(fmt, table + i, level, mode);

		switch (tdp_pte_kind(fmt, old, level)) {
		case TDP_NONE:
		case TDP_FROZEN:
		case TDP_ANNOTATED:
			break;
		case TDP_TABLE:
			tdp_remove_table(pgt, gather, tdp_pte_table(fmt, old),
					 level - 1, mode, maintain);
			break;
		case TDP_LEAF:
			tdp_gather_leaves(gather, level, -1);
			/* Known to be false where nothing is ever broken. */
			if (TDP_MAX_BROKEN && maintain)
				tdp_maintain_unmapped(pgt, old, level);
			break;
		}
	}
	tdp_gather_remove(gather, rcu_dereference(table));
}

/*
 * Is the current entry in a table that only this walk knows, as the entry above
 * is still to be made?
 */
static __always_inline bool tdp_iter_private(const struct tdp_iter *iter,
					     const struct tdp_gather *gather)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	const struct tdp_broken *last;

	if (!tdp_gather_has_broken(gather))
		return false;

	last = &gather->broken[gather->nr_broken - 1];
	return iter->level < last->level &&
	       tdp_pte_kind(fmt, last->new, last->level) == TDP_TABLE &&
	       iter->table[last->level - 2] == tdp_pte_table(fmt, last->new);
}

/*
 * Must the current entry be broken before it becomes @new?
 *
 * Where nobody else maps anything what maps nothing stays so until the flush; but
 * memory may have to be maintained after it.
 */
static __always_inline bool tdp_iter_must_break(const struct tdp_iter *iter,
						tdp_pte_t new, enum tdp_mode mode)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;

	if (!TDP_MAX_BROKEN)
		return false;

	switch (tdp_pte_kind(fmt, new, iter->level)) {
	case TDP_NONE:
	case TDP_FROZEN:
	case TDP_ANNOTATED:
		if (mode != TDP_SHARED && !tdp_fmt_maintains_unmapped(fmt))
			return false;
		break;
	case TDP_TABLE:
	case TDP_LEAF:
		break;
	}
	return tdp_pte_need_bbm(fmt, iter->old, new, iter->level);
}

/*
 * Will the current entry, as @new, no longer lead to what CPUs may have cached of
 * it?  Others who look for that find nothing.
 */
static __always_inline bool tdp_iter_hides(const struct tdp_iter *iter, tdp_pte_t new)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	enum tdp_kind to = tdp_pte_kind(fmt, new, iter->level);

	switch (tdp_iter_kind(iter)) {
	case TDP_NONE:
	case TDP_FROZEN:
	case TDP_ANNOTATED:
		break;
	case TDP_TABLE:
		return to != TDP_TABLE;
	case TDP_LEAF:
		return to != TDP_TABLE && to != TDP_LEAF;
	}
	return false;
}

/*
 * With PREEMPT_RT mmu_lock does not keep the owner of broken entries on its CPU,
 * where it may be preempted by who waits for them.
 */
static void tdp_break_begin(const struct tdp_gather *gather)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT) && !gather->nr_broken)
		preempt_disable();
}

static void tdp_break_end(const struct tdp_gather *gather)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT) && !gather->nr_broken)
		preempt_enable();
}

/* An entry cannot be made, as its table was removed. */
static void tdp_gather_give_up(const struct tdp_pgtable *pgt,
			       struct tdp_gather *gather,
			       const struct tdp_broken *b)
{
	const struct tdp_fmt *fmt = pgt->fmt;

	switch (tdp_pte_kind(fmt, b->new, b->level)) {
	case TDP_NONE:
	case TDP_FROZEN:
	case TDP_ANNOTATED:
		break;
	case TDP_TABLE:
		/* Nobody has seen it, but it is simpler so. */
		tdp_remove_table(pgt, gather, tdp_pte_table(fmt, b->new),
				 b->level - 1, TDP_EXCLUSIVE, false);
		break;
	case TDP_LEAF:
		tdp_gather_leaves(gather, b->level, -1);
		break;
	}
}

/* What was broken has been flushed, and was made unless it was @given_up. */
static void tdp_gather_unmapped(const struct tdp_pgtable *pgt,
				struct tdp_gather *gather,
				const struct tdp_broken *b, bool given_up)
{
	const struct tdp_fmt *fmt = pgt->fmt;
	bool maintain = gather->maintain && tdp_fmt_maintains_unmapped(fmt);

	switch (tdp_pte_kind(fmt, b->new, b->level)) {
	case TDP_NONE:
	case TDP_FROZEN:
	case TDP_ANNOTATED:
		break;
	case TDP_TABLE:
	case TDP_LEAF:
		/* Of the same memory. */
		maintain &= given_up;
		break;
	}

	switch (tdp_pte_kind(fmt, b->old, b->level)) {
	case TDP_NONE:
	case TDP_FROZEN:
	case TDP_ANNOTATED:
		break;
	case TDP_TABLE:
		/* Who was in it when it was unlinked can still install something. */
		tdp_remove_table(pgt, gather, tdp_pte_table(fmt, b->old),
				 b->level - 1, TDP_SHARED, maintain);
		break;
	case TDP_LEAF:
		if (maintain)
			tdp_maintain_unmapped(pgt, b->old, b->level);
		break;
	}
}

/**
 * tdp_gather_make() - Make what was broken
 * @pgt: the tree
 * @gather: the debt
 *
 * An entry whose table was removed in the meantime is given up.
 *
 * Context: What is owed has been flushed.  mmu_lock is held, and the RCU
 *	    read-side critical section is the one in which the entries were
 *	    broken.
 */
void tdp_gather_make(const struct tdp_pgtable *pgt, struct tdp_gather *gather)
{
	const struct tdp_fmt *fmt = pgt->fmt;

	if (!tdp_gather_has_broken(gather))
		return;

	while (gather->nr_broken) {
		struct tdp_broken *b = &gather->broken[--gather->nr_broken];
		tdp_pte_t old = tdp_pte_broken(fmt);
		bool given_up = false;

		/* Orders what a new table holds before the link to it. */
		if (tdp_pte_try_replace(fmt, rcu_dereference(b->ptep), &old,
					b->new, b->level)) {
			tdp_trace_pte_changed(pgt, b->gfn, b->level, old,
					      b->new);
		} else {
			WARN_ON_ONCE(old != tdp_pte_frozen(fmt));
			tdp_gather_give_up(pgt, gather, b);
			given_up = true;
		}
		tdp_gather_unmapped(pgt, gather, b, given_up);
	}
	tdp_break_end(gather);
}

/* Inline: much of it goes away where @new is known. */
static __always_inline bool __tdp_iter_set(struct tdp_iter *iter,
					   struct tdp_gather *gather,
					   tdp_pte_t new, enum tdp_mode mode)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	bool private = tdp_iter_private(iter, gather);
	bool broken = !private && tdp_iter_must_break(iter, new, mode);
	tdp_pte_t now = broken ? tdp_pte_broken(fmt) : new;
	tdp_pte_t old = iter->old;
	struct tdp_change c;

	/* A frozen entry belongs to someone else. */
	if (WARN_ON_ONCE(tdp_iter_kind(iter) == TDP_FROZEN))
		return false;

	/* Nobody would make it. */
	if (WARN_ON_ONCE(broken && tdp_gather_is_full(gather)))
		return false;

	tdp_pte_assert(fmt, new, iter->level);

	/* What is broken nobody passes before it is flushed. */
	if (mode != TDP_EXCLUSIVE &&
	    (broken ? tdp_fmt_maintains_unmapped(fmt) : tdp_iter_hides(iter, new)))
		tdp_gather_owe(iter->pgt, gather);
	if (broken)
		tdp_break_begin(gather);
	if (mode == TDP_EXCLUSIVE || private) {
		old = tdp_pte_store(iter, now);
	} else if (!tdp_pte_try_replace(fmt, rcu_dereference(iter->ptep),
					&iter->old, now, iter->level)) {
		if (broken)
			tdp_break_end(gather);
		return false;
	}

	tdp_trace_pte_changed(iter->pgt, iter->gfn, iter->level, old, now);
	iter->old = new;

	/* After the store: an exchange can have brought more bits. */
	c = __tdp_pte_change(fmt, old, new, iter->level);
	/* Those who ask for it must look first, as they cannot take it back. */
	WARN_ON_ONCE(!c.legal);

	if (broken) {
		tdp_gather_break(gather, iter->ptep, iter->gfn, iter->level,
				 old, new);
		c.flush = max_t(u8, c.flush, TDP_FLUSH_LEAF);
	}
	if (c.leaves)
		tdp_gather_leaves(gather, iter->level, c.leaves);
	if (c.flush != TDP_FLUSH_NOTHING && !private && !TDP_REPLACE_FLUSHES)
		tdp_gather_add(gather, iter->gfn,
			       iter->gfn + tdp_span(fmt, iter->level),
			       iter->level, c.flush);
	if (c.removes_table && !broken)
		tdp_remove_table(iter->pgt, gather, tdp_pte_table(fmt, old),
				 iter->level - 1, mode, false);
	return true;
}

/**
 * tdp_iter_set() - Replace the current entry
 * @iter: the walk; its snapshot is what is replaced
 * @gather: takes the debt: flushes, removed tables, leaf counts
 * @new: the new entry.  A table only through tdp_iter_link() and
 *	 tdp_iter_split().
 * @mode: who else may be there
 *
 * Return: true if it was replaced, or broken and will be: then the snapshot is
 * @new.  False if the entry changed since the snapshot was taken (not if it is
 * TDP_EXCLUSIVE); then nothing was done, and the snapshot is what the entry is now.
 *
 * Context: RCU read-side critical section and mmu_lock as @mode says.
 *	    tdp_gather_is_full() does not hold.
 */
bool tdp_iter_set(struct tdp_iter *iter, struct tdp_gather *gather,
		  tdp_pte_t new, enum tdp_mode mode)
{
	return __tdp_iter_set(iter, gather, new, mode);
}

/**
 * tdp_iter_zap() - Let the current entry map nothing
 * @iter: the walk; its snapshot is what is replaced
 * @gather: takes the debt: flushes, removed tables, leaf counts
 * @mode: who else may be there
 *
 * As tdp_iter_set() with tdp_pte_none(), for those who do it many times.
 */
bool tdp_iter_zap(struct tdp_iter *iter, struct tdp_gather *gather,
		  enum tdp_mode mode)
{
	return __tdp_iter_set(iter, gather, tdp_pte_none(iter->pgt->fmt), mode);
}

/**
 * tdp_iter_update() - Change the state or the permissions of a leaf
 * @iter: the walk, on a TDP_LEAF
 * @new: the leaf that it becomes, of the same memory
 *
 * For logging, aging and what undoes them: nothing is mapped that was not, and
 * a flush that the change asks for is the caller's business.
 *
 * Return: true if it was changed; then the snapshot is @new.  False if the entry
 * changed since the snapshot was taken; then nothing was done, and the snapshot
 * is what the entry is now.
 *
 * Context: RCU read-side critical section.  mmu_lock need not be held.
 */
bool tdp_iter_update(struct tdp_iter *iter, tdp_pte_t new)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	tdp_pte_t old = iter->old;

	tdp_pte_assert(fmt, new, iter->level);
	if (IS_ENABLED(CONFIG_KVM_PROVE_MMU)) {
		WARN_ON_ONCE(tdp_iter_kind(iter) != TDP_LEAF);
		WARN_ON_ONCE(tdp_pte_kind(fmt, new, iter->level) != TDP_LEAF);
		WARN_ON_ONCE(tdp_pte_pfn(fmt, old) != tdp_pte_pfn(fmt, new));
	}

	if (!tdp_pte_try_replace(fmt, rcu_dereference(iter->ptep), &iter->old,
				 new, iter->level))
		return false;

	tdp_trace_pte_changed(iter->pgt, iter->gfn, iter->level, old, new);
	iter->old = new;
	return true;
}

/**
 * tdp_iter_link() - Put an empty table where nothing is mapped
 * @iter: the walk, on a TDP_NONE or TDP_ANNOTATED above level 1
 * @gather: takes the debt
 * @new: the table, all its entries tdp_pte_none()
 *
 * Return: false if the entry changed; the table is still the caller's.
 *
 * Context: As for TDP_SHARED, also under mmu_lock for write.
 */
bool tdp_iter_link(struct tdp_iter *iter, struct tdp_gather *gather,
		   const struct tdp_new_table *new)
{
	tdp_pte_t pte = tdp_pte_make_table(iter->pgt->fmt,
					   tdp_table_to_phys(new->table),
					   new->attr);

	/* The word can hold what the page's last user left there. */
	tdp_table_set_note(tdp_table_to_page(new->table), new->note);

	if (!tdp_iter_set(iter, gather, pte, TDP_SHARED))
		return false;
	tdp_account_table(new->table, 1);
	gather->tables++;
	return true;
}

/**
 * tdp_iter_split() - Put a table of smaller leaves in place of a huge leaf
 * @iter: the walk, on a TDP_LEAF above level 1
 * @gather: takes the debt
 * @new: the table; its entries need not be initialized
 * @exec: let the guest execute what the table maps, whether the leaf did or not
 *
 * The table maps what the leaf did and allows no less, so nothing needs a flush
 * unless the leaf has to be broken: whether a CPU uses the one or the other makes
 * no difference.
 *
 * Return: false if the entry changed; the table is still the caller's, but no
 * longer empty.
 *
 * Context: As for TDP_SHARED, also under mmu_lock for write.
 */
bool tdp_iter_split(struct tdp_iter *iter, struct tdp_gather *gather,
		    const struct tdp_new_table *new, bool exec)
{
	const struct tdp_fmt *fmt = iter->pgt->fmt;
	int level = iter->level;
	unsigned int i, nr = tdp_fmt_nr_entries(fmt, level - 1);
	tdp_pte_t *child = new->table;
	tdp_pte_t huge = iter->old;

	if (exec)
		huge = tdp_pte_mkexec(fmt, huge);

	for (i = 0; i < nr; i++)
		child[i] = tdp_pte_split_child(fmt, huge, level, i);
	tdp_pte_assert(fmt, child[0], level - 1);

	if (!tdp_iter_link(iter, gather, new))
		return false;
	tdp_gather_leaves(gather, level - 1, nr);
	return true;
}
