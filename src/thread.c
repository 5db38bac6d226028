/* SPDX-License-Identifier: MIT */
/*
 * Threads made by libc: each begins with the signal mask that its attributes name, if they do, and with
 * an alternate stack if the program asked for them (stacks.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "../arch/x86_64/guard.h"
#include "../include/regmap/regmap.h"
#include "next.h"
#include "sigmask.h"
#include "stacks.h"
#include "thread.h"
#include "window.h"

typedef void *(*posix_fn)(void *);
typedef int (*pthread_create_fn)(pthread_t *, const pthread_attr_t *, posix_fn, void *);
typedef int (*thrd_create_fn)(thrd_t *, thrd_start_t, void *);

extern int __pthread_create(pthread_t *, const pthread_attr_t *, posix_fn, void *)
	__attribute__((weak));
BRING(timer_create, pthread_exit);

extern void __tsan_init(void) __attribute__((weak));

/* stack.S */
void *regmap__call_on(void *arg, void *function, void *top);

/* What a thread begins with. */
struct start {
	void *function, *arg, *top; /* of the stack that is asked for; NULL: libc's business */
	uint64_t mask;
	bool masked;   /* @mask counts */
	stack_t stack; /* ss_size 0: none */
};

/* Other constructors may create threads before ours have run. */
static pthread_create_fn next_pthread_create(void)
{
	static _Atomic pthread_create_fn next;

	if (!next)
		next = NEXT(pthread_create, __pthread_create);
	return next;
}

/* These attributes tell both C libraries' pthread_create() that the thread is one of C11's. */
static int plain_thrd_create(thrd_t *thread, thrd_start_t function, void *arg)
{
	const pthread_attr_t *c11 = (const pthread_attr_t *)-1;

	switch (__pthread_create(thread, c11, (posix_fn)(void *)function, arg)) {
	case 0: return thrd_success;
	case EAGAIN:
	case ENOMEM: return thrd_nomem;
	default: return thrd_error;
	}
}

static thrd_create_fn next_thrd_create(void)
{
	static _Atomic thrd_create_fn next;

	if (!next)
		next = NEXT(thrd_create, plain_thrd_create);
	return next;
}

/*
 * A stack in a trapped window. libc can't use it: it keeps the thread's descriptor there, which the
 * kernel writes into, too. So the thread gets two: libc's, and this one for the start routine.
 */
static void *trapped_top(const pthread_attr_t *attr)
{
	struct cpu_trap trap;
	uintptr_t top;
	size_t size;
	void *base;

	if (!attr || !regmap__stacks_enabled() || pthread_attr_getstack(attr, &base, &size) ||
	    !base || size < 64)
		return NULL;
	top = ((uintptr_t)base + size) & ~(uintptr_t)15;
	if (!regmap__window_meets(top - 16, 16) ||
	    !regmap__guard_probe_write((void *)(top - 16), 16, &trap))
		return NULL;
	return (void *)top;
}

#ifdef __GLIBC__

enum { C11_INHERITS_MASK = true };

static bool get_sigmask(const pthread_attr_t *attr, sigset_t *mask)
{
	return !pthread_attr_getsigmask_np(attr, mask);
}

static void copy_glibc_attr(pthread_attr_t *to, const pthread_attr_t *from)
{
	cpu_set_t cpus;
	sigset_t mask;

	if (!pthread_attr_getaffinity_np(from, sizeof(cpus), &cpus))
		pthread_attr_setaffinity_np(to, sizeof(cpus), &cpus);
	if (get_sigmask(from, &mask))
		pthread_attr_setsigmask_np(to, &mask);
}

#else

/* musl 1.2.3 leaves all signals blocked in threads of thrd_create(), SIGSEGV among them. */
enum { C11_INHERITS_MASK = false };

/* musl's attributes have neither mask nor affinity. */

static bool get_sigmask(const pthread_attr_t *attr, sigset_t *mask)
{
	(void)attr;
	sigemptyset(mask);
	return false;
}

static void copy_glibc_attr(pthread_attr_t *to, const pthread_attr_t *from)
{
	(void)to;
	(void)from;
}

#endif

/* All but the stack. */
static void copy_attr(pthread_attr_t *to, const pthread_attr_t *from)
{
	struct sched_param param;
	int value;

	if (!pthread_attr_getdetachstate(from, &value))
		pthread_attr_setdetachstate(to, value);
	if (!pthread_attr_getinheritsched(from, &value))
		pthread_attr_setinheritsched(to, value);
	if (!pthread_attr_getschedpolicy(from, &value))
		pthread_attr_setschedpolicy(to, value);
	if (!pthread_attr_getschedparam(from, &param))
		pthread_attr_setschedparam(to, &param);
	if (!pthread_attr_getscope(from, &value))
		pthread_attr_setscope(to, value);
	copy_glibc_attr(to, from);
}

static int create(pthread_t *thread, const pthread_attr_t *attr, posix_fn begin,
                  struct start *start)
{
	pthread_attr_t other;
	int err;

	if (!start->top)
		return next_pthread_create()(thread, attr, begin, start);
	if (pthread_attr_init(&other))
		return EAGAIN;
	copy_attr(&other, attr);
	err = next_pthread_create()(thread, &other, begin, start);
	pthread_attr_destroy(&other);
	return err;
}

/* Threads inherit their creator's, stand-ins included; only the attributes' own are unaware of them. */
static bool has_mask(const pthread_attr_t *attr, uint64_t *mask)
{
	sigset_t set;

	if (!regmap__sigmask_holding() || !attr || !get_sigmask(attr, &set))
		return false;
	*mask = mask_of(&set) & ~LIBC_SIGNALS & ~UNBLOCKABLE;
	return true;
}

static struct start *prepare(const pthread_attr_t *attr, void *function, void *arg)
{
	struct start *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->function = function;
	s->arg = arg;
	s->top = trapped_top(attr);
	s->masked = has_mask(attr, &s->mask);
	if (regmap__stacks_enabled() && !regmap__stacks_promise(&s->stack)) {
		free(s);
		return NULL;
	}
	return s;
}

static void discard(struct start *s)
{
	if (s->stack.ss_size)
		regmap__stacks_break_promise(&s->stack);
	free(s);
}

/* Returned in two registers: the start routine is then a tail call, and its caller's caller libc's. */
struct call {
	void *function, *arg;
};

/*
 * ThreadSanitizer can't know that the thread that had the stack before is dead, and would report
 * accesses of callbacks there as a race. A mapping is new memory to it.
 */
static void forget_last_owner(const stack_t *stack)
{
	if (__tsan_init)
		mmap(stack->ss_sp, stack->ss_size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK | MAP_FIXED, -1, 0);
}

static __attribute__((noinline)) struct call begin(struct start *s)
{
	struct call call = {s->function, s->arg};

	if (s->stack.ss_size) {
		forget_last_owner(&s->stack);
		regmap__stacks_move_in(&s->stack);
	}
	if (s->masked)
		regmap__sigmask_begin(s->mask);
	free(s);
	return call;
}

static void *begin_on_top(void *start)
{
	void *top = ((struct start *)start)->top;
	struct call call = begin(start);

	return regmap__call_on(call.arg, call.function, top);
}

static void *begin_posix(void *start)
{
	struct call call = begin(start);

	return ((posix_fn)call.function)(call.arg);
}

static int begin_c11(void *start)
{
	struct call call = begin(start);

	return ((thrd_start_t)call.function)(call.arg);
}

static bool is_plain(void)
{
	return !regmap__sigmask_holding() && !regmap__stacks_enabled();
}

REGMAP_API int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attr,
                              void *(*function)(void *), void *restrict arg)
{
	struct start *start;
	int err;

	if (is_plain())
		return next_pthread_create()(thread, attr, function, arg);
	start = prepare(attr, (void *)function, arg);
	if (!start)
		return EAGAIN;
	err = create(thread, attr, start->top ? begin_on_top : begin_posix, start);
	if (err)
		discard(start);
	return err;
}

REGMAP_API int thrd_create(thrd_t *thread, thrd_start_t function, void *arg)
{
	struct start *start;
	int err;

	if (is_plain() && C11_INHERITS_MASK)
		return next_thrd_create()(thread, function, arg);
	start = prepare(NULL, (void *)function, arg);
	if (!start)
		return thrd_nomem;
	if (!C11_INHERITS_MASK) {
		start->masked = true;
		start->mask = regmap__sigmask_believed();
	}
	err = next_thrd_create()(thread, begin_c11, start);
	if (err != thrd_success)
		discard(start);
	return err;
}

/* REGMAP_SIGNAL_STACKS, for programs that know nothing of us. Decimal, or hexadecimal with 0x. */
__attribute__((constructor)) static void read_environment(void)
{
	static const char complaint[] =
		"regmap: REGMAP_SIGNAL_STACKS: not a size in bytes (0: a default), or no memory\n";
	const char *wish = getenv("REGMAP_SIGNAL_STACKS");
	char *end;
	size_t bytes;

	if (!wish)
		return;
	errno = 0;
	bytes = strtoull(wish, &end, 0);
	if (!errno && *wish >= '0' && *wish <= '9' && !*end && !regmap__stacks_enable(bytes))
		return;
	if (write(STDERR_FILENO, complaint, sizeof(complaint) - 1) < 0)
		return;
}

void regmap__thread_link(void)
{
}
