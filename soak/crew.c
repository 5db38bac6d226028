/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "crew.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { STACK_SIZE = 1 << 18, SIGTICK = 40, ROUNDS = 1 << 30 };

struct member soak__crew[CREW];
struct gun soak__gun[2 * CREW];
atomic_bool soak__over;
struct tally soak__tally;

/*
 * ThreadSanitizer needs TLS: no threads without libc then. It calls handlers of asynchronous signals
 * later, with all signals blocked, SIGSEGV included: no accesses in those.
 */
extern void __tsan_init(void) __attribute__((weak));

static long raw_call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long value;

	__asm__ volatile("syscall"
	                 : "=a"(value)
	                 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
	                 : "rcx", "r11", "memory");
	return value;
}

static pid_t thread_id(void)
{
	return (pid_t)raw_call(SYS_gettid, 0, 0, 0, 0);
}

struct member *soak__self(void)
{
	pid_t tid = thread_id();

	for (unsigned i = 0; i < CREW; i++)
		if (soak__crew[i].tid == tid)
			return &soak__crew[i];
	return NULL;
}

void soak__become(struct member *member)
{
	atomic_store(&member->tid, thread_id());
}

/* --- handlers; some run in threads that libc knows nothing of --- */

/* A handler that never lets the program get ahead would be of no use. */
static void on_tick(int signo)
{
	struct member *self = soak__self();

	if (signo == SIGPROF)
		atomic_fetch_add(&soak__tally.prof, 1);
	if (!self || !self->handler_gun || self->role == CHILD) {
		atomic_fetch_add(&soak__tally.strays, 1);
		return;
	}
	atomic_fetch_add(&self->signals, 1);
	if (self->seen == self->progress || __tsan_init)
		return;
	self->seen = self->progress;
	soak__fire(self->handler_gun);
}

static const int greg_of[GPRS] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

/* An access that failed has left no trace. */
static void check_registers(const struct member *self, const ucontext_t *uc)
{
	const greg_t *gregs = uc->uc_mcontext.gregs;
	const struct state *in = &self->gun->shot.in;

	for (unsigned i = 0; i < GPRS; i++)
		if (i != RSP && (uint64_t)gregs[greg_of[i]] != in->gpr[i])
			soak__failed("a general register in a handler", "an access", "its window",
			             (uint64_t)gregs[greg_of[i]], in->gpr[i]);
}

static void on_fault(int signo, siginfo_t *info, void *ucontext)
{
	struct member *self = soak__self();
	const ucontext_t *uc = ucontext;

	atomic_fetch_add(&soak__tally.segv, 1);
	if (self && self->may_escape) {
		check_registers(self, uc);
		self->may_escape = false;
		siglongjmp(self->escape, signo);
	}
	soak__failed("a fault out of the blue", signo == SIGSEGV ? "SIGSEGV" : "SIGBUS",
	             "si_addr, RIP", (uintptr_t)info->si_addr,
	             (uint64_t)uc->uc_mcontext.gregs[REG_RIP]);
	soak__print_failures(2);
	_exit(1);
}

void soak__signals_init(void)
{
	struct sigaction tick = {.sa_handler = on_tick, .sa_flags = SA_ONSTACK | SA_RESTART};
	struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	sigaddset(&tick.sa_mask, SIGTICK);
	sigaddset(&tick.sa_mask, SIGPROF);
	sigaction(SIGTICK, &tick, NULL);
	sigaction(SIGPROF, &tick, NULL);
	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGBUS, &fault, NULL);
}

/* 1 to 10 kHz */
static timer_t start_timer(pid_t tid, struct random *random)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGTICK};
	struct itimerspec when = {.it_interval.tv_nsec = 100000 + soak__below(random, 900000)};
	timer_t timer;

	event.sigev_notify_thread_id = tid;
	when.it_value = when.it_interval;
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &when, NULL)) {
		perror("soak: timer");
		_exit(1);
	}
	return timer;
}

static void start_profiling(void)
{
	struct itimerval often = {{0, 1000}, {0, 1000}};

	setitimer(ITIMER_PROF, &often, NULL);
}

/* --- what threads do --- */

void soak__day(struct member *self, unsigned rounds)
{
	for (unsigned i = 0; i < rounds && !soak__over && !soak__failures(); i++) {
		soak__fire(self->gun);
		if (self->role != NO_LIBC && soak__below(&self->gun->random, 8) == 0)
			soak__wild(self);
		atomic_fetch_add(&self->progress, 1);
	}
}

static void use_stack(struct member *self, bool use)
{
	stack_t stack = {.ss_sp = self->stack,
	                 .ss_size = STACK_SIZE,
	                 .ss_flags = use ? 0 : SS_DISABLE};

	raw_call(SYS_sigaltstack, (long)&stack, 0, 0, 0);
}

static void *work(void *arg)
{
	struct member *self = arg;
	timer_t timer;

	soak__become(self);
	if (self->role == OWN_STACK)
		use_stack(self, true);
	timer = start_timer(self->tid, &self->gun->random);
	soak__day(self, ROUNDS);
	timer_delete(timer);
	use_stack(self, false);
	return NULL;
}

static void *live_shortly(void *arg)
{
	struct member *self = arg;
	bool with_stack = soak__below(&self->gun->random, 2);
	timer_t timer;

	soak__become(self);
	if (with_stack)
		use_stack(self, true);
	timer = start_timer(self->tid, &self->gun->random);
	soak__day(self, 1 + soak__below(&self->gun->random, 40));
	timer_delete(timer);
	if (with_stack)
		use_stack(self, false);
	return NULL;
}

/* A thread with a thread area that isn't libc's. */
static int work_without_libc(void *arg)
{
	struct member *self = arg;

	soak__become(self);
	use_stack(self, true);
	soak__day(self, ROUNDS);
	return 0;
}

static void start_without_libc(struct member *member)
{
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
	            CLONE_SYSVSEM | CLONE_SETTLS | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID;
	uint8_t *stack = malloc(STACK_SIZE);

	member->alive = 1;
	if (!stack || clone(work_without_libc, stack + STACK_SIZE, flags, member, &member->alive,
	                    member->tls, &member->alive) < 0) {
		perror("soak: clone");
		exit(1);
	}
	atomic_fetch_add(&soak__tally.threads, 1);
	start_timer(member->alive, &member->gun->random);
}

static void start_thread(struct member *member, void *(*body)(void *))
{
	if (pthread_create(&member->thread, NULL, body, member)) {
		perror("soak: pthread_create");
		exit(1);
	}
	atomic_fetch_add(&soak__tally.threads, 1);
}

/* Two of them at a time, all the time. */
static void *breed(void *arg)
{
	struct member *self = arg, *young = self + 1;

	soak__become(self);
	while (!soak__over) {
		for (unsigned i = 0; i < 2; i++)
			start_thread(&young[i], live_shortly);
		for (unsigned i = 0; i < 2; i++)
			pthread_join(young[i].thread, NULL);
		atomic_fetch_add(&self->progress, 1);
	}
	return NULL;
}

static const enum role roles[CREW] = {
	PLAIN_STACK, OWN_STACK,   PLAIN_STACK, OWN_STACK, NO_LIBC, NO_LIBC,
	BREEDER,     SHORT_LIVED, SHORT_LIVED, MAPPER,    FORKER,  CHILD,
};

void soak__crew_start(uint64_t seed)
{
	for (unsigned i = 0; i < CREW; i++) {
		struct member *m = &soak__crew[i];

		m->role = roles[i];
		m->gun = &soak__gun[2 * i];
		soak__gun_init(m->gun, seed, 2 * i);
		soak__gun_init(m->gun + 1, seed, 2 * i + 1);
		m->handler_gun = m->gun + 1;
		m->stack = malloc(STACK_SIZE);
	}
	for (unsigned i = 0; i < CREW; i++) {
		struct member *m = &soak__crew[i];

		switch (m->role) {
		case PLAIN_STACK:
		case OWN_STACK: start_thread(m, work); break;
		case NO_LIBC:
			if (!__tsan_init)
				start_without_libc(m);
			break;
		case BREEDER: start_thread(m, breed); break;
		case MAPPER: start_thread(m, soak__map_all_day); break;
		case FORKER: start_thread(m, soak__fork_all_day); break;
		default: break;
		}
	}
	start_profiling();
}

void soak__crew_join(void)
{
	for (unsigned i = 0; i < CREW; i++) {
		struct member *m = &soak__crew[i];

		if (m->role == NO_LIBC)
			while (m->alive)
				usleep(1000);
		else if (m->role != UNUSED && m->role != SHORT_LIVED && m->role != CHILD)
			pthread_join(m->thread, NULL);
	}
}
