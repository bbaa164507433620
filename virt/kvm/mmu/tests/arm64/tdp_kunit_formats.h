/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __TDP_KUNIT_FORMATS_H
#define __TDP_KUNIT_FORMATS_H

/* A gfn is a page of the host's, and so is a table. */
#define TDP_KUNIT_PAGE_SHIFT	PAGE_SHIFT

/* Write-back; shareable, which is not in the entry with 52-bit addresses. */
#define TDP_KUNIT_LPA2_ATTR	(0xfull << 2)
#define TDP_KUNIT_ATTR		(TDP_KUNIT_LPA2_ATTR | 3ull << 8)

/* In the fewest levels whose root is at most 16 tables. */
static const struct tdp_kunit_format tdp_kunit_formats[] = {
#if PAGE_SHIFT == 12
	{
		.name = "4k-40-bit",
		.attr = TDP_KUNIT_ATTR,
		.phys_bits = 44,
		.breaks = true,
		.fmt = {
			.leaf_attr	= TDP_KUNIT_ATTR,
			.end_gfn	= BIT_ULL(28),
			.root_level	= 3,
			.root_bits	= 10,
			.max_leaf	= 3,
			.hw_af		= true,
		},
	},
	{
		.name = "4k-48-bit",
		.attr = TDP_KUNIT_ATTR,
		.phys_bits = 48,
		.breaks = true,
		.fmt = {
			.leaf_attr	= TDP_KUNIT_ATTR,
			.end_gfn	= BIT_ULL(36),
			.root_level	= 4,
			.root_bits	= 9,
			.max_leaf	= 3,
		},
	},
	{
		.name = "4k-lpa2",
		.attr = TDP_KUNIT_LPA2_ATTR,
		.phys_bits = 52,
		.breaks = true,
		.fmt = {
			.leaf_attr	= TDP_KUNIT_LPA2_ATTR,
			.end_gfn	= BIT_ULL(38),
			.root_level	= 4,
			.root_bits	= 11,
			.max_leaf	= 4,
			.lpa2		= true,
			.hw_af		= true,
		},
	},
	{
		.name = "4k-free-size",
		.attr = TDP_KUNIT_ATTR,
		.phys_bits = 40,
		.fmt = {
			.leaf_attr	= TDP_KUNIT_ATTR,
			.end_gfn	= BIT_ULL(27),
			.root_level	= 3,
			.root_bits	= 9,
			.max_leaf	= 3,
			.free_size	= true,
		},
	},
#elif PAGE_SHIFT == 14
	{
		.name = "16k-47-bit",
		.attr = TDP_KUNIT_ATTR,
		.phys_bits = 48,
		.breaks = true,
		.fmt = {
			.leaf_attr	= TDP_KUNIT_ATTR,
			.end_gfn	= BIT_ULL(33),
			.root_level	= 3,
			.root_bits	= 11,
			.max_leaf	= 2,
			.hw_af		= true,
		},
	},
	{
		.name = "16k-lpa2",
		.attr = TDP_KUNIT_LPA2_ATTR,
		.phys_bits = 52,
		.breaks = true,
		.fmt = {
			.leaf_attr	= TDP_KUNIT_LPA2_ATTR,
			.end_gfn	= BIT_ULL(34),
			.root_level	= 3,
			.root_bits	= 12,
			.max_leaf	= 3,
			.lpa2		= true,
		},
	},
#elif PAGE_SHIFT == 16
	{
		.name = "64k-47-bit",
		.attr = TDP_KUNIT_ATTR,
		.phys_bits = 48,
		.breaks = true,
		.fmt = {
			.leaf_attr	= TDP_KUNIT_ATTR,
			.end_gfn	= BIT_ULL(31),
			.root_level	= 3,
			.root_bits	= 5,
			.max_leaf	= 2,
		},
	},
	{
		.name = "64k-lpa",
		.attr = TDP_KUNIT_ATTR,
		.phys_bits = 52,
		.breaks = true,
		.fmt = {
			.leaf_attr	= TDP_KUNIT_ATTR,
			.end_gfn	= BIT_ULL(32),
			.root_level	= 3,
			.root_bits	= 6,
			.max_leaf	= 3,
			.hw_af		= true,
		},
	},
#endif
};

#endif /* __TDP_KUNIT_FORMATS_H */
