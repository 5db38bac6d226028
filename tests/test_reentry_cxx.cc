/* SPDX-License-Identifier: MIT */
/* CFLAGS: -fnon-call-exceptions */
/* C++ exceptions that leave device callbacks, through the signal frame, for the code around. */
#include <cstdarg>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
extern "C" {
#include <cmocka.h>
#include "child.h"
#include "lay.h"
}

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <pthread.h>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <unistd.h>

namespace
{

constexpr uint64_t BASE = 0xffff900000000000, NESTED = 0xffff900000100000;
constexpr unsigned PAGE = 4096, LEVELS = 10;
/* Offsets of the first device. */
constexpr unsigned THROWS = 0x10, RETHROWS = 0x20, PLAIN = 0x30, EXITS = 0x40;

std::atomic<unsigned> reads, writes, destroyed;

/* Noticed when unwinding passes by. */
struct guard {
	~guard()
	{
		destroyed++;
	}
};

struct oddity : std::runtime_error {
	uint64_t offset;
	oddity(uint64_t at) : std::runtime_error("odd " + std::to_string(at)), offset(at)
	{
	}
};

/*
 * clang has no -fnon-call-exceptions: there, the access must lie in a function that it can't look
 * into, and the callers of that catch.
 */
#ifdef __clang__
#define ACCESS(type, name, ...) \
	type do_##name(__VA_ARGS__); \
	type (*volatile name)(__VA_ARGS__) = do_##name; \
	type do_##name(__VA_ARGS__)
#else
#define ACCESS(type, name, ...) __attribute__((always_inline)) inline type name(__VA_ARGS__)
#endif

ACCESS(uint64_t, load, uint64_t at)
{
	return *reinterpret_cast<volatile uint64_t *>(at);
}

ACCESS(void, store, uint64_t at, uint64_t value)
{
	*reinterpret_cast<volatile uint64_t *>(at) = value;
}

ACCESS(void, lock_add, uint64_t at)
{
	__asm__ volatile("lock incq (%0)" : : "r"(at) : "memory", "cc");
}

/* Catches around the very access, and lets another one out. */
void fail_differently(uint64_t at)
{
	try {
		load(at);
	} catch (const oddity &o) {
		throw std::logic_error("because of " + std::string(o.what()));
	}
}

int device_read(void *, uint64_t offset, unsigned, uint64_t *value)
{
	guard g;

	reads++;
	*value = 0x600d;
	if (offset == THROWS)
		throw oddity(offset);
	if (offset == RETHROWS)
		fail_differently(BASE + THROWS);
	if (offset == EXITS)
		pthread_exit(reinterpret_cast<void *>(0xdead));
	return 0;
}

int device_write(void *, uint64_t offset, unsigned, uint64_t value)
{
	guard g;

	writes++;
	if (offset == THROWS)
		throw oddity(value);
	return 0;
}

/* Window n's callback accesses window n + 1, whose callback ...; the last one throws. */
int nested_read(void *ctx, uint64_t, unsigned, uint64_t *value)
{
	guard g;
	uintptr_t level = reinterpret_cast<uintptr_t>(ctx);

	reads++;
	if (level == LEVELS)
		throw oddity(level);
	*value = load(NESTED + level * PAGE) + 1;
	return 0;
}

const regmap_device_ops ops = {device_read, device_write};
const regmap_device_ops nested_ops = {nested_read, nullptr};
regmap_window *window;

regmap_window *lay(uint64_t at, const regmap_device_ops *with, void *ctx)
{
	regmap_config config = {};
	regmap_window *out;

	config.size = sizeof(config);
	config.guest = at;
	config.length = PAGE;
	config.access = REGMAP_READ | (with->write ? REGMAP_WRITE : 0);
	config.backing = REGMAP_DEVICE;
	config.ops = with;
	config.ctx = ctx;
	return regmap_map(&config, &out) ? nullptr : out;
}

/* Another thread takes the window away: it waits for pins that were left behind, for ever. */
void *unmap_elsewhere(void *arg)
{
	return reinterpret_cast<void *>(
		static_cast<intptr_t>(regmap_unmap(static_cast<regmap_window *>(arg))));
}

void assert_nothing_held(regmap_window *w)
{
	pthread_t thread;
	void *result;

	assert_int_equal(pthread_create(&thread, nullptr, unmap_elsewhere, w), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_null(result);
}

int set_up(void **)
{
	reads = writes = destroyed = 0;
	window = lay(BASE, &ops, nullptr);
	return !window;
}

int tear_down(void **)
{
	assert_nothing_held(window);
	return 0;
}

/* ---- caught ---------------------------------------------------------------------------------- */

void test_reentry_cxx_throw_to_the_site(void **)
{
	uint64_t seen = 0;

	try {
		load(BASE + THROWS);
		fail();
	} catch (const oddity &o) {
		seen = o.offset;
		assert_string_equal(o.what(), "odd 16");
	}
	assert_int_equal(seen, THROWS);
	assert_int_equal(reads, 1);
	assert_int_equal(destroyed, 1);
	assert_int_equal(load(BASE + PLAIN), 0x600d);
}

__attribute__((noinline)) uint64_t caller(uint64_t at)
{
	guard g;

	return load(at) + 1;
}

__attribute__((noinline)) uint64_t caller_of_caller(uint64_t at)
{
	guard g;

	return caller(at) + 1;
}

void test_reentry_cxx_throw_to_a_function_further_up(void **)
{
	bool caught = false;

	try {
		caller_of_caller(BASE + THROWS);
	} catch (const std::runtime_error &) {
		caught = true;
	}
	assert_true(caught);
	assert_int_equal(destroyed, 3); /* the callback's and both callers' */
	assert_int_equal(caller_of_caller(BASE + PLAIN), 0x600f);
}

void test_reentry_cxx_throw_from_a_write(void **)
{
	uint64_t seen = 0;

	try {
		store(BASE + THROWS, 77);
	} catch (const oddity &o) {
		seen = o.offset;
	}
	assert_int_equal(seen, 77);
	assert_int_equal(writes, 1);
}

/* The window's lock goes, too: another thread's LOCKed access gets its turn. */
void *lock_elsewhere(void *)
{
	lock_add(BASE + PLAIN);
	store(BASE + PLAIN, 1);
	return nullptr;
}

void test_reentry_cxx_throw_from_a_locked_access(void **)
{
	bool caught = false;
	pthread_t thread;

	try {
		lock_add(BASE + THROWS);
	} catch (const oddity &) {
		caught = true;
	}
	assert_true(caught);
	assert_int_equal(writes, 0);
	assert_int_equal(pthread_create(&thread, nullptr, lock_elsewhere, nullptr), 0);
	assert_int_equal(pthread_join(thread, nullptr), 0);
	assert_int_equal(writes, 2);
}

void test_reentry_cxx_rethrow_through_two_levels(void **)
{
	std::string text;

	try {
		load(BASE + RETHROWS);
	} catch (const std::logic_error &e) {
		text = e.what();
	}
	assert_string_equal(text.c_str(), "because of odd 16");
	assert_int_equal(reads, 2);
	assert_int_equal(destroyed, 2);
}

void test_reentry_cxx_throw_through_ten_levels(void **)
{
	regmap_window *nested[LEVELS];
	bool caught = false;

	for (uintptr_t i = 0; i < LEVELS; i++) {
		nested[i] = lay(NESTED + i * PAGE, &nested_ops, reinterpret_cast<void *>(i + 1));
		assert_non_null(nested[i]);
	}
	try {
		load(NESTED);
	} catch (const oddity &o) {
		caught = o.offset == LEVELS;
	}
	assert_true(caught);
	assert_int_equal(reads, LEVELS);
	assert_int_equal(destroyed, LEVELS);
	for (auto w : nested)
		assert_nothing_held(w);
}

/* regmap_read() is a call like any other. */
void test_reentry_cxx_throw_through_regmap_read(void **)
{
	bool caught = false;
	uint64_t value;

	try {
		(void)!regmap_read(BASE + THROWS, &value, 8);
	} catch (const oddity &) {
		caught = true;
	}
	assert_true(caught);
}

/* Registers of the catching function: all that it kept across the access is still right. */
void test_reentry_cxx_throw_keeps_registers(void **)
{
	volatile uint64_t seed = 3;
	uint64_t a = seed * 5, b = seed * 7, c = seed * 11, d = seed * 13, e = seed * 17;
	double x = static_cast<double>(seed) / 7;

	for (unsigned i = 0; i < 1000; i++) {
		try {
			load(BASE + THROWS);
		} catch (const oddity &) {
			a += b, b += c, c += d, d += e, e += i;
			x *= 1.001;
		}
	}
	for (unsigned i = 0; i < 1000; i++) {
		e -= 999 - i, d -= e, c -= d, b -= c, a -= b;
		x /= 1.001;
	}
	assert_int_equal(a, 15);
	assert_int_equal(b, 21);
	assert_int_equal(c, 33);
	assert_int_equal(d, 39);
	assert_int_equal(e, 51);
	assert_true(x > 0.428 && x < 0.429);
	assert_int_equal(reads, 1000);
}

/* The same on an alternate stack. */
void test_reentry_cxx_throw_from_an_alternate_stack(void **state)
{
	static char memory[1 << 16];
	stack_t stack = {}, none = {};

	stack.ss_sp = memory;
	stack.ss_size = sizeof(memory);
	none.ss_flags = SS_DISABLE;
	assert_int_equal(sigaltstack(&stack, nullptr), 0);
	test_reentry_cxx_throw_to_the_site(state);
	reads = destroyed = 0;
	test_reentry_cxx_throw_to_a_function_further_up(nullptr);
	assert_nothing_held(window); /* before anything uses that stack again */
	assert_int_equal(sigaltstack(&none, nullptr), 0);
	window = lay(BASE, &ops, nullptr);
	assert_non_null(window);
}

/* ---- not caught ------------------------------------------------------------------------------ */

void say_so()
{
	_exit(42);
}

int throw_at_nobody(void *)
{
	std::set_terminate(say_so);
	load(BASE + THROWS);
	return 0;
}

/* As for any exception: no unwinding, std::terminate(). */
void test_reentry_cxx_nobody_catches(void **)
{
	assert_int_equal(t_child_fate(throw_at_nobody, nullptr), -1 - 42);
}

__attribute__((noinline)) void promise(uint64_t at) noexcept
{
	load(at);
}

int break_a_promise(void *)
{
	std::set_terminate(say_so);
	try {
		promise(BASE + THROWS);
	} catch (...) {
		return 1;
	}
	return 2;
}

void test_reentry_cxx_noexcept_terminates(void **)
{
	assert_int_equal(t_child_fate(break_a_promise, nullptr), -1 - 42);
}

/* ---- threads that end ------------------------------------------------------------------------ */

void *exit_in_callback(void *)
{
	guard g;

	load(BASE + EXITS);
	return nullptr;
}

/* pthread_exit() is unwinding, too: destructors run, pins go. */
void test_reentry_cxx_pthread_exit(void **)
{
	pthread_t thread;
	void *result;

	assert_int_equal(pthread_create(&thread, nullptr, exit_in_callback, nullptr), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_ptr_equal(result, reinterpret_cast<void *>(0xdead));
	assert_int_equal(destroyed, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(test_reentry_cxx_##name, set_up, tear_down)

} // namespace

int main()
{
	const CMUnitTest tests[] = {
		T(throw_to_the_site),
		T(throw_to_a_function_further_up),
		T(throw_from_a_write),
		T(throw_from_a_locked_access),
		T(rethrow_through_two_levels),
		T(throw_through_ten_levels),
		T(throw_through_regmap_read),
		T(throw_keeps_registers),
		T(throw_from_an_alternate_stack),
		T(nobody_catches),
		T(noexcept_terminates),
		T(pthread_exit),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("reentry_cxx", tests, nullptr, nullptr);
}
