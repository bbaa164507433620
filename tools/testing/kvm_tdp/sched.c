// SPDX-License-Identifier: GPL-2.0-only
/*
 * The scheduler: tasks, and the search through their schedules.
 *
 * The search is stateless: a run is repeated from its beginning with the
 * choices of the run before, up to the last that has an alternative left.
 * Preemptions, i.e. choices of another task while the running one could go on,
 * are bounded: most bugs need one or two of them.
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
#define MAX_STEPS	50000
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

static int came_from;

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

/* Hand over, if that is what is chosen. */
static void reschedule(bool can_go_on)
{
	unsigned char tasks[MAX_TASKS];
	int nr = runnable(tasks), chosen;

	if (can_go_on && bound >= 0 && preemptions >= bound)
		return;
	CHECK(nr, "deadlock");
	chosen = choose(nr);
	preemptions += can_go_on && chosen;
	if (tasks[chosen] != task)
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
 * That is no preemption: the task can do nothing else.
 */
void sched_relax(void)
{
	unsigned char tasks[MAX_TASKS];
	int nr;

	if (!sched_running)
		return;
	nr = runnable(tasks);
	if (nr > 1)
		enter(tasks[1 + choose(nr - 1)]);
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
		enter(tasks[choose(nr)]);
	} else {
		int i;

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
