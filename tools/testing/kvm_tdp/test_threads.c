// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random operations of the TDP MMU in threads, under ThreadSanitizer: vCPUs, the
 * VM's other ioctls, the primary MMU's notifiers and the kernel's own threads.
 * What is left in the end is checked.
 */
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "vm.h"
#include "shim.h"

static bool stop;
static unsigned int round;
static unsigned long nr_ops, nr_changes;

static bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_RELAXED) || pool_is_low();
}

static struct mem *random_mem(void)
{
	return &vm.mem[rnd(NR_MEMS)];
}

/* Few places, so that threads meet. */
static gfn_t random_in(const struct mem *mem)
{
	gfn_t span = model_span(1 + rnd(max_leaf_level()));

	return mem->base_gfn + (rnd(2) * span + rnd(3)) % mem->npages;
}

static void random_range(const struct mem *mem, gfn_t *start, gfn_t *end)
{
	gfn_t last = mem->base_gfn + mem->npages;

	*start = random_in(mem);
	*end = min(*start + 1 + rnd(2 * model_span(1 + rnd(2))), last);
	if (!rnd(16)) {
		*start = mem->base_gfn;
		*end = last;
	}
}

/* Hardware, which sets bits of a leaf at any time. */
static void access_leaf(struct cpu *cpu, gfn_t gfn, unsigned int access)
{
	tdp_pte_t *pte, old, new;
	int level = 1;

	if (!cpu->root || cpu->obsolete)
		return;
	rcu_read_lock();
	pte = pgt_find(&cpu->root->pgt, gfn, &level);
	old = __atomic_load_n(pte, __ATOMIC_RELAXED);
	new = hw_access(old, level, access);
	/* PML has no place to log to. */
	if (new != old && tdp_pte_kind(fmt, old, level) == TDP_LEAF &&
	    !(access == TEST_W && model_hw_logs(level)))
		__atomic_compare_exchange_n(pte, &old, new, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	rcu_read_unlock();
}

static void step_vcpu(struct cpu *cpu)
{
	static const u8 accesses[] = { TEST_R, TEST_W, TEST_W, TEST_X };
	unsigned int access = accesses[rnd(4)];
	tdp_pte_t ptes[TDP_MAX_LEVELS + 1];
	gfn_t gfn = random_in(&vm.mem[cpu->as_id]);

	switch (rnd(16)) {
	case 0 ... 5:
		op_fault(cpu, gfn, access, false);
		break;
	case 6:
		op_fault(cpu, gfn, TEST_R, true);
		break;
	case 7 ... 10:
		op_fast_fault(cpu, gfn, access);
		break;
	case 11 ... 13:
		access_leaf(cpu, gfn, access);
		break;
	case 14:
		if (cpu->root)
			kvm_tdp_get_walk(cpu->root, gfn, ptes);
		break;
	case 15:
		op_put_root(cpu);
		break;
	}
}

static void step_ioctl(struct cpu *cpu)
{
	struct mem *mem = random_mem();
	gfn_t start, end;

	random_range(mem, &start, &end);
	switch (rnd(32)) {
	case 0 ... 2:
		op_log_start(mem, rnd(2), rnd(2));
		break;
	case 3 ... 16:
		/* The last pages of a memslot have neighbours. */
		if (start + BITS_PER_LONG <= mem->base_gfn + mem->npages)
			op_log_clear(mem, start, rnd(-1ull) | 1);
		else
			op_log_clear(mem, start, 1);
		break;
	case 17 ... 19:
		op_log_stop(mem);
		break;
	case 20 ... 22:
		op_split(mem);
		break;
	case 23 ... 24:
		op_split_range(mem, start, end);
		break;
	case 25 ... 27:
		op_recover(mem);
		break;
	case 28:
		op_zap(start, end);
		break;
	case 29:
		op_invalidate();
		break;
	case 30:
		op_delete_slot(mem);
		op_create_slot(mem);
		break;
	case 31:
		if (!rnd(8))
			op_track(mem, start);
		break;
	}
}

static void step_notifier(struct cpu *cpu)
{
	struct mem *mem = random_mem();
	gfn_t start, end;

	random_range(mem, &start, &end);
	switch (rnd(8)) {
	case 0 ... 2:
		op_unmap(mem, start, end, rnd(2), rnd(2));
		break;
	case 3 ... 5:
		op_age(mem, start, end);
		break;
	case 6 ... 7:
		op_test_age(mem, start, end);
		break;
	}
}

static void step_kernel(struct cpu *cpu)
{
	if (rnd(2))
		op_release(1 + rnd(3));
	test_grace_period();
	sched_yield();
}

static struct thread {
	void (*step)(struct cpu *cpu);
	struct cpu *cpu;
	pthread_t id;
} threads[] = {
	{ step_vcpu, &vm.cpus[0] },
	{ step_vcpu, &vm.cpus[1] },
	{ step_vcpu, &vm.cpus[2] },
	{ step_ioctl },
	{ step_ioctl },
	{ step_notifier },
	{ step_kernel },
};

static void *run_thread(void *arg)
{
	struct thread *thread = arg;
	unsigned long nr = 0;

	task = 1 + thread - threads;
	rnd_seed(1000 * round + task);
	while (!stopped()) {
		thread->step(thread->cpu);
		nr++;
	}
	test_add(&nr_ops, nr);
	test_add(&nr_changes, traced.nr);
	return NULL;
}

static void check_leaf(const struct kvm_tdp_root *root, tdp_pte_t pte,
		       gfn_t gfn, int level)
{
	struct mem *mem = vm_mem(root->as_id, gfn);
	bool writable = tdp_pte_writable(fmt, pte);
	gfn_t end = gfn + model_span(level);

	CHECK(mem && !root->invalid, "gfn %llx is left in an old root", gfn);
	CHECK(tdp_pte_pfn(fmt, pte) == vm_pfn(mem, gfn),
	      "gfn %llx is left to map an old page", gfn);
	for (; gfn < end; gfn++) {
		struct host *host = &mem->host[gfn - mem->base_gfn];

		CHECK(gfn - mem->base_gfn < mem->npages);
		CHECK(!host->absent, "gfn %llx is left mapped", gfn);
		CHECK(!host->tracked || !(writable ||
					  tdp_pte_may_mkwrite(fmt, pte)),
		      "gfn %llx is left writable", gfn);
		CHECK(!mem->logged || !writable || model_hw_logs(level) ||
		      mem->dirty[gfn - mem->base_gfn],
		      "gfn %llx is writable and not in the log", gfn);
	}
}

static void run_round(void)
{
	gfn_t npages = 2 * model_span(min(max_leaf_level(), 2));
	struct mem_shape shapes[NR_MEMS] = {
		{ 0, npages, max_leaf_level(), 0 },
		{ 0, npages, max_leaf_level(), 1 },
	};
	struct timespec slice = { .tv_nsec = 400 * 1000 * 1000 };
	struct kvm_tdp_root *root;
	struct thread *t;

	rnd_seed(++round);
	vm_create(NR_MEMS, shapes);
	vm.nx = model_pinned() && round % 2;
	vm.cpus[2].as_id = 1;
	stop = false;
	for (t = threads; t < threads + ARRAY_SIZE(threads); t++)
		CHECK(!pthread_create(&t->id, NULL, run_thread, t));
	nanosleep(&slice, NULL);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (t = threads; t < threads + ARRAY_SIZE(threads); t++)
		CHECK(!pthread_join(t->id, NULL));

	list_for_each_entry(root, &vm.kvm.tdp.roots, link)
		vm_check_leaves(root, check_leaf);
	test_grace_period();
	vm_check_counts();
	vm_destroy();
}

static void test_random(void)
{
	unsigned int i;

	nr_ops = 0;
	nr_changes = 0;
	for (i = 0; i < 10 * test_effort; i++)
		run_round();
	printf("    # %lu operations, %lu changes of entries, %u rounds\n",
	       nr_ops, nr_changes, i);
}

static const struct test thread_tests[] = {
	{ "threads_random", test_random, 0, true },
	{}
};

const struct test *test_group(unsigned int nr)
{
	return nr ? NULL : thread_tests;
}
