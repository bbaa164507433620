/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __TDP_KUNIT_FORMATS_H
#define __TDP_KUNIT_FORMATS_H

#define TDP_KUNIT_PAGE_SHIFT	12

/* The G-stage, with non-cacheable memory. */
#define TDP_KUNIT_SV(_name, _levels, _gfn_bits, _hw_ad)			\
	{								\
		.name = _name,						\
		.attr = BIT_ULL(61),					\
		.phys_bits = 56,					\
		.fmt = {						\
			.leaf_attr	= GENMASK_ULL(62, 61),		\
			.end_gfn	= BIT_ULL(_gfn_bits),		\
			.root_level	= _levels,			\
			.hw_ad		= _hw_ad,			\
		},							\
	}

static const struct tdp_kunit_format tdp_kunit_formats[] = {
	TDP_KUNIT_SV("sv39x4", 3, 29, false),
	TDP_KUNIT_SV("sv48x4-svadu", 4, 38, true),
	TDP_KUNIT_SV("sv57x4", 5, 47, false),
};

#endif /* __TDP_KUNIT_FORMATS_H */
