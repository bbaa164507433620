/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_SCHED_H
#define __KVM_TDP_SCHED_H

/*
 * Tasks that run in turns.  They hand over at scheduling points and nowhere
 * else, so that a run is the sequence of choices made there, and can be
 * repeated.  Outside of sched_run() there is one task, number 0.
 *
 * Included by tdp_deps_user.h, whose types it uses.
 */

#ifdef TDP_THREADS
#define MAX_TASKS	10
#else
#define MAX_TASKS	5
#endif

/* The running task; the others are 1 to MAX_TASKS - 1. */
extern TASK_LOCAL int task;

/**
 * struct sched_task - what a task does
 * @name: for the table of a run that failed
 * @run: its body
 * @arg: handed to @run
 */
struct sched_task {
	const char *name;
	void (*run)(void *arg);
	void *arg;
};

void __sched_point(const char *what, unsigned long long a,
		   unsigned long long b);
extern bool sched_running;

/**
 * sched_point() - Let others go first
 * @what: what the task will do next, a printf format of two numbers
 * @a: the first
 * @b: the second
 */
static inline void sched_point(const char *what, unsigned long long a,
			       unsigned long long b)
{
	if (sched_running)
		__sched_point(what, a, b);
}

void sched_note(const char *fmt, ...) __printf(1, 2);
void sched_wait(bool (*ready)(const void *arg), const void *arg,
		const char *what);

void sched_relax(void);

void sched_explore(int max_preemptions, unsigned long max_runs);
void sched_run(const struct sched_task *tasks, int nr);
bool sched_next(void);
unsigned long sched_explored(void);
bool sched_cut_short(void);

/*
 * Stores that others see late.  In a run what a task stores, other than by an
 * atomic operation that is ordered, goes to a buffer, from which the task itself
 * reads.  Whether it has left it when somebody else runs is a choice, and so is
 * whether it leaves it meanwhile; barriers, ordered atomics and the releases of
 * locks empty it.  Loads are not delayed, nor done early.
 */
enum sched_memory {
	SCHED_SC,	/* all stores are seen at once */
	SCHED_TSO,	/* in order, but after later loads: x86 */
	SCHED_PSO,	/* and those to other addresses in any order */
};

extern unsigned int sched_buffered;

void sched_set_memory(enum sched_memory memory);
bool sched_reorders_stores(void);
void sched_store(void *addr, const void *val, size_t size, bool rmw);
void __sched_forward(const void *addr, void *val, size_t size);
void sched_settle(const void *addr);
void sched_mb(void);
void sched_wmb(void);
unsigned int sched_barriers(int of);
bool sched_stores_to(const void *start, size_t size);

/* What the architecture that is tested does, unless the model knows better. */
enum sched_memory model_memory(void);

#ifdef TDP_THREADS

/*
 * Where the tasks are threads it is for the sanitizer to say what is not
 * atomic.  It knows no address dependencies: so that what they order is not
 * reported, all loads are acquires, also those of what fails.
 */
#define shared_load(ptr)	__atomic_load_n(ptr, __ATOMIC_ACQUIRE)
#define shared_store(ptr, val)	__atomic_store_n(ptr, val, __ATOMIC_RELAXED)
#define shared_store_release(ptr, val) \
	__atomic_store_n(ptr, val, __ATOMIC_RELEASE)
#define shared_xchg(ptr, val)	__atomic_exchange_n(ptr, val, __ATOMIC_SEQ_CST)
#define __shared_cmpxchg(ptr, oldp, new, relaxed) \
	__atomic_compare_exchange_n(ptr, oldp, new, false,		\
				    relaxed ? __ATOMIC_ACQUIRE :	\
					      __ATOMIC_SEQ_CST,		\
				    __ATOMIC_ACQUIRE)

#else

#define shared_load(ptr) ({						\
	typeof(ptr) __at = (ptr);					\
	typeof(*__at) __is = __atomic_load_n(__at, __ATOMIC_RELAXED);	\
	if (sched_buffered)						\
		__sched_forward(__at, &__is, sizeof(__is));		\
	__is; })

#define __shared_store(ptr, val, rmw) do {				\
	typeof(ptr) __to = (ptr);					\
	typeof(*__to) __val = (val);					\
	if (sched_running)						\
		sched_store(__to, &__val, sizeof(__val), rmw);		\
	else								\
		__atomic_store_n(__to, __val, __ATOMIC_RELAXED);	\
} while (0)

#define shared_store(ptr, val)	__shared_store(ptr, val, false)

#define shared_store_release(ptr, val) do {				\
	sched_wmb();							\
	shared_store(ptr, val);						\
} while (0)

#define shared_xchg(ptr, val) ({					\
	typeof(ptr) __x = (ptr);					\
	sched_mb();							\
	sched_settle(__x);						\
	__atomic_exchange_n(__x, val, __ATOMIC_SEQ_CST); })

/* Only a success is ordered.  The store of a relaxed one can be seen late. */
#define __shared_cmpxchg(ptr, oldp, new, relaxed) ({			\
	typeof(ptr) __c = (ptr);					\
	typeof(oldp) __oldp = (oldp);					\
	typeof(*__c) __cur, __new = (new);				\
	sched_settle(__c);						\
	__cur = shared_load(__c);					\
	if (__cur != *__oldp) {						\
		;							\
	} else if (relaxed) {						\
		__shared_store(__c, __new, true);			\
	} else {							\
		sched_mb();						\
		__atomic_store_n(__c, __new, __ATOMIC_SEQ_CST);		\
	}								\
	__cur == *__oldp || (*__oldp = __cur, false); })

#endif

/* After a failure: the choices as text, and to make them again and show it. */
void sched_fail(void);
bool sched_exploring(void);
void sched_print_path(void);
void sched_show(const char *choices);
void sched_hide(void);
void sched_reset(void);

#endif /* __KVM_TDP_SCHED_H */
