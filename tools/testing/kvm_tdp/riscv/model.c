// SPDX-License-Identifier: GPL-2.0-only
/*
 * What hardware does with the entries of the G-stage (RISC-V Instruction Set
 * Manual, volume II, "Virtual Address Translation Process", "Two-Stage Address
 * Translation", Svade, Svadu and Svpbmt), and what KVM's lockless paths do; from
 * the manual and not from the format, so no constant of tdp_pgtable.h is used
 * here.
 */
#include "test.h"

struct test_format {
	const char *name;
	int levels;
	bool adue;
	bool pbmt;
};

#define PTE_V		BIT_ULL(0)
#define PTE_R		BIT_ULL(1)
#define PTE_W		BIT_ULL(2)
#define PTE_X		BIT_ULL(3)
#define PTE_U		BIT_ULL(4)
#define PTE_G		BIT_ULL(5)
#define PTE_A		BIT_ULL(6)
#define PTE_D		BIT_ULL(7)
#define PTE_PBMT	GENMASK_ULL(62, 61)
#define PTE_PBMT_NC	BIT_ULL(61)
#define PTE_N		BIT_ULL(63)
#define PTE_RESERVED	GENMASK_ULL(60, 54)

/* KVM's use of RSW. */
#define SW_HOST		BIT_ULL(8)
#define SW_MMU		BIT_ULL(9)

/*
 * Levels, menvcfg.ADUE, Svpbmt.  Without ADUE, page faults take the place of
 * updates of A and D.
 */
static const struct test_format formats[] = {
	{ "sv39x4", 3, false, true },
	{ "sv39x4_adue", 3, true, true },
	{ "sv39x4_nopbmt", 3, false, false },
	{ "sv48x4", 4, false, true },
	{ "sv48x4_adue", 4, true, true },
	{ "sv57x4", 5, false, true },
	{ "sv57x4_adue", 5, true, true },
};

static const struct test_format *tf;

const char *model_use(unsigned int nr)
{
	static struct tdp_fmt riscv_fmt;

	if (nr >= ARRAY_SIZE(formats))
		return NULL;
	tf = &formats[nr];
	riscv_fmt = (struct tdp_fmt) {
		.leaf_attr	= tf->pbmt ? PTE_PBMT : 0,
		.end_gfn	= BIT_ULL(tf->levels * 9 + 2),
		.root_level	= tf->levels,
		.hw_ad		= tf->adue,
	};
	fmt = &riscv_fmt;
	return tf->name;
}

/* With the fewest levels, in long runs: it differs in bits only. */
bool model_races(bool unmaps)
{
	return tf->levels == 3 && tf->pbmt && race_bound > 1;
}

bool model_operates(void)
{
	return true;
}

enum model_breaks model_breaks(void)
{
	return BREAKS_NOTHING;
}

unsigned int model_tlb(void)
{
	return TLB_KEEPS_FAULTS | TLB_CACHES_INVALID;
}

bool model_exec_asked(void)
{
	return false;
}

u64 model_attr(void)
{
	return tf->pbmt ? PTE_PBMT_NC : 0;
}

u64 model_attr_bits(void)
{
	return tf->pbmt ? PTE_PBMT : 0;
}

u64 model_table_attr(void)
{
	return 0;
}

u64 model_table_marks(void)
{
	return SW_HOST | SW_MMU;
}

u64 model_pinned(void)
{
	return 0;
}

bool model_hw_logs(int level)
{
	return false;
}

/* Where A is a permission, W goes with it. */
bool model_old_keeps_write(void)
{
	return tf->adue;
}

/* The root is four times as large as other tables. */
int model_nr_bits(int level)
{
	return level == tf->levels ? 11 : 9;
}

int model_shift(int level)
{
	return 9 * (level - 1);
}

/* KVM's choice: hardware knows leaves of 512 GiB and more. */
bool model_leaf_allowed(int level)
{
	return level <= 3;
}

int model_phys_bits(void)
{
	return 56;
}

static unsigned int leaf_access(u64 pte)
{
	unsigned int access;

	access = (pte & PTE_R ? TEST_R : 0) | (pte & PTE_W ? TEST_W : 0) |
		 (pte & PTE_X ? TEST_X : 0);
	if (tf->adue)
		return access;
	if (!(pte & PTE_A))
		return 0;
	return pte & PTE_D ? access : access & ~TEST_W;
}

struct view hw_view(tdp_pte_t pte, int level)
{
	u64 below = GENMASK_ULL(model_shift(level) + 11, 12);
	struct view v = {};

	if (!(pte & PTE_V))
		return v;
	v.phys = (pte & GENMASK_ULL(53, 10)) << 2;
	v.attr = pte & PTE_PBMT;
	v.table = !(pte & (PTE_R | PTE_W | PTE_X));
	/* G is not checked, but reserved; N would be four address bits, too. */
	v.bad = pte & (PTE_RESERVED | PTE_N | PTE_G);
	v.bad |= v.attr == PTE_PBMT || (v.attr && !tf->pbmt);
	if (v.table) {
		v.bad |= level == 1 || v.attr || (pte & (PTE_U | PTE_A | PTE_D));
		if (!v.bad)
			v.access = TEST_R | TEST_W | TEST_X;
		return v;
	}
	v.bad |= (pte & PTE_W) && !(pte & PTE_R);
	v.bad |= !(pte & PTE_U) || (v.phys & below);
	v.has_accessed = tf->adue;
	v.has_dirty = tf->adue;
	v.accessed = tf->adue && (pte & PTE_A);
	v.dirty = tf->adue && (pte & PTE_D);
	if (!v.bad)
		v.access = leaf_access(pte);
	return v;
}

tdp_pte_t hw_access(tdp_pte_t pte, int level, unsigned int access)
{
	struct view v = hw_view(pte, level);

	if (!(v.access & access) || v.table || !tf->adue)
		return pte;
	return pte | PTE_A | (access == TEST_W ? PTE_D : 0);
}

tdp_pte_t sw_restored(tdp_pte_t pte, int level)
{
	return tf->adue ? pte : pte | PTE_A;
}

/* The most that the lockless fault path makes of a leaf. */
tdp_pte_t sw_lockless(tdp_pte_t pte, int level)
{
	pte = sw_restored(pte, level);
	return pte & SW_MMU ? pte | PTE_W | PTE_D : pte;
}

unsigned int sw_marks(tdp_pte_t pte)
{
	return (pte & SW_MMU ? TDP_WRITE : 0) |
	       (pte & SW_HOST ? TDP_HOST_WRITE : 0);
}

tdp_pte_t model_address(kvm_pfn_t pfn)
{
	return pfn << 10;
}

tdp_pte_t model_leaf_base(int level)
{
	return PTE_V | PTE_R | PTE_U | model_attr();
}

u64 model_leaf_bits(void)
{
	return PTE_W | PTE_X | PTE_A | PTE_D | SW_HOST | SW_MMU;
}

/*
 * Writable only if both marks say so, and then at once: hardware is never to
 * set D, or to fault because of A or D.
 */
bool model_leaf_legal(tdp_pte_t pte)
{
	u64 needs = SW_HOST | SW_MMU | PTE_D | (tf->adue ? 0 : PTE_A);

	if ((pte & SW_MMU) && !(pte & SW_HOST))
		return false;
	return !(pte & PTE_W) || (pte & needs) == needs;
}

/* Hardware ignores all bits of an entry that is not valid. */
tdp_pte_t model_annotated(u64 random)
{
	return (random & ~PTE_V) | PTE_U;
}
