// SPDX-License-Identifier: GPL-2.0-only
/*
 * The operations of the TDP MMU, as virt/kvm/kvm_main.c, x86 and user space do
 * them: what comes before, what comes after, and which locks are held.
 */
#include "vm.h"

/*
 * SRCU: who looks up memslots, and whom an updater waits for.  Notifiers that
 * have begun keep the memslots as they are, until they end.
 */
static struct gate slots_srcu, notifiers;

static void slots_read_lock(void)
{
	sched_point("srcu_read_lock", 0, 0);
	gate_enter(&slots_srcu);
}

static void slots_read_unlock(void)
{
	sched_point("srcu_read_unlock", 0, 0);
	gate_leave(&slots_srcu);
}

/* Put a memslot in place of another, or of none. */
static void swap_slots(struct mem *mem, struct kvm_memory_slot *slot)
{
	CHECK(!rcu_read_lock_held() && !test_rwlock_held(&vm.kvm.mmu_lock));
	lockdep_assert_held(&vm.kvm.slots_lock);
	sched_point("wait for notifiers", 0, 0);
	gate_shut(&notifiers);
	sched_mb();
	__atomic_store_n(&mem->slot, slot, __ATOMIC_RELEASE);
	gate_open(&notifiers);
	sched_point("synchronize_srcu", 0, 0);
	gate_synchronize(&slots_srcu);
}

void ops_reset(void)
{
	memset(&slots_srcu, 0, sizeof(slots_srcu));
	memset(&notifiers, 0, sizeof(notifiers));
}

/* vCPUs. */

void op_put_root(struct cpu *cpu)
{
	struct kvm_tdp_root *root = cpu->root;

	if (!root)
		return;
	read_lock(&vm.kvm.mmu_lock);
	cpu->root = NULL;
	/* What it has cached stays, for when it gets the root again. */
	cpu_exit(cpu);
	kvm_tdp_put_root(root);
	read_unlock(&vm.kvm.mmu_lock);
}

void op_load_root(struct cpu *cpu)
{
	struct kvm_tdp_root *root, *new = NULL;

	op_put_root(cpu);
	read_lock(&vm.kvm.mmu_lock);
	/* What is made obsolete from now on makes this one, too. */
	cpu->obsolete = false;
	root = kvm_tdp_get_root(MMU, cpu->as_id);
	if (!root) {
		new = vm_new_root(cpu->as_id, cpu->as_id);
		root = kvm_tdp_add_root(MMU, new);
	}
	CHECK(root->as_id == cpu->as_id && !root->invalid);
	cpu->root = root;
	read_unlock(&vm.kvm.mmu_lock);
	/* Somebody else was faster. */
	if (new && root != new)
		kvm_arch_tdp_free_root(new);
}

/* To another address space, as x86's SMM is one. */
void op_switch(struct cpu *cpu, int as_id)
{
	cpu_drain_log(cpu);
	op_put_root(cpu);
	cpu->as_id = as_id;
	op_load_root(cpu);
}

static unsigned int kvm_access(unsigned int access)
{
	return (access == TEST_W ? TDP_WRITE : 0) |
	       (access == TEST_X ? TDP_EXEC : 0);
}

/* Return: the page's host mapping, which is brought if there is none. */
static struct host *fault_in(struct mem *mem, gfn_t gfn)
{
	struct host *host = &mem->host[gfn - mem->base_gfn];

	sched_point("look up the page of %llx", gfn, 0);
	host->absent = false;
	return host;
}

static struct kvm_memory_slot *find_slot(int as_id, gfn_t gfn)
{
	struct mem *mem = vm_mem(as_id, gfn);

	return mem ? shared_load(&mem->slot) : NULL;
}

static int fault_slow(struct cpu *cpu, struct kvm_memory_slot *slot, gfn_t gfn,
		      gfn_t slot_gfn, unsigned int access, bool prefetch)
{
	struct held_page held = {}, **link;
	struct vm_fault vf = {
		.fault = {
			.gfn = gfn,
			.slot_gfn = slot_gfn,
			.slot = slot,
			.tables = &cpu->tables,
			.shadow = slot_gfn != gfn,
			.write = access == TEST_W,
			.prefetch = prefetch,
		},
		.exec = access == TEST_X,
	};
	struct mem *mem = slot ? slot_mem(slot) : NULL;
	struct host *host = NULL;
	int r;

	if (__kvm_mmu_topup_memory_cache(&cpu->tables, root_level() - 1,
					 root_level() - 1))
		return -ENOMEM;

	if (slot) {
		vf.fault.mmu_seq = shared_load(&vm.kvm.mmu_invalidate_seq);
		host = fault_in(mem, slot_gfn);
		if (vf.fault.write && host->readonly)
			return -EFAULT;
		vf.fault.pfn = vm_pfn(mem, slot_gfn);
		vf.fault.host_writable = !host->readonly;
		vf.fault.page = &held.page;
		held.next = held_pages;
		held_pages = &held;
	}

	r = kvm_tdp_handle_fault(&cpu->vcpu, cpu->root, &vf.fault);
	sched_note("  fault: %d", r);

	if (slot) {
		for (link = &held_pages; *link != &held; link = &(*link)->next)
			;
		*link = held.next;
		/* Lockless paths may let it be written to from now on. */
		CHECK(r != KVM_TDP_FIXED ||
		      held.dirty == vf.fault.host_writable,
		      "the page of a new leaf was not marked dirty");
	}
	return r;
}

/**
 * op_fault() - A vCPU faults
 * @cpu: the CPU
 * @gfn: where
 * @access: TEST_R, TEST_W or TEST_X
 * @prefetch: it does not; KVM maps the page in advance
 *
 * Return: as kvm_tdp_handle_fault(), or -ENOMEM.
 */
int op_fault(struct cpu *cpu, gfn_t gfn, unsigned int access, bool prefetch)
{
	struct kvm_memory_slot *slot;
	int r;

	if (!cpu->root || cpu->obsolete)
		op_load_root(cpu);

	slots_read_lock();
	slot = find_slot(cpu->as_id, gfn);
	if (slot && (slot->flags & KVM_MEMSLOT_INVALID))
		r = KVM_TDP_RETRY;
	else
		r = fault_slow(cpu, slot, gfn, gfn, access, prefetch);
	vm_flush_local(cpu, gfn);
	slots_read_unlock();
	return r;
}

/**
 * op_shadow_fault() - A vCPU faults that runs a guest of the guest's
 * @cpu: the CPU, with a root
 * @gfn: where
 * @slot_gfn: what the guest's hypervisor maps there
 * @access: TEST_R, TEST_W or TEST_X
 *
 * Return: as op_fault().
 */
int op_shadow_fault(struct cpu *cpu, gfn_t gfn, gfn_t slot_gfn,
		    unsigned int access)
{
	int r;

	slots_read_lock();
	r = fault_slow(cpu, find_slot(cpu->as_id, slot_gfn), gfn, slot_gfn,
		       access, false);
	slots_read_unlock();
	return r;
}

int op_fast_fault(struct cpu *cpu, gfn_t gfn, unsigned int access)
{
	int r;

	if (!cpu->root || cpu->obsolete)
		op_load_root(cpu);

	slots_read_lock();
	r = kvm_tdp_fast_fault(&cpu->vcpu, cpu->root,
			       find_slot(cpu->as_id, gfn), gfn,
			       kvm_access(access));
	sched_note("  fast fault: %d", r);
	vm_flush_local(cpu, gfn);
	slots_read_unlock();
	return r;
}

/* A vCPU in the guest: a few attempts to access a page. */
void op_run(struct cpu *cpu, gfn_t gfn, unsigned int access)
{
	int tries = 3;

	while (cpu_access(cpu, gfn, access) == HW_FAULT && --tries) {
		cpu_drain_log(cpu);
		if (op_fast_fault(cpu, gfn, access) == KVM_TDP_SLOW)
			op_fault(cpu, gfn, access, false);
	}
}

/* The primary MMU. */

static void invalidate_begin(gfn_t start, gfn_t end)
{
	struct kvm *kvm = &vm.kvm;

	lockdep_assert_held_write(&kvm->mmu_lock);
	if (!kvm->mmu_invalidate_in_progress++) {
		kvm->mmu_invalidate_range_start = start;
		kvm->mmu_invalidate_range_end = end;
		return;
	}
	kvm->mmu_invalidate_range_start =
		min(kvm->mmu_invalidate_range_start, start);
	kvm->mmu_invalidate_range_end =
		max(kvm->mmu_invalidate_range_end, end);
}

static void invalidate_end(void)
{
	lockdep_assert_held_write(&vm.kvm.mmu_lock);
	shared_store(&vm.kvm.mmu_invalidate_seq,
		     vm.kvm.mmu_invalidate_seq + 1);
	CHECK(vm.kvm.mmu_invalidate_in_progress-- > 0);
}

/* The pages may be someone else's as soon as the notifier has returned. */
static void take_away(struct mem *mem, gfn_t start, gfn_t end)
{
	gfn_t gfn;

	for (gfn = start; gfn < end; gfn++) {
		struct host *host = &mem->host[gfn - mem->base_gfn];

		CHECK(!tdp_fmt_maintains_unmapped(fmt) ||
		      !(host->prepared & PREPARED_USED),
		      "gfn %llx is left in data caches", gfn);
		host->gen = (host->gen + 1) % 8;
		host->absent = true;
		__atomic_store_n(&host->prepared, 0, __ATOMIC_RELAXED);
		/* Its content is gone, and user space knows. */
		host->copied = host->version;
	}
}

static void check_unmapped(struct mem *mem, gfn_t start, gfn_t end)
{
	test_protect_tables();
	cpu_check_unmapped(mem->slots[0].as_id, start, end, false);
	test_unprotect_tables();
}

/*
 * The primary MMU is about to change its mapping, and has not yet done so.
 *
 * @shared: unmap with mmu_lock held for read, as if the range were large
 */
void op_unmap_begin(struct mem *mem, gfn_t start, gfn_t end, bool may_block,
		    bool shared)
{
	struct kvm *kvm = &vm.kvm;
	struct kvm_gfn_range range = {
		.start = start,
		.end = end,
		.may_block = may_block,
	};

	sched_point("invalidate_range_start", 0, 0);
	gate_enter(&notifiers);
	write_lock(&kvm->mmu_lock);
	invalidate_begin(start, end);
	range.slot = mem->slot;
	test_may_not_yield |= may_block ? 0 : 1u << task;
	if (range.slot && !shared)
		kvm_tdp_unmap_gfn_range(MMU, &range);
	write_unlock(&kvm->mmu_lock);
	/* Memslots stay as they are for as long as there are notifiers. */
	if (range.slot && shared)
		kvm_tdp_unmap_gfn_range_shared(MMU, &range);
	test_may_not_yield &= ~(1u << task);

	check_unmapped(mem, start, end);
}

void op_unmap_open(struct mem *mem, gfn_t start, gfn_t end, bool may_block,
		   bool shared)
{
	op_unmap_begin(mem, start, end, may_block, shared);
	sched_point("take %llx-%llx away", start, end);
	check_unmapped(mem, start, end);
	take_away(mem, start, end);
	sched_note("  %llx-%llx is taken away", start, end);
}

void op_unmap_close(struct mem *mem, gfn_t start, gfn_t end)
{
	write_lock(&vm.kvm.mmu_lock);
	check_unmapped(mem, start, end);
	invalidate_end();
	write_unlock(&vm.kvm.mmu_lock);
	gate_leave(&notifiers);
}

/* A range of the memory goes, by a notifier. */
void op_unmap(struct mem *mem, gfn_t start, gfn_t end, bool may_block,
	      bool shared)
{
	op_unmap_open(mem, start, end, may_block, shared);
	op_unmap_close(mem, start, end);
}

bool op_age(struct mem *mem, gfn_t start, gfn_t end)
{
	struct kvm_gfn_range range = {
		.start = start,
		.end = end,
	};
	bool young;

	slots_read_lock();
	range.slot = shared_load(&mem->slot);
	young = range.slot && kvm_tdp_age_gfn_range(MMU, &range);
	slots_read_unlock();
	return young;
}

bool op_test_age(struct mem *mem, gfn_t start, gfn_t end)
{
	struct kvm_gfn_range range = {
		.start = start,
		.end = end,
	};
	bool young;

	slots_read_lock();
	range.slot = shared_load(&mem->slot);
	young = range.slot && kvm_tdp_test_age_gfn_range(MMU, &range);
	slots_read_unlock();
	return young;
}

/* KVM itself. */

/* New mappings of a range look different from now on, as kvm_zap_gfn_range(). */
void op_zap(gfn_t start, gfn_t end)
{
	struct mem *mem;

	write_lock(&vm.kvm.mmu_lock);
	invalidate_begin(start, end);
	write_unlock(&vm.kvm.mmu_lock);

	kvm_tdp_zap_gfn_range_shared(MMU, start, end);

	/* Not with mmu_lock held for write, for which everybody has flushed. */
	test_protect_tables();
	for (mem = vm.mem; mem < vm.mem + NR_MEMS; mem++) {
		gfn_t first = max(start, mem->base_gfn);
		gfn_t behind = min(end, mem->base_gfn + mem->npages);

		if (first < behind)
			cpu_check_unmapped(mem->slots[0].as_id, first, behind,
					   true);
	}
	test_unprotect_tables();

	write_lock(&vm.kvm.mmu_lock);
	invalidate_end();
	write_unlock(&vm.kvm.mmu_lock);
}

/* The process ends. */
void op_zap_all(void)
{
	kvm_tdp_zap_all(MMU);
}

static void zap_fast(void)
{
	struct kvm_tdp_root *root, *old[8];
	struct cpu *cpu;
	int nr = 0;

	write_lock(&vm.kvm.mmu_lock);
	kvm_tdp_invalidate_all_roots(MMU);
	/* All vCPUs leave the guest, and get other roots before they enter it. */
	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++) {
		cpu->obsolete = true;
		cpu_exit(cpu);
	}
	list_for_each_entry(root, &vm.kvm.tdp.roots, link) {
		CHECK(root->invalid && nr < ARRAY_SIZE(old));
		if (!root->zap_pending)
			continue;
		refcount_inc(&root->refs);
		old[nr++] = root;
	}
	write_unlock(&vm.kvm.mmu_lock);

	kvm_tdp_zap_invalidated_roots(MMU);

	read_lock(&vm.kvm.mmu_lock);
	while (nr) {
		struct counts c = {};

		root = old[--nr];
		count_tree(root->pgt.root, root_level(), &c);
		CHECK(!c.leaves[0], "an invalidated root maps pages");
		kvm_tdp_put_root(root);
	}
	read_unlock(&vm.kvm.mmu_lock);
}

void op_invalidate(void)
{
	mutex_lock(&vm.kvm.slots_lock);
	zap_fast();
	mutex_unlock(&vm.kvm.slots_lock);
}

/* Flags change by a new memslot. */
static void set_flags(struct mem *mem, u32 flags)
{
	struct kvm_memory_slot *old = mem->slot, *new = mem->slots;

	new += old == new;
	*new = *old;
	new->flags = flags;
	swap_slots(mem, new);
}

/* Then no notifier finds the memory any more, and it can go. */
void op_delete_slot(struct mem *mem)
{
	mutex_lock(&vm.kvm.slots_lock);
	if (mem->slot) {
		mem->logged = false;
		/* Notifiers still find it, faults wait for its end. */
		set_flags(mem, mem->slot->flags | KVM_MEMSLOT_INVALID);
		zap_fast();
		swap_slots(mem, NULL);
		check_unmapped(mem, mem->base_gfn,
			       mem->base_gfn + min(mem->npages, 512ul));
		take_away(mem, mem->base_gfn, mem->base_gfn + mem->npages);
	}
	mutex_unlock(&vm.kvm.slots_lock);
}

void op_create_slot(struct mem *mem)
{
	mutex_lock(&vm.kvm.slots_lock);
	if (!mem->slot) {
		mem->slots[0].flags = 0;
		memset(mem->dirty, 0, mem->npages);
		swap_slots(mem, &mem->slots[0]);
	}
	mutex_unlock(&vm.kvm.slots_lock);
}

/*
 * If all bits are initially set, nothing is protected yet: that is done when
 * they are cleared.
 */
void op_log_start(struct mem *mem, bool split, bool all_set)
{
	unsigned long i;

	mutex_lock(&vm.kvm.slots_lock);
	if (mem->slot && !mem->slot->flags) {
		memset(mem->dirty, all_set, mem->npages);
		set_flags(mem, KVM_MEM_LOG_DIRTY_PAGES);
		if (split)
			kvm_tdp_split_slot(MMU, mem->slot);
		if (!all_set) {
			kvm_tdp_log_slot(MMU, mem->slot);
			vm_flush(mem->slot->as_id, mem->base_gfn,
				 mem->base_gfn + mem->npages, 0, false);
		}
		/* Now user space makes a copy of all. */
		for (i = 0; i < mem->npages; i++)
			mem->host[i].copied = mem->host[i].version;
		mem->logged = true;
	}
	mutex_unlock(&vm.kvm.slots_lock);
}

static void lock_to_clear(void)
{
	if (vm.clear_shared)
		read_lock(&vm.kvm.mmu_lock);
	else
		write_lock(&vm.kvm.mmu_lock);
}

static void unlock_to_clear(void)
{
	if (vm.clear_shared)
		read_unlock(&vm.kvm.mmu_lock);
	else
		write_unlock(&vm.kvm.mmu_lock);
}

/* KVM_CLEAR_DIRTY_LOG; then user space copies what was in it. */
void op_log_clear(struct mem *mem, gfn_t gfn, unsigned long mask)
{
	struct kvm *kvm = &vm.kvm;
	unsigned long cleared = 0, bits;
	struct cpu *cpu;

	mutex_lock(&kvm->slots_lock);
	if (!mem->slot || !mem->slot->flags)
		goto out;
	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++)
		cpu_drain_log(cpu);

	/* Shared, the lock is for the entries alone. */
	if (!vm.clear_shared)
		lock_to_clear();
	for (bits = mask; bits; bits &= bits - 1) {
		u8 *dirty = &mem->dirty[gfn - mem->base_gfn + __ffs(bits)];

		sched_point("test and clear bit %llx", gfn + __ffs(bits), 0);
		if (shared_xchg(dirty, false))
			cleared |= bits & -bits;
	}
	if (vm.clear_shared)
		lock_to_clear();
	if (cleared)
		kvm_tdp_log_masked(MMU, mem->slot, gfn, cleared);
	unlock_to_clear();

	if (cleared && vm.clear_shared)
		kvm_tdp_wait_unpaid(MMU);
	if (cleared)
		vm_flush(mem->slot->as_id, gfn + __ffs(cleared),
			 gfn + __fls(cleared) + 1, 0, false);
out:
	mutex_unlock(&kvm->slots_lock);

	sched_point("copy pages", 0, 0);
	for (; cleared; cleared &= cleared - 1) {
		struct host *host = &mem->host[gfn - mem->base_gfn +
					       __ffs(cleared)];

		host->copied = host->version;
	}
}

void op_log_stop(struct mem *mem)
{
	mutex_lock(&vm.kvm.slots_lock);
	if (mem->slot && mem->slot->flags) {
		mem->logged = false;
		set_flags(mem, 0);
		kvm_tdp_recover_slot(MMU, mem->slot);
	}
	mutex_unlock(&vm.kvm.slots_lock);
}

int op_split(struct mem *mem)
{
	int r = 0;

	mutex_lock(&vm.kvm.slots_lock);
	if (mem->slot)
		r = kvm_tdp_split_slot(MMU, mem->slot);
	mutex_unlock(&vm.kvm.slots_lock);
	return r;
}

int op_split_range(struct mem *mem, gfn_t start, gfn_t end)
{
	int r = 0;

	mutex_lock(&vm.kvm.slots_lock);
	lock_to_clear();
	if (mem->slot)
		r = kvm_tdp_split_range(MMU, mem->slot, start, end,
					vm.clear_shared ? TDP_SHARED :
							  TDP_EXCLUSIVE);
	unlock_to_clear();
	mutex_unlock(&vm.kvm.slots_lock);
	return r;
}

void op_recover(struct mem *mem)
{
	mutex_lock(&vm.kvm.slots_lock);
	if (mem->slot && !mem->slot->flags)
		kvm_tdp_recover_slot(MMU, mem->slot);
	mutex_unlock(&vm.kvm.slots_lock);
}

/* Shadow paging has made a page table of the guest's its own. */
void op_track(struct mem *mem, gfn_t gfn)
{
	struct kvm_memory_slot *slot;

	slots_read_lock();
	slot = shared_load(&mem->slot);
	write_lock(&vm.kvm.mmu_lock);
	if (slot) {
		mem->host[gfn - mem->base_gfn].tracked = true;
		if (kvm_tdp_write_protect_gfn(MMU, slot, gfn, 1))
			vm_flush(slot->as_id, gfn, gfn + 1, 0, false);
		mem->host[gfn - mem->base_gfn].guarded = true;
	}
	write_unlock(&vm.kvm.mmu_lock);
	slots_read_unlock();
}

void op_release(unsigned long nr)
{
	slots_read_lock();
	kvm_tdp_release_pinned(MMU, nr);
	slots_read_unlock();
}
