/* SPDX-License-Identifier: MIT */
/* A function on a stack that lies where the caller wants it. */
#include <errno.h>
#include <ucontext.h>

#include <regmap/firmware.h>

enum { STACK_LEAST = 4096 };

struct call {
	int (*run)(void *arg);
	void *arg;
	int result;
};

/* makecontext() hands on int arguments only. */
static void enter(unsigned low, unsigned high)
{
	struct call *call = (struct call *)(low | (uint64_t)high << 32);

	call->result = call->run(call->arg);
}

int regmap_run_on_stack(int (*run)(void *arg), void *arg, void *stack, size_t size, int *result)
{
	struct call call = {run, arg, 0};
	uint64_t at = (uintptr_t)&call;
	ucontext_t here, there;
	int err, saved = errno;

	if (!run || !stack || size < STACK_LEAST)
		return -EINVAL;
	err = regmap_signal_stacks(0);
	if (err)
		return err;
	if (getcontext(&there)) {
		err = -errno;
		errno = saved;
		return err;
	}
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = size;
	there.uc_link = &here;
	makecontext(&there, (void (*)(void))enter, 2, (unsigned)at, (unsigned)(at >> 32));
	if (swapcontext(&here, &there)) {
		err = -errno;
		errno = saved;
		return err;
	}
	if (result)
		*result = call.result;
	return 0;
}
