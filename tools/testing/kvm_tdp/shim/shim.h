/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_SHIM_H
#define __KVM_TDP_SHIM_H

/*
 * What the TDP MMU, beyond its page-table library, takes from the kernel apart
 * from KVM itself.  The tests run as tasks that hand over at known points (see
 * sched.h), so nothing here needs to be atomic: it is in one piece between two
 * points.  It is all the same, for the tests that run in threads.
 */
#include <errno.h>

#include "tdp_deps_user.h"

#define BITS_PER_LONG		64
#define GENMASK(h, l)		((~0ul << (l)) & (~0ul >> (63 - (h))))

#define __acquires(x)
#define __releases(x)
#define __must_hold(x)
#define __force

#define WARN_ON(cond)		WARN_ON_ONCE(cond)

static inline unsigned long __ffs(unsigned long word)
{
	return __builtin_ctzl(word);
}

static inline unsigned long __fls(unsigned long word)
{
	return 63 - __builtin_clzl(word);
}

typedef struct {
	long long counter;
} atomic64_t;

static inline void atomic64_set(atomic64_t *v, long long i)
{
	__atomic_store_n(&v->counter, i, __ATOMIC_RELAXED);
}

static inline long long atomic64_read(const atomic64_t *v)
{
	return __atomic_load_n(&v->counter, __ATOMIC_RELAXED);
}

static inline void atomic64_add(long long i, atomic64_t *v)
{
	test_add(&v->counter, i);
}

/* Reference counts; they neither come back from 0 nor drop below it. */
typedef struct {
	int refs;
} refcount_t;

int test_refcount_add(refcount_t *r, int nr);

static inline void refcount_set(refcount_t *r, int n)
{
	__atomic_store_n(&r->refs, n, __ATOMIC_RELAXED);
}

static inline int refcount_read(const refcount_t *r)
{
	return __atomic_load_n(&r->refs, __ATOMIC_RELAXED);
}

static inline void refcount_inc(refcount_t *r)
{
	test_refcount_add(r, 1);
}

static inline bool __must_check refcount_inc_not_zero(refcount_t *r)
{
	int refs;

	sched_point("refcount_inc_not_zero", 0, 0);
	refs = refcount_read(r);
	while (refs) {
		if (__atomic_compare_exchange_n(&r->refs, &refs, refs + 1,
						false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return true;
	}
	return false;
}

static inline bool __must_check refcount_dec_and_test(refcount_t *r)
{
	sched_mb();
	return !test_refcount_add(r, -1);
}

/* Lists; those of RCU keep the way out of what was removed. */
struct list_head {
	struct list_head *next, *prev;
};

static inline void INIT_LIST_HEAD(struct list_head *list)
{
	list->next = list;
	list->prev = list;
}

static inline bool list_empty(const struct list_head *list)
{
	return list->next == list;
}

/* What is added is seen after what it is. */
static inline void list_add_rcu(struct list_head *new, struct list_head *head)
{
	sched_point("list_add", 0, 0);
	sched_mb();
	new->next = head->next;
	new->prev = head;
	head->next->prev = new;
	__atomic_store_n(&head->next, new, __ATOMIC_RELEASE);
}

static inline void list_del_rcu(struct list_head *entry)
{
	sched_point("list_del", 0, 0);
	entry->next->prev = entry->prev;
	__atomic_store_n(&entry->prev->next, entry->next, __ATOMIC_RELAXED);
	entry->prev = NULL;
}

#define list_entry(ptr, type, member)	container_of(ptr, type, member)
#define list_next_entry(pos, member) \
	list_entry((pos)->member.next, typeof(*(pos)), member)

#define list_for_each_entry(pos, head, member)				\
	for (pos = list_entry((head)->next, typeof(*pos), member);	\
	     &pos->member != (head);					\
	     pos = list_next_entry(pos, member))

/* Asserts that who walks the list is a reader, and lets others change it. */
struct list_head *test_rcu_next(struct list_head **next);

/* To look where it leads, and go there not. */
#define list_next_rcu(list)	((list)->next)
#define rcu_access_pointer(ptr) \
	({ sched_point("look at pointer", 0, 0); __atomic_load_n(&(ptr), __ATOMIC_RELAXED); })

#define list_entry_rcu(ptr, type, member) \
	list_entry(test_rcu_next(&(ptr)), type, member)

#define list_for_each_entry_from_rcu(pos, head, member)			\
	for (; &pos->member != (head);					\
	     pos = list_entry_rcu(pos->member.next, typeof(*pos), member))

#define list_for_each_entry_rcu(pos, head, member)			\
	for (pos = list_entry_rcu((head)->next, typeof(*pos), member);	\
	     &pos->member != (head);					\
	     pos = list_entry_rcu(pos->member.next, typeof(*pos), member))

/*
 * Locks know who holds them.  As the kernel's, an rwlock lets no new reader in
 * while a writer waits.
 */
#ifdef TDP_THREADS

#include <pthread.h>

typedef struct {
	const char *name;
	pthread_rwlock_t lock;
	unsigned int waiters;
	unsigned int writers_wait;
	bool readers[MAX_TASKS];
	bool writer[MAX_TASKS];
} rwlock_t;

struct mutex {
	pthread_mutex_t lock;
	bool owner[MAX_TASKS];
};

typedef struct mutex spinlock_t;

#define __held_by_me(who)	((who)[task])

#else

typedef struct {
	const char *name;
	unsigned int readers;	/* tasks, by bit */
	unsigned int waiters;
	unsigned int writers_wait;
	unsigned int writer;
} rwlock_t;

typedef struct {
	unsigned int owner;
} spinlock_t;

struct mutex {
	unsigned int owner;
};

#define __held_by_me(who)	(!!((who) & BIT(task)))

#endif

void read_lock(rwlock_t *lock);
void read_unlock(rwlock_t *lock);
void write_lock(rwlock_t *lock);
void write_unlock(rwlock_t *lock);
bool rwlock_is_contended(rwlock_t *lock);
void spin_lock_init(spinlock_t *lock);
void spin_lock(spinlock_t *lock);
void spin_unlock(spinlock_t *lock);
void mutex_lock(struct mutex *lock);
void mutex_unlock(struct mutex *lock);

void test_assert_held(bool held, const char *file, int line, const char *what);

#define __lockdep_assert(held, what) \
	test_assert_held(held, __FILE__, __LINE__, what)

#define lockdep_assert_held_read(lock) \
	__lockdep_assert(__held_by_me((lock)->readers), #lock " held for read")
#define lockdep_assert_held_write(lock) \
	__lockdep_assert(__held_by_me((lock)->writer), #lock " held for write")
#define lockdep_assert_not_held(lock) \
	__lockdep_assert(!test_rwlock_held(lock), #lock " not held")
#define lockdep_assert_held(lock) \
	__lockdep_assert(_Generic((lock),				\
		rwlock_t *: test_rwlock_held,				\
		struct mutex *: test_mutex_held)(lock), #lock " held")

static inline bool test_rwlock_held(const rwlock_t *lock)
{
	return __held_by_me(lock->readers) || __held_by_me(lock->writer);
}

static inline bool test_mutex_held(const struct mutex *lock)
{
	return __held_by_me(lock->owner);
}

/*
 * What somebody is in, as an SRCU read-side critical section, and somebody else
 * waits for.  A synchronization lets new ones in, a shut gate does not.
 */
struct gate {
#ifdef TDP_THREADS
	pthread_rwlock_t lock;
	unsigned long sections[MAX_TASKS];
#else
	unsigned int in;	/* tasks, by bit */
	unsigned int waits_for;
#endif
};

void gate_enter(struct gate *gate);
void gate_leave(struct gate *gate);
void gate_synchronize(struct gate *gate);
void gate_shut(struct gate *gate);
void gate_open(struct gate *gate);

/* RCU, beside what tdp_deps_user.h has. */
bool rcu_read_lock_held(void);
void rcu_barrier(void);

#define RCU_LOCKDEP_WARN(cond, what)	WARN_ON_ONCE(cond)

/* Under the tests' control. */
bool need_resched(void);
bool cond_resched(void);

#endif /* __KVM_TDP_SHIM_H */
