/* SPDX-License-Identifier: MIT */
/* From the fault to the instruction carried out, seen from the program. */
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
#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "child.h"
#include "lay.h"

enum { PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE };

/* A kernel-half, a non-canonical and a low address; and others for single tests. */
#define HIGH 0xffff900000000000ULL
#define NOWHERE 0x1234567800000000ULL
#define LOW 0x40021000ULL
#define READ_ONLY 0xffff900000100000ULL
#define BROKEN 0xffff900000200000ULL
#define JUMPY 0xffff900000300000ULL
#define DEEP 0xffff900000400000ULL
#define LARGE 0xffff900000800000ULL
#define EDGE 0xffff910000000000ULL
#define WILD 0xffff920000000000ULL

static uint32_t memory[1024];
static uint8_t large[3 << 20];

static uint32_t load32(uint64_t at)
{
	return *(volatile uint32_t *)(uintptr_t)at;
}

static void store32(uint64_t at, uint32_t value)
{
	*(volatile uint32_t *)(uintptr_t)at = value;
}

/* What a handler of ours saw */
static struct seen {
	int signo, code;
	uint64_t address, rip;
	unsigned count;
} seen;
static sigjmp_buf out;

static void catch_and_jump(int signo, siginfo_t *info, void *uc)
{
	seen.signo = signo;
	seen.code = info->si_code;
	seen.address = (uintptr_t)info->si_addr;
	seen.rip = (uint64_t)((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP];
	seen.count++;
	siglongjmp(out, 1);
}

static void catch (int signo)
{
	struct sigaction act = {.sa_sigaction = catch_and_jump, .sa_flags = SA_SIGINFO};

	memset(&seen, 0, sizeof(seen));
	assert_int_equal(sigaction(signo, &act, NULL), 0);
}

/* Devices */

static int broken_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	return -EIO;
}

static int broken_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	return -ETIMEDOUT;
}

static const struct regmap_device_ops broken = {broken_read, broken_write};

static jmp_buf escape;
static int jumpy_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	longjmp(escape, 1);
}

static const struct regmap_device_ops jumpy = {jumpy_read, NULL};

/* Each read at offset n reads n - 4 through the window again. */
static int deep_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)width;
	*value = offset ? load32(DEEP + offset - 4) + 1 : 100;
	return 0;
}

static const struct regmap_device_ops deep = {deep_read, NULL};

static int lay_all(void **state)
{
	(void)state;
	return t_lay_host("high", HIGH, memory, sizeof(memory), RW) ||
	       t_lay_host("nowhere", NOWHERE, memory, sizeof(memory), RW) ||
	       t_lay_host("low", LOW, memory, 1024, RW) ||
	       t_lay_host("rom", READ_ONLY, memory, sizeof(memory), REGMAP_READ) ||
	       t_lay_host("large", LARGE, large, sizeof(large), RW) ||
	       t_lay_host("edge", EDGE, memory, 6, RW) ||
	       t_lay_device("broken", BROKEN, 4096, &broken, NULL) ||
	       t_lay_device("jumpy", JUMPY, 4096, &jumpy, NULL) ||
	       t_lay_device("deep", DEEP, 4096, &deep, NULL);
}

static void test_trap_reads_and_writes(void **state)
{
	const uint64_t at[] = {HIGH, NOWHERE, LOW};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		store32(at[i] + 8, 0x11223344 + i);
		assert_int_equal(memory[2], 0x11223344 + i);
		memory[3] = i;
		assert_int_equal(load32(at[i] + 12), i);
	}
}

static void test_trap_keeps_registers(void **state)
{
	uint64_t rbx = 0x1111, r12 = 0x2222, loaded;
	double d = 1.5, r;

	(void)state;
	memory[0] = 7, memory[1] = 0;
	__asm__ volatile("movq %[d], %%xmm3\n\t"
	                 "movq (%[at]), %[loaded]\n\t"
	                 "movq %%xmm3, %[r]"
	                 : [loaded] "=r"(loaded), "+b"(rbx), "+r"(r12), [r] "=r"(r)
	                 : [at] "r"(HIGH), [d] "r"(d)
	                 : "xmm3");
	assert_int_equal(loaded, 7);
	assert_int_equal(rbx, 0x1111);
	assert_int_equal(r12, 0x2222);
	assert_true(r == 1.5);
}

static int call(void *arg)
{
	((void (*volatile)(void))(uintptr_t)arg)();
	return 0;
}

static int call_and_die(void *arg)
{
	signal(SIGSEGV, SIG_DFL); /* cmocka's */
	return call(arg);
}

static void test_trap_leaves_calls_through_null_alone(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(call_and_die, NULL), SIGSEGV);
	/* nor is code fetched from a window */
	assert_int_equal(t_child_fate(call_and_die, (void *)(uintptr_t)LOW), SIGSEGV);
	catch (SIGSEGV);
	if (!sigsetjmp(out, 1))
		call(NULL);
	assert_int_equal(seen.address, 0);
	assert_int_equal(seen.rip, 0);
}

static void test_trap_leaves_wild_pointers_alone(void **state)
{
	void *page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	catch (SIGSEGV);
	if (!sigsetjmp(out, 1))
		store32((uintptr_t)page + 16, 1);
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.address, (uintptr_t)page + 16);
	assert_int_equal(seen.code, SEGV_ACCERR);
	if (!sigsetjmp(out, 1))
		load32(WILD);
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.address, WILD);
	if (!sigsetjmp(out, 1))
		load32(0x2345678900000000ULL);
	assert_int_equal(seen.count, 3);
	assert_int_equal(seen.address, 0);
	assert_int_equal(seen.code, SI_KERNEL);
	munmap(page, PAGE);
}

static void test_trap_refuses_writes_to_a_read_only_window(void **state)
{
	(void)state;
	catch (SIGSEGV);
	memory[4] = 5;
	if (!sigsetjmp(out, 1))
		store32(READ_ONLY + 16, 6);
	assert_int_equal(seen.signo, SIGSEGV);
	assert_int_equal(seen.code, SEGV_ACCERR);
	assert_int_equal(seen.address, READ_ONLY + 16);
	assert_int_equal(memory[4], 5);
	assert_int_equal(load32(READ_ONLY + 16), 5);
}

static void test_trap_turns_device_errors_into_bus_errors(void **state)
{
	(void)state;
	catch (SIGBUS);
	if (!sigsetjmp(out, 1))
		load32(BROKEN + 0x24);
	assert_int_equal(seen.signo, SIGBUS);
	assert_int_equal(seen.address, BROKEN + 0x24);
	assert_true(seen.code > 0);
	if (!sigsetjmp(out, 1))
		store32(BROKEN + 0x28, 1);
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.address, BROKEN + 0x28);
}

static int provoke(void *arg)
{
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	load32((uintptr_t)arg);
	store32((uintptr_t)arg, 1);
	return 0;
}

static void test_trap_kills_with_the_right_signal(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(provoke, (void *)(uintptr_t)HIGH), 0);
	assert_int_equal(t_child_fate(provoke, (void *)(uintptr_t)READ_ONLY), SIGSEGV);
	assert_int_equal(t_child_fate(provoke, (void *)(uintptr_t)BROKEN), SIGBUS);
	assert_int_equal(t_child_fate(provoke, (void *)(uintptr_t)WILD), SIGSEGV);
}

/* An access that begins in a window and ends in nothing faults as a whole. */
static void test_trap_refuses_what_leaves_the_window(void **state)
{
	(void)state;
	catch (SIGSEGV);
	memory[1] = 0xaaaaaaaa;
	if (!sigsetjmp(out, 1))
		store32(EDGE + 4, 0x55555555);
	assert_int_equal(seen.count, 1);
	assert_in_range(seen.address, EDGE + 4, EDGE + 8);
	assert_int_equal(memory[1], 0xaaaaaaaa);
}

/* Processor exceptions in a window's instruction arrive as if it had run at its place. */
static void test_trap_raises_the_divide_error(void **state)
{
	extern const char divide_here[];
	uint64_t quotient = 1, rest = 0;

	(void)state;
	memory[0] = 0;
	catch (SIGFPE);
	if (!sigsetjmp(out, 1)) {
		__asm__ volatile("divide_here: divl (%2)"
		                 : "+a"(quotient), "+d"(rest)
		                 : "r"(HIGH)
		                 : "cc");
	}
	assert_int_equal(seen.signo, SIGFPE);
	assert_int_equal(seen.code, FPE_INTDIV);
	assert_int_equal(seen.address, (uintptr_t)divide_here);
	assert_int_equal(seen.rip, (uintptr_t)divide_here);
}

static void test_trap_survives_longjmp_from_a_callback(void **state)
{
	(void)state;
	for (volatile int i = 0; i < 1000; i++) {
		if (!setjmp(escape)) {
			load32(JUMPY);
			fail();
		}
	}
	store32(HIGH, 77);
	assert_int_equal(memory[0], 77);
}

static void test_trap_nests(void **state)
{
	const stack_t none = {.ss_flags = SS_DISABLE};

	(void)state;
	sigaltstack(&none, NULL); /* a sanitizer's: too small for eleven handlers in each other */
	assert_int_equal(load32(DEEP + 40), 110);
}

static void test_trap_interrupts_long_strings(void **state)
{
	uint64_t to = LARGE, count = sizeof(large);

	(void)state;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0x5a) : "memory");
	assert_int_equal(to, LARGE + sizeof(large));
	assert_int_equal(count, 0);
	for (size_t i = 0; i < sizeof(large); i++)
		if (large[i] != 0x5a)
			fail_msg("byte %zu", i);
}

/* Code of our own making: mov eax, [rdi]; ret and its kin */

typedef uint32_t (*load_fn)(uint64_t at);

static uint8_t *code_pages(size_t count)
{
	uint8_t *at = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
	                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

static void test_trap_notices_rewritten_code(void **state)
{
	static const uint8_t first[] = {0x8b, 0x47, 0x00, 0xc3},
			     second[] = {0x8b, 0x47, 0x04, 0xc3};
	static const uint8_t third[] = {0x0f, 0xb6, 0x07, 0xc3}; /* movzx eax, byte [rdi] */
	uint8_t *code = code_pages(1);

	(void)state;
	memory[0] = 0x10203, memory[1] = 2;
	for (int i = 0; i < 3; i++) {
		memcpy(code, first, 4);
		assert_int_equal(((load_fn)(uintptr_t)code)(HIGH), 0x10203);
		memcpy(code, second, 4);
		assert_int_equal(((load_fn)(uintptr_t)code)(HIGH), 2);
		memcpy(code, third, 4);
		assert_int_equal(((load_fn)(uintptr_t)code)(HIGH), 3);
	}
	munmap(code, PAGE);
}

static void test_trap_fetches_no_further_than_the_page(void **state)
{
	static const uint8_t jump[] = {0x8b, 0x07}; /* mov eax, [rdi]: the page's last bytes */
	uint8_t *code = code_pages(2);

	(void)state;
	catch (SIGSEGV);
	memory[0] = 0;
	memcpy(code + PAGE - 2, jump, 2);
	mprotect(code + PAGE, PAGE, PROT_NONE);
	if (!sigsetjmp(out, 1))
		((load_fn)(uintptr_t)(code + PAGE - 2))(HIGH);
	/* the load went well; only the fetch behind it faulted */
	assert_int_equal(seen.rip, (uintptr_t)(code + PAGE));
	assert_int_equal(seen.address, (uintptr_t)(code + PAGE));
	munmap(code, 2 * PAGE);
}

static void test_trap_fetches_across_pages(void **state)
{
	static const uint8_t load[] = {0x8b, 0x87, 4, 0, 0, 0, 0xc3};
	uint8_t *code = code_pages(2);

	(void)state;
	memory[1] = 99;
	for (size_t i = 1; i < sizeof(load); i++) {
		memcpy(code + PAGE - i, load, sizeof(load));
		assert_int_equal(((load_fn)(uintptr_t)(code + PAGE - i))(HIGH), 99);
	}
	munmap(code, 2 * PAGE);
}

static void test_trap_reads_execute_only_text(void **state)
{
	static const uint8_t load[] = {0x8b, 0x07, 0xc3};
	uint8_t *code = code_pages(1);

	(void)state;
	memory[0] = 31;
	memcpy(code, load, 3);
	mprotect(code, PAGE, PROT_EXEC);
	assert_int_equal(((load_fn)(uintptr_t)code)(HIGH), 31);
	munmap(code, PAGE);
}

/* Single steps */

static uint64_t steps[8];
static unsigned step_count;

static void on_step(int signo, siginfo_t *info, void *uc)
{
	(void)signo;
	if (step_count < 8)
		steps[step_count++] = (uint64_t)((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP];
	if (info->si_code != TRAP_TRACE)
		step_count = 100;
}

/* The pushes go below the red zone. */
#define SET_TF "lea -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq\n\t"
#define CLEAR_TF "pushfq; andq $~0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp\n\t"

static void test_trap_single_steps(void **state)
{
	struct sigaction act = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO}, old;
	extern const char step_before[], step_after[], step_next[];
	uint32_t value;

	(void)state;
	memory[0] = 41;
	step_count = 0;
	sigaction(SIGTRAP, &act, &old);
	__asm__ volatile(SET_TF
	                 "nop; step_before: movl (%1), %0; step_after: nop; step_next:\n\t" CLEAR_TF
	                 : "=&r"(value)
	                 : "r"(HIGH)
	                 : "cc", "memory");
	sigaction(SIGTRAP, &old, NULL);
	assert_int_equal(value, 41);
	assert_in_range(step_count, 4, 8);
	assert_int_equal(steps[0], (uintptr_t)step_before);
	assert_int_equal(steps[1], (uintptr_t)step_after);
	assert_int_equal(steps[2], (uintptr_t)step_next);
}

/* Strings stop after each iteration, like silicon. */
static void test_trap_single_steps_strings(void **state)
{
	struct sigaction act = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO}, old;
	extern const char string_at[], string_after[];
	uint64_t to = HIGH, count = 3;

	(void)state;
	step_count = 0;
	sigaction(SIGTRAP, &act, &old);
	__asm__ volatile(SET_TF "nop; string_at: rep stosl; string_after: nop\n\t" CLEAR_TF
	                 : "+D"(to), "+c"(count)
	                 : "a"(9)
	                 : "cc", "memory");
	sigaction(SIGTRAP, &old, NULL);
	assert_int_equal(count, 0);
	assert_int_equal(steps[0], (uintptr_t)string_at);
	assert_int_equal(steps[1], (uintptr_t)string_at);
	assert_int_equal(steps[2], (uintptr_t)string_at);
	assert_int_equal(steps[3], (uintptr_t)string_after);
}

/* Our own misaligned accesses must not trip over the program's AC flag. */
static void test_trap_works_under_alignment_check(void **state)
{
	uint32_t value;

	(void)state;
	memory[1] = 17;
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq $0x40000, (%%rsp); popfq\n\t"
	                 "movl 4(%1), %0\n\t"
	                 "pushfq; andq $~0x40000, (%%rsp); popfq; lea 128(%%rsp), %%rsp"
	                 : "=&r"(value)
	                 : "r"(HIGH)
	                 : "cc", "memory");
	assert_int_equal(value, 17);
}

/* Threads, alternate stacks */

static void *hammer(void *arg)
{
	uint64_t at = (uintptr_t)arg;

	for (unsigned i = 0; i < 20000; i++) {
		store32(at, i);
		if (load32(at) != i)
			return arg;
	}
	return NULL;
}

static void test_trap_serves_threads(void **state)
{
	pthread_t threads[4];
	void *failed;

	(void)state;
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer,
		                                (void *)(uintptr_t)(HIGH + 4 * i)),
		                 0);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
}

static void test_trap_works_on_an_alternate_stack(void **state)
{
	stack_t stack = {.ss_sp = malloc(1 << 18), .ss_size = 1 << 18},
		none = {.ss_flags = SS_DISABLE};

	(void)state;
	assert_int_equal(sigaltstack(&stack, NULL), 0);
	store32(HIGH, 5);
	assert_int_equal(load32(DEEP + 40), 110); /* some 7 KB each */
	assert_int_equal(load32(HIGH), 5);
	assert_int_equal(sigaltstack(&none, NULL), 0);
	free(stack.ss_sp);
}

/* The program's FS base is its own business: nothing of ours may need it. */
static uint32_t access_without_tls(uint64_t at, uint64_t fs)
{
	uint64_t kept;
	uint32_t value;

	__asm__ volatile("rdfsbase %1\n\t"
	                 "wrfsbase %3\n\t"
	                 "movl %%eax, 8(%2)\n\t"
	                 "movl 8(%2), %0\n\t"
	                 "wrfsbase %1"
	                 : "=&r"(value), "=&r"(kept)
	                 : "r"(at), "r"(fs), "a"(0x600d)
	                 : "memory");
	return value;
}

/* Code that ThreadSanitizer instruments uses TLS all the time. */
extern void __tsan_init(void) __attribute__((weak));

static bool may_change_fs(void)
{
	return getauxval(AT_HWCAP2) & 2 && !__tsan_init;
}

static void test_trap_needs_no_tls(void **state)
{
	static const uint64_t bases[] = {0, 8, WILD, HIGH};

	(void)state;
	if (!may_change_fs())
		skip();
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(access_without_tls(HIGH, bases[i]), 0x600d);
}

static int refused_without_tls(void *arg)
{
	signal(SIGSEGV, SIG_DFL);
	access_without_tls(READ_ONLY, (uintptr_t)arg);
	return 0;
}

static void test_trap_refuses_without_tls(void **state)
{
	struct t_child child;

	(void)state;
	if (!may_change_fs())
		skip();
	t_child_run(&child, refused_without_tls, (void *)(uintptr_t)WILD);
	assert_int_equal(t_fate(child.status), SIGSEGV);
	assert_non_null(strstr(child.text, "the FS base is not libc's"));
	assert_non_null(strstr(child.text, "write of 4 bytes"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trap_reads_and_writes),
		cmocka_unit_test(test_trap_keeps_registers),
		cmocka_unit_test(test_trap_leaves_calls_through_null_alone),
		cmocka_unit_test(test_trap_leaves_wild_pointers_alone),
		cmocka_unit_test(test_trap_refuses_writes_to_a_read_only_window),
		cmocka_unit_test(test_trap_turns_device_errors_into_bus_errors),
		cmocka_unit_test(test_trap_kills_with_the_right_signal),
		cmocka_unit_test(test_trap_refuses_what_leaves_the_window),
		cmocka_unit_test(test_trap_raises_the_divide_error),
		cmocka_unit_test(test_trap_survives_longjmp_from_a_callback),
		cmocka_unit_test(test_trap_nests),
		cmocka_unit_test(test_trap_interrupts_long_strings),
		cmocka_unit_test(test_trap_notices_rewritten_code),
		cmocka_unit_test(test_trap_fetches_no_further_than_the_page),
		cmocka_unit_test(test_trap_fetches_across_pages),
		cmocka_unit_test(test_trap_reads_execute_only_text),
		cmocka_unit_test(test_trap_single_steps),
		cmocka_unit_test(test_trap_single_steps_strings),
		cmocka_unit_test(test_trap_works_under_alignment_check),
		cmocka_unit_test(test_trap_serves_threads),
		cmocka_unit_test(test_trap_works_on_an_alternate_stack),
		cmocka_unit_test(test_trap_needs_no_tls),
		cmocka_unit_test(test_trap_refuses_without_tls),
	};

	return cmocka_run_group_tests_name("trap", tests, lay_all, NULL);
}
