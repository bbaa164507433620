// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_RESET_DIRTY_RINGS does what it finds to do when it is called, and comes to
 * an end: however fast others harvest, and however many signals come.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <asm/barrier.h>

#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#define TEST_SLOT	10
#define TEST_ADDR	0xc0000000ul
#define TEST_PAGES	512
#define RING_ENTRIES	4096
/* Seconds after which a reset will not end any more. */
#define PATIENCE	120

static struct kvm_vm *vm;
static struct kvm_vcpu *vcpu;
static struct kvm_dirty_gfn *ring;
static uint64_t fetch;
static bool stop;
static uint64_t nr_signals;

/* Known to the guest. */
static uint64_t guest_page_size;

static void guest_code(void)
{
	uint64_t page, count = 0;

	for (;;) {
		count++;
		for (page = 0; page < TEST_PAGES; page++)
			WRITE_ONCE(*(uint64_t *)(TEST_ADDR + page * guest_page_size), count);
		GUEST_SYNC(count);
	}
}

static void write_all(void)
{
	vcpu_run(vcpu);
	TEST_ASSERT(get_ucall(vcpu, NULL) == UCALL_SYNC, "exit reason %s",
		    exit_reason_str(vcpu->run->exit_reason));
}

/* Return: how many there were. */
static int harvest(void)
{
	struct kvm_dirty_gfn *gfn;
	int nr;

	for (nr = 0;; nr++, fetch++) {
		gfn = &ring[fetch % RING_ENTRIES];
		/* Before the entry is read; KVM fills it first. */
		if (smp_load_acquire(&gfn->flags) != KVM_DIRTY_GFN_F_DIRTY)
			return nr;
		/* After it was read; the reset looks for this. */
		smp_store_release(&gfn->flags, KVM_DIRTY_GFN_F_RESET);
	}
}

/* All entries are harvested, all the time, though KVM has filled few of them. */
static void *harvest_all(void *arg)
{
	int i;

	while (!READ_ONCE(stop)) {
		for (i = 0; i < RING_ENTRIES; i++) {
			/* Of pages that are far from each other. */
			ring[i].slot = TEST_SLOT;
			ring[i].offset = i * 64 % TEST_PAGES;
			/* The reset reads the rest after this. */
			smp_store_release(&ring[i].flags, KVM_DIRTY_GFN_F_RESET);
		}
	}
	return NULL;
}

static void gave_up(int sig)
{
	static const char text[] = "a reset goes on for as long as others harvest\n";

	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	/* The others end with it, so that the reset does. */
	_exit(KSFT_FAIL);
}

static void count_signal(int sig)
{
	nr_signals++;
}

static void on_signal(int sig, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler };

	TEST_ASSERT(!sigaction(sig, &action, NULL), "sigaction");
}

/* What was harvested is reset, all of it, also while signals come. */
static void test_complete(void)
{
	const struct itimerval often = {
		.it_interval = { .tv_usec = 200 }, .it_value = { .tv_usec = 200 },
	};
	const struct itimerval never = {};
	int i, nr, reset;

	on_signal(SIGALRM, count_signal);
	for (i = 0; i < 200; i++) {
		write_all();
		nr = harvest();
		TEST_ASSERT(nr >= TEST_PAGES, "%d pages are in the ring, %d were written",
			    nr, TEST_PAGES);
		setitimer(ITIMER_REAL, &often, NULL);
		reset = kvm_vm_reset_dirty_ring(vm);
		setitimer(ITIMER_REAL, &never, NULL);
		TEST_ASSERT(reset == nr, "%d of %d entries were reset", reset, nr);
	}
	pr_info("%d resets, %lu signals\n", i, nr_signals);
}

/* Once around the ring is all that there can have been. */
static void test_bounded(void)
{
	int reset, nr = 0, most = 0;
	pthread_t thread;

	on_signal(SIGALRM, gave_up);
	pthread_create(&thread, NULL, harvest_all, NULL);
	while (nr < 200) {
		/* The thread can have no other CPU. */
		sched_yield();
		alarm(PATIENCE);
		reset = kvm_vm_reset_dirty_ring(vm);
		alarm(0);
		TEST_ASSERT(reset <= RING_ENTRIES, "one reset did %d entries of a ring of %d",
			    reset, RING_ENTRIES);
		most = max(most, reset);
		nr += reset > 0;
	}
	WRITE_ONCE(stop, true);
	pthread_join(thread, NULL);
	pr_info("%d resets, the longest of %d entries\n", nr, most);
}

int main(int argc, char **argv)
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_DIRTY_LOG_RING) ||
		     kvm_has_cap(KVM_CAP_DIRTY_LOG_RING_ACQ_REL));

	vm = __vm_create(VM_SHAPE_DEFAULT, 1, TEST_PAGES);
	guest_page_size = vm->page_size;
	vm_enable_dirty_ring(vm, RING_ENTRIES * sizeof(struct kvm_dirty_gfn));
	vcpu = vm_vcpu_add(vm, 0, guest_code);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, TEST_ADDR, TEST_SLOT,
				    TEST_PAGES, KVM_MEM_LOG_DIRTY_PAGES);
	virt_map(vm, TEST_ADDR, TEST_ADDR, TEST_PAGES);
	ring = vcpu_map_dirty_ring(vcpu);
	sync_global_to_guest(vm, guest_page_size);

	test_complete();
	/* What is in the ring does not make sense any more: last. */
	test_bounded();

	kvm_vm_free(vm);
	return 0;
}
