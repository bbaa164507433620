// SPDX-License-Identifier: GPL-2.0-only
/*
 * Conformance of a format: at every level, what the contract in
 * virt/kvm/mmu/tdp_contract.h says about entries is compared with the model of
 * the hardware.
 */
#include "test.h"

#define MAX_BOUNDARIES 128

/*
 * The boundaries of addresses with an alignment: 0, each one bit, all but one
 * bit, all bits.
 */
static unsigned int boundaries(int low, u64 *out)
{
	u64 all = GENMASK_ULL(model_phys_bits() - 1, low);
	unsigned int nr = 0;
	int bit;

	out[nr++] = 0;
	out[nr++] = all;
	for (bit = low; bit < model_phys_bits(); bit++) {
		out[nr++] = BIT_ULL(bit);
		out[nr++] = all & ~BIT_ULL(bit);
	}
	return nr;
}

static void test_geometry(void)
{
	int level, root = root_level();
	gfn_t end = tdp_fmt_end_gfn(fmt);

	CHECK(root >= 1 && root <= TDP_MAX_LEVELS);
	CHECK(end > 0 && end <= model_span(root) << model_nr_bits(root));

	for (level = 1; level <= root_level(); level++) {
		CHECK(tdp_fmt_nr_entries(fmt, level) ==
		      1u << model_nr_bits(level));
		CHECK(tdp_fmt_level_shift(fmt, level) == model_shift(level));
		CHECK(tdp_fmt_leaf_allowed(fmt, level) ==
		      model_leaf_allowed(level));
		CHECK(tdp_span(fmt, level) == model_span(level));
		CHECK(tdp_index(fmt, end - 1, level) ==
		      (end - 1) / model_span(level) %
		      (1u << model_nr_bits(level)));
		CHECK(tdp_gfn_round(fmt, end - 1, level) ==
		      end - 1 - (end - 1) % model_span(level));
	}
}

/* To hardware nothing, with no address (L1TF), and faults are KVM's. */
static void test_empty(void)
{
	tdp_pte_t none = tdp_pte_none(fmt), frozen = tdp_pte_frozen(fmt);
	int level;

	for (level = 1; level <= root_level(); level++) {
		CHECK(tdp_pte_kind(fmt, none, level) == TDP_NONE);
		CHECK(tdp_pte_kind(fmt, frozen, level) == TDP_FROZEN);
		CHECK(!hw_allows(none, level) && !hw_allows(frozen, level));
		CHECK(!hw_view(none, level).bad && !hw_view(none, level).phys);
		CHECK(!hw_view(frozen, level).bad &&
		      !hw_view(frozen, level).phys);
		CHECK(!hw_view(none, level).ve && !hw_view(frozen, level).ve);
		CHECK(!tdp_pte_volatile(fmt, none, level));
		CHECK(!tdp_pte_volatile(fmt, frozen, level));
	}
}

static void test_annotated(void)
{
	int i, level;

	for (level = 1; level <= root_level(); level++) {
		for (i = 0; i < 20000; i++) {
			tdp_pte_t pte = model_annotated(i < 2 ? -i :
							rnd(-1ull));

			CHECK(tdp_pte_kind(fmt, pte, level) == TDP_ANNOTATED);
			CHECK(!tdp_pte_volatile(fmt, pte, level));
			CHECK(!hw_allows(pte, level));
		}
	}
}

static void test_table(void)
{
	unsigned int i, nr;
	int level;
	u64 b[MAX_BOUNDARIES];

	nr = boundaries(12, b);
	for (level = 2; level <= root_level(); level++) {
		for (i = 0; i < nr; i++) {
			u64 phys = b[i];
			tdp_pte_t pte = tdp_pte_make_table(fmt, phys, 0);
			struct view v = hw_view(pte, level);

			CHECK(tdp_pte_kind(fmt, pte, level) == TDP_TABLE);
			CHECK(tdp_pte_table_phys(fmt, pte) == phys,
			      "%llx became %llx", phys,
			      tdp_pte_table_phys(fmt, pte));
			CHECK(v.table && !v.bad && v.phys == phys);
			CHECK(v.attr == model_table_attr());
			CHECK(v.access == (TEST_R | TEST_W | TEST_X));
			CHECK(!tdp_pte_table_pinned(fmt, pte));
			/* What is remembered of it changes nothing else. */
			pte = tdp_pte_make_table(fmt, phys, model_table_pin());
			CHECK(tdp_pte_table_pinned(fmt, pte));
			CHECK(tdp_pte_kind(fmt, pte, level) == TDP_TABLE);
			CHECK(tdp_pte_table_phys(fmt, pte) == phys);
			CHECK(!hw_view(pte, level).bad &&
			      hw_view(pte, level).access == v.access);
			pte = tdp_pte_unpin_table(fmt, pte);
			CHECK(pte == tdp_pte_make_table(fmt, phys, 0));
			/* Hardware must not want to change it. */
			CHECK(hw_access(pte, level, TEST_R) == pte);
			CHECK(v.accessed || !v.has_accessed);
			CHECK(!tdp_pte_volatile(fmt, pte, level));
		}
	}
}

static void check_leaf(tdp_pte_t pte, int level, u64 phys, unsigned int flags)
{
	unsigned int access = TEST_R | (flags & TDP_WRITE ? TEST_W : 0) |
			      (flags & TDP_EXEC ? TEST_X : 0);
	unsigned int marks = flags & (TDP_WRITE | TDP_HOST_WRITE);
	struct view v = hw_view(pte, level);

	CHECK(tdp_pte_kind(fmt, pte, level) == TDP_LEAF);
	CHECK(tdp_pte_pfn(fmt, pte) == phys >> 12);
	CHECK(!v.table && !v.bad && !v.ve && v.phys == phys);
	CHECK(hw_view(sw_lockless(pte, level), level).attr == model_attr());
	CHECK(sw_marks(pte) == marks, "%x", sw_marks(pte));
	CHECK(tdp_pte_young(fmt, pte) == !!(flags & TDP_YOUNG));
	CHECK(tdp_pte_writable(fmt, pte) == !!(v.access & TEST_W));

	if (v.has_accessed || (flags & TDP_YOUNG)) {
		CHECK(v.access == access, "%x, not %x", v.access, access);
	} else {
		/* The first access has to fault; then all comes back. */
		CHECK(!v.access);
		CHECK(hw_allows(sw_lockless(pte, level), level) == access);
	}
	CHECK(v.accessed == (v.has_accessed && (flags & TDP_YOUNG)));
	CHECK(v.dirty == (v.has_dirty && (flags & TDP_WRITE)));
}

static void test_leaf(void)
{
	unsigned int i, nr, flags;
	u64 b[MAX_BOUNDARIES];
	int level;

	for (level = 1; level <= max_leaf_level(); level++) {
		nr = boundaries(12 + model_shift(level), b);
		for (i = 0; i < nr; i++) {
			for (flags = 0; flags < 16; flags++) {
				if ((flags & TDP_WRITE) &&
				    !(flags & TDP_HOST_WRITE))
					continue;
				check_leaf(tdp_pte_make_leaf(fmt, b[i] >> 12,
							     level, flags,
							     model_attr()),
					   level, b[i], flags);
			}
		}
	}
}

static void test_wrprot(void)
{
	tdp_pte_t leaves[MAX_LEAVES];
	unsigned int i, nr;
	int level;

	for (level = 1; level <= max_leaf_level(); level++) {
		nr = all_leaves(level, random_pfn(level), leaves);
		for (i = 0; i < nr; i++) {
			tdp_pte_t old = leaves[i];
			tdp_pte_t new = tdp_pte_wrprot_tracked(fmt, old);
			struct view was = hw_view(old, level);
			struct view is = hw_view(new, level);

			CHECK(tdp_pte_kind(fmt, new, level) == TDP_LEAF);
			CHECK(!tdp_pte_writable(fmt, new));
			/* Not now, nor by lockless paths. */
			CHECK(is.access == (was.access & ~TEST_W));
			CHECK(!(hw_allows(sw_lockless(new, level), level) &
				TEST_W));
			CHECK(sw_marks(new) == (sw_marks(old) & ~TDP_WRITE));
			CHECK(is.phys == was.phys && is.attr == was.attr);
			CHECK(is.accessed == was.accessed && !is.bad);
			CHECK(tdp_pte_young(fmt, new) ==
			      tdp_pte_young(fmt, old));
		}
	}
}

/* Volatile is what hardware or a lockless path can change. */
static void test_volatile(void)
{
	tdp_pte_t leaves[MAX_LEAVES];
	unsigned int i, nr;
	int level;

	for (level = 1; level <= max_leaf_level(); level++) {
		nr = all_leaves(level, random_pfn(level), leaves);
		for (i = 0; i < nr; i++) {
			tdp_pte_t pte = leaves[i];
			bool changes;

			CHECK(tdp_pte_kind(fmt, pte, level) == TDP_LEAF);
			changes = hw_access(pte, level, TEST_R) != pte ||
				  hw_access(pte, level, TEST_W) != pte ||
				  hw_access(pte, level, TEST_X) != pte ||
				  sw_lockless(pte, level) != pte;
			CHECK(tdp_pte_volatile(fmt, pte, level) == changes,
			      "%llx at level %d", (u64)pte, level);
		}
	}
}

/* What a leaf allows once it is young. */
static unsigned int young_access(tdp_pte_t pte, int level)
{
	return hw_allows(tdp_pte_mkyoung(fmt, pte), level);
}

static void check_same_memory(tdp_pte_t old, tdp_pte_t new, int level)
{
	struct view was = hw_view(sw_lockless(old, level), level);
	struct view is = hw_view(sw_lockless(new, level), level);

	CHECK(tdp_pte_kind(fmt, new, level) == TDP_LEAF);
	CHECK(model_leaf_legal(new));
	CHECK(!is.bad && is.phys == was.phys && is.attr == was.attr);
	CHECK(sw_marks(new) == sw_marks(old));
	CHECK(tdp_pte_pfn(fmt, new) == tdp_pte_pfn(fmt, old));
}

static void check_age(tdp_pte_t pte, int level)
{
	tdp_pte_t old = tdp_pte_mkold(fmt, pte);
	tdp_pte_t young = tdp_pte_mkyoung(fmt, pte);

	check_same_memory(pte, old, level);
	check_same_memory(pte, young, level);
	CHECK(!tdp_pte_young(fmt, old) && tdp_pte_young(fmt, young));
	CHECK(!hw_view(old, level).accessed);
	CHECK(hw_view(young, level).accessed ||
	      !hw_view(young, level).has_accessed);
	CHECK(tdp_pte_mkold(fmt, old) == old);
	CHECK(tdp_pte_mkyoung(fmt, young) == young);

	/* Old: the next access is seen, by hardware or as a fault. */
	CHECK(!(hw_allows(old, level) & ~hw_allows(pte, level)));
	CHECK(hw_view(old, level).has_accessed || !hw_allows(old, level));
	/* Then all comes back but, perhaps, W. */
	CHECK((young_access(old, level) | TEST_W) ==
	      (young_access(pte, level) | TEST_W));
	CHECK(!(young_access(old, level) & ~young_access(pte, level)));
	CHECK((hw_allows(pte, level) & ~young_access(pte, level)) == 0);
}

static void check_permissions(tdp_pte_t pte, int level)
{
	unsigned int now = hw_allows(pte, level), then = young_access(pte, level);
	tdp_pte_t new = tdp_pte_mkexec(fmt, pte);
	struct view v;

	CHECK(tdp_pte_host_writable(fmt, pte) ==
	      !!(sw_marks(pte) & TDP_HOST_WRITE));
	CHECK(tdp_pte_may_mkwrite(fmt, pte) == !!(sw_marks(pte) & TDP_WRITE));
	CHECK(tdp_pte_allows(fmt, pte, 0) == !!(now & TEST_R));
	CHECK(tdp_pte_allows(fmt, pte, TDP_WRITE) == !!(now & TEST_W));
	CHECK(tdp_pte_allows(fmt, pte, TDP_EXEC) == !!(now & TEST_X));
	CHECK(tdp_pte_executable(fmt, pte) == !!(then & TEST_X));

	/* X and nothing else. */
	check_same_memory(pte, new, level);
	CHECK(tdp_pte_young(fmt, new) == tdp_pte_young(fmt, pte));
	CHECK(young_access(new, level) == (then | TEST_X));
	CHECK(hw_allows(new, level) == (now ? now | TEST_X : 0));
	CHECK(tdp_pte_writable(fmt, new) == tdp_pte_writable(fmt, pte));

	if (!tdp_pte_may_mkwrite(fmt, pte))
		return;
	new = tdp_pte_mkwrite(fmt, pte);
	check_same_memory(pte, new, level);
	CHECK(hw_allows(new, level) == (then | TEST_W));
	v = hw_view(new, level);
	CHECK(v.accessed || !v.has_accessed);
	CHECK(v.dirty || !v.has_dirty);
}

static void check_log_writes(tdp_pte_t pte, int level)
{
	tdp_pte_t new = tdp_pte_log_writes(fmt, pte, level);
	struct view was = hw_view(pte, level), is = hw_view(new, level);

	check_same_memory(pte, new, level);
	CHECK(tdp_pte_young(fmt, new) == tdp_pte_young(fmt, pte));
	if (model_hw_logs(level)) {
		CHECK(!is.dirty && is.access == was.access);
	} else {
		CHECK(!tdp_pte_writable(fmt, new));
		CHECK(is.access == (was.access & ~TEST_W));
		CHECK(is.dirty == was.dirty);
	}
	/* A write that was possible is flushed out of the TLBs. */
	if ((was.access & TEST_W) && (!model_hw_logs(level) || was.dirty))
		CHECK(tdp_pte_downgrades(fmt, pte, new));
}

static void test_states(void)
{
	tdp_pte_t leaves[MAX_LEAVES];
	unsigned int i, nr;
	int level;

	for (level = 1; level <= max_leaf_level(); level++) {
		nr = all_leaves(level, random_pfn(level), leaves);
		for (i = 0; i < nr; i++) {
			check_age(leaves[i], level);
			check_permissions(leaves[i], level);
			check_log_writes(leaves[i], level);
		}
	}
}

/* Any part of a huge leaf makes the huge leaf again. */
static void test_block(void)
{
	unsigned int i, nr, flags, index;
	u64 b[MAX_BOUNDARIES];
	int level;

	for (level = 2; level <= max_leaf_level(); level++) {
		nr = boundaries(12 + model_shift(level), b);
		for (i = 0; i < nr; i++) {
			for (flags = 0; flags < 16; flags++) {
				tdp_pte_t huge, part;

				if ((flags & TDP_WRITE) &&
				    !(flags & TDP_HOST_WRITE))
					continue;
				huge = tdp_pte_make_leaf(fmt, b[i] >> 12, level,
							 flags, model_attr());
				index = rnd(1u << model_nr_bits(level - 1));
				part = tdp_pte_split_child(fmt, huge, level,
							   index);
				CHECK(tdp_pte_make_block(fmt, part, level,
							 flags) == huge,
				      "%llx by part %u", (u64)huge, index);
				part = tdp_pte_log_writes(fmt, part, level - 1);
				CHECK(tdp_pte_make_block(fmt, part, level,
							 flags) == huge);
			}
		}
	}
}

static void check_downgrades(tdp_pte_t old, tdp_pte_t new, int level)
{
	/*
	 * Cached can be what hardware sees now and also what lockless paths
	 * take away and give back without a flush.
	 */
	unsigned int could = hw_allows(sw_lockless(old, level), level);
	unsigned int can = hw_allows(sw_lockless(new, level), level);
	struct view was = hw_view(old, level), is = hw_view(new, level);
	bool dirty_lost = was.dirty && !is.dirty;
	bool must = (was.access & ~is.access) || (could & ~can) ||
		    (dirty_lost && (could & TEST_W));
	bool down = tdp_pte_downgrades(fmt, old, new);

	CHECK(down || !must, "not flushed: %llx to %llx at level %d",
	      (u64)old, (u64)new, level);
	/* The dirty bit of what cannot be written does not matter. */
	CHECK(!down || must || dirty_lost, "flushed: %llx to %llx at level %d",
	      (u64)old, (u64)new, level);
}

static void test_downgrades(void)
{
	tdp_pte_t leaves[MAX_LEAVES];
	unsigned int i, j, nr;
	int level;

	for (level = 1; level <= max_leaf_level(); level++) {
		nr = all_leaves(level, random_pfn(level), leaves);
		for (i = 0; i < nr; i++) {
			for (j = 0; j < nr; j++)
				check_downgrades(leaves[i], leaves[j], level);
		}
	}
}

static void check_split_child(tdp_pte_t huge, int level, unsigned int index)
{
	tdp_pte_t child = tdp_pte_split_child(fmt, huge, level, index);
	struct view was = hw_view(huge, level);
	struct view is = hw_view(child, level - 1);

	CHECK(tdp_pte_kind(fmt, child, level - 1) == TDP_LEAF);
	CHECK(!is.table && !is.bad && !is.ve);
	CHECK(is.phys == was.phys + index * (model_span(level - 1) << 12));
	CHECK(tdp_pte_pfn(fmt, child) == is.phys >> 12);
	CHECK(is.access == was.access && is.attr == was.attr,
	      "%llx became %llx", (u64)huge, (u64)child);
	CHECK(is.accessed == was.accessed && is.dirty == was.dirty);
	CHECK(sw_marks(child) == sw_marks(huge));
	CHECK(hw_allows(sw_lockless(child, level - 1), level - 1) ==
	      hw_allows(sw_lockless(huge, level), level));
	CHECK(tdp_pte_young(fmt, child) == tdp_pte_young(fmt, huge));
}

static void test_split_child(void)
{
	tdp_pte_t leaves[MAX_LEAVES];
	unsigned int i, j, index, nr, nr_b;
	u64 b[MAX_BOUNDARIES];
	int level;

	for (level = 2; level <= max_leaf_level(); level++) {
		nr_b = boundaries(12 + model_shift(level), b);
		for (j = 0; j < nr_b; j++) {
			nr = all_leaves(level, b[j] >> 12, leaves);
			index = rnd(1u << model_nr_bits(level - 1));
			for (i = 0; i < nr; i++) {
				check_split_child(leaves[i], level, 0);
				check_split_child(leaves[i], level, index);
			}
		}
		for (index = 0; index < 1u << model_nr_bits(level - 1); index++)
			check_split_child(leaves[0], level, index);
	}
}

const struct test format_tests[] = {
	{ "format_geometry", test_geometry },
	{ "format_empty", test_empty },
	{ "format_annotated", test_annotated },
	{ "format_table", test_table },
	{ "format_leaf", test_leaf },
	{ "format_wrprot", test_wrprot },
	{ "format_volatile", test_volatile },
	{ "format_downgrades", test_downgrades },
	{ "format_split_child", test_split_child },
	{ "format_states", test_states },
	{ "format_block", test_block },
	{ }
};
