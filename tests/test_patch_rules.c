/* SPDX-License-Identifier: MIT */
/* Patching as the manual has it: when, by whom, what is said about it, and what nobody sees of it. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <unistd.h>

#include <regmap/regmap.h>

#include "child.h"
#include "lay.h"

#include "../src/patch.h"

#define WINDOW 0xffff900000000000ULL
#define READ_ONLY 0xffff900000100000ULL
#define DEVICE 0xffff900000200000ULL

enum { PAGE = 4096, WORDS = 512, EACH = 64, SITES = 12 };

static uint64_t memory[WORDS];

typedef uint64_t (*site_fn)(uint64_t address, uint64_t value);

/* --- sites: a page with copies of one, so that each test has fresh ones --- */

static const uint8_t load_code[] = {0x48, 0x8b, 0x07, 0x90, 0x90, 0x90, 0xc3};
static const uint8_t store_code[] = {0x48, 0x89, 0x37, 0x90, 0x90, 0x90, 0xc3};

static uint8_t *new_sites(const uint8_t *code, size_t length)
{
	static uint64_t low = 0x700000000, high = 0x210000000000;
	uint8_t *page;

	low += 1 << 28;
	high += 1 << 28;
	page = mmap((void *)(uintptr_t)low, PAGE, PROT_READ | PROT_WRITE,
	            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (page == MAP_FAILED)
		page = mmap((void *)(uintptr_t)high, PAGE, PROT_READ | PROT_WRITE,
		            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(page, MAP_FAILED);
	memset(page, 0x90, PAGE);
	for (unsigned i = 0; i < SITES; i++)
		memcpy(page + i * EACH, code, length);
	assert_int_equal(mprotect(page, PAGE, PROT_READ | PROT_EXEC), 0);
	return page;
}

static uint64_t run(const uint8_t *site, uint64_t address, uint64_t value)
{
	return ((site_fn)(uintptr_t)site)(address, value);
}

static void read_often(const uint8_t *site, unsigned times)
{
	for (unsigned n = 0; n < times; n++) {
		memory[5] = n * 7 + 1;
		assert_int_equal(run(site, WINDOW + 40, 0), n * 7 + 1);
	}
}

static int lay_memory(void)
{
	return t_lay_host("memory", WINDOW, memory, sizeof(memory), REGMAP_READ | REGMAP_WRITE);
}

static void poke(uint8_t *at, uint8_t byte)
{
	int fd = open("/proc/self/mem", O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)(uintptr_t)at), 1);
	close(fd);
}

static struct regmap_patch_stats stats_now(void)
{
	struct regmap_patch_stats s = {.size = sizeof(s)};

	assert_int_equal(regmap_patch_stats(&s), 0);
	return s;
}

static uint64_t counted(const char *text)
{
	struct regmap_patch_stats s = stats_now();
	uint64_t found = 0;

	for (unsigned i = 0; i < REGMAP_PATCH_REASONS; i++)
		if (s.reason[i] && strstr(regmap_patch_reason(i), text))
			found += s.reason[i];
	return found;
}

static int switch_off(void **state)
{
	(void)state;
	return regmap_patch(0);
}

/* --- the environment; first, as nothing may be mapped yet --- */

static int map_with(void *wish)
{
	uint8_t *page = new_sites(load_code, sizeof(load_code));

	setenv("REGMAP_PATCH", wish, 1);
	T_CHECK(!lay_memory());
	read_often(page, 3);
	T_CHECK(regmap_patch_site(page) == 0);
	read_often(page, 4);
	T_CHECK(regmap_patch_site(page) == !strcmp(wish, "1"));
	read_often(page, 300);
	return regmap_patch_site(page) == 1 ? 0 : 100;
}

static void test_rules_environment_right(void **state)
{
	static const struct {
		char *wish;
		int result;
	} right[] = {{"1", 0}, {"100", 0}, {"0", 100}, {"1000", 100}, {"99999999", 100}};

	(void)state;
	for (unsigned i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		struct t_child child;

		t_child_run(&child, map_with, right[i].wish);
		assert_int_equal(t_fate(child.status), right[i].result ? -1 - right[i].result : 0);
		assert_string_equal(child.text, "");
	}
}

static void test_rules_environment_wrong(void **state)
{
	static const char *const wrong[] = {"",   "yes",  "-1",  "4x",   " 4",
	                                    "4 ", "0x10", "1.5", "on\n", "18446744073709551617"};

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct t_child child;
		char want[256];

		snprintf(want, sizeof(want),
		         "regmap: REGMAP_PATCH=%s: not a number of faults; nothing is patched\n",
		         wrong[i]);
		t_child_run(&child, map_with, (void *)wrong[i]);
		assert_int_equal(t_fate(child.status), -101);
		assert_string_equal(child.text, want);
	}
}

static int patch_first(void *arg)
{
	uint8_t *page = new_sites(load_code, sizeof(load_code));

	(void)arg;
	T_CHECK(regmap_patch(2) == 0);
	T_CHECK(stats_now().sites == 0);
	T_CHECK(!lay_memory());
	read_often(page, 1);
	T_CHECK(regmap_patch_site(page) == 0);
	read_often(page, 1);
	T_CHECK(regmap_patch_site(page) == 1);
	read_often(page, 10);
	return 0;
}

static void test_rules_before_any_window(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(patch_first, NULL), 0);
}

/* 0 before there was anything to switch off. */
static int off_first(void *arg)
{
	(void)arg;
	T_CHECK(regmap_patch(0) == 0);
	return patch_first(NULL);
}

static void test_rules_off_before_on(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(off_first, NULL), 0);
}

/* --- what is printed --- */

static int print_all(void *arg)
{
	uint8_t *page = new_sites(load_code, sizeof(load_code));
	uint8_t *written = new_sites(load_code, sizeof(load_code));

	setenv("REGMAP_PATCH_STATS", arg, 1);
	T_CHECK(!lay_memory() && !regmap_patch(2));
	T_CHECK(!mprotect(written, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
	for (unsigned i = 0; i < 3; i++)
		read_often(page + i * EACH, i + 1);
	read_often(written, 5);
	T_CHECK(!mprotect(page, PAGE, PROT_READ | PROT_WRITE));
	T_CHECK(!mprotect(page, PAGE, PROT_READ | PROT_EXEC));
	read_often(page + EACH, 2);
	exit(0);
}

static void test_rules_printed(void **state)
{
	struct t_child child;

	(void)state;
	t_child_run(&child, print_all, "1");
	assert_int_equal(child.status, 0);
	assert_string_equal(child.text,
	                    "regmap: patching: sites 4, patched 1 (in place 0, punned 1), "
	                    "taken back 2, refused 1\n"
	                    "regmap: patching: refused 1: the code is writable\n");
	t_child_run(&child, print_all, "0");
	assert_string_equal(child.text, "");
}

/* --- when --- */

static void test_rules_thresholds(void **state)
{
	static const unsigned threshold[] = {1, 2, 3, 5, 17, 200};

	uint8_t *page = new_sites(load_code, sizeof(load_code));

	(void)state;
	for (unsigned i = 0; i < sizeof(threshold) / sizeof(threshold[0]); i++) {
		assert_int_equal(regmap_patch(threshold[i]), 0);
		read_often(page + i * EACH, threshold[i] - 1);
		assert_int_equal(regmap_patch_site(page + i * EACH), 0);
		read_often(page + i * EACH, 1);
		assert_int_equal(regmap_patch_site(page + i * EACH), 1);
		read_often(page + i * EACH, 5);
	}
	assert_int_equal(regmap_patch(UINT_MAX), 0);
	read_often(page + 7 * EACH, 2000);
	assert_int_equal(regmap_patch_site(page + 7 * EACH), 0);
	/* a lower one goes for what has faulted already */
	assert_int_equal(regmap_patch(2), 0);
	read_often(page + 7 * EACH, 1);
	assert_int_equal(regmap_patch_site(page + 7 * EACH), 1);
	munmap(page, PAGE);
}

static void on_trap(int signo)
{
	(void)signo;
}

/* The breakpoint stands on a NOP: whoever goes on behind it has missed nothing. */
static void test_rules_breakpoint_in_its_bytes(void **state)
{
	uint8_t *page = new_sites(load_code, sizeof(load_code));
	uint64_t before = counted("breakpoint");

	(void)state;
	signal(SIGTRAP, on_trap);
	assert_int_equal(regmap_patch(1), 0);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *site = page + i * EACH;

		poke(site + 3 + i, 0xcc);
		read_often(site, 4);
		assert_int_equal(regmap_patch_site(site), -EPERM);
		assert_int_equal(site[0], load_code[0]);
		assert_int_equal(counted("breakpoint"), before + 1);
		/* it may go */
		poke(site + 3 + i, 0x90);
		read_often(site, 100);
		assert_int_equal(regmap_patch_site(site), 1);
		assert_int_equal(counted("breakpoint"), before);
	}
	signal(SIGTRAP, SIG_DFL);
	munmap(page, PAGE);
}

static void occupy(uint64_t from, uint64_t to)
{
	uint64_t start = from & -(uint64_t)PAGE, length = to - start;

	assert_ptr_not_equal(mmap((void *)(uintptr_t)start, length, PROT_NONE,
	                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
	                     MAP_FAILED);
}

/*
 * Nowhere to go with what follows, nor with what follows that; and where the third would go first, the end
 * of a page is in the way. Each further try has some of its strays where the ones before had them.
 */
static void test_rules_tries_that_share_strays(void **state)
{
	/* mov (%rdi), %rax; xor %edi, %edi; mov $-1, %ecx; ret */
	static const uint8_t code[] = {0x48, 0x8b, 0x07, 0x31, 0xff, 0xb9,
	                               0xff, 0xff, 0xff, 0xff, 0xc3};
	enum { AT = 0xfbf, SECOND = AT + 3 };
	uint8_t *page;

	(void)state;
	page = mmap((void *)0x7a0000000, PAGE, PROT_READ | PROT_WRITE,
	            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (page == MAP_FAILED)
		skip();
	memcpy(page + AT, code, sizeof(code));
	assert_int_equal(mprotect(page, PAGE, PROT_READ | PROT_EXEC), 0);
	occupy((uintptr_t)page + AT + 5 - 0xcf0000, (uintptr_t)page + AT + 5 - 0xce0000);
	occupy((uintptr_t)page + SECOND + 5 - 0x4700, (uintptr_t)page + SECOND + 5 - 0x4600);
	assert_int_equal(regmap_patch(1), 0);
	read_often(page + AT, 3);
	assert_int_equal(regmap_patch_site(page + AT), 1);
}

/* A byte of a jump's displacement may look like a breakpoint: slots lie at all distances modulo 64. */
static void test_rules_no_breakpoint_in_its_neighbour(void **state)
{
	enum { SHORT = 0x2c, LONG = SHORT + 3 };
	static const uint8_t order[SITES] = {0, 2, 1, 5, 3, 8, 4, 11, 6, 7, 9, 10};
	uint8_t code[EACH], shown[8], *page;
	unsigned seen = 0;

	(void)state;
	memset(code, 0x90, sizeof(code));
	memcpy(code + SHORT, "\x48\x8b\x07", 3);            /* mov (%rdi), %rax */
	memcpy(code + LONG, "\x48\x8b\x87\0\0\0\0\xc3", 8); /* mov 0(%rdi), %rax; ret */
	page = new_sites(code, sizeof(code));
	assert_int_equal(regmap_patch(1), 0);
	for (unsigned i = 0; i < SITES; i++) {
		uint8_t *at = page + order[i] * EACH;

		read_often(at + LONG, 3);
		assert_int_equal(regmap_patch_site(at + LONG), 1);
		seen += at[LONG + 1] == 0xcc;
		memcpy(shown, at + LONG, sizeof(shown));
		regmap__patch_overlay((uintptr_t)at + LONG, shown, sizeof(shown));
		assert_memory_equal(shown, code + LONG, sizeof(shown));
		read_often(at + SHORT, 3);
		assert_int_equal(regmap_patch_site(at + SHORT), 1);
	}
	assert_true(seen > 0);
}

/* A breakpoint on a patched site, while all are taken back: it is, too, once it is lifted. */
static void test_rules_breakpoint_on_a_patch(void **state)
{
	uint8_t *page = new_sites(load_code, sizeof(load_code));

	(void)state;
	assert_int_equal(regmap_patch(1), 0);
	read_often(page, 3);
	poke(page, 0xcc);
	assert_int_equal(regmap_patch(0), 0);
	assert_int_equal(page[0], 0xcc);
	poke(page, 0xe9);
	read_often(page, 3);
	assert_int_equal(regmap_patch(0), 0);
	assert_memory_equal(page, load_code, sizeof(load_code));
	read_often(page, 3);
	munmap(page, PAGE);
}

/* --- by whom --- */

static _Atomic unsigned inside, leave;
static void (*in_callback)(void);

static int device_read(void *context, uint64_t offset, unsigned size, uint64_t *value)
{
	(void)context;
	(void)size;
	if (in_callback)
		in_callback();
	*value = offset + 1000;
	return 0;
}

static int device_write(void *context, uint64_t offset, unsigned size, uint64_t value)
{
	(void)context;
	(void)offset;
	(void)size;
	(void)value;
	return 0;
}

static void lay_device(struct regmap_window **window)
{
	static const struct regmap_device_ops ops = {device_read, device_write};
	struct regmap_config c = {.size = sizeof(c),
	                          .guest = DEVICE,
	                          .length = PAGE,
	                          .access = REGMAP_READ | REGMAP_WRITE,
	                          .backing = REGMAP_DEVICE,
	                          .ops = &ops};

	in_callback = NULL;
	assert_int_equal(regmap_map(&c, window), 0);
}

static void stay(void)
{
	atomic_fetch_add(&inside, 1);
	while (!atomic_load(&leave))
		sched_yield();
}

struct reader {
	const uint8_t *site;
	uint64_t got;
};

static void *read_device(void *arg)
{
	struct reader *reader = arg;

	reader->got = run(reader->site, DEVICE + 8, 0);
	return NULL;
}

/* In the callbacks that their slots have called, to be exact. */
static void test_rules_off_while_threads_are_in_slots(void **state)
{
	uint8_t *page = new_sites(load_code, sizeof(load_code));
	struct regmap_window *window;
	struct reader reader[3];
	pthread_t thread[3];

	(void)state;
	lay_device(&window);
	assert_int_equal(regmap_patch(1), 0);
	for (unsigned i = 0; i < 3; i++) {
		reader[i] = (struct reader){page + i * EACH, 0};
		for (unsigned n = 0; n < 3; n++)
			assert_int_equal(run(reader[i].site, DEVICE + 8, 0), 1008);
		assert_int_equal(regmap_patch_site(reader[i].site), 1);
	}
	atomic_store(&inside, 0);
	atomic_store(&leave, 0);
	in_callback = stay;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, read_device, &reader[i]), 0);
	while (atomic_load(&inside) < 3)
		sched_yield();
	assert_int_equal(regmap_patch(0), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_memory_equal(reader[i].site, load_code, sizeof(load_code));
	atomic_store(&leave, 1);
	for (unsigned i = 0; i < 3; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(reader[i].got, 1008);
	}
	in_callback = NULL;
	assert_int_equal(regmap_unmap(window), 0);
	munmap(page, PAGE);
}

static int answers[3];

static void switch_about(void)
{
	answers[0] = regmap_patch(0);
	answers[1] = regmap_patch(1);
	answers[2] = (int)stats_now().patched;
}

/* Of a site that faults, and of one that is patched, which the callback takes back under itself. */
static void test_rules_in_a_callback(void **state)
{
	uint8_t *page = new_sites(load_code, sizeof(load_code));
	struct regmap_window *window;

	(void)state;
	lay_device(&window);
	assert_int_equal(regmap_patch(1), 0);
	for (unsigned n = 0; n < 20; n++) {
		in_callback = n % 2 ? switch_about : NULL;
		memset(answers, 0x77, sizeof(answers));
		assert_int_equal(run(page, DEVICE + 8, 0), 1008);
		if (n % 2 == 0)
			continue;
		assert_int_equal(answers[0], 0);
		assert_int_equal(answers[1], 0);
		assert_int_equal(answers[2], 0);
	}
	in_callback = NULL;
	assert_int_equal(regmap_unmap(window), 0);
	munmap(page, PAGE);
}

struct switcher {
	uint8_t *page;
	unsigned seed, wrong;
};

static void *switch_and_read(void *arg)
{
	struct switcher *s = arg;

	for (unsigned n = 0; n < 150; n++) {
		s->wrong += regmap_patch((n + s->seed) % 3) != 0;
		for (unsigned i = 0; i < SITES; i++)
			s->wrong += run(s->page + i * EACH, WINDOW + 80, 0) != 0x4711;
	}
	return NULL;
}

static void test_rules_two_threads_switch(void **state)
{
	uint8_t *page = new_sites(load_code, sizeof(load_code));
	struct switcher s[2] = {{page, 0, 0}, {page, 1, 0}};
	pthread_t thread[2];

	(void)state;
	memory[10] = 0x4711;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, switch_and_read, &s[i]), 0);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(s[i].wrong, 0);
	}
	assert_int_equal(regmap_patch(0), 0);
	for (unsigned i = 0; i < SITES; i++)
		assert_memory_equal(page + i * EACH, load_code, sizeof(load_code));
	munmap(page, PAGE);
}

/* --- a child that can't change code --- */

/* As a child finds it that was born in the middle of a change: see below for a real one. */
static int halted(void *arg)
{
	struct rlimit none = {0, 0}, was;
	uint8_t *page = arg;
	uint64_t plain = 99;

	getrlimit(RLIMIT_NOFILE, &was);
	none.rlim_max = was.rlim_max;
	poke(page, 0xf4);
	setrlimit(RLIMIT_NOFILE, &none);
	for (unsigned n = 0; n < 10; n++) {
		memory[5] = n;
		T_CHECK(run(page, WINDOW + 40, 0) == n);
		T_CHECK(run(page, (uintptr_t)&plain, 0) == 99);
	}
	T_CHECK(page[0] == 0xf4);
	setrlimit(RLIMIT_NOFILE, &was);
	for (unsigned n = 0; n < 100; n++) {
		memory[5] = n;
		T_CHECK(run(page, WINDOW + 40, 0) == n);
		T_CHECK(page[0] == 0xe9 || page[0] == load_code[0]);
	}
	return regmap_patch(0) || memcmp(page, load_code, sizeof(load_code));
}

static void test_rules_halted_for_good(void **state)
{
	uint8_t *page = new_sites(load_code, sizeof(load_code));

	(void)state;
	assert_int_equal(regmap_patch(1), 0);
	read_often(page, 3);
	assert_int_equal(t_child_fate(halted, page), 0);
	assert_int_equal(regmap_patch(0), 0);
	munmap(page, PAGE);
}

/* --- nobody sees it --- */

struct denied {
	uint8_t *page;
	unsigned threshold;
};

/*
 * What the functions before have left in registers is none of the report's business; nor what a walk
 * makes of a frame pointer that isn't one.
 */
static void run_cleanly(const uint8_t *site, uint64_t address, uint64_t value)
{
	__asm__ volatile("sub $128, %%rsp\n\tpush %%rbp\n\txor %%ebp, %%ebp\n\t"
	                 "xor %%eax, %%eax\n\txor %%ecx, %%ecx\n\txor %%edx, %%edx\n\t"
	                 "xor %%r8d, %%r8d\n\txor %%r9d, %%r9d\n\txor %%r10d, %%r10d\n\t"
	                 "xor %%r11d, %%r11d\n\txor %%r12d, %%r12d\n\txor %%r13d, %%r13d\n\t"
	                 "xor %%r14d, %%r14d\n\txor %%r15d, %%r15d\n\t"
	                 "call *%%rbx\n\tpop %%rbp\n\tadd $128, %%rsp"
	                 :
	                 : "b"(site), "D"(address), "S"(value)
	                 : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
	                   "r15", "memory", "cc");
}

static int write_where_it_may_not(void *arg)
{
	struct denied *d = arg;

	signal(SIGSEGV, SIG_DFL);
	T_CHECK(regmap_patch(d->threshold) == 0);
	for (unsigned i = 0; i < 2; i++)
		for (unsigned n = 0; n < 10; n++)
			run(d->page + i * EACH, WINDOW, n);
	T_CHECK(regmap_patch_site(d->page) == (d->threshold == 1));
	run_cleanly(d->page, READ_ONLY + 16, 1);
	return 0;
}

static void test_rules_reports_are_the_same(void **state)
{
	uint8_t *page = new_sites(store_code, sizeof(store_code));
	static struct denied
		denied; /* not on the stack, which frames without tables are guessed from */

	struct t_child plain, patched;
	static const uint64_t constant[WORDS];

	(void)state;
	assert_int_equal(t_lay_host("constants", READ_ONLY, (void *)(uintptr_t)constant,
	                            sizeof(constant), REGMAP_READ),
	                 0);
	denied.page = page;
	t_child_run(&plain, write_where_it_may_not, &denied);
	denied.threshold = 1;
	t_child_run(&patched, write_where_it_may_not, &denied);
	assert_int_equal(t_fate(plain.status), SIGSEGV);
	assert_int_equal(t_fate(patched.status), SIGSEGV);
	assert_non_null(strstr(plain.text, "48 89 37"));
	assert_string_equal(patched.text, plain.text);
	munmap(page, PAGE);
}

/* --- into the middle of one --- */

/* test edx,edx; then with RDX 0 past the LOCK prefix: lock add [rdi],rsi; xor eax,eax; ret */
static const uint8_t past_lock[] = {0x85, 0xd2, 0x74, 0x01, 0xf0, 0x48, 0x01,
                                    0x37, 0x31, 0xc0, 0x90, 0x90, 0xc3};

static void test_rules_branch_past_a_prefix(void **state)
{
	uint8_t *page = new_sites(past_lock, sizeof(past_lock));
	uint64_t before = counted("LOCK prefix");

	(void)state;
	assert_int_equal(regmap_patch(1), 0);
	memory[7] = 0;
	for (unsigned n = 0; n < 20; n++)
		((void (*)(uint64_t, uint64_t, uint64_t))(uintptr_t)page)(WINDOW + 56, 3, n % 2);
	assert_int_equal(memory[7], 60);
	assert_int_equal(regmap_patch_site(page + 4), -EPERM);
	assert_int_equal(regmap_patch_site(page + 5), -EPERM);
	assert_int_equal(counted("LOCK prefix"), before + 2);
	munmap(page, PAGE);
}

/* --- what is in the way --- */

static int map_over_a_hop(void *arg)
{
	uint8_t *page = arg;
	int32_t displacement;
	struct regmap_config c = {.size = sizeof(c),
	                          .name = "late",
	                          .length = PAGE,
	                          .access = REGMAP_READ,
	                          .backing = REGMAP_RAM};

	memcpy(&displacement, page + 1, sizeof(displacement));
	c.guest = (uint64_t)((int64_t)(uintptr_t)page + 5 + displacement) & -(uint64_t)PAGE;
	return regmap_map(&c, NULL) == -EADDRINUSE ? 0 : 1;
}

static void test_rules_hops_are_in_the_way_by_name(void **state)
{
	uint8_t *page = new_sites(load_code, sizeof(load_code));
	struct t_child child;

	(void)state;
	assert_int_equal(regmap_patch(1), 0);
	read_often(page, 3);
	assert_int_equal(page[0], 0xe9);
	t_child_run(&child, map_over_a_hop, page);
	assert_int_equal(child.status, 0);
	if (!strstr(child.text, "can't map \"late\"") ||
	    !strstr(child.text, "is in use by the code of patched sites; map windows before"))
		fail_msg("%s", child.text);
	munmap(page, PAGE);
}

int main(void)
{
	const struct CMUnitTest alone[] = {
		cmocka_unit_test(test_rules_environment_right),
		cmocka_unit_test(test_rules_environment_wrong),
		cmocka_unit_test(test_rules_before_any_window),
		cmocka_unit_test(test_rules_off_before_on),
		cmocka_unit_test(test_rules_printed),
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_rules_thresholds, switch_off),
		cmocka_unit_test_teardown(test_rules_breakpoint_in_its_bytes, switch_off),
		cmocka_unit_test_teardown(test_rules_tries_that_share_strays, switch_off),
		cmocka_unit_test_teardown(test_rules_no_breakpoint_in_its_neighbour, switch_off),
		cmocka_unit_test_teardown(test_rules_breakpoint_on_a_patch, switch_off),
		cmocka_unit_test_teardown(test_rules_off_while_threads_are_in_slots, switch_off),
		cmocka_unit_test_teardown(test_rules_in_a_callback, switch_off),
		cmocka_unit_test_teardown(test_rules_two_threads_switch, switch_off),
		cmocka_unit_test_teardown(test_rules_halted_for_good, switch_off),
		cmocka_unit_test_teardown(test_rules_reports_are_the_same, switch_off),
		cmocka_unit_test_teardown(test_rules_branch_past_a_prefix, switch_off),
		cmocka_unit_test_teardown(test_rules_hops_are_in_the_way_by_name, switch_off),
	};
	int failed = cmocka_run_group_tests_name("patch_rules, nothing mapped", alone, NULL, NULL);

	if (lay_memory())
		return 1;
	return failed + cmocka_run_group_tests_name("patch_rules", tests, NULL, NULL);
}
