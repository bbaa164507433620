/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_TEST_H
#define __KVM_TDP_TEST_H

#include <stdio.h>

#include "pte.h"

/* The format that is being tested. */
extern const struct tdp_fmt *fmt;

/* Framework: a check that fails ends the test. */
struct test {
	const char *name;
	void (*run)(void);
	int arg;
	bool races;
	bool unmaps;		/* a race, about memory that is given back */
	bool operates;
};

/* The one that runs. */
extern const struct test *running;

extern const struct test format_tests[], iter_tests[], pte_tests[], ops_tests[];

const struct test *litmus_tests(void);

/* The groups of tests of a program, which ends with NULL. */
const struct test *test_group(unsigned int nr);

#define CHECK(cond, ...) do {						\
	if (!(cond)) {							\
		printf("    # %s:%d: %s is false:", __FILE__, __LINE__,	\
		       #cond);						\
		printf(" " __VA_ARGS__);				\
		test_fail();						\
	}								\
} while (0)

/*
 * How much to do: 1 is a short run.  Of preemptions, too.  The only case of a
 * race to look at, if not 0.  Which stores can be late, if not negative.  And
 * where a test is, if it says so.
 */
extern unsigned int test_effort;
extern int race_bound, race_case, race_memory;
extern char test_where[96];

/* These do not return. */
void test_fail(void);
void test_abort(void);
void test_skip(const char *why);

/* How many warnings the code under test must still give. */
extern int expect_warnings;

/* From 0 to n - 1, the same in every run. */
u64 rnd(u64 n);
void rnd_seed(u64 seed);

/* The most pages that an RCU callback may free. */
#define MAX_BATCH	512
/* Entries of a table, from the first, whose accesses are scheduling points. */
#define RACE_ENTRIES	4

/*
 * What can be forced: all yield that may; somebody waits for all locks.  How
 * often they did, and what is to happen then; tasks, by bit, that may not.
 */
extern bool test_resched, test_contended;
extern TASK_LOCAL unsigned int nr_yields, test_may_not_yield;
extern void (*yield_hook)(void);
bool test_rcu_idle(void);
void shim_reset(void);

/* Called before each store to an entry; not for the stores of the hook. */
extern void (*store_hook)(tdp_pte_t *entry, int level);

/* Called when a table is freed. */
extern void (*page_freed)(void *table);

/* Called when a format flushes an entry; when one becomes a leaf or a table. */
extern void (*entry_purged)(const tdp_pte_t *ptep);
extern void (*entry_made)(const struct tdp_pgtable *pgt, gfn_t gfn, int level);

/* The last change that was traced, and how many were. */
struct traced {
	const struct tdp_pgtable *pgt;
	gfn_t gfn;
	int level;
	u64 old;
	u64 new;
	unsigned int nr;
};

extern TASK_LOCAL struct traced traced;

void test_lock(void);
void test_unlock(void);
void test_protect_tables(void);
void test_unprotect_tables(void);
void *alloc_table(int level);
void free_unlinked(void *table);
void table_filled_by(void *table, int by);
void check_filled(const void *entry);
void *page_table(const struct page *page);
extern unsigned int nr_tables, nr_freed;
extern int nr_accounted;
void pool_reset(void);
bool pool_is_low(void);

/*
 * The model of a format, independent of it: what hardware does with an entry,
 * what lockless paths do, and the shape of trees.
 */
#define TEST_R	1u
#define TEST_W	2u
#define TEST_X	4u

/**
 * struct view - an entry as hardware sees it
 * @access: TEST_*: what it allows; nothing if it is not present or @bad
 * @bad: misconfigured, or reserved bits are set
 * @ve: a fault could be delivered to the guest (EPT's #VE)
 * @table: points to a table
 * @accessed: the accessed bit, if @has_accessed
 * @dirty: the dirty bit, if @has_dirty
 * @has_accessed: hardware keeps accessed bits
 * @has_dirty: hardware keeps dirty bits
 * @phys: address bits
 * @attr: memory type and encryption
 */
struct view {
	unsigned int access;
	bool bad;
	bool ve;
	bool table;
	bool accessed;
	bool dirty;
	bool has_accessed;
	bool has_dirty;
	u64 phys;
	u64 attr;
};

struct view hw_view(tdp_pte_t pte, int level);
/* What the entry is after hardware tried one access (one of TEST_*). */
tdp_pte_t hw_access(tdp_pte_t pte, int level, unsigned int access);
/* What a leaf gave up when it was made old is back, except for W. */
tdp_pte_t sw_restored(tdp_pte_t pte, int level);
/* The most that lockless paths make of a leaf. */
tdp_pte_t sw_lockless(tdp_pte_t pte, int level);
/* The marks of software, as TDP_HOST_WRITE, and TDP_WRITE for MMU-writable. */
unsigned int sw_marks(tdp_pte_t pte);

const char *model_use(unsigned int nr);
/*
 * Is this one of the few variants of the format to try all schedules with, of what
 * unmaps or of all?
 */
bool model_races(bool unmaps);
/* Is it one of those to try all operations with? */
bool model_operates(void);
/* Has a leaf that is made old its write permission still? */
bool model_old_keeps_write(void);
int model_nr_bits(int level);
int model_shift(int level);
bool model_leaf_allowed(int level);
int model_phys_bits(void);
/* What must not change under the eyes of hardware, beside permissions. */
enum model_breaks {
	BREAKS_NOTHING,		/* anything may */
	BREAKS_MEMORY,		/* memory and its attributes */
	BREAKS_SIZE,		/* nor may the size of what is mapped */
};

enum model_breaks model_breaks(void);

/* What CPUs cache, and for how long, beside what all of them do; as bits. */
enum model_tlb {
	/* What led to a fault, until KVM flushes it. */
	TLB_KEEPS_FAULTS	= 1 << 0,
	/* Entries that are not valid. */
	TLB_CACHES_INVALID	= 1 << 1,
	/* Translations of the guest's virtual addresses: no gfn finds them. */
	TLB_COMBINES		= 1 << 2,
};

unsigned int model_tlb(void);
/* Can the guest execute only where it has tried to, and caches were told? */
bool model_exec_asked(void);
/* Attributes of leaves, all bits that those can have, attributes of tables. */
u64 model_attr(void);
u64 model_attr_bits(void);
u64 model_table_attr(void);
/* Bits of tables that mean nothing to hardware, and the one that pins or 0. */
u64 model_table_marks(void);
u64 model_pinned(void);
/* Does hardware log all pages of a leaf in which it sets the dirty bit? */
bool model_hw_logs(int level);
tdp_pte_t model_annotated(u64 random);
/* Where an entry has the address of a page. */
tdp_pte_t model_address(kvm_pfn_t pfn);
/* All leaves: the base with those subsets of the bits that are legal. */
tdp_pte_t model_leaf_base(int level);
u64 model_leaf_bits(void);
bool model_leaf_legal(tdp_pte_t pte);

static inline unsigned int hw_allows(tdp_pte_t pte, int level)
{
	return hw_view(pte, level).access;
}

static inline u64 model_span(int level)
{
	return 1ull << model_shift(level);
}

#define MAX_LEAVES 512
unsigned int all_leaves(int level, kvm_pfn_t pfn, tdp_pte_t *leaves);

/* A table with bits of its entry that say what it is for. */
#define NEW_TABLE(_table, _attr) \
	(&(struct tdp_new_table) { .table = _table, .attr = _attr })

/* Trees. */
struct tree {
	struct tdp_pgtable pgt;
	/* Its counts are those of the tree. */
	struct tdp_gather gather;
};

/* Stand on the entry of a gfn at a level to which there are tables. */
void stand(struct tree *t, struct tdp_iter *iter, gfn_t gfn, int level);

struct counts {
	int tables;
	int leaves[TDP_MAX_LEVELS];
};

void tree_init(struct tree *t);
void tree_destroy(struct tree *t);
void tree_fill(struct tree *t, unsigned int nr);
void tree_set_owing(struct tree *t, gfn_t gfn, int level, tdp_pte_t new,
		    enum tdp_mode mode);
/* The flush that is still owed when an entry was changed. */
static inline enum tdp_flush owed(enum tdp_flush flush)
{
	return TDP_REPLACE_FLUSHES ? TDP_FLUSH_NOTHING : flush;
}

/* tdp_iter_set(), and the end of break-before-make. */
bool set_and_make(struct tdp_iter *iter, struct tdp_gather *gather,
		  tdp_pte_t new, enum tdp_mode mode);
void tree_set(struct tree *t, gfn_t gfn, int level, tdp_pte_t new,
	      enum tdp_mode mode);
/* By plain arithmetic: the entry at a level, or the lowest one above it. */
tdp_pte_t *pgt_find(const struct tdp_pgtable *pgt, gfn_t gfn, int *level);
tdp_pte_t *tree_find(const struct tree *t, gfn_t gfn, int *level);
void count_tree(tdp_pte_t *table, int level, struct counts *c);
void check_counts(const struct tree *t);

gfn_t random_gfn(void);
kvm_pfn_t random_pfn(int level);
u64 random_table_attr(void);
/* NONE, ANNOTATED or LEAF. */
tdp_pte_t random_pte(int level);
enum tdp_mode random_mode(tdp_pte_t new);

/* Levels are from 1 to these. */
static inline int root_level(void)
{
	return tdp_fmt_root_level(fmt);
}

static inline int max_leaf_level(void)
{
	int level = root_level();

	while (!model_leaf_allowed(level))
		level--;
	return level;
}

static inline int random_level(void)
{
	return 1 + rnd(root_level());
}

#endif /* __KVM_TDP_TEST_H */
