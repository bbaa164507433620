/* SPDX-License-Identifier: GPL-2.0-only */
#if !defined(__KVM_TDP_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define __KVM_TDP_TRACE_H

#include <linux/tracepoint.h>

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm

TRACE_DEFINE_ENUM(KVM_TDP_RETRY);
TRACE_DEFINE_ENUM(KVM_TDP_FIXED);
TRACE_DEFINE_ENUM(KVM_TDP_SPURIOUS);
TRACE_DEFINE_ENUM(KVM_TDP_WRPROT);
TRACE_DEFINE_ENUM(KVM_TDP_ANNOTATED);

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
		  __print_symbolic(__entry->result,
				   { KVM_TDP_RETRY, "retry" },
				   { KVM_TDP_FIXED, "fixed" },
				   { KVM_TDP_SPURIOUS, "spurious" },
				   { KVM_TDP_WRPROT, "wrprot" },
				   { KVM_TDP_ANNOTATED, "annotated" },
				   { -EFAULT, "unmappable" },
				   { -EIO, "bug" }))
);

#endif /* __KVM_TDP_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH ../../virt/kvm/mmu
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace

/* This part must be outside protection */
#include <trace/define_trace.h>
