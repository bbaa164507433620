// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pairs of operations of the TDP MMU beside a CPU that runs the guest, in all
 * schedules with a bounded number of preemptions; and more of them at random.
 */
#include "vm.h"

/* What there is when they start, as bits: operations need some of them. */
enum state {
	EMPTY		= 1 << 0,	/* nothing is mapped */
	SMALL		= 1 << 1,	/* small leaves; there could be a huge one */
	HUGE		= 1 << 2,	/* a huge leaf */
	OLD		= 1 << 3,	/* old small leaves */
	LOGGED		= 1 << 4,	/* A is clean and protected, B dirty */
	LOGGED_HUGE	= 1 << 5,	/* a huge leaf that is protected */
	PINNED		= 1 << 6,	/* NX huge pages: executed from */
	NX_HUGE		= 1 << 7,	/* NX huge pages: a huge leaf */
	READONLY	= 1 << 8,	/* small leaves, of read-only pages */
	ALL_SET		= 1 << 9,	/* a huge leaf is logged, not protected */
	STALE		= 1 << 10,	/* only CPU1 has a root, an invalid one */
	MIDDLE		= 1 << 11,	/* a leaf of a block that could be larger */
	OPEN		= 1 << 12,	/* as SMALL, but B's invalidation is open */
	HALF_SET	= 1 << 13,	/* ALL_SET, and A's bit was cleared */
};

#define NR_STATES	14
#define ALL_STATES	((1 << NR_STATES) - 1)
/* An open invalidation lets nobody change memslots. */
#define ANY_STATE	(ALL_STATES & ~OPEN)
#define ANY_LOGGED	(LOGGED | LOGGED_HUGE | ALL_SET | HALF_SET)
#define NOT_LOGGED	(ANY_STATE & ~ANY_LOGGED)

static const char *const state_names[NR_STATES] = {
	"empty", "small", "huge", "old", "logged", "logged_huge", "pinned",
	"nx_huge", "readonly", "all_set", "stale", "middle", "open",
	"half_set",
};

#define MEM	(&vm.mem[0])

/* Two pages of a block, the first two of the memslot; and its end. */
static gfn_t gfn_a, gfn_b, block_end, mem_end;

static void run_write(struct cpu *cpu)
{
	op_run(cpu, gfn_a, TEST_W);
}

static void run_read(struct cpu *cpu)
{
	op_run(cpu, gfn_b, TEST_R);
}

static void run_exec(struct cpu *cpu)
{
	op_run(cpu, gfn_a, TEST_X);
}

static void run_prefetch(struct cpu *cpu)
{
	op_fault(cpu, gfn_b, TEST_R, true);
}

static void run_unmap_a(struct cpu *cpu)
{
	op_unmap(MEM, gfn_a, gfn_a + 1, false, false);
}

static void run_unmap_b(struct cpu *cpu)
{
	op_unmap(MEM, gfn_b, gfn_b + 1, true, true);
}

static void run_unmap_all(struct cpu *cpu)
{
	op_unmap(MEM, gfn_a, mem_end, true, true);
}

static void run_zap(struct cpu *cpu)
{
	op_zap(gfn_a, block_end);
}

/* What the VM's process does; and no more, as it ends. */
static unsigned int at_work;
static bool ending;

static bool nobody_works(const void *arg)
{
	return !at_work;
}

static void run_zap_all(struct cpu *cpu)
{
	ending = true;
	sched_wait(nobody_works, NULL, "end of the process");
	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++)
		cpu_flush_all(cpu);
	op_zap_all();
	ending = false;
}

static void run_invalidate(struct cpu *cpu)
{
	op_invalidate();
}

static void run_delete(struct cpu *cpu)
{
	op_delete_slot(MEM);
}

static void run_log_start(struct cpu *cpu)
{
	op_log_start(MEM, false, false);
}

static void run_log_split(struct cpu *cpu)
{
	op_log_start(MEM, true, false);
}

static void run_log_clear(struct cpu *cpu)
{
	op_log_clear(MEM, gfn_a, 3);
}

static void run_log_stop(struct cpu *cpu)
{
	op_log_stop(MEM);
}

static void run_split(struct cpu *cpu)
{
	op_split(MEM);
}

static void run_recover(struct cpu *cpu)
{
	op_recover(MEM);
}

static void run_age(struct cpu *cpu)
{
	op_age(MEM, gfn_a, block_end);
}

static void run_track(struct cpu *cpu)
{
	op_track(MEM, gfn_a);
}

static void run_release(struct cpu *cpu)
{
	op_release(2);
}

static void run_reload(struct cpu *cpu)
{
	op_load_root(cpu);
	op_run(cpu, gfn_a, TEST_R);
}

/* There, and back to what is still cached. */
static void run_switch(struct cpu *cpu)
{
	op_switch(cpu, 1);
	op_switch(cpu, 0);
	op_run(cpu, gfn_a, TEST_W);
}

/* @kernel: it is not the VM's process that does it. */
static const struct race_op {
	const char *name;
	void (*run)(struct cpu *cpu);
	unsigned int states;
	bool keeps;		/* what is mapped stays mapped */
	bool kernel;
	bool unmaps;		/* and others run meanwhile */
} ops[] = {
	{ "write",	run_write,	ALL_STATES, .keeps = true },
	{ "read",	run_read,	ALL_STATES, .keeps = true },
	{ "exec",	run_exec,	EMPTY | SMALL | HUGE | PINNED | NX_HUGE },
	{ "prefetch",	run_prefetch,	ANY_STATE & ~(OLD | READONLY | STALE),
	  .keeps = true },
	{ "unmap_a",	run_unmap_a,	ANY_STATE, .kernel = true },
	{ "unmap_b",	run_unmap_b,	ANY_STATE, .kernel = true,
	  .unmaps = true },
	{ "unmap_all",	run_unmap_all,	ANY_STATE & ~(OLD | READONLY | ALL_SET),
	  .kernel = true, .unmaps = true },
	{ "zap",	run_zap,	ANY_STATE & ~(OLD | READONLY | ALL_SET) },
	{ "zap_all",	run_zap_all,	SMALL | PINNED | STALE, .kernel = true },
	{ "invalidate",	run_invalidate,	EMPTY | SMALL | HUGE | LOGGED | PINNED |
					STALE },
	{ "delete",	run_delete,	EMPTY | SMALL | HUGE | LOGGED | PINNED },
	{ "log_start",	run_log_start,	NOT_LOGGED, .keeps = true },
	{ "log_split",	run_log_split,	EMPTY | SMALL | HUGE | NX_HUGE,
	  .keeps = true },
	{ "log_clear",	run_log_clear,	ANY_LOGGED, .keeps = true },
	{ "log_stop",	run_log_stop,	ANY_LOGGED, .keeps = true },
	{ "split",	run_split,	MIDDLE | READONLY | HUGE | LOGGED_HUGE |
					NX_HUGE | ALL_SET, .keeps = true },
	{ "recover",	run_recover,	SMALL | OLD | PINNED | READONLY | MIDDLE |
					OPEN, .keeps = true },
	{ "age",	run_age,	ANY_STATE & ~EMPTY, .kernel = true },
	{ "track",	run_track,	SMALL | HUGE | OLD | LOGGED },
	{ "release",	run_release,	PINNED, .kernel = true },
	{ "reload",	run_reload,	EMPTY | SMALL | HUGE | LOGGED | STALE },
	{ "switch",	run_switch,	SMALL | HUGE | LOGGED | STALE },
};

#define NR_OPS	ARRAY_SIZE(ops)

/* Some pages of s390's must never be found invalid. */
static bool must_stay;

/* The guest on a CPU of its own, which does not handle faults. */
static void run_guest(struct cpu *cpu)
{
	cpu_access(cpu, gfn_b, TEST_W);
	cpu_access(cpu, gfn_a, TEST_W);
	CHECK(cpu_access(cpu, gfn_a, TEST_R) == HW_DONE || !must_stay,
	      "gfn %llx was invalid for a moment", gfn_a);
}

static const struct race_op guest = { "guest", run_guest };

/* With smaller leaves than there could be. */
static void map_up_to(int max_level)
{
	int level = MEM->max_level;

	MEM->max_level = max_level;
	op_fault(&vm.cpus[0], gfn_a, TEST_W, false);
	op_fault(&vm.cpus[0], gfn_b, TEST_W, false);
	MEM->max_level = level;
}

static void set_up(enum state state, bool warm, bool flat)
{
	int levels = max_leaf_level();
	struct mem_shape shape = { .npages = model_span(levels) };
	struct cpu *cpu;
	int i;

	if (levels > 2 && model_nr_bits(1) > 3) {
		shape.npages = 2 * model_span(2);
		levels = 2;
	}
	/* Leaves as high as they can be, or with a table above. */
	if (flat && levels > 2)
		levels = 2;
	shape.max_level = levels;
	vm_create(1, &shape);
	gfn_a = 0;
	gfn_b = 1;
	block_end = model_span(levels);
	mem_end = shape.npages;
	vm.nx = model_pinned() && (state & (PINNED | NX_HUGE));
	/* Without a root, those who need one race for it. */
	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++) {
		if (state != EMPTY || warm)
			op_load_root(cpu);
	}

	switch (state) {
	case EMPTY:
		break;
	case READONLY:
		for (i = 0; i < MEM->npages; i++)
			MEM->host[i].readonly = true;
		MEM->max_level = 1;
		op_fault(&vm.cpus[0], gfn_a, TEST_R, false);
		MEM->max_level = levels;
		break;
	case SMALL:
	case OLD:
	case LOGGED:
	case STALE:
	case OPEN:
		map_up_to(1);
		break;
	case MIDDLE:
		MEM->max_level = levels - 1;
		op_fault(&vm.cpus[0], block_end / 2, TEST_W, false);
		MEM->max_level = levels;
		break;
	case HUGE:
	case LOGGED_HUGE:
	case ALL_SET:
	case HALF_SET:
	case NX_HUGE:
		op_fault(&vm.cpus[0], gfn_a, TEST_W, false);
		break;
	case PINNED:
		op_fault(&vm.cpus[0], gfn_a, TEST_X, false);
		break;
	}
	for (cpu = vm.cpus; warm && cpu < vm.cpus + NR_VCPUS; cpu++)
		run_guest(cpu);
	if (state == OLD)
		op_age(MEM, gfn_a, block_end);
	if (state & ANY_LOGGED)
		op_log_start(MEM, false, state & (ALL_SET | HALF_SET));
	if (state == HALF_SET)
		op_log_clear(MEM, gfn_a, 1);
	if (state == LOGGED) {
		op_fault(&vm.cpus[0], gfn_b, TEST_W, false);
		if (warm)
			run_guest(&vm.cpus[NR_VCPUS - 1]);
	}
	if (state == OPEN)
		op_unmap_begin(MEM, gfn_b, gfn_b + 1, true, false);
	if (state == STALE) {
		op_invalidate();
		for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++) {
			if (cpu != &vm.cpus[1])
				op_put_root(cpu);
		}
	}
	test_grace_period();
}

static void check_leaf(const struct kvm_tdp_root *root, tdp_pte_t pte,
		       gfn_t gfn, int level)
{
	struct mem *mem = vm_mem(root->as_id, gfn);
	bool writable = tdp_pte_writable(fmt, pte) ||
			tdp_pte_may_mkwrite(fmt, pte);
	gfn_t end = gfn + model_span(level);
	struct host *host;

	CHECK(mem && !root->invalid, "gfn %llx is left in an old root", gfn);
	CHECK(tdp_pte_pfn(fmt, pte) == vm_pfn(mem, gfn),
	      "gfn %llx is left to map an old page", gfn);
	for (; gfn < min(end, mem_end); gfn++) {
		host = &mem->host[gfn - mem->base_gfn];
		CHECK(level == 1 || !tdp_pte_writable(fmt, pte) ||
		      !mem->logged || mem->dirty[gfn - mem->base_gfn],
		      "gfn %llx, which is logged, is writable", gfn);
		CHECK(!host->absent, "gfn %llx is left mapped", gfn);
		CHECK(!writable || !(host->readonly || host->tracked),
		      "gfn %llx is left writable", gfn);
	}
}

/* All are done: what is mapped may be, and what may be can be mapped. */
static void check_end(void)
{
	struct kvm_tdp_root *root;
	struct cpu *cpu = &vm.cpus[0];
	struct host *host;
	int nr_valid[2] = {};

	list_for_each_entry(root, &vm.kvm.tdp.roots, link) {
		vm_check_leaves(root, check_leaf);
		nr_valid[root->as_id] += !root->invalid;
	}
	CHECK(nr_valid[0] <= 1 && nr_valid[1] <= 1, "two roots are the same");
	vm_check_counts();
	cpu_probe_log();

	host = &MEM->host[gfn_a - MEM->base_gfn];
	if (MEM->slot && !host->tracked && !host->readonly) {
		op_run(cpu, gfn_a, TEST_W);
		CHECK(cpu_access(cpu, gfn_a, TEST_W) == HW_DONE,
		      "faults do not help");
		cpu_probe_log();
	}
}

struct racer {
	const struct race_op *op;
	struct cpu *cpu;
};

static void run_racer(void *arg)
{
	struct racer *racer = arg;

	if (racer->op->kernel) {
		racer->op->run(racer->cpu);
		return;
	}
	if (ending)
		return;
	at_work++;
	racer->op->run(racer->cpu);
	at_work--;
}

static unsigned long nr_schedules;
static unsigned int nr_cut;
static int this_case;

/* For workbench/prove.py, too. */
static void summary(const char *first, const char *second, int bound)
{
	printf("    # %s x %s: %lu schedules, bound %d, %u cases cut short\n",
	       first, second, nr_schedules, bound, nr_cut);
}

/* Where nothing is ever broken, what nobody takes away is always there. */
static bool stays(const struct race_op *const *list, int nr, enum state state)
{
	int i;

	if (!TDP_REPLACE_FLUSHES || !(state & (SMALL | HUGE | ANY_LOGGED)))
		return false;
	for (i = 0; i < nr; i++) {
		if (list[i] != &guest && !list[i]->keeps)
			return false;
	}
	return true;
}

/* One pair, or more, that starts from a state: all schedules, or some. */
static void explore(const struct race_op *const *list, int nr, int state,
		    int variant, int bound, unsigned long limit)
{
	struct sched_task tasks[MAX_TASKS];
	struct racer racers[MAX_TASKS];
	int i;

	/* The guest has a CPU of its own: nobody else takes its root away. */
	CHECK(nr <= NR_VCPUS);

	this_case++;
	if (race_case && race_case != this_case)
		return;
	for (i = 0; i < nr; i++) {
		racers[i] = (struct racer) { list[i], &vm.cpus[i] };
		tasks[i] = (struct sched_task) {
			list[i]->name, run_racer, &racers[i],
		};
	}
	snprintf(test_where, sizeof(test_where), "case %d: %s%s%s", this_case,
		 state_names[state], variant & 1 ? ", warm" : "",
		 variant & 2 ? ", yielding" : "");

	sched_explore(bound, limit);
	do {
		must_stay = false;
		set_up(1 << state, variant & 1, variant & 2);
		must_stay = stays(list, nr, 1 << state);
		vm.clear_shared = !(variant & 2);
		test_resched = variant & 2;
		at_work = 0;
		ending = false;
		sched_run(tasks, nr);
		test_resched = false;
		if (1 << state == OPEN)
			op_unmap_close(MEM, gfn_b, gfn_b + 1);
		check_end();
		vm_destroy();
	} while (sched_next());
	nr_cut += sched_cut_short();
	nr_schedules += sched_explored();
	sched_reset();
	test_where[0] = 0;
}

/* Not all formats have a bit that pins tables. */
static unsigned int possible_states(void)
{
	return model_pinned() ? ALL_STATES : ALL_STATES & ~(PINNED | NX_HUGE);
}

/*
 * Warm CPUs have cached all that they can.  In the other variants walks yield at
 * every entry, the log is cleared with mmu_lock held for write, and huge leaves
 * are those of the second level only.
 */
static void race(const struct race_op *first, const struct race_op *second)
{
	const struct race_op *list[] = { first, second, &guest };
	unsigned int states = first->states & second->states & possible_states();
	bool small = model_nr_bits(1) <= 3;
	int bound = small ? race_bound : max(race_bound - 1, 1);
	int state, variant;

	nr_schedules = 0;
	nr_cut = 0;
	this_case = 0;
	for (state = 0; state < NR_STATES; state++) {
		if (!(states & (1 << state)))
			continue;
		for (variant = 0; variant < 4; variant++) {
			/* A short run: warm CPUs find more. */
			if (!small && variant != 1 && race_bound == 1)
				continue;
			/* To yield at each of 512 entries takes long: at random. */
			if (small || !(variant & 2))
				explore(list, 3, state, variant, bound,
					50000 * race_bound);
			explore(list, 3, state, variant, -1,
				(small ? 30 : 4) * test_effort);
		}
	}
	summary(first->name, second->name, bound);
}

static void test_pair(void)
{
	race(&ops[running->arg / NR_OPS], &ops[running->arg % NR_OPS]);
}

/* Three operations and the guest. */
static void test_triples(void)
{
	const struct race_op *list[4] = { [3] = &guest };
	unsigned int i, j, states;

	nr_schedules = 0;
	nr_cut = 0;
	this_case = 0;
	for (i = 0; i < 200 * test_effort; i++) {
		int state;

		rnd_seed(i);
		states = possible_states();
		for (j = 0; j < 3; j++) {
			list[j] = &ops[rnd(NR_OPS)];
			states &= list[j]->states;
		}
		state = rnd(NR_STATES);
		if (states & (1 << state))
			explore(list, 4, state, rnd(4), -1, 20);
	}
	summary("any two", "any", -1);
}

/* Pairs that have a state in common; the scheduler's tests fit few formats. */
static const struct test *race_tests(void)
{
	static struct test tests[NR_OPS * (NR_OPS + 1) / 2 + 2];
	static char names[ARRAY_SIZE(tests)][32];
	unsigned int i, j, nr = 0;

	for (i = 0; i < NR_OPS; i++) {
		for (j = i; j < NR_OPS; j++) {
			if (!(ops[i].states & ops[j].states &
			      possible_states()))
				continue;
			snprintf(names[nr], sizeof(names[nr]), "race_%s_%s",
				 ops[i].name, ops[j].name);
			tests[nr] = (struct test) {
				.name = names[nr],
				.run = test_pair,
				.arg = i * NR_OPS + j,
				.races = true,
				.unmaps = ops[i].unmaps || ops[j].unmaps,
			};
			nr++;
		}
	}
	tests[nr++] = (struct test) {
		.name = "race_triples",
		.run = test_triples,
		.races = true,
	};
	tests[nr].name = NULL;
	return tests;
}

const struct test *test_group(unsigned int nr)
{
	switch (nr) {
	case 0:
		return ops_tests;
	case 1:
		return race_tests();
	default:
		return NULL;
	}
}
