// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VM's memory, and what a backend does for the TDP MMU.
 */
#include <stdlib.h>

#include "vm.h"

struct vm vm;
TASK_LOCAL struct held_page *held_pages;
void (*slow_hook)(gfn_t gfn);

/* What the backend wants to know of a table, as x86's NX mitigation does. */
struct note {
	struct kvm_tdp_root *root;
	struct note *next;
	gfn_t gfn;
	int level;
	enum { NOTE_NEW, NOTE_TRACKED, NOTE_UNTRACKED, NOTE_GONE } state;
};

static struct note *tracked;

/* As the kernel's lock for what it tracks, which orders what it knows of roots. */
#ifdef TDP_THREADS
static pthread_mutex_t notes_lock = PTHREAD_MUTEX_INITIALIZER;

#define lock_notes()	pthread_mutex_lock(&notes_lock)
#define unlock_notes()	pthread_mutex_unlock(&notes_lock)
#else
#define lock_notes()	do { } while (0)
#define unlock_notes()	do { } while (0)
#endif

/* Pages of all generations have room, in 20 bits of pfn. */
#define GEN_SHIFT	16
#define NR_GENS		8

kvm_pfn_t vm_pfn(const struct mem *mem, gfn_t gfn)
{
	int shift = model_shift(max_leaf_level());
	u64 index = mem - vm.mem;

	/* Aligned as the gfn, for any leaf. */
	shift = max(shift, GEN_SHIFT);
	index = index * NR_GENS + mem->host[gfn - mem->base_gfn].gen;
	return index << shift | (gfn & ((1ull << shift) - 1));
}

struct mem *vm_mem(int as_id, gfn_t gfn)
{
	struct kvm_memory_slot *slot;
	struct mem *mem;

	for (mem = vm.mem; mem < vm.mem + NR_MEMS; mem++) {
		slot = shared_load(&mem->slot);
		if (slot && slot->as_id == as_id &&
		    gfn - mem->base_gfn < mem->npages)
			return mem;
	}
	return NULL;
}

static bool same_host(const struct host *a, const struct host *b)
{
	return a->gen == b->gen && a->absent == b->absent &&
	       a->readonly == b->readonly && a->tracked == b->tracked;
}

/* How large a mapping of the page has the primary MMU, in the memslot? */
int vm_host_level(const struct mem *mem, gfn_t gfn)
{
	int level;

	for (level = 1; level < mem->max_level; level++) {
		gfn_t span = model_span(level + 1);
		gfn_t start = gfn & ~(span - 1), g;

		if (start < mem->base_gfn ||
		    start + span > mem->base_gfn + mem->npages)
			break;
		for (g = start; g < start + span; g++) {
			if (!same_host(&mem->host[g - mem->base_gfn],
				       &mem->host[gfn - mem->base_gfn]))
				return level;
		}
		/* Somebody wants to see the writes to one of its pages. */
		if (mem->host[gfn - mem->base_gfn].tracked)
			break;
	}
	return level;
}

struct mem *slot_mem(const struct kvm_memory_slot *slot)
{
	struct mem *mem;

	for (mem = vm.mem; mem < vm.mem + NR_MEMS; mem++) {
		if (slot == &mem->slots[0] || slot == &mem->slots[1])
			return mem;
	}
	CHECK(false, "no such memslot");
	return NULL;
}

/* What the MMU asks for. */

/*
 * Where a leaf is split without a flush the one that is zapped may be cached as
 * what it was part of: the level is of use only if all that change are broken.
 */
void kvm_arch_tdp_flush(struct kvm_tdp *mmu, const struct tdp_gather *gather)
{
	lockdep_assert_held(&mmu->kvm->mmu_lock);
	CHECK(rcu_read_lock_held() && gather->end > gather->start);
	test_add(&vm.nr_flushes, 1);
	vm_flush(-1, gather->start, gather->end,
		 model_breaks() == BREAKS_SIZE ? gather->level : 0,
		 gather->flush == TDP_FLUSH_TABLE);
}

/* All CPUs, of one address space or of all. */
void vm_flush(int as_id, gfn_t start, gfn_t end, int level, bool tables)
{
	struct cpu *cpu;

	sched_point("flush %llx-%llx", start, end);
	/* Who walks the tables after the flush must see what they are now. */
	sched_mb();
	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++)
		cpu_flush(cpu, as_id, start, end, level, tables);
	if (!(model_tlb() & TLB_COMBINES))
		return;
	/* Not before: it could be combined again of what was cached. */
	sched_point("flush combined", 0, 0);
	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++)
		cpu_flush_combined(cpu, as_id);
}

/*
 * What led to a fault may be cached still, also if the entry allows the access or
 * was changed by someone else.  x86 drops it by itself.
 */
void vm_flush_local(struct cpu *cpu, gfn_t gfn)
{
	if (!(model_tlb() & TLB_KEEPS_FAULTS))
		return;
	sched_point("local flush %llx", gfn, 0);
	/* A fault can have made tables, where what was invalid is cached. */
	cpu_flush(cpu, cpu->as_id, gfn, gfn + 1, 0,
		  model_tlb() & TLB_CACHES_INVALID);
	cpu_flush_combined(cpu, cpu->as_id);
}

#ifdef TDP_THREADS
static void new_vmid(struct kvm_tdp_root *root)
{
}

static void free_vmid(const struct kvm_tdp_root *root)
{
}
#else
static int unused_vmid(void)
{
	int vmid = 0;

	while (vmid < NR_VMIDS && vm.vmids_used[vmid])
		vmid++;
	return vmid;
}

/* What roots have now can be cached again until the next time. */
static void reuse_vmids(void)
{
	struct cpu *cpu;
	int vmid;

	for (vmid = 0; vmid < NR_VMIDS; vmid++)
		vm.vmids_used[vmid] = vm.vmids[vmid];
	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++)
		cpu_flush_all(cpu);
}

/* Nothing is flushed when a CPU gets a root that has one already. */
static void new_vmid(struct kvm_tdp_root *root)
{
	int vmid = unused_vmid();

	if (vmid == NR_VMIDS) {
		reuse_vmids();
		vmid = unused_vmid();
	}
	CHECK(vmid < NR_VMIDS, "too many roots");
	vm.vmids_used[vmid] = true;
	vm.vmids[vmid] = root;
}

static void free_vmid(const struct kvm_tdp_root *root)
{
	int vmid;

	for (vmid = 0; vmid < NR_VMIDS; vmid++) {
		if (vm.vmids[vmid] == root)
			vm.vmids[vmid] = NULL;
	}
}
#endif

struct kvm_tdp_root *vm_new_root(u32 key, int as_id)
{
	struct kvm_tdp_root *root = calloc(1, sizeof(*root));

	CHECK(root);
	new_vmid(root);
	root->pgt.fmt = fmt;
	root->pgt.root = alloc_table(root_level());
	root->key = key;
	root->as_id = as_id;
	test_add(&vm.nr_roots, 1);
	return root;
}

void kvm_arch_tdp_free_root(struct kvm_tdp_root *root)
{
	struct counts c = {};
	struct cpu *cpu;
	int level;

	count_tree(root->pgt.root, root_level(), &c);
	CHECK(c.tables == 1, "root freed with %d tables", c.tables - 1);
	for (level = 1; level <= root_level(); level++)
		CHECK(!c.leaves[level - 1], "root freed with leaves");
	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++)
		CHECK(cpu->root != root, "root freed that a CPU uses");

	free_vmid(root);
	free_unlinked(root->pgt.root);
	memset(root, 0x6b, sizeof(*root));
	free(root);
	test_add(&vm.nr_roots, -1);
}

/* Where memory is maintained when it is unmapped this is the end of the VM. */
void kvm_arch_tdp_root_invalidated(struct kvm_tdp_root *root)
{
	struct mem *mem;
	gfn_t i;

	CHECK(root->invalid);
	for (mem = vm.mem; mem < vm.mem + NR_MEMS; mem++) {
		for (i = 0; i < mem->npages; i++)
			__atomic_and_fetch(&mem->host[i].prepared,
					   (u8)~PREPARED_USED, __ATOMIC_RELAXED);
	}
}

void kvm_arch_tdp_account_leaves(struct kvm_tdp *mmu, int level, int nr)
{
	test_add(&vm.leaves[level - 1], nr);
}

/* The memslot that the fault has found counts. */
int kvm_arch_tdp_fault_level(struct kvm_vcpu *vcpu, struct kvm_tdp_fault *fault)
{
	struct vm_fault *vf = container_of(fault, struct vm_fault, fault);

	lockdep_assert_held_read(&vcpu->kvm->mmu_lock);
	vf->goal = kvm_slot_dirty_track_enabled(fault->slot) ? 1 :
		   vm_host_level(slot_mem(fault->slot), fault->slot_gfn);
	return vm.nx && vf->exec ? 1 : vf->goal;
}

bool kvm_arch_tdp_exec(struct kvm *kvm, int level, bool exec)
{
	lockdep_assert_held(&kvm->mmu_lock);
	return vm.nx ? level == 1 : exec;
}

tdp_pte_t kvm_arch_tdp_fault_pte(struct kvm_vcpu *vcpu,
				 const struct kvm_tdp_root *root,
				 struct kvm_tdp_fault *fault, int level,
				 unsigned int old)
{
	gfn_t gfn = fault->gfn & ~(model_span(level) - 1);
	kvm_pfn_t pfn = fault->pfn & ~(model_span(level) - 1);
	unsigned int flags = fault->prefetch ? 0 : TDP_YOUNG;
	struct mem *mem;

	lockdep_assert_held_read(&vcpu->kvm->mmu_lock);
	if (!fault->slot)
		return model_annotated(gfn << 12);

	mem = slot_mem(fault->slot);
	if (kvm_arch_tdp_exec(vcpu->kvm, level, !vm_exec_asked() ||
			      container_of(fault, struct vm_fault, fault)->exec ||
			      (old & TDP_EXEC)))
		flags |= TDP_EXEC;
	if (fault->host_writable) {
		flags |= TDP_HOST_WRITE;
		if (mem->host[fault->slot_gfn - mem->base_gfn].tracked)
			fault->wrprot = true;
		else
			flags |= TDP_WRITE;
	}
	return tdp_pte_make_leaf(fmt, pfn, level, flags, model_attr());
}

int kvm_arch_tdp_recover_level(struct kvm *kvm,
			       const struct kvm_memory_slot *slot, gfn_t gfn)
{
	lockdep_assert_held_read(&kvm->mmu_lock);
	CHECK(!kvm_slot_dirty_track_enabled(slot), "a logged slot is recovered");
	if (slow_hook)
		slow_hook(gfn);
	return vm_host_level(slot_mem(slot), gfn);
}

/* Maintenance of pages; also of those that alias in their low bits. */
static void maintain(kvm_pfn_t pfn, gfn_t nr, u8 is, u8 is_not)
{
	int shift = max(model_shift(max_leaf_level()), GEN_SHIFT);
	struct mem *mem = &vm.mem[(pfn >> shift) / NR_GENS];
	u8 gen = (pfn >> shift) % NR_GENS;
	gfn_t i, span = 1ull << shift;

	for (; nr; nr--, pfn++) {
		for (i = (pfn - mem->base_gfn) & (span - 1); i < mem->npages;
		     i += span) {
			if (mem->host[i].gen != gen)
				continue;
			__atomic_or_fetch(&mem->host[i].prepared, is,
					  __ATOMIC_RELAXED);
			__atomic_and_fetch(&mem->host[i].prepared, (u8)~is_not,
					   __ATOMIC_RELAXED);
		}
	}
}

static void prepare(kvm_pfn_t pfn, gfn_t nr, u8 what)
{
	maintain(pfn, nr, what, 0);
}

void tdp_maintain_unmapped(const struct tdp_pgtable *pgt, u64 pte, int level)
{
	const struct kvm_tdp_root *root = container_of(pgt, struct kvm_tdp_root,
						       pgt);

	lockdep_assert_held(&vm.kvm.mmu_lock);
	CHECK(!root->invalid);
	sched_point("maintain %llx, level %llu", tdp_pte_pfn(fmt, pte), level);
	/* What takes its time has a flush, and a chance to yield, of its own. */
	if (level > 2) {
		CHECK(vm.cleaned_at != vm.nr_flushes, "two blocks at a time");
		vm.cleaned_at = vm.nr_flushes;
	}
	cpu_check_flushed(root, tdp_pte_pfn(fmt, pte), model_span(level));
	maintain(tdp_pte_pfn(fmt, pte), model_span(level), 0, PREPARED_USED);
}

void kvm_arch_tdp_prepare_leaf(struct kvm_vcpu *vcpu,
			       const struct kvm_tdp_fault *fault, int level,
			       bool fresh, bool exec)
{
	kvm_pfn_t pfn = fault->pfn & ~(model_span(level) - 1);

	lockdep_assert_held_read(&vcpu->kvm->mmu_lock);
	CHECK(rcu_read_lock_held());
	sched_point("prepare %llx, level %llu", fault->gfn, level);
	if (fresh)
		prepare(pfn, model_span(level), PREPARED_DATA | PREPARED_TAGS);
	if (exec)
		prepare(pfn, model_span(level), PREPARED_CODE);
}

bool kvm_arch_tdp_prepare_block(struct kvm *kvm, kvm_pfn_t pfn, int level,
				bool exec, bool full)
{
	lockdep_assert_held_read(&kvm->mmu_lock);
	CHECK(rcu_read_lock_held());
	sched_point("prepare block of pfn %llx, level %llu", pfn, level);
	if (vm.no_blocks)
		return false;
	if (!full) {
		if (slow_hook)
			slow_hook(-1ull);
		prepare(pfn & ~(model_span(level) - 1), model_span(level),
			PREPARED_DATA | PREPARED_TAGS |
			(exec ? PREPARED_CODE : 0));
	}
	return true;
}

void kvm_arch_tdp_prepare_table(struct kvm_tdp_root *root,
				struct kvm_tdp_fault *fault, int level,
				struct tdp_new_table *new)
{
	struct vm_fault *vf = container_of(fault, struct vm_fault, fault);
	struct note *note;

	CHECK(rcu_read_lock_held());
	if (!vm.nx || !vf->exec || vf->goal < level)
		return;
	note = calloc(1, sizeof(*note));
	CHECK(note);
	note->root = root;
	note->gfn = fault->gfn;
	note->level = level;
	new->attr = model_pinned();
	new->note = note;
	test_add(&vm.nr_notes, 1);
}

static void free_note(struct note *note)
{
	free(note);
	test_add(&vm.nr_notes, -1);
}

static void untrack(struct note *note)
{
	struct note **link;

	for (link = &tracked; *link != note; link = &(*link)->next)
		CHECK(*link);
	*link = note->next;
	note->state = NOTE_UNTRACKED;
}

void kvm_arch_tdp_table_linked(struct kvm_tdp *mmu, void *data, bool linked)
{
	struct note *note = data, **link;

	if (!note)
		return;
	sched_point("table linked", 0, 0);
	lock_notes();
	if (!linked || note->state == NOTE_GONE) {
		free_note(note);
		goto out;
	}
	CHECK(note->state == NOTE_NEW);
	note->state = NOTE_TRACKED;
	for (link = &tracked; *link; link = &(*link)->next)
		;
	*link = note;
out:
	unlock_notes();
}

void kvm_arch_tdp_table_removed(struct kvm_tdp *mmu, void *data)
{
	struct note *note = data;

	lockdep_assert_held(&mmu->kvm->mmu_lock);
	sched_point("table removed", 0, 0);
	lock_notes();
	if (note->state == NOTE_NEW) {
		note->state = NOTE_GONE;
		goto out;
	}
	if (note->state == NOTE_TRACKED)
		untrack(note);
	free_note(note);
out:
	unlock_notes();
}

bool kvm_arch_tdp_next_pinned(struct kvm_tdp *mmu,
			      struct kvm_tdp_pinned *pinned)
{
	struct kvm_memory_slot *slot;
	struct note *note;
	struct mem *mem;

	sched_point("next pinned", 0, 0);
	lockdep_assert_held_read(&mmu->kvm->mmu_lock);
	lock_notes();
	note = tracked;
	if (!note) {
		unlock_notes();
		return false;
	}
	mem = vm_mem(note->root->as_id, note->gfn);
	slot = mem ? shared_load(&mem->slot) : NULL;
	pinned->root = note->root;
	pinned->gfn = note->gfn;
	pinned->level = note->level;
	pinned->keep = slot && kvm_slot_dirty_track_enabled(slot);
	untrack(note);
	kvm_tdp_hold_root(note->root);
	unlock_notes();
	return true;
}

/* What KVM does for the MMU. */

void mark_page_dirty_in_slot(struct kvm *kvm,
			     const struct kvm_memory_slot *slot, gfn_t gfn)
{
	CHECK(gfn - slot->base_gfn < slot->npages);
	sched_point("mark %llx dirty", gfn, 0);
	if (kvm_slot_dirty_track_enabled(slot))
		shared_store(&slot->dirty[gfn - slot->base_gfn], true);
}

/* struct page is touched only by the fault that holds a reference to it. */
void kvm_set_page_mapped(struct page *page, bool host_writable)
{
	struct held_page *held;

	lockdep_assert_held(&vm.kvm.mmu_lock);
	for (held = held_pages; held && &held->page != page; held = held->next)
		;
	CHECK(held, "touches a page that it has no reference to");
	held->dirty |= host_writable;
}

bool test_kvm_bug(bool cond, const char *file, int line, const char *what)
{
	return test_warn(cond, file, line, what);
}

static bool alloc_fails(void)
{
	return vm.fail_alloc && !rnd(vm.fail_alloc);
}

int __kvm_mmu_topup_memory_cache(struct kvm_mmu_memory_cache *mc, int capacity,
				 int min)
{
	CHECK(!rcu_read_lock_held() && !test_rwlock_held(&vm.kvm.mmu_lock),
	      "allocates with a lock held");
	CHECK(capacity <= KVM_CACHE_OBJECTS);
	sched_point("allocate", 0, 0);
	while (mc->nobjs < capacity) {
		void *table;

		if (alloc_fails())
			return mc->nobjs >= min ? 0 : -ENOMEM;
		/* As large as the largest, but for the root. */
		table = alloc_table(root_level() > 2 ? 2 : 1);
		/* What the last user of the page left there. */
		if (mc->gfp_custom)
			memset(table, 0x55,
			       sizeof(tdp_pte_t) << model_nr_bits(1));
		mc->objects[mc->nobjs++] = table;
	}
	return 0;
}

void *kvm_mmu_memory_cache_alloc(struct kvm_mmu_memory_cache *mc)
{
	CHECK(mc->nobjs, "too few tables were preloaded");
	table_filled_by(mc->objects[--mc->nobjs], task);
	return mc->objects[mc->nobjs];
}

void kvm_mmu_free_memory_cache(struct kvm_mmu_memory_cache *mc)
{
	while (mc->nobjs)
		free_unlinked(mc->objects[--mc->nobjs]);
}

void free_page(unsigned long addr)
{
	free_unlinked((void *)addr);
}

/* The VM. */

void vm_create(int nr, const struct mem_shape *shapes)
{
	struct kvm *kvm = &vm.kvm;
	struct cpu *cpu;
	int i;

	for (i = 0; i < NR_MEMS; i++) {
		struct mem *mem = &vm.mem[i];
		struct host *host = mem->host;
		u8 *dirty = mem->dirty, *expected = mem->expected;

		if (!host) {
			host = calloc(MAX_MEM_PAGES, sizeof(*host));
			dirty = calloc(MAX_MEM_PAGES, 1);
			expected = calloc(MAX_MEM_PAGES, 1);
			CHECK(host && dirty && expected);
		} else {
			memset(host, 0, mem->npages * sizeof(*host));
			memset(dirty, 0, mem->npages);
			memset(expected, 0, mem->npages);
		}
		*mem = (struct mem) {
			.host = host,
			.dirty = dirty,
			.expected = expected,
		};
		if (i >= nr)
			continue;
		CHECK(shapes[i].npages <= MAX_MEM_PAGES);
		mem->base_gfn = shapes[i].base_gfn;
		mem->npages = shapes[i].npages;
		mem->max_level = shapes[i].max_level;
		mem->slots[0] = (struct kvm_memory_slot) {
			.base_gfn = mem->base_gfn,
			.npages = mem->npages,
			.as_id = shapes[i].as_id,
			.dirty = dirty,
		};
		mem->slot = &mem->slots[0];
	}

	memset(kvm, 0, sizeof(*kvm));
	kvm->mmu_lock.name = "mmu_lock";
	kvm->created_vcpus = NR_VCPUS;
	/* The type of what remembers it must have room. */
	kvm->mmu_invalidate_seq = -1u;
	refcount_set(&kvm->users_count, 1);
	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++) {
		memset(cpu, 0, sizeof(*cpu));
		cpu->vcpu.kvm = kvm;
	}
	memset(vm.vmids, 0, sizeof(vm.vmids));
	memset(vm.vmids_used, 0, sizeof(vm.vmids_used));
	memset(vm.leaves, 0, sizeof(vm.leaves));
	vm.nr_roots = 0;
	vm.nr_notes = 0;
	vm.fail_alloc = 0;
	vm.nx = false;
	vm.clear_shared = true;
	vm.no_blocks = false;
	slow_hook = NULL;
	tracked = NULL;
	ops_reset();
	nr_yields = 0;
	held_pages = NULL;
	page_freed = cpu_table_freed;
#ifndef TDP_THREADS
	entry_made = cpu_entry_made;
#endif
	entry_purged = cpu_entry_purged;
	kvm_tdp_init(MMU, kvm);
}

static void check_leaves(const struct kvm_tdp_root *root, tdp_pte_t *table,
			 gfn_t gfn, int level,
			 void (*check)(const struct kvm_tdp_root *root,
				       tdp_pte_t pte, gfn_t gfn, int level))
{
	int i;

	for (i = 0; i < 1 << model_nr_bits(level); i++) {
		switch (tdp_pte_kind(fmt, table[i], level)) {
		case TDP_NONE:
		case TDP_ANNOTATED:
			break;
		case TDP_FROZEN:
			CHECK(false, "gfn %llx is left frozen", gfn);
			break;
		case TDP_TABLE:
			check_leaves(root, tdp_pte_table(fmt, table[i]), gfn,
				     level - 1, check);
			break;
		case TDP_LEAF:
			check(root, table[i], gfn, level);
			break;
		}
		gfn += model_span(level);
	}
}

/* When all is done, all leaves of a root are checked, and nothing is frozen. */
void vm_check_leaves(const struct kvm_tdp_root *root,
		     void (*check)(const struct kvm_tdp_root *root,
				   tdp_pte_t pte, gfn_t gfn, int level))
{
	check_leaves(root, root->pgt.root, 0, root_level(), check);
}

/* What is accounted is what is there, in all roots. */
void vm_check_counts(void)
{
	struct counts c = {};
	struct kvm_tdp_root *root;
	int level, roots = 0;

	list_for_each_entry(root, &vm.kvm.tdp.roots, link) {
		count_tree(root->pgt.root, root_level(), &c);
		roots++;
	}
	CHECK(c.tables - roots == atomic64_read(&vm.kvm.tdp.nr_tables),
	      "%d tables, counted %lld", c.tables - roots,
	      atomic64_read(&vm.kvm.tdp.nr_tables));
	CHECK(!atomic_read(&vm.kvm.tdp.nr_unpaid), "%d walks owe something",
	      atomic_read(&vm.kvm.tdp.nr_unpaid));
	CHECK(c.tables == nr_accounted);
	for (level = 1; level <= root_level(); level++)
		CHECK(c.leaves[level - 1] == vm.leaves[level - 1],
		      "%d leaves of level %d, counted %d", c.leaves[level - 1],
		      level, vm.leaves[level - 1]);
}

void vm_destroy(void)
{
	struct cpu *cpu;

	vm_check_counts();
	CHECK(!held_pages);
	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++) {
		cpu_flush_all(cpu);
		op_put_root(cpu);
		kvm_mmu_free_memory_cache(&cpu->tables);
	}
	vm.kvm.users_count.refs = 0;
	kvm_tdp_destroy(MMU);
	vm_check_counts();
	CHECK(!vm.nr_roots, "%d roots were lost", vm.nr_roots);
	CHECK(!vm.nr_notes, "%d notes were lost", vm.nr_notes);
	CHECK(!nr_tables, "%u tables were lost", nr_tables);
	page_freed = NULL;
	entry_made = NULL;
	entry_purged = NULL;
	pool_reset();
}
