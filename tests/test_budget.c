/* SPDX-License-Identifier: MIT */
/*
 * What the functions of others that the handler calls take of a stack is what src/stack.budget says,
 * on which check-stack relies.
 */
#define _GNU_SOURCE
#define UNW_LOCAL_ONLY
#include <Zydis/Zydis.h>
#include <errno.h>
#include <libunwind.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "enumerate.h"

enum { STACK = 1 << 18, PAINT = 0xa5, SEED = 12345 };

static struct t_forms forms;
static volatile int sink;

/* The compiler must neither inline a call nor work it out. */
#define HIDE(p) \
	({ \
		__typeof__(&(p)) hidden = (p); \
		__asm__("" : "+r"(hidden)); \
		hidden; \
	})

/* --- what to measure --- */

static void decode(void)
{
	ZydisDecoder decoder;
	static ZydisDecodedInstruction insn;
	static ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	uint32_t random = SEED;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (size_t i = 0; i < forms.count; i++)
		ZydisDecoderDecodeFull(&decoder, forms.form[i].bytes, forms.form[i].length, &insn,
		                       op);
	for (int i = 0; i < 20000; i++) {
		uint8_t bytes[16];

		for (unsigned b = 0; b < sizeof(bytes); b++)
			bytes[b] = (uint8_t)((random = random * 1664525 + 1013904223) >> 24);
		ZydisDecoderDecodeFull(&decoder, bytes, 15, &insn, op);
	}
}

static void decoder_init(void)
{
	ZydisDecoder decoder;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
}

static void enable_mode(void)
{
	static ZydisDecoder decoder;

	ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_KNC, ZYAN_FALSE);
}

static void format(void)
{
	ZydisFormatter formatter;
	char text[128];

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_FORCE_SIZE, ZYAN_TRUE);
	for (size_t i = 0; i < forms.count; i++) {
		static struct t_insn insn;

		if (t_decode(forms.form[i].bytes, forms.form[i].length, &insn))
			ZydisFormatterFormatInstruction(&formatter, &insn.insn, insn.op,
			                                insn.insn.operand_count_visible, text,
			                                sizeof(text), 0x1000, NULL);
	}
}

static void formatter_init(void)
{
	static ZydisFormatter formatter;

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
}

static void set_property(void)
{
	static ZydisFormatter formatter;

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_FORCE_SIZE, ZYAN_TRUE);
}

static void register_questions(void)
{
	for (int r = 0; r <= ZYDIS_REGISTER_MAX_VALUE; r++)
		sink = ZydisRegisterGetClass((ZydisRegister)r) +
		       ZydisRegisterGetId((ZydisRegister)r) +
		       ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64,
		                                        (ZydisRegister)r);
}

static void version(void)
{
	sink = (int)ZydisGetVersion();
}

/* Of every length, so that each of the vectorised ways is gone. */
static void strings(void)
{
	static char a[8192], b[8192];

	for (size_t n = 1; n < 5000; n += n < 300 ? 1 : 97) {
		memset(a, 'x', n);
		a[n] = 0;
		HIDE(memcpy)(b, a, n + 1);
		sink = HIDE(memcmp)(a, b, n) + (HIDE(memchr)(a, 'y', n) != NULL) +
		       HIDE(strcmp)(a, b) + HIDE(strncmp)(a, b, n) + (int)HIDE(strlen)(a) +
		       (HIDE(strrchr)(a, 'y') != NULL) + (HIDE(strchr)(a, 'y') != NULL);
		HIDE(memmove)(a + 3, a, n);
		HIDE(strncpy)(a, b, n);
	}
}

static void move(void)
{
	strings();
}

static void sets(void)
{
	sigset_t set;

	HIDE(sigemptyset)(&set);
	HIDE(sigfillset)(&set);
	HIDE(sigaddset)(&set, SIGUSR1);
	sink = HIDE(sigismember)(&set, SIGUSR1);
}

static void error_names(void)
{
	for (int e = -1; e < 140; e++)
		sink = (strerrorname_np(e) != NULL) + (strerrordesc_np(e) != NULL);
}

/* Only compilers name it. */
extern int __popcountdi2(long);

static void population(void)
{
	sink = HIDE(__popcountdi2)((long)(uintptr_t)&sink);
}

static void errno_place(void)
{
	sink = HIDE(__errno_location)() != NULL;
}

static void unwind(void)
{
	unw_context_t here;
	unw_cursor_t cursor;
	unw_word_t ip;

	unw_getcontext(&here);
	unw_init_local2(&cursor, &here, UNW_INIT_SIGNAL_FRAME);
	do {
		unw_get_reg(&cursor, UNW_REG_IP, &ip);
	} while (unw_step(&cursor) > 0);
}

/* From inside a library and a callback of its: frames of libc, and of no frame pointer. */
static int compare(const void *a, const void *b)
{
	if (a != b)
		unwind();
	return 0;
}

static void unwind_library(void)
{
	int two[2] = {0, 0};

	qsort(two, 2, sizeof(two[0]), compare);
}

static void thread_record(void)
{
	clockid_t clock;

	sink = pthread_getcpuclockid(HIDE(pthread_self)(), &clock);
}

static const struct {
	const char *symbol;
	void (*run)(void);
} cases[] = {
	{"ZydisDecoderDecodeFull", decode},
	{"ZydisDecoderInit", decoder_init},
	{"ZydisDecoderEnableMode", enable_mode},
	{"ZydisFormatterFormatInstruction", format},
	{"ZydisFormatterInit", formatter_init},
	{"ZydisFormatterSetProperty", set_property},
	{"ZydisRegisterGetClass", register_questions},
	{"ZydisRegisterGetId", register_questions},
	{"ZydisRegisterGetLargestEnclosing", register_questions},
	{"ZydisGetVersion", version},
	{"memcpy", strings},
	{"memmove", move},
	{"memset", strings},
	{"memcmp", strings},
	{"bcmp", strings},
	{"memchr", strings},
	{"strchr", strings},
	{"strlen", strings},
	{"strcmp", strings},
	{"strncmp", strings},
	{"strncpy", strings},
	{"strrchr", strings},
	{"sigaddset", sets},
	{"sigemptyset", sets},
	{"sigfillset", sets},
	{"sigismember", sets},
	{"strerrorname_np", error_names},
	{"strerrordesc_np", error_names},
	{"__errno_location", errno_place},
	{"__popcountdi2", population},
	{"pthread_getcpuclockid", thread_record},
	{"pthread_self", thread_record},
	{"_ULx86_64_init_local2", unwind},
	{"_ULx86_64_get_reg", unwind},
	{"_ULx86_64_step", unwind_library},
};

/* --- measuring --- */

struct job {
	void (*run)(void);
	unsigned char *stack;
	size_t used;
};

static size_t depth_of(const unsigned char *stack, const unsigned char *from)
{
	const unsigned char *p = stack;

	while (p < from && *p == PAINT)
		p++;
	return (size_t)(from - p);
}

/* Everything below its own frame is painted, without a call, which would need a stack. */
__attribute__((noinline)) static void *worker(void *arg)
{
	struct job *job = arg;
	unsigned char *sp, *to = job->stack;
	size_t count;

	__asm__ volatile("mov %%rsp, %0" : "=r"(sp));
	count = (size_t)(sp - to);
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(PAINT) : "memory");
	job->run();
	job->used = depth_of(job->stack, sp);
	return NULL;
}

static size_t measure(void (*run)(void))
{
	struct job job = {.run = run};
	pthread_attr_t attr;
	pthread_t thread;

	job.stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(job.stack != MAP_FAILED);
	pthread_attr_init(&attr);
	assert_int_equal(pthread_attr_setstack(&attr, job.stack, STACK), 0);
	assert_int_equal(pthread_create(&thread, &attr, worker, &job), 0);
	pthread_join(thread, NULL);
	pthread_attr_destroy(&attr);
	munmap(job.stack, STACK);
	return job.used;
}

static bool measured(const char *symbol, size_t budget)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t used;

		if (strcmp(cases[i].symbol, symbol))
			continue;
		used = measure(cases[i].run);
		print_message("%-34s %6zu of %6zu\n", symbol, used, budget);
		assert_in_range(used, 1, budget);
		return true;
	}
	return false;
}

static void test_budget_covers_what_was_measured(void **state)
{
	FILE *file = fopen("src/stack.budget", "r");
	char line[256], symbol[64];
	size_t budget;
	unsigned count = 0;

	(void)state;
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (line[0] == '#' || sscanf(line, "%63s %zu", symbol, &budget) != 2 || !budget)
			continue;
		if (!measured(symbol, budget))
			fail_msg("%s has a budget, but is not measured here", symbol);
		count++;
	}
	fclose(file);
	assert_in_range(count, 20, 200);
}

static int enumerate(void **state)
{
	(void)state;
	t_enumerate(&forms);
	unwind(); /* as regmap__frames_init() does: what binds and sets up on first use has done so */
	return 0;
}

static int forget(void **state)
{
	(void)state;
	t_forms_free(&forms);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_budget_covers_what_was_measured),
	};
	const char *mode = getenv("TEST_MODE");

	if (mode && strcmp(mode, "rel"))
		return 77; /* a sanitizer's functions stand before libc's */

	return cmocka_run_group_tests_name("budget", tests, enumerate, forget);
}
