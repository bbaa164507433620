// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tracepoints of the TDP MMU.
 */
#include "kvm_tdp.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

/* Out of line: the page-table library knows no more than that it exists. */
void __tdp_trace_pte_changed(const struct tdp_pgtable *pgt, gfn_t gfn,
			     int level, u64 old, u64 new)
{
	trace_kvm_tdp_pte_changed(pgt, gfn, level, old, new);
}
