// SPDX-License-Identifier: GPL-2.0-only
/*
 * The machine that the toy format is for, and the shapes to test.
 */
#include "test.h"

struct test_format {
	const char *name;
	struct tdp_fmt fmt;
};

/* Name, levels, bits of a table and of the root, highest leaf, end. */
#define SHAPE(_name, _levels, _bits, _root_bits, _max_leaf, _end, ...)	\
	{								\
		.name = "toy_" _name,					\
		.fmt = {						\
			.end_gfn	= _end,				\
			.bits		= _bits,			\
			.root_bits	= _root_bits,			\
			.root_level	= _levels,			\
			.max_leaf	= _max_leaf,			\
			__VA_ARGS__					\
		},							\
	}

static const struct test_format formats[] = {
	SHAPE("flat", 1, 3, 5, 1, 29),
	SHAPE("bits1", 5, 1, 1, 5, 32),
	SHAPE("bits2", 4, 2, 2, 3, 256),
	SHAPE("bits3", 3, 3, 3, 2, 512),
	SHAPE("bits3_deep", 5, 3, 3, 3, 32768),
	/* 16 tables make up the root; or 2 entries of a table's 8. */
	SHAPE("concatenated", 3, 2, 6, 3, 1024),
	SHAPE("partial", 4, 3, 1, 3, 1024),
	/* The end lies within the first entry of the root; within a leaf. */
	SHAPE("end_first", 4, 2, 2, 4, 48),
	SHAPE("end_odd", 4, 2, 3, 4, 333),
	/* The least that has huge leaves, at one level or two. */
	SHAPE("tiny", 2, 1, 1, 2, 4),
	SHAPE("small", 3, 1, 1, 3, 8),
	/* Break-before-make. */
	SHAPE("bbm_deep", 4, 2, 3, 3, 333, .breaks = true),
	SHAPE("bbm_bits1", 5, 1, 1, 5, 32, .breaks = true),
	SHAPE("bbm_tiny", 2, 1, 1, 2, 4, .breaks = true),
	SHAPE("bbm_small", 3, 1, 1, 3, 8, .breaks = true),
};

static const struct test_format *tf;

const char *model_use(unsigned int nr)
{
	if (nr >= ARRAY_SIZE(formats))
		return NULL;
	tf = &formats[nr];
	fmt = &tf->fmt;
	return tf->name;
}

bool model_races(bool unmaps)
{
	return tf->fmt.end_gfn <= 8;
}

bool model_operates(void)
{
	return true;
}

enum model_breaks model_breaks(void)
{
	return tf->fmt.breaks ? BREAKS_SIZE : BREAKS_NOTHING;
}

/* As arm64, as RISC-V, or as x86. */
unsigned int model_tlb(void)
{
	if (tf->fmt.breaks)
		return TLB_KEEPS_FAULTS | TLB_COMBINES;
	return tf->fmt.end_gfn == 4 ? TLB_KEEPS_FAULTS | TLB_CACHES_INVALID : 0;
}

bool model_exec_asked(void)
{
	return tf->fmt.breaks;
}

u64 model_attr(void)
{
	return 2u << 8;
}

u64 model_attr_bits(void)
{
	return 3u << 8;
}

u64 model_table_attr(void)
{
	return 0;
}

u64 model_table_marks(void)
{
	return 3u << 10;
}

u64 model_pinned(void)
{
	return 1u << 10;
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
	const struct tdp_fmt *f = &tf->fmt;

	return level == f->root_level ? f->root_bits : f->bits;
}

int model_shift(int level)
{
	return tf->fmt.bits * (level - 1);
}

bool model_leaf_allowed(int level)
{
	return level <= tf->fmt.max_leaf;
}

int model_phys_bits(void)
{
	return 32;
}

struct view hw_view(tdp_pte_t pte, int level)
{
	struct view v = { .attr = pte & (3u << 8), .phys = pte & 0xfffff000u };

	if (pte & 1)
		return (struct view) { .phys = 0 };
	v.table = pte & 2;
	v.bad = v.table && (level == 1 || (pte & 0xe4));
	v.bad |= !v.table && (v.phys & ((0x1000ull << model_shift(level)) - 1));
	v.access = TEST_R | (pte & 4 ? 0 : TEST_W) | (pte & 8 ? TEST_X : 0);
	v.accessed = pte & 0x10;
	v.has_accessed = true;
	return v;
}

tdp_pte_t hw_access(tdp_pte_t pte, int level, unsigned int access)
{
	return hw_view(pte, level).access & access ? pte | 0x10 : pte;
}

tdp_pte_t sw_restored(tdp_pte_t pte, int level)
{
	return pte;
}

tdp_pte_t sw_lockless(tdp_pte_t pte, int level)
{
	return pte & 0x20 ? pte & ~4u : pte;
}

unsigned int sw_marks(tdp_pte_t pte)
{
	return (pte & 0x20 ? TDP_WRITE : 0) | (pte & 0x40 ? TDP_HOST_WRITE : 0);
}

tdp_pte_t model_address(kvm_pfn_t pfn)
{
	return pfn << 12;
}

tdp_pte_t model_leaf_base(int level)
{
	return model_attr();
}

u64 model_leaf_bits(void)
{
	return 0x7c;
}

/* Writable only if both marks say so. */
bool model_leaf_legal(tdp_pte_t pte)
{
	return (pte & 0x60) != 0x20 && ((pte & 4) || (pte & 0x60) == 0x60);
}

tdp_pte_t model_annotated(u64 random)
{
	return (u32)random | 0x81;
}
