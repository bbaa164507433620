/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __TDP_KUNIT_FORMATS_H
#define __TDP_KUNIT_FORMATS_H

/* A gfn is a page of the host's, and so is a table. */
#define TDP_KUNIT_PAGE_SHIFT	PAGE_SHIFT

/* Write-back memory. */
#define TDP_KUNIT_MEMATTR	(0xfull << 2)

/*
 * Stage 2 of @_ia_bits in @_levels levels, the fewest whose root is at most 16
 * tables; memory is shareable by its entries unless it is @_lpa2.  With @_breaks
 * sizes change by break-before-make.
 */
#define TDP_KUNIT_STAGE2(_name, _ia_bits, _levels, _max_leaf, _phys_bits,	\
			 _lpa2, _breaks, ...)				\
	{								\
		.name = _name,						\
		.attr = TDP_KUNIT_MEMATTR | ((_lpa2) ? 0 : 3ull << 8),	\
		.phys_bits = _phys_bits,				\
		.breaks = _breaks,					\
		.fmt = {						\
			.end_gfn	= BIT_ULL(_ia_bits - PAGE_SHIFT), \
			.leaf_attr	= TDP_KUNIT_MEMATTR |		\
					  ((_lpa2) ? 0 : 3ull << 8),	\
			.root_level	= _levels,			\
			.root_bits	= (_ia_bits) - PAGE_SHIFT -	\
					  ((_levels) - 1) *		\
					  ARM64_TDP_LEVEL_BITS,		\
			.max_leaf	= _max_leaf,			\
			.lpa2		= _lpa2,			\
			.free_size	= !(_breaks),			\
			__VA_ARGS__					\
		},							\
	}

static const struct tdp_kunit_format tdp_kunit_formats[] = {
#if PAGE_SHIFT == 12
	TDP_KUNIT_STAGE2("4k-40-bit", 40, 3, 3, 44, false, true, .hw_af = true),
	TDP_KUNIT_STAGE2("4k-48-bit", 48, 4, 3, 48, false, true),
	TDP_KUNIT_STAGE2("4k-lpa2", 50, 4, 4, 52, true, true, .hw_af = true),
	TDP_KUNIT_STAGE2("4k-free-size", 39, 3, 3, 40, false, false),
#elif PAGE_SHIFT == 14
	TDP_KUNIT_STAGE2("16k-47-bit", 47, 3, 2, 48, false, true, .hw_af = true),
	TDP_KUNIT_STAGE2("16k-lpa2", 48, 3, 3, 52, true, true),
#elif PAGE_SHIFT == 16
	TDP_KUNIT_STAGE2("64k-47-bit", 47, 3, 2, 48, false, true),
	TDP_KUNIT_STAGE2("64k-lpa", 48, 3, 3, 52, false, true, .hw_af = true),
#endif
};

#endif /* __TDP_KUNIT_FORMATS_H */
