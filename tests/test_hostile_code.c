/* SPDX-License-Identifier: MIT */
/*
 * Nothing is ever writable and executable at once; and where the system forbids executable memory,
 * or memory at all, all works or is refused with a word that says so. The kernel is the witness: a
 * filter that kills whoever asks for both.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/x86_64/native.h"
#include "child.h"
#include "lay.h"

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif

enum { AT = 0x30000000, RAM_AT = 0x30100000, RW = REGMAP_READ | REGMAP_WRITE, SKIP = 77 };
enum { EXEC = PROT_EXEC, BOTH = PROT_WRITE | PROT_EXEC };

static uint8_t host[64] __attribute__((aligned(64)));

/* --- filters --- */

static void install(const struct sock_filter *filter, unsigned short length)
{
	struct sock_fprog program = {length, (struct sock_filter *)(uintptr_t)filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(SKIP);
}

/* What to do where mmap(), mprotect() or pkey_mprotect() asks for all of these bits. */
static void filter_protection(unsigned bits, unsigned action)
{
	const struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pkey_mprotect, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, bits),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, bits, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	install(filter, sizeof(filter) / sizeof(filter[0]));
}

static void filter_call(unsigned number, unsigned action)
{
	const struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	install(filter, sizeof(filter) / sizeof(filter[0]));
}

/* --- what a program does --- */

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "not so: %s\n", what);
	_exit(1);
}

static void lay(void)
{
	struct regmap_config ram = {
		.size = sizeof(ram),
		.guest = RAM_AT,
		.length = 8192,
		.access = RW,
		.backing = REGMAP_RAM,
	};

	signal(SIGSEGV, SIG_DFL); /* cmocka has one */
	must(!t_lay_host("host", AT, host, sizeof(host), RW), "a host window");
	must(!regmap_map(&ram, NULL), "a RAM window");
}

static void use_integers(void)
{
	*(volatile uint32_t *)AT = 7;
	*(volatile uint32_t *)AT += 1;
	*(volatile uint32_t *)RAM_AT = 5;
	must(*(volatile uint32_t *)AT == 8 && *(volatile uint32_t *)RAM_AT == 5, "integers");
}

static void use_vectors(void)
{
	__asm__ volatile("pcmpeqd %%xmm3, %%xmm3\n\t psubd (%0), %%xmm3\n\t"
	                 "movdqu %%xmm3, 16(%0)\n\t fldl (%0)\n\t fstpl 32(%0)"
	                 :
	                 : "r"((uintptr_t)AT)
	                 : "xmm3", "memory");
	must(!memcmp(host + 32, host, 8), "x87");
	must(*(uint32_t *)(host + 16) == ~*(uint32_t *)host, "vectors");
}

/* Stubs, many of them, up to those that are lent because there is no room. */
static void fill_code_memory(void)
{
	uint8_t code[5] = {0xb8};

	for (uint32_t i = 0; regmap__code_stub(code, sizeof(code)); i++)
		memcpy(code + 1, &i, sizeof(i));
	must(regmap__code_borrow(code, sizeof(code)) != NULL, "a stub to borrow");
}

static unsigned code_mappings(const char *mode)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned n = 0;

	while (maps && fgets(line, sizeof(line), maps)) {
		must(!strstr(line, " rwx") && !strstr(line, " -wx"), "either writable or not");
		n += strstr(line, "regmap-code") && strstr(line, mode);
	}
	if (maps)
		fclose(maps);
	return n;
}

/* --- never both --- */

static int be_watched(void *arg)
{
	(void)arg;
	filter_protection(BOTH, SECCOMP_RET_KILL_PROCESS);
	lay();
	use_integers();
	use_vectors();
	must(code_mappings(" rw-s ") == 1 && code_mappings(" r-xs ") == 1, "one view of each");
	fill_code_memory();
	use_vectors();
	must(code_mappings(" rw-s ") == 1 && code_mappings(" r-xs ") == 1, "one view of each");
	return 0;
}

static int be_a_watched_parent(void *arg)
{
	int status;
	pid_t child;

	if (be_watched(arg))
		return 1;
	child = fork();
	if (!child) {
		use_vectors();
		must(code_mappings(" rw-s ") == 1 && code_mappings(" r-xs ") == 1, "views");
		_exit(0);
	}
	return waitpid(child, &status, 0) != child || status;
}

static void expect(int fate, int expected)
{
	if (fate == -1 - SKIP)
		skip();
	assert_int_equal(fate, expected);
}

static void test_hostile_code_is_never_writable_and_executable(void **state)
{
	(void)state;
	expect(t_child_fate(be_watched, NULL), 0);
}

static void test_hostile_code_views_stay_apart_in_children(void **state)
{
	(void)state;
	expect(t_child_fate(be_a_watched_parent, NULL), 0);
}

static uint64_t view(const char *mode)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long at = 0, start;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps))
		if (strstr(line, "regmap-code") && strstr(line, mode) &&
		    sscanf(line, "%lx", &start) == 1)
			at = start;
	if (maps)
		fclose(maps);
	return at;
}

static int write_to_code(void *arg)
{
	(void)arg;
	lay();
	use_vectors();
	*(volatile uint8_t *)view(" r-xs ") = 0xcc;
	return 0;
}

static void test_hostile_code_executable_view_is_not_writable(void **state)
{
	(void)state;
	expect(t_child_fate(write_to_code, NULL), SIGSEGV);
}

/* Not through the file either, nor by changing the view's protection, nor its size. */
static int reopen_code(void *arg)
{
	char path[64];
	uint64_t at;
	int fd;

	(void)arg;
	lay();
	use_vectors();
	at = view(" r-xs ");
	if (mprotect((void *)at, 4096, PROT_READ | PROT_WRITE) == 0)
		return 1;
	for (unsigned pages = 1; pages < 1024; pages++) {
		snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (long)at,
		         (long)(at + 4096ul * pages));
		fd = open(path, O_RDWR);
		if (fd < 0)
			continue;
		must(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED,
		     "a second writable view is refused");
		must(pwrite(fd, "", 1, 0) < 0, "so is write()");
		must(ftruncate(fd, 0) < 0, "and ftruncate()");
		use_vectors();
		return 0;
	}
	return SKIP; /* an unprivileged process can't even open it */
}

static void test_hostile_code_is_sealed(void **state)
{
	(void)state;
	expect(t_child_fate(reopen_code, NULL), 0);
}

/* --- where it is forbidden --- */

static int run_under_mdwe(void *arg)
{
	if (prctl(PR_SET_MDWE, 1, 0, 0, 0))
		return SKIP;
	return be_a_watched_parent(arg);
}

static void test_hostile_code_works_under_mdwe(void **state)
{
	(void)state;
	expect(t_child_fate(run_under_mdwe, NULL), 0);
}

static int run_without_exec(void *arg)
{
	(void)arg;
	filter_protection(EXEC, SECCOMP_RET_ERRNO | EPERM);
	lay();
	use_integers();
	must(!code_mappings("regmap-code"), "no half of a code memory");
	fprintf(stderr, "integers work\n");
	use_vectors();
	return 0;
}

static void check_refusal(const struct t_child *child)
{
	if (t_fate(child->status) == -1 - SKIP)
		skip();
	assert_int_equal(t_fate(child->status), SIGSEGV);
	assert_non_null(strstr(child->text, "integers work"));
	assert_non_null(strstr(child->text, "not an integer instruction, and native execution"));
}

static void test_hostile_code_is_refused_without_executable_memory(void **state)
{
	static struct t_child child;

	(void)state;
	t_child_run(&child, run_without_exec, NULL);
	check_refusal(&child);
}

static int run_without_memfd(void *arg)
{
	(void)arg;
	filter_call(SYS_memfd_create, SECCOMP_RET_ERRNO | EACCES);
	lay();
	use_integers();
	use_vectors();
	return 0;
}

/* As with vm.memfd_noexec=2: anonymous memory serves as well. */
static void test_hostile_code_works_without_memfd(void **state)
{
	(void)state;
	expect(t_child_fate(run_without_memfd, NULL), 0);
}

/*
 * It was there at first, and a child can't have its own: what its parent had done still works, the
 * rest is refused.
 */
static int lose_exec_in_a_child(void *arg)
{
	int status;
	pid_t child;

	(void)arg;
	lay();
	use_integers();
	use_vectors();
	child = fork();
	if (!child) {
		filter_protection(EXEC, SECCOMP_RET_ERRNO | EPERM);
		use_integers();
		use_vectors();
		__asm__ volatile("paddsb (%0), %%xmm3" : : "r"((uintptr_t)AT) : "xmm3");
		_exit(0);
	}
	must(waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
	             WTERMSIG(status) == SIGSEGV,
	     "the child is refused");
	use_vectors();
	return 0;
}

static void test_hostile_code_child_without_executable_memory(void **state)
{
	static struct t_child child;

	(void)state;
	t_child_run(&child, lose_exec_in_a_child, NULL);
	expect(t_fate(child.status), 0);
	assert_non_null(strstr(child.text, "no room for its code"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_code_is_never_writable_and_executable),
		cmocka_unit_test(test_hostile_code_views_stay_apart_in_children),
		cmocka_unit_test(test_hostile_code_executable_view_is_not_writable),
		cmocka_unit_test(test_hostile_code_is_sealed),
		cmocka_unit_test(test_hostile_code_works_under_mdwe),
		cmocka_unit_test(test_hostile_code_is_refused_without_executable_memory),
		cmocka_unit_test(test_hostile_code_works_without_memfd),
		cmocka_unit_test(test_hostile_code_child_without_executable_memory),
	};

	return cmocka_run_group_tests_name("hostile_code", tests, NULL, NULL);
}
