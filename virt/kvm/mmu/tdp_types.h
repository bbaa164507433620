/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_TYPES_H
#define __KVM_TDP_TYPES_H

/*
 * Types that page-table formats and the common TDP MMU share.  Like the
 * formats, this file does not know what a VM is.
 */

/* The most levels that any format has; sizes arrays indexed by level - 1. */
#define TDP_MAX_LEVELS	5

/**
 * enum tdp_kind - what an entry is
 * @TDP_NONE: maps nothing and may be replaced by anyone who may map.  Not
 *	      necessarily zero.
 * @TDP_FROZEN: maps nothing and belongs to the thread that froze it, or to a
 *		table that was removed.  Nobody else may replace it.
 * @TDP_ANNOTATED: maps nothing, carries information of the backend (e.g. x86's
 *		   MMIO generations).  May be replaced like TDP_NONE.
 * @TDP_TABLE: points to a table of the next lower level
 * @TDP_LEAF: maps guest memory.  Not the same as "present in hardware": a leaf
 *	      whose accesses are tracked in software has no permissions.
 *
 * Switch over all five and leave out the default, so that the compiler finds
 * what is missing.
 */
enum tdp_kind {
	TDP_NONE,
	TDP_FROZEN,
	TDP_ANNOTATED,
	TDP_TABLE,
	TDP_LEAF,
};

/* What a new leaf allows and starts with, see tdp_pte_make_leaf(). */
#define TDP_WRITE	BIT(0)	/* the guest may write now */
#define TDP_EXEC	BIT(1)	/* the guest may execute */
#define TDP_HOST_WRITE	BIT(2)	/* the primary MMU allows writes */
#define TDP_YOUNG	BIT(3)	/* count as accessed */

/**
 * enum tdp_flush - what stale translations a change of an entry leaves behind
 * @TDP_FLUSH_NOTHING: whatever is cached allows no more than the new entry
 * @TDP_FLUSH_LEAF: a leaf translation
 * @TDP_FLUSH_TABLE: translations below a table and the walk caches for it
 *
 * In order of strength.
 */
enum tdp_flush {
	TDP_FLUSH_NOTHING,
	TDP_FLUSH_LEAF,
	TDP_FLUSH_TABLE,
};

/**
 * enum tdp_mode - who else may change entries at the same time
 * @TDP_SHARED: everyone who holds mmu_lock for read, lockless paths, hardware
 * @TDP_CLOSED: the same, but until what is owed for the entry was paid nobody puts
 *		anything where it was, no table and no annotation either: to take away
 *		what it maps
 * @TDP_EXCLUSIVE: mmu_lock is held for write: lockless paths and hardware,
 *		   which change volatile bits of leaves and nothing else
 */
enum tdp_mode {
	TDP_SHARED,
	TDP_CLOSED,
	TDP_EXCLUSIVE,
};

#endif /* __KVM_TDP_TYPES_H */
