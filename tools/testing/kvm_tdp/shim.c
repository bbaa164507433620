// SPDX-License-Identifier: GPL-2.0-only
/*
 * Locks, reference counts and RCU, which know who uses them.
 */
#include "test.h"
#include "shim.h"

/* More entries than any one operation of a test goes over. */
#define MAX_YIELDS	(4u << 20)

/*
 * Stores can be late until a lock is given back, and beyond where one is taken;
 * entering and leaving an RCU read-side critical section orders nothing.
 */

static int rcu_depth[MAX_TASKS];
static struct rcu_head *rcu_queue, **rcu_tail = &rcu_queue;

bool test_resched, test_contended;
TASK_LOCAL unsigned int nr_yields, test_may_not_yield;
void (*yield_hook)(void);

static unsigned int me(void)
{
	return 1u << task;
}

static bool may_read(const void *arg)
{
	const rwlock_t *lock = arg;

	return !lock->writer && !lock->writers_wait;
}

static bool may_write(const void *arg)
{
	const rwlock_t *lock = arg;

	return !lock->writer && !lock->readers;
}

void read_lock(rwlock_t *lock)
{
	CHECK(!rcu_read_lock_held(), "%s taken under RCU", lock->name);
	sched_point("read_lock", 0, 0);
	CHECK(!((lock->readers | lock->writer) & me()));
	lock->waiters |= me();
	sched_wait(may_read, lock, "readers");
	lock->waiters &= ~me();
	lock->readers |= me();
}

void read_unlock(rwlock_t *lock)
{
	sched_point("read_unlock", 0, 0);
	sched_mb();
	CHECK(lock->readers & me());
	lock->readers &= ~me();
}

void write_lock(rwlock_t *lock)
{
	CHECK(!rcu_read_lock_held(), "%s taken under RCU", lock->name);
	sched_point("write_lock", 0, 0);
	CHECK(!((lock->readers | lock->writer) & me()));
	lock->waiters |= me();
	lock->writers_wait |= me();
	sched_wait(may_write, lock, "a writer");
	lock->waiters &= ~me();
	lock->writers_wait &= ~me();
	lock->writer = me();
}

void write_unlock(rwlock_t *lock)
{
	sched_point("write_unlock", 0, 0);
	sched_mb();
	CHECK(lock->writer == me());
	lock->writer = 0;
}

bool rwlock_is_contended(rwlock_t *lock)
{
	return lock->waiters || test_resched || test_contended;
}

static bool is_zero(const void *arg)
{
	return !*(const unsigned int *)arg;
}

void spin_lock_init(spinlock_t *lock)
{
	lock->owner = 0;
}

void spin_lock(spinlock_t *lock)
{
	sched_point("spin_lock", 0, 0);
	CHECK(lock->owner != me());
	sched_wait(is_zero, &lock->owner, "spinlock");
	lock->owner = me();
}

void spin_unlock(spinlock_t *lock)
{
	sched_point("spin_unlock", 0, 0);
	sched_mb();
	CHECK(lock->owner == me());
	lock->owner = 0;
}

void mutex_lock(struct mutex *lock)
{
	sched_point("mutex_lock", 0, 0);
	CHECK(lock->owner != me() && !rcu_read_lock_held());
	sched_wait(is_zero, &lock->owner, "mutex");
	lock->owner = me();
}

void mutex_unlock(struct mutex *lock)
{
	sched_mb();
	CHECK(lock->owner == me());
	lock->owner = 0;
}

static bool is_left(const void *arg)
{
	const struct gate *gate = arg;

	return !gate->in;
}

static bool is_over(const void *arg)
{
	const struct gate *gate = arg;

	return !gate->waits_for;
}

void gate_enter(struct gate *gate)
{
	sched_mb();
	gate->in |= me();
}

void gate_leave(struct gate *gate)
{
	sched_mb();
	gate->in &= ~me();
	gate->waits_for &= ~me();
}

void gate_synchronize(struct gate *gate)
{
	sched_mb();
	gate->waits_for = gate->in;
	sched_wait(is_over, gate, "those who are in");
}

/* Nobody enters it before the next scheduling point. */
void gate_shut(struct gate *gate)
{
	sched_wait(is_left, gate, "those who are in");
}

void gate_open(struct gate *gate)
{
}

void test_assert_held(bool held, const char *file, int line, const char *what)
{
	if (!held)
		test_warn(true, file, line, what);
}

int test_refcount_add(refcount_t *r, int nr)
{
	sched_point(nr > 0 ? "refcount_inc" : "refcount_dec", 0, 0);
	CHECK(r->refs > 0, "a reference to what had none");
	r->refs += nr;
	return r->refs;
}

struct list_head *test_rcu_next(struct list_head **next)
{
	CHECK(rcu_read_lock_held());
	sched_point("next in list", 0, 0);
	return *next;
}

bool need_resched(void)
{
	return test_resched;
}

bool cond_resched(void)
{
	CHECK(!rcu_read_lock_held());
	CHECK(!(test_may_not_yield & me()), "must not yield");
	CHECK(++nr_yields < MAX_YIELDS, "yields without an end");
	sched_point("cond_resched", 0, 0);
	if (yield_hook)
		yield_hook();
	return test_resched;
}

/*
 * RCU.  Between runs of the scheduler a grace period is over when the test says
 * so.  In a run it is over as soon as it can be, which is when it does the
 * most harm: when those are gone who were readers when it began.
 */

bool rcu_read_lock_held(void)
{
	return rcu_depth[task];
}

void rcu_read_lock(void)
{
	sched_point("rcu_read_lock", 0, 0);
	rcu_depth[task]++;
}

static void rcu_call(struct rcu_head **link)
{
	struct rcu_head *head = *link;
	unsigned int freed = nr_freed;

	*link = head->next;
	if (rcu_tail == &head->next)
		rcu_tail = link;
	head->func(head);
	CHECK(nr_freed - freed <= MAX_BATCH, "%u pages in a callback",
	      nr_freed - freed);
}

void rcu_read_unlock(void)
{
	struct rcu_head **link;

	sched_point("rcu_read_unlock", 0, 0);
	CHECK(rcu_depth[task]-- > 0);
	if (!sched_running || rcu_depth[task])
		return;

	for (link = &rcu_queue; *link;) {
		/* What a reader stored is seen when the grace period ends. */
		if ((*link)->waits_for & me())
			sched_mb();
		(*link)->waits_for &= ~me();
		if ((*link)->waits_for)
			link = &(*link)->next;
		else
			rcu_call(link);
	}
}

static unsigned int rcu_readers(void)
{
	unsigned int i, readers = 0;

	for (i = 0; i < MAX_TASKS; i++)
		readers |= !!rcu_depth[i] << i;
	return readers;
}

void call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *head))
{
	CHECK(!head->func, "already waits for a grace period");
	sched_mb();
	head->next = NULL;
	head->func = func;
	head->waits_for = rcu_readers();
	*rcu_tail = head;
	rcu_tail = &head->next;
}

void test_grace_period(void)
{
	CHECK(!rcu_readers(), "a reader waits for itself");
	while (rcu_queue)
		rcu_call(&rcu_queue);
}

void rcu_barrier(void)
{
	test_grace_period();
}

/* Nothing is freed while the running task looks at it. */
void test_protect_tables(void)
{
}

void test_unprotect_tables(void)
{
}

bool test_rcu_idle(void)
{
	return !rcu_readers() && !rcu_queue;
}

void shim_reset(void)
{
	memset(rcu_depth, 0, sizeof(rcu_depth));
	rcu_queue = NULL;
	rcu_tail = &rcu_queue;
	test_resched = false;
	test_contended = false;
	test_may_not_yield = 0;
	yield_hook = NULL;
}
