/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_DEPS_USER_H
#define __KVM_TDP_DEPS_USER_H

/*
 * What virt/kvm/mmu/tdp_deps.h takes from the kernel, for user space, and with
 * more checks: every pointer into a table that is dereferenced must be covered
 * by RCU and point to a table that was not freed, and a test can do what
 * hardware and other CPUs may do just before each store.
 */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef unsigned char u8;
typedef signed char s8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef u64 gfn_t;
typedef u64 kvm_pfn_t;

/* Of the host, for formats that care. */
#ifndef PAGE_SHIFT
#define PAGE_SHIFT		12
#endif
#define PAGE_SIZE		BIT(PAGE_SHIFT)

#define DIV_ROUND_UP(n, d)	(((n) + (d) - 1) / (d))
#define BIT(nr)			(1ul << (nr))
#define BIT_ULL(nr)		(1ull << (nr))
#define GENMASK_ULL(h, l)	(((2ull << (h)) - 1) & ~((1ull << (l)) - 1))

#define __must_check		__attribute__((__warn_unused_result__))
#define __rcu
#define __uninitialized
#define noinline	__attribute__((__noinline__))
#define __printf(fmt, args)	__attribute__((__format__(__printf__, fmt, args)))
#define __weak			__attribute__((__weak__))
#define fallthrough		__attribute__((__fallthrough__))
#define BUILD_BUG_ON(cond)	((void)sizeof(char[1 - 2 * !!(cond)]))
#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

#define min(a, b) ({				\
	typeof(a) __a = (a);			\
	typeof(b) __b = (b);			\
	__a < __b ? __a : __b; })

#define max(a, b) ({				\
	typeof(a) __a = (a);			\
	typeof(b) __b = (b);			\
	__a > __b ? __a : __b; })

#define max_t(type, a, b) ({			\
	type __a = (a);				\
	type __b = (b);				\
	__a > __b ? __a : __b; })

/*
 * What each thread has for itself, and how to add to what they share, where the
 * tasks are threads: see threads.c.
 */
#ifdef TDP_THREADS
#define TASK_LOCAL		__thread
#else
#define TASK_LOCAL
#endif

#define test_add(p, nr)		__atomic_add_fetch(p, nr, __ATOMIC_RELAXED)

/* Checks that the kernel's configuration can leave out are made here. */
#define CONFIG_KVM_PROVE_MMU	1
#define CONFIG_PREEMPT_RT	0
#define IS_ENABLED(CONFIG_option)	(CONFIG_option)
#define preempt_disable()		do { } while (0)
#define preempt_enable()		do { } while (0)

#include "sched.h"

/* A warning fails the test that runs, unless the test asked for it. */
bool test_warn(bool cond, const char *file, int line, const char *what);

#define WARN_ON_ONCE(cond)	test_warn(cond, __FILE__, __LINE__, #cond)

/* The accesses of entries. */
void test_deref(const void *entry);
void test_load(const void *entry);
void test_store(void *entry);

#define READ_ONCE(x) ({					\
	__auto_type __p = &(x);				\
	test_load(__p);					\
	shared_load(__p); })

#define WRITE_ONCE(x, val) do {				\
	typeof(x) *__p = &(x);				\
	test_store(__p);				\
	shared_store(__p, val);				\
} while (0)

#define smp_store_release(p, val) do {			\
	typeof(p) __p = (p);				\
	test_store(__p);				\
	shared_store_release(__p, val);			\
} while (0)

#define smp_load_acquire(p)	READ_ONCE(*(p))

#define xchg(ptr, val) ({				\
	typeof(ptr) __p = (ptr);			\
	test_store(__p);				\
	shared_xchg(__p, val); })

#define __try_cmpxchg(ptr, oldp, new, relaxed) ({	\
	typeof(ptr) __p = (ptr);			\
	test_store(__p);				\
	__shared_cmpxchg(__p, oldp, new, relaxed); })

#define try_cmpxchg(ptr, oldp, new) \
	__try_cmpxchg(ptr, oldp, new, false)
#define try_cmpxchg_relaxed(ptr, oldp, new) \
	__try_cmpxchg(ptr, oldp, new, true)

#define smp_mb()	sched_mb()
#define smp_wmb()	sched_wmb()
#define smp_rmb()	do { } while (0)
#define smp_mb__before_atomic()	sched_mb()
#define smp_mb__after_atomic()	sched_mb()

/* Counters that others decide by. */
typedef struct {
	int counter;
} atomic_t;

static inline void atomic_set(atomic_t *v, int i)
{
	__atomic_store_n(&v->counter, i, __ATOMIC_RELAXED);
}

static inline int atomic_read(const atomic_t *v)
{
	return __atomic_load_n(&v->counter, __ATOMIC_RELAXED);
}

static inline void atomic_inc(atomic_t *v)
{
	sched_point("atomic_inc", 0, 0);
	test_add(&v->counter, 1);
}

static inline void atomic_dec(atomic_t *v)
{
	sched_point("atomic_dec", 0, 0);
	test_add(&v->counter, -1);
}

static inline int atomic_read_acquire(const atomic_t *v)
{
	sched_point("atomic_read", 0, 0);
	return __atomic_load_n(&v->counter, __ATOMIC_ACQUIRE);
}

/* Whoever waits for someone else lets them run. */
#define cpu_relax()	sched_relax()

#define rcu_dereference(p) ({				\
	typeof(p) __p = (p);				\
	test_deref(__p);				\
	__p; })

/* RCU: a grace period is over when a test says so. */
struct rcu_head {
	struct rcu_head *next;
	void (*func)(struct rcu_head *head);
	unsigned int waits_for;
};

void rcu_read_lock(void);
void rcu_read_unlock(void);
void call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *head));
void test_grace_period(void);

/* The last change is kept for the tests to look at. */
struct tdp_pgtable;

void tdp_trace_pte_changed(const struct tdp_pgtable *pgt, gfn_t gfn, int level,
			   u64 old, u64 new);

/* Tables. */
enum test_page_state {
	PAGE_UNUSED,
	PAGE_TABLE,
	PAGE_FREED,
};

struct page {
	struct rcu_head rcu_head;
	unsigned long private;
	void *note;
	enum test_page_state state;
	int level;
	int accounted;
	unsigned int offset;	/* in a table of several pages */
	/* Who fills it, and how many barriers came before. */
	int filler;
	unsigned int filled;
};

void __free_page(struct page *page);
struct page *tdp_table_to_page(const void *table);
void *tdp_phys_to_table(u64 phys);
u64 tdp_table_to_phys(const void *table);
void tdp_account_table(void *table, int nr);

struct tdp_pgtable;

void tdp_maintain_unmapped(const struct tdp_pgtable *pgt, u64 pte, int level);

static inline struct page *tdp_removed_next(struct page *page)
{
	return (struct page *)page->private;
}

static inline void tdp_removed_set_next(struct page *page, struct page *next)
{
	page->private = (unsigned long)next;
}

static inline void *tdp_table_note(const struct page *page)
{
	return page->note;
}

static inline void tdp_table_set_note(struct page *page, void *note)
{
	page->note = note;
}

#endif /* __KVM_TDP_DEPS_USER_H */
