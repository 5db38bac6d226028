/* SPDX-License-Identifier: MIT */
/* regmap_syscalls(): registers and flags are what SYSCALL leaves. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "reach.h"

/* --- as the instruction does it --- */

/*
 * All registers hold a pattern, the red zone, too; a SYSCALL; what do they hold now? Given by and
 * put into one array: RAX RBX RCX RDX RSI RDI RBP R8..R15, flags, address behind the SYSCALL,
 * XMM0, XMM15, red zone.
 */
struct image {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t flags, behind;
	uint64_t xmm0[2], xmm15[2];
	uint64_t zone[2];
};

void around_syscall(struct image *in_out);
void around_int80(struct image *in_out);

#define AROUND(name, instruction) \
	".globl " name "\n" name ":\n" \
	"push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n" \
	"sub $136, %rsp\nmov %rdi, 128(%rsp)\nadd $128, %rsp\n" /* all of it is red zone now */ \
	"mov 168(%rdi), %rax\nmov %rax, -8(%rsp)\nmov 176(%rdi), %rax\nmov %rax, -128(%rsp)\n" \
	"movdqu 136(%rdi), %xmm0\nmovdqu 152(%rdi), %xmm15\n" \
	"mov 0(%rdi), %rax\nmov 8(%rdi), %rbx\nmov 16(%rdi), %rcx\nmov 24(%rdi), %rdx\n" \
	"mov 32(%rdi), %rsi\nmov 48(%rdi), %rbp\nmov 56(%rdi), %r8\nmov 64(%rdi), %r9\n" \
	"mov 72(%rdi), %r10\nmov 80(%rdi), %r11\nmov 88(%rdi), %r12\nmov 96(%rdi), %r13\n" \
	"mov 104(%rdi), %r14\nmov 112(%rdi), %r15\n" \
	"lea -256(%rsp), %rsp\npushq 120(%rdi)\npopfq\nlea 256(%rsp), %rsp\n" \
	"mov 40(%rdi), %rdi\n" instruction "\n" \
	"xchg %rdi, (%rsp)\n" \
	"mov %rax, 0(%rdi)\nmov %rbx, 8(%rdi)\nmov %rcx, 16(%rdi)\nmov %rdx, 24(%rdi)\n" \
	"mov %rsi, 32(%rdi)\nmov %rbp, 48(%rdi)\nmov %r8, 56(%rdi)\nmov %r9, 64(%rdi)\n" \
	"mov %r10, 72(%rdi)\nmov %r11, 80(%rdi)\nmov %r12, 88(%rdi)\nmov %r13, 96(%rdi)\n" \
	"mov %r14, 104(%rdi)\nmov %r15, 112(%rdi)\n" \
	"lea -256(%rsp), %rsp\npushfq\npopq 120(%rdi)\nlea 256(%rsp), %rsp\ncld\n" \
	"lea 9b(%rip), %rax\nmov %rax, 128(%rdi)\n" \
	"movdqu %xmm0, 136(%rdi)\nmovdqu %xmm15, 152(%rdi)\n" \
	"mov -8(%rsp), %rax\nmov %rax, 168(%rdi)\nmov -128(%rsp), %rax\nmov %rax, 176(%rdi)\n" \
	"mov (%rsp), %rax\nmov %rax, 40(%rdi)\n" \
	"add $8, %rsp\n" \
	"pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n"

__asm__(".pushsection .text\n" AROUND("around_syscall", "syscall\n9:")
                AROUND("around_int80", "int $0x80\n9:") ".popsection\n");

static struct image image_with(uint64_t rax, uint64_t flags)
{
	struct image image;
	uint64_t *word = (uint64_t *)&image;

	for (unsigned i = 0; i < sizeof(image) / 8; i++)
		word[i] = 0x1111111111111111 * (i % 15 + 1) + i;
	image.rax = rax;
	image.flags = flags;
	return image;
}

enum {
	CARRY = 1,
	ALWAYS = 2,
	PARITY = 4,
	ZERO = 0x40,
	SIGN = 0x80,
	INTERRUPTS = 0x200,
	DIRECTION = 0x400,
	OVERFLOW = 0x800,
	RESUME = 0x10000,
};

static const uint64_t flag_sets[] = {
	ALWAYS | INTERRUPTS,
	ALWAYS | INTERRUPTS | CARRY | PARITY | ZERO | SIGN | OVERFLOW,
	ALWAYS | INTERRUPTS | DIRECTION | ZERO,
};

static void test_syscalls_registers_are_what_syscall_leaves(void **state)
{
	struct timespec soon = {0, 1};
	uint64_t all = ~0ULL;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct image want = image_with(SYS_getpid, flag_sets[i]), seen = want;

		around_syscall(&seen);
		want.rax = (uint64_t)getpid();
		want.behind = want.rcx = seen.behind;
		want.r11 = flag_sets[i] | RESUME; /* see regmap_syscalls(3) */
		assert_memory_equal(&seen, &want, sizeof(want));
		want = image_with(SYS_write, flag_sets[i]);
		want.rdi = (uint64_t)to_pipe;
		want.rsi = DEVICE;
		want.rdx = 8;
		seen = want;
		around_syscall(&seen);
		want.rax = 8;
		want.behind = want.rcx = seen.behind;
		want.r11 = flag_sets[i] | RESUME; /* see regmap_syscalls(3) */
		assert_memory_equal(&seen, &want, sizeof(want));
		/* one with an argument replaced */
		want = image_with(SYS_ppoll, flag_sets[i]);
		want.rdi = want.rsi = 0;
		want.rdx = (uintptr_t)&soon;
		want.r10 = (uintptr_t)&all;
		want.r8 = 8;
		seen = want;
		around_syscall(&seen);
		want.rax = 0;
		want.behind = want.rcx = seen.behind;
		want.r11 = flag_sets[i] | RESUME; /* see regmap_syscalls(3) */
		assert_memory_equal(&seen, &want, sizeof(want));
	}
}

/* What the kernel keeps of a context below the red zone ends with the newest of its parts. */
static void test_syscalls_vector_registers_are_kept(void **state)
{
	static const uint64_t wide[4] = {1, 2, 3, 0x123456789abcdef0};
	uint64_t seen[4] = {0};
	long result;

	(void)state;
	if (!__builtin_cpu_supports("avx"))
		skip();
	for (unsigned i = 0; i < 10; i++) {
		result = SYS_getppid;
		__asm__ volatile("vmovdqu %2, %%ymm7\n\tsyscall\n\tvmovdqu %%ymm7, %1\n\tvzeroupper"
		                 : "+a"(result), "=m"(seen)
		                 : "m"(wide)
		                 : "rcx", "r11", "xmm7", "memory");
		assert_int_equal(result, getppid());
		assert_memory_equal(seen, wide, sizeof(wide));
	}
}

static void test_syscalls_of_32_bits_pass(void **state)
{
	enum { getpid_32 = 20 };
	struct image want = image_with(getpid_32, flag_sets[1]), seen = want;
	struct image native = want;

	(void)state;
	assert_int_equal(regmap_syscalls(0), 0);
	around_int80(&native);
	assert_int_equal(regmap_syscalls(1), 0);
	around_int80(&seen);
	if ((int64_t)native.rax == -ENOSYS)
		skip();
	assert_memory_equal(&seen, &native, sizeof(native));
	assert_int_equal(seen.rax, getpid());
}

/* Nothing can be put below a stack pointer like these: the handler makes the call. */
long syscall_on_stack(uint64_t stack, long number, uint64_t a, uint64_t b, uint64_t c);

__asm__(".pushsection .text\n.globl syscall_on_stack\nsyscall_on_stack:\n"
        "push %rbx\nmov %rsp, %rbx\nmov %rdi, %rsp\n"
        "mov %rsi, %rax\nmov %rdx, %rdi\nmov %rcx, %rsi\nmov %r8, %rdx\nsyscall\n"
        "mov %rbx, %rsp\npop %rbx\nret\n.popsection\n");

static void test_syscalls_without_a_stack(void **state)
{
	static char stack[65536];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	const uint64_t stacks[] = {HOST + PAGE, DEVICE + PAGE, NOWHERE + 64, 8, ~0ULL};
	char seen[8];

	(void)state;
	assert_int_equal(sigaltstack(&alternate, NULL), 0);
	put(HOST, "here", 4);
	for (unsigned i = 0; i < sizeof(stacks) / sizeof(stacks[0]); i++) {
		noted[0] = 0;
		assert_int_equal(syscall_on_stack(stacks[i], SYS_getpid, 0, 0, 0), getpid());
		assert_int_equal(syscall_on_stack(stacks[i], SYS_write, (uint64_t)to_pipe, HOST, 4),
		                 4);
		assert_int_equal(sys(read, from_pipe, seen, 8), 4);
		assert_int_equal(syscall_on_stack(stacks[i], SYS_clone, CLONE_VM, HOST, 0),
		                 -EFAULT);
		assert_string_equal(noted, "");
	}
	alternate.ss_flags = SS_DISABLE;
	assert_int_equal(sigaltstack(&alternate, NULL), 0);
}

/* While others are at work, threads turn it on and off. */
static void *turn_on_and_off(void *arg)
{
	uint64_t mine = TRAPPED + 64 * (uintptr_t)arg;

	for (unsigned i = 0; i < 300; i++) {
		if (regmap_syscalls(1) || sys(write, -1, mine, 8) != -1 || errno != EBADF)
			return "on";
		if (regmap_syscalls(0) || sys(write, to_pipe, mine, 8) != -1 || errno != EFAULT)
			return "off";
	}
	return NULL;
}

static void test_syscalls_threads_turn_it_on_and_off(void **state)
{
	pthread_t id[4];
	void *wrong;

	(void)state;
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&id[i], NULL, turn_on_and_off, (void *)i), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(id[i], &wrong), 0);
		assert_null(wrong);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registers_are_what_syscall_leaves),
		TEST(vector_registers_are_kept),
		TEST(of_32_bits_pass),
		TEST(without_a_stack),
		TEST(threads_turn_it_on_and_off),
	};

	return cmocka_run_group_tests_name("syscalls_registers", tests, lay_all, NULL);
}
