/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_TDP_SCHED_H
#define __KVM_TDP_SCHED_H

/*
 * Tasks that run in turns.  They hand over at scheduling points and nowhere
 * else, so that a run is the sequence of choices made there, and can be
 * repeated.  Outside of sched_run() there is one task, number 0.
 */
#include "tdp_deps_user.h"

#define MAX_TASKS	5

/* The running task; the others are 1 to MAX_TASKS - 1. */
extern int task;

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

/* After a failure: the choices as text, and to make them again and show it. */
void sched_fail(void);
bool sched_exploring(void);
void sched_print_path(void);
void sched_show(const char *choices);
void sched_hide(void);
void sched_reset(void);

#endif /* __KVM_TDP_SCHED_H */
