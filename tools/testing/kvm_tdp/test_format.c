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
			tdp_pte_t pte = tdp_pte_make_table(fmt, phys);
			struct view v = hw_view(pte, level);

			CHECK(tdp_pte_kind(fmt, pte, level) == TDP_TABLE);
			CHECK(tdp_pte_table_phys(fmt, pte) == phys,
			      "%llx became %llx", phys,
			      tdp_pte_table_phys(fmt, pte));
			CHECK(v.table && !v.bad && v.phys == phys);
			CHECK(v.attr == model_table_attr());
			CHECK(v.access == (TEST_R | TEST_W | TEST_X));
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
	{ }
};
