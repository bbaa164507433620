// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clearing the dirty log while vCPUs fault, where the architecture can log
 * writes again with mmu_lock held for read.
 */
#include "dirty_log.h"

/**
 * kvm_log_clear_pages() - Log writes again to pages whose bits were cleared
 * @clear: the debt, to which that for the pages is added
 * @slot: their memslot
 * @offset: of the page that bit 0 of @mask stands for, in pages from the slot's
 *	    first one, with no alignment
 * @mask: the pages, not 0
 *
 * The flush is owed whatever the entries look like: somebody else may have
 * changed them, and not flushed them yet.
 *
 * Between two masks nobody holds mmu_lock and nothing is flushed: what the guest
 * still writes to these pages it writes before the caller reports them.
 *
 * Context: slots_lock held, mmu_lock not; takes it, and may sleep between.
 */
void kvm_log_clear_pages(struct kvm_log_clear *clear,
			 struct kvm_memory_slot *slot, gfn_t offset,
			 unsigned long mask)
{
	struct kvm *kvm = clear->kvm;
	gfn_t gfn = slot->base_gfn + offset;
	gfn_t start = gfn + __ffs(mask), end = gfn + __fls(mask) + 1;

	/* mmu_lock will be dropped before the flush that is owed. */
	lockdep_assert_held(&kvm->slots_lock);

	clear->start = clear->end ? min(clear->start, start) : start;
	clear->end = max(clear->end, end);

	if (kvm_arch_mmu_shared_log(kvm)) {
		read_lock(&kvm->mmu_lock);
		mask = kvm_arch_mmu_log_masked_shared(kvm, slot, offset, mask);
		read_unlock(&kvm->mmu_lock);
	}
	if (mask) {
		write_lock(&kvm->mmu_lock);
		kvm_arch_mmu_enable_log_dirty_pt_masked(kvm, slot, offset, mask);
		write_unlock(&kvm->mmu_lock);
	}
	cond_resched();
}

/**
 * kvm_log_clear_flush() - Let no CPU write past the log
 * @clear: the debt; paid on return
 *
 * Context: slots_lock held since the first page.
 */
void kvm_log_clear_flush(struct kvm_log_clear *clear)
{
	struct kvm *kvm = clear->kvm;

	lockdep_assert_held(&kvm->slots_lock);

	if (!clear->end)
		return;

	if (kvm_arch_mmu_shared_log(kvm)) {
		kvm_arch_mmu_wait_unpaid(kvm);
		kvm_flush_remote_tlbs_range(kvm, clear->start,
					    clear->end - clear->start);
	} else if (clear->slot) {
		kvm_flush_remote_tlbs_memslot(kvm, clear->slot);
	} else {
		kvm_flush_remote_tlbs(kvm);
	}
	clear->end = 0;
}
