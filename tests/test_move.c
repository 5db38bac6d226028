/* SPDX-License-Identifier: MIT */
/*
 * Loads and stores of devices at patched sites, which go the shortest way: all forms of operands against
 * what they are to do; ways out of callbacks; and who waits for an access, as it pins its window without a
 * fence.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>
#include <regmap/regmap.h>

#include "../arch/x86_64/slot.h"
#include "../arch/x86_64/slotmove.h"
#include "../src/lane.h"
#include "../src/patch_sites.h"
#include "../src/pin.h"
#include "lay.h"

#define HOST 0x40000000u
#define ANY 0x40010000u
#define GENERAL 0x40020000u
#define OTHER 0x40030000u /* general, too */
#define COMES 0x40040000u /* and goes */
enum { SIZE = 0x1000, TIMES = 6 };

/* --- a device that is memory, and tells what it was asked --- */

struct model {
	uint8_t byte[SIZE];
	unsigned reads, writes, odd;
	int error;
	void (*hook)(struct model *), (*read_hook)(struct model *);
};
static struct model any, general, other, comes;
static uint8_t memory[SIZE] __attribute__((aligned(64)));

static int model_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	struct model *m = ctx;

	m->reads++;
	m->odd += offset % width != 0;
	memcpy(value, m->byte + offset, sizeof(*value)); /* more than was asked for */
	if (m->read_hook)
		m->read_hook(m);
	if (m->hook)
		m->hook(m);
	return m->error;
}

static int model_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	struct model *m = ctx;

	m->writes++;
	m->odd += offset % width != 0;
	memcpy(m->byte + offset, &value, width);
	if (m->hook)
		m->hook(m);
	return m->error;
}

static const struct regmap_device_ops ops = {model_read, model_write};

/* Said to be for general registers only: no form has to do with others. */
static struct regmap_window *lay_as_general(uint64_t guest, unsigned access,
                                            const struct regmap_device_ops *with, void *ctx)
{
	const struct regmap_config c = {.size = sizeof(c),
	                                .guest = guest,
	                                .length = SIZE,
	                                .access = access,
	                                .flags = REGMAP_GENERAL,
	                                .backing = REGMAP_DEVICE,
	                                .ops = with,
	                                .ctx = ctx};
	struct regmap_window *window;

	assert_int_equal(regmap_map(&c, &window), 0);
	return window;
}

static struct regmap_window *lay_general(uint64_t guest, struct model *m)
{
	return lay_as_general(guest, REGMAP_READ | REGMAP_WRITE, &ops, m);
}

static void fill(uint8_t *bytes, unsigned seed)
{
	for (unsigned i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(i * 37 + (i >> 8) * 11 + seed);
}

/* --- forms --- */

/* The registers that the code of a form is run with and leaves, in encoding order; RSP is not loaded. */
struct file {
	uint64_t gpr[16], flags;
};

/* void name(struct file *): loads the file, runs the one instruction, and stores the file. */
#define FORM(name, instruction) \
	__asm__(".text\n.p2align 4\n.type " #name ", @function\n" #name ":\n.cfi_startproc\n" \
	        "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\npush %rdi\n" \
	        "pushq 128(%rdi)\npopfq\n" \
	        "mov 0(%rdi), %rax\nmov 8(%rdi), %rcx\nmov 16(%rdi), %rdx\nmov 24(%rdi), %rbx\n" \
	        "mov 40(%rdi), %rbp\nmov 48(%rdi), %rsi\nmov 64(%rdi), %r8\nmov 72(%rdi), %r9\n" \
	        "mov 80(%rdi), %r10\nmov 88(%rdi), %r11\nmov 96(%rdi), %r12\nmov 104(%rdi), %r13\n" \
	        "mov 112(%rdi), %r14\nmov 120(%rdi), %r15\nmov 56(%rdi), %rdi\n" #name \
	        "_site: " instruction "\n" #name "_next:\nnop\nnop\nnop\nnop\n" \
	        "push %rdi\nmov 8(%rsp), %rdi\npopq 56(%rdi)\n" \
	        "mov %rax, 0(%rdi)\nmov %rcx, 8(%rdi)\nmov %rdx, 16(%rdi)\nmov %rbx, 24(%rdi)\n" \
	        "mov %rbp, 40(%rdi)\nmov %rsi, 48(%rdi)\nmov %r8, 64(%rdi)\nmov %r9, 72(%rdi)\n" \
	        "mov %r10, 80(%rdi)\nmov %r11, 88(%rdi)\nmov %r12, 96(%rdi)\nmov %r13, 104(%rdi)\n" \
	        "mov %r14, 112(%rdi)\nmov %r15, 120(%rdi)\npushfq\npopq 128(%rdi)\n" \
	        "pop %rdi\npop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n" \
	        ".cfi_endproc\n.size " #name ", . - " #name "\n"); \
	void name(struct file *); \
	extern const uint8_t name##_site[], name##_next[]

FORM(load_1, "movb (%rdi), %al");
FORM(load_1_new, "movb 3(%rdi), %r9b");
FORM(load_1_high, "movb 3(%rdi), %ah");
FORM(load_2, "movw 6(%rdi), %bp");
FORM(load_4, "movl (%rdi), %eax");
FORM(load_4_new, "movl 0x10(%r15), %r14d");
FORM(load_8, "movq 8(%rdi,%rcx,8), %rdx");
FORM(load_base, "movq (%rdi), %rdi");
FORM(load_index, "movl (%rdi,%rcx,4), %ecx");
FORM(load_r13, "movl (%r13), %r13d");
FORM(load_no_base, "movl 0x100(,%rcx,4), %esi");
FORM(load_32, "addr32 movl 0x20(%edi), %eax");
FORM(load_zero, "movzbl 5(%rdi), %eax");
FORM(load_zero_16, "movzwl 4(%rdi), %r8d");
FORM(load_sign, "movsbq 7(%rdi), %rbx");
FORM(load_zero_away, "movzbl 9(%rdi), %r13d");
FORM(load_sign_8, "movsbl 3(%rdi), %eax");
FORM(load_sign_16, "movswl 6(%rdi), %ebp");
FORM(load_sign_16_wide, "movswq 6(%rdi), %r9");
FORM(load_sign_32, "movslq 12(%rdi), %r14");
FORM(load_sign_low, "movsbw 3(%rdi), %cx");
FORM(load_zero_low, "movzbw 3(%rdi), %r12w");
FORM(load_8_away, "movq 8(%rdi), %rbp");
FORM(store_1_away, "movb %bpl, 2(%rdi)");
FORM(load_turned, "movbe 8(%rdi), %eax");
FORM(store_1, "movb %al, 1(%rdi)");
FORM(store_1_new, "movb %sil, 9(%rdi)");
FORM(store_1_high, "movb %bh, 2(%rdi)");
FORM(store_2, "movw %r12w, 2(%rdi)");
FORM(store_4, "movl %esi, (%rdi)");
FORM(store_8, "movq %r11, -8(%rdi,%rcx,2)");
FORM(store_base, "movq %rdi, 16(%rdi)");
FORM(store_sp, "movq %rsp, 24(%rdi)");
FORM(store_byte, "movb $0xa5, 1(%rdi)");
FORM(store_word, "movw $0x8001, 2(%rdi)");
FORM(store_constant, "movl $0x89abcdef, 4(%rdi)");
FORM(store_signed, "movq $-3, 8(%rdi)");
FORM(store_odd, "movl %esi, 1(%rdi)"); /* not one piece */
FORM(load_odd, "movq 4(%rdi), %rax");

static const struct form {
	const char *name;
	void (*run)(struct file *);
	const uint8_t *site;
} forms[] = {
#define F(name) \
	{ \
#name, name, name##_site \
	}
	F(load_1),
	F(load_1_new),
	F(load_1_high),
	F(load_2),
	F(load_4),
	F(load_4_new),
	F(load_8),
	F(load_base),
	F(load_index),
	F(load_r13),
	F(load_no_base),
	F(load_32),
	F(load_zero),
	F(load_zero_16),
	F(load_sign),
	F(load_zero_away),
	F(load_sign_8),
	F(load_sign_16),
	F(load_sign_16_wide),
	F(load_sign_32),
	F(load_sign_low),
	F(load_zero_low),
	F(load_8_away),
	F(store_1_away),
	F(load_turned),
	F(store_1),
	F(store_1_new),
	F(store_1_high),
	F(store_2),
	F(store_4),
	F(store_8),
	F(store_base),
	F(store_sp),
	F(store_byte),
	F(store_word),
	F(store_constant),
	F(store_signed),
	F(store_odd),
	F(load_odd),
};
enum { FORMS = sizeof(forms) / sizeof(forms[0]) };

static const struct form a_load = F(load_4), a_store = F(store_4);

/* All address registers lead to where; the others have numbers. */
static struct file start_at(uint64_t where, unsigned seed)
{
	struct file f = {.flags = 0x202 | ((seed * 0x6d) & 0x8d5)};

	for (unsigned i = 0; i < 16; i++)
		f.gpr[i] = 0x1011121314151617u * (i + 3) + seed;
	f.gpr[7] = f.gpr[13] = f.gpr[15] = where + 0x40;
	f.gpr[1] = 4;
	return f;
}

static void assert_files(const char *name, const struct file *a, const struct file *b)
{
	for (unsigned i = 0; i < 16; i++)
		if (i != 4 && a->gpr[i] != b->gpr[i])
			fail_msg("%s: register %u is %#lx, not %#lx", name, i, a->gpr[i],
			         b->gpr[i]);
	if ((a->flags ^ b->flags) & 0xcd5)
		fail_msg("%s: the flags are %#lx, not %#lx", name, a->flags, b->flags);
}

/* As many as when it faulted. */
static void assert_accesses(const struct form *form, unsigned accesses)
{
	static unsigned known[FORMS];
	unsigned *wanted = &known[form - forms];

	if (form < forms || form >= forms + FORMS)
		return;
	if (!*wanted)
		*wanted = accesses;
	if (accesses != *wanted)
		fail_msg("%s: %u accesses, not %u", form->name, accesses, *wanted);
}

/* The same on memory that nobody traps, and in a device; where the address may be a result, it differs. */
static void try_form_at(const struct form *form, uint64_t guest, struct model *m, unsigned seed,
                        unsigned away)
{
	static uint8_t plain[SIZE] __attribute__((aligned(SIZE)));
	struct file is = start_at(guest + away, seed);
	struct file wanted = start_at((uintptr_t)plain + away, seed);
	unsigned accesses = m->reads + m->writes;

	if (form->run == load_32 ||
	    form->run == load_no_base) /* there is nothing else at such addresses */
		return;
	fill(plain, seed);
	fill(m->byte, seed);
	form->run(&is);
	form->run(&wanted);
	for (unsigned i = 0; i < 16; i++)
		if (wanted.gpr[i] - (uintptr_t)plain < SIZE)
			wanted.gpr[i] += guest - (uintptr_t)plain;
	assert_files(form->name, &is, &wanted);
	if (form->run == store_base) /* stores its own address */
		*(uint64_t *)(plain + away + 0x50) += guest - (uintptr_t)plain;
	assert_memory_equal(m->byte, plain, SIZE);
	if (!away)
		assert_accesses(form, m->reads + m->writes - accesses);
	assert_true(m->reads + m->writes > accesses);
	assert_int_equal(m->odd, 0);
}

static void try_form(const struct form *form, uint64_t guest, struct model *m, unsigned seed)
{
	try_form_at(form, guest, m, seed, 0);
}

/* Each has its site at the device for the first time, then elsewhere, and in plain memory in between. */
static void test_move_does_what_the_instruction_does(void **state)
{
	(void)state;
	for (unsigned i = 0; i < FORMS; i++) {
		for (unsigned n = 0; n < 3 * TIMES; n++) {
			try_form(&forms[i], GENERAL, &general, n);
			if (n >= TIMES)
				try_form(&forms[i], OTHER, &other, n + 1);
			if (n >= 2 * TIMES)
				try_form(&forms[i], ANY, &any, n + 2);
		}
		for (unsigned n = 0; n < 200; n++)
			try_form(&forms[i], n & 1 ? ANY : GENERAL, n & 1 ? &any : &general, n);
		for (unsigned n = 0; n < 20; n++) /* not always one piece */
			try_form_at(&forms[i], GENERAL, &general, n, n % 4);
		if (forms[i].run != load_32 && forms[i].run != load_no_base)
			assert_int_equal(regmap_patch_site(forms[i].site), 1);
	}
}

static void test_move_knows_all_addresses(void **state)
{
	struct file f;

	(void)state;
	fill(general.byte, 9);
	for (unsigned n = 0; n < TIMES; n++) {
		f = start_at(GENERAL + (0xabcdull << 32), n);
		load_32(&f);
		assert_int_equal(f.gpr[0], *(uint32_t *)(general.byte + 0x60));
		f = start_at(GENERAL, n);
		f.gpr[1] = (GENERAL + 0x20) / 4;
		load_no_base(&f);
		assert_int_equal(f.gpr[6], *(uint32_t *)(general.byte + 0x120));
	}
}

/* A site is used for a device, then for memory, which gets a view; and for the device again. */
static void test_move_shares_its_site_with_memory(void **state)
{
	struct model *m = &general;
	const struct patch *patch;
	struct file f;

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned n = 0; n < 300; n++) {
			fill(memory, n);
			f = start_at(HOST, n);
			load_4(&f);
			assert_int_equal(f.gpr[0], *(uint32_t *)(memory + 0x40));
		}
		for (unsigned n = 0; n < 300; n++)
			try_form(&a_load, GENERAL, m, n);
	}
	patch = regmap__patch_of((uintptr_t)load_4_site);
	assert_non_null(patch);
	assert_int_equal(patch->cell->way, patch->cell->start_inline);
}

/* The shortest way is really gone: else this is a test of something else. */
static void test_move_remembers_the_device(void **state)
{
	const struct patch *p = regmap__patch_of((uintptr_t)store_4_site);
	const struct move *m;

	(void)state;
	for (unsigned n = 0; n < 3; n++)
		try_form(&a_store, GENERAL, &general, n);
	for (unsigned n = 0; n < 130; n++)
		try_form(&a_store, OTHER, &other, n);
	assert_non_null(p);
	m = (const struct move *)p->cell->move;
	assert_non_null(m);
	assert_int_equal(m->ctx, (uintptr_t)&other);
	assert_int_equal(m->turn % 2, 0);
}

/* --- what a callback does besides --- */

static void set_errno(struct model *m)
{
	(void)m;
	errno = EDOM;
}

static void test_move_keeps_errno(void **state)
{
	(void)state;
	general.hook = any.hook = set_errno;
	errno = ERANGE;
	for (unsigned n = 0; n < TIMES; n++) {
		try_form(&a_load, GENERAL, &general, n);
		try_form(&a_load, ANY, &any, n);
	}
	assert_int_equal(errno, ERANGE);
	general.hook = any.hook = NULL;
}

static sigjmp_buf away;
static volatile uint64_t fault_address;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)context;
	fault_address = (uintptr_t)info->si_addr;
	siglongjmp(away, signo);
}

static void test_move_reports_what_the_device_refuses(void **state)
{
	struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, before;
	struct file f;

	(void)state;
	sigaction(SIGBUS, &act, &before);
	for (volatile unsigned n = 0; n < 2 * TIMES; n++) {
		struct model *m = n & 1 ? &any : &general;
		uint64_t at = n & 1 ? ANY : GENERAL;
		unsigned reads = m->reads;
		int signo;

		try_form(&a_load, at, m, n);
		m->error = -EIO;
		f = start_at(at, n);
		signo = sigsetjmp(away, 1);
		if (!signo)
			load_4(&f);
		m->error = 0;
		assert_int_equal(signo, SIGBUS);
		assert_int_equal(fault_address, at + 0x40);
		assert_int_equal(m->reads, reads + 2);
	}
	sigaction(SIGBUS, &before, NULL);
}

/* An operation that there is none of refuses like one that says -EACCES. */
static void test_move_refuses_what_the_device_does_not_do(void **state)
{
	static struct regmap_device_ops changing = {model_read, model_write};
	struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, before;
	struct regmap_window *window;
	struct file f;

	(void)state;
	sigaction(SIGBUS, &act, &before);
	window = lay_as_general(COMES, REGMAP_READ | REGMAP_WRITE, &changing, &comes);
	for (volatile unsigned n = 0; n < 8; n++) {
		unsigned writes = comes.writes;
		int signo;

		changing.write = n % 4 == 3 ? NULL : model_write;
		f = start_at(COMES, n);
		signo = sigsetjmp(away, 1);
		if (!signo)
			store_4(&f);
		assert_int_equal(signo, changing.write ? 0 : SIGBUS);
		assert_int_equal(comes.writes, writes + (changing.write != NULL));
	}
	assert_int_equal(regmap_unmap(window), 0);
	sigaction(SIGBUS, &before, NULL);
}

/* In the callback of one access, others: by the same site, and by another one. */
static void access_inside(struct model *m)
{
	struct file f = start_at(OTHER, 1);

	(void)m;
	load_4(&f);
	assert_int_equal(f.gpr[0], *(uint32_t *)(other.byte + 0x40));
	f = start_at(OTHER, 2);
	store_4(&f);
	assert_int_equal((uint32_t)f.gpr[6], *(uint32_t *)(other.byte + 0x40));
}

static void test_move_nests(void **state)
{
	(void)state;
	any.hook = access_inside;
	for (unsigned n = 0; n < 20; n++) {
		try_form(&a_load, ANY, &any, n);
		try_form(&a_load, OTHER, &other, n);
	}
	any.hook = NULL;
}

static void unmap_own(struct model *m)
{
	assert_int_equal(regmap_unmap(*(struct regmap_window **)(m->byte + 0x200)), 0);
}

static void test_move_lets_a_callback_unmap_its_window(void **state)
{
	struct file f;

	(void)state;
	for (unsigned n = 0; n < TIMES; n++) {
		struct regmap_window *window = lay_general(COMES, &comes);

		fill(comes.byte, n);
		for (unsigned i = 0; i < 3; i++) {
			comes.hook = i == 2 ? unmap_own : NULL;
			memcpy(comes.byte + 0x200, &window, sizeof(window));
			f = start_at(COMES, i);
			load_4(&f);
			assert_int_equal(f.gpr[0], *(uint32_t *)(comes.byte + 0x40));
		}
	}
}

/* --- ways out --- */

static struct slot *own_slot(void)
{
	struct lane *lane = regmap__lane_take();

	assert_non_null(lane);
	assert_non_null(lane->pin);
	return lane->pin;
}

static jmp_buf out;
static void *out_by_hand[5];

static void leave(struct model *m)
{
	(void)m;
	longjmp(out, 1);
}

static void leave_by_hand(struct model *m)
{
	(void)m;
	__builtin_longjmp(out_by_hand, 1);
}

static void test_move_is_left_by_longjmp(void **state)
{
	struct file f;

	(void)state;
	for (volatile unsigned n = 0; n < 100; n++) {
		f = start_at(GENERAL, n);
		general.hook = n % 4 ? leave : NULL;
		if (!setjmp(out))
			load_4(&f);
		assert_int_equal(own_slot()->nonce, 0);
	}
	general.hook = NULL;
}

__attribute__((noinline)) static void jump_once(void)
{
	struct file f = start_at(GENERAL, 1);

	if (!__builtin_setjmp(out_by_hand))
		load_4(&f);
}

/* Nobody sees that one: the slot is found to be lost once its stack is used again. */
static void test_move_is_left_by_jumps_that_nobody_sees(void **state)
{
	struct file f;

	(void)state;
	general.hook = leave_by_hand;
	jump_once();
	general.hook = NULL;
	for (unsigned n = 0; n < 50; n++) {
		f = start_at(n & 1 ? GENERAL : OTHER, n);
		load_4(&f);
		assert_int_equal(f.gpr[0], *(uint32_t *)((n & 1 ? general : other).byte + 0x40));
	}
	assert_int_equal(own_slot()->nonce, 0);
}

static void end_thread(struct model *m)
{
	(void)m;
	pthread_exit(NULL);
}

static void *poll_once_too_often(void *arg)
{
	struct file f;

	for (unsigned n = 0; n < 5; n++) {
		comes.hook = n == 4 ? end_thread : NULL;
		f = start_at(COMES, n);
		load_4(&f);
	}
	return arg;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Its frames are unwound, and so the window is nobody's. */
static void test_move_is_left_by_threads_that_end(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 20; n++) {
		struct regmap_window *window = lay_general(COMES, &comes);
		pthread_t thread;

		fill(comes.byte, n);
		assert_int_equal(pthread_create(&thread, NULL, poll_once_too_often, &comes), 0);
		pthread_join(thread, NULL);
		assert_int_equal(regmap_unmap(window), 0);
		for (unsigned i = 0; i < PIN_LANES; i++)
			assert_int_not_equal(regmap__lane_slots[i].window & ~(uint64_t)PIN_STORES,
			                     (uintptr_t)window);
	}
	comes.hook = NULL;
}

/* --- who waits --- */

static atomic_bool inside, go_on, over;

static void stay(struct model *m)
{
	(void)m;
	atomic_store(&inside, true);
	while (!atomic_load(&go_on))
		sched_yield();
}

struct visit {
	uint64_t at;
	bool store;
	struct model *model;
};

static void *visit(void *arg)
{
	const struct visit *v = arg;
	struct file f;

	for (unsigned n = 0; n < 4; n++) {
		v->model->hook = n == 3 ? stay : NULL;
		f = start_at(v->at, n);
		if (v->store)
			store_4(&f);
		else
			load_4(&f);
	}
	return NULL;
}

static void *take_away(void *window)
{
	assert_int_equal(regmap_unmap(window), 0);
	atomic_store(&over, true);
	return NULL;
}

static void *add_locked(void *at)
{
	__atomic_fetch_add((uint32_t *)at, 1, __ATOMIC_SEQ_CST);
	atomic_store(&over, true);
	return NULL;
}

static void sleep_ms(long ms)
{
	nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

/* @second isn't over before @v's callback is. */
static void must_wait(const struct visit *v, void *(*second)(void *), void *arg)
{
	pthread_t first, waiter;

	atomic_store(&inside, false);
	atomic_store(&go_on, false);
	atomic_store(&over, false);
	assert_int_equal(pthread_create(&first, NULL, visit, (void *)v), 0);
	while (!atomic_load(&inside))
		sched_yield();
	v->model->hook = NULL;
	assert_int_equal(pthread_create(&waiter, NULL, second, arg), 0);
	sleep_ms(30);
	assert_false(atomic_load(&over));
	atomic_store(&go_on, true);
	pthread_join(first, NULL);
	pthread_join(waiter, NULL);
	assert_true(atomic_load(&over));
}

static void test_move_keeps_its_window(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 4; n++) {
		const struct visit v = {COMES, n & 1, &comes};

		must_wait(&v, take_away, lay_general(COMES, &comes));
	}
}

static void test_move_keeps_locked_operations_waiting(void **state)
{
	const struct visit v = {GENERAL, true, &general};

	(void)state;
	must_wait(&v, add_locked, (void *)(uintptr_t)(GENERAL + 0x40));
	must_wait(&v, add_locked, (void *)(uintptr_t)(GENERAL + 0x40));
}

static atomic_bool ready;

/* Often enough for the site to remember this device. */
static void *store_when_locked(void *arg)
{
	struct file f;

	for (unsigned n = 0; n < 200; n++) {
		f = start_at(GENERAL, n);
		store_4(&f);
	}
	atomic_store(&ready, true);
	while (!atomic_load(&inside))
		sched_yield();
	f = start_at(GENERAL, 3);
	store_4(&f);
	atomic_store(&over, true);
	return arg;
}

static void *stay_locked(void *arg)
{
	general.read_hook = stay;
	__atomic_fetch_add((uint32_t *)(uintptr_t)(GENERAL + 0x44), 1, __ATOMIC_SEQ_CST);
	return arg;
}

static void test_move_waits_for_locked_operations(void **state)
{
	pthread_t first, waiter;

	(void)state;
	for (unsigned n = 0; n < 2; n++) {
		atomic_store(&inside, false);
		atomic_store(&go_on, false);
		atomic_store(&over, false);
		atomic_store(&ready, false);
		assert_int_equal(pthread_create(&waiter, NULL, store_when_locked, &general), 0);
		while (!atomic_load(&ready))
			sched_yield();
		assert_int_equal(pthread_create(&first, NULL, stay_locked, &general), 0);
		sleep_ms(30);
		general.read_hook = NULL;
		assert_true(atomic_load(&inside));
		assert_false(atomic_load(&over));
		atomic_store(&go_on, true);
		pthread_join(first, NULL);
		pthread_join(waiter, NULL);
	}
}

/*
 * Store, then load, on both sides: the one that pins has no fence, so the other one's must do for both. One
 * of them is to see the other.
 */
static atomic_uint begun, ready_for, go, done, changed, saw;
static _Atomic uint64_t *pinned;

static void await(atomic_uint *word, unsigned value)
{
	for (unsigned n = 0; atomic_load(word) != value; n++)
		if (n > 1000)
			sched_yield();
}

static void *pin_each_turn(void *arg)
{
	unsigned rounds = *(const unsigned *)arg;
	struct slot *slot = own_slot();

	pinned = &slot->window;
	for (unsigned r = 1; r <= rounds; r++) {
		await(&begun, r);
		atomic_store(&slot->window, 0);
		atomic_store(&saw, 0);
		atomic_store(&ready_for, r);
		await(&go, r);
		atomic_store_explicit(&slot->window, 1, memory_order_release);
		atomic_signal_fence(memory_order_seq_cst);
		if (atomic_load_explicit(&changed, memory_order_acquire) == r)
			atomic_store(&saw, 1);
		atomic_store(&done, r);
	}
	return NULL;
}

static void test_move_is_seen_without_a_fence(void **state)
{
	unsigned rounds = 20000, missed = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, pin_each_turn, &rounds), 0);
	for (unsigned r = 1; r <= rounds; r++) {
		uint64_t seen;

		atomic_store(&begun, r);
		await(&ready_for, r);
		atomic_store(&go, r);
		atomic_store(&changed, r);
		regmap__lane_slots_settle();
		seen = atomic_load(pinned);
		await(&done, r);
		missed += !seen && !atomic_load(&saw);
	}
	pthread_join(thread, NULL);
	atomic_store(pinned, 0);
	assert_int_equal(missed, 0);
}

/* --- windows that come and go --- */

static atomic_uint wrong;
static atomic_bool stop;

static int read_turn(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)offset, (void)width;
	*value = *(atomic_uint *)ctx;
	return 0;
}

static const struct regmap_device_ops turn_ops = {read_turn, NULL};
static atomic_uint turns[2];

/* Between two of them there is nothing: then the program goes on behind the load. */
static void on_gap(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)load_4_next;
}

/* A device that has gone says 0xdead: its callback must not be under way any more. */
static void *poll(void *arg)
{
	struct file f;

	while (!atomic_load(&stop)) {
		f = start_at(COMES, 0);
		load_4(&f);
		if (f.gpr[0] == 0xdead)
			atomic_fetch_add(&wrong, 1);
	}
	return arg;
}

static void test_move_follows_windows_that_come_and_go(void **state)
{
	struct sigaction act = {.sa_sigaction = on_gap, .sa_flags = SA_SIGINFO}, before;
	double until = now() + 1.5;
	unsigned rounds = 0;
	pthread_t thread[3];

	(void)state;
	sigaction(SIGSEGV, &act, &before);
	setenv("REGMAP_REPORT", "0", 1);
	atomic_store(&stop, false);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, poll, NULL), 0);
	for (; now() < until; rounds++) {
		struct regmap_window *window;

		atomic_store(&turns[rounds % 2], rounds % 1000);
		window = lay_as_general(COMES, REGMAP_READ, &turn_ops, &turns[rounds % 2]);
		if (rounds % 4 == 0)
			sleep_ms(1);
		assert_int_equal(regmap_unmap(window), 0);
		atomic_store(&turns[rounds % 2], 0xdead);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	sigaction(SIGSEGV, &before, NULL);
	assert_int_equal(atomic_load(&wrong), 0);
	assert_true(rounds > 10);
}

/* Threads that end leave their lanes, and slots, to others. */
static void *poll_shortly(void *arg)
{
	struct file f;

	for (unsigned n = 0; n < 50; n++) {
		f = start_at(n & 1 ? OTHER : GENERAL, n);
		load_4(&f);
		if (n > 1 && !lane_own())
			atomic_fetch_add(&wrong, 1);
		if (f.gpr[0] != *(uint32_t *)((n & 1 ? other : general).byte + 0x40))
			atomic_fetch_add(&wrong, 1);
	}
	return arg;
}

static void test_move_is_for_many_threads(void **state)
{
	pthread_t thread[8];

	(void)state;
	atomic_store(&wrong, 0);
	fill(general.byte, 3);
	fill(other.byte, 4);
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(pthread_create(&thread[i], NULL, poll_shortly, NULL), 0);
		for (unsigned i = 0; i < 8; i++)
			pthread_join(thread[i], NULL);
	}
	assert_int_equal(atomic_load(&wrong), 0);
}

static int start(void **state)
{
	(void)state;
	fill(general.byte, 0);
	fill(other.byte, 0);
	lay_general(GENERAL, &general);
	lay_general(OTHER, &other);
	return t_lay_host("memory", HOST, memory, SIZE, REGMAP_READ | REGMAP_WRITE) ||
	       t_lay_device("any", ANY, SIZE, &ops, &any);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_move_does_what_the_instruction_does),
		cmocka_unit_test(test_move_knows_all_addresses),
		cmocka_unit_test(test_move_shares_its_site_with_memory),
		cmocka_unit_test(test_move_remembers_the_device),
		cmocka_unit_test(test_move_keeps_errno),
		cmocka_unit_test(test_move_reports_what_the_device_refuses),
		cmocka_unit_test(test_move_refuses_what_the_device_does_not_do),
		cmocka_unit_test(test_move_nests),
		cmocka_unit_test(test_move_lets_a_callback_unmap_its_window),
		cmocka_unit_test(test_move_is_left_by_longjmp),
		cmocka_unit_test(test_move_is_left_by_jumps_that_nobody_sees),
		cmocka_unit_test(test_move_is_left_by_threads_that_end),
		cmocka_unit_test(test_move_keeps_its_window),
		cmocka_unit_test(test_move_keeps_locked_operations_waiting),
		cmocka_unit_test(test_move_waits_for_locked_operations),
		cmocka_unit_test(test_move_is_seen_without_a_fence),
		cmocka_unit_test(test_move_follows_windows_that_come_and_go),
		cmocka_unit_test(test_move_is_for_many_threads),
	};

	if (regmap_patch(1))
		return 77;
	return cmocka_run_group_tests_name("move", tests, start, NULL);
}
