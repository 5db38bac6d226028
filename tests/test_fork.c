/* SPDX-License-Identifier: MIT */
/* Child processes of every make, and what they share with their parents. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "arena.h"
#include "arch/x86_64/native.h"
#include "child.h"
#include "lay.h"

#define BASE 0x31000000ULL
#define AWAY 0x33000000ULL
#define HIGH 0xffff900000000000ULL
#define RW (REGMAP_READ | REGMAP_WRITE)

enum { PAGE = 4096, ROUNDS = 500 };

static uint64_t volatile *at(uint64_t guest)
{
	return (uint64_t volatile *)(uintptr_t)guest;
}

static struct regmap_window *lay(struct regmap_config c)
{
	struct regmap_window *w = NULL;

	c.size = sizeof(c);
	if (!c.access)
		c.access = RW;
	assert_int_equal(regmap_map(&c, &w), 0);
	return w;
}

static struct regmap_window *lay_ram(uint64_t guest, uint64_t length, unsigned flags)
{
	return lay((struct regmap_config){.guest = guest, .length = length, .flags = flags});
}

static struct regmap_window *lay_alias(uint64_t guest, uint64_t length, uint64_t target)
{
	return lay((struct regmap_config){.guest = guest,
	                                  .length = length,
	                                  .backing = REGMAP_ALIAS,
	                                  .target = target});
}

static uint64_t read64(uint64_t guest)
{
	uint64_t value = 0;

	assert_int_equal(regmap_read(guest, &value, sizeof(value)), 0);
	return value;
}

static uint64_t translated(uint64_t guest)
{
	void *host = NULL;

	assert_int_equal(regmap_translate(guest, &host), 0);
	return *(uint64_t *)host;
}

static void unmap(struct regmap_window *w)
{
	assert_int_equal(regmap_unmap(w), 0);
}

/* Is it mapped there, so that the kernel can read it? */
static bool is_direct(uint64_t guest)
{
	int ends[2];
	bool yes;

	assert_int_equal(pipe(ends), 0);
	yes = write(ends[1], (void *)(uintptr_t)guest, 1) == 1;
	close(ends[0]);
	close(ends[1]);
	return yes;
}

/* --- every way to make a child with a memory of its own --- */

typedef int body_fn(void *arg);

struct call {
	body_fn *body;
	void *arg;
};

static int enter(void *call)
{
	const struct call *c = call;

	alarm(20);
	_exit(c->body(c->arg));
}

static pid_t by_fork(struct call *call)
{
	pid_t pid = fork();

	return pid ? pid : enter(call);
}

static pid_t by_underscore(struct call *call)
{
	pid_t pid = _Fork();

	return pid ? pid : enter(call);
}

static pid_t by_system_call(struct call *call)
{
	pid_t pid = (pid_t)syscall(SYS_fork);

	return pid ? pid : enter(call);
}

static pid_t by_clone_call(struct call *call)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	return pid ? pid : enter(call);
}

static pid_t by_clone(struct call *call)
{
	static _Alignas(64) char stack[1 << 18];

	return clone(enter, stack + sizeof(stack), SIGCHLD, call);
}

static pid_t by_clone_vm(struct call *call)
{
	static _Alignas(64) char stack[1 << 18];

	return clone(enter, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, call);
}

typedef pid_t make_fn(struct call *call);

static const struct way {
	const char *name;
	make_fn *make;
} ways[] = {
	{"fork", by_fork},
	{"_Fork", by_underscore},
	{"SYS_fork", by_system_call},
	{"SYS_clone", by_clone_call},
	{"clone", by_clone},
};

enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

static int fate_of(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1000;
	return t_fate(status);
}

static void run_in_child(const struct way *way, body_fn *body, void *arg)
{
	struct call call = {body, arg};
	int fate = fate_of(way->make(&call));

	if (fate)
		print_error("a child by %s: %d\n", way->name, fate);
	assert_int_equal(fate, 0);
}

/* Sanitizers don't know of children made behind libc's back. */
static bool way_is_fine(const struct way *way)
{
	return !t_mode_is("tsan") || way->make == by_fork;
}

static void in_each_child(body_fn *body, void *arg)
{
	for (unsigned i = 0; i < WAYS; i++)
		if (way_is_fine(&ways[i]))
			run_in_child(&ways[i], body, arg);
}

/* --- private RAM --- */

/* Four ways to the same eight bytes. */
static int sees(uint64_t guest, uint64_t alias, uint64_t value)
{
	void *host;
	uint64_t got;

	T_CHECK(*at(guest) == value);
	T_CHECK(*at(alias) == value);
	T_CHECK(regmap_translate(guest, &host) == 0 && *(uint64_t *)host == value);
	T_CHECK(regmap_read(guest, &got, 8) == 0 && got == value);
	return 0;
}

static int grandchild(void *arg)
{
	(void)arg;
	T_CHECK(!sees(BASE + 8, HIGH + 8, 22));
	*at(BASE + 8) = 33;
	return sees(BASE + 8, HIGH + 8, 33);
}

static int store_in_child(void *arg)
{
	struct call call = {grandchild, NULL};

	(void)arg;
	T_CHECK(!sees(BASE + 8, HIGH + 8, 11));
	*at(BASE + 8) = 22;
	T_CHECK(!sees(BASE + 8, HIGH + 8, 22));
	T_CHECK(fate_of(by_system_call(&call)) == 0);
	T_CHECK(!sees(BASE + 8, HIGH + 8, 22));
	*at(HIGH + 16) = 44;
	return sees(BASE + 16, HIGH + 16, 44);
}

static void try_private(uint64_t length, unsigned flags, bool direct)
{
	struct regmap_window *w = lay_ram(BASE, length, flags | REGMAP_PRIVATE);
	struct regmap_window *alias = lay_alias(HIGH, length, BASE);

	assert_int_equal(is_direct(BASE), direct);
	*at(BASE + 8) = 11;
	*at(BASE + 16) = 12;
	in_each_child(store_in_child, NULL);
	assert_int_equal(sees(BASE + 8, HIGH + 8, 11), 0);
	assert_int_equal(sees(BASE + 16, HIGH + 16, 12), 0);
	unmap(alias);
	unmap(w);
}

static void test_fork_private_ram_is_private(void **state)
{
	(void)state;
	try_private(16 * PAGE, 0, true);
}

static void test_fork_private_ram_that_traps(void **state)
{
	(void)state;
	try_private(16 * PAGE, REGMAP_TRAP, false);
	try_private(1000, 0, false);
	try_private(3 * PAGE + 8, 0, false);
}

static int store_from_parent(void *arg)
{
	_Atomic int *turn = arg;

	*turn = 1;
	while (*turn != 2)
		sched_yield();
	T_CHECK(*at(BASE) == 1 && *at(BASE + PAGE) == 0 && translated(BASE) == 1);
	*turn = 3;
	return 0;
}

/* The parent's stores after the fork don't show, to pages that were touched before and that weren't. */
static void test_fork_parents_store_in_private(void **state)
{
	_Atomic int *turn = t_shared(PAGE);

	(void)state;
	for (unsigned i = 0; i < WAYS && way_is_fine(&ways[i]); i++) {
		struct regmap_window *w = lay_ram(BASE, 2 * PAGE, REGMAP_PRIVATE);
		struct call call = {store_from_parent, (void *)turn};
		pid_t pid;

		*turn = 0;
		*at(BASE) = 1;
		pid = ways[i].make(&call);
		while (*turn != 1)
			sched_yield();
		*at(BASE) = 2;
		*at(BASE + PAGE) = 3;
		*turn = 2;
		assert_int_equal(fate_of(pid), 0);
		unmap(w);
	}
}

static int write_to_rom(void *arg)
{
	void *host;

	(void)arg;
	T_CHECK(*at(BASE + 8) == 7 && !is_direct(BASE));
	T_CHECK(regmap_translate(BASE + 8, &host) == 0);
	*(uint64_t *)host = 8;
	T_CHECK(*at(BASE + 8) == 8);
	T_CHECK(regmap_write(BASE, "", 1) == -EACCES);
	return 0;
}

static void test_fork_private_read_only(void **state)
{
	struct regmap_window *w = lay((struct regmap_config){.guest = BASE,
	                                                     .length = PAGE,
	                                                     .access = REGMAP_READ,
	                                                     .flags = REGMAP_PRIVATE});
	void *host;

	(void)state;
	assert_int_equal(regmap_translate(BASE, &host), 0);
	((uint64_t *)host)[1] = 7;
	in_each_child(write_to_rom, NULL);
	assert_int_equal(*at(BASE + 8), 7);
	unmap(w);
}

static int wide_in_child(void *arg)
{
	uint64_t length = *(uint64_t *)arg;

	T_CHECK(*at(AWAY) == 1 && *at(AWAY + length / 2) == 2 && *at(AWAY + length - 8) == 3);
	*at(AWAY + length / 2) = 4;
	T_CHECK(read64(AWAY + length / 2) == 4);
	return 0;
}

/* Three pages are touched: each fork must not take longer than those need. */
static void test_fork_private_and_wide(void **state)
{
	uint64_t length = t_mode_is("rel") ? 1ULL << 40 : 1ULL << 26;
	struct regmap_window *w;

	(void)state;
	w = lay_ram(AWAY, length, REGMAP_PRIVATE);
	*at(AWAY) = 1;
	*at(AWAY + length / 2) = 2;
	*at(AWAY + length - 8) = 3;
	in_each_child(wide_in_child, &length);
	assert_int_equal(read64(AWAY + length / 2), 2);
	unmap(w);
}

static void test_fork_private_is_for_ram(void **state)
{
	static uint8_t host[64];
	struct regmap_config c = {.size = sizeof(c),
	                          .guest = BASE,
	                          .length = 64,
	                          .access = RW,
	                          .flags = REGMAP_PRIVATE,
	                          .backing = REGMAP_HOST,
	                          .host = host};

	(void)state;
	assert_int_equal(regmap_map(&c, NULL), -EINVAL);
	c.backing = REGMAP_ALIAS;
	c.target = AWAY;
	assert_int_equal(regmap_map(&c, NULL), -EINVAL);
	c.backing = REGMAP_RAM;
	c.flags = 4;
	assert_int_equal(regmap_map(&c, NULL), -EINVAL);
}

/* --- a window laid inside: the bytes move to where they can be trapped --- */

static int holed_in_child(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 8; i++)
		T_CHECK(*at(BASE + i * PAGE) == i + 100);
	T_CHECK(*at(BASE + PAGE + 64) == 5);
	*at(BASE + 3 * PAGE) = 1;
	*at(BASE + PAGE + 64) = 6;
	return *at(BASE + 3 * PAGE) == 1 && translated(BASE + 3 * PAGE) == 1 ? 0 : 1;
}

static void test_fork_private_with_a_window_inside(void **state)
{
	struct regmap_window *w = lay_ram(BASE, 8 * PAGE, REGMAP_PRIVATE), *in;
	void *before;

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		*at(BASE + i * PAGE) = i + 100;
	assert_int_equal(regmap_translate(BASE + 4 * PAGE, &before), 0);
	in = lay_ram(BASE + PAGE + 64, 64, REGMAP_PRIVATE);
	assert_int_equal(*at(BASE + PAGE + 64), 0);
	*at(BASE + PAGE + 64) = 5;
	assert_false(is_direct(BASE));
	in_each_child(holed_in_child, NULL);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(*at(BASE + i * PAGE), i + 100);
	assert_int_equal(*(uint64_t volatile *)before, 104);
	unmap(in);
	assert_int_equal(*at(BASE + PAGE + 64), 0);
	assert_int_equal(*at(BASE + PAGE), 101);
	assert_int_equal(*(uint64_t volatile *)before, 104);
	unmap(w);
}

static void test_fork_private_around_and_inside(void **state)
{
	struct regmap_window *in = lay_ram(BASE + PAGE, PAGE, REGMAP_PRIVATE), *out;

	(void)state;
	*at(BASE + PAGE) = 7;
	out = lay_ram(BASE, 4 * PAGE, REGMAP_PRIVATE);
	assert_int_equal(*at(BASE + PAGE), 7);
	assert_true(is_direct(BASE + PAGE));
	*at(BASE + 2 * PAGE) = 8;
	unmap(in);
	assert_int_equal(*at(BASE + PAGE), 0);
	assert_int_equal(*at(BASE + 2 * PAGE), 8);
	unmap(out);
	out = lay_ram(BASE, 4 * PAGE, 0);
	*at(BASE + PAGE) = 1;
	in = lay_ram(BASE + PAGE, PAGE, REGMAP_PRIVATE);
	assert_int_equal(*at(BASE + PAGE), 0);
	assert_true(is_direct(BASE) && is_direct(BASE + PAGE));
	unmap(in);
	assert_int_equal(*at(BASE + PAGE), 1);
	unmap(out);
}

struct adders {
	atomic_bool stop;
	_Atomic uint64_t added;
	uint64_t where;
};

static void *add(void *arg)
{
	struct adders *a = arg;

	while (!atomic_load(&a->stop)) {
		__asm__ volatile("lock incq %0" : "+m"(*at(a->where)));
		atomic_fetch_add(&a->added, 1);
	}
	return NULL;
}

static void *read_all_the_time(void *arg)
{
	struct adders *a = arg;

	for (uint64_t got; !atomic_load(&a->stop); atomic_fetch_add(&a->added, 1))
		if (regmap_read(a->where, &got, sizeof(got)))
			_exit(7);
	return NULL;
}

static atomic_uint device_reads;

static int count_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = atomic_fetch_add(&device_reads, 1);
	return 0;
}

/* One read of the device for each byte that is stored. */
static void *store_what_is_read(void *arg)
{
	struct adders *a = arg;

	for (; !atomic_load(&a->stop); atomic_fetch_add(&a->added, 1)) {
		uint64_t from = AWAY, to = a->where;

		__asm__ volatile("movsb" : "+S"(from), "+D"(to) : : "memory");
	}
	return NULL;
}

/*
 * At the guest address, through an alias, and without a fault, while the bytes move from one place
 * to the other.
 */
static void test_fork_private_moves_lose_nothing(void **state)
{
	static const struct regmap_device_ops ops = {.read = count_read};
	struct regmap_window *device = lay((struct regmap_config){.guest = AWAY,
	                                                          .length = 8,
	                                                          .backing = REGMAP_DEVICE,
	                                                          .ops = &ops});
	static void *(*const work[])(void *) = {add, add, read_all_the_time, store_what_is_read};

	(void)state;
	for (unsigned round = 0; round < 50; round++) {
		struct regmap_window *w = lay_ram(BASE, 4 * PAGE, REGMAP_PRIVATE);
		struct regmap_window *alias = lay_alias(HIGH, PAGE, BASE), *in;
		struct adders a[4] = {{.where = BASE + 8},
		                      {.where = HIGH + 8},
		                      {.where = BASE + 8},
		                      {.where = HIGH + 16}};
		pthread_t thread[4];

		atomic_store(&device_reads, 0);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&thread[i], NULL, work[i], &a[i]), 0);
		for (unsigned i = 0; i < 4; i++)
			while (atomic_load(&a[i].added) < 50)
				sched_yield();
		in = lay_ram(BASE + 2 * PAGE, 64, 0);
		for (unsigned i = 0; i < 4; i++) {
			atomic_store(&a[i].stop, true);
			pthread_join(thread[i], NULL);
		}
		assert_int_equal(*at(BASE + 8), a[0].added + a[1].added);
		assert_int_equal(device_reads, a[3].added);
		unmap(in);
		unmap(alias);
		unmap(w);
	}
	unmap(device);
}

/* --- shared RAM --- */

static int store_shared(void *arg)
{
	T_CHECK(*at(BASE) == 1);
	*at(BASE) = 2;
	*at(BASE + PAGE) = 3;
	*(_Atomic int *)arg = 1;
	while (*(_Atomic int *)arg != 2)
		sched_yield();
	T_CHECK(*at(BASE) == 2 && *at(BASE + PAGE) == 3);
	return 0;
}

/* A window that the parent takes away stays with its child, bytes and all. */
static void test_fork_shared_ram_outlives_the_parents(void **state)
{
	_Atomic int *turn = t_shared(PAGE);

	(void)state;
	for (unsigned i = 0; i < WAYS && way_is_fine(&ways[i]); i++) {
		struct regmap_window *other = lay_ram(AWAY, 8, 0);
		struct regmap_window *w = lay_ram(BASE, PAGE + 8, 0);
		struct call call = {store_shared, (void *)turn};
		pid_t pid;

		*turn = 0;
		*at(BASE) = 1;
		pid = ways[i].make(&call);
		while (!*turn)
			sched_yield();
		assert_int_equal(*at(BASE), 2);
		assert_int_equal(*at(BASE + PAGE), 3);
		unmap(w);
		w = lay_ram(BASE, PAGE + 8, 0);
		*at(BASE) = 9;
		*turn = 2;
		assert_int_equal(fate_of(pid), 0);
		unmap(w);
		unmap(other);
	}
}

static int lay_anew(void *arg)
{
	struct regmap_window *w = arg, *mine;

	T_CHECK(regmap_unmap(w) == 0);
	for (unsigned i = 0; i < 4; i++) {
		mine = lay_ram(BASE + PAGE * i, PAGE, i & 1 ? REGMAP_PRIVATE : 0);
		T_CHECK(*at(BASE + PAGE * i) == 0);
		*at(BASE + PAGE * i) = 77;
		T_CHECK(read64(BASE + PAGE * i) == 77);
		if (i & 2)
			T_CHECK(regmap_unmap(mine) == 0);
	}
	return 0;
}

/* What the child lays has nothing to do with what the parent lays. */
static void test_fork_children_lay_their_own(void **state)
{
	(void)state;
	for (unsigned i = 0; i < WAYS && way_is_fine(&ways[i]); i++) {
		struct regmap_window *w = lay_ram(BASE, PAGE, 0), *more[4];

		*at(BASE) = 5;
		run_in_child(&ways[i], lay_anew, w);
		assert_int_equal(*at(BASE), 5);
		for (unsigned n = 0; n < 4; n++) {
			more[n] = lay_ram(AWAY + n * PAGE, PAGE, 0);
			assert_int_equal(*at(AWAY + n * PAGE), 0);
		}
		for (unsigned n = 0; n < 4; n++)
			unmap(more[n]);
		unmap(w);
	}
}

/* --- what other threads held --- */

static struct {
	atomic_int inside, leave;
} gate;

static int wait_inside(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)width;
	if (offset == 0) {
		atomic_store(&gate.inside, 1);
		while (!atomic_load(&gate.leave))
			sched_yield();
	}
	*value = offset;
	return 0;
}

static int take(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	return 0;
}

static const struct regmap_device_ops gate_ops = {.read = wait_inside, .write = take};

static void *enter_gate(void *arg)
{
	(void)arg;
	__asm__ volatile("lock incq %0" : "+m"(*at(BASE))); /* holds the device's lock as well */
	return NULL;
}

static int unmap_gate(void *w)
{
	T_CHECK(*at(BASE + 8) == 8);
	__asm__ volatile("lock incq %0" : "+m"(*at(BASE + 16)));
	T_CHECK(regmap_unmap(w) == 0);
	return 0;
}

static struct regmap_window *lay_gate(void)
{
	return lay((struct regmap_config){.guest = BASE,
	                                  .length = 64,
	                                  .backing = REGMAP_DEVICE,
	                                  .ops = &gate_ops});
}

/* Another thread is inside a callback, with the device locked; in the child there is no such one. */
static void test_fork_leaves_pins_of_others(void **state)
{
	struct regmap_window *w = lay_gate();
	pthread_t thread;

	(void)state;
	gate.inside = gate.leave = 0;
	assert_int_equal(pthread_create(&thread, NULL, enter_gate, NULL), 0);
	while (!gate.inside)
		sched_yield();
	in_each_child(unmap_gate, w);
	gate.leave = 1;
	pthread_join(thread, NULL);
	unmap(w);
}

static _Atomic pid_t reporter;

/* A store to a read-only window is reported, and then the program's signal. */
static void *be_refused(void *arg)
{
	if (arg)
		atomic_store(&reporter, (pid_t)syscall(SYS_gettid));
	*at(BASE) = 1;
	return NULL;
}

static void end_thread(int signo)
{
	(void)signo;
	pthread_exit(NULL);
}

/* Is it writing to descriptor 2 at this moment? */
static bool is_writing(pid_t thread)
{
	char path[64], line[64] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", thread);
	f = fopen(path, "r");
	if (f && !fgets(line, sizeof(line), f))
		line[0] = 0;
	if (f)
		fclose(f);
	return !strncmp(line, "1 0x2 ", 6);
}

static int report_in_child(void *arg)
{
	int *ends = arg;

	signal(SIGSEGV, SIG_DFL);
	dup2(ends[1], 2);
	be_refused(NULL);
	return 1;
}

static void fill(int pipe_end)
{
	fcntl(pipe_end, F_SETFL, O_NONBLOCK);
	while (write(pipe_end, "x", 1) == 1)
		;
	fcntl(pipe_end, F_SETFL, 0);
}

/* What the child reports, in full or, where it thinks that another thread is at it, in one line. */
static bool reports_in_full(const struct way *way)
{
	char text[16384];
	struct call call;
	ssize_t n = 0, got;
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	call = (struct call){report_in_child, ends};
	pid = way->make(&call);
	close(ends[1]);
	while ((got = read(ends[0], text + n, sizeof(text) - 1 - (size_t)n)) > 0)
		n += got;
	close(ends[0]);
	text[n] = 0;
	assert_int_equal(fate_of(pid), SIGSEGV);
	return strstr(text, "REGMAP_REPORT=0");
}

/* Another thread is in the middle of a report, which nobody takes. */
static void test_fork_amid_a_report(void **state)
{
	struct regmap_window *w = lay((struct regmap_config){.guest = BASE,
	                                                     .length = 8,
	                                                     .access = REGMAP_READ,
	                                                     .flags = REGMAP_TRAP});
	struct sigaction act = {.sa_handler = end_thread}, old;
	int ends[2], before = dup(2);
	bool full[WAYS];
	pthread_t thread;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	fill(ends[1]);
	sigaction(SIGSEGV, &act, &old);
	dup2(ends[1], 2);
	atomic_store(&reporter, 0);
	pthread_create(&thread, NULL, be_refused, &reporter);
	while (!reporter || !is_writing(reporter))
		sched_yield();
	for (unsigned i = 0; i < WAYS; i++)
		full[i] = !way_is_fine(&ways[i]) || reports_in_full(&ways[i]);
	close(ends[0]); /* EPIPE: the thread goes on */
	pthread_join(thread, NULL);
	dup2(before, 2);
	close(before);
	close(ends[1]);
	sigaction(SIGSEGV, &old, NULL);
	for (unsigned i = 0; i < WAYS; i++)
		assert_true(full[i]);
	unmap(w);
}

static atomic_bool stop;
/* In a child that goes on with what its parent did, until it has done enough. */
static unsigned rounds_to_go;
static pid_t locked_child;

static void one_round_less(void)
{
	if (rounds_to_go && !--rounds_to_go)
		_exit(0);
}

/* Nested, shared, private, large: each way that the writers' records change. */
static void *map_and_unmap(void *arg)
{
	uint64_t base = (uintptr_t)arg;

	for (unsigned n = 0; !atomic_load(&stop); n++, one_round_less()) {
		struct regmap_window *w[6];

		w[0] = lay_ram(base, 8 * PAGE, n & 1 ? REGMAP_PRIVATE : 0);
		w[1] = lay_ram(base + 2 * PAGE, PAGE, n & 2 ? REGMAP_PRIVATE : 0);
		w[2] = lay_ram(base + 3 * PAGE + 8, 100, REGMAP_TRAP);
		w[3] = lay_ram(base + 64 * PAGE, 300 * PAGE, 0);
		w[4] = lay_ram(base + 16 * PAGE, PAGE, 0);
		w[5] = lay_ram(base + 18 * PAGE, PAGE, 0);
		for (unsigned i = 0; i < 6; i++)
			unmap(w[(i * 5 + n) % 6]);
	}
	return NULL;
}

static void *access_all_the_time(void *arg)
{
	for (; !atomic_load(&stop); one_round_less())
		__asm__ volatile("lock incq %0" : "+m"(*at((uintptr_t)arg)));
	return NULL;
}

/* Each number is another instruction, and a stub of its own. */
static void *run_native_code(void *arg)
{
	const uintptr_t guest = (uintptr_t)arg + 64; /* followed by zeros */

	for (; !atomic_load(&stop); one_round_less()) {
		uint64_t got;

		*at(guest) = 0x0102030405060708;
#define SHIFT(n) \
	__asm__ volatile("movdqu (%1), %%xmm7\n\tpalignr $" #n ", (%1), %%xmm7\n\tmovq %%xmm7, %0" \
	                 : "=r"(got) \
	                 : "r"(guest) \
	                 : "xmm7", "memory"); \
	if (got != 0x0102030405060708 >> 8 * (n)) \
		_exit(8);
		SHIFT(1)
		SHIFT(2)
		SHIFT(3)
		SHIFT(4)
		SHIFT(5)
		SHIFT(6)
		SHIFT(7)
	}
	return NULL;
}

static int use_windows_at(uint64_t guest)
{
	struct regmap_window *w = NULL;
	struct regmap_config c = {.size = sizeof(c), .guest = guest, .length = PAGE, .access = RW};

	for (unsigned i = 0; i < 3; i++) {
		T_CHECK(regmap_map(&c, &w) == 0);
		*at(guest) = 5;
		T_CHECK(read64(guest) == 5);
		T_CHECK(regmap_unmap(w) == 0);
		c.flags ^= REGMAP_PRIVATE;
		c.length += 100;
	}
	return 0;
}

static int use_windows(void *arg)
{
	(void)arg;
	*at(BASE + 8) = 5;
	T_CHECK(*at(BASE + 8) == 5);
	return use_windows_at(AWAY);
}

/* Handlers of the program's, older than libregmap's: they run while that one holds its lock. */
static bool handlers_map;
static unsigned handled;

static void map_in_handler(void)
{
	if (handlers_map && use_windows_at(AWAY + (1 << 20)))
		_exit(9);
	handled += handlers_map;
}

/* In a child of a bare fork, libc itself may be locked for ever: so no printing before an exit. */
static void test_fork_while_others_map(void **state)
{
	struct regmap_window *w = lay_ram(BASE, PAGE, REGMAP_TRAP);
	pthread_t thread[3];

	(void)state;
	atomic_store(&stop, false);
	pthread_create(&thread[0], NULL, map_and_unmap, (void *)(uintptr_t)0x40000000);
	pthread_create(&thread[1], NULL, map_and_unmap, (void *)(uintptr_t)0x48000000);
	pthread_create(&thread[2], NULL, access_all_the_time, (void *)(uintptr_t)BASE);
	for (unsigned i = 0; i < (t_mode_is("rel") ? ROUNDS : ROUNDS / 4); i++)
		if (way_is_fine(&ways[i % WAYS]))
			run_in_child(&ways[i % WAYS], use_windows, NULL);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	unmap(w);
}

struct laid_by_others {
	uint64_t base;
	bool bare; /* not by fork(): what the other thread was about to do stays half-done */
};

/* Windows of the other thread's lie in the first one: on their way out, they may have no memory any more. */
static bool may_be_half_done(uint64_t offset)
{
	return offset == 2 * PAGE || offset == 3 * PAGE;
}

/* Wholly there, or not at all: the windows of map_and_unmap(), which may have got anywhere. */
static int look_at_inherited(void *arg)
{
	const struct laid_by_others *others = arg;
	static const struct regmap_config laid[] = {
		{.guest = 0, .length = 8 * PAGE},       {.guest = 2 * PAGE, .length = PAGE},
		{.guest = 3 * PAGE + 8, .length = 100}, {.guest = 64 * PAGE, .length = 300 * PAGE},
		{.guest = 16 * PAGE, .length = PAGE},   {.guest = 18 * PAGE, .length = PAGE},
	};

	for (unsigned i = 0; i < sizeof(laid) / sizeof(laid[0]); i++) {
		struct regmap_window *w = NULL, *again = NULL;
		struct regmap_config c = laid[i];
		int err;

		c.size = sizeof(c);
		c.access = RW;
		c.guest += others->base;
		err = regmap_map(&c, &w);
		if (others->bare && (err == -EADDRINUSE || err == -EEXIST))
			continue;
		T_CHECK(err == 0 || err == -EEXIST);
		T_CHECK(regmap_map(&c, &again) == -EEXIST);
		for (uint64_t guest = c.guest; guest < c.guest + c.length; guest += PAGE) {
			if (others->bare && i == 0 && may_be_half_done(guest - c.guest))
				continue;
			*at(guest) = guest;
			T_CHECK(read64(guest) == guest);
		}
		T_CHECK(regmap_unmap(w) == 0);
	}
	return 0;
}

/* A child has the windows of the moment of its birth, and the room of all others. */
static void test_fork_children_have_what_others_mapped(void **state)
{
	pthread_t thread[2];

	(void)state;
	atomic_store(&stop, false);
	pthread_create(&thread[0], NULL, map_and_unmap, (void *)(uintptr_t)0x40000000);
	pthread_create(&thread[1], NULL, map_and_unmap, (void *)(uintptr_t)0x48000000);
	for (unsigned i = 0; i < (t_mode_is("rel") ? ROUNDS : ROUNDS / 4); i++) {
		struct laid_by_others others = {
			.base = i & 1 ? 0x40000000 : 0x48000000,
			.bare = ways[i % WAYS].make != by_fork,
		};

		if (way_is_fine(&ways[i % WAYS]))
			run_in_child(&ways[i % WAYS], look_at_inherited, &others);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
}

static atomic_bool filled;

static void *fill_and_move(void *arg)
{
	const uint64_t guest = (uintptr_t)arg;

	while (!atomic_load(&stop)) {
		struct regmap_window *out = lay_ram(guest, 64 * PAGE, REGMAP_PRIVATE), *in;

		for (unsigned i = 0; i < 64; i++)
			*at(guest + i * PAGE) = 77 + i;
		atomic_store(&filled, true);
		in = lay_ram(guest + 5 * PAGE + 8, 8, 0);
		atomic_store(&filled, false);
		unmap(in);
		unmap(out);
	}
	return NULL;
}

/* The bytes are whole, wherever the move was stopped, and the window is as good as any. */
static int look_at_filled(void *arg)
{
	const uint64_t guest = (uintptr_t)arg;
	uint64_t got;

	if (!atomic_load(&filled))
		return 0;
	for (unsigned i = 0; i < 64; i++) {
		T_CHECK(i & 1 || *at(guest + i * PAGE) == 77 + i);
		T_CHECK(regmap_read(guest + i * PAGE, &got, 8) == 0 && got == 77 + i);
		*at(guest + i * PAGE) = i;
		T_CHECK(translated(guest + i * PAGE) == i);
	}
	return use_windows_at(AWAY);
}

static void test_fork_amid_a_move(void **state)
{
	const uint64_t guest = 0x40000000;
	pthread_t thread;

	(void)state;
	atomic_store(&stop, false);
	pthread_create(&thread, NULL, fill_and_move, (void *)(uintptr_t)guest);
	for (unsigned i = 0; i < (t_mode_is("rel") ? ROUNDS : ROUNDS / 4); i++)
		if (way_is_fine(&ways[i % WAYS]))
			run_in_child(&ways[i % WAYS], look_at_filled, (void *)(uintptr_t)guest);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
}

static atomic_int forks_left;
static atomic_int bad, last_fate;

static void expect_well(pid_t pid)
{
	int fate = fate_of(pid);

	if (fate) {
		atomic_store(&last_fate, fate);
		atomic_fetch_add(&bad, 1);
	}
}

/* A child that goes on with what the handler interrupted would run the whole test again. */
static void fork_in_handler(int signo)
{
	struct call call = {use_windows, NULL};

	(void)signo;
	if (atomic_fetch_sub(&forks_left, 1) > 0)
		expect_well(by_fork(&call));
}

static void part_in_handler(int signo)
{
	pid_t pid;

	(void)signo;
	if (rounds_to_go || atomic_fetch_sub(&forks_left, 1) <= 0)
		return;
	pid = fork();
	if (pid == 0) {
		alarm(20);
		rounds_to_go = 10;
	} else {
		expect_well(pid);
	}
}

static void *bombard(void *arg)
{
	pthread_t *target = arg;

	while (atomic_load(&forks_left) > 0) {
		int before = atomic_load(&forks_left);

		pthread_kill(*target, SIGUSR1);
		while (atomic_load(&forks_left) == before && before > 0)
			sched_yield();
	}
	atomic_store(&stop, true);
	return NULL;
}

/* The handler interrupts a thread that maps and unmaps all the time, and one that accesses. */
static void try_handler(void *(*work)(void *), uintptr_t where, void (*handler)(int))
{
	struct sigaction act = {.sa_handler = handler};
	pthread_t worker, sender;

	sigaction(SIGUSR1, &act, NULL);
	atomic_store(&stop, false);
	atomic_store(&forks_left, 100);
	atomic_store(&bad, 0);
	pthread_create(&worker, NULL, work, (void *)where);
	pthread_create(&sender, NULL, bombard, &worker);
	pthread_join(sender, NULL);
	pthread_join(worker, NULL);
	if (bad)
		fail_msg("%d children fared ill, the last of them: %d", bad, last_fate);
}

static void test_fork_in_signal_handlers(void **state)
{
	struct regmap_window *w;

	(void)state;
	if (t_mode_is("tsan"))
		skip(); /* it holds signals back until a call of libc's, which may never come */
	w = lay_ram(BASE, PAGE, REGMAP_TRAP);
	try_handler(map_and_unmap, 0x40000000, fork_in_handler);
	try_handler(access_all_the_time, BASE, fork_in_handler);
	try_handler(run_native_code, BASE, fork_in_handler);
	unmap(w);
}

/* The child goes on with what the signal came into, for a while. */
static void test_fork_in_signal_handlers_goes_on(void **state)
{
	struct regmap_window *w;

	(void)state;
	if (t_mode_is("tsan") || t_mode_is("asan"))
		skip(); /* in the child, another thread's stack is gone: that looks like a leak */
	w = lay_ram(BASE, PAGE, REGMAP_TRAP);
	try_handler(map_and_unmap, 0x40000000, part_in_handler);
	try_handler(access_all_the_time, BASE, part_in_handler);
	try_handler(run_native_code, BASE, part_in_handler);
	unmap(w);
}

static int fork_and_count(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	unsigned way = *(unsigned *)ctx;

	(void)width;
	if (offset == 0 && !rounds_to_go) {
		pid_t pid = way == 0 ? fork() : way == 1 ? _Fork() : (pid_t)syscall(SYS_fork);

		if (pid == 0) {
			alarm(20);
			rounds_to_go = 10;
		} else {
			locked_child = pid;
		}
	}
	*value = 1;
	return 0;
}

/* The callback is that of a LOCKed access: child and parent both go on with the lock, and let go. */
static void test_fork_in_a_locked_access(void **state)
{
	static const struct regmap_device_ops ops = {.read = fork_and_count, .write = take};
	unsigned way = 0;
	struct regmap_window *w = lay((struct regmap_config){.guest = BASE,
	                                                     .length = 64,
	                                                     .backing = REGMAP_DEVICE,
	                                                     .ops = &ops,
	                                                     .ctx = &way});

	(void)state;
	for (way = 0; way < (t_mode_is("tsan") ? 1 : 3); way++) {
		rounds_to_go = 0;
		__asm__ volatile("lock incq %0" : "+m"(*at(BASE)));
		if (rounds_to_go) {
			__asm__ volatile("lock incq %0" : "+m"(*at(BASE + 8)));
			_exit(regmap_unmap(w) || use_windows_at(AWAY));
		}
		assert_int_equal(fate_of(locked_child), 0);
		__asm__ volatile("lock incq %0" : "+m"(*at(BASE + 8)));
	}
	unmap(w);
}

static void test_fork_handlers_may_map(void **state)
{
	struct call call = {use_windows, NULL};
	struct regmap_window *w = lay_ram(BASE, PAGE, REGMAP_TRAP);

	(void)state;
	assert_int_equal(fate_of(by_fork(&call)), 0);
	handlers_map = true;
	assert_int_equal(fate_of(by_fork(&call)), 0);
	handlers_map = false;
	assert_int_equal(handled, 2);
	unmap(w);
}

/* --- children in their parent's memory --- */

/* ADDPS to a register that nobody else uses: native code made for it alone. */
#define ADD_TO(xmm, offset) \
	__asm__ volatile("movups %1, %%" xmm "\n\taddps " #offset "(%0), %%" xmm \
	                 "\n\tmovups %%" xmm ", %1" \
	                 : \
	                 : "r"((uintptr_t)BASE), "m"(*(float(*)[4])sum) \
	                 : xmm, "memory")

static float *sum;

static int add_here(void *arg)
{
	(void)arg;
	ADD_TO("xmm11", 0x40);
	*at(BASE + 16) = 99;
	return use_windows(NULL);
}

static void test_fork_in_the_parents_memory(void **state)
{
	struct call call = {add_here, NULL};
	struct regmap_window *w;

	(void)state;
	if (t_mode_is("tsan") || t_mode_is("asan"))
		skip(); /* their run-time libraries don't know that a child is in their memory */
	w = lay_ram(BASE, PAGE, REGMAP_TRAP | REGMAP_PRIVATE);
	sum = t_shared(PAGE);
	for (unsigned i = 0; i < 4; i++)
		((float volatile *)(uintptr_t)(BASE + 0x40))[i] = 1.5f;
	assert_int_equal(fate_of(by_clone_vm(&call)), 0);
	assert_int_equal(*at(BASE + 16), 99);
	ADD_TO("xmm11", 0x40);
	assert_true(sum[0] == 3.0f && sum[3] == 3.0f);
	unmap(w);
}

static void test_fork_vfork(void **state)
{
	struct regmap_window *w;
	int status;
	pid_t pid;

	(void)state;
	if (t_mode_is("tsan") || t_mode_is("asan"))
		skip();
	w = lay_ram(BASE, PAGE, REGMAP_TRAP);
	sum = t_shared(PAGE);
	((float volatile *)(uintptr_t)(BASE + 0x50))[3] = 2;
	for (unsigned i = 0; i < 100; i++) {
		pid = vfork();
		if (pid == 0) {
			ADD_TO("xmm12", 0x50);
			*at(BASE) = i;
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		assert_int_equal(*at(BASE), i);
		ADD_TO("xmm12", 0x50);
	}
	assert_true(sum[3] == 400.0f);
	unmap(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fork_private_ram_is_private),
		cmocka_unit_test(test_fork_private_ram_that_traps),
		cmocka_unit_test(test_fork_parents_store_in_private),
		cmocka_unit_test(test_fork_private_read_only),
		cmocka_unit_test(test_fork_private_and_wide),
		cmocka_unit_test(test_fork_private_is_for_ram),
		cmocka_unit_test(test_fork_private_with_a_window_inside),
		cmocka_unit_test(test_fork_private_around_and_inside),
		cmocka_unit_test(test_fork_private_moves_lose_nothing),
		cmocka_unit_test(test_fork_shared_ram_outlives_the_parents),
		cmocka_unit_test(test_fork_children_lay_their_own),
		cmocka_unit_test(test_fork_leaves_pins_of_others),
		cmocka_unit_test(test_fork_amid_a_report),
		cmocka_unit_test(test_fork_while_others_map),
		cmocka_unit_test(test_fork_children_have_what_others_mapped),
		cmocka_unit_test(test_fork_amid_a_move),
		cmocka_unit_test(test_fork_in_signal_handlers),
		cmocka_unit_test(test_fork_in_signal_handlers_goes_on),
		cmocka_unit_test(test_fork_in_a_locked_access),
		cmocka_unit_test(test_fork_handlers_may_map),
		cmocka_unit_test(test_fork_in_the_parents_memory),
		cmocka_unit_test(test_fork_vfork),
	};

	signal(SIGPIPE, SIG_IGN);
	if (pthread_atfork(map_in_handler, map_in_handler, map_in_handler))
		return 1;
	return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
