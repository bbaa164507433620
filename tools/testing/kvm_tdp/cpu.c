// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hardware of a vCPU: it caches every entry that it sees, at every level,
 * and uses what it has cached until it is flushed, whatever roots it uses in the
 * meantime.  And the oracle, which knows what must not be cached, or used, any
 * more.
 */
#include "vm.h"

static bool covers(const struct cached *c, gfn_t gfn)
{
	return gfn - c->gfn < model_span(c->level);
}

static int vmid_of(const struct kvm_tdp_root *root)
{
	int vmid;

	CHECK(root);
	for (vmid = 0; vmid < NR_VMIDS; vmid++) {
		if (vm.vmids[vmid] == root)
			return vmid;
	}
	CHECK(false, "a root without a VMID is used");
	return -1;
}

/* What KVM can flush: VMIDs are of roots that are there. */
static bool reached(const struct cached *c, int as_id)
{
	const struct kvm_tdp_root *root = vm.vmids[c->vmid];

	return root && (as_id < 0 || root->as_id == as_id);
}

/* The root by which it can be used, now or when the CPU gets back to it. */
static const struct kvm_tdp_root *usable(const struct cpu *cpu,
					 const struct cached *c)
{
	const struct kvm_tdp_root *root = vm.vmids[c->vmid];

	if (!root || (root->invalid && (cpu->root != root || cpu->obsolete)))
		return NULL;
	return root;
}

/* What is known of virtual addresses goes first. */
static struct cached *lookup(struct cpu *cpu, gfn_t gfn, bool table)
{
	int vmid = vmid_of(cpu->root);
	struct cached *c, *best = NULL;

	for (c = cpu->cached; c < cpu->cached + cpu->nr; c++) {
		if (c->vmid != vmid || !covers(c, gfn) ||
		    hw_view(c->pte, c->level).table != table)
			continue;
		if (c->combined)
			return c;
		if (!best || c->level < best->level)
			best = c;
	}
	return best;
}

static void drop(struct cpu *cpu, struct cached *c)
{
	*c = cpu->cached[--cpu->nr];
}

/* Hardware does not keep two translations of a page of the same size. */
static struct cached *cache(struct cpu *cpu, gfn_t gfn, int level,
			    const tdp_pte_t *from, tdp_pte_t pte, bool combined)
{
	int vmid = vmid_of(cpu->root);
	struct cached *c;

	for (c = cpu->cached; c < cpu->cached + cpu->nr; c++) {
		if (c->level == level && c->vmid == vmid &&
		    c->combined == combined && covers(c, gfn))
			break;
	}
	if (c == cpu->cached + cpu->nr) {
		if (cpu->nr == NR_CACHED)
			c = &cpu->cached[gfn % NR_CACHED];
		else
			cpu->nr++;
	}
	*c = (struct cached) {
		.gfn = gfn & ~(model_span(level) - 1),
		.from = from,
		.pte = pte,
		.level = level,
		.vmid = vmid,
		.combined = combined,
	};
	return c;
}

static struct cached *cache_leaf(struct cpu *cpu, gfn_t gfn, int level,
				 const tdp_pte_t *from, tdp_pte_t pte)
{
	if (model_tlb() & TLB_COMBINES)
		cache(cpu, gfn, level, from, pte, true);
	return cache(cpu, gfn, level, from, pte, false);
}

/* Above the lowest level what is not valid is no leaf: RISC-V's do not reach it. */
static bool is_leaf(const struct cached *c)
{
	struct view v = hw_view(c->pte, c->level);

	return !v.table && (v.access || c->level == 1);
}

/*
 * A flush of leaves reaches nothing else, and only leaves of the right level.
 * None by gfn reaches what is combined.
 */
void cpu_flush(struct cpu *cpu, int as_id, gfn_t start, gfn_t end, int level,
	       bool tables)
{
	struct cached *c = cpu->cached;

	while (c < cpu->cached + cpu->nr) {
		if (reached(c, as_id) && !c->combined &&
		    c->gfn < end && c->gfn + model_span(c->level) > start &&
		    (!level || c->level == level) &&
		    (tables || is_leaf(c)))
			drop(cpu, c);
		else
			c++;
	}
	cpu->flushes++;
}

void cpu_flush_combined(struct cpu *cpu, int as_id)
{
	struct cached *c = cpu->cached;

	while (c < cpu->cached + cpu->nr) {
		if (reached(c, as_id) && c->combined)
			drop(cpu, c);
		else
			c++;
	}
	cpu->flushes++;
}

/* A walk that is under way comes to nothing. */
void cpu_exit(struct cpu *cpu)
{
	cpu->flushes++;
}

void cpu_flush_all(struct cpu *cpu)
{
	cpu->nr = 0;
	cpu->flushes++;
}

/* What hardware logged is taken over when the vCPU exits. */
void cpu_drain_log(struct cpu *cpu)
{
	while (cpu->nr_pml) {
		gfn_t gfn = cpu->pml[--cpu->nr_pml];
		struct mem *mem = vm_mem(cpu->as_id, gfn);

		if (mem)
			mark_page_dirty_in_slot(&vm.kvm, mem->slot, gfn);
	}
}

/* Also of a memslot that is being removed: it is there until that is done. */
static struct mem *memory_of(int as_id, gfn_t gfn)
{
	struct mem *mem;

	for (mem = vm.mem; mem < vm.mem + NR_MEMS; mem++) {
		if (mem->slots[0].as_id == as_id &&
		    gfn - mem->base_gfn < mem->npages)
			return mem;
	}
	return NULL;
}

/* The access itself: is that page the guest's, and may it do so? */
static void access_memory(struct cpu *cpu, gfn_t gfn, const struct cached *c,
			  unsigned int access)
{
	struct view v = hw_view(c->pte, c->level);
	kvm_pfn_t pfn = (v.phys >> PAGE_SHIFT) + (gfn - c->gfn);
	struct mem *mem = memory_of(cpu->as_id, gfn);
	struct host *host;

	CHECK(mem, "CPU%d uses gfn %llx, which has no memslot",
	      (int)(cpu - vm.cpus), gfn);
	host = &mem->host[gfn - mem->base_gfn];
	sched_note("  CPU%d %s gfn %llx", (int)(cpu - vm.cpus),
		   access == TEST_W ? "writes" : "uses", gfn);
	CHECK(!host->absent && pfn == vm_pfn(mem, gfn),
	      "CPU%d uses gfn %llx after its page was taken away",
	      (int)(cpu - vm.cpus), gfn);
	if (access != TEST_W)
		return;
	CHECK(!host->readonly, "CPU%d writes to read-only gfn %llx",
	      (int)(cpu - vm.cpus), gfn);
	CHECK(!host->guarded, "CPU%d writes to tracked gfn %llx",
	      (int)(cpu - vm.cpus), gfn);
	host->version++;
}

/* Leaves that the guest sees have been prepared for it, all of their pages. */
static void check_prepared(const struct cpu *cpu, gfn_t gfn, tdp_pte_t pte,
			   int level)
{
	gfn_t i, span = model_span(level), start = gfn & ~(span - 1);
	unsigned int needs = PREPARED_DATA | PREPARED_TAGS;
	struct mem *mem = memory_of(cpu->as_id, gfn);

	if (vm_exec_asked() && (hw_view(pte, level).access & TEST_X))
		needs |= PREPARED_CODE;

	/* All of the small ones; of others what the test looks at, and the end. */
	for (i = 0; mem && i < span; i += i < 8 ? 1 : span / 2 - 4) {
		struct host *host = &mem->host[start + i - mem->base_gfn];

		if (start + i - mem->base_gfn >= mem->npages)
			continue;
		CHECK(!(needs & ~host->prepared), "gfn %llx was not prepared",
		      start + i);
		if (!cpu->root->invalid)
			host->prepared |= PREPARED_USED;
	}
}

/* Do the tables say so still, or again? */
static bool is_current(const struct cached *c)
{
	struct view v;

	if (tdp_table_to_page(c->from)->state != PAGE_TABLE)
		return false;
	v = hw_view(*c->from, c->level);
	return !v.table && v.access &&
	       v.phys == hw_view(c->pte, c->level).phys;
}

/*
 * No CPU can use the memory through a root any more; but a part of a block, beside
 * what was to be unmapped, can have been mapped again.
 */
void cpu_check_flushed(const struct kvm_tdp_root *root, kvm_pfn_t pfn, gfn_t nr)
{
	const struct cached *c;
	struct cpu *cpu;

	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++) {
		for (c = cpu->cached; c < cpu->cached + cpu->nr; c++) {
			struct view v = hw_view(c->pte, c->level);

			if (vm.vmids[c->vmid] != root || v.table || !v.access ||
			    is_current(c))
				continue;
			CHECK(pfn + nr <= v.phys >> PAGE_SHIFT ||
			      pfn >= (v.phys >> PAGE_SHIFT) + model_span(c->level),
			      "pfn %llx is cleaned before it is flushed", pfn);
		}
	}
}

/* One walk.  Return: HW_DONE, HW_FAULT, or negative if it must start again. */
static int walk(struct cpu *cpu, gfn_t gfn, unsigned int access)
{
	struct cached *c = lookup(cpu, gfn, true);
	unsigned int flushes = cpu->flushes;
	tdp_pte_t *table = cpu->root->pgt.root;
	int level = root_level();

	if (c) {
		table = tdp_phys_to_table(hw_view(c->pte, c->level).phys);
		level = c->level - 1;
	}
	for (;; level--) {
		unsigned int index = (gfn >> model_shift(level)) &
				     ((1u << model_nr_bits(level)) - 1);
		tdp_pte_t *entry = table + index, pte, new;
		struct page *page = tdp_table_to_page(entry);
		struct view v;

		sched_point("hw load level %llu[%llu]", level, index);
		if (cpu->flushes != flushes)
			return -1;
		CHECK(page->state == PAGE_TABLE, "CPU%d walks a freed table",
		      (int)(cpu - vm.cpus));
		check_filled(entry);
		pte = *entry;
		v = hw_view(pte, level);
		CHECK(!v.bad || tdp_pte_kind(fmt, pte, level) == TDP_ANNOTATED,
		      "CPU%d: misconfigured %llx", (int)(cpu - vm.cpus),
		      (u64)pte);
		if (!(v.access & access)) {
			if (model_tlb() & (v.access ? TLB_KEEPS_FAULTS :
						      TLB_CACHES_INVALID))
				cache_leaf(cpu, gfn, level, entry, pte);
			return HW_FAULT;
		}
		if (v.table) {
			cache(cpu, gfn, level, entry, pte, false);
			table = tdp_phys_to_table(v.phys);
			continue;
		}

		new = hw_access(pte, level, access);
		if (new != pte) {
			sched_point("hw A/D level %llu[%llu]", level, index);
			if (cpu->flushes != flushes || *entry != pte)
				return -1;
			CHECK(page->state == PAGE_TABLE);
			*entry = new;
			if (access == TEST_W && model_hw_logs(level) &&
			    !v.dirty) {
				CHECK(cpu->nr_pml < NR_CACHED);
				cpu->pml[cpu->nr_pml++] = gfn;
			}
		}
		c = cache_leaf(cpu, gfn, level, entry, new);
		check_prepared(cpu, gfn, new, level);
		access_memory(cpu, gfn, c, access);
		return HW_DONE;
	}
}

/**
 * cpu_access() - Let the guest access its memory
 * @cpu: the CPU
 * @gfn: where
 * @access: TEST_R, TEST_W or TEST_X
 *
 * Return: HW_DONE, or HW_FAULT for KVM to do something.
 */
int cpu_access(struct cpu *cpu, gfn_t gfn, unsigned int access)
{
	struct cached *c;
	int r;

	do {
		sched_point("hw access %llx (%llu)", gfn, access);
		if (!cpu->root || cpu->obsolete)
			return HW_FAULT;
		c = lookup(cpu, gfn, false);
		if (c && (hw_view(c->pte, c->level).access & access) &&
		    hw_access(c->pte, c->level, access) == c->pte) {
			/* Of what is cached, too, without a walk. */
			if ((model_tlb() & TLB_COMBINES) && !c->combined)
				c = cache(cpu, gfn, c->level, c->from, c->pte,
					  true);
			access_memory(cpu, gfn, c, access);
			return HW_DONE;
		}
		/* What is cached decides, and stays if KVM does not flush it. */
		if (c && (model_tlb() & TLB_KEEPS_FAULTS) &&
		    !(hw_view(c->pte, c->level).access & access))
			return HW_FAULT;
		r = walk(cpu, gfn, access);
	} while (r < 0);

	if (model_tlb() & TLB_KEEPS_FAULTS)
		return r;
	/* A fault drops what led to it. */
	while (r == HW_FAULT && (c = lookup(cpu, gfn, false)))
		drop(cpu, c);
	return r;
}

/* The oracle. */

void cpu_table_freed(void *table)
{
	struct cpu *cpu;
	struct cached *c;

	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++) {
		for (c = cpu->cached; c < cpu->cached + cpu->nr; c++) {
			struct view v = hw_view(c->pte, c->level);

			CHECK(!v.table || tdp_phys_to_table(v.phys) != table ||
			      !usable(cpu, c),
			      "a table is freed that CPU%d has cached",
			      (int)(cpu - vm.cpus));
		}
	}
}

/*
 * Does the entry contradict what a CPU has cached of another size, memory or
 * type?  Then it should have been broken, and flushed.
 */
static void check_conflict(const struct cpu *cpu, const struct cached *c,
			   gfn_t gfn, const struct tdp_pgtable *pgt)
{
	bool size = model_breaks() == BREAKS_SIZE;
	struct view cached = hw_view(c->pte, c->level), v;
	int level = cached.table ? c->level : 1;
	tdp_pte_t *pte = pgt_find(pgt, gfn, &level);

	v = hw_view(*pte, level);
	if (!v.access)
		return;
	if (cached.table && (level > c->level || !v.table)) {
		CHECK(!size, "CPU%d has a table cached where gfn %llx is a leaf",
		      (int)(cpu - vm.cpus), gfn);
		return;
	}
	if (!cached.table && v.table)
		return;
	CHECK(!size || level == c->level,
	      "CPU%d has gfn %llx cached at level %d, not %d",
	      (int)(cpu - vm.cpus), gfn, c->level, level);
	if (level == c->level)
		CHECK(v.phys == cached.phys && v.attr == cached.attr,
		      "CPU%d has other memory cached of gfn %llx",
		      (int)(cpu - vm.cpus), gfn);
}

void cpu_entry_made(const struct tdp_pgtable *pgt, gfn_t gfn, int level)
{
	gfn_t i, end = gfn + model_span(level);
	struct cached *c;
	struct cpu *cpu;

	if (model_breaks() == BREAKS_NOTHING)
		return;
	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++) {
		for (c = cpu->cached; c < cpu->cached + cpu->nr; c++) {
			const struct kvm_tdp_root *root = usable(cpu, c);
			gfn_t span = model_span(c->level);

			if (!root || &root->pgt != pgt || c->gfn >= end ||
			    c->gfn + span <= gfn)
				continue;
			for (i = 0; i < min(span, 4ull); i++)
				check_conflict(cpu, c, c->gfn + i, pgt);
		}
	}
}

/* By an instruction that replaces an entry: it, and all below a table. */
void cpu_entry_purged(const tdp_pte_t *ptep)
{
	struct cached *c;
	struct cpu *cpu;

	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++) {
		bool table = false;

		for (c = cpu->cached; c < cpu->cached + cpu->nr;) {
			if (c->from != ptep) {
				c++;
				continue;
			}
			table |= hw_view(c->pte, c->level).table;
			drop(cpu, c);
		}
		/* Without a record of what came from where below. */
		if (table)
			cpu->nr = 0;
		cpu->flushes++;
	}
}

/* A notifier has returned: nothing of the range is mapped, or cached. */
void cpu_check_unmapped(int as_id, gfn_t start, gfn_t end, bool valid_only)
{
	const struct kvm_tdp_root *root;
	struct cpu *cpu;
	struct cached *c;
	gfn_t gfn;

	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++) {
		for (c = cpu->cached; c < cpu->cached + cpu->nr; c++) {
			struct view v = hw_view(c->pte, c->level);

			root = usable(cpu, c);
			if (root && root->invalid && valid_only)
				continue;
			CHECK(!root || root->as_id != as_id || v.table ||
			      !v.access || c->gfn >= end ||
			      c->gfn + model_span(c->level) <= start,
			      "CPU%d has gfn %llx cached after it was flushed",
			      (int)(cpu - vm.cpus), c->gfn);
		}
	}
	list_for_each_entry(root, &vm.kvm.tdp.roots, link) {
		if (root->as_id != as_id || (root->invalid && valid_only))
			continue;
		/* A sample, of what can be large. */
		for (gfn = start; gfn < end; gfn += gfn < start + 8 ? 1 : 61) {
			int level = 1;
			tdp_pte_t *pte = pgt_find(&root->pgt, gfn, &level);

			CHECK(tdp_pte_kind(fmt, *pte, level) != TDP_LEAF,
			      "gfn %llx is mapped after it was zapped", gfn);
		}
	}
}

/*
 * Has user space a copy, or a mark in the log, of each page of the logged
 * memslots?  Also after the CPUs have written to what they can write to.
 */
static void check_log(const char *when)
{
	struct mem *mem;
	unsigned long i;

	for (mem = vm.mem; mem < vm.mem + NR_MEMS; mem++) {
		for (i = 0; mem->logged && i < mem->npages; i++) {
			CHECK(mem->host[i].version == mem->host[i].copied ||
			      mem->dirty[i],
			      "a write to gfn %llx is not in the log%s",
			      mem->base_gfn + i, when);
		}
	}
}

static void probe(struct cpu *cpu, struct mem *mem)
{
	gfn_t gfn, end = mem->base_gfn + min(mem->npages, 8ul);

	if (!mem->logged || mem->slot->as_id != cpu->as_id)
		return;
	for (gfn = mem->base_gfn; gfn < end; gfn++) {
		cpu_access(cpu, gfn, TEST_W);
		cpu_drain_log(cpu);
	}
}

void cpu_probe_log(void)
{
	struct mem *mem;
	struct cpu *cpu;
	int pass;

	for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++)
		cpu_drain_log(cpu);
	check_log("");
	/* What is cached first, then what is in the tables. */
	for (pass = 0; pass < 2; pass++) {
		for (cpu = vm.cpus; cpu < vm.cpus + NR_VCPUS; cpu++) {
			for (mem = vm.mem; mem < vm.mem + NR_MEMS; mem++)
				probe(cpu, mem);
			cpu_flush_all(cpu);
		}
		check_log(pass ? ", by an entry that is writable" :
				 ", by an entry that is cached");
	}
}
