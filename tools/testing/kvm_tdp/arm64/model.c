// SPDX-License-Identifier: GPL-2.0-only
/*
 * What hardware does with the descriptors of arm64's stage 2 (Arm ARM, D8.3
 * "Translation table descriptor formats", D8.4 "Memory access control", D8.5
 * "Hardware updates to the translation tables"), and what KVM's lockless paths
 * do; from the manual and not from the format, so no constant of tdp_pgtable.h
 * is used here.
 */
#include "test.h"

#define D_VALID		BIT_ULL(0)
#define D_TABLE		BIT_ULL(1)	/* or a page */
#define D_MEMATTR	GENMASK_ULL(5, 2)
#define D_READ		BIT_ULL(6)
#define D_WRITE		BIT_ULL(7)
#define D_SH		GENMASK_ULL(9, 8)
#define D_AF		BIT_ULL(10)
#define D_XN		GENMASK_ULL(54, 53)
#define D_NO_EXEC	BIT_ULL(54)	/* at any exception level */
#define SW_HOST		BIT_ULL(57)
#define SW_MMU		BIT_ULL(58)
/* Reserved or of no use here: FnXS, nT, DBM, Contiguous, PBHA, AMEC. */
#define D_NOT_HERE	(BIT_ULL(11) | BIT_ULL(51) | BIT_ULL(52) | \
			 GENMASK_ULL(63, 59))

#define LEVEL_BITS	(PAGE_SHIFT - 3)

/**
 * struct test_format - a stage 2
 * @name: its name
 * @ia_bits: bits of intermediate physical addresses
 * @wide: addresses have 52 bits: FEAT_LPA2, or FEAT_LPA with 64K pages
 * @hw_af: FEAT_HAFDBS, and VTCR_EL2.HA
 * @free_size: a change of size needs no break
 */
struct test_format {
	char name[32];
	int ia_bits;
	bool wide;
	bool hw_af;
	bool free_size;
};

static struct test_format formats[64];
static unsigned int nr_formats;
static const struct test_format *tf;

static void add_format(int ia_bits, bool wide, bool hw_af, bool free_size)
{
	struct test_format *f = &formats[nr_formats++];

	*f = (struct test_format) {
		.ia_bits = ia_bits,
		.wide = wide,
		.hw_af = hw_af,
		.free_size = free_size,
	};
	snprintf(f->name, sizeof(f->name), "arm64_%uk_%d%s%s%s",
		 1u << (PAGE_SHIFT - 10), ia_bits, wide ? "_wide" : "",
		 hw_af ? "" : "_swaf", free_size ? "_free" : "");
}

/* All sizes of a root; the rest in turn. */
static void make_formats(void)
{
	int ia;

	add_format(40, false, true, false);
	add_format(40, false, false, false);
	add_format(36, true, true, true);
	for (ia = 32; ia <= 52; ia++)
		add_format(ia, ia > 48 || ia % 3 == 0, ia & 1, ia % 5 == 0);
}

static bool lpa2(void)
{
	return tf->wide && PAGE_SHIFT < 16;
}

/* VTCR_EL2.SL0: as few levels as the 16 tables of a root can do. */
static int nr_levels(void)
{
	int levels = 1;

	while (PAGE_SHIFT + levels * LEVEL_BITS + 4 < tf->ia_bits)
		levels++;
	return levels;
}

static int max_leaf(void)
{
	int max = PAGE_SHIFT == 12 ? 3 : 2;

	/* Blocks of 512G, 64G and 4T come with the long addresses. */
	if (tf->wide)
		max++;
	return min(max, nr_levels());
}

const char *model_use(unsigned int nr)
{
	static struct tdp_fmt arm64_fmt;

	if (!nr_formats)
		make_formats();
	if (nr >= nr_formats)
		return NULL;
	tf = &formats[nr];
	arm64_fmt = (struct tdp_fmt) {
		.end_gfn = BIT_ULL(tf->ia_bits - PAGE_SHIFT),
		.leaf_attr = lpa2() ? D_MEMATTR : D_MEMATTR | D_SH,
		.root_level = nr_levels(),
		.max_leaf = max_leaf(),
		.lpa2 = lpa2(),
		.hw_af = tf->hw_af,
		.clean_unmapped = !tf->hw_af,
		.slotless = BIT_ULL(56),
		.free_size = tf->free_size,
	};
	fmt = &arm64_fmt;
	arm64_fmt.root_bits = model_nr_bits(nr_levels());
	return tf->name;
}

/*
 * With and without hardware's access flag; the second, where memory is maintained
 * as it is unmapped, only for that and for longer runs.
 */
bool model_races(bool unmaps)
{
	return PAGE_SHIFT == 12 && tf->ia_bits == 40 &&
	       (tf == formats ||
		((unmaps || race_bound > 1) && tf == formats + 1));
}

/* Roots of one table, of several, and of a part of one. */
bool model_operates(void)
{
	return tf < formats + 3 || tf->ia_bits == 43 || tf->ia_bits == 47 ||
	       tf->ia_bits == 52;
}

enum model_breaks model_breaks(void)
{
	return tf->free_size ? BREAKS_MEMORY : BREAKS_SIZE;
}

unsigned int model_tlb(void)
{
	return TLB_KEEPS_FAULTS | TLB_COMBINES;
}

bool model_exec_asked(void)
{
	return true;
}

/* Normal, write-back, inner shareable. */
u64 model_attr(void)
{
	return 0xfull << 2 | (lpa2() ? 0 : 3ull << 8);
}

u64 model_attr_bits(void)
{
	return lpa2() ? D_MEMATTR : D_MEMATTR | D_SH;
}

u64 model_table_attr(void)
{
	return 0;
}

u64 model_table_marks(void)
{
	return GENMASK_ULL(58, 55);
}

u64 model_pinned(void)
{
	return 0;
}

bool model_old_keeps_write(void)
{
	return true;
}

bool model_hw_logs(int level)
{
	return false;
}

int model_nr_bits(int level)
{
	if (level < nr_levels())
		return LEVEL_BITS;
	return tf->ia_bits - PAGE_SHIFT - (level - 1) * LEVEL_BITS;
}

int model_shift(int level)
{
	return (level - 1) * LEVEL_BITS;
}

bool model_leaf_allowed(int level)
{
	return level <= max_leaf();
}

int model_phys_bits(void)
{
	return tf->wide ? 52 : 48;
}

tdp_pte_t model_address(kvm_pfn_t pfn)
{
	u64 phys = pfn << PAGE_SHIFT, low = phys & GENMASK_ULL(47, PAGE_SHIFT);

	if (!tf->wide)
		return low;
	if (PAGE_SHIFT == 16)
		return low | (phys >> 48 & 0xf) << 12;
	return low | (phys & GENMASK_ULL(49, 48)) | (phys >> 50 & 3) << 8;
}

static u64 address_of(tdp_pte_t pte)
{
	u64 phys = pte & GENMASK_ULL(47, PAGE_SHIFT);

	if (PAGE_SHIFT == 16)
		return phys | (pte >> 12 & 0xf) << 48;
	if (lpa2())
		phys |= (pte & GENMASK_ULL(49, 48)) | (pte >> 8 & 3) << 50;
	return phys;
}

struct view hw_view(tdp_pte_t pte, int level)
{
	struct view v = { .phys = address_of(pte) };

	if (!(pte & D_VALID))
		return (struct view) { .has_accessed = tf->hw_af };

	v.bad = v.phys >> model_phys_bits();
	/* Address bits that the format or the granule does not have. */
	if (PAGE_SHIFT == 14)
		v.bad |= pte & GENMASK_ULL(13, 12);
	if (PAGE_SHIFT == 16 || !tf->wide)
		v.bad |= pte & GENMASK_ULL(50, 48);
	if (level > 1 && (pte & D_TABLE)) {
		v.table = true;
		v.access = TEST_R | TEST_W | TEST_X;
		v.accessed = true;
		v.has_accessed = tf->hw_af;
		/* Only bits that hardware ignores are KVM's to use. */
		v.bad |= pte & (GENMASK_ULL(11, 2) & ~model_address(-1ull >> PAGE_SHIFT));
		v.bad |= pte & (GENMASK_ULL(54, 51) | GENMASK_ULL(63, 59));
	} else {
		v.bad |= level == 1 ? !(pte & D_TABLE) :
				      !model_leaf_allowed(level);
		v.bad |= pte & D_NOT_HERE;
		v.bad |= v.phys & ((1ull << (model_shift(level) + PAGE_SHIFT)) - 1);
		/* Executable at some exception levels only: not by KVM. */
		v.bad |= (pte & D_XN) && (pte & D_XN) != D_NO_EXEC;
		v.attr = pte & model_attr_bits();
		v.has_accessed = tf->hw_af;
		v.accessed = tf->hw_af && (pte & D_AF);
		if (tf->hw_af || (pte & D_AF))
			v.access = (pte & D_READ ? TEST_R : 0) |
				   (pte & D_WRITE ? TEST_W : 0) |
				   (pte & D_XN ? 0 : TEST_X);
	}
	if (v.bad)
		v.access = 0;
	return v;
}

tdp_pte_t hw_access(tdp_pte_t pte, int level, unsigned int access)
{
	struct view v = hw_view(pte, level);

	if (v.table || !(v.access & access) || !tf->hw_af)
		return pte;
	return pte | D_AF;
}

tdp_pte_t sw_restored(tdp_pte_t pte, int level)
{
	return tf->hw_af ? pte : pte | D_AF;
}

tdp_pte_t sw_lockless(tdp_pte_t pte, int level)
{
	pte = sw_restored(pte, level);
	return pte & SW_MMU ? pte | D_WRITE : pte;
}

unsigned int sw_marks(tdp_pte_t pte)
{
	return (pte & SW_MMU ? TDP_WRITE : 0) |
	       (pte & SW_HOST ? TDP_HOST_WRITE : 0);
}

tdp_pte_t model_leaf_base(int level)
{
	return D_VALID | D_READ | model_attr() | (level == 1 ? D_TABLE : 0);
}

u64 model_leaf_bits(void)
{
	return D_WRITE | D_AF | D_NO_EXEC | SW_HOST | SW_MMU;
}

/* Writable only if both marks say so. */
bool model_leaf_legal(tdp_pte_t pte)
{
	unsigned int marks = sw_marks(pte);

	return marks != TDP_WRITE && (!(pte & D_WRITE) || (marks & TDP_WRITE));
}

/* Anything that is not valid, and neither 0 nor one of two bits. */
tdp_pte_t model_annotated(u64 random)
{
	return (random & ~D_VALID) | BIT_ULL(5);
}
