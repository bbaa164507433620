// SPDX-License-Identifier: GPL-2.0-only
/*
 * Long sequences of random operations of the TDP MMU, one after the other,
 * against a map: whatever yields, and whatever cannot be allocated.
 */
#include "map.h"

static int open_mem = -1;
static gfn_t open_start, open_end;

/* Windows that have large leaves, and ends that are not aligned. */
static void set_up(bool large)
{
	gfn_t end = tdp_fmt_end_gfn(fmt), big;
	int level = max_leaf_level();
	struct mem_shape shapes[NR_MEMS] = {
		{ 0, end * 2 / 3, max_leaf_level(), 0 },
		{ end / 4, end - end / 4, max_leaf_level(), 1 },
	};
	gfn_t start = 0;

	if (end > 32768) {
		/* The largest leaf of a reasonable size. */
		while (model_shift(level) > 19)
			level--;
		big = model_span(level);
		start = end / (end < 8 * big ? 4 : 2) & ~(big - 1);
		shapes[0].base_gfn = start + (large ? big : 2048) - 700;
		shapes[0].npages = 2100 + (large ? big : 0);
		shapes[0].max_level = large ? level : 2;
		shapes[1].base_gfn = start + 2 * big + 13;
		shapes[1].npages = 1500;
		shapes[1].max_level = 2;
		end = start + 3 * big;
	}
	vm_create(NR_MEMS, shapes);
	map_create(start, end);
	vm.cpus[NR_VCPUS - 1].as_id = 1;
	open_mem = -1;
}

static struct mem *random_mem(void)
{
	return &vm.mem[rnd(NR_MEMS)];
}

/* Few places, so that things happen to what there is. */
static gfn_t random_in(const struct mem *mem)
{
	gfn_t span = model_span(1 + rnd(max_leaf_level()));
	gfn_t at = (rnd(4) * span + rnd(3)) % mem->npages;

	return mem->base_gfn + (rnd(8) ? at : mem->npages - 1 - at);
}

static void random_range(const struct mem *mem, gfn_t *start, gfn_t *end)
{
	gfn_t last = mem->base_gfn + mem->npages;
	gfn_t span = model_span(1 + rnd(max_leaf_level()));

	*start = random_in(mem);
	if (rnd(2))
		*start = max(*start & ~(span - 1), mem->base_gfn);
	*end = *start + (rnd(2) ? span : 1 + rnd(2 * span));
	*end = min(*end, last);
	if (!rnd(16)) {
		*start = mem->base_gfn;
		*end = last;
	}
}

static unsigned int random_access(void)
{
	static const u8 accesses[] = { TEST_R, TEST_W, TEST_W, TEST_X };

	return accesses[rnd(4)];
}

static void do_fault(struct mem *mem, struct cpu *cpu)
{
	unsigned int access = random_access();
	gfn_t gfn = random_in(mem);
	bool prefetch = !rnd(8);
	int r, expected;

	cpu->as_id = mem->slots[0].as_id;
	if (cpu->root && cpu->root->as_id != cpu->as_id)
		op_put_root(cpu);
	if (prefetch)
		access = TEST_R;
	if (rnd(2)) {
		r = op_fast_fault(cpu, gfn, access);
		expected = map_fast_fault(cpu->as_id, gfn, access);
		CHECK(r == expected, "fast fault %llx: %d, not %d", gfn, r,
		      expected);
	}
	r = op_fault(cpu, gfn, access, prefetch);
	if (r == -ENOMEM && vm.fail_alloc)
		return;
	expected = map_fault(cpu->as_id, gfn, access, prefetch);
	CHECK(r == expected, "fault %llx: %d, not %d", gfn, r, expected);
}

static void do_access(struct mem *mem, struct cpu *cpu)
{
	unsigned int access = random_access();
	bool cold = rnd(2), usable;
	gfn_t gfn = random_in(mem);
	int r, expected;

	if (cpu->as_id != mem->slots[0].as_id)
		return;
	usable = cpu->root && !cpu->obsolete;
	if (cold)
		cpu_flush_all(cpu);
	r = cpu_access(cpu, gfn, access);
	cpu_drain_log(cpu);
	if (!usable) {
		CHECK(r == HW_FAULT);
	} else if (cold) {
		expected = map_access(cpu->as_id, gfn, access);
		CHECK(r == expected, "access %llx: %d, not %d", gfn, r,
		      expected);
	} else {
		map_adopt(cpu->as_id, gfn);
	}
}

/* Between the two all else goes on, but for the end of the memslot. */
static void do_unmap(struct mem *mem)
{
	unsigned long i;
	bool readonly = !rnd(8);

	if (open_mem >= 0) {
		op_unmap_close(&vm.mem[open_mem], open_start, open_end);
		open_mem = -1;
		return;
	}
	random_range(mem, &open_start, &open_end);
	op_unmap_open(mem, open_start, open_end, rnd(2), rnd(2));
	if (mem->slot)
		map_zap(mem->slot->as_id, open_start, open_end);
	for (i = open_start; i < open_end; i++)
		mem->host[i - mem->base_gfn].readonly = readonly;
	open_mem = mem - vm.mem;
	if (rnd(2))
		do_unmap(mem);
}

static void do_log(struct mem *mem)
{
	unsigned long mask = rnd(-1ull) << rnd(64), bits, cleared = 0;
	gfn_t gfn = random_in(mem);
	bool split = !vm.fail_alloc && rnd(2), all_set = rnd(2);

	if (!mem->slot)
		return;
	if (!mem->slot->flags) {
		if (rnd(2) || open_mem >= 0)
			return;
		memset(mem->expected, all_set, mem->npages);
		op_log_start(mem, split, all_set);
		if (split)
			map_split(mem, mem->base_gfn,
				  mem->base_gfn + mem->npages, false);
		if (!all_set)
			map_log_slot(mem);
	} else if (!rnd(6) && open_mem < 0) {
		op_log_stop(mem);
		map_recover(mem);
	} else {
		if (mem->base_gfn + mem->npages - gfn < BITS_PER_LONG)
			mask &= BIT(mem->base_gfn + mem->npages - gfn) - 1;
		for (bits = mask; bits; bits &= bits - 1) {
			u8 *bit = &mem->expected[gfn - mem->base_gfn +
						 __ffs(bits)];

			cleared |= *bit ? bits & -bits : 0;
			*bit = false;
		}
		vm.clear_shared = rnd(2);
		op_log_clear(mem, gfn, mask);
		map_log(mem, gfn, cleared);
	}
}

static void do_split(struct mem *mem)
{
	unsigned int nomem = vm.fail_alloc;
	gfn_t start, end;
	int r;

	if (!mem->slot)
		return;
	/* Sometimes there is no memory at all. */
	if (nomem && !rnd(4))
		vm.fail_alloc = 1;
	random_range(mem, &start, &end);
	if (rnd(2)) {
		start = mem->base_gfn;
		end = start + mem->npages;
		r = op_split(mem);
	} else {
		r = op_split_range(mem, start, end);
	}
	CHECK(!r || (r == -ENOMEM && nomem));
	vm.fail_alloc = nomem;
	map_split(mem, start, end, r);
}

static void do_slot(struct mem *mem)
{
	if (rnd(4) || open_mem >= 0)
		return;
	if (!mem->slot) {
		op_create_slot(mem);
		return;
	}
	if (rnd(2))
		op_delete_slot(mem);
	else
		op_invalidate();
	map_reset(0);
	map_reset(1);
}

static void do_op(void)
{
	struct cpu *cpu = &vm.cpus[rnd(NR_VCPUS)];
	struct mem *mem = random_mem();
	gfn_t start, end;
	int n;

	random_range(mem, &start, &end);
	switch (rnd(16)) {
	case 0 ... 4:
		do_fault(mem, cpu);
		break;
	case 5 ... 6:
		do_access(mem, cpu);
		break;
	case 7:
		do_unmap(mem);
		break;
	case 8 ... 9:
		do_log(mem);
		break;
	case 10:
		do_split(mem);
		break;
	case 11:
		if (mem->slot && !mem->slot->flags) {
			op_recover(mem);
			map_recover(mem);
		}
		break;
	case 12:
		if (!mem->slot)
			break;
		CHECK(op_test_age(mem, start, end) ==
		      map_age(mem, start, end, false));
		if (rnd(2))
			CHECK(op_age(mem, start, end) ==
			      map_age(mem, start, end, true));
		break;
	case 13:
		n = rnd(4);
		op_release(n);
		map_release(n, test_resched);
		break;
	case 14:
		if (rnd(2)) {
			op_zap(start, end);
			map_zap(0, start, end);
			map_zap(1, start, end);
		} else if (rnd(2)) {
			op_put_root(cpu);
		} else if (mem->slot && open_mem < 0) {
			op_track(mem, start);
			map_track(mem, start);
		}
		break;
	case 15:
		do_slot(mem);
		break;
	}
	if (!rnd(4))
		test_grace_period();
	nr_yields = 0;
}

/* What a walk reads is what there is. */
static void check_walk(void)
{
	struct mem *mem = random_mem();
	gfn_t gfn = random_in(mem);
	tdp_pte_t ptes[TDP_MAX_LEVELS + 1];
	struct cpu *cpu = &vm.cpus[0];
	int level = 1, lowest, l;
	tdp_pte_t *pte;

	if (!cpu->root)
		return;
	pte = pgt_find(&cpu->root->pgt, gfn, &level);
	lowest = kvm_tdp_get_walk(cpu->root, gfn, ptes);
	CHECK(lowest == level && ptes[level] == *pte);
	for (l = level + 1; l <= root_level(); l++)
		CHECK(tdp_pte_kind(fmt, ptes[l], l) == TDP_TABLE);
	CHECK(kvm_tdp_get_walk(cpu->root, tdp_fmt_end_gfn(fmt), ptes) < 0);
}

/* The process ends: the guest does not run any more. */
static void zap_all(void)
{
	struct cpu *cpu;

	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++)
		cpu_flush_all(cpu);
	op_zap_all();
	map_zap(0, 0, tdp_fmt_end_gfn(fmt));
	map_zap(1, 0, tdp_fmt_end_gfn(fmt));
	map_check(0);
	map_check(1);
	CHECK(!atomic64_read(&vm.kvm.tdp.nr_tables), "tables are left");
}

static void run_ops(unsigned int seed, bool yields, bool nomem)
{
	bool large = !(seed % 4);
	int i;

	rnd_seed(seed);
	set_up(large);
	vm.nx = rnd(2) && model_pinned();
	vm.fail_alloc = nomem ? 4 : 0;
	test_resched = yields;
	for (i = 0; i < (large ? 100 : 250) && !pool_is_low(); i++) {
		snprintf(test_where, sizeof(test_where),
			 "sequence %u, operation %d", seed, i);
		do_op();
		check_walk();
		vm_check_counts();
		if (!large || !(i % 8)) {
			map_check(0);
			map_check(1);
		}
	}
	if (open_mem >= 0)
		do_unmap(NULL);
	map_check(0);
	map_check(1);
	/* One changes what the other looks at. */
	if (rnd(2))
		zap_all();
	else
		cpu_probe_log();
	test_where[0] = 0;
	vm_destroy();
	map_free();
}

/* Large tables take their time. */
static unsigned int nr_sequences(void)
{
	return (model_nr_bits(1) > 3 ? 4 : 60) * test_effort;
}

static void test_plain(void)
{
	unsigned int seed;

	for (seed = 1; seed <= nr_sequences(); seed++)
		run_ops(seed, false, false);
}

static void test_yields(void)
{
	unsigned int seed;

	for (seed = 1; seed <= nr_sequences(); seed++)
		run_ops(100000 + seed, true, false);
}

static void test_nomem(void)
{
	unsigned int seed;

	for (seed = 1; seed <= nr_sequences(); seed++)
		run_ops(200000 + seed, rnd(2), true);
}

static long long tables_before;

static void one_table_at_a_time(void)
{
	long long tables = atomic64_read(&vm.kvm.tdp.nr_tables);

	CHECK(tables_before - tables <= 1, "%lld tables between two yields",
	      tables_before - tables);
	tables_before = tables;
}

/*
 * How long is the lock held?  For a step if the scheduler asks, and for a table
 * if somebody waits for the lock.
 */
static void test_bounds(void)
{
	struct mem *mem = &vm.mem[0];
	unsigned int splits;
	gfn_t gfn, step, span;

	set_up(false);
	if (mem->npages < 4 * model_span(2)) {
		vm_destroy();
		test_skip("too few tables");
	}
	/* Some leaves in each table. */
	span = root_level() > 1 ? model_span(2) : 1;
	step = max(span / 2, 1ull);
	mem->max_level = 1;
	vm.cpus[0].as_id = 0;
	for (gfn = 0; gfn < mem->npages; gfn += step)
		op_fault(&vm.cpus[0], mem->base_gfn + gfn, TEST_W, false);

	test_contended = true;
	nr_yields = 0;
	op_log_start(mem, false, false);
	CHECK(nr_yields >= mem->npages / span / 2, "%u yields", nr_yields);
	test_contended = false;

	/* A split takes its time: who waits gets the lock after each. */
	if (max_leaf_level() > 1) {
		mem->max_level = 2;
		op_log_stop(mem);
		op_zap(0, tdp_fmt_end_gfn(fmt));
		for (gfn = 0; gfn < mem->npages; gfn += step)
			op_fault(&vm.cpus[0], mem->base_gfn + gfn, TEST_W, false);
		tables_before = atomic64_read(&vm.kvm.tdp.nr_tables);
		nr_yields = 0;
		test_contended = true;
		op_split(mem);
		test_contended = false;
		splits = atomic64_read(&vm.kvm.tdp.nr_tables) - tables_before;
		CHECK(nr_yields + 1 >= splits, "%u yields for %u splits",
		      nr_yields, splits);
	}

	test_resched = true;
	tables_before = atomic64_read(&vm.kvm.tdp.nr_tables);
	yield_hook = one_table_at_a_time;
	op_zap(0, tdp_fmt_end_gfn(fmt));
	CHECK(!atomic64_read(&vm.kvm.tdp.nr_tables));
	yield_hook = NULL;

	/* Where there is nothing left to do it yields all the same. */
	nr_yields = 0;
	op_zap(0, tdp_fmt_end_gfn(fmt));
	CHECK(nr_yields || tdp_fmt_end_gfn(fmt) <= model_span(root_level()));
	test_resched = false;
	vm_destroy();
	map_free();
}

/* Two blocks of the third level, or more, from the first that is aligned. */
static gfn_t two_blocks(const struct mem *mem)
{
	gfn_t span = model_span(3);
	gfn_t start = (mem->base_gfn + span - 1) & ~(span - 1);

	if (max_leaf_level() < 3 || mem->max_level < 3 ||
	    start + 2 * span > mem->base_gfn + mem->npages) {
		vm_destroy();
		map_free();
		test_skip("too small");
	}
	return start;
}

static void map_cached(struct mem *mem, gfn_t gfn, int max_level)
{
	int level = mem->max_level;

	mem->max_level = max_level;
	op_fault(&vm.cpus[0], gfn, TEST_W, false);
	CHECK(cpu_access(&vm.cpus[0], gfn, TEST_W) == HW_DONE);
	mem->max_level = level;
}

static int level_of(gfn_t gfn)
{
	int level = 1;
	tdp_pte_t *pte = pgt_find(&vm.cpus[0].root->pgt, gfn, &level);

	CHECK(tdp_pte_kind(fmt, *pte, level) == TDP_LEAF);
	return level;
}

/*
 * Of several sizes, and all of it cached: nothing must become mapped in two
 * sizes at a time.
 */
static void test_split_sizes(void)
{
	struct mem *mem = &vm.mem[0];
	gfn_t start;

	set_up(true);
	start = two_blocks(mem);
	map_cached(mem, start, 3);
	map_cached(mem, start + model_span(3), 2);
	CHECK(!op_split(mem));
	CHECK(level_of(start) == 1 && level_of(start + model_span(3)) == 1);
	vm_destroy();
	map_free();
}

static void test_recover_sizes(void)
{
	struct mem *mem = &vm.mem[0];
	gfn_t start, second;

	set_up(true);
	start = two_blocks(mem);
	second = start + model_span(3);
	map_cached(mem, start, 1);
	map_cached(mem, second, 1);
	/* The end of the second block is another kind of memory. */
	mem->host[second + model_span(3) - 1 - mem->base_gfn].readonly = true;
	op_recover(mem);
	CHECK(level_of(start) == 3 && level_of(second) == 2);
	vm_destroy();
	map_free();
}

/* One memslot of small pages, and a CPU with a root. */
static struct cpu *set_up_small(gfn_t base_gfn, unsigned long npages)
{
	struct mem_shape shape = { base_gfn, npages, 1, 0 };
	struct cpu *cpu = &vm.cpus[0];

	vm_create(1, &shape);
	op_load_root(cpu);
	return cpu;
}

static unsigned int nr_lost;

/* Somebody ages the leaf, and somebody uses it, again and again. */
static void change_age(tdp_pte_t *entry, int level)
{
	*entry = nr_lost++ & 1 ? tdp_pte_mkyoung(fmt, *entry) :
				 tdp_pte_mkold(fmt, *entry);
}

/* Who loses all the time leaves it to the lock to bring order. */
static void test_fast_tries(void)
{
	struct cpu *cpu = set_up_small(0, 1);
	struct kvm_tdp_root *root = cpu->root;
	int level = 1;
	tdp_pte_t pte;

	CHECK(op_fault(cpu, 0, TEST_W, false) == KVM_TDP_FIXED);
	op_log_start(&vm.mem[0], false, false);
	pte = *pgt_find(&root->pgt, 0, &level);
	if (tdp_pte_mkold(fmt, pte) == pte || tdp_pte_writable(fmt, pte)) {
		vm_destroy();
		test_skip("leaves do not age, or are not protected");
	}
	nr_lost = 0;
	store_hook = change_age;
	CHECK(op_fast_fault(cpu, 0, TEST_W) == KVM_TDP_SLOW);
	store_hook = NULL;
	CHECK(nr_lost > 1, "tried only once");
	CHECK(!vm.mem[0].dirty[0], "marked dirty for nothing");
	CHECK(op_fast_fault(cpu, 0, TEST_W) == KVM_TDP_FIXED);
	vm_destroy();
}

/* Beyond the address space of the format a guest can fault all the same. */
static void test_beyond(void)
{
	gfn_t end = tdp_fmt_end_gfn(fmt);
	struct mem_shape shapes[] = { { 0, 1, 1, 0 }, { end - 1, 2, 1, 0 } };
	struct cpu *cpu = &vm.cpus[0];

	vm_create(2, shapes);
	/* What tables have for gfn 0 they would have for the end, too. */
	CHECK(op_fault(cpu, 0, TEST_W, false) == KVM_TDP_FIXED);
	CHECK(op_fault(cpu, end - 1, TEST_W, false) == KVM_TDP_FIXED);
	CHECK(op_fast_fault(cpu, end, TEST_R) == KVM_TDP_SLOW);
	CHECK(op_fault(cpu, end, TEST_R, false) == -EFAULT);
	CHECK(op_fault(cpu, end + 1, TEST_R, false) == KVM_TDP_ANNOTATED);
	CHECK(vm.leaves[0] == 2);
	vm_destroy();
}

/* The primary MMU exchanged a page, and no notifier came. */
static void test_other_page(void)
{
	struct cpu *cpu = set_up_small(0, 1);
	struct host *host = vm.mem[0].host;

	CHECK(op_fault(cpu, 0, TEST_W, false) == KVM_TDP_FIXED);
	host->gen++;
	expect_warnings = 1;
	CHECK(op_fault(cpu, 0, TEST_W, false) == -EIO);
	host->gen--;
	CHECK(op_fault(cpu, 0, TEST_W, false) == KVM_TDP_SPURIOUS);
	vm_destroy();
}

/* A VM that never got a vCPU ends without mmu_lock. */
static void test_no_vcpus(void)
{
	set_up_small(0, 1);
	op_put_root(&vm.cpus[0]);
	vm.kvm.created_vcpus = 0;
	kvm_tdp_invalidate_all_roots(MMU);
	read_lock(&vm.kvm.mmu_lock);
	CHECK(!kvm_tdp_get_root(MMU, 0), "an invalid root is found");
	read_unlock(&vm.kvm.mmu_lock);
	vm_destroy();
}

/* A valid root without a reference is a bug: it is not used again. */
static void test_lost_root(void)
{
	struct cpu *cpu = set_up_small(0, 1);
	struct kvm_tdp_root *lost = cpu->root, *other = vm_new_root(0, 0);

	read_lock(&vm.kvm.mmu_lock);
	refcount_set(&lost->refs, 0);
	expect_warnings = 1;
	CHECK(kvm_tdp_add_root(MMU, other) == other);
	refcount_set(&lost->refs, 2);
	kvm_tdp_put_root(other);
	read_unlock(&vm.kvm.mmu_lock);
	vm_destroy();
}

/* Many tables of one root are paid for together, but not too many. */
static void test_release(void)
{
	gfn_t gfn, span = model_span(2);
	unsigned int nr = 70, flushes;
	struct mem_shape shape = { 0, nr * span, 2, 0 };
	struct cpu *cpu = &vm.cpus[0];

	if (!model_pinned() || !model_leaf_allowed(2) ||
	    tdp_fmt_end_gfn(fmt) < shape.npages ||
	    shape.npages > MAX_MEM_PAGES)
		test_skip("too few tables that can be pinned");
	vm_create(1, &shape);
	vm.nx = true;
	op_load_root(cpu);
	for (gfn = 0; gfn < shape.npages; gfn += span)
		op_fault(cpu, gfn, TEST_X, false);
	CHECK(vm.leaves[0] == nr && vm.nr_notes == nr);
	flushes = cpu->flushes;
	op_release(nr + 1);
	CHECK(!vm.leaves[0] && !vm.nr_notes);
	CHECK(cpu->flushes - flushes == 2 || model_breaks() != BREAKS_NOTHING ||
	      TDP_REPLACE_FLUSHES, "%u flushes for %u tables",
	      cpu->flushes - flushes, nr);
	vm_destroy();
}

/* The first of some blocks of the second level, or a skip. */
static gfn_t some_blocks(struct mem *mem, unsigned int nr)
{
	gfn_t span = root_level() > 1 ? model_span(2) : 0;
	gfn_t start = span ? (mem->base_gfn + span - 1) & ~(span - 1) : 0;

	if (max_leaf_level() < 2 ||
	    start + nr * span > mem->base_gfn + mem->npages) {
		vm_destroy();
		map_free();
		test_skip("too small");
	}
	mem->max_level = 2;
	return start;
}

static gfn_t first_block;

/* Other than to look at the next entry: not while the first is broken. */
static void check_made(gfn_t gfn)
{
	int level = 2;
	tdp_pte_t *pte = pgt_find(&vm.cpus[0].root->pgt, first_block, &level);

	CHECK(gfn < first_block + 2 * model_span(2) ||
	      tdp_pte_kind(fmt, *pte, level) != TDP_FROZEN,
	      "vCPUs wait for what takes its time");
}

/* The first block is recovered; of others one is mapped in part, some cannot be. */
static void check_recover_broken(bool in_part)
{
	struct mem *mem = &vm.mem[0];
	gfn_t span, gfn;
	int i;

	set_up(false);
	first_block = some_blocks(mem, 4);
	span = model_span(2);
	for (gfn = first_block; gfn < first_block + span; gfn++)
		map_cached(mem, gfn, 1);
	for (i = 1; i < 4; i++) {
		gfn = first_block + i * span;
		map_cached(mem, gfn, 1);
		mem->host[gfn + span - 1 - mem->base_gfn].readonly = !in_part;
	}
	slow_hook = check_made;
	op_recover(mem);
	slow_hook = NULL;
	for (i = 0; i < 4; i++)
		CHECK(level_of(first_block + i * span) ==
		      (!i || in_part ? 2 : 1));
	vm_destroy();
	map_free();
}

static void test_recover_broken(void)
{
	check_recover_broken(false);
	check_recover_broken(true);
}

/* A block that the backend does not want is left to faults. */
static void test_recover_refused(void)
{
	struct mem *mem = &vm.mem[0];
	int level = 2;
	tdp_pte_t *pte;
	gfn_t gfn;

	set_up(false);
	gfn = some_blocks(mem, 1);
	map_cached(mem, gfn, 1);
	vm.no_blocks = true;
	op_recover(mem);
	pte = pgt_find(&vm.cpus[0].root->pgt, gfn, &level);
	CHECK(level == 2 && tdp_pte_kind(fmt, *pte, 2) == TDP_NONE);
	CHECK(!vm.leaves[0] && !vm.leaves[1]);
	vm_destroy();
	map_free();
}

/* Nobody maps anything there: no vCPU has to wait, and one flush does for all. */
static void test_unmap_once(void)
{
	gfn_t gfn, span = max_leaf_level() > 1 ? model_span(2) : 0;
	/* The last one is only partly in the range. */
	unsigned int nr = TDP_MAX_BROKEN + 2, flushes;
	struct mem_shape shape = { 0, nr * span, 2, 0 };
	gfn_t end = shape.npages - span / 2;
	struct cpu *cpu = &vm.cpus[0];

	if (tdp_fmt_maintains_unmapped(fmt) || TDP_REPLACE_FLUSHES)
		test_skip("flushes more often");
	if (!span || shape.npages > MAX_MEM_PAGES ||
	    tdp_fmt_end_gfn(fmt) < shape.npages ||
	    (root_level() > 2 && model_span(3) < shape.npages))
		test_skip("no such blocks");
	vm_create(1, &shape);
	for (gfn = 0; gfn < shape.npages; gfn += span)
		CHECK(op_fault(cpu, gfn, TEST_W, false) == KVM_TDP_FIXED);
	CHECK(vm.leaves[1] == nr);
	flushes = vm.nr_flushes;
	op_unmap(&vm.mem[0], 0, end, true, true);
	CHECK(vm.nr_flushes - flushes == 1, "%u flushes",
	      vm.nr_flushes - flushes);
	CHECK(!vm.leaves[1]);
	vm_destroy();
}

static tdp_pte_t read_leaf(gfn_t gfn, int *level)
{
	tdp_pte_t pte;

	*level = 1;
	pte = *pgt_find(&vm.cpus[0].root->pgt, gfn, level);
	CHECK(tdp_pte_kind(fmt, pte, *level) == TDP_LEAF);
	return pte;
}

/* Neighbours that are large are unmapped one by one, where that takes its time. */
static void test_large_blocks(void)
{
	gfn_t span = max_leaf_level() > 2 ? model_span(3) : 0;
	struct mem_shape shape = { 0, 2 * span, 3, 0 };
	struct cpu *cpu = &vm.cpus[0];

	if (!span || shape.npages > MAX_MEM_PAGES ||
	    tdp_fmt_end_gfn(fmt) < shape.npages)
		test_skip("no such blocks");
	vm_create(1, &shape);
	CHECK(op_fault(cpu, 0, TEST_W, false) == KVM_TDP_FIXED);
	CHECK(op_fault(cpu, span, TEST_W, false) == KVM_TDP_FIXED);
	CHECK(vm.leaves[2] == 2);
	op_unmap(&vm.mem[0], 0, 2 * span, true, true);
	CHECK(!vm.leaves[2]);
	vm_destroy();
}

/* A memslot as large as a block, from gfn 0, in so many of them; or a skip. */
static gfn_t set_up_block(unsigned int nr)
{
	gfn_t span = max_leaf_level() > 1 ? model_span(2) : 8;

	if (span < 8 || tdp_fmt_end_gfn(fmt) < nr * span)
		test_skip("no room beside the memslot");
	set_up_small(0, span);
	return span;
}

/*
 * A root whose gfns are not those of memslots: the page is that of the slot, and
 * so is what is marked, and what can have made the fault stale.
 */
static void test_shadow(void)
{
	gfn_t span = set_up_block(3), gfn = span + 3;
	struct cpu *cpu = &vm.cpus[0];
	struct mem *mem = &vm.mem[0];
	tdp_pte_t pte;
	int level;

	mem->max_level = min(max_leaf_level(), 2);

	op_unmap_open(mem, 2, 3, true, false);
	CHECK(op_shadow_fault(cpu, gfn, 2, TEST_W) == KVM_TDP_RETRY);
	/* Of a block that has the page in it nothing but other pages. */
	CHECK(op_shadow_fault(cpu, gfn, 3, TEST_W) == KVM_TDP_FIXED);
	op_unmap_close(mem, 2, 3);
	pte = read_leaf(gfn, &level);
	CHECK(level == 1 && tdp_pte_pfn(fmt, pte) == vm_pfn(mem, 3));

	/* The guest's hypervisor maps another page there. */
	CHECK(op_shadow_fault(cpu, gfn, 6, TEST_W) == KVM_TDP_FIXED);
	pte = read_leaf(gfn, &level);
	CHECK(level == 1 && tdp_pte_pfn(fmt, pte) == vm_pfn(mem, 6));

	/* Others than the page's do not matter. */
	op_unmap_open(mem, 5, 6, true, false);
	CHECK(op_shadow_fault(cpu, span + 5, 0, TEST_W) == KVM_TDP_FIXED);
	op_unmap_close(mem, 5, 6);

	op_log_start(mem, false, false);
	CHECK(op_shadow_fault(cpu, 2 * span + 1, 4, TEST_W) == KVM_TDP_FIXED);
	CHECK(mem->dirty[4] && !mem->dirty[1]);
	pte = read_leaf(2 * span + 1, &level);
	CHECK(level == 1 && tdp_pte_pfn(fmt, pte) == vm_pfn(mem, 4));

	write_lock(&vm.kvm.mmu_lock);
	kvm_tdp_log_gfn_range(MMU, 0, tdp_fmt_end_gfn(fmt));
	write_unlock(&vm.kvm.mmu_lock);
	for (gfn = span + 3; gfn <= 2 * span + 1; gfn += span - 2) {
		pte = read_leaf(gfn, &level);
		CHECK(tdp_pte_log_writes(fmt, pte, level) == pte,
		      "gfn %llx is not logged", gfn);
	}
	vm_destroy();
}

/* The mark of formats that have one. */
static u64 slotless_attr(void)
{
#ifdef ARM64_TDP_SLOTLESS
	return fmt->slotless;
#else
	return 0;
#endif
}

#define SLOTLESS_FLAGS	(TDP_YOUNG | TDP_WRITE | TDP_HOST_WRITE)

static int map_slotless(gfn_t gfn, kvm_pfn_t pfn)
{
	struct cpu *cpu = &vm.cpus[0];
	tdp_pte_t leaf = tdp_pte_make_leaf(fmt, pfn, 1, SLOTLESS_FLAGS,
					   model_attr() | slotless_attr());
	int r;

	CHECK(!__kvm_mmu_topup_memory_cache(&cpu->tables, root_level() - 1,
					    root_level() - 1));
	write_lock(&vm.kvm.mmu_lock);
	r = kvm_tdp_map_gfn(cpu->root, gfn, leaf, &cpu->tables);
	write_unlock(&vm.kvm.mmu_lock);
	return r;
}

/* What no memslot backs stays where it is until it, or everything, goes. */
static void test_slotless(void)
{
	gfn_t span = set_up_block(2), gfn = span + 1;
	struct cpu *cpu = &vm.cpus[0];
	struct mem *mem = &vm.mem[0];
	tdp_pte_t pte;
	int level;

	mem->max_level = min(max_leaf_level(), 2);

	CHECK(map_slotless(tdp_fmt_end_gfn(fmt), 1) == -EFAULT);
	CHECK(!map_slotless(gfn, 1));
	CHECK(vm.leaves[0] == 1);
	/* Another page. */
	CHECK(!map_slotless(gfn, 2));
	CHECK(vm.leaves[0] == 1);

	/* In place of a block. */
	CHECK(op_fault(cpu, 0, TEST_W, false) == KVM_TDP_FIXED);
	CHECK(!map_slotless(1, 3));
	CHECK(vm.leaves[0] == (mem->max_level > 1 ? 2 : 3));

	CHECK(op_fault(cpu, 0, TEST_W, false) >= KVM_TDP_FIXED);
	op_log_start(mem, true, false);
	op_age(mem, 0, span);
	op_log_stop(mem);
	op_recover(mem);
	op_unmap(mem, 0, span, true, true);
	pte = read_leaf(gfn, &level);
	CHECK(level == 1 && tdp_pte_pfn(fmt, pte) == 2);
	CHECK(pte == tdp_pte_make_leaf(fmt, 2, 1, SLOTLESS_FLAGS,
				       model_attr() | slotless_attr()));
	CHECK(vm.leaves[0] == 1);

	op_zap_all();
	CHECK(!vm.leaves[0]);

	op_invalidate();
	CHECK(map_slotless(gfn, 1) == -EIO);
	vm_destroy();
}

/* User space puts a memslot over it: only what unmaps the memory meets it. */
static void test_slotless_overlap(void)
{
	struct cpu *cpu = &vm.cpus[0];
	struct mem *mem = &vm.mem[0];
	tdp_pte_t pte;
	gfn_t span;
	int level;

	if (!slotless_attr())
		test_skip("it cannot be told");
	span = set_up_block(1);
	CHECK(!map_slotless(2, 1));
	pte = read_leaf(2, &level);
	CHECK(op_fault(cpu, 0, TEST_W, false) == KVM_TDP_FIXED);

	op_log_start(mem, true, false);
	CHECK(read_leaf(2, &level) == pte);
	CHECK(!op_age(mem, 1, span) && !op_test_age(mem, 1, span));
	CHECK(read_leaf(2, &level) == pte);
	op_log_stop(mem);
	mem->max_level = min(max_leaf_level(), 2);
	op_recover(mem);
	CHECK(read_leaf(2, &level) == pte && level == 1);

	mem->max_level = 1;
	CHECK(op_fault(cpu, 2, TEST_W, false) == -EFAULT);
	CHECK(read_leaf(2, &level) == pte);
	op_unmap(mem, 0, span, true, true);
	CHECK(!vm.leaves[0] && !vm.leaves[1]);
	vm_destroy();
}

/* Who meets a frozen entry goes back to the guest before anything else. */
static void test_fast_frozen(void)
{
	struct cpu *cpu = set_up_small(0, 1);
	tdp_pte_t *pte, old;
	int level = 1;

	CHECK(op_fault(cpu, 0, TEST_W, false) == KVM_TDP_FIXED);
	pte = pgt_find(&cpu->root->pgt, 0, &level);
	old = *pte;
	*pte = tdp_pte_frozen(fmt);
	CHECK(op_fast_fault(cpu, 0, TEST_W) == KVM_TDP_RETRY);
	CHECK(op_fault(cpu, 0, TEST_W, false) == KVM_TDP_RETRY);
	*pte = old;
	vm_destroy();
}

const struct test ops_tests[] = {
	{ "ops_bounds", test_bounds, .operates = true },
	{ "ops_fast_tries", test_fast_tries, .operates = true },
	{ "ops_fast_frozen", test_fast_frozen, .operates = true },
	{ "ops_beyond", test_beyond, .operates = true },
	{ "ops_large_blocks", test_large_blocks, .operates = true },
	{ "ops_shadow", test_shadow, .operates = true },
	{ "ops_slotless", test_slotless, .operates = true },
	{ "ops_slotless_overlap", test_slotless_overlap, .operates = true },
	{ "ops_other_page", test_other_page, .operates = true },
	{ "ops_no_vcpus", test_no_vcpus, .operates = true },
	{ "ops_lost_root", test_lost_root, .operates = true },
	{ "ops_release", test_release, .operates = true },
	{ "ops_split", test_split_sizes, .operates = true },
	{ "ops_recover", test_recover_sizes, .operates = true },
	{ "ops_unmap_once", test_unmap_once, .operates = true },
	{ "ops_recover_broken", test_recover_broken, .operates = true },
	{ "ops_recover_refused", test_recover_refused, .operates = true },
	{ "ops_plain", test_plain, .operates = true },
	{ "ops_yields", test_yields, .operates = true },
	{ "ops_nomem", test_nomem, .operates = true },
	{}
};
