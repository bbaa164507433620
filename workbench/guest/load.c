// SPDX-License-Identifier: GPL-2.0-only
/*
 * PID 1 of a guest that is migrated: writes to most of its memory, and knows
 * what must be there.
 *
 * Each page holds, in each of its lines that are written, its number and how
 * often it was written, mixed into a word; how often it was written is in a
 * table, too. A page, or a part of the table, that is older than the other was
 * lost on the way. Each page is verified before it is written again, and all of
 * them when the console says so.
 *
 * The kernel's command line sets the variables: LOAD_MIB, LOAD_RATE (pages a
 * second, of all threads; 0: as many as it can), LOAD_NESTED (1: all writes are
 * made in a VM in the guest). The console takes "check" and says, each a line:
 *
 *	load: filled PAGES
 *	load: MILLISECONDS PAGES-WRITTEN LONGEST-STALL-US	twice a second
 *	load: check ok PAGES | load: check LOST lines lost of PAGES pages
 *	load: lost page N line L: found X, want generation G	the first few
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "nested.h"

#define PAGE		4096UL
/* Of each page, eight cache lines. */
#define LINES		8
#define WORDS		(PAGE / sizeof(uint64_t) / LINES)
#define TICK_US		10000
#define REPORT_MS	500
#define SHOWN		5
/* Pages that are written before it is seen how long that took: an exit of a nested vCPU takes longer than a page. */
#define BATCH		(nested ? 16 : 1)

struct writer {
	pthread_t thread;
	struct nested_vcpu *vcpu;	/* that writes; NULL: the thread itself */
	uint64_t first, pages, seed;
	unsigned int rate, batch;
	int cpu;
	_Atomic uint64_t written;
	_Atomic uint64_t stall_us;
};

static uint64_t (*memory)[PAGE / sizeof(uint64_t)];
static uint32_t *generations;
static uint64_t nr_pages;
static struct writer *writers;
static int nr_writers;
static bool nested;
static atomic_bool pause_writers;
static atomic_int nr_paused;
static _Atomic uint64_t nr_lost;
static struct lost {
	uint64_t page, found;
	uint32_t want;
	unsigned int line;
	atomic_bool there;
} lost_lines[SHOWN];

static void fail(const char *what)
{
	perror(what);
	for (;;)
		pause();
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000UL + now.tv_nsec / 1000;
}

static unsigned long setting(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 0) : otherwise;
}

/* Another word for each page, line and generation; splitmix64. */
static uint64_t word(uint64_t page, unsigned int line, uint32_t generation)
{
	uint64_t z = (page << 40) + ((uint64_t)line << 32) + generation + 0x9e3779b97f4a7c15UL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
	return z ^ (z >> 31);
}

static void verify(uint64_t page)
{
	uint32_t want = generations[page];
	unsigned int line;
	uint64_t number;

	for (line = 0; line < LINES; line++) {
		uint64_t found = memory[page][line * WORDS];

		if (found == word(page, line, want))
			continue;
		number = atomic_fetch_add(&nr_lost, 1);
		if (number < SHOWN) {
			struct lost *l = &lost_lines[number];

			l->page = page;
			l->line = line;
			l->found = found;
			l->want = want;
			atomic_store(&l->there, true);
		}
	}
}

static void show_lost(void)
{
	static int shown;

	for (; shown < SHOWN && atomic_load(&lost_lines[shown].there); shown++) {
		struct lost *l = &lost_lines[shown];

		printf("load: lost page %lu line %u: found %#lx, want generation %u\n",
		       l->page, l->line, l->found, l->want);
	}
}

static void write_page(uint64_t page)
{
	uint32_t generation = ++generations[page];
	unsigned int line;

	for (line = 0; line < LINES; line++)
		memory[page][line * WORDS] = word(page, line, generation);
}

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Nothing but memory: it may run in a nested vCPU. */
static void write_batch(void *arg)
{
	struct writer *w = arg;
	uint64_t page;
	unsigned int i;

	for (i = 0; i < w->batch; i++) {
		page = w->first + next(&w->seed) % w->pages;
		verify(page);
		write_page(page);
		atomic_fetch_add(&w->written, 1);
	}
}

static void wait_while_paused(void)
{
	if (!atomic_load(&pause_writers))
		return;
	atomic_fetch_add(&nr_paused, 1);
	while (atomic_load(&pause_writers))
		usleep(1000);
	atomic_fetch_sub(&nr_paused, 1);
}

static void sleep_until(uint64_t us)
{
	struct timespec at = { us / 1000000, us % 1000000 * 1000 };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static void *write_pages(void *arg)
{
	struct writer *w = arg;
	uint64_t per_tick = w->rate ? (uint64_t)w->rate * TICK_US / 1000000 ?: 1 : BATCH;
	uint64_t tick = now_us(), before, took, left;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(w->cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);

	for (;;) {
		for (left = per_tick; left; left -= w->batch) {
			wait_while_paused();
			w->batch = left < BATCH ? left : BATCH;
			before = now_us();
			if (!w->vcpu)
				write_batch(w);
			else if (nested_call(w->vcpu, write_batch, w))
				fail("load: nested");
			took = now_us() - before;
			if (took > atomic_load(&w->stall_us))
				atomic_store(&w->stall_us, took);
		}
		if (!w->rate)
			continue;
		tick += TICK_US;
		/* What could not be written in time is not made up for. */
		if (now_us() > tick)
			tick = now_us();
		else
			sleep_until(tick);
	}
	return NULL;
}

static void check(void)
{
	uint64_t page, lost;

	atomic_store(&pause_writers, true);
	while (atomic_load(&nr_paused) < nr_writers)
		usleep(1000);
	for (page = 0; page < nr_pages; page++)
		verify(page);
	lost = atomic_load(&nr_lost);
	show_lost();
	if (lost)
		printf("load: check %lu lines lost of %lu pages\n", lost, nr_pages);
	else
		printf("load: check ok %lu\n", nr_pages);
	atomic_store(&pause_writers, false);
	while (atomic_load(&nr_paused))
		usleep(1000);
}

static void report(uint64_t since)
{
	uint64_t written = 0, stall = 0, s;
	int i;

	for (i = 0; i < nr_writers; i++) {
		written += atomic_load(&writers[i].written);
		s = atomic_exchange(&writers[i].stall_us, 0);
		stall = s > stall ? s : stall;
	}
	show_lost();
	printf("load: %lu %lu %lu\n", (now_us() - since) / 1000, written, stall);
}

/* Memory, zeroed, for what writers read and write. */
static void *allocate(size_t size)
{
	void *p;

	if (nested)
		p = nested_memory(size);
	else
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!p || p == MAP_FAILED)
		fail("load: memory");
	return p;
}

int main(void)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };
	unsigned long rate = setting("LOAD_RATE", 0);
	uint64_t page, since, last;
	size_t size, tables;
	char line[64];
	uint8_t *all;
	int i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	nr_writers = get_nprocs();
	nr_pages = setting("LOAD_MIB", 64) * 256;
	nested = setting("LOAD_NESTED", 0);
	size = nr_pages * PAGE;
	tables = nr_pages * sizeof(*generations);
	all = allocate(size + tables + nr_writers * sizeof(*writers));
	memory = (void *)all;
	generations = (void *)(all + size);
	writers = (void *)(all + size + tables);

	for (page = 0; page < nr_pages; page++)
		write_page(page);
	printf("load: filled %lu\n", nr_pages);

	since = last = now_us();
	for (i = 0; i < nr_writers; i++) {
		struct writer *w = &writers[i];

		w->cpu = i;
		w->first = nr_pages * i / nr_writers;
		w->pages = nr_pages * (i + 1) / nr_writers - w->first;
		w->seed = 0x2545f4914f6cdd1dUL + i;
		w->rate = rate / nr_writers;
		w->vcpu = nested ? nested_vcpu() : NULL;
		if (nested && !w->vcpu)
			fail("load: nested");
		if (pthread_create(&w->thread, NULL, write_pages, w))
			fail("load: threads");
	}
	for (;;) {
		if (poll(&in, 1, REPORT_MS / 5) > 0 && fgets(line, sizeof(line), stdin) && !strcmp(line, "check\n"))
			check();
		if (now_us() - last >= REPORT_MS * 1000) {
			last = now_us();
			report(since);
		}
	}
}
