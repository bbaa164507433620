/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs functions of this program in VMs of its own, whose memory is this
 * program's, at the same addresses. They make no system calls, and so use
 * nothing of libc that might. x86 only.
 */
#ifndef NESTED_H
#define NESTED_H

#include <errno.h>
#include <stddef.h>

struct nested_vcpu;

#ifdef __x86_64__
/* Memory, zeroed, that such functions reach, besides the program and its data; NULL and errno if there is none. Once. */
void *nested_memory(size_t size);

/* A vCPU of a VM that has all this memory; NULL and errno if there can be none. */
struct nested_vcpu *nested_vcpu(void);

/* 0 once fn() has returned; -1 if it did something else. */
int nested_call(struct nested_vcpu *vcpu, void (*fn)(void *arg), void *arg);

#else

static inline void *nested_memory(size_t size)
{
	(void)size;
	errno = ENOSYS;
	return NULL;
}

static inline struct nested_vcpu *nested_vcpu(void)
{
	return NULL;
}

static inline int nested_call(struct nested_vcpu *vcpu, void (*fn)(void *arg), void *arg)
{
	(void)vcpu;
	(void)fn;
	(void)arg;
	return -1;
}
#endif

#endif
