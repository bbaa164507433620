// SPDX-License-Identifier: GPL-2.0-only
/*
 * The machine of the format that is like s390's.
 */
#include "test.h"
#include "sched.h"

struct test_format {
	const char *name;
	struct tdp_fmt fmt;
};

static const struct test_format formats[] = {
	{ "s390_3", { BIT_ULL(30), 3 } },
	{ "s390_4", { BIT_ULL(41), 4 } },
	{ "s390_4_end", { 3ull << 30, 4 } },
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

/* Entries that are locked, each by a task. */
static const tdp_pte_t *locked[MAX_TASKS];

static bool is_free(const void *arg)
{
	int i;

	for (i = 0; i < MAX_TASKS; i++) {
		if (i != task && locked[i] == arg)
			return false;
	}
	return true;
}

void s390_lock_entry(tdp_pte_t *ptep)
{
	CHECK(!locked[task], "locks two entries");
	/* Others can come before that. */
	test_store(ptep);
	sched_wait(is_free, ptep, "entry");
	locked[task] = ptep;
}

void s390_unlock_entry(tdp_pte_t *ptep)
{
	CHECK(locked[task] == ptep);
	locked[task] = NULL;
}

/* One step: no CPU finds the entry invalid in between. */
void s390_replace_and_purge(tdp_pte_t *ptep, tdp_pte_t new)
{
	CHECK(locked[task] == ptep, "replaced without its lock");
	sched_mb();
	sched_settle(ptep);
	*ptep = new;
	if (entry_purged)
		entry_purged(ptep);
}

bool model_races(bool unmaps)
{
	return tf == formats && race_bound > 1;
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

u64 model_attr(void)
{
	return 0;
}

u64 model_attr_bits(void)
{
	return 0;
}

u64 model_table_attr(void)
{
	return 0;
}

u64 model_table_marks(void)
{
	return 0xc;
}

u64 model_pinned(void)
{
	return 8;
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
	return level == 1 ? 8 : 11;
}

int model_shift(int level)
{
	static const u8 shifts[] = { 0, 8, 19, 30 };

	return shifts[level - 1];
}

bool model_leaf_allowed(int level)
{
	return level <= 3;
}

int model_phys_bits(void)
{
	return 64;
}

struct view hw_view(tdp_pte_t pte, int level)
{
	bool leaf = level == 1 || (pte & 0x400);
	struct view v = {};

	/* An invalid entry has nothing but its software bits. */
	if ((pte & 0x20) && !(pte & 1))
		return v;
	v.phys = pte & ~0xfffull;
	if (pte & 0x20)
		return v;
	v.table = !leaf;
	v.bad = leaf ? v.phys & ((0x1000ull << model_shift(level)) - 1) :
		       pte & 0x700;
	v.bad |= (level == 1 && (pte & 0x400)) || (pte & 0x8d0);
	if (!v.bad)
		v.access = TEST_R | (pte & 0x200 ? 0 : TEST_W) |
			   (pte & 0x100 ? 0 : TEST_X);
	return v;
}

tdp_pte_t hw_access(tdp_pte_t pte, int level, unsigned int access)
{
	return pte;
}

tdp_pte_t sw_restored(tdp_pte_t pte, int level)
{
	return pte & ~0x20ull;
}

tdp_pte_t sw_lockless(tdp_pte_t pte, int level)
{
	pte = sw_restored(pte, level);
	return pte & 2 ? pte & ~0x200ull : pte;
}

unsigned int sw_marks(tdp_pte_t pte)
{
	return (pte & 2 ? TDP_WRITE : 0) | (pte & 4 ? TDP_HOST_WRITE : 0);
}

tdp_pte_t model_address(kvm_pfn_t pfn)
{
	return pfn << 12;
}

tdp_pte_t model_leaf_base(int level)
{
	return 1 | (level > 1 ? 0x400 : 0);
}

u64 model_leaf_bits(void)
{
	return 0x326;
}

/* Writable only if both marks say so. */
bool model_leaf_legal(tdp_pte_t pte)
{
	return (pte & 6) != 2 && ((pte & 0x200) || (pte & 6) == 6);
}

tdp_pte_t model_annotated(u64 random)
{
	return (random & ~0x601ull) | 0xa0;
}
