/* SPDX-License-Identifier: MIT */
/* The function that stands behind one of those that libregmap defines in libc's place. */
#ifndef SRC_NEXT_H
#define SRC_NEXT_H

/*
 * A sanitizer's interceptor (under the name that it has when it is linked into the program itself,
 * beside ours), else that of the next library, else @inside: what a static program has, where nothing is next.
 * @inside may be a weak symbol and so NULL. In a constructor only: the dynamic linker is asked.
 */
#define NEXT(name, inside) \
	({ \
		extern __typeof__(name) __interceptor_##name __attribute__((weak)); \
		(__typeof__(&name))regmap__next(#name, (void *)__interceptor_##name, \
		                                (void *)(inside)); \
	})

/* musl has no second name for its sigaction(): the system call itself, then. */
#ifndef __GLIBC__
#define __sigaction regmap__plain_sigaction
#endif

/*
 * A static program's libc.a gives nothing for a weak name, unless the member that has it is there
 * anyway. So archives name public functions which those members come along with.
 */
#if defined(__PIC__) && !defined(__PIE__)
#define BRING(...) _Static_assert(1, "the shared library has libc whole")
#else
#define BRING(...) __attribute__((used)) static void *const bring[] = {__VA_ARGS__}
#endif

void *regmap__next(const char *name, void *interceptor, void *inside);

#endif
