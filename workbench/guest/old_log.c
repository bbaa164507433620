// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preloaded to QEMU: KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 has only the modes whose
 * bits are in the environment variable LOG_MODES, so that QEMU uses the dirty
 * log as older ones did: 0, KVM_GET_DIRTY_LOG clears the log; 1, pages are
 * logged from the start.
 */
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int ioctl(int fd, unsigned long request, ...)
{
	const char *modes = getenv("LOG_MODES");
	unsigned long arg;
	va_list args;
	long found;

	va_start(args, request);
	arg = va_arg(args, unsigned long);
	va_end(args);

	found = syscall(SYS_ioctl, fd, request, arg);
	if (request == KVM_CHECK_EXTENSION && arg == KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 && modes) {
		found &= strtol(modes, NULL, 0);
		fprintf(stderr, "old_log: modes %ld\n", found);
	}
	return found;
}
