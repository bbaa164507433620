// SPDX-License-Identifier: GPL-2.0-only
/*
 * What hardware does with the entries of EPT (Intel SDM volume 3, "EPT
 * Translation Mechanism" and "EPT Misconfigurations") and NPT (AMD APM volume
 * 2, "Nested Paging" and "Page-Translation-Table Entry Fields"), and what KVM's
 * lockless paths do; from the manuals and not from the format, so no constant
 * of tdp_pgtable.h is used here.
 */
#include "test.h"

struct test_format {
	const char *name;
	int levels;
	int phys_bits;
	bool npt;
	bool ad;
	bool exec_only;
	u64 ad_type;
	u64 enc;
	bool pml;
};

#define EPT_R		BIT_ULL(0)
#define EPT_X		BIT_ULL(2)
#define PT_W		BIT_ULL(1)
#define NPT_P		BIT_ULL(0)
#define NPT_US		BIT_ULL(2)
#define NPT_NX		BIT_ULL(63)
#define EPT_HOST	BIT_ULL(57)
#define EPT_MMU		BIT_ULL(58)
#define NPT_HOST	BIT_ULL(9)
#define NPT_MMU		BIT_ULL(10)
#define EPT_A		BIT_ULL(8)
#define EPT_D		BIT_ULL(9)
#define NPT_A		BIT_ULL(5)
#define NPT_D		BIT_ULL(6)
#define EPT_SVE		BIT_ULL(63)
#define PT_PS		BIT_ULL(7)
#define SW_PRESENT	BIT_ULL(11)
#define SW_SAVED	54

#define AD_DISABLED	BIT_ULL(52)
#define AD_WRPROT_ONLY	BIT_ULL(53)

static const struct test_format formats[] = {
	/* Levels, physical address bits, NPT, A/D bits, execute-only. */
	{ "ept_ad_4", 4, 46, false, true, true },
	{ "ept_ad_5", 5, 52, false, true, true },
	{ "ept_ad_noxonly_4", 4, 39, false, true, false },
	{ "ept_ad_noxonly_5", 5, 52, false, true, false },
	{ "ept_pml_4", 4, 52, false, true, true, .pml = true },
	{ "ept_pml_5", 5, 46, false, true, true, .pml = true },
	{ "ept_pml_noxonly_4", 4, 48, false, true, false, .pml = true },
	{ "ept_noad_4", 4, 52, false, false, true, AD_DISABLED },
	{ "ept_noad_5", 5, 50, false, false, true, AD_DISABLED },
	/* The end lies within the first entry of the root. */
	{ "ept_noad_noxonly_4", 4, 36, false, false, false, AD_DISABLED },
	{ "ept_noad_noxonly_5", 5, 52, false, false, false, AD_DISABLED },
	/* Nested guests on a CPU with PML, which must not be used for them. */
	{ "ept_wrprot_4", 4, 52, false, true, true, AD_WRPROT_ONLY },
	{ "ept_wrprot_5", 5, 52, false, true, true, AD_WRPROT_ONLY },
	{ "npt_4", 4, 48, true, true },
	{ "npt_5", 5, 40, true, true },
	{ "npt_sme_4", 4, 43, true, true, .enc = BIT_ULL(47) },
	{ "npt_sme_5", 5, 47, true, true, .enc = BIT_ULL(51) },
};

static const struct test_format *tf;

/* Memory type and "ignore PAT". */
#define EPT_ATTR	GENMASK_ULL(6, 3)

/* As kvm_mmu_set_ept_masks() does. */
static struct tdp_fmt ept_fmt(void)
{
	return (struct tdp_fmt) {
		.present	= EPT_SVE | (tf->exec_only ? 0 : EPT_R),
		.user		= EPT_R,
		.exec		= EPT_X,
		.accessed	= tf->ad ? EPT_A : 0,
		.dirty		= tf->ad ? EPT_D : 0,
		.host_write	= EPT_HOST,
		.mmu_write	= EPT_MMU,
		.acc_track	= EPT_R | PT_W | EPT_X,
		.leaf_attr	= EPT_ATTR,
		.addr		= GENMASK_ULL(51, 12),
	};
}

/* As kvm_mmu_reset_all_pte_masks() does, and SME. */
static struct tdp_fmt npt_fmt(void)
{
	return (struct tdp_fmt) {
		.present	= NPT_P,
		.user		= NPT_US,
		.noexec		= NPT_NX,
		.accessed	= NPT_A,
		.dirty		= NPT_D,
		.host_write	= NPT_HOST,
		.mmu_write	= NPT_MMU,
		.table_attr	= tf->enc,
		.leaf_attr	= tf->enc,
		.addr		= GENMASK_ULL(51, 12) & ~tf->enc,
	};
}

const char *model_use(unsigned int nr)
{
	static struct tdp_fmt x86_fmt;

	if (nr >= ARRAY_SIZE(formats))
		return NULL;
	tf = &formats[nr];
	x86_fmt = tf->npt ? npt_fmt() : ept_fmt();
	x86_fmt.ad_type = tf->ad_type;
	x86_fmt.hw_log = tf->pml;
	x86_fmt.root_level = tf->levels;
	x86_fmt.end_gfn = BIT_ULL(min(tf->phys_bits - 12, tf->levels * 9));
	fmt = &x86_fmt;
	return tf->name;
}

/* Each kind of state bits, with the fewest levels; first the odd ones. */
bool model_races(bool unmaps)
{
	if (tf->levels != 4 || tf->enc || tf->ad_type == AD_WRPROT_ONLY)
		return false;
	return race_bound > 1 ? tf->npt || tf->exec_only :
	       tf->exec_only && (tf->pml || !tf->ad);
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
	return 0;
}

bool model_exec_asked(void)
{
	return false;
}

enum sched_memory model_memory(void)
{
	return SCHED_TSO;
}

/* Write-back, and ignore the guest's PAT; or encrypted. */
u64 model_attr(void)
{
	return tf->npt ? tf->enc : 6ull << 3 | BIT_ULL(6);
}

u64 model_attr_bits(void)
{
	return tf->npt ? tf->enc : EPT_ATTR;
}

u64 model_table_attr(void)
{
	return tf->enc;
}

u64 model_table_marks(void)
{
	return GENMASK_ULL(62, 54);
}

u64 model_pinned(void)
{
	return BIT_ULL(54);
}

bool model_old_keeps_write(void)
{
	return tf->ad;
}

/* PML has an entry for a write, however large the leaf. */
bool model_hw_logs(int level)
{
	return tf->pml && level == 1;
}

int model_nr_bits(int level)
{
	return 9;
}

int model_shift(int level)
{
	return 9 * (level - 1);
}

bool model_leaf_allowed(int level)
{
	return level <= 3;
}

int model_phys_bits(void)
{
	return tf->phys_bits;
}

static struct view ept_view(u64 pte, int level, u64 below)
{
	bool leaf = level == 1 || (level <= 3 && (pte & PT_PS));
	unsigned int type = (pte >> 3) & 7;
	struct view v = { .has_accessed = tf->ad, .has_dirty = tf->ad };

	/* An EPT violation can become a #VE only here. */
	v.ve = (leaf || !(pte & 7)) && !(pte & EPT_SVE);
	if (!(pte & 7))
		return v;
	v.bad = (pte & 3) == 2 || ((pte & 7) == 4 && !tf->exec_only);
	if (leaf) {
		v.bad |= type == 2 || type == 3 || type == 7 || (pte & below);
		v.attr = pte & EPT_ATTR;
	} else {
		v.bad |= pte & (level >= 4 ? GENMASK_ULL(7, 3) :
					     GENMASK_ULL(6, 3));
	}
	v.table = !leaf;
	v.access = (pte & EPT_R ? TEST_R : 0) | (pte & PT_W ? TEST_W : 0) |
		   (pte & EPT_X ? TEST_X : 0);
	v.accessed = pte & EPT_A;
	v.dirty = leaf && (pte & EPT_D);
	return v;
}

static struct view npt_view(u64 pte, int level, u64 below)
{
	bool leaf = level == 1 || (level <= 3 && (pte & PT_PS));
	struct view v = { .has_accessed = true, .has_dirty = true };

	if (!(pte & NPT_P))
		return v;
	/* Bit 12 of a huge leaf is its PAT bit; that of a small one is bit 7. */
	if (leaf)
		v.bad = pte & below & ~BIT_ULL(12);
	else
		v.bad = level >= 4 && (pte & PT_PS);
	v.table = !leaf;
	v.attr = pte & (tf->enc | GENMASK_ULL(4, 3));
	if (leaf)
		v.attr |= pte & (level == 1 ? PT_PS : BIT_ULL(12)) & ~tf->enc;
	/* Nested walks are user accesses. */
	if (pte & NPT_US)
		v.access = TEST_R | (pte & PT_W ? TEST_W : 0) |
			   (pte & NPT_NX ? 0 : TEST_X);
	v.accessed = pte & NPT_A;
	v.dirty = leaf && (pte & NPT_D);
	return v;
}

struct view hw_view(tdp_pte_t pte, int level)
{
	u64 below = GENMASK_ULL(model_shift(level) + 11, 12);
	struct view v = tf->npt ? npt_view(pte, level, below) :
				  ept_view(pte, level, below);

	v.phys = pte & GENMASK_ULL(51, 12) & ~tf->enc;
	if (v.phys >> tf->phys_bits && pte & (tf->npt ? 1 : 7))
		v.bad = true;
	if (v.bad)
		v.access = 0;
	return v;
}

tdp_pte_t hw_access(tdp_pte_t pte, int level, unsigned int access)
{
	if (!(hw_view(pte, level).access & access) || !tf->ad)
		return pte;
	pte |= tf->npt ? NPT_A : EPT_A;
	if (access == TEST_W)
		pte |= tf->npt ? NPT_D : EPT_D;
	return pte;
}

tdp_pte_t sw_restored(tdp_pte_t pte, int level)
{
	u64 saved = (EPT_R | EPT_X) << SW_SAVED;

	if (!tf->ad && !(pte & 7)) {
		pte |= (pte & saved) >> SW_SAVED;
		pte &= ~saved;
	}
	return pte;
}

/* The most that the lockless fault path makes of a leaf. */
tdp_pte_t sw_lockless(tdp_pte_t pte, int level)
{
	pte = sw_restored(pte, level);
	return pte & (tf->npt ? NPT_MMU : EPT_MMU) ? pte | PT_W : pte;
}

unsigned int sw_marks(tdp_pte_t pte)
{
	return (pte & (tf->npt ? NPT_MMU : EPT_MMU) ? TDP_WRITE : 0) |
	       (pte & (tf->npt ? NPT_HOST : EPT_HOST) ? TDP_HOST_WRITE : 0);
}

tdp_pte_t model_address(kvm_pfn_t pfn)
{
	return pfn << 12;
}

tdp_pte_t model_leaf_base(int level)
{
	u64 pte = SW_PRESENT | tf->ad_type | model_attr();

	if (level > 1)
		pte |= PT_PS;
	return pte | (tf->npt ? NPT_P | NPT_US : EPT_SVE);
}

u64 model_leaf_bits(void)
{
	if (tf->npt)
		return PT_W | NPT_NX | NPT_A | NPT_D | NPT_HOST | NPT_MMU;
	return EPT_R | PT_W | EPT_X | EPT_HOST | EPT_MMU |
	       (tf->ad ? EPT_A | EPT_D : (EPT_R | EPT_X) << SW_SAVED);
}

/*
 * Writable only if both marks say so; readable, or access-tracked and then with
 * the saved R and no permission.
 */
bool model_leaf_legal(tdp_pte_t pte)
{
	unsigned int marks = sw_marks(pte);

	if (marks == TDP_WRITE || ((pte & PT_W) && !(marks & TDP_WRITE)))
		return false;
	if (tf->npt)
		return true;
	if (tf->ad)
		return pte & EPT_R;
	if (pte & 7)
		return (pte & EPT_R) &&
		       !(pte & ((EPT_R | EPT_X) << SW_SAVED));
	return pte & (EPT_R << SW_SAVED);
}

/*
 * MMIO, for any generation and gfn: bits 2:0 are 110b, a misconfiguration, in
 * EPT; in NPT reserved address bits if there are any, and not present if not.
 */
tdp_pte_t model_annotated(u64 random)
{
	u64 pte = random & (GENMASK_ULL(62, 52) | GENMASK_ULL(10, 3) |
			    GENMASK_ULL(tf->phys_bits - 1, 12));

	if (!tf->npt)
		return pte | 6;
	if (tf->phys_bits == 52)
		return pte;
	return pte | GENMASK_ULL(51, tf->phys_bits) | NPT_P;
}
