/* SPDX-License-Identifier: MIT */
/* What the program sees of alternate stacks, and where its handlers run. See stacks.h. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include "stacks.h"

/* ---- What sigaltstack() says ------------------------------------------------------------------ */

struct answer {
	int result, error, flags;
	void *sp;
	size_t size;
};

struct dialogue {
	enum world world;
	unsigned count;
	struct answer answer[40];
};

static uint8_t own[2][1 << 16] __attribute__((aligned(64)));
static struct dialogue *dialogue;

/* @set NULL: only ask. */
static void say(const stack_t *set)
{
	struct answer *a = &dialogue->answer[dialogue->count++];
	stack_t old;

	memset(&old, 0x55, sizeof(old));
	errno = 0;
	a->result = sigaltstack(set, &old);
	a->error = errno;
	a->flags = old.ss_flags;
	a->sp = old.ss_sp;
	a->size = old.ss_size;
}

static void say_stack(void *sp, size_t size, int flags)
{
	const stack_t set = {.ss_sp = sp, .ss_size = size, .ss_flags = flags};

	say(&set);
}

static void talk_in_handler(int signo)
{
	(void)signo;
	say(NULL);
	say_stack(own[1], sizeof(own[1]), 0);
	say_stack(NULL, 0, SS_DISABLE);
	say(NULL);
}

static void *talk(void *arg)
{
	struct sigaction act = {.sa_handler = talk_in_handler, .sa_flags = SA_ONSTACK};

	dialogue = arg;
	sigaction(SIGUSR2, &act, NULL);
	say(NULL);
	say_stack(own[0], sizeof(own[0]), 77);
	say_stack(own[0], 100, 0);
	say_stack(NULL, 0, SS_DISABLE);
	say_stack(own[0], sizeof(own[0]), SS_ONSTACK);
	say(NULL);
	raise(SIGUSR2);
	say(NULL);
	say_stack(own[1], 100, 0);
	say_stack(own[1], sizeof(own[1]), 0);
	say_stack(own[0], sizeof(own[0]), (int)SS_AUTODISARM);
	raise(SIGUSR2);
	say(NULL);
	say_stack(own[0], 100, SS_DISABLE);
	say(NULL);
	return NULL;
}

static int hold_dialogue(void *arg)
{
	struct dialogue *d = arg;
	pthread_t thread;

	have_world(d->world);
	T_CHECK(pthread_create(&thread, NULL, talk, d) == 0);
	return pthread_join(thread, NULL);
}

static void test_stacks_do_not_show_in_sigaltstack(void **state)
{
	struct dialogue *d = t_shared(3 * sizeof(*d));

	(void)state;
	for (enum world w = BARE; w <= OPTION; w++) {
		d[w].world = w;
		must_succeed(hold_dialogue, &d[w]);
	}
	assert_int_equal(d[BARE].count, 21);
	assert_int_equal(d[WINDOWS].count, 21);
	assert_int_equal(d[OPTION].count, 21);
	for (enum world w = WINDOWS; w <= OPTION; w++)
		for (unsigned i = 0; i < d[BARE].count; i++)
			assert_memory_equal(&d[w].answer[i], &d[BARE].answer[i],
			                    sizeof(struct answer));
}

static int back_and_forth(void *arg)
{
	stack_t mine = {.ss_sp = own[0], .ss_size = sizeof(own[0])},
		none = {.ss_flags = SS_DISABLE};
	void *ours;

	(void)arg;
	lay();
	T_CHECK(regmap_signal_stacks(0) == 0);
	T_CHECK(has_ours(1));
	ours = real_stack().ss_sp;
	T_CHECK(sigaltstack(&mine, NULL) == 0);
	T_CHECK(real_stack().ss_sp == own[0]);
	T_CHECK(regmap_signal_stacks(1 << 20) == 0);
	T_CHECK(real_stack().ss_sp == own[0]);
	T_CHECK(sigaltstack(&none, NULL) == 0);
	T_CHECK(has_ours(1 << 20) && real_stack().ss_sp != ours);
	T_CHECK(sigaltstack((void *)8, NULL) == -1 && errno == EFAULT);
	T_CHECK(sigaltstack(NULL, (void *)8) == -1 && errno == EFAULT);
	return 0;
}

static void test_stacks_give_way_and_come_back(void **state)
{
	(void)state;
	must_succeed(back_and_forth, NULL);
}

/* A callback sets the thread's stack as if the accessing instruction had called it. */

static int set_own(void)
{
	stack_t mine = {.ss_sp = own[0], .ss_size = sizeof(own[0])};

	return sigaltstack(&mine, NULL) ? errno : 1000;
}

static int set_in_callback(void *arg)
{
	lay();
	if (arg)
		T_CHECK(regmap_signal_stacks(0) == 0);
	in_device = set_own;
	T_CHECK(peek(DEVICE) == 1000);
	T_CHECK(real_stack().ss_sp == own[0] && real_stack().ss_flags == 0);
	T_CHECK(window_works());
	return 0;
}

static void test_stacks_set_by_a_callback_stay(void **state)
{
	(void)state;
	must_succeed(set_in_callback, NULL);
	must_succeed(set_in_callback, "");
}

/* ---- Where the program's handlers run --------------------------------------------------------- */

enum place { INTERRUPTED, OWN, ELSEWHERE };

struct facts {
	int count, code;
	uint64_t address, rip_offset, rbp_offset;
	enum place place, frame, image;
	bool aligned, image_aligned;
	int saved_flags, inside_flags, after_flags, stays;
	size_t saved_size, inside_size;
	void *saved_sp, *inside_sp, *after_sp;
	uint64_t mask_inside, mask_saved, mask_after;
	uint64_t vector_seen, vector_after, rax_after;
	bool windows_work;
	unsigned levels; /* handlers within handlers */
	enum place deepest;
};

struct scene {
	enum world world;
	int signo, flags, own; /* own: -1 none, else ss_flags */
	bool nest;
	struct facts facts;
};

static struct scene *scene;
extern const char fault_here[];
static uintptr_t interrupted_sp;

static enum place place_of(uintptr_t at)
{
	if (at - (uintptr_t)own[0] < sizeof(own[0]))
		return OWN;
	return at < interrupted_sp && interrupted_sp - at < 1 << 17 ? INTERRUPTED : ELSEWHERE;
}

static void record(int signo, siginfo_t *info, void *arg)
{
	struct facts *f = &scene->facts;
	ucontext_t *uc = arg;
	greg_t *regs = uc->uc_mcontext.gregs;
	struct _libc_fpstate *image = uc->uc_mcontext.fpregs;
	stack_t inside;

	regs[REG_RIP] += 2; /* mov [rdi], eax; ud2 */
	if (f->count++) {
		f->levels++;
		f->deepest = place_of((uintptr_t)&inside);
		if (f->levels < 5)
			fault_again(WILD);
		return;
	}
	interrupted_sp = (uintptr_t)regs[REG_RSP];
	f->code = info->si_code;
	f->address = scene->signo == SIGILL ? 0 : (uintptr_t)info->si_addr;
	f->rip_offset = (uint64_t)regs[REG_RIP] - (uintptr_t)fault_here;
	f->place = place_of((uintptr_t)&inside);
	f->frame = place_of((uintptr_t)uc);
	f->image = place_of((uintptr_t)image);
	f->aligned = (uintptr_t)__builtin_frame_address(0) % 16 == 0;
	f->image_aligned = (uintptr_t)image % 64 == 0;
	f->saved_flags = uc->uc_stack.ss_flags;
	f->saved_size = uc->uc_stack.ss_size;
	f->saved_sp = uc->uc_stack.ss_sp;
	sigaltstack(NULL, &inside);
	f->inside_flags = inside.ss_flags;
	f->inside_size = inside.ss_size;
	f->inside_sp = inside.ss_sp;
	f->mask_inside = believed_mask();
	f->mask_saved = word(&uc->uc_sigmask);
	memcpy(&f->vector_seen, image->_xmm[7].element, 8);
	f->windows_work = scene->world == BARE || (window_works() && peek(DEVICE) == 0);
	if (scene->nest)
		fault_again(WILD);
	regs[REG_RAX] = 77;
	memset(image->_xmm[7].element, 0x66, 16);
	(void)signo;
}

static void fault(uint64_t at)
{
	struct facts *f = &scene->facts;
	uint64_t in = 0x1122334455667788, rax = 5;

	if (scene->signo == SIGILL)
		__asm__ volatile("movq %2, %%xmm7; ud2; movq %%xmm7, %1"
		                 : "+a"(rax), "=r"(f->vector_after)
		                 : "r"(in), "D"(at)
		                 : "memory", "xmm7");
	else
		__asm__ volatile("movq %2, %%xmm7; fault_here: movl %%eax, (%%rdi); movq %%xmm7, %1"
		                 : "+a"(rax), "=r"(f->vector_after)
		                 : "r"(in), "D"(at)
		                 : "memory", "xmm7");
	f->rax_after = rax;
}

static void *play(void *arg)
{
	struct sigaction act = {.sa_sigaction = record};
	stack_t mine = {.ss_sp = own[0], .ss_size = sizeof(own[0])}, after;
	struct facts *f = &scene->facts;
	void *real;

	(void)arg;
	act.sa_flags = scene->flags;
	sigaddset(&act.sa_mask, SIGUSR1);
	sigaction(scene->signo, &act, NULL);
	mine.ss_flags = scene->own;
	if (scene->own >= 0 || scene->own == (int)SS_AUTODISARM)
		sigaltstack(&mine, NULL);
	real = real_stack().ss_sp;
	fault(WILD);
	sigaltstack(NULL, &after);
	f->after_flags = after.ss_flags;
	f->after_sp = after.ss_sp;
	f->stays = real_stack().ss_sp == real;
	f->mask_after = believed_mask();
	if (scene->signo == SIGILL)
		f->rip_offset = 0;
	return NULL;
}

static int play_scene(void *arg)
{
	pthread_t thread;

	scene = arg;
	have_world(scene->world);
	T_CHECK(pthread_create(&thread, NULL, play, NULL) == 0);
	return pthread_join(thread, NULL);
}

static void compare_worlds(struct scene like)
{
	struct scene *s = t_shared(3 * sizeof(*s));

	for (enum world w = BARE; w <= OPTION; w++) {
		s[w] = like;
		s[w].world = w;
		must_succeed(play_scene, &s[w]);
	}
	assert_int_equal(s[BARE].facts.count, like.nest ? 6 : 1);
	assert_int_equal(s[BARE].facts.vector_seen, 0x1122334455667788);
	assert_int_equal(s[BARE].facts.vector_after, 0x6666666666666666);
	assert_true(s[BARE].facts.aligned && s[BARE].facts.image_aligned);
	for (enum world w = WINDOWS; w <= OPTION; w++)
		if (memcmp(&s[w].facts, &s[BARE].facts, sizeof(s[w].facts)))
			fail_msg(
				"world %d, signal %d, flags %#x, own %#x: place %d %d, frame %d %d, "
				"saved %#x %#x, inside %#x %#x, after %#x %#x, deepest %d %d, masks "
				"%lx %lx, %lx %lx, %lx %lx, works %d, levels %u %u, stays %d, rbp %lx",
				w, like.signo, like.flags, like.own, s[w].facts.place,
				s[BARE].facts.place, s[w].facts.frame, s[BARE].facts.frame,
				s[w].facts.saved_flags, s[BARE].facts.saved_flags,
				s[w].facts.inside_flags, s[BARE].facts.inside_flags,
				s[w].facts.after_flags, s[BARE].facts.after_flags,
				s[w].facts.deepest, s[BARE].facts.deepest, s[w].facts.mask_inside,
				s[BARE].facts.mask_inside, s[w].facts.mask_saved,
				s[BARE].facts.mask_saved, s[w].facts.mask_after,
				s[BARE].facts.mask_after, s[w].facts.windows_work,
				s[w].facts.levels, s[BARE].facts.levels, s[w].facts.stays,
				s[w].facts.rbp_offset);
}

/* With and without SA_ONSTACK, with a stack of the program's and without. */
static void test_stacks_honour_sa_onstack(void **state)
{
	static const int flags[] = {SA_SIGINFO, SA_SIGINFO | SA_ONSTACK};
	static const int signals[] = {SIGSEGV, SIGILL};
	static const int stacks[] = {-1, 0, (int)SS_AUTODISARM};

	(void)state;
	NOT_UNDER(__tsan_init);
	for (unsigned f = 0; f < 2; f++)
		for (unsigned s = 0; s < 2; s++)
			for (unsigned k = 0; k < 3; k++)
				compare_worlds((struct scene){.signo = signals[s],
				                              .flags = flags[f],
				                              .own = stacks[k]});
}

/* A fault in a handler goes on where that one is. */
static void test_stacks_nest_as_the_kernel_nests(void **state)
{
	static const int flags[] = {0, SA_ONSTACK};
	static const int stacks[] = {-1, 0, (int)SS_AUTODISARM};

	(void)state;
	NOT_UNDER(__tsan_init);
	for (unsigned f = 0; f < 2; f++)
		for (unsigned k = 0; k < 3; k++)
			compare_worlds((struct scene){.signo = SIGSEGV,
			                              .flags = SA_SIGINFO | SA_NODEFER | flags[f],
			                              .own = stacks[k],
			                              .nest = true});
}

static sigjmp_buf out;
static volatile int jumps;

static void jump(int signo)
{
	(void)signo;
	siglongjmp(out, 1);
}

static int jump_often(void *arg)
{
	struct sigaction act = {.sa_handler = jump};
	uint64_t mask, real;

	(void)arg;
	have_world(OPTION);
	sigaction(SIGSEGV, &act, NULL);
	mask = believed_mask();
	real = real_mask();
	for (jumps = 0; jumps < 1000; jumps++) {
		if (!sigsetjmp(out, 1))
			poke(WILD, 1);
		T_CHECK(window_works());
	}
	T_CHECK(has_ours(1));
	T_CHECK(believed_mask() == mask && real_mask() == real);
	return 0;
}

static void test_stacks_survive_jumps_out_of_handlers(void **state)
{
	(void)state;
	must_succeed(jump_often, NULL);
}

/* A handler changes the stack that the interrupted code is to have, as ucontexts allow. */
static void put_own(int signo, siginfo_t *info, void *arg)
{
	ucontext_t *uc = arg;

	(void)signo, (void)info;
	uc->uc_stack = (stack_t){.ss_sp = own[0], .ss_size = sizeof(own[0])};
	uc->uc_mcontext.gregs[REG_RIP] += 2;
}

static int change_in_frame(void *arg)
{
	struct sigaction act = {.sa_sigaction = put_own, .sa_flags = SA_SIGINFO};

	(void)arg;
	have_world(OPTION);
	sigaction(SIGSEGV, &act, NULL);
	fault_again(WILD);
	T_CHECK(real_stack().ss_sp == own[0]);
	return 0;
}

static void test_stacks_obey_what_a_handler_puts_into_its_frame(void **state)
{
	(void)state;
	must_succeed(change_in_frame, NULL);
}

/* Unwinding */

static uintptr_t trace[64];
static unsigned trace_count;

static _Unwind_Reason_Code add_to_trace(struct _Unwind_Context *context, void *arg)
{
	(void)arg;
	if (trace_count < 64)
		trace[trace_count++] = _Unwind_GetIP(context);
	return _URC_NO_REASON;
}

static void unwind(int signo, siginfo_t *info, void *arg)
{
	ucontext_t *uc = arg;

	(void)signo, (void)info;
	_Unwind_Backtrace(add_to_trace, NULL);
	uc->uc_mcontext.gregs[REG_RIP] += 2;
}

extern const char unwind_here[], unwind_next[];

__attribute__((noinline)) static int walk_from_here(void)
{
	__asm__ volatile("unwind_here: movl %%eax, (%%rdi); unwind_next:" : : "D"(WILD) : "memory");
	return 5;
}

__attribute__((noinline)) static int call_walk(void)
{
	return walk_from_here() + 1;
}

/* From the handler through the moved frame to the faulting instruction and its callers. */
static int walk(void *arg)
{
	struct sigaction act = {.sa_sigaction = unwind, .sa_flags = SA_SIGINFO};
	unsigned at = 0;

	(void)arg;
	have_world(OPTION);
	sigaction(SIGSEGV, &act, NULL);
	T_CHECK(call_walk() == 6);
	while (at < trace_count && trace[at] != (uintptr_t)unwind_here)
		at++;
	T_CHECK(at >= 1 && at + 2 < trace_count);
	T_CHECK(trace[at + 1] - (uintptr_t)call_walk < 64);
	T_CHECK(trace[at + 2] - (uintptr_t)walk < 4096);
	return 0;
}

static void test_stacks_let_unwinders_through(void **state)
{
	(void)state;
	must_succeed(walk, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(do_not_show_in_sigaltstack),
		T(give_way_and_come_back),
		T(set_by_a_callback_stay),
		T(honour_sa_onstack),
		T(nest_as_the_kernel_nests),
		T(survive_jumps_out_of_handlers),
		T(obey_what_a_handler_puts_into_its_frame),
		T(let_unwinders_through),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("stacks_handlers", tests, NULL, NULL);
}
