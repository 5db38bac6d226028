/* SPDX-License-Identifier: MIT */
/* What unwinders see from a device's callback in a patched access: the site, as its caller. */
// CFLAGS: -fnon-call-exceptions -O2
// LDLIBS: -lunwind
#define UNW_LOCAL_ONLY
#include <csetjmp>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <libunwind.h>
#include <stdexcept>
#include <unwind.h>

extern "C" {
#include <cmocka.h>
}

#include <regmap/regmap.h>

namespace
{

constexpr uintptr_t general = 0x40000000, any = 0x40010000;

uintptr_t frames[64];
int depth;
void (*hook)();

int read_device(void *, uint64_t, unsigned, uint64_t *value)
{
	*value = 5;
	if (hook)
		hook();
	return 0;
}

int write_device(void *, uint64_t, unsigned, uint64_t)
{
	if (hook)
		hook();
	return 0;
}

const struct regmap_device_ops ops = {read_device, write_device};

void lay(uintptr_t guest, unsigned flags)
{
	struct regmap_config c = {};

	c.size = sizeof(c);
	c.guest = guest;
	c.length = 4096;
	c.access = REGMAP_READ | REGMAP_WRITE;
	c.backing = REGMAP_DEVICE;
	c.flags = flags;
	c.ops = &ops;
	assert_int_equal(regmap_map(&c, nullptr), 0);
}

/* Counts how often it went out of scope. */
struct scope {
	unsigned *left;
	~scope()
	{
		++*left;
	}
};

/*
 * clang has no -fnon-call-exceptions: there, the access must lie in a function that it can't look
 * into.
 */
#ifdef __clang__
unsigned look_at(volatile unsigned *at)
{
	return at[0];
}
unsigned (*volatile look)(volatile unsigned *) = look_at;
#else
inline unsigned look(volatile unsigned *at)
{
	return at[0];
}
#endif

/* One site, with a landing pad of its own and all callee-saved registers in use. */
__attribute__((noinline)) unsigned access(volatile unsigned *at, unsigned *left)
{
	unsigned a = at[1], b = 0;
	register uint64_t kept_rbx __asm__("rbx") = 0x1234567887654321;
	register uint64_t kept_r12 __asm__("r12") = 0x1111222233334444;
	register uint64_t kept_r15 __asm__("r15") = 0x5555666677778888;

	__asm__ volatile("" : "+r"(kept_rbx), "+r"(kept_r12), "+r"(kept_r15));
	try {
		scope s = {left};

		b = look(at);
	} catch (const std::runtime_error &) {
		b = 77;
	}
	__asm__ volatile("" : "+r"(kept_rbx), "+r"(kept_r12), "+r"(kept_r15));
	if (kept_rbx != 0x1234567887654321 || kept_r12 != 0x1111222233334444 ||
	    kept_r15 != 0x5555666677778888)
		std::abort();
	return a + b;
}

/* Until the sites in there are patched. */
void heat(uintptr_t guest)
{
	unsigned left = 0;

	hook = nullptr;
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(access(reinterpret_cast<volatile unsigned *>(guest), &left), 10);
	assert_int_equal(left, 10);
}

bool once;

void throw_at_second()
{
	if (once)
		throw std::runtime_error("from a device");
	once = true;
}

void test_catches(uintptr_t guest)
{
	heat(guest);
	for (unsigned i = 0; i < 100; i++) {
		unsigned left = 0;

		once = false;
		hook = throw_at_second;
		assert_int_equal(access(reinterpret_cast<volatile unsigned *>(guest), &left),
		                 5 + 77);
		assert_int_equal(left, 1);
		hook = nullptr;
	}
	heat(guest);
}

void test_slotcall_cxx_general_device_throws(void **)
{
	test_catches(general);
}
void test_slotcall_cxx_any_device_throws(void **)
{
	test_catches(any);
}

/* --- stack walks --- */

_Unwind_Reason_Code note(_Unwind_Context *context, void *)
{
	int before = 0;

	if (depth < 64)
		frames[depth++] = _Unwind_GetIPInfo(context, &before);
	return _URC_NO_REASON;
}

void walk_with_libgcc()
{
	depth = 0;
	_Unwind_Backtrace(note, nullptr);
}

void walk_with_libunwind()
{
	unw_context_t context;
	unw_cursor_t cursor;

	depth = 0;
	unw_getcontext(&context);
	unw_init_local(&cursor, &context);
	do {
		unw_word_t ip;

		unw_get_reg(&cursor, UNW_REG_IP, &ip);
		if (depth < 64)
			frames[depth++] = ip;
	} while (unw_step(&cursor) > 0);
}

extern "C" __attribute__((noinline)) unsigned site_of_walk(volatile unsigned *at);
__asm__(".text\n.type site_of_walk, @function\nsite_of_walk:\n.cfi_startproc\n"
        "push %rbx\n.cfi_adjust_cfa_offset 8\n.cfi_offset rbx, -16\nmov $42, %ebx\n"
        ".globl the_site\nthe_site: movl (%rdi), %eax\n"
        "pop %rbx\n.cfi_adjust_cfa_offset -8\nret\n.cfi_endproc\n.size site_of_walk, . - site_of_walk\n");
extern "C" const char the_site[];

__attribute__((noinline)) unsigned caller_of_walk(uintptr_t guest)
{
	unsigned value = site_of_walk(reinterpret_cast<volatile unsigned *>(guest));

	__asm__ volatile("" : "+r"(value));
	return value + 1;
}

/* The site, then its caller. */
void assert_shown()
{
	for (int i = 0; i + 1 < depth; i++)
		if (frames[i] == reinterpret_cast<uintptr_t>(the_site)) {
			uintptr_t caller = frames[i + 1] -
			                   reinterpret_cast<uintptr_t>(caller_of_walk);

			assert_true(caller < 256);
			return;
		}
	fail_msg("the site is not among the %d frames", depth);
}

void test_walk(uintptr_t guest, void (*walk)())
{
	hook = nullptr;
	for (unsigned i = 0; i < 10; i++)
		caller_of_walk(guest);
	assert_int_equal(regmap_patch_site(the_site), 1);
	hook = walk;
	assert_int_equal(caller_of_walk(guest), 6);
	hook = nullptr;
	assert_shown();
}

void test_slotcall_cxx_backtrace(void **)
{
	test_walk(general, walk_with_libgcc);
	test_walk(any, walk_with_libgcc);
}

void test_slotcall_cxx_libunwind(void **)
{
	test_walk(general, walk_with_libunwind);
	test_walk(any, walk_with_libunwind);
}

} // namespace

int main()
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slotcall_cxx_general_device_throws),
		cmocka_unit_test(test_slotcall_cxx_any_device_throws),
		cmocka_unit_test(test_slotcall_cxx_backtrace),
		cmocka_unit_test(test_slotcall_cxx_libunwind),
	};

	if (regmap_patch(1))
		return 77;
	lay(general, REGMAP_GENERAL);
	lay(any, 0);
	return cmocka_run_group_tests_name("slotcall_cxx", tests, nullptr, nullptr);
}
