/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_DIRTY_LOG_H
#define __KVM_DIRTY_LOG_H

#include <linux/kvm_host.h>

#include "kvm_mm.h"

/**
 * struct kvm_log_clear - pages leave the dirty log, and are to come back to it
 * @kvm: the VM
 * @slot: the memslot of all pages, NULL if there are more
 * @start: first gfn of those whose flush is owed
 * @end: first gfn behind; nothing is owed if it is 0
 *
 * In this order: the caller clears bits of the log, kvm_log_clear_pages() lets
 * the log see the next write to these pages, kvm_log_clear_flush() lets no CPU
 * write past it.  Only then may user space read the pages.
 */
struct kvm_log_clear {
	struct kvm *kvm;
	const struct kvm_memory_slot *slot;
	gfn_t start;
	gfn_t end;
};

static inline void kvm_log_clear_init(struct kvm_log_clear *clear,
				      struct kvm *kvm,
				      const struct kvm_memory_slot *slot)
{
	*clear = (struct kvm_log_clear) { .kvm = kvm, .slot = slot };
}

#ifdef CONFIG_KVM_MMU_SHARED_LOG

void kvm_log_clear_pages(struct kvm_log_clear *clear,
			 struct kvm_memory_slot *slot, gfn_t offset,
			 unsigned long mask);
void kvm_log_clear_flush(struct kvm_log_clear *clear);

#elif defined(CONFIG_KVM_GENERIC_DIRTYLOG_READ_PROTECT)

static inline void kvm_log_clear_pages(struct kvm_log_clear *clear,
				       struct kvm_memory_slot *slot,
				       gfn_t offset, unsigned long mask)
{
	clear->end = slot->base_gfn + slot->npages;
	KVM_MMU_LOCK(clear->kvm);
	kvm_arch_mmu_enable_log_dirty_pt_masked(clear->kvm, slot, offset, mask);
	KVM_MMU_UNLOCK(clear->kvm);
	cond_resched();
}

static inline void kvm_log_clear_flush(struct kvm_log_clear *clear)
{
	if (!clear->end)
		return;
	if (clear->slot)
		kvm_flush_remote_tlbs_memslot(clear->kvm, clear->slot);
	else
		kvm_flush_remote_tlbs(clear->kvm);
}

#else

/* There are no rings either. */
static inline void kvm_log_clear_flush(struct kvm_log_clear *clear)
{
}

#endif

#endif /* __KVM_DIRTY_LOG_H */
