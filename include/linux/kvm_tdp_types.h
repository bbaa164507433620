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
 *
 * On x86 a VM has one.
 */
struct kvm_tdp {
	struct kvm *kvm;
	struct list_head roots;
	spinlock_t roots_lock; /* for changes of roots */
	atomic64_t nr_tables;
};

#endif /* __LINUX_KVM_TDP_TYPES_H */
