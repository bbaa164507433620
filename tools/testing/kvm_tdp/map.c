// SPDX-License-Identifier: GPL-2.0-only
/*
 * The map: each operation of the TDP MMU, as its documentation says, on arrays.
 */
#include <stdlib.h>

#include "map.h"

static struct map_entry *entries[NR_MAPS][TDP_MAX_LEVELS + 1];
static gfn_t map_start, map_end;
static u32 last_order;

/* Pinned tables that were removed by a release that has not paid for them. */
static u32 unpaid[64];
static unsigned int nr_unpaid;

static struct map_entry *at(int as_id, gfn_t gfn, int level)
{
	int shift = model_shift(level);

	CHECK(gfn >> shift >= map_start >> shift && gfn < map_end,
	      "gfn %llx is not in the map", gfn);
	return &entries[as_id][level][(gfn >> shift) - (map_start >> shift)];
}

static unsigned long nr_entries(int level)
{
	int shift = model_shift(level);

	return ((map_end - 1) >> shift) - (map_start >> shift) + 1;
}

void map_reset(int as_id)
{
	int level;

	for (level = 1; level <= root_level(); level++)
		memset(entries[as_id][level], 0,
		       nr_entries(level) * sizeof(struct map_entry));
}

void map_create(gfn_t start, gfn_t end)
{
	int as_id, level;

	map_free();
	map_start = start;
	map_end = end;
	last_order = 0;
	for (as_id = 0; as_id < NR_MAPS; as_id++) {
		for (level = 1; level <= root_level(); level++) {
			entries[as_id][level] =
				calloc(nr_entries(level),
				       sizeof(struct map_entry));
			CHECK(entries[as_id][level]);
		}
	}
}

void map_free(void)
{
	int as_id, level;

	for (as_id = 0; as_id < NR_MAPS; as_id++) {
		for (level = 1; level <= TDP_MAX_LEVELS; level++) {
			free(entries[as_id][level]);
			entries[as_id][level] = NULL;
		}
	}
}

/* The entry for a gfn at a level, or the lowest one above it. */
struct map_entry *map_find(int as_id, gfn_t gfn, int *level)
{
	int l = root_level();

	while (l > *level && at(as_id, gfn, l)->kind == TDP_TABLE)
		l--;
	*level = l;
	return at(as_id, gfn, l);
}

/* Hardware that keeps no accessed bits: old leaves have no permissions. */
static bool soft_old(void)
{
	return !hw_view(model_leaf_base(1), 1).has_accessed;
}

static bool has_dirty(void)
{
	return hw_view(model_leaf_base(1), 1).has_dirty;
}

static u8 make_old(u8 bits)
{
	bits &= ~MAP_YOUNG;
	return model_old_keeps_write() ? bits : bits & ~MAP_WRITE;
}

static u8 make_leaf(bool write, bool host, bool exec, bool young)
{
	u8 bits = (host ? MAP_HOST : 0) | (exec ? MAP_EXEC : 0) | MAP_YOUNG;

	if (write)
		bits |= MAP_WRITE | MAP_MMU | (has_dirty() ? MAP_DIRTY : 0);
	return young ? bits : make_old(bits);
}

static bool allows(u8 bits, unsigned int access)
{
	if (soft_old() && !(bits & MAP_YOUNG))
		return false;
	return (access != TEST_W || (bits & MAP_WRITE)) &&
	       (access != TEST_X || (bits & MAP_EXEC));
}

static bool exec_allowed(int level, bool exec)
{
	return vm.nx ? level == 1 : exec;
}

static bool logged(const struct mem *mem)
{
	return mem->slot->flags & KVM_MEM_LOG_DIRTY_PAGES;
}

static void mark_dirty(struct mem *mem, gfn_t gfn)
{
	if (logged(mem))
		mem->expected[gfn - mem->base_gfn] = true;
}

/* Hardware set bits; some logs when it does. */
static void hw_set(int as_id, struct map_entry *e, gfn_t gfn, int level,
		   u8 bits)
{
	if (bits & ~e->bits & MAP_DIRTY && model_hw_logs(level))
		mark_dirty(vm_mem(as_id, gfn), gfn);
	e->bits |= bits;
}

/* Take an entry away, with all below it. */
static void remove_entry(int as_id, gfn_t gfn, int level)
{
	struct map_entry *e = at(as_id, gfn, level);
	gfn_t g, end = min((gfn | (model_span(level) - 1)) + 1, map_end);

	g = max(gfn & ~(model_span(level) - 1), map_start);
	if (e->kind == TDP_TABLE) {
		for (; g < end; g = (g | (model_span(level - 1) - 1)) + 1)
			remove_entry(as_id, g, level - 1);
	}
	if (e->order && nr_unpaid < ARRAY_SIZE(unpaid))
		unpaid[nr_unpaid++] = e->order;
	*e = (struct map_entry) { .kind = TDP_NONE };
}

static void split_entry(int as_id, gfn_t gfn, int level)
{
	struct map_entry *e = at(as_id, gfn, level);
	u8 bits = e->bits;
	gfn_t g, span = model_span(level - 1);

	if (exec_allowed(level - 1, false))
		bits |= MAP_EXEC;
	gfn &= ~(model_span(level) - 1);
	for (g = gfn; g < gfn + model_span(level); g += span)
		*at(as_id, g, level - 1) = (struct map_entry) {
			.kind = TDP_LEAF,
			.bits = bits,
		};
	*e = (struct map_entry) { .kind = TDP_TABLE };
}

static int install(struct mem *mem, struct map_entry *e, gfn_t gfn, int level,
		   unsigned int access, bool prefetch)
{
	struct host *host = &mem->host[gfn - mem->base_gfn];
	bool write = !host->readonly && !host->tracked, changed;
	bool exec = exec_allowed(level, true);
	u8 bits;

	if (vm_exec_asked())
		exec = access == TEST_X ||
		       (e->kind == TDP_LEAF && (e->bits & MAP_EXEC));
	bits = make_leaf(write, !host->readonly, exec, !prefetch);
	changed = e->kind != TDP_LEAF || e->bits != bits;
	*e = (struct map_entry) { .kind = TDP_LEAF, .bits = bits };
	if (changed && (bits & MAP_WRITE))
		mark_dirty(mem, gfn);
	if (!host->readonly && host->tracked && access == TEST_W)
		return KVM_TDP_WRPROT;
	return changed ? KVM_TDP_FIXED : KVM_TDP_SPURIOUS;
}

static bool invalidated(gfn_t start, gfn_t end)
{
	return vm.kvm.mmu_invalidate_in_progress &&
	       end > vm.kvm.mmu_invalidate_range_start &&
	       start < vm.kvm.mmu_invalidate_range_end;
}

int map_fault(int as_id, gfn_t gfn, unsigned int access, bool prefetch)
{
	struct mem *mem = vm_mem(as_id, gfn);
	int goal = 1, level = 1, l = root_level();

	if (mem) {
		gfn_t span;

		if (access == TEST_W &&
		    mem->host[gfn - mem->base_gfn].readonly)
			return -EFAULT;
		if (invalidated(gfn, gfn + 1))
			return KVM_TDP_RETRY;
		goal = logged(mem) ? 1 : vm_host_level(mem, gfn);
		level = vm.nx && access == TEST_X ? 1 : goal;
		span = model_span(level);
		if (invalidated(gfn & ~(span - 1), (gfn | (span - 1)) + 1))
			level = 1;
	}

	for (;;) {
		struct map_entry *e = at(as_id, gfn, l);

		if (e->kind == TDP_TABLE) {
			if (l > level) {
				l--;
				continue;
			}
			if (prefetch || (e->bits & MAP_PINNED)) {
				level--;
				continue;
			}
			remove_entry(as_id, gfn, l);
		}
		if (e->kind == TDP_LEAF && prefetch)
			return KVM_TDP_SPURIOUS;
		if (l == level)
			break;
		if (e->kind == TDP_LEAF)
			split_entry(as_id, gfn, l);
		*e = (struct map_entry) { .kind = TDP_TABLE };
		if (mem && vm.nx && access == TEST_X && goal >= l) {
			e->bits = MAP_PINNED;
			e->order = ++last_order;
		}
	}
	if (!mem) {
		*at(as_id, gfn, l) = (struct map_entry) {
			.kind = TDP_ANNOTATED,
		};
		return KVM_TDP_ANNOTATED;
	}
	return install(mem, at(as_id, gfn, l), gfn, l, access, prefetch);
}

int map_fast_fault(int as_id, gfn_t gfn, unsigned int access)
{
	struct mem *mem = vm_mem(as_id, gfn);
	struct map_entry *e;
	int level = 1;
	u8 bits;

	if (!mem)
		return KVM_TDP_SLOW;
	e = map_find(as_id, gfn, &level);
	if (e->kind != TDP_LEAF)
		return KVM_TDP_SLOW;
	if (allows(e->bits, access))
		return KVM_TDP_SPURIOUS;

	bits = e->bits | MAP_YOUNG;
	if (access == TEST_W) {
		if (!(bits & MAP_MMU) || (level > 1 && logged(mem)))
			return KVM_TDP_SLOW;
		bits |= MAP_WRITE | (has_dirty() ? MAP_DIRTY : 0);
	}
	if (bits == e->bits || !allows(bits, access))
		return KVM_TDP_SLOW;
	if (bits & ~e->bits & MAP_WRITE)
		mark_dirty(mem, gfn);
	e->bits = bits;
	return KVM_TDP_FIXED;
}

/* Of hardware that has nothing cached. */
int map_access(int as_id, gfn_t gfn, unsigned int access)
{
	int level = 1;
	struct map_entry *e = map_find(as_id, gfn, &level);

	if (e->kind != TDP_LEAF || !allows(e->bits, access))
		return HW_FAULT;
	hw_set(as_id, e, gfn, level, MAP_YOUNG |
	       (has_dirty() && access == TEST_W ? MAP_DIRTY : 0));
	return HW_DONE;
}

/* Of hardware that has: it may have set A and D, or need not. */
void map_adopt(int as_id, gfn_t gfn)
{
	struct kvm_tdp_root *root;
	struct map_entry *e;
	struct view v;
	int level = 1;

	list_for_each_entry(root, &vm.kvm.tdp.roots, link) {
		if (root->invalid || root->as_id != as_id)
			continue;
		v = hw_view(*pgt_find(&root->pgt, gfn, &level), level);
		e = map_find(as_id, gfn, &level);
		if (e->kind != TDP_LEAF)
			return;
		if (v.has_accessed && v.accessed)
			hw_set(as_id, e, gfn, level, MAP_YOUNG);
		if (v.has_dirty && v.dirty && (e->bits & MAP_WRITE))
			hw_set(as_id, e, gfn, level, MAP_DIRTY);
	}
}

/* All entries that map a range, down to a level, from above. */
#define for_each_entry(_e, _as, _gfn, _level, _start, _end, _min)	\
	for (_gfn = _start; _gfn < (_end) &&				\
	     ((_level = _min), (_e = map_find(_as, _gfn, &_level)), true); \
	     _gfn = (_gfn | (model_span(_level) - 1)) + 1)

void map_zap(int as_id, gfn_t start, gfn_t end)
{
	struct map_entry *e;
	int level, l;
	gfn_t gfn;

	/* Tables that lie in the range, the largest first; then leaves. */
	for (l = root_level(); l >= 1; l--) {
		for_each_entry(e, as_id, gfn, level, max(start, map_start),
			       min(end, map_end), l) {
			gfn_t first = gfn & ~(model_span(level) - 1);

			if (e->kind == TDP_LEAF ||
			    (e->kind == TDP_TABLE && first >= start &&
			     min(first + model_span(level),
				 tdp_fmt_end_gfn(fmt)) <= end))
				remove_entry(as_id, gfn, level);
		}
	}
}

static void log_entry(struct map_entry *e, int level)
{
	if (e->kind == TDP_LEAF)
		e->bits &= model_hw_logs(level) ? ~MAP_DIRTY : ~MAP_WRITE;
}

void map_log(const struct mem *mem, gfn_t gfn, unsigned long mask)
{
	struct map_entry *e;

	for (; mask; mask &= mask - 1) {
		int level = 1;

		e = map_find(mem->slot->as_id, gfn + __ffs(mask), &level);
		log_entry(e, level);
	}
}

void map_log_slot(const struct mem *mem)
{
	struct map_entry *e;
	int level;
	gfn_t gfn;

	for_each_entry(e, mem->slot->as_id, gfn, level, mem->base_gfn,
		       mem->base_gfn + mem->npages, 1)
		log_entry(e, level);
}

/* @partly: there was not enough memory; what is split is split right. */
void map_split(const struct mem *mem, gfn_t start, gfn_t end, bool partly)
{
	struct kvm_tdp_root *root;
	int as_id = mem->slot->as_id, level, l;
	struct map_entry *e;
	gfn_t gfn;

	list_for_each_entry(root, &vm.kvm.tdp.roots, link) {
		if (root->invalid || root->as_id != as_id)
			continue;
		for (l = root_level(); l > 1; l--) {
			for_each_entry(e, as_id, gfn, level, start, end, l) {
				int is = level;

				if (level != l || e->kind != TDP_LEAF)
					continue;
				if (!partly ||
				    tdp_pte_kind(fmt, *pgt_find(&root->pgt,
								gfn, &is),
						 level) == TDP_TABLE)
					split_entry(as_id, gfn, level);
			}
		}
	}
}

static bool recover_entry(const struct mem *mem, struct map_entry *e, gfn_t gfn,
			  int level)
{
	int as_id = mem->slot->as_id, l;
	struct map_entry *part;
	bool found = false, exec = true;
	u8 any = 0;
	gfn_t g;

	if (e->kind != TDP_TABLE || !model_leaf_allowed(level) ||
	    gfn & (model_span(level) - 1) || gfn < mem->base_gfn ||
	    min(gfn + model_span(level), tdp_fmt_end_gfn(fmt)) >
	    mem->base_gfn + mem->npages || vm_host_level(mem, gfn) < level)
		return false;

	for_each_entry(part, as_id, g, l, gfn, gfn + model_span(level), 1) {
		if (part->kind != TDP_LEAF)
			continue;
		found = true;
		any |= part->bits;
		exec &= !!(part->bits & MAP_EXEC);
	}
	if (invalidated(gfn, gfn + model_span(level)))
		found = false;
	remove_entry(as_id, gfn, level);
	if (found)
		*e = (struct map_entry) {
			.kind = TDP_LEAF,
			.bits = make_leaf(any & MAP_HOST, any & MAP_HOST,
					  exec_allowed(level, exec),
					  any & MAP_YOUNG),
		};
	return true;
}

void map_recover(const struct mem *mem)
{
	struct map_entry *e;
	int level, l;
	gfn_t gfn;

	for (l = root_level(); l > 1; l--) {
		for_each_entry(e, mem->slot->as_id, gfn, level, mem->base_gfn,
			       mem->base_gfn + mem->npages, l) {
			if (level == l)
				recover_entry(mem, e, gfn, level);
		}
	}
}

bool map_age(const struct mem *mem, gfn_t start, gfn_t end, bool change)
{
	bool young = false;
	struct map_entry *e;
	int level;
	gfn_t gfn;

	for_each_entry(e, mem->slot->as_id, gfn, level, start, end, 1) {
		if (e->kind != TDP_LEAF || !(e->bits & MAP_YOUNG))
			continue;
		young = true;
		if (change)
			e->bits = make_old(e->bits);
	}
	return young;
}

void map_track(const struct mem *mem, gfn_t gfn)
{
	int level = 1;
	struct map_entry *e = map_find(mem->slot->as_id, gfn, &level);

	if (e->kind == TDP_LEAF)
		e->bits &= ~(MAP_WRITE | MAP_MMU);
}

/* The table among those not removed that has waited for the longest. */
static struct map_entry *oldest_pinned(int *as_id, gfn_t *gfn, int *level)
{
	struct map_entry *e, *first = NULL;
	int as, l, min_level;
	gfn_t g;

	for (as = 0; as < NR_MAPS; as++) {
		for (min_level = root_level(); min_level > 1; min_level--) {
			for_each_entry(e, as, g, l, map_start, map_end,
				       min_level) {
				if (l != min_level || !e->order ||
				    (first && e->order > first->order))
					continue;
				first = e;
				*as_id = as;
				*gfn = g;
				*level = l;
			}
		}
	}
	return first;
}

/*
 * Release some: what is removed with others, and not paid for, still takes its
 * turn.  Payment is due when the root changes or the walk yields.
 */
void map_release(unsigned int nr, bool yields)
{
	int as_id, level, last_as = -1;
	struct map_entry *e;
	struct mem *mem;
	unsigned int i;
	gfn_t gfn;

	nr_unpaid = 0;
	while (nr--) {
		e = oldest_pinned(&as_id, &gfn, &level);
		for (i = 0; i < nr_unpaid; i++) {
			if (unpaid[i] && (!e || unpaid[i] < e->order))
				break;
		}
		/* Any of them: the order does not matter. */
		if (i < nr_unpaid) {
			unpaid[i] = 0;
			continue;
		}
		if (!e)
			return;
		if (as_id != last_as)
			nr_unpaid = 0;
		last_as = as_id;
		e->order = 0;
		mem = vm_mem(as_id, gfn);
		if (mem && logged(mem))
			e->bits = 0;
		else
			remove_entry(as_id, gfn, level);
		if (yields)
			nr_unpaid = 0;
	}
}

static u8 bits_of(tdp_pte_t pte, int level)
{
	struct view v = hw_view(pte, level);
	unsigned int restored = hw_allows(sw_restored(pte, level), level);
	unsigned int marks = sw_marks(pte);
	u8 bits;

	bits = (marks & TDP_HOST_WRITE ? MAP_HOST : 0) |
	       (marks & TDP_WRITE ? MAP_MMU : 0) |
	       (restored & TEST_W ? MAP_WRITE : 0) |
	       (v.has_dirty && v.dirty ? MAP_DIRTY : 0);
	if (v.has_accessed ? v.accessed : v.access != 0)
		bits |= MAP_YOUNG;
	/* What an old one gave up comes back. */
	if (restored & TEST_X)
		bits |= MAP_EXEC;
	return bits;
}

static void check_table(int as_id, tdp_pte_t *table, gfn_t base, int level)
{
	gfn_t span = model_span(level), gfn = base;
	int i;

	for (i = 0; i < 1 << model_nr_bits(level); i++, gfn += span) {
		enum tdp_kind kind = tdp_pte_kind(fmt, table[i], level);
		gfn_t in = max(gfn, map_start);
		struct mem *mem = vm_mem(as_id, gfn);
		struct map_entry *e;

		if (gfn + span <= map_start || gfn >= map_end) {
			CHECK(kind == TDP_NONE, "gfn %llx", gfn);
			continue;
		}
		e = at(as_id, in, level);
		CHECK(kind == e->kind, "gfn %llx, level %d: %d instead of %d",
		      gfn, level, kind, e->kind);
		if (kind == TDP_TABLE) {
			CHECK(!(table[i] & model_pinned()) ==
			      !(e->bits & MAP_PINNED));
			check_table(as_id,
				    tdp_phys_to_table(hw_view(table[i],
							      level).phys),
				    gfn, level - 1);
		} else if (kind == TDP_LEAF) {
			u8 bits = bits_of(table[i], level);

			CHECK(mem);
			CHECK(hw_view(sw_restored(table[i], level),
				      level).phys >> PAGE_SHIFT == vm_pfn(mem, gfn),
			      "gfn %llx maps another page", gfn);
			CHECK(bits == e->bits,
			      "gfn %llx, level %d: is %x and not %x", gfn,
			      level, bits, e->bits);
		}
	}
}

/* All of the valid root of an address space is as the map says. */
void map_check(int as_id)
{
	struct kvm_tdp_root *root;
	struct mem *mem;

	for (mem = vm.mem; mem < vm.mem + NR_MEMS; mem++)
		CHECK(!mem->slot || !logged(mem) ||
		      !memcmp(mem->dirty, mem->expected, mem->npages),
		      "the log is not what it should be");
	list_for_each_entry(root, &vm.kvm.tdp.roots, link) {
		if (!root->invalid && root->as_id == as_id)
			check_table(as_id, root->pgt.root, 0, root_level());
	}
}
