/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_VM_H
#define __KVM_TDP_VM_H

/*
 * The VM that the TDP MMU is tested with: its memory, its CPUs, and the
 * operations of the MMU as KVM uses them.
 */
#include "test.h"
#include "kvm_tdp.h"

#define NR_MEMS		2
#define NR_VCPUS		4
#define NR_CACHED	64
#define NR_VMIDS	8
#define MAX_MEM_PAGES	(3u << 18)

/* What is done to a page before the guest sees it, and executes from it. */
#define PREPARED_DATA	1u	/* the point of coherency has what it holds */
#define PREPARED_TAGS	2u	/* its tags are the guest's */
#define PREPARED_CODE	4u	/* instruction caches hold nothing older */
#define PREPARED_USED	8u	/* data caches can: the guest could write past them */

/**
 * struct host - what the primary MMU knows of one page of a memslot
 * @gen: each time it takes the page away the next one is another
 * @absent: no page now; the next fault brings one
 * @readonly: it lets KVM only read
 * @tracked: KVM wants to see all writes
 * @guarded: and does
 * @prepared: PREPARED_*, since this page is here
 * @version: how often the page was written to
 * @copied: the version that user space has a copy of
 */
struct host {
	u8 gen;
	bool absent;
	bool readonly;
	bool tracked;
	bool guarded;
	u8 prepared;
	u16 version;
	u16 copied;
};

/**
 * struct mem - the memory of a memslot, and its memslot
 * @slot: the memslot, as vCPUs find it; NULL if there is none now
 * @slots: what @slot points to: one that is replaced lives on for a while
 * @host: its pages
 * @dirty: the dirty log
 * @expected: what it should be, see map.c
 * @base_gfn: first gfn
 * @npages: its size
 * @max_level: the primary MMU has no larger mappings
 * @logged: all writes since user space copied a page must be in the log
 */
struct mem {
	struct kvm_memory_slot *slot;
	struct kvm_memory_slot slots[2];
	struct host *host;
	u8 *dirty;
	u8 *expected;
	gfn_t base_gfn;
	unsigned long npages;
	int max_level;
	bool logged;
};

/**
 * struct cached - an entry that a CPU has seen, and may use until it is flushed
 * @gfn: the first that it spans
 * @from: where it stands
 * @pte: what it was
 * @level: its level
 * @vmid: of the root by which it was found
 * @combined: with the guest's own page tables: found by a virtual address
 */
struct cached {
	gfn_t gfn;
	const tdp_pte_t *from;
	tdp_pte_t pte;
	int level;
	u8 vmid;
	bool combined;
};

/**
 * struct cpu - a vCPU and the hardware that runs it
 * @vcpu: what KVM knows
 * @tables: preloaded
 * @root: the root it uses, referenced; NULL if it has to get one
 * @as_id: the address space it is in
 * @obsolete: @root must not be used any more
 * @flushes: counts, so that a walk notices
 * @nr: how many are @cached
 * @cached: leaves, tables and what is not valid, of all roots it ever used
 * @nr_pml: how many are in @pml
 * @pml: pages that hardware logged
 */
struct cpu {
	struct kvm_vcpu vcpu;
	struct kvm_mmu_memory_cache tables;
	struct kvm_tdp_root *root;
	int as_id;
	bool obsolete;
	unsigned int flushes;
	int nr;
	struct cached cached[NR_CACHED];
	int nr_pml;
	gfn_t pml[NR_CACHED];
};

/**
 * struct vm - all there is
 * @kvm: what the MMU sees
 * @mem: the memory, of which each has an address space of its own or shares one
 * @cpus: the CPUs
 * @vmids: the root that has a VMID; the CPUs of threads cache nothing and need none
 * @vmids_used: those that were given to a root, which can be gone, since the last
 *		time that all CPUs were flushed for there was no other left
 * @leaves: as accounted, by level - 1
 * @nr_flushes: how often the MMU has flushed
 * @cleaned_at: their number when a block above level 2 was maintained last
 * @nr_roots: roots that are allocated
 * @nr_notes: notes that the backend has not got back
 * @fail_alloc: allocations fail with a probability of one in so many
 * @nx: huge leaves are not executable
 * @clear_shared: the log is cleared with mmu_lock held for read
 * @no_blocks: the backend does not want recovered blocks
 */
struct vm {
	struct kvm kvm;
	struct mem mem[NR_MEMS];
	struct cpu cpus[NR_VCPUS];
	struct kvm_tdp_root *vmids[NR_VMIDS];
	bool vmids_used[NR_VMIDS];
	int leaves[TDP_MAX_LEVELS];
	unsigned int nr_flushes;
	unsigned int cleaned_at;
	int nr_roots;
	int nr_notes;
	unsigned int fail_alloc;
	bool nx;
	bool clear_shared;
	bool no_blocks;
};

extern struct vm vm;

/* Called before what takes its time, for one gfn or, -1, for a whole block. */
extern void (*slow_hook)(gfn_t gfn);

#define MMU	(&vm.kvm.tdp)

/* The NX mitigation says by itself what can be executed. */
static inline bool vm_exec_asked(void)
{
	return model_exec_asked() && !vm.nx;
}

/* A vCPU's fault, as the backend sees it. */
struct vm_fault {
	struct kvm_tdp_fault fault;
	bool exec;
	int goal;
};

/* A page that a fault looked up, for as long as it is referenced. */
struct held_page {
	struct page page;
	struct held_page *next;
	bool dirty;
};

extern TASK_LOCAL struct held_page *held_pages;

/* A memslot to begin with. */
struct mem_shape {
	gfn_t base_gfn;
	unsigned long npages;
	int max_level;
	int as_id;
};

/* vm.c */
void vm_create(int nr, const struct mem_shape *shapes);
void vm_destroy(void);
struct mem *vm_mem(int as_id, gfn_t gfn);
struct mem *slot_mem(const struct kvm_memory_slot *slot);
kvm_pfn_t vm_pfn(const struct mem *mem, gfn_t gfn);
int vm_host_level(const struct mem *mem, gfn_t gfn);
void vm_flush(int as_id, gfn_t start, gfn_t end, int level, bool tables);
void vm_flush_local(struct cpu *cpu, gfn_t gfn);
struct kvm_tdp_root *vm_new_root(u32 key, int as_id);
void vm_check_counts(void);
void vm_check_leaves(const struct kvm_tdp_root *root,
		     void (*check)(const struct kvm_tdp_root *root,
				   tdp_pte_t pte, gfn_t gfn, int level));

/* cpu.c: what hardware does. */
#define HW_FAULT	0
#define HW_DONE		1
int cpu_access(struct cpu *cpu, gfn_t gfn, unsigned int access);
void cpu_flush(struct cpu *cpu, int as_id, gfn_t start, gfn_t end, int level,
	       bool tables);
void cpu_flush_combined(struct cpu *cpu, int as_id);
void cpu_flush_all(struct cpu *cpu);
void cpu_exit(struct cpu *cpu);
void cpu_drain_log(struct cpu *cpu);
void cpu_check_flushed(const struct kvm_tdp_root *root, kvm_pfn_t pfn, gfn_t nr);
void cpu_check_unmapped(int as_id, gfn_t start, gfn_t end, bool valid_only);
void cpu_table_freed(void *table);
void cpu_entry_purged(const tdp_pte_t *ptep);
void cpu_entry_made(const struct tdp_pgtable *pgt, gfn_t gfn, int level);
void cpu_probe_log(void);

/* ops.c: the operations, as KVM calls them. */
int op_fault(struct cpu *cpu, gfn_t gfn, unsigned int access, bool prefetch);
int op_shadow_fault(struct cpu *cpu, gfn_t gfn, gfn_t slot_gfn,
		    unsigned int access);
int op_fast_fault(struct cpu *cpu, gfn_t gfn, unsigned int access);
void op_run(struct cpu *cpu, gfn_t gfn, unsigned int access);
void op_load_root(struct cpu *cpu);
void op_put_root(struct cpu *cpu);
void op_switch(struct cpu *cpu, int as_id);
void op_unmap(struct mem *mem, gfn_t start, gfn_t end, bool may_block,
	      bool shared);
void op_unmap_begin(struct mem *mem, gfn_t start, gfn_t end, bool may_block,
		    bool shared);
void op_unmap_open(struct mem *mem, gfn_t start, gfn_t end, bool may_block,
		   bool shared);
void op_unmap_close(struct mem *mem, gfn_t start, gfn_t end);
void op_zap(gfn_t start, gfn_t end);
void op_zap_all(void);
void op_invalidate(void);
void op_delete_slot(struct mem *mem);
void op_create_slot(struct mem *mem);
void op_log_start(struct mem *mem, bool split, bool all_set);
void op_log_clear(struct mem *mem, gfn_t gfn, unsigned long mask);
void op_log_stop(struct mem *mem);
int op_split(struct mem *mem);
int op_split_range(struct mem *mem, gfn_t start, gfn_t end);
void op_recover(struct mem *mem);
bool op_age(struct mem *mem, gfn_t start, gfn_t end);
bool op_test_age(struct mem *mem, gfn_t start, gfn_t end);
void op_track(struct mem *mem, gfn_t gfn);
void op_release(unsigned long nr);
void ops_reset(void);

#endif /* __KVM_TDP_VM_H */
