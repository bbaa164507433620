/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_MAP_H
#define __KVM_TDP_MAP_H

/*
 * What the TDP MMU should have made of an address space: a map that is kept by
 * the plainest of means, for operations that come one after the other.
 */
#include "vm.h"

/* What a leaf is, or a table. */
#define MAP_WRITE	0x01
#define MAP_EXEC	0x02
#define MAP_YOUNG	0x04
#define MAP_DIRTY	0x08
#define MAP_HOST	0x10	/* the primary MMU allows writes */
#define MAP_MMU		0x20	/* KVM does */
#define MAP_PINNED	0x40

/**
 * struct map_entry - an entry
 * @kind: what it is; never TDP_FROZEN
 * @bits: MAP_*
 * @order: of pinned tables that wait for their release, from 1
 */
struct map_entry {
	u8 kind;
	u8 bits;
	u32 order;
};

#define NR_MAPS	2

/* The part of the address spaces in which there are memslots. */
void map_create(gfn_t start, gfn_t end);
void map_reset(int as_id);
void map_check(int as_id);
void map_free(void);
struct map_entry *map_find(int as_id, gfn_t gfn, int *level);

int map_fault(int as_id, gfn_t gfn, unsigned int access, bool prefetch);
int map_fast_fault(int as_id, gfn_t gfn, unsigned int access);
int map_access(int as_id, gfn_t gfn, unsigned int access);
void map_adopt(int as_id, gfn_t gfn);
void map_zap(int as_id, gfn_t start, gfn_t end);
void map_log(const struct mem *mem, gfn_t gfn, unsigned long mask);
void map_log_slot(const struct mem *mem);
void map_split(const struct mem *mem, gfn_t start, gfn_t end, bool partly);
void map_recover(const struct mem *mem);
bool map_age(const struct mem *mem, gfn_t start, gfn_t end, bool change);
void map_track(const struct mem *mem, gfn_t gfn);
void map_release(unsigned int nr, bool yields);

#endif /* __KVM_TDP_MAP_H */
