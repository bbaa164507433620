/* SPDX-License-Identifier: GPL-2.0-only */
#if !defined(__KVM_TDP_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define __KVM_TDP_TRACE_H

#include <linux/kvm_types.h>
#include <linux/tracepoint.h>

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm

#ifndef __KVM_TDP_TRACE_TYPES
#define __KVM_TDP_TRACE_TYPES
struct kvm_tdp_fault;
struct kvm_tdp_root;
struct tdp_gather;
struct tdp_pgtable;

/* What happens to a root. */
enum kvm_tdp_root_event {
	KVM_TDP_ROOT_ADDED,
	KVM_TDP_ROOT_INVALIDATED,
	KVM_TDP_ROOT_FREED,
};
#endif

TRACE_DEFINE_ENUM(KVM_TDP_RETRY);
TRACE_DEFINE_ENUM(KVM_TDP_FIXED);
TRACE_DEFINE_ENUM(KVM_TDP_SPURIOUS);
TRACE_DEFINE_ENUM(KVM_TDP_WRPROT);
TRACE_DEFINE_ENUM(KVM_TDP_ANNOTATED);
TRACE_DEFINE_ENUM(KVM_TDP_ROOT_ADDED);
TRACE_DEFINE_ENUM(KVM_TDP_ROOT_INVALIDATED);
TRACE_DEFINE_ENUM(KVM_TDP_ROOT_FREED);
TRACE_DEFINE_ENUM(TDP_FLUSH_LEAF);
TRACE_DEFINE_ENUM(TDP_FLUSH_TABLE);

#define kvm_tdp_print_result(result)				\
	__print_symbolic(result,				\
			 { KVM_TDP_RETRY, "retry" },		\
			 { KVM_TDP_FIXED, "fixed" },		\
			 { KVM_TDP_SPURIOUS, "spurious" },	\
			 { KVM_TDP_WRPROT, "wrprot" },		\
			 { KVM_TDP_ANNOTATED, "annotated" },	\
			 { -EFAULT, "unmappable" },		\
			 { -EIO, "bug" })

/* A fault that the TDP MMU handled, with the leaf it installed or found. */
TRACE_EVENT(kvm_tdp_fault,
	TP_PROTO(const struct kvm_tdp_fault *fault, u8 as_id, int result),
	TP_ARGS(fault, as_id, result),

	TP_STRUCT__entry(
		__field(u64, gfn)
		__field(u64, pfn)
		__field(u8, as_id)
		__field(u8, level)
		__field(bool, write)
		__field(bool, prefetch)
		__field(int, result)
	),

	TP_fast_assign(
		__entry->gfn = fault->gfn;
		__entry->pfn = fault->pfn;
		__entry->as_id = as_id;
		__entry->level = fault->level;
		__entry->write = fault->write;
		__entry->prefetch = fault->prefetch;
		__entry->result = result;
	),

	TP_printk("as_id %u gfn %llx pfn %llx level %u%s%s %s", __entry->as_id,
		  __entry->gfn, __entry->pfn, __entry->level,
		  __entry->write ? " write" : "",
		  __entry->prefetch ? " prefetch" : "",
		  kvm_tdp_print_result(__entry->result))
);

/* A fault that was handled without mmu_lock, with the leaf as it is now. */
TRACE_EVENT(kvm_tdp_fast_fault,
	TP_PROTO(u8 as_id, gfn_t gfn, u64 pte, u8 level, unsigned int access,
		 int result),
	TP_ARGS(as_id, gfn, pte, level, access, result),

	TP_STRUCT__entry(
		__field(u64, gfn)
		__field(u64, pte)
		__field(u8, as_id)
		__field(u8, level)
		__field(bool, write)
		__field(bool, exec)
		__field(int, result)
	),

	TP_fast_assign(
		__entry->gfn = gfn;
		__entry->pte = pte;
		__entry->as_id = as_id;
		__entry->level = level;
		__entry->write = access & TDP_WRITE;
		__entry->exec = access & TDP_EXEC;
		__entry->result = result;
	),

	TP_printk("as_id %u gfn %llx level %u%s%s pte %llx %s", __entry->as_id,
		  __entry->gfn, __entry->level,
		  __entry->write ? " write" : "",
		  __entry->exec ? " exec" : "", __entry->pte,
		  kvm_tdp_print_result(__entry->result))
);

/* An entry of a linked table changed.  Entries of removed tables do not count. */
TRACE_EVENT(kvm_tdp_pte_changed,
	TP_PROTO(const struct tdp_pgtable *pgt, gfn_t gfn, u8 level, u64 old,
		 u64 new),
	TP_ARGS(pgt, gfn, level, old, new),

	TP_STRUCT__entry(
		__field(const void *, pgt)
		__field(u64, gfn)
		__field(u64, old)
		__field(u64, new)
		__field(u8, level)
	),

	TP_fast_assign(
		__entry->pgt = pgt;
		__entry->gfn = gfn;
		__entry->old = old;
		__entry->new = new;
		__entry->level = level;
	),

	TP_printk("root %p gfn %llx level %u old %llx new %llx", __entry->pgt,
		  __entry->gfn, __entry->level, __entry->old, __entry->new)
);

DECLARE_EVENT_CLASS(kvm_tdp_block,
	TP_PROTO(u8 as_id, gfn_t gfn, u8 level),
	TP_ARGS(as_id, gfn, level),

	TP_STRUCT__entry(
		__field(u64, gfn)
		__field(u8, as_id)
		__field(u8, level)
	),

	TP_fast_assign(
		__entry->gfn = gfn;
		__entry->as_id = as_id;
		__entry->level = level;
	),

	TP_printk("as_id %u gfn %llx level %u", __entry->as_id, __entry->gfn,
		  __entry->level)
);

/* A huge leaf was replaced by a table that maps the same. */
DEFINE_EVENT(kvm_tdp_block, kvm_tdp_split,
	TP_PROTO(u8 as_id, gfn_t gfn, u8 level),
	TP_ARGS(as_id, gfn, level)
);

/* A table was replaced by a huge leaf when dirty logging ended. */
DEFINE_EVENT(kvm_tdp_block, kvm_tdp_recover,
	TP_PROTO(u8 as_id, gfn_t gfn, u8 level),
	TP_ARGS(as_id, gfn, level)
);

TRACE_EVENT(kvm_tdp_root,
	TP_PROTO(const struct kvm_tdp_root *root, int event),
	TP_ARGS(root, event),

	TP_STRUCT__entry(
		__field(const void *, pgt)
		__field(u32, key)
		__field(u8, as_id)
		__field(int, event)
	),

	TP_fast_assign(
		__entry->pgt = &root->pgt;
		__entry->key = root->key;
		__entry->as_id = root->as_id;
		__entry->event = event;
	),

	TP_printk("root %p as_id %u key %x %s", __entry->pgt, __entry->as_id,
		  __entry->key,
		  __print_symbolic(__entry->event,
				   { KVM_TDP_ROOT_ADDED, "added" },
				   { KVM_TDP_ROOT_INVALIDATED, "invalidated" },
				   { KVM_TDP_ROOT_FREED, "freed" }))
);

/* A range of a root is about to be zapped. */
TRACE_EVENT(kvm_tdp_zap,
	TP_PROTO(u8 as_id, gfn_t start, gfn_t end, bool exclusive, bool invalid),
	TP_ARGS(as_id, start, end, exclusive, invalid),

	TP_STRUCT__entry(
		__field(u64, start)
		__field(u64, end)
		__field(u8, as_id)
		__field(bool, exclusive)
		__field(bool, invalid)
	),

	TP_fast_assign(
		__entry->start = start;
		__entry->end = end;
		__entry->as_id = as_id;
		__entry->exclusive = exclusive;
		__entry->invalid = invalid;
	),

	TP_printk("as_id %u gfns %llx-%llx mmu_lock %s%s", __entry->as_id,
		  __entry->start, __entry->end,
		  __entry->exclusive ? "write" : "read",
		  __entry->invalid ? " invalid root" : "")
);

/* A walk drops mmu_lock; it will go on at @gfn. */
TRACE_EVENT(kvm_tdp_yield,
	TP_PROTO(u8 as_id, gfn_t gfn, bool exclusive),
	TP_ARGS(as_id, gfn, exclusive),

	TP_STRUCT__entry(
		__field(u64, gfn)
		__field(u8, as_id)
		__field(bool, exclusive)
	),

	TP_fast_assign(
		__entry->gfn = gfn;
		__entry->as_id = as_id;
		__entry->exclusive = exclusive;
	),

	TP_printk("as_id %u gfn %llx mmu_lock %s", __entry->as_id, __entry->gfn,
		  __entry->exclusive ? "write" : "read")
);

/* The backend is asked for a flush. */
TRACE_EVENT(kvm_tdp_flush,
	TP_PROTO(u8 as_id, const struct tdp_gather *gather),
	TP_ARGS(as_id, gather),

	TP_STRUCT__entry(
		__field(u64, start)
		__field(u64, end)
		__field(u8, as_id)
		__field(u8, level)
		__field(int, flush)
	),

	TP_fast_assign(
		__entry->start = gather->start;
		__entry->end = gather->end;
		__entry->as_id = as_id;
		__entry->level = gather->level;
		__entry->flush = gather->flush;
	),

	TP_printk("as_id %u gfns %llx-%llx level %u %s", __entry->as_id,
		  __entry->start, __entry->end, __entry->level,
		  __print_symbolic(__entry->flush,
				   { TDP_FLUSH_LEAF, "leaves" },
				   { TDP_FLUSH_TABLE, "tables" }))
);

#endif /* __KVM_TDP_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH ../../virt/kvm/mmu
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace

/* This part must be outside protection */
#include <trace/define_trace.h>
