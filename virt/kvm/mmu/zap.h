/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_ZAP_H
#define __KVM_TDP_ZAP_H

#include "walk.h"

void kvm_tdp_zap_root(struct kvm_tdp_root *root, gfn_t start, gfn_t end,
		      enum tdp_mode mode, bool may_yield);

#endif /* __KVM_TDP_ZAP_H */
