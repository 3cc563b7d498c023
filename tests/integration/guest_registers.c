// SPDX-License-Identifier: Apache-2.0
/*
 * Preloaded into linux.uml, the guest (umbra_guest.py), on processors whose floating point state has another size than it
 * knows: it reads and writes 2,696 bytes of it. Linux takes all of the state or nothing, so where it is larger (with AMX)
 * the guest would panic at its first process; here the rest is what the process has. Where it is smaller (AMD's, 2,432)
 * what the processor does not have is left away.
 */
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif

#define STATE_MAX_BYTES 65536u

typedef long (*ptrace_call)(enum __ptrace_request request, ...);

/* Not on the stack, which the guest keeps small; it has one thread that calls this. */
static unsigned char state[STATE_MAX_BYTES] __attribute__((aligned(64)));

static long set_all(ptrace_call real, pid_t pid, void *kind, const struct iovec *part)
{
	struct iovec all = {.iov_base = state, .iov_len = sizeof(state)};

	if (real(PTRACE_GETREGSET, pid, kind, &all) < 0)
		return -1;
	memcpy(state, part->iov_base, part->iov_len < all.iov_len ? part->iov_len : all.iov_len);
	return real(PTRACE_SETREGSET, pid, kind, &all);
}

long ptrace(enum __ptrace_request request, ...)
{
	ptrace_call real = (ptrace_call)dlsym(RTLD_NEXT, "ptrace");
	void *address, *data;
	va_list list;
	pid_t pid;

	va_start(list, request);
	pid = va_arg(list, pid_t);
	address = va_arg(list, void *);
	data = va_arg(list, void *);
	va_end(list);
	if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE)
		return set_all(real, pid, address, data);
	return real(request, pid, address, data);
}
