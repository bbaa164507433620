/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_X86_MMU_TDP_FMT_H
#define __KVM_X86_MMU_TDP_FMT_H

#include <linux/kvm_host.h>

struct tdp_fmt;

const struct tdp_fmt *kvm_mmu_tdp_format(union kvm_mmu_page_role role);

#endif /* __KVM_X86_MMU_TDP_FMT_H */
