/* SPDX-License-Identifier: MIT */
/*
 * The short way: on registers at hand, outside of any handler, where each answer can be asked for;
 * and at sites that are remembered, which is where the handler takes it. Hence all loops.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include <regmap/regmap.h>

#include "lay.h"
#include "src/quick.h"

#define HOST 0xffffa10000000000ull
#define READ_ONLY 0xffffa10000010000ull
#define DEVICE 0xffffa10000020000ull
#define FICKLE 0xffffa10000030000ull
#define NOWHERE 0xffffa10000040000ull

enum { BYTES = 4096, TIMES = 4 };

static uint8_t host[BYTES] __attribute__((aligned(BYTES)));

/* --- a device that keeps a log --- */

static struct {
	uint64_t value, offset, written;
	unsigned width, reads, writes;
	int read_error, write_error;
	bool jumps;
	sigset_t mask;
} device;
static sigjmp_buf landing;

static int on_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	device.offset = offset;
	device.width = width;
	device.reads++;
	errno = ERANGE;
	pthread_sigmask(SIG_BLOCK, NULL, &device.mask);
	if (device.jumps)
		siglongjmp(landing, 1);
	*value = device.value;
	return device.read_error;
}

static int on_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx;
	device.offset = offset;
	device.width = width;
	device.writes++;
	device.written = value;
	errno = ERANGE;
	return device.write_error;
}

static const struct regmap_device_ops ops = {on_read, on_write};

static int reset(void **state)
{
	(void)state;
	memset(&device, 0, sizeof(device));
	memset(host, 0, sizeof(host));
	return 0;
}

/* --- registers at hand --- */

static const uint8_t in_order[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

struct hand {
	uint64_t gpr[16], flags;
	struct quick_failure failure;
	bool general_only;
};

enum { RIP = 0x1000 };

/* RAX, RCX, RDX, RBX are 1 to 4 with distinct high halves; RDI is the address. */
static struct hand hand_at(uint64_t address)
{
	struct hand h = {.flags = 0x202};

	for (unsigned i = 0; i < 16; i++)
		h.gpr[i] = (uint64_t)(0xa0 + i) << 56 | (i + 1);
	h.gpr[7] = address;
	return h;
}

static enum quick run_bytes(struct hand *h, const uint8_t *bytes, size_t length)
{
	const struct cpu_regs regs = {h->gpr, in_order, &h->flags};
	struct plan plan;

	assert_int_equal(regmap__em_plan(&plan, bytes, length, EM_TIER_BOTH), EM_OK);
	return regmap__quick(&plan, &regs, RIP, h->general_only, &h->failure);
}

#define RUN(h, ...) \
	run_bytes(h, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

#define LOAD 0x48, 0x8b, 0x07               /* mov (%rdi), %rax */
#define LOAD32 0x8b, 0x07                   /* mov (%rdi), %eax */
#define STORE 0x48, 0x89, 0x07              /* mov %rax, (%rdi) */
#define ADD 0x48, 0x01, 0x07                /* add %rax, (%rdi) */
#define LOCK_XADD 0xf0, 0x48, 0x0f, 0xc1, 7 /* lock xadd %rax, (%rdi) */
#define DIV 0x48, 0xf7, 0x37                /* divq (%rdi) */
#define SSE 0x0f, 0x10, 0x07                /* movups (%rdi), %xmm0 */

static void assert_untouched(const struct hand *h, uint64_t address)
{
	struct hand fresh = hand_at(address);

	assert_memory_equal(h->gpr, fresh.gpr, sizeof(fresh.gpr));
	assert_int_equal(h->flags, fresh.flags);
}

static void test_quick_works_on_the_registers_where_they_are(void **state)
{
	struct hand h = hand_at(HOST), before = h;
	uint64_t value = 0x1122334455667788;

	(void)state;
	memcpy(host, &value, 8);
	assert_int_equal(RUN(&h, LOAD32), QUICK_DONE);
	assert_int_equal(h.gpr[0], 0x55667788);
	assert_memory_equal(h.gpr + 1, before.gpr + 1, sizeof(h.gpr) - 8);
	h = hand_at(HOST);
	h.gpr[0] = -value;
	assert_int_equal(RUN(&h, ADD), QUICK_DONE);
	assert_int_equal(h.flags & (CPU_ZF | CPU_CF), CPU_ZF | CPU_CF);
	memcpy(&value, host, 8);
	assert_int_equal(value, 0);
}

static void test_quick_leaves_the_rest_alone(void **state)
{
	struct hand h = hand_at(NOWHERE);

	(void)state;
	assert_int_equal(RUN(&h, LOAD), QUICK_NO);
	assert_int_equal(RUN(&h, STORE), QUICK_NO);
	assert_untouched(&h, NOWHERE);
	h = hand_at(READ_ONLY);
	assert_int_equal(RUN(&h, LOAD), QUICK_DONE);
	h = hand_at(READ_ONLY);
	assert_int_equal(RUN(&h, STORE), QUICK_NO);
	assert_int_equal(RUN(&h, ADD), QUICK_NO);
	h = hand_at(HOST + BYTES - 4); /* across the end */
	assert_int_equal(RUN(&h, LOAD), QUICK_NO);
	assert_untouched(&h, HOST + BYTES - 4);
	h = hand_at(HOST);
	assert_int_equal(RUN(&h, SSE), QUICK_NO);
	h.flags |= CPU_TF;
	assert_int_equal(RUN(&h, LOAD), QUICK_NO);
}

static void test_quick_divides_by_zero_the_long_way(void **state)
{
	struct hand h = hand_at(HOST);

	(void)state;
	assert_int_equal(RUN(&h, DIV), QUICK_NO);
	assert_untouched(&h, HOST);
	h = hand_at(DEVICE);
	assert_int_equal(RUN(&h, DIV), QUICK_NO);
	assert_int_equal(device.reads, 0);
}

static void test_quick_calls_the_device_once(void **state)
{
	struct hand h = hand_at(DEVICE + 8);

	(void)state;
	errno = 0;
	device.value = 0xfedcba9876543210;
	assert_int_equal(RUN(&h, LOAD), QUICK_DONE);
	assert_int_equal(h.gpr[0], device.value);
	assert_int_equal(device.reads, 1);
	assert_int_equal(device.offset, 8);
	assert_int_equal(device.width, 8);
	h = hand_at(DEVICE + 16);
	assert_int_equal(RUN(&h, STORE), QUICK_DONE);
	assert_int_equal(device.writes, 1);
	assert_int_equal(device.written, h.gpr[0]);
	assert_int_equal(device.offset, 16);
	assert_int_equal(errno, 0);
}

static void test_quick_modifies_a_device(void **state)
{
	struct hand h = hand_at(DEVICE);
	sigset_t now;

	(void)state;
	device.value = 41;
	h.gpr[0] = 1;
	assert_int_equal(RUN(&h, ADD), QUICK_DONE);
	assert_int_equal(device.written, 42);
	assert_true(sigismember(&device.mask, SIGUSR1));
	h.gpr[0] = 100;
	assert_int_equal(RUN(&h, LOCK_XADD), QUICK_DONE);
	assert_int_equal(device.written, 141);
	assert_int_equal(h.gpr[0], 41);
	assert_int_equal(device.reads, 2);
	assert_int_equal(device.writes, 2);
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	assert_false(sigismember(&now, SIGUSR1));
}

static void test_quick_asks_before_a_device_sees_vectors(void **state)
{
	struct hand h = hand_at(DEVICE);

	(void)state;
	h.general_only = true;
	assert_int_equal(RUN(&h, LOAD), QUICK_VECTOR);
	assert_int_equal(RUN(&h, STORE), QUICK_VECTOR);
	assert_int_equal(RUN(&h, ADD), QUICK_VECTOR);
	assert_int_equal(device.reads + device.writes, 0);
	h.gpr[7] = HOST;
	assert_int_equal(RUN(&h, LOAD), QUICK_DONE);
}

static void test_quick_leaves_pieces_to_others(void **state)
{
	struct hand h = hand_at(DEVICE + 4);

	(void)state;
	assert_int_equal(RUN(&h, LOAD), QUICK_NO);
	assert_int_equal(device.reads, 0);
	assert_untouched(&h, DEVICE + 4);
}

static void test_quick_says_what_a_device_refused(void **state)
{
	struct hand h = hand_at(DEVICE);

	(void)state;
	device.read_error = EIO;
	assert_int_equal(RUN(&h, LOAD), QUICK_FAILED);
	assert_int_equal(h.failure.status, EM_DENIED);
	assert_int_equal(h.failure.fault.error, -EIO);
	assert_int_equal(h.failure.fault.trap.signo, SIGBUS);
	assert_int_equal(h.failure.fault.trap.address, DEVICE);
	device.read_error = 0;
	device.write_error = -EROFS;
	assert_int_equal(RUN(&h, STORE), QUICK_FAILED);
	assert_int_equal(h.failure.fault.error, -EROFS);
	device.value = 5;
	assert_int_equal(RUN(&h, LOCK_XADD), QUICK_FAILED);
	assert_int_equal(device.reads, 2);
	assert_int_equal(device.writes, 2);
	assert_untouched(&h, DEVICE);
}

/* --- the register page --- */

static void test_quick_reads_registers(void **state)
{
	struct hand h = hand_at(0x18), before = h;

	(void)state;
	assert_int_equal(RUN(&h, LOAD), QUICK_DONE);
	assert_int_equal(h.gpr[0], before.gpr[3]);
	h = hand_at(0x1c);
	assert_int_equal(RUN(&h, LOAD32), QUICK_DONE);
	assert_int_equal(h.gpr[0], before.gpr[3] >> 32);
	h = hand_at(0x80);
	assert_int_equal(RUN(&h, LOAD), QUICK_DONE);
	assert_int_equal(h.gpr[0], RIP + 3);
	h = hand_at(0x88);
	h.flags |= CPU_RF | CPU_CF;
	assert_int_equal(RUN(&h, LOAD), QUICK_DONE);
	assert_int_equal(h.gpr[0], 0x203);
}

static void test_quick_stores_registers_last(void **state)
{
	struct hand h = hand_at(0x19), before = h;

	(void)state;
	assert_int_equal(RUN(&h, 0x66, 0x89, 0x07), QUICK_DONE); /* mov %ax, (%rdi) */
	assert_int_equal(h.gpr[3], (before.gpr[3] & ~0xffff00ull) | (before.gpr[0] & 0xffff) << 8);
	h = hand_at(0); /* its own register: the store wins over the result */
	assert_int_equal(RUN(&h, LOCK_XADD), QUICK_DONE);
	assert_int_equal(h.gpr[0], before.gpr[0] * 2);
	h = hand_at(0x38); /* the address register */
	assert_int_equal(RUN(&h, STORE), QUICK_DONE);
	assert_int_equal(h.gpr[7], before.gpr[0]);
}

static void test_quick_leaves_other_registers_to_others(void **state)
{
	static const uint64_t stores[] = {0x80, 0x88, 0x90, 0xa0, 0x100, 0x800, 0x1c};

	(void)state;
	for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
		struct hand h = hand_at(stores[i]);

		assert_int_equal(RUN(&h, STORE), QUICK_NO);
		assert_untouched(&h, stores[i]);
	}
}

/* --- sites that are remembered --- */

static uint64_t load(uint64_t at)
{
	uint64_t value;

	__asm__ volatile("mov (%1), %0" : "=a"(value) : "D"(at) : "memory");
	return value;
}

static void add(uint64_t at, uint64_t value)
{
	__asm__ volatile("add %0, (%1)" : : "a"(value), "D"(at) : "memory", "cc");
}

static struct regmap_window *map_fickle(uint64_t guest, uint64_t length, void *memory)
{
	struct regmap_config c = {
		.size = sizeof(c),
		.guest = guest,
		.length = length,
		.access = REGMAP_READ | REGMAP_WRITE,
		.backing = REGMAP_HOST,
		.flags = REGMAP_TRAP,
		.host = memory,
	};
	struct regmap_window *w;

	assert_int_equal(regmap_map(&c, &w), 0);
	return w;
}

/* What was found at the last access is not believed after a change. */
static void test_quick_sees_each_change_of_the_table(void **state)
{
	static uint64_t outer[8], inner[1], other[8];

	(void)state;
	for (uint64_t i = 1; i < 100; i++) {
		struct regmap_window *w = map_fickle(FICKLE, sizeof(outer), outer), *v;

		outer[3] = i;
		inner[0] = i + 1000;
		other[3] = i + 2000;
		assert_int_equal(load(FICKLE + 24), outer[3]);
		v = map_fickle(FICKLE + 24, 8, inner);
		assert_int_equal(load(FICKLE + 24), inner[0]);
		assert_int_equal(load(FICKLE), outer[0]);
		assert_int_equal(regmap_unmap(v), 0);
		assert_int_equal(load(FICKLE + 24), outer[3]);
		assert_int_equal(regmap_unmap(w), 0);
		w = map_fickle(FICKLE, sizeof(other), other);
		assert_int_equal(load(FICKLE + 24), other[3]);
		assert_int_equal(regmap_unmap(w), 0);
	}
}

static volatile sig_atomic_t signals;
static void *volatile fault_address;

static void jump_out(int signo, siginfo_t *info, void *ucontext)
{
	(void)signo, (void)ucontext;
	signals++;
	fault_address = info->si_addr;
	siglongjmp(landing, 1);
}

static void catch_signal(int signo, struct sigaction *before)
{
	struct sigaction act = {.sa_sigaction = jump_out, .sa_flags = SA_SIGINFO | SA_NODEFER};

	signals = 0;
	assert_int_equal(sigaction(signo, &act, before), 0);
}

static void test_quick_asks_a_device_that_refuses_once(void **state)
{
	struct sigaction before;

	(void)state;
	load(DEVICE);
	device.read_error = -EIO;
	device.reads = 0;
	catch_signal(SIGBUS, &before);
	for (volatile int i = 0; i < TIMES; i++)
		if (!sigsetjmp(landing, 1)) {
			load(DEVICE);
			fail();
		}
	sigaction(SIGBUS, &before, NULL);
	assert_int_equal(signals, TIMES);
	assert_int_equal(device.reads, TIMES);
	assert_ptr_equal(fault_address, (void *)DEVICE);
}

static void test_quick_is_left_by_jumps(void **state)
{
	sigset_t now;

	(void)state;
	device.jumps = true;
	for (volatile int i = 0; i < 1000; i++)
		if (!sigsetjmp(landing, 1)) {
			i % 2 ? (void)load(DEVICE) : add(DEVICE, 1);
			fail();
		}
	device.jumps = false;
	assert_int_equal(device.reads, 1000);
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	assert_false(sigismember(&now, SIGUSR1));
	device.value = 7;
	assert_int_equal(load(DEVICE), 7);
}

static void test_quick_holds_signals_in_the_handler(void **state)
{
	sigset_t now;

	(void)state;
	for (int i = 0; i < TIMES; i++) {
		add(DEVICE, 1);
		assert_true(sigismember(&device.mask, SIGUSR1));
		assert_false(sigismember(&device.mask, SIGINT));
		pthread_sigmask(SIG_BLOCK, NULL, &now);
		assert_false(sigismember(&now, SIGUSR1));
		load(DEVICE);
		assert_false(sigismember(&device.mask, SIGUSR1));
	}
}

/* --- vectors --- */

static void test_quick_changes_one_vector_register(void **state)
{
	float in[4] = {1, 2, 3, 4}, out[3][4];
	const float memory[4] = {10, 20, 30, 40};

	(void)state;
	memcpy(host, memory, sizeof(memory));
	for (int i = 0; i < TIMES; i++) {
		__asm__ volatile(
			"movups (%0), %%xmm0\n\tmovaps %%xmm0, %%xmm1\n\tmovaps %%xmm0, %%xmm15\n\t"
			"mulps (%2), %%xmm1\n\tmovups (%2), %%xmm15\n\tmovups %%xmm0, 64(%2)\n\t"
			"movups %%xmm0, (%1)\n\tmovups %%xmm1, 16(%1)\n\tmovups %%xmm15, 32(%1)"
			:
			: "r"(in), "r"(out), "r"(HOST)
			: "xmm0", "xmm1", "xmm15", "memory");
		assert_memory_equal(out[0], in, sizeof(in));
		for (int k = 0; k < 4; k++)
			assert_true(out[1][k] == in[k] * memory[k]);
		assert_memory_equal(out[2], memory, sizeof(memory));
		assert_memory_equal(host + 64, in, sizeof(in));
	}
}

/* A general register beside the vector one, and flags. */
static void test_quick_changes_what_vectors_lead_to(void **state)
{
	uint64_t to, flags;
	double memory = 1234.5;

	(void)state;
	memcpy(host, &memory, 8);
	for (int i = 0; i < TIMES; i++) {
		__asm__ volatile("cvttsd2si (%1), %0" : "=r"(to) : "D"(HOST) : "memory");
		assert_int_equal(to, 1234);
		__asm__ volatile("xorps %%xmm3, %%xmm3\n\tcomisd (%1), %%xmm3\n\tpushfq\n\tpop %0"
		                 : "=r"(flags)
		                 : "D"(HOST)
		                 : "xmm3", "memory", "cc");
		assert_int_equal(flags & (CPU_CF | CPU_ZF | CPU_PF), CPU_CF);
	}
}

static void test_quick_leaves_vector_faults_to_others(void **state)
{
	struct sigaction before;

	(void)state;
	for (volatile int i = 0; i < TIMES; i++) {
		/* the same site, aligned first */
		uint64_t at = i ? HOST + 8 : HOST;

		if (i == 1)
			catch_signal(SIGSEGV, &before);
		if (!sigsetjmp(landing, 1)) {
			__asm__ volatile("movaps (%0), %%xmm2" : : "D"(at) : "xmm2", "memory");
			assert_int_equal(i, 0);
		}
	}
	sigaction(SIGSEGV, &before, NULL);
	assert_int_equal(signals, TIMES - 1);
}

/* --- many sites --- */

/* mov imm32(%rdi), %eax; ret: every site its own, some with bytes that others have, too. */
static void test_quick_remembers_many_sites(void **state)
{
	enum { SITES = 30000, STRIDE = 16, DIFFERENT = 1000 };
	uint8_t *code = mmap(NULL, (size_t)SITES * STRIDE, PROT_READ | PROT_WRITE,
	                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(code, MAP_FAILED);
	for (uint32_t i = 0; i < SITES; i++) {
		const uint32_t offset = i % DIFFERENT * 4;
		uint8_t *at = code + (size_t)i * STRIDE + i % 7;

		memcpy(at, "\x8b\x87", 2);
		memcpy(at + 2, &offset, 4);
		at[6] = 0xc3;
	}
	for (uint32_t i = 0; i < DIFFERENT; i++)
		memcpy(host + (size_t)i * 4, &i, 4);
	assert_int_equal(mprotect(code, (size_t)SITES * STRIDE, PROT_READ | PROT_EXEC), 0);
	for (int times = 0; times < 2; times++)
		for (uint32_t i = 0; i < SITES; i++) {
			uint32_t got;
			uint8_t *at = code + (size_t)i * STRIDE + i % 7;

			__asm__ volatile(
				"lea -128(%%rsp), %%rsp\n\tcall *%1\n\tlea 128(%%rsp), %%rsp"
				: "=a"(got)
				: "r"(at), "D"(HOST)
				: "memory");
			assert_int_equal(got, i % DIFFERENT);
		}
	munmap(code, (size_t)SITES * STRIDE);
}

/* Other code in the place of code that is remembered. */
static void test_quick_compares_the_code(void **state)
{
	uint8_t *code = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	                     0);

	(void)state;
	for (uint32_t i = 0; i < BYTES / 4; i++)
		memcpy(host + (size_t)i * 4, &i, 4);
	for (uint32_t i = 0; i < 200; i++) {
		uint32_t got, offset = i * 4;

		assert_int_equal(mprotect(code, BYTES, PROT_READ | PROT_WRITE), 0);
		memcpy(code + 5, "\x8b\x87", 2);
		memcpy(code + 7, &offset, 4);
		code[11] = 0xc3;
		assert_int_equal(mprotect(code, BYTES, PROT_READ | PROT_EXEC), 0);
		for (int times = 0; times < 2; times++) {
			__asm__ volatile(
				"lea -128(%%rsp), %%rsp\n\tcall *%1\n\tlea 128(%%rsp), %%rsp"
				: "=a"(got)
				: "r"(code + 5), "D"(HOST)
				: "memory");
			assert_int_equal(got, i);
		}
	}
	munmap(code, BYTES);
}

static int lay_all(void **state)
{
	(void)state;
	return t_lay_host("host", HOST, host, BYTES, REGMAP_READ | REGMAP_WRITE) ||
	       t_lay_host("read-only", READ_ONLY, host, BYTES, REGMAP_READ) ||
	       t_lay_device("device", DEVICE, BYTES, &ops, NULL) || regmap_map_registers();
}

#define T(name) cmocka_unit_test_setup(test_quick_##name, reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(works_on_the_registers_where_they_are),
		T(leaves_the_rest_alone),
		T(divides_by_zero_the_long_way),
		T(calls_the_device_once),
		T(modifies_a_device),
		T(asks_before_a_device_sees_vectors),
		T(leaves_pieces_to_others),
		T(says_what_a_device_refused),
		T(reads_registers),
		T(stores_registers_last),
		T(leaves_other_registers_to_others),
		T(sees_each_change_of_the_table),
		T(asks_a_device_that_refuses_once),
		T(is_left_by_jumps),
		T(holds_signals_in_the_handler),
		T(changes_one_vector_register),
		T(changes_what_vectors_lead_to),
		T(leaves_vector_faults_to_others),
		T(remembers_many_sites),
		T(compares_the_code),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("quick", tests, lay_all, NULL);
}
