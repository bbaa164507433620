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
 * second, of all threads; 0: as many as it can). The console takes "check" and
 * says, each a line:
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

#define PAGE		4096UL
/* Of each page, eight cache lines. */
#define LINES		8
#define WORDS		(PAGE / sizeof(uint64_t) / LINES)
#define TICK_US		10000
#define REPORT_MS	500
#define SHOWN		5

struct writer {
	pthread_t thread;
	uint64_t first, pages, seed;
	unsigned int rate;
	int cpu;
	_Atomic uint64_t written;
	_Atomic uint64_t stall_us;
};

static uint64_t (*memory)[PAGE / sizeof(uint64_t)];
static uint32_t *generations;
static uint64_t nr_pages;
static struct writer *writers;
static int nr_writers;
static atomic_bool pause_writers;
static atomic_int nr_paused;
static _Atomic uint64_t nr_lost;

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

	for (line = 0; line < LINES; line++) {
		uint64_t found = memory[page][line * WORDS];

		if (found == word(page, line, want))
			continue;
		if (atomic_fetch_add(&nr_lost, 1) < SHOWN)
			printf("load: lost page %lu line %u: found %#lx, want generation %u\n",
			       page, line, found, want);
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
	uint64_t per_tick = (uint64_t)w->rate * TICK_US / 1000000 ?: 1;
	uint64_t tick = now_us(), before, took, page, i;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(w->cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);

	for (;;) {
		for (i = 0; i < per_tick; i++) {
			wait_while_paused();
			page = w->first + next(&w->seed) % w->pages;
			before = now_us();
			verify(page);
			write_page(page);
			took = now_us() - before;
			if (took > atomic_load(&w->stall_us))
				atomic_store(&w->stall_us, took);
			atomic_fetch_add(&w->written, 1);
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
	printf("load: %lu %lu %lu\n", (now_us() - since) / 1000, written, stall);
}

static void fail(const char *what)
{
	perror(what);
	for (;;)
		pause();
}

int main(void)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };
	unsigned long rate = setting("LOAD_RATE", 0);
	uint64_t page, since, last;
	char line[64];
	int i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	nr_writers = get_nprocs();
	nr_pages = setting("LOAD_MIB", 64) * 256;
	memory = mmap(NULL, nr_pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	generations = calloc(nr_pages, sizeof(*generations));
	writers = calloc(nr_writers, sizeof(*writers));
	if (memory == MAP_FAILED || !generations || !writers)
		fail("load: memory");

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
