// SPDX-License-Identifier: GPL-2.0-only
/*
 * The scheduler: tasks, and the search through their schedules.
 *
 * The search is stateless: a run is repeated from its beginning with the
 * choices of the run before, up to the last that has an alternative left.
 * Preemptions, i.e. choices of another task while the running one could go on,
 * are bounded: most bugs need one or two of them.  So is how often stores are
 * late when a task hands over.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <ucontext.h>

#include "test.h"
#include "sched.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define __sanitizer_start_switch_fiber(fake, bottom, size) \
	((void)(fake), (void)(bottom), (void)(size))
#define __sanitizer_finish_switch_fiber(fake, bottom, size) \
	((void)(fake), (void)(bottom), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(addr, size)	((void)(addr), (void)(size))
#endif

#define STACK_BYTES	(256u << 10)
/* What takes more steps than this never ends. */
#define MAX_STEPS	200000
#define COLUMN		40

struct context {
	ucontext_t ctx;
	const struct sched_task *what;
	bool (*ready)(const void *arg);
	const void *arg;
	const void *stack;
	void *fake;
	size_t size;
	bool done;
};

int task;
bool sched_running;

static struct context contexts[MAX_TASKS];
static char *stacks;
static int nr_tasks;

/* The choices that were made, and among how many, where there were several. */
static struct {
	unsigned char taken;
	unsigned char nr;
} path[MAX_STEPS];

/* The choices to make when a run is shown. */
static unsigned char wanted[MAX_STEPS];

static unsigned int path_len, depth, steps;
static int bound, shown_bound, preemptions;
static unsigned long limit, explored;
static bool at_random, exploring, failed, showing;

/* Stores that have not left a task's buffer, in the order of the program. */
#define MAX_BUFFERED	16
/* Of how many, the last ones, each may be late. */
#define MAX_LATE	4

struct buffered {
	unsigned char *addr;
	u64 val;
	size_t size;
	unsigned int barriers;	/* how many came before it */
	bool rmw;		/* by an atomic operation, that is not ordered */
};

static struct buffer {
	struct buffered stores[MAX_BUFFERED];
	int nr;
	unsigned int barriers;
} buffers[MAX_TASKS];

static enum sched_memory memory;
static int delays;
unsigned int sched_buffered;

static int came_from;

enum sched_memory __weak model_memory(void)
{
	return SCHED_PSO;
}

void sched_set_memory(enum sched_memory how)
{
	memory = how;
}

bool sched_reorders_stores(void)
{
	return sched_running && memory == SCHED_PSO;
}

static bool must_follow(const struct buffered *later,
			const struct buffered *earlier)
{
	return memory == SCHED_TSO || later->barriers != earlier->barriers ||
	       (later->addr < earlier->addr + earlier->size &&
		earlier->addr < later->addr + later->size);
}

/* All stores of a task are seen now, but for some and what must follow them. */
static void land(int t, unsigned int late)
{
	struct buffer *b = &buffers[t];
	int i, j, kept = 0;

	for (i = 0; i < b->nr; i++) {
		struct buffered *store = &b->stores[i];
		bool keep = late & (1u << i);

		for (j = 0; j < kept; j++)
			keep |= must_follow(store, &b->stores[j]);
		if (keep) {
			sched_note("  seen later: %llx", store->val);
			b->stores[kept++] = *store;
		} else {
			memcpy(store->addr, &store->val, store->size);
		}
	}
	sched_buffered -= b->nr - kept;
	b->nr = kept;
}

/* In how many ways can the running task's stores be late? */
static int ways_to_be_late(void)
{
	int nr = min(buffers[task].nr, MAX_LATE);

	if (!nr || (bound >= 0 && delays >= max(bound, 1)))
		return 0;
	return memory == SCHED_TSO ? nr : 2 * nr - 1;
}

/*
 * The last ones from some on, or one of them.  The first way, which is the last
 * one alone, is the same in both.
 */
static void land_one_way(int way)
{
	int nr = buffers[task].nr, some = min(nr, MAX_LATE);
	unsigned int late = 0;

	if (way > some)
		late = 1u << (nr - 1 - (way - some));
	else if (way)
		late = (1u << nr) - (1u << (nr - way));
	delays += !!way;
	land(task, late);
}

void sched_store(void *addr, const void *val, size_t size, bool rmw)
{
	struct buffer *b = &buffers[task];
	struct buffered *store;

	CHECK(size <= sizeof(store->val));
	/* Also those of relaxed atomics of others, which came before. */
	if (rmw)
		sched_settle(addr);
	if (memory == SCHED_SC || b->nr == MAX_BUFFERED)
		land(task, 0);
	store = &b->stores[b->nr++];
	*store = (struct buffered) {
		.addr = addr,
		.size = size,
		.barriers = b->barriers,
		.rmw = rmw,
	};
	memcpy(&store->val, val, size);
	sched_buffered++;
	if (memory == SCHED_SC)
		land(task, 0);
}

/* A task sees its own stores. */
void __sched_forward(const void *addr, void *val, size_t size)
{
	struct buffer *b = &buffers[task];
	int i;

	for (i = 0; i < b->nr; i++) {
		if (b->stores[i].addr == addr)
			memcpy(val, &b->stores[i].val, size);
	}
}

/* An atomic operation goes to memory, and comes after those that were there. */
void sched_settle(const void *addr)
{
	int t, i;

	for (t = 0; sched_buffered && t < MAX_TASKS; t++) {
		for (i = 0; i < buffers[t].nr; i++) {
			if (buffers[t].stores[i].addr == addr &&
			    (t == task || buffers[t].stores[i].rmw)) {
				land(t, 0);
				break;
			}
		}
	}
}

void sched_mb(void)
{
	if (!sched_running)
		return;
	buffers[task].barriers++;
	land(task, 0);
}

void sched_wmb(void)
{
	buffers[task].barriers++;
}

unsigned int sched_barriers(int of)
{
	return buffers[of].barriers;
}

bool sched_stores_to(const void *start, size_t size)
{
	int t, i;

	for (t = 0; sched_buffered && t < MAX_TASKS; t++) {
		for (i = 0; i < buffers[t].nr; i++) {
			const unsigned char *addr = buffers[t].stores[i].addr;

			if (addr - (const unsigned char *)start < size)
				return true;
		}
	}
	return false;
}

static void empty_buffers(void)
{
	memset(buffers, 0, sizeof(buffers));
	sched_buffered = 0;
	delays = 0;
}

/* Where a task goes on: whoever was there before has left its stack. */
static void arrive(void *fake)
{
	struct context *from = &contexts[came_from];

	__sanitizer_finish_switch_fiber(fake, &from->stack, &from->size);
}

static void enter(int to)
{
	struct context *self = &contexts[task], *c = &contexts[to];

	came_from = task;
	task = to;
	__sanitizer_start_switch_fiber(&self->fake, c->stack, c->size);
	swapcontext(&self->ctx, &c->ctx);
	arrive(self->fake);
}

/* Which tasks can go on?  In order, the running one first. */
static int runnable(unsigned char *out)
{
	int i, nr = 0;

	for (i = 0; i < nr_tasks; i++) {
		int t = (task ? task - 1 + i : i) % nr_tasks + 1;
		struct context *c = &contexts[t];

		if (!c->done && (!c->ready || c->ready(c->arg)))
			out[nr++] = t;
	}
	return nr;
}

static unsigned int choose(unsigned int nr)
{
	if (nr < 2)
		return 0;
	CHECK(depth < MAX_STEPS);
	if (depth == path_len) {
		path[path_len].nr = nr;
		path[path_len].taken = showing ? wanted[path_len] : 0;
		if (at_random && !showing && !rnd(3))
			path[path_len].taken = rnd(nr);
		path_len++;
	}
	/* A run must depend on nothing but its choices. */
	CHECK(path[depth].nr == nr, "choice %u: %u instead of %u", depth, nr,
	      path[depth].nr);
	return path[depth++].taken;
}

/* Somebody else's stores, which are late, are seen now. */
static void land_others(int which)
{
	int t;

	for (t = 1; t <= nr_tasks; t++) {
		if (t != task && buffers[t].nr && !which--) {
			sched_note("  now CPU%d's stores are seen", t - 1);
			land(t, 0);
		}
	}
}

static int others_late(void)
{
	int t, nr = 0;

	for (t = 1; sched_buffered && t <= nr_tasks; t++)
		nr += t != task && buffers[t].nr;
	return nr;
}

/*
 * Hand over, if that is what is chosen.  The first choices are what there is
 * without buffers.
 */
static void reschedule(bool can_go_on)
{
	int nr, chosen, others, ways;
	unsigned char tasks[MAX_TASKS];

	if (can_go_on && bound >= 0 && preemptions >= bound)
		return;
	nr = runnable(tasks);
	CHECK(nr, "deadlock");
	others = nr - can_go_on;
	ways = others ? ways_to_be_late() : 0;
	chosen = choose(nr + others * ways + (can_go_on ? others_late() : 0));
	preemptions += can_go_on && chosen;
	if (chosen >= nr + others * ways) {
		land_others(chosen - nr - others * ways);
		return;
	}
	if (chosen < nr) {
		if (tasks[chosen] == task)
			return;
		land_one_way(0);
	} else {
		chosen -= nr;
		land_one_way(1 + chosen / others);
		chosen = chosen % others + can_go_on;
	}
	enter(tasks[chosen]);
}

void sched_note(const char *fmt, ...)
{
	char line[128];
	va_list args;

	if (!showing)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (task)
		printf("    # %*s%s\n", (task - 1) * COLUMN, "", line);
	else
		printf("    # (all) %s\n", line);
}

void __sched_point(const char *what, unsigned long long a, unsigned long long b)
{
	CHECK(++steps < MAX_STEPS, "no end in sight");
	reschedule(true);
	if (showing) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
		char line[128];

		snprintf(line, sizeof(line), what, a, b);
#pragma GCC diagnostic pop
		sched_note("%s", line);
	}
}

void sched_wait(bool (*ready)(const void *arg), const void *arg,
		const char *what)
{
	struct context *c = &contexts[task];

	if (ready(arg))
		return;
	CHECK(sched_running, "waits for itself: %s", what);
	sched_note("  waits: %s", what);
	c->ready = ready;
	c->arg = arg;
	reschedule(false);
	c->ready = NULL;
}

/**
 * sched_relax() - Let others go on, if there are any
 *
 * That is no preemption, as the task can do nothing else, unless somebody has to
 * wait for longer than his turn.
 */
void sched_relax(void)
{
	unsigned char tasks[MAX_TASKS];
	int nr, next = 1;

	if (!sched_running)
		return;
	nr = runnable(tasks);
	if (nr < 2)
		return;
	if (bound < 0 || preemptions < bound)
		next += choose(nr - 1);
	preemptions += next > 1;
	land_one_way(0);
	enter(tasks[next]);
}

static void start(void)
{
	struct context *c = &contexts[task];
	unsigned char tasks[MAX_TASKS];
	int nr;

	arrive(NULL);
	c->what->run(c->what->arg);
	c->done = true;

	nr = runnable(tasks);
	if (nr) {
		int chosen = choose(nr * (1 + ways_to_be_late()));

		land_one_way(chosen / nr);
		enter(tasks[chosen % nr]);
	} else {
		int i;

		for (i = 1; i <= nr_tasks; i++)
			land(i, 0);

		for (i = 1; i <= nr_tasks; i++)
			CHECK(contexts[i].done, "deadlock");
		enter(0);
	}
}

/**
 * sched_run() - Run some tasks until all are done
 * @tasks: the tasks
 * @nr: how many
 */
void sched_run(const struct sched_task *tasks, int nr)
{
	unsigned char first[MAX_TASKS];
	int i;

	if (!stacks)
		stacks = malloc(MAX_TASKS * STACK_BYTES);
	CHECK(stacks && nr < MAX_TASKS);
	nr_tasks = nr;
	for (i = 1; i <= nr; i++) {
		struct context *c = &contexts[i];

		memset(c, 0, offsetof(struct context, done));
		c->done = false;
		c->what = &tasks[i - 1];
		c->stack = stacks + (i - 1) * STACK_BYTES;
		c->size = STACK_BYTES;
		/* A run that failed left its marks there. */
		ASAN_UNPOISON_MEMORY_REGION(c->stack, c->size);
		getcontext(&c->ctx);
		c->ctx.uc_stack.ss_sp = (void *)c->stack;
		c->ctx.uc_stack.ss_size = c->size;
		makecontext(&c->ctx, start, 0);
		if (showing)
			printf("    # %*sCPU%d: %s\n", (i - 1) * COLUMN, "",
			       i - 1, tasks[i - 1].name);
	}
	depth = 0;
	steps = 0;
	preemptions = 0;
	empty_buffers();
	sched_running = true;
	enter(first[choose(runnable(first))]);
	sched_running = false;
	if (failed)
		test_abort();
}

/**
 * sched_explore() - Start to search
 * @max_preemptions: the bound; negative: choose at random
 * @max_runs: the most runs
 */
void sched_explore(int max_preemptions, unsigned long max_runs)
{
	bound = showing ? shown_bound : max_preemptions;
	at_random = bound < 0;
	limit = max_runs;
	explored = 0;
	exploring = true;
	path_len = 0;
}

/**
 * sched_next() - Go to the next schedule, after a run
 *
 * Return: false if there is none left, or no time for it.
 */
bool sched_next(void)
{
	explored++;
	if (showing)
		return false;
	if (at_random) {
		path_len = 0;
	} else {
		while (path_len && path[path_len - 1].taken + 1 ==
				   path[path_len - 1].nr)
			path_len--;
		if (!path_len)
			return false;
		path[path_len - 1].taken++;
	}
	return explored < limit;
}

unsigned long sched_explored(void)
{
	return explored;
}

/* Were there schedules left, within the bound? */
bool sched_cut_short(void)
{
	return !at_random && path_len;
}

/**
 * sched_fail() - A task failed: go back to main, for good
 */
void sched_fail(void)
{
	failed = true;
	enter(0);
}

/**
 * sched_exploring() - Is there a path that leads to where the test is now?
 */
bool sched_exploring(void)
{
	return exploring;
}

/**
 * sched_reset() - Start a test
 */
void sched_reset(void)
{
	sched_running = false;
	exploring = false;
	failed = false;
	task = 0;
	empty_buffers();
	memory = race_memory < 0 ? model_memory() : race_memory;
}

/**
 * sched_print_path() - Print the choices that were not the first, for --replay
 */
void sched_print_path(void)
{
	unsigned int i;

	printf("%d", bound);
	for (i = 0; i < path_len; i++) {
		if (path[i].taken)
			printf(",%u:%u", i, path[i].taken);
	}
}

/**
 * sched_show() - Show the next run
 * @choices: what sched_print_path() printed; NULL: as in the last run
 */
void sched_show(const char *choices)
{
	unsigned int i, taken;
	int n;

	memset(wanted, 0, sizeof(wanted));
	showing = true;
	if (!choices) {
		for (i = 0; i < path_len; i++)
			wanted[i] = path[i].taken;
		shown_bound = bound;
		return;
	}
	if (sscanf(choices, "%d%n", &shown_bound, &n) < 1)
		return;
	for (choices += n; sscanf(choices, ",%u:%u%n", &i, &taken, &n) == 2;
	     choices += n) {
		if (i < MAX_STEPS)
			wanted[i] = taken;
	}
}

void sched_hide(void)
{
	showing = false;
}
