/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __TDP_KUNIT_FORMATS_H
#define __TDP_KUNIT_FORMATS_H

#define TDP_KUNIT_PAGE_SHIFT	12

/* As arch/x86/kvm/mmu/spte.c sets up EPT and NPT. */
#define TDP_KUNIT_EPT							\
	.present	= BIT_ULL(63),					\
	.user		= BIT_ULL(0),					\
	.exec		= BIT_ULL(2),					\
	.host_write	= BIT_ULL(57),					\
	.mmu_write	= BIT_ULL(58),					\
	.acc_track	= GENMASK_ULL(2, 0),				\
	.leaf_attr	= GENMASK_ULL(6, 3),				\
	.addr		= GENMASK_ULL(51, 12)

/* Write-back memory. */
#define TDP_KUNIT_EPT_ATTR	(6ull << 3)

static const struct tdp_kunit_format tdp_kunit_formats[] = {
	{
		.name = "ept",
		.attr = TDP_KUNIT_EPT_ATTR,
		.phys_bits = 46,
		.fmt = {
			TDP_KUNIT_EPT,
			.accessed	= BIT_ULL(8),
			.dirty		= BIT_ULL(9),
			.end_gfn	= BIT_ULL(34),
			.root_level	= 4,
		},
	},
	{
		.name = "ept-pml-5-level",
		.attr = TDP_KUNIT_EPT_ATTR,
		.phys_bits = 52,
		.fmt = {
			TDP_KUNIT_EPT,
			.accessed	= BIT_ULL(8),
			.dirty		= BIT_ULL(9),
			.hw_log		= true,
			.end_gfn	= BIT_ULL(40),
			.root_level	= 5,
		},
	},
	{
		.name = "ept-no-ad",
		.attr = TDP_KUNIT_EPT_ATTR,
		.phys_bits = 39,
		.fmt = {
			TDP_KUNIT_EPT,
			.ad_type	= X86_TDP_AD_DISABLED,
			.end_gfn	= BIT_ULL(27),
			.root_level	= 4,
		},
	},
	{
		.name = "npt-sme",
		.attr = BIT_ULL(51),
		.phys_bits = 48,
		.fmt = {
			.present	= BIT_ULL(0),
			.user		= BIT_ULL(2),
			.noexec		= BIT_ULL(63),
			.accessed	= BIT_ULL(5),
			.dirty		= BIT_ULL(6),
			.host_write	= BIT_ULL(9),
			.mmu_write	= BIT_ULL(10),
			.table_attr	= BIT_ULL(51),
			.leaf_attr	= BIT_ULL(51),
			.addr		= GENMASK_ULL(50, 12),
			.end_gfn	= BIT_ULL(36),
			.root_level	= 4,
		},
	},
};

#endif /* __TDP_KUNIT_FORMATS_H */
