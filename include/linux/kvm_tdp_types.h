/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __LINUX_KVM_TDP_TYPES_H
#define __LINUX_KVM_TDP_TYPES_H

#include <linux/atomic.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct kvm;

/**
 * struct kvm_tdp - a TDP MMU: page-table trees that are flushed together
 * @kvm: the VM whose memslots the trees map
 * @roots: all roots, also the invalid ones that are still referenced.  Walked
 *	   under RCU or with mmu_lock held for write, changed under @roots_lock.
 * @roots_lock: protects changes of @roots.  Taken inside mmu_lock.
 * @nr_tables: tables linked in all trees, roots not counted
 * @nr_unpaid: walks with mmu_lock held for read that may have taken something
 *	       away from a valid root and not yet flushed it, or look at pages
 *	       that it maps, see kvm_tdp_wait_unpaid()
 *
 * On x86 a VM has one.
 */
struct kvm_tdp {
	struct kvm *kvm;
	struct list_head roots;
	spinlock_t roots_lock; /* for changes of roots */
	atomic64_t nr_tables;
	atomic_t nr_unpaid;
};

#endif /* __LINUX_KVM_TDP_TYPES_H */
