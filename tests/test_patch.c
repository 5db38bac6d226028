/* SPDX-License-Identifier: MIT */
/* Hot sites: which are patched, what becomes of their bytes, and that they get them back. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <regmap/regmap.h>

#include "child.h"
#include "lay.h"

#define WINDOW 0xffff900000000000ULL

enum { PAGE = 4096, WORDS = 512, CODE = 64 };

static uint64_t memory[WORDS];

/* --- code of all lengths: RDI has the address; each reads once, adds to RAX and returns --- */

struct snippet {
	const char *name;
	const char *bytes;
	unsigned length; /* of the instruction that reads */
	unsigned before; /* bytes before it */
	unsigned all;
};

/* xor eax,eax first, where the read doesn't set it; ret last, with something before it */
#define SNIPPET(name, before, read, after) \
	{ \
		name, before read after, sizeof(read) - 1, sizeof(before) - 1, \
			sizeof(before read after) - 1 \
	}

static const struct snippet snippets[] = {
	SNIPPET("2: mov eax,[rdi]", "\x31\xd2", "\x8b\x07", "\x48\x01\xd0\x90\x90\xc3"),
	SNIPPET("3: mov rax,[rdi]", "\x31\xd2", "\x48\x8b\x07", "\x48\x01\xd0\x90\x90\xc3"),
	SNIPPET("4: mov rax,[rdi+0]", "\x31\xd2", "\x48\x8b\x47\x00", "\x48\x01\xd0\x90\x90\xc3"),
	SNIPPET("6: mov eax,[rdi+0]", "\x31\xd2", "\x8b\x87\x00\x00\x00\x00",
                "\x48\x01\xd0\x90\x90\xc3"),
	SNIPPET("7: mov rax,[rdi+0]", "\x31\xd2", "\x48\x8b\x87\x00\x00\x00\x00",
                "\x48\x01\xd0\x90\x90\xc3"),
};
enum { SNIPPETS = sizeof(snippets) / sizeof(snippets[0]) };

typedef uint64_t (*read_fn)(uint64_t address);

static read_fn as_function(const void *code)
{
	return (read_fn)(uintptr_t)code;
}

/*
 * Far from all else, so that short jumps find room. Each time elsewhere. The address sanitizer has much
 * of what is low, the thread sanitizer what is between.
 */
static uint8_t *map_far(void)
{
	static uint64_t low = 0x300000000, high = 0x200000000000;
	uint8_t *code;

	low += 1 << 28;
	code = mmap((void *)(uintptr_t)low, PAGE, PROT_READ | PROT_WRITE,
	            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (code != MAP_FAILED)
		return code;
	high += 1 << 28;
	code = mmap((void *)(uintptr_t)high, PAGE, PROT_READ | PROT_WRITE,
	            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(code, MAP_FAILED);
	return code;
}

static uint8_t *map_code(int protection)
{
	uint8_t *code = map_far();

	memset(code, 0x90, PAGE);
	for (unsigned i = 0; i < SNIPPETS; i++)
		memcpy(code + i * CODE, snippets[i].bytes, snippets[i].all);
	assert_int_equal(mprotect(code, PAGE, protection), 0);
	return code;
}

static uint8_t *code_of(uint8_t *page, unsigned i)
{
	return page + i * CODE;
}

static uint8_t *site_of(uint8_t *page, unsigned i)
{
	return code_of(page, i) + snippets[i].before;
}

static void check_reads(const void *code, unsigned times)
{
	for (unsigned n = 0; n < times; n++) {
		uint64_t want = 0x1000 + n;

		memory[1] = want;
		assert_int_equal(as_function(code)(WINDOW + 8), want);
	}
}

static struct regmap_patch_stats stats_now(void)
{
	struct regmap_patch_stats s = {.size = sizeof(s)};

	assert_int_equal(regmap_patch_stats(&s), 0);
	return s;
}

static int start(void **state)
{
	(void)state;
	return t_lay_host("memory", WINDOW, memory, sizeof(memory), REGMAP_READ | REGMAP_WRITE);
}

static int switch_off(void **state)
{
	(void)state;
	return regmap_patch(0);
}

/* --- */

static void test_patch_is_off_by_default(void **state)
{
	uint8_t *page = map_code(PROT_READ | PROT_EXEC);

	(void)state;
	for (unsigned i = 0; i < SNIPPETS; i++) {
		check_reads(code_of(page, i), 20);
		assert_int_equal(regmap_patch_site(site_of(page, i)), 0);
		assert_memory_equal(code_of(page, i), snippets[i].bytes, snippets[i].all);
	}
	assert_int_equal(stats_now().sites, 0);
	munmap(page, PAGE);
}

static void test_patch_patches_after_so_many_faults(void **state)
{
	uint8_t *page = map_code(PROT_READ | PROT_EXEC);

	(void)state;
	assert_int_equal(regmap_patch(3), 0);
	for (unsigned i = 0; i < SNIPPETS; i++) {
		check_reads(code_of(page, i), 2);
		assert_int_equal(regmap_patch_site(site_of(page, i)), 0);
		check_reads(code_of(page, i), 1);
		if (regmap_patch_site(site_of(page, i)) != 1)
			fail_msg("%s is not patched", snippets[i].name);
		check_reads(code_of(page, i), 100);
	}
	munmap(page, PAGE);
}

static void test_patch_off_gives_all_bytes_back(void **state)
{
	uint8_t *page = map_code(PROT_READ | PROT_EXEC), before[PAGE];

	(void)state;
	memcpy(before, page, PAGE);
	assert_int_equal(regmap_patch(1), 0);
	for (unsigned i = 0; i < SNIPPETS; i++) {
		check_reads(code_of(page, i), 3);
		assert_int_equal(site_of(page, i)[0], 0xe9);
	}
	assert_int_equal(regmap_patch(0), 0);
	assert_memory_equal(page, before, PAGE);
	assert_int_equal(stats_now().patched, 0);
	munmap(page, PAGE);
}

/* --- code of several kinds --- */

__attribute__((noinline)) static uint64_t read_in_executable(volatile uint64_t *address)
{
	uint64_t value;

	__asm__ volatile(".globl t_patch_site\nt_patch_site: mov (%1), %0\n\tnop\n\tnop\n\tnop"
	                 : "=r"(value)
	                 : "r"(address));
	return value;
}
/* Not constant: a compiler would know that it never changes. */
extern uint8_t t_patch_site[];

static void test_patch_patches_the_executable(void **state)
{
	uint8_t before[8];

	(void)state;
	memcpy(before, t_patch_site, sizeof(before));
	assert_int_equal(regmap_patch(4), 0);
	for (unsigned n = 0; n < 50; n++) {
		memory[3] = n;
		assert_int_equal(read_in_executable((volatile uint64_t *)(WINDOW + 24)), n);
	}
	assert_int_equal(regmap_patch_site(t_patch_site), 1);
	assert_int_equal(t_patch_site[0], 0xe9);
	assert_int_equal(regmap_patch(0), 0);
	assert_memory_equal(t_patch_site, before, sizeof(before));
}

static uint64_t counted(const char *text)
{
	struct regmap_patch_stats s = stats_now();
	uint64_t all = 0, found = 0;

	for (unsigned i = 0; i < REGMAP_PATCH_REASONS; i++) {
		const char *reason = regmap_patch_reason(i);

		all += s.reason[i];
		assert_true(reason || !s.reason[i]);
		if (reason && strstr(reason, text))
			found += s.reason[i];
	}
	assert_int_equal(all, s.refused);
	assert_null(regmap_patch_reason(REGMAP_PATCH_REASONS));
	return found;
}

static void test_patch_refuses_writable_code(void **state)
{
	uint8_t *page = map_code(PROT_READ | PROT_WRITE | PROT_EXEC);
	uint64_t before = counted("writable");

	(void)state;
	assert_int_equal(regmap_patch(1), 0);
	for (unsigned i = 0; i < SNIPPETS; i++) {
		check_reads(code_of(page, i), 3);
		assert_int_equal(regmap_patch_site(site_of(page, i)), -EPERM);
		assert_memory_equal(code_of(page, i), snippets[i].bytes, snippets[i].all);
	}
	assert_int_equal(counted("writable") - before, SNIPPETS);
	/* it may be so no longer */
	assert_int_equal(mprotect(page, PAGE, PROT_READ | PROT_EXEC), 0);
	for (unsigned i = 0; i < SNIPPETS; i++) {
		check_reads(code_of(page, i), 200);
		assert_int_equal(regmap_patch_site(site_of(page, i)), 1);
	}
	assert_int_equal(counted("writable") - before, 0);
	munmap(page, PAGE);
}

static void test_patch_refuses_shared_code(void **state)
{
	uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	memcpy(page, snippets[4].bytes, snippets[4].all);
	assert_int_equal(mprotect(page, PAGE, PROT_READ | PROT_EXEC), 0);
	assert_int_equal(regmap_patch(1), 0);
	check_reads(page, 10);
	assert_int_equal(regmap_patch_site(page + snippets[4].before), -EPERM);
	assert_memory_equal(page, snippets[4].bytes, snippets[4].all);
	munmap(page, PAGE);
}

/* The debugger's way in: it writes where the program can't. */
static void poke(uint8_t *at, uint8_t byte)
{
	int fd = open("/proc/self/mem", O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)(uintptr_t)at), 1);
	close(fd);
}

/* --- the program changes its code --- */

static void test_patch_gives_bytes_back_before_code_is_writable(void **state)
{
	(void)state;
	for (unsigned way = 0; way < 2; way++) {
		uint8_t *page = map_code(PROT_READ | PROT_EXEC), before[PAGE];

		memcpy(before, page, PAGE);
		assert_int_equal(regmap_patch(1), 0);
		for (unsigned i = 0; i < SNIPPETS; i++)
			check_reads(code_of(page, i), 3);
		assert_memory_not_equal(page, before, PAGE);
		if (way == 0)
			assert_int_equal(mprotect(page, PAGE, PROT_READ | PROT_WRITE), 0);
		else if (pkey_mprotect(page, PAGE, PROT_READ | PROT_WRITE, -1))
			skip();
		assert_memory_equal(page, before, PAGE);
		/* another instruction in each site's place: mov rax,[rdi] becomes mov rax,rdi */
		for (unsigned i = 0; i < SNIPPETS; i++)
			memcpy(code_of(page, i), "\x48\x89\xf8\x90\x90\x90\xc3", 7);
		assert_int_equal(mprotect(page, PAGE, PROT_READ | PROT_EXEC), 0);
		for (unsigned i = 0; i < SNIPPETS; i++)
			assert_int_equal(as_function(code_of(page, i))(WINDOW + 8), WINDOW + 8);
		munmap(page, PAGE);
	}
}

/* munmap(), mmap() over it and mremap() away: other code at the same place is other code. */
static void test_patch_forgets_code_that_goes(void **state)
{
	uint8_t *away = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		before[PAGE];

	(void)state;
	assert_int_equal(regmap_patch(1), 0);
	for (unsigned way = 0; way < 3; way++) {
		uint8_t *page = map_code(PROT_READ | PROT_EXEC), *again;

		memcpy(before, page, PAGE);
		for (unsigned i = 0; i < SNIPPETS; i++)
			check_reads(code_of(page, i), 3);
		if (way == 0)
			munmap(page, PAGE);
		if (way == 2) {
			assert_ptr_equal(mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			                        away),
			                 away);
			assert_memory_equal(away, before, PAGE);
			check_reads(code_of(away, 1), 10);
		}
		again = mmap(page, PAGE, PROT_READ | PROT_WRITE,
		             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		assert_ptr_equal(again, page);
		memcpy(page, before, PAGE);
		for (unsigned i = 0; i < SNIPPETS; i++)
			assert_int_not_equal(regmap_patch_site(site_of(page, i)), 1);
		mprotect(page, PAGE, PROT_READ | PROT_EXEC);
		for (unsigned i = 0; i < SNIPPETS; i++) {
			check_reads(code_of(page, i), 10);
			assert_int_equal(regmap_patch_site(site_of(page, i)), 1);
		}
		munmap(page, PAGE);
	}
	munmap(away, PAGE);
}

/* Behind the library's back, as dlclose() does it. */
static void test_patch_sees_code_that_has_gone(void **state)
{
	uint8_t *page = map_code(PROT_READ | PROT_EXEC), other[PAGE];

	(void)state;
	assert_int_equal(regmap_patch(1), 0);
	for (unsigned i = 0; i < SNIPPETS; i++)
		check_reads(code_of(page, i), 3);
	syscall(SYS_munmap, page, PAGE);
	assert_int_equal(regmap_patch(0), 0);
	assert_int_equal(regmap_patch(1), 0);
	assert_int_equal(syscall(SYS_mmap, page, PAGE, PROT_READ | PROT_WRITE,
	                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
	                 (long)(uintptr_t)page);
	memset(page, 0x90, PAGE);
	/* the snippets, each where another was */
	for (unsigned i = 0; i < SNIPPETS; i++)
		memcpy(code_of(page, i), snippets[SNIPPETS - 1 - i].bytes,
		       snippets[SNIPPETS - 1 - i].all);
	memcpy(other, page, PAGE);
	syscall(SYS_mprotect, page, PAGE, PROT_READ | PROT_EXEC);
	for (unsigned i = 0; i < SNIPPETS; i++)
		check_reads(code_of(page, i), 10);
	assert_int_equal(regmap_patch(0), 0);
	assert_memory_equal(page, other, PAGE);
	munmap(page, PAGE);
}

/* --- neighbours --- */

/* Six sites without a gap, each by another argument's register. */
static const uint8_t crowd[] = {
	0x31, 0xc0,             /* xor eax, eax */
	0x03, 0x07,             /* add eax, [rdi] */
	0x03, 0x06,             /* add eax, [rsi] */
	0x03, 0x42, 0x00,       /* add eax, [rdx + 0] */
	0x41, 0x03, 0x40, 0x00, /* add eax, [r8 + 0] */
	0x41, 0x03, 0x01,       /* add eax, [r9] */
	0x03, 0x01,             /* add eax, [rcx] */
	0x90, 0x90, 0x90, 0xc3,
};
static const uint8_t crowd_at[6] = {2, 4, 6, 9, 13, 16};
static const uint8_t crowd_arg[6] = {0, 1, 2, 4, 5, 3};
typedef uint32_t (*crowd_fn)(const void *, const void *, const void *, const void *, const void *,
                             const void *);

/* Where hops of the shortest have room on either side */
static uint8_t *map_crowd(void)
{
	uint8_t *page = map_far();

	memcpy(page, crowd, sizeof(crowd));
	assert_int_equal(mprotect(page, PAGE, PROT_READ | PROT_EXEC), 0);
	return page;
}

static uint32_t run_crowd(const uint8_t *page, unsigned trapped)
{
	static const uint32_t plain[6] = {1, 10, 100, 1000, 10000, 100000};
	const void *arg[6];

	for (unsigned i = 0; i < 6; i++) {
		((uint32_t *)memory)[64 + i] = plain[i];
		arg[i] = trapped >> i & 1 ? (const void *)(WINDOW + (64 + i) * 4) :
		                            (const void *)&plain[i];
	}
	return ((crowd_fn)(uintptr_t)page)(arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

static void patch_in_order(const uint8_t *page, const unsigned *order)
{
	for (unsigned i = 0; i < 6; i++) {
		unsigned k = order[i];

		assert_int_equal(run_crowd(page, 1u << crowd_arg[k]), 111111);
		if (regmap_patch_site(page + crowd_at[k]) != 1)
			fail_msg("site %u is not patched", k);
		for (unsigned trapped = 0; trapped < 64; trapped += 9)
			assert_int_equal(run_crowd(page, trapped), 111111);
	}
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(regmap_patch_site(page + crowd_at[i]), 1);
	assert_int_equal(run_crowd(page, 63), 111111);
}

static unsigned next_order(unsigned order[6])
{
	int i = 4, j = 5, a = 5;

	while (i >= 0 && order[i] > order[i + 1])
		i--;
	if (i < 0)
		return 0;
	while (order[j] < order[i])
		j--;
	unsigned t = order[i];
	order[i] = order[j];
	order[j] = t;
	for (int b = i + 1; b < a; b++, a--) {
		t = order[a];
		order[a] = order[b];
		order[b] = t;
	}
	return 1;
}

static void test_patch_patches_neighbours_in_any_order(void **state)
{
	unsigned order[6] = {0, 1, 2, 3, 4, 5}, count = 0;
	uint8_t *page = map_crowd();

	(void)state;
	do {
		if (count % 7 == 0) {
			assert_int_equal(regmap_patch(1), 0);
			patch_in_order(page, order);
			assert_int_equal(regmap_patch(0), 0);
			assert_memory_equal(page, crowd, sizeof(crowd));
		}
		count++;
	} while (next_order(order));
	assert_int_equal(count, 720);
	munmap(page, PAGE);
}

/* A debugger's breakpoint on the instruction behind bends the jump: nothing else must come of it. */
static volatile sig_atomic_t traps;
static uint8_t *lift;
static uint8_t lift_to;

static void on_trap(int signo, siginfo_t *info, void *ucontext)
{
	greg_t *rip = &((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RIP];

	(void)signo;
	(void)info;
	traps++;
	poke(lift, lift_to);
	*rip -= 1;
}

static void test_patch_survives_breakpoints_behind_a_site(void **state)
{
	struct sigaction act = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO}, old;
	uint8_t *page = map_far();

	(void)state;
	for (unsigned i = 0; i < SNIPPETS; i++)
		memcpy(code_of(page, i), snippets[i].bytes, snippets[i].all);
	mprotect(page, PAGE, PROT_READ | PROT_EXEC);
	sigaction(SIGTRAP, &act, &old);
	assert_int_equal(regmap_patch(1), 0);
	for (unsigned i = 0; i < SNIPPETS; i++) {
		check_reads(code_of(page, i), 3);
		assert_int_equal(regmap_patch_site(site_of(page, i)), 1);
		lift = site_of(page, i) + snippets[i].length;
		lift_to = *lift;
		traps = 0;
		poke(lift, 0xcc);
		check_reads(code_of(page, i), 1);
		assert_int_equal(traps, 1);
		check_reads(code_of(page, i), 3);
		/* and on the site itself */
		lift = site_of(page, i);
		lift_to = *lift;
		poke(lift, 0xcc);
		check_reads(code_of(page, i), 1);
		assert_int_equal(traps, 2);
		check_reads(code_of(page, i), 3);
	}
	sigaction(SIGTRAP, &old, NULL);
	munmap(page, PAGE);
}

/* --- threads --- */

struct race {
	uint8_t *page;
	atomic_bool stop;
	_Atomic uint64_t turns;
	atomic_int wrong;
};

static void *run_sites(void *arg)
{
	struct race *race = arg;

	while (!atomic_load(&race->stop)) {
		for (unsigned i = 0; i < SNIPPETS; i++)
			if (as_function(code_of(race->page, i))(WINDOW + 16) != 0x1234)
				atomic_fetch_add(&race->wrong, 1);
		if (run_crowd(race->page + PAGE / 2, 63) != 111111)
			atomic_fetch_add(&race->wrong, 1);
		atomic_fetch_add(&race->turns, 1);
	}
	return NULL;
}

static bool is_writable_and_executable(void)
{
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "re");
	bool found = false;

	while (maps && fgets(line, sizeof(line), maps))
		found |= strstr(line, " rwx") || strstr(line, " -wx");
	fclose(maps);
	return found;
}

static unsigned long wanted(const char *name, unsigned long otherwise)
{
	const char *wish = getenv(name);

	return wish ? strtoul(wish, NULL, 0) : otherwise;
}

static void begin_race(struct race *race)
{
	race->page = map_far();
	for (unsigned i = 0; i < SNIPPETS; i++)
		memcpy(code_of(race->page, i), snippets[i].bytes, snippets[i].all);
	memcpy(race->page + PAGE / 2, crowd, sizeof(crowd));
	assert_int_equal(mprotect(race->page, PAGE, PROT_READ | PROT_EXEC), 0);
	memory[2] = 0x1234;
	run_crowd(race->page + PAGE / 2, 0);
}

static int all_reads(uint8_t *page, unsigned times)
{
	for (unsigned n = 0; n < times; n++)
		for (unsigned i = 0; i < SNIPPETS; i++)
			if (as_function(code_of(page, i))(WINDOW + 16) != 0x1234)
				return 1;
	return run_crowd(page + PAGE / 2, 63) == 111111 ? 0 : 2;
}

/*
 * How often sites are patched and taken back in all: T_TURNS=1000000 in the environment for a long one.
 * Mostly this thread runs into them itself, so that it waits for no other. Memory is never writable and
 * executable.
 */
static void take_a_turn(struct race *race, unsigned n)
{
	uint64_t seen = atomic_load(&race->turns);

	assert_int_equal(regmap_patch(1 + n % 3), 0);
	if (n % 16 == 0)
		while (atomic_load(&race->turns) < seen + 2)
			sched_yield();
	for (unsigned i = 0; i < 1 + n % 3; i++)
		if (all_reads(race->page, 1))
			atomic_fetch_add(&race->wrong, 1);
	if (n % 16 == 0)
		assert_false(is_writable_and_executable());
	assert_int_equal(regmap_patch(0), 0);
}

static void test_patch_races_with_threads(void **state)
{
	uint64_t most = stats_now().taken_back + wanted("T_TURNS", 4000);
	struct race race = {0};
	pthread_t thread[3];
	uint8_t before[PAGE];

	(void)state;
	begin_race(&race);
	memcpy(before, race.page, PAGE);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run_sites, &race), 0);
	for (unsigned n = 0; stats_now().taken_back < most; n++)
		take_a_turn(&race, n);
	atomic_store(&race.stop, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(race.wrong, 0);
	assert_memory_equal(race.page, before, PAGE);
	munmap(race.page, PAGE);
}

/* --- forks --- */

static int child_reads(uint8_t *page)
{
	alarm(20);
	return all_reads(page, 20);
}

static void check_child(pid_t child)
{
	int status;

	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_patch_leaves_the_parent_alone(void **state)
{
	struct race race = {0};
	uint8_t before[PAGE];
	pid_t child;

	(void)state;
	begin_race(&race);
	memcpy(before, race.page, PAGE);
	assert_int_equal(regmap_patch(1), 0);
	child = fork();
	if (!child) {
		int bad = child_reads(race.page);

		_exit(bad ? bad : regmap_patch_site(site_of(race.page, 0)) == 1 ? 0 : 3);
	}
	check_child(child);
	assert_memory_equal(race.page, before, PAGE);
	for (unsigned i = 0; i < SNIPPETS; i++)
		assert_int_equal(regmap_patch_site(site_of(race.page, i)), 0);
	/* and the other way: it has the patches, and may take its own back */
	assert_int_equal(child_reads(race.page), 0);
	child = fork();
	if (!child) {
		int bad = child_reads(race.page);

		bad |= regmap_patch(0);
		_exit(bad || memcmp(race.page, before, PAGE) ? 1 : child_reads(race.page));
	}
	check_child(child);
	assert_int_equal(regmap_patch_site(site_of(race.page, 0)), 1);
	assert_int_equal(child_reads(race.page), 0);
	munmap(race.page, PAGE);
}

static void *patch_and_take_back(void *arg)
{
	struct race *race = arg;

	while (!atomic_load(&race->stop)) {
		(void)!regmap_patch(1);
		child_reads(race->page);
		(void)!regmap_patch(0);
		atomic_fetch_add(&race->turns, 1);
	}
	return NULL;
}

/*
 * By fork() and by the bare system call, which calls nobody before: the thread sanitizer doesn't see
 * that the child's other threads are gone, and takes what they did for races.
 */
static void test_patch_forks_in_the_middle(void **state)
{
	const char *mode = getenv("TEST_MODE");
	bool tsan = mode && !strcmp(mode, "tsan");
	struct race race = {0};
	pthread_t thread;

	(void)state;
	begin_race(&race);
	assert_int_equal(pthread_create(&thread, NULL, patch_and_take_back, &race), 0);
	while (!atomic_load(&race.turns))
		sched_yield();
	for (unsigned n = 0; n < wanted("T_FORKS", 200); n++) {
		pid_t child = n % 4 == 0 || tsan ? fork() : (pid_t)syscall(SYS_fork);

		if (!child)
			_exit(child_reads(race.page));
		check_child(child);
	}
	atomic_store(&race.stop, true);
	pthread_join(thread, NULL);
	alarm(0);
	munmap(race.page, PAGE);
}

/* --- memory --- */

static uint64_t resident(void)
{
	char text[128] = "";
	int fd = open("/proc/self/statm", O_RDONLY);
	unsigned long size, pages = 0;

	if (read(fd, text, sizeof(text) - 1) > 0)
		sscanf(text, "%lu %lu", &size, &pages);
	close(fd);
	return pages * PAGE;
}

/* More than a million sites: T_SITES=1100000 */
static void test_patch_takes_bounded_memory(void **state)
{
	unsigned long sites = wanted("T_SITES", 60000),
		      size = (2 * sites + 2 * PAGE) & -(size_t)PAGE;
	uint8_t *code = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	                     0);
	uint64_t before, seen = stats_now().sites;

	(void)state;
	for (unsigned long i = 0; i < sites; i++)
		memcpy(code + 2 * i, "\x8b\x07", 2);
	code[2 * sites] = 0xc3;
	mprotect(code, size, PROT_READ | PROT_EXEC);
	memory[0] = 0x4321;
	before = resident();
	assert_int_equal(regmap_patch(2), 0);
	assert_int_equal(as_function(code)(WINDOW), 0x4321);
	assert_true(stats_now().sites <= 1 << 20);
	assert_true(stats_now().sites >= 1 << 20 || stats_now().sites == seen + sites);
	assert_true(resident() - before < (64 << 20));
	munmap(code, size);
}

/* --- the environment --- */

static int say_stats(void *arg)
{
	uint8_t *page = map_code(PROT_READ | PROT_EXEC);

	setenv("REGMAP_PATCH_STATS", arg, 1);
	if (regmap_patch(2))
		return 1;
	check_reads(code_of(page, 1), 5);
	exit(0);
}

static void test_patch_prints_the_counters_at_exit(void **state)
{
	struct t_child child;

	(void)state;
	t_child_run(&child, say_stats, "1");
	assert_int_equal(child.status, 0);
	if (!strstr(child.text, "patched 1 ") || strstr(child.text, " faults at "))
		fail_msg("%s", child.text);
}

/* 2 faults, then it was patched. */
static void test_patch_lists_the_sites_at_exit(void **state)
{
	struct t_child child;

	(void)state;
	t_child_run(&child, say_stats, "2");
	assert_int_equal(child.status, 0);
	if (!strstr(child.text, "patched 1 ") || !strstr(child.text, " 2 faults at 0x") ||
	    !strstr(child.text, ": patched\n"))
		fail_msg("%s", child.text);
}

static void test_patch_checks_its_arguments(void **state)
{
	struct regmap_patch_stats s = {.size = sizeof(s) - 1};

	(void)state;
	assert_int_equal(regmap_patch_stats(NULL), -EINVAL);
	assert_int_equal(regmap_patch_stats(&s), -EINVAL);
	assert_int_equal(regmap_patch_site(NULL), 0);
	assert_int_equal(regmap_patch(0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_patch_is_off_by_default, switch_off),
		cmocka_unit_test_teardown(test_patch_patches_after_so_many_faults, switch_off),
		cmocka_unit_test_teardown(test_patch_off_gives_all_bytes_back, switch_off),
		cmocka_unit_test_teardown(test_patch_patches_the_executable, switch_off),
		cmocka_unit_test_teardown(test_patch_refuses_writable_code, switch_off),
		cmocka_unit_test_teardown(test_patch_refuses_shared_code, switch_off),
		cmocka_unit_test_teardown(test_patch_gives_bytes_back_before_code_is_writable,
	                                  switch_off),
		cmocka_unit_test_teardown(test_patch_forgets_code_that_goes, switch_off),
		cmocka_unit_test_teardown(test_patch_sees_code_that_has_gone, switch_off),
		cmocka_unit_test_teardown(test_patch_patches_neighbours_in_any_order, switch_off),
		cmocka_unit_test_teardown(test_patch_survives_breakpoints_behind_a_site,
	                                  switch_off),
		cmocka_unit_test_teardown(test_patch_races_with_threads, switch_off),
		cmocka_unit_test_teardown(test_patch_leaves_the_parent_alone, switch_off),
		cmocka_unit_test_teardown(test_patch_forks_in_the_middle, switch_off),
		cmocka_unit_test_teardown(test_patch_prints_the_counters_at_exit, switch_off),
		cmocka_unit_test_teardown(test_patch_lists_the_sites_at_exit, switch_off),
		cmocka_unit_test_teardown(test_patch_checks_its_arguments, switch_off),
		/* last: a long one leaves no room for other sites */
		cmocka_unit_test_teardown(test_patch_takes_bounded_memory, switch_off),
	};

	return cmocka_run_group_tests_name("patch", tests, start, NULL);
}
