/* SPDX-License-Identifier: MIT */
/*
 * longjmp() and its kin, in the place of libc's: a device callback may leave by them, over frames
 * of ours that hold pins (pin.h). What they leave is dropped just before they jump.
 *
 * Where to, is in the jmp_buf, in which glibc mangles the stack pointer, and musl doesn't. Whether we read it right is
 * tried out with a setjmp() of our own; where we don't, lost pins are noticed later, as pin.h says.
 */
#undef _FORTIFY_SOURCE /* it would rename longjmp() here */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include "../include/regmap/regmap.h"
#include "front.h"
#include "next.h"
#include "pin.h"

const char regmap__front_jump;

typedef void (*jump_fn)(struct __jmp_buf_tag *, int) __attribute__((noreturn));

enum { AT_SP = 6, AT_PC = 7, NEAR = 4096 }; /* words of a jmp_buf */

/* <setjmp.h> doesn't declare the one that fortified programs call. */
void __longjmp_chk(struct __jmp_buf_tag *env, int value) __attribute__((noreturn));

#ifdef __GLIBC__

/*
 * A static program has these. The shared library must not name them: they are private to glibc. In a
 * dynamic program nothing uses the archive's references, which are weak.
 */
#if defined(__PIC__) && !defined(__PIE__)
#define INSIDE(name) NULL
#else
extern void __libc_siglongjmp(struct __jmp_buf_tag *, int) __attribute__((weak));
extern int __setcontext(const ucontext_t *) __attribute__((weak));
#define INSIDE(name) (&name)
#endif
BRING(pthread_exit, makecontext);

#define plain_longjmp INSIDE(__libc_siglongjmp)

/* glibc's PTR_DEMANGLE. */
static uint64_t demangle(uint64_t word)
{
	__asm__("ror $17, %0\n\txor %%fs:0x30, %0" : "+r"(word) : : "cc");
	return word;
}

#else

/* What musl's own does, which a static program can't reach. sigsetjmp() restores the mask after it. */
__attribute__((naked, noreturn)) static void plain_longjmp(
	__attribute__((unused)) struct __jmp_buf_tag *env, __attribute__((unused)) int value)
{
	__asm__("xor %eax, %eax\n\t"
	        "cmp $1, %esi\n\t"
	        "adc %esi, %eax\n\t"
	        "mov (%rdi), %rbx\n\t"
	        "mov 8(%rdi), %rbp\n\t"
	        "mov 16(%rdi), %r12\n\t"
	        "mov 24(%rdi), %r13\n\t"
	        "mov 32(%rdi), %r14\n\t"
	        "mov 40(%rdi), %r15\n\t"
	        "mov 48(%rdi), %rsp\n\t"
	        "jmp *56(%rdi)");
}

static uint64_t demangle(uint64_t word)
{
	return word;
}

#endif

static jump_fn next_longjmp, next__longjmp, next_siglongjmp, next___longjmp_chk;
static bool readable; /* a jmp_buf says what we think it says */

static uint64_t word_of(const struct __jmp_buf_tag *env, unsigned i)
{
	uint64_t word;

	memcpy(&word, (const char *)env + i * sizeof(word), sizeof(word));
	return demangle(word);
}

__attribute__((noinline)) static bool try_out(void)
{
	jmp_buf env;
	uint64_t sp, pc;

	if (_setjmp(env))
		return false;
	__asm__ volatile("mov %%rsp, %0\n\tlea (%%rip), %1" : "=r"(sp), "=r"(pc));
	return word_of(env, AT_SP) == sp && pc - word_of(env, AT_PC) < NEAR;
}

__attribute__((constructor)) static void find_next(void)
{
	next_longjmp = NEXT(longjmp, plain_longjmp);
	next__longjmp = NEXT(_longjmp, plain_longjmp);
	next_siglongjmp = NEXT(siglongjmp, plain_longjmp);
	next___longjmp_chk = NEXT(__longjmp_chk, plain_longjmp);
	readable = try_out();
}

/* A constructor of somebody else's may jump before ours has run. */
#define JUMP(name, env, value) \
	do { \
		if (!next_##name) \
			find_next(); \
		if (readable) \
			regmap__pin_jump(word_of(env, AT_SP)); \
		next_##name(env, value); \
		__builtin_unreachable(); \
	} while (0)

REGMAP_API void longjmp(struct __jmp_buf_tag env[1], int value)
{
	JUMP(longjmp, env, value);
}

REGMAP_API void _longjmp(struct __jmp_buf_tag env[1], int value)
{
	JUMP(_longjmp, env, value);
}

REGMAP_API void siglongjmp(sigjmp_buf env, int value)
{
	JUMP(siglongjmp, env, value);
}

REGMAP_API void __longjmp_chk(struct __jmp_buf_tag *env, int value)
{
	JUMP(__longjmp_chk, env, value);
}

#ifdef __GLIBC__ /* musl has none */

static int (*next_setcontext)(const ucontext_t *);

__attribute__((constructor)) static void find_next_setcontext(void)
{
	next_setcontext = NEXT(setcontext, INSIDE(__setcontext));
}

REGMAP_API int setcontext(const ucontext_t *to)
{
	if (!next_setcontext)
		find_next_setcontext();
	regmap__pin_jump((uint64_t)to->uc_mcontext.gregs[REG_RSP]);
	return next_setcontext(to);
}

#endif
