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
		CHECK(level == root || tdp_fmt_nr_entries(fmt, level) ==
		      tdp_span(fmt, level + 1) / tdp_span(fmt, level));
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

/* Broken and removed are different, and both are nobody's to replace. */
static void test_broken(void)
{
	tdp_pte_t broken = tdp_pte_broken(fmt);
	int level;

	if (!TDP_MAX_BROKEN)
		test_skip("never breaks");

	CHECK(broken != tdp_pte_frozen(fmt) && broken != tdp_pte_none(fmt));
	for (level = 1; level <= root_level(); level++) {
		CHECK(tdp_pte_kind(fmt, broken, level) == TDP_FROZEN);
		CHECK(!hw_allows(broken, level) && !hw_view(broken, level).bad);
		CHECK(!tdp_pte_volatile(fmt, broken, level));
	}
}

static bool valid(tdp_pte_t pte, int level)
{
	enum tdp_kind kind = tdp_pte_kind(fmt, pte, level);

	return kind == TDP_TABLE || kind == TDP_LEAF;
}

/* Only what is the same but for permissions and state may change in place. */
static void check_need_bbm(tdp_pte_t old, tdp_pte_t new, int level)
{
	struct view was = hw_view(old, level), is = hw_view(new, level);
	bool must = was.phys != is.phys || was.attr != is.attr;

	if (was.table != is.table)
		must = model_breaks() == BREAKS_SIZE;
	else if (was.table)
		must = false;
	if (model_breaks() == BREAKS_NOTHING || !valid(old, level))
		must = false;
	else if (!valid(new, level))
		must = true;
	CHECK(tdp_pte_need_bbm(fmt, old, new, level) == must,
	      "%llx to %llx at level %d", (u64)old, (u64)new, level);
}

static void test_need_bbm(void)
{
	tdp_pte_t pte[8 + MAX_LEAVES];
	unsigned int i, j, nr;
	int level;

	for (level = 2; level <= root_level(); level++) {
		nr = 0;
		pte[nr++] = tdp_pte_none(fmt);
		pte[nr++] = model_annotated(rnd(-1ull));
		pte[nr++] = tdp_pte_make_table(fmt, 1ull << PAGE_SHIFT, 0);
		pte[nr++] = tdp_pte_make_table(fmt, 1ull << PAGE_SHIFT,
					       model_table_marks());
		if (model_leaf_allowed(level)) {
			tdp_pte_t leaf = tdp_pte_make_leaf(fmt, 0, level, 0,
							   model_attr());

			pte[nr++] = tdp_pte_make_leaf(fmt, model_span(level),
						      level, 0, model_attr());
			/* One attribute less. */
			pte[nr++] = leaf & ~(model_attr() & -model_attr());
			nr += all_leaves(level, 0, pte + nr);
		}
		for (i = 0; i < nr; i++) {
			for (j = 0; j < nr; j++)
				check_need_bbm(pte[i], pte[j], level);
		}
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

static void check_table(tdp_pte_t pte, int level, u64 phys, u64 marks)
{
	struct view v = hw_view(pte, level);

	CHECK(tdp_pte_kind(fmt, pte, level) == TDP_TABLE);
	CHECK(tdp_pte_table_phys(fmt, pte) == phys, "%llx became %llx", phys,
	      tdp_pte_table_phys(fmt, pte));
	CHECK(v.table && !v.bad && v.phys == phys);
	CHECK(v.attr == model_table_attr());
	CHECK(v.access == (TEST_R | TEST_W | TEST_X));
	/* Hardware must not want to change it. */
	CHECK(hw_access(pte, level, TEST_R) == pte);
	CHECK(v.accessed || !v.has_accessed);
	CHECK(!tdp_pte_volatile(fmt, pte, level));
	CHECK((pte & model_table_marks()) == marks, "%llx, not %llx",
	      (u64)pte & model_table_marks(), marks);
	CHECK(tdp_pte_table_pinned(fmt, pte) == !!(marks & model_pinned()));
	CHECK(tdp_pte_consistent(fmt, pte, level));
}

static void test_table(void)
{
	u64 all = model_table_marks(), pinned = model_pinned();
	u64 marks[] = { 0, pinned, all & ~pinned, all };
	unsigned int i, j, nr;
	int level;
	u64 b[MAX_BOUNDARIES];

	nr = boundaries(PAGE_SHIFT, b);
	for (level = 2; level <= root_level(); level++) {
		for (i = 0; i < nr; i++) {
			for (j = 0; j < ARRAY_SIZE(marks); j++) {
				tdp_pte_t pte = tdp_pte_make_table(fmt, b[i],
								   marks[j]);

				check_table(pte, level, b[i], marks[j]);
				pte = tdp_pte_unpin_table(fmt, pte);
				check_table(pte, level, b[i],
					    marks[j] & ~pinned);
			}
		}
	}
}

static void check_leaf(tdp_pte_t pte, int level, u64 phys, unsigned int flags)
{
	unsigned int access = TEST_R | (flags & TDP_WRITE ? TEST_W : 0) |
			      (flags & TDP_EXEC ? TEST_X : 0);
	unsigned int marks = flags & (TDP_WRITE | TDP_HOST_WRITE);
	struct view v = hw_view(pte, level);
	unsigned int bit;
	tdp_pte_t both;

	CHECK(tdp_pte_kind(fmt, pte, level) == TDP_LEAF);
	CHECK(tdp_pte_pfn(fmt, pte) == phys >> PAGE_SHIFT);
	CHECK(!v.table && !v.bad && !v.ve && v.phys == phys);
	CHECK(hw_view(sw_lockless(pte, level), level).attr == model_attr());
	CHECK(sw_marks(pte) == marks, "%x", sw_marks(pte));
	CHECK(tdp_pte_young(fmt, pte) == !!(flags & TDP_YOUNG));
	CHECK(tdp_pte_writable(fmt, pte) ==
	      !!(hw_allows(sw_restored(pte, level), level) & TEST_W));

	if (v.has_accessed || (flags & TDP_YOUNG)) {
		CHECK(v.access == access, "%x, not %x", v.access, access);
	} else {
		/* The first access has to fault; then all comes back. */
		CHECK(!v.access);
		CHECK(hw_allows(sw_lockless(pte, level), level) == access);
	}
	CHECK(v.accessed == (v.has_accessed && (flags & TDP_YOUNG)));
	CHECK(v.dirty == (v.has_dirty && (flags & TDP_WRITE)));

	CHECK(tdp_pte_consistent(fmt, pte, level));
	/* Nothing is both given up, which a bit says, and there. */
	both = pte | tdp_pte_mkold(fmt, pte);
	if (!v.has_accessed && (flags & TDP_YOUNG))
		CHECK(both == pte || both == tdp_pte_mkold(fmt, pte) ||
		      !tdp_pte_consistent(fmt, both, level));
	for (bit = 0; bit < 64; bit++) {
		tdp_pte_t cut = pte & ~BIT_ULL(bit);

		if (tdp_pte_kind(fmt, cut, level) == TDP_LEAF &&
		    hw_view(cut, level).ve)
			CHECK(!tdp_pte_consistent(fmt, cut, level));
	}
}

/* The guest may write what the host does not let it write. */
static tdp_pte_t overwritable(u64 phys, int level, unsigned int flags)
{
	return tdp_pte_make_leaf(fmt, phys >> PAGE_SHIFT, level,
				 (flags | TDP_WRITE) & ~TDP_HOST_WRITE,
				 model_attr());
}

static void test_leaf(void)
{
	unsigned int i, nr, flags;
	u64 b[MAX_BOUNDARIES];
	int level;

	for (level = 1; level <= max_leaf_level(); level++) {
		nr = boundaries(PAGE_SHIFT + model_shift(level), b);
		for (i = 0; i < nr; i++) {
			for (flags = 0; flags < 16; flags++) {
				if ((flags & TDP_WRITE) &&
				    !(flags & TDP_HOST_WRITE)) {
					tdp_pte_t bad = overwritable(b[i],
								     level,
								     flags);

					CHECK(!tdp_pte_consistent(fmt, bad,
								  level));
					continue;
				}
				check_leaf(tdp_pte_make_leaf(fmt, b[i] >> PAGE_SHIFT,
							     level, flags,
							     model_attr()),
					   level, b[i], flags);
			}
		}
	}
}

/*
 * Leaves that the model knows are consistent, those that let the guest write
 * without what it takes are not.
 */
static void check_consistent(kvm_pfn_t pfn, int level)
{
	u64 bits = model_leaf_bits(), set = 0;

	do {
		tdp_pte_t pte = model_leaf_base(level) | set |
				model_address(pfn);

		if (model_leaf_legal(pte))
			CHECK(tdp_pte_consistent(fmt, pte, level), "%llx",
			      (u64)pte);
		else if (hw_allows(sw_restored(pte, level), level) & TEST_W)
			CHECK(!tdp_pte_consistent(fmt, pte, level), "%llx",
			      (u64)pte);
		set = (set - bits) & bits;
	} while (set);
}

static void test_consistent(void)
{
	int level;

	for (level = 1; level <= max_leaf_level(); level++)
		check_consistent(random_pfn(level), level);
}

/* The next fault has nothing to mend, unless hardware has left its mark. */
static void check_wrprot_again(kvm_pfn_t pfn, int level, unsigned int flags)
{
	tdp_pte_t pte = tdp_pte_make_leaf(fmt, pfn, level,
					  flags | TDP_WRITE | TDP_HOST_WRITE,
					  model_attr());

	pte = tdp_pte_wrprot_tracked(fmt, pte);
	CHECK(hw_view(pte, level).dirty ||
	      pte == tdp_pte_make_leaf(fmt, pfn, level, flags | TDP_HOST_WRITE,
				       model_attr()));
}

static void test_wrprot(void)
{
	tdp_pte_t leaves[MAX_LEAVES];
	unsigned int i, nr;
	int level;

	for (level = 1; level <= max_leaf_level(); level++) {
		for (i = 0; i <= (TDP_EXEC | TDP_YOUNG); i++)
			check_wrprot_again(random_pfn(level), level,
					   i & (TDP_EXEC | TDP_YOUNG));
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
	unsigned int had = hw_allows(sw_restored(old, level), level);
	unsigned int has = hw_allows(sw_restored(new, level), level);
	bool must = (was.access & ~is.access) || (had & ~has) ||
		    (could & ~can) ||
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
	CHECK(is.phys == was.phys + index * (model_span(level - 1) << PAGE_SHIFT));
	CHECK(tdp_pte_pfn(fmt, child) == is.phys >> PAGE_SHIFT);
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
		nr_b = boundaries(PAGE_SHIFT + model_shift(level), b);
		for (j = 0; j < nr_b; j++) {
			nr = all_leaves(level, b[j] >> PAGE_SHIFT, leaves);
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

/* Another state or permission of the same leaf: nothing else changed. */
static void check_same_leaf(tdp_pte_t old, tdp_pte_t new, int level)
{
	struct view was = hw_view(sw_restored(old, level), level);
	struct view is = hw_view(sw_restored(new, level), level);

	CHECK(tdp_pte_kind(fmt, new, level) == TDP_LEAF);
	CHECK(!hw_view(new, level).bad && !hw_view(new, level).ve);
	CHECK(!is.bad && !is.ve && !is.table);
	CHECK(is.phys == was.phys && tdp_pte_pfn(fmt, new) == was.phys >> PAGE_SHIFT);
	CHECK(is.attr == was.attr && sw_marks(new) == sw_marks(old));
	CHECK(!((old ^ new) & ~model_leaf_bits()) && model_leaf_legal(new),
	      "%llx became %llx at level %d", (u64)old, (u64)new, level);
}

static unsigned int restored_access(tdp_pte_t pte, int level)
{
	return hw_allows(sw_restored(pte, level), level);
}

/* For all leaves of all levels. */
static void for_all_leaves(void (*check)(tdp_pte_t pte, int level))
{
	tdp_pte_t leaves[MAX_LEAVES];
	unsigned int i, nr;
	int level;

	for (level = 1; level <= max_leaf_level(); level++) {
		nr = all_leaves(level, random_pfn(level), leaves);
		for (i = 0; i < nr; i++)
			check(leaves[i], level);
	}
}

static void check_queries(tdp_pte_t pte, int level)
{
	unsigned int can = hw_allows(pte, level), marks = sw_marks(pte);
	bool r = can & TEST_R, w = can & TEST_W, x = can & TEST_X;

	CHECK(tdp_pte_allows(fmt, pte, 0) == r, "%llx", (u64)pte);
	CHECK(tdp_pte_allows(fmt, pte, TDP_WRITE) == w, "%llx", (u64)pte);
	CHECK(tdp_pte_allows(fmt, pte, TDP_EXEC) == x, "%llx", (u64)pte);
	CHECK(tdp_pte_allows(fmt, pte, TDP_WRITE | TDP_EXEC) == (w && x));
	CHECK(tdp_pte_writable(fmt, pte) ==
	      !!(restored_access(pte, level) & TEST_W), "%llx", (u64)pte);
	CHECK(tdp_pte_executable(fmt, pte) ==
	      !!(restored_access(pte, level) & TEST_X), "%llx", (u64)pte);
	CHECK(tdp_pte_host_writable(fmt, pte) == !!(marks & TDP_HOST_WRITE));
	CHECK(tdp_pte_may_mkwrite(fmt, pte) == !!(marks & TDP_WRITE));
	/* Lockless paths give what they may. */
	CHECK(tdp_pte_may_mkwrite(fmt, pte) ==
	      !!(hw_allows(sw_lockless(pte, level), level) & TEST_W));
}

static void test_queries(void)
{
	for_all_leaves(check_queries);
}

/* Formats may offer to compare; who does tells all apart but addresses. */
static void test_alike(void)
{
	tdp_pte_t a[MAX_LEAVES], b[MAX_LEAVES], other[4];
	u64 at[MAX_BOUNDARIES], bits;
	unsigned int i, j, nr, nr_at;
	int level;

	if (!tdp_pte_alike(fmt, model_leaf_base(1), model_leaf_base(1)))
		test_skip("compares nothing");

	other[0] = tdp_pte_none(fmt);
	other[1] = tdp_pte_frozen(fmt);
	other[2] = tdp_pte_broken(fmt);
	other[3] = model_annotated(rnd(-1ull));
	for (level = 1; level <= max_leaf_level(); level++) {
		nr = all_leaves(level, random_pfn(level), a);
		all_leaves(level, random_pfn(level), b);
		for (i = 0; i < nr; i++) {
			for (j = 0; j < nr; j++)
				CHECK(tdp_pte_alike(fmt, a[i], b[j]) == (i == j),
				      "%llx and %llx at level %d", (u64)a[i],
				      (u64)b[j], level);
			for (j = 0; j < ARRAY_SIZE(other); j++)
				CHECK(!tdp_pte_alike(fmt, a[i], other[j]));
			if (level > 1)
				CHECK(!tdp_pte_alike(fmt, a[i],
						     tdp_pte_make_table(fmt, 0, 0)));
		}
		for (bits = model_attr_bits(); bits; bits &= bits - 1)
			CHECK(!tdp_pte_alike(fmt, a[0], a[0] ^ (bits & -bits)));

		nr_at = boundaries(PAGE_SHIFT + model_shift(level), at);
		for (j = 0; j < nr_at; j++) {
			all_leaves(level, at[j] >> PAGE_SHIFT, b);
			CHECK(tdp_pte_alike(fmt, a[0], b[0]), "%llx and %llx",
			      (u64)a[0], (u64)b[0]);
		}
	}
}

static void check_mkold(tdp_pte_t pte, int level)
{
	tdp_pte_t old = tdp_pte_mkold(fmt, pte);
	tdp_pte_t back = tdp_pte_mkyoung(fmt, old);
	struct view was = hw_view(pte, level), is = hw_view(old, level);
	unsigned int access = restored_access(pte, level);

	check_same_leaf(pte, old, level);
	CHECK(!tdp_pte_young(fmt, old));
	CHECK(!is.accessed && is.dirty == was.dirty);
	if (is.has_accessed) {
		CHECK(is.access == was.access);
		/* Hardware sees the next access, KVM does not. */
		CHECK(tdp_pte_young(fmt, hw_access(old, level, TEST_R)));
	} else {
		CHECK(!is.access);
		/* What gave up W is logged where a write makes it young. */
		if (!tdp_pte_writable(fmt, old))
			access &= ~TEST_W;
	}
	CHECK(tdp_pte_mkold(fmt, old) == old);

	check_same_leaf(pte, back, level);
	CHECK(hw_allows(back, level) == access, "%llx came back as %llx",
	      (u64)pte, (u64)back);
	CHECK(hw_view(back, level).dirty == was.dirty);
	CHECK(tdp_pte_executable(fmt, old) == tdp_pte_executable(fmt, pte));
}

static void test_mkold(void)
{
	for_all_leaves(check_mkold);
}

static void check_mkyoung(tdp_pte_t pte, int level)
{
	tdp_pte_t young = tdp_pte_mkyoung(fmt, pte);
	struct view was = hw_view(pte, level), is = hw_view(young, level);

	check_same_leaf(pte, young, level);
	CHECK(tdp_pte_young(fmt, young));
	CHECK(is.access == restored_access(pte, level));
	CHECK(tdp_pte_writable(fmt, young) == tdp_pte_writable(fmt, pte));
	CHECK(is.accessed == is.has_accessed && is.dirty == was.dirty);
	CHECK(tdp_pte_mkyoung(fmt, young) == young);
}

static void test_mkyoung(void)
{
	for_all_leaves(check_mkyoung);
}

static void check_mkwrite(tdp_pte_t pte, int level)
{
	tdp_pte_t new;
	struct view is;

	if (!(sw_marks(pte) & TDP_WRITE))
		return;
	new = tdp_pte_mkwrite(fmt, pte);
	is = hw_view(new, level);
	check_same_leaf(pte, new, level);
	CHECK(tdp_pte_young(fmt, new) && tdp_pte_writable(fmt, new));
	CHECK(is.access == (restored_access(pte, level) | TEST_W));
	CHECK(is.accessed == is.has_accessed && is.dirty == is.has_dirty);
	/* The guest's write finds all as it needs it. */
	CHECK(hw_access(new, level, TEST_W) == new);
}

static void test_mkwrite(void)
{
	for_all_leaves(check_mkwrite);
}

static void check_mkexec(tdp_pte_t pte, int level)
{
	tdp_pte_t new = tdp_pte_mkexec(fmt, pte);
	struct view was = hw_view(pte, level), is = hw_view(new, level);

	check_same_leaf(pte, new, level);
	CHECK(tdp_pte_executable(fmt, new));
	CHECK(tdp_pte_young(fmt, new) == tdp_pte_young(fmt, pte));
	CHECK(is.accessed == was.accessed && is.dirty == was.dirty);
	/* What is old stays old, and shows it when it is young again. */
	CHECK(is.access == (was.access ? was.access | TEST_X : 0));
	CHECK(restored_access(new, level) ==
	      (restored_access(pte, level) | TEST_X));
	CHECK(hw_allows(tdp_pte_mkyoung(fmt, new), level) ==
	      (hw_allows(tdp_pte_mkyoung(fmt, pte), level) | TEST_X));
	if (tdp_pte_executable(fmt, pte))
		CHECK(new == pte);
}

static void test_mkexec(void)
{
	for_all_leaves(check_mkexec);
}

static void check_log_writes(tdp_pte_t pte, int level)
{
	tdp_pte_t new = tdp_pte_log_writes(fmt, pte, level);
	struct view was = hw_view(pte, level), is = hw_view(new, level);

	check_same_leaf(pte, new, level);
	CHECK(tdp_pte_may_mkwrite(fmt, new) == tdp_pte_may_mkwrite(fmt, pte));
	CHECK(tdp_pte_young(fmt, new) == tdp_pte_young(fmt, pte));
	CHECK(is.accessed == was.accessed);
	CHECK(tdp_pte_log_writes(fmt, new, level) == new);
	if (model_hw_logs(level)) {
		/* The next write sets the dirty bit, and is logged. */
		CHECK(is.access == was.access && !is.dirty && is.has_dirty);
		CHECK(!(is.access & TEST_W) ||
		      hw_view(hw_access(new, level, TEST_W), level).dirty);
	} else {
		/* It faults; the fault gives back what it may. */
		CHECK(is.access == (was.access & ~TEST_W));
		CHECK(is.dirty == was.dirty && !tdp_pte_writable(fmt, new));
	}
	CHECK(hw_allows(sw_lockless(new, level), level) ==
	      hw_allows(sw_lockless(pte, level), level));
}

static void test_log_writes(void)
{
	for_all_leaves(check_log_writes);
}

/* A huge leaf is what is made of any of its parts. */
static void check_block(u64 phys, int level, unsigned int flags, u64 attr)
{
	tdp_pte_t huge = tdp_pte_make_leaf(fmt, phys >> PAGE_SHIFT, level, flags, attr);
	tdp_pte_t part, block;
	unsigned int last;
	int i, l;

	/* Not all values of all attributes mean something to hardware. */
	if (hw_view(sw_restored(huge, level), level).bad)
		return;
	/* The first, the last, and any. */
	for (i = 0; i < 3; i++) {
		part = huge;
		for (l = level; l > 1; l--) {
			last = (1u << model_nr_bits(l - 1)) - 1;
			part = tdp_pte_split_child(fmt, part, l,
						   i < 2 ? i * last :
							   rnd(last + 1));
			block = tdp_pte_make_block(fmt, part, level, flags);
			CHECK(block == huge, "%llx became %llx by %llx",
			      (u64)huge, (u64)block, (u64)part);
		}
	}
}

/* The state and the permissions of the part do not matter. */
static void check_block_flags(int level, unsigned int flags)
{
	kvm_pfn_t pfn = random_pfn(level);
	tdp_pte_t leaves[MAX_LEAVES], huge;
	unsigned int i, nr;
	int l;

	huge = tdp_pte_make_leaf(fmt, pfn, level, flags, model_attr());
	for (l = 1; l < level; l++) {
		u64 offset = rnd(model_span(level)) & ~(model_span(l) - 1);

		nr = all_leaves(l, pfn + offset, leaves);
		for (i = 0; i < nr; i++)
			CHECK(tdp_pte_make_block(fmt, leaves[i], level,
						 flags) == huge);
	}
}

static void test_make_block(void)
{
	unsigned int i, nr, flags;
	u64 b[MAX_BOUNDARIES], attr, attrs = model_attr_bits();
	int level;

	CHECK((model_attr() & attrs) == model_attr());
	for (level = 2; level <= max_leaf_level(); level++) {
		nr = boundaries(PAGE_SHIFT + model_shift(level), b);
		for (flags = 0; flags < 16; flags++) {
			if ((flags & TDP_WRITE) && !(flags & TDP_HOST_WRITE))
				continue;
			check_block_flags(level, flags);
			attr = 0;
			do {
				for (i = 0; i < nr; i++)
					check_block(b[i], level, flags, attr);
				attr = (attr - attrs) & attrs;
			} while (attr);
		}
	}
}

const struct test format_tests[] = {
	{ "format_geometry", test_geometry },
	{ "format_empty", test_empty },
	{ "format_broken", test_broken },
	{ "format_need_bbm", test_need_bbm },
	{ "format_annotated", test_annotated },
	{ "format_table", test_table },
	{ "format_leaf", test_leaf },
	{ "format_consistent", test_consistent },
	{ "format_wrprot", test_wrprot },
	{ "format_volatile", test_volatile },
	{ "format_downgrades", test_downgrades },
	{ "format_split_child", test_split_child },
	{ "format_queries", test_queries },
	{ "format_alike", test_alike },
	{ "format_mkold", test_mkold },
	{ "format_mkyoung", test_mkyoung },
	{ "format_mkwrite", test_mkwrite },
	{ "format_mkexec", test_mkexec },
	{ "format_log_writes", test_log_writes },
	{ "format_make_block", test_make_block },
	{ }
};
