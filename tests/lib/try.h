/* SPDX-License-Identifier: MIT */
/*
 * A country of windows, and one piece of code tried in it: from a complete state to a complete
 * state, where everything that the test didn't say would change must be as before. Fails as cmocka
 * fails.
 *
 *     T_CODE(push_rax, "push rax")             Intel syntax
 *
 *     t_start();
 *     t_try.in.gpr[T_RSP] = T_HOST + 64;
 *     t_run_code(push_rax);
 *     t_try.want.gpr[T_RSP] -= 8;
 *     t_want64(T_HOST + 56, t_try.in.gpr[T_RAX]);
 *     t_done(push_rax);
 */
#ifndef TESTS_TRY_H
#define TESTS_TRY_H

#include "machine.h"

/* A page each, one after the other; behind them nothing. All windows trap. */
#define T_PLAIN 0x30000000ULL
#define T_HOST 0x30001000ULL
#define T_HOST2 0x30002000ULL
#define T_DEV 0x30003000ULL
#define T_DEV2 0x30004000ULL
#define T_HOST3 0x30005000ULL
#define T_PLAIN2 0x30006000ULL
#define T_VOID 0x30007000ULL

/* A page each, with nothing before and behind: the bytes of T_HOST, T_DEV at other addresses. */
#define T_HIGH 0xffff900000000000ULL
#define T_HIGH_DEV 0xffff900000010000ULL
#define T_NOWHERE 0x1234567800000000ULL
#define T_NOWHERE_DEV 0x1234567800010000ULL
#define T_TOP 0xfffffffffffff000ULL
#define T_EDGE_DEV 0x31010000ULL
/* The first 2 KB of T_HOST, at a guest address that is 8 more than a multiple of 64. */
#define T_SHIFTED 0x31000008ULL

enum { T_PG = 4096, T_PLACES = 7 };

struct t_try {
	struct t_regs in, want;
	uint64_t flags; /* those that are compared */
	struct t_outcome out;
	uint8_t in_image[T_IMAGE_MAX] __attribute__((aligned(64)));
	uint8_t out_image[T_IMAGE_MAX] __attribute__((aligned(64)));
	uint8_t want_image[T_IMAGE_MAX] __attribute__((aligned(64)));
	uint8_t want_memory[T_PLACES][T_PG];
	char log[1
	         << 14]; /* of the devices: "A.r4@10 B.w8@0=ff ", all numbers but widths hexadecimal */
};

extern struct t_try t_try;

/* Where an operand may lie: plain memory first, the oracle. */
extern const uint64_t t_places[];
enum { T_EVERYWHERE = 8, T_FIRST_DEVICE = 5 };
bool t_is_device(uint64_t guest);
extern uint64_t t_where; /* shown when something fails */
/* T_DEV calls this first, if it isn't NULL: an error to return, or 0. */
extern int (*volatile t_device_hook)(bool write, uint64_t offset);

#define T_CODE(name, text) \
	__asm__(".pushsection .text\n.intel_syntax noprefix\n" #name ":\n" text "\n" #name \
	        "_end:\nint3\n.att_syntax prefix\n.popsection\n"); \
	extern const char name[], name##_end[];

/* Sanitizers take addresses for themselves, and use thread-local storage all the time. */
bool t_has_asan(void);
bool t_has_tsan(void);

/* Once. */
int t_try_init(void **state);
/* A fresh state: registers, memory and images with patterns, an empty log. */
void t_start(void);
/* The bytes of a place or window: what is there, without a fault. */
uint8_t *t_bytes(uint64_t guest);
void t_put(uint64_t guest, const void *from, unsigned length);
void t_put64(uint64_t guest, uint64_t value);
uint64_t t_get64(uint64_t guest);

/* Run; then everything is wanted to be as before. */
void t_run_at(const char *code);
#define t_run_code(name) t_run_at(name)
void t_want(uint64_t guest, const void *bytes, unsigned length);
void t_want64(uint64_t guest, uint64_t value);
void t_want_vector(unsigned reg, unsigned at, const void *bytes, unsigned length);

/* It ran to the end of the code; and everything is as wanted. */
#define t_done(name) t__done(name##_end, __FILE__, __LINE__)
/* It came to @where by a single step. */
#define t_step(where) t__step(where, __FILE__, __LINE__)
/* It stopped with a signal at @where (a label). */
#define t_fault(where, signo, code, number, address) \
	t__fault(where, signo, code, number, address, __FILE__, __LINE__)
#define t_logged(text) t__logged(text, __FILE__, __LINE__)

void t__done(const char *end, const char *file, int line);
void t__step(const char *where, const char *file, int line);
void t__fault(const char *where, int signo, int code, uint64_t number, uint64_t address,
              const char *file, int line);
void t__logged(const char *text, const char *file, int line);

#endif
