// SPDX-License-Identifier: GPL-2.0-only
/*
 * In place of sched.c and shim.c: tasks that are threads, and locks, reference
 * counts and RCU that they can use at the same time.  For ThreadSanitizer, which
 * knows what pthread locks and atomics order; nothing else here orders anything.
 */
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "test.h"
#include "shim.h"

TASK_LOCAL int task;
bool sched_running, test_resched, test_contended;
TASK_LOCAL unsigned int nr_yields, test_may_not_yield;
unsigned int sched_buffered;
void (*yield_hook)(void);

const char *__tsan_default_options(void);

const char *__tsan_default_options(void)
{
	return "halt_on_error=1:exitcode=66:second_deadlock_stack=1";
}

/* One step in some the other threads of this CPU go first. */
static void give_way(void)
{
	if (!rnd(16))
		sched_yield();
}

/* Locks. */

void read_lock(rwlock_t *lock)
{
	CHECK(!rcu_read_lock_held(), "%s taken under RCU", lock->name);
	CHECK(!test_rwlock_held(lock));
	give_way();
	test_add(&lock->waiters, 1);
	while (__atomic_load_n(&lock->writers_wait, __ATOMIC_RELAXED))
		sched_yield();
	pthread_rwlock_rdlock(&lock->lock);
	test_add(&lock->waiters, -1);
	lock->readers[task] = true;
}

void read_unlock(rwlock_t *lock)
{
	CHECK(lock->readers[task]);
	lock->readers[task] = false;
	pthread_rwlock_unlock(&lock->lock);
	give_way();
}

void write_lock(rwlock_t *lock)
{
	CHECK(!rcu_read_lock_held(), "%s taken under RCU", lock->name);
	CHECK(!test_rwlock_held(lock));
	give_way();
	test_add(&lock->waiters, 1);
	test_add(&lock->writers_wait, 1);
	pthread_rwlock_wrlock(&lock->lock);
	test_add(&lock->writers_wait, -1);
	test_add(&lock->waiters, -1);
	lock->writer[task] = true;
}

void write_unlock(rwlock_t *lock)
{
	CHECK(lock->writer[task]);
	lock->writer[task] = false;
	pthread_rwlock_unlock(&lock->lock);
	give_way();
}

bool rwlock_is_contended(rwlock_t *lock)
{
	return __atomic_load_n(&lock->waiters, __ATOMIC_RELAXED);
}

void mutex_lock(struct mutex *lock)
{
	CHECK(!lock->owner[task]);
	pthread_mutex_lock(&lock->lock);
	lock->owner[task] = true;
}

void mutex_unlock(struct mutex *lock)
{
	CHECK(lock->owner[task]);
	lock->owner[task] = false;
	pthread_mutex_unlock(&lock->lock);
}

void spin_lock_init(spinlock_t *lock)
{
	pthread_mutex_init(&lock->lock, NULL);
}

void spin_lock(spinlock_t *lock)
{
	mutex_lock(lock);
}

void spin_unlock(spinlock_t *lock)
{
	mutex_unlock(lock);
}

void test_assert_held(bool held, const char *file, int line, const char *what)
{
	if (!held)
		test_warn(true, file, line, what);
}

int test_refcount_add(refcount_t *r, int nr)
{
	int refs = __atomic_fetch_add(&r->refs, nr, nr > 0 ? __ATOMIC_RELAXED :
						    __ATOMIC_ACQ_REL);

	CHECK(refs > 0, "a reference to what had none");
	return refs + nr;
}

struct list_head *test_rcu_next(struct list_head **next)
{
	CHECK(rcu_read_lock_held());
	return __atomic_load_n(next, __ATOMIC_ACQUIRE);
}

/* As often as not the scheduler asks in a walk of a few entries. */
bool need_resched(void)
{
	return !rnd(8);
}

bool cond_resched(void)
{
	CHECK(!rcu_read_lock_held());
	CHECK(!test_may_not_yield, "must not yield");
	give_way();
	return false;
}

/*
 * Read-side critical sections: odd while the thread is in one.  Who waits for
 * the number to change has seen all that the thread did there.
 */
static void enter(unsigned long *section)
{
	__atomic_exchange_n(section, *section + 1, __ATOMIC_SEQ_CST);
}

static void leave(unsigned long *section)
{
	__atomic_store_n(section, *section + 1, __ATOMIC_RELEASE);
}

static void synchronize(unsigned long *sections)
{
	int t;

	for (t = 0; t < MAX_TASKS; t++) {
		unsigned long was = __atomic_load_n(&sections[t],
						    __ATOMIC_SEQ_CST);

		while (was % 2 && __atomic_load_n(&sections[t],
						  __ATOMIC_ACQUIRE) == was)
			sched_yield();
	}
}

void gate_enter(struct gate *gate)
{
	pthread_rwlock_rdlock(&gate->lock);
	enter(&gate->sections[task]);
	pthread_rwlock_unlock(&gate->lock);
}

void gate_leave(struct gate *gate)
{
	leave(&gate->sections[task]);
}

void gate_synchronize(struct gate *gate)
{
	synchronize(gate->sections);
}

void gate_shut(struct gate *gate)
{
	pthread_rwlock_wrlock(&gate->lock);
	synchronize(gate->sections);
}

void gate_open(struct gate *gate)
{
	pthread_rwlock_unlock(&gate->lock);
}

/* RCU. */
static unsigned long rcu_sections[MAX_TASKS];
static TASK_LOCAL int rcu_depth;
static struct rcu_head *rcu_queue;

bool rcu_read_lock_held(void)
{
	return rcu_depth;
}

void rcu_read_lock(void)
{
	if (!rcu_depth++)
		enter(&rcu_sections[task]);
	give_way();
}

void rcu_read_unlock(void)
{
	CHECK(rcu_depth > 0);
	if (!--rcu_depth)
		leave(&rcu_sections[task]);
}

/* Those who queue something learn nothing of each other. */
void call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *head))
{
	CHECK(!head->func, "already waits for a grace period");
	head->func = func;
	head->next = __atomic_load_n(&rcu_queue, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&rcu_queue, &head->next, head,
					    false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
}

/* By one thread at a time. */
void test_grace_period(void)
{
	struct rcu_head *head, *next;

	head = __atomic_exchange_n(&rcu_queue, NULL, __ATOMIC_ACQUIRE);
	if (!head)
		return;
	synchronize(rcu_sections);
	for (; head; head = next) {
		next = head->next;
		head->func(head);
	}
}

void rcu_barrier(void)
{
	test_grace_period();
}

void test_protect_tables(void)
{
	rcu_read_lock();
}

void test_unprotect_tables(void)
{
	rcu_read_unlock();
}

bool test_rcu_idle(void)
{
	int t;

	for (t = 0; t < MAX_TASKS; t++) {
		if (rcu_sections[t] % 2)
			return false;
	}
	return !rcu_queue;
}

void shim_reset(void)
{
}

/* The scheduler: the kernel's. */

void __sched_point(const char *what, unsigned long long a, unsigned long long b)
{
}

void sched_note(const char *fmt, ...)
{
}

void sched_relax(void)
{
	sched_yield();
}

void sched_mb(void)
{
}

void sched_wmb(void)
{
}

unsigned int sched_barriers(int of)
{
	return 0;
}

bool sched_reorders_stores(void)
{
	return false;
}

bool sched_stores_to(const void *start, size_t size)
{
	return false;
}

/* There is no way back from here. */
void sched_fail(void)
{
	printf("    # in thread %d\n", task);
	fflush(stdout);
	_exit(1);
}

bool sched_exploring(void)
{
	return false;
}

void sched_print_path(void)
{
}

void sched_show(const char *choices)
{
}

void sched_hide(void)
{
}

void sched_reset(void)
{
	task = 0;
}
