// SPDX-License-Identifier: GPL-2.0-only
/*
 * More VMs than there are VMIDs of 8 bits, one after the other, again and again, so
 * that most get another one every time.  All have memory at the same address, and
 * none may see what another one has there, nor what was there before its host took
 * the page away.  Where VMIDs have 16 bits there is nothing to see.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/sizes.h>

#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#define NR_VMS	300
#define ROUNDS	6
#define SLOT	1
#define GPA	SZ_4G
#define GVA	SZ_4G

static void guest_code(void)
{
	uint64_t *word = (uint64_t *)GVA;

	for (;;) {
		uint64_t seen = READ_ONCE(*word);

		WRITE_ONCE(*word, seen + 1);
		GUEST_SYNC(seen);
	}
}

static struct {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	uint64_t *mem;
	uint64_t value;		/* of the guest's word */
} vms[NR_VMS];

static void create(int i)
{
	size_t bytes = getpagesize();

	vms[i].vm = vm_create_with_one_vcpu(&vms[i].vcpu, guest_code);
	vms[i].mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(vms[i].mem != MAP_FAILED, "mmap");
	vm_set_user_memory_region(vms[i].vm, SLOT, 0, GPA, bytes, vms[i].mem);
	virt_map(vms[i].vm, GVA, GPA, 1);
	vms[i].value = (uint64_t)i << 32;
	*vms[i].mem = vms[i].value;
}

static void run(int i, int round)
{
	struct ucall uc;

	/* Most likely it is cached by another VMID than the one to come. */
	if ((i + round) % 3 == 0) {
		TEST_ASSERT(!madvise(vms[i].mem, getpagesize(), MADV_DONTNEED),
			    "madvise");
		vms[i].value += SZ_64K;
		*vms[i].mem = vms[i].value;
	}

	vcpu_run(vms[i].vcpu);
	TEST_ASSERT_EQ(get_ucall(vms[i].vcpu, &uc), UCALL_SYNC);
	TEST_ASSERT(uc.args[1] == vms[i].value,
		    "VM %d, round %d: its guest sees %lx and not %lx", i, round,
		    uc.args[1], vms[i].value);
	TEST_ASSERT_EQ(*vms[i].mem, ++vms[i].value);
}

int main(void)
{
	int i, round;

	for (i = 0; i < NR_VMS; i++)
		create(i);
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < NR_VMS; i++)
			run(i, round);
	}
	printf("%d VMs, %d rounds\n", NR_VMS, ROUNDS);
	for (i = 0; i < NR_VMS; i++) {
		kvm_vm_free(vms[i].vm);
		munmap(vms[i].mem, getpagesize());
	}
	return 0;
}
