/* SPDX-License-Identifier: MIT */
// CFLAGS: -fnon-call-exceptions -fexceptions -fasynchronous-unwind-tables
/*
 * C++ on threads with libregmap's signal stacks: thread_local destructors, and exceptions that are
 * thrown by a signal handler, through the frame that was moved, to the faulting code's callers.
 */
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
extern "C" {
#include <cmocka.h>
}

#include <atomic>
#include <stdexcept>
#include <string>
#include <sys/syscall.h>
#include <thread>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#include <regmap/regmap.h>

extern "C" void __tsan_init(void) __attribute__((weak));

static const uint64_t WINDOW = 0xffff900000000000ULL, WILD = 0x7ffffffff000ULL;

static uint64_t memory[512];
static std::atomic<int> destroyed;

static uint64_t count_up()
{
	return ++*(volatile uint64_t *)WINDOW;
}

struct witness {
	uint64_t born = count_up();
	std::string text = std::string(100, 'x'); /* its memory is freed on the way, too */

	~witness()
	{
		stack_t now;

		syscall(SYS_sigaltstack, nullptr, &now);
		destroyed += count_up() > born && !(now.ss_flags & SS_DISABLE);
	}
};

static thread_local witness here;

static void test_stacks_cxx_serve_thread_local_destructors(void **)
{
	std::vector<std::thread> threads;

	destroyed = 0;
	for (unsigned i = 0; i < 20; i++)
		threads.emplace_back([] { here.text += "y"; });
	for (auto &thread : threads)
		thread.join();
	assert_int_equal(destroyed, 20);
}

static void throw_it(int, siginfo_t *info, void *)
{
	sigset_t segv;

	sigemptyset(&segv);
	sigaddset(&segv, SIGSEGV);
	pthread_sigmask(SIG_UNBLOCK, &segv, nullptr);
	throw info->si_addr;
}

__attribute__((noinline)) static int fault(volatile int *at)
{
	return *at + 1;
}

static void throw_often()
{
	for (unsigned i = 0; i < 100; i++) {
		std::string text(100, 'z');
		void *address = nullptr;

		try {
			fault((int *)WILD);
		} catch (void *caught) {
			address = caught;
		}
		assert_ptr_equal(address, (void *)WILD);
		assert_true(count_up() > 0);
	}
}

static void test_stacks_cxx_let_exceptions_through(void **)
{
	struct sigaction act = {}, old;

#ifdef __clang__
	skip(); /* it knows no exceptions of plain accesses: -fnon-call-exceptions is GCC's */
#endif
	if (__tsan_init)
		skip();
	act.sa_sigaction = throw_it;
	act.sa_flags = SA_SIGINFO;
	sigaction(SIGSEGV, &act, &old);
	throw_often();
	std::thread(throw_often).join();
	sigaction(SIGSEGV, &old, nullptr);
}

static int prepare(void **)
{
	struct regmap_config config = {};

	config.size = sizeof(config);
	config.guest = WINDOW;
	config.length = sizeof(memory);
	config.access = REGMAP_READ | REGMAP_WRITE;
	config.backing = REGMAP_HOST;
	config.flags = REGMAP_TRAP;
	config.host = memory;
	return regmap_map(&config, nullptr) || regmap_signal_stacks(0);
}

int main()
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stacks_cxx_serve_thread_local_destructors),
		cmocka_unit_test(test_stacks_cxx_let_exceptions_through),
	};

	return cmocka_run_group_tests_name("stacks_cxx", tests, prepare, nullptr);
}
