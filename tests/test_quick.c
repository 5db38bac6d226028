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
#include <sys/time.h>
#include <ucontext.h>

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
	bool jumps, raises;
	int handled, handled_before_write;
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
	if (device.raises)
		raise(SIGUSR1);
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
	device.handled_before_write = device.handled;
	errno = ERANGE;
	return device.write_error;
}

static const struct regmap_device_ops ops = {on_read, on_write};

static void count_signal(int signo)
{
	(void)signo;
	device.handled++;
}

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
	device.raises = true;
	signal(SIGUSR1, count_signal);
	h.gpr[0] = 1;
	assert_int_equal(RUN(&h, ADD), QUICK_DONE);
	assert_int_equal(device.written, 42);
	assert_int_equal(device.handled_before_write, 0);
	assert_int_equal(device.handled, 1);
	h.gpr[0] = 100;
	assert_int_equal(RUN(&h, LOCK_XADD), QUICK_DONE);
	assert_int_equal(device.written, 141);
	assert_int_equal(h.gpr[0], 41);
	assert_int_equal(device.reads, 2);
	assert_int_equal(device.writes, 2);
	assert_int_equal(device.handled_before_write, 1);
	assert_int_equal(device.handled, 2);
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

/* RAX before and after, RDI the address. */
#define MOVED(instruction, at, rax) \
	({ \
		uint64_t rax_ = (rax); \
		__asm__ volatile(instruction \
		                 : "+a"(rax_) \
		                 : "D"(at), "d"(0x8877665544332211) \
		                 : "memory"); \
		rax_; \
	})

static void assert_device_saw(unsigned width, uint64_t offset)
{
	assert_int_equal(device.width, width);
	assert_int_equal(device.offset, offset);
	assert_int_equal(errno, EDOM);
}

static void test_quick_loads_what_a_device_says(void **state)
{
	const uint64_t before = 0xa0a1a2a3a4a5a6a7;

	(void)state;
	device.value = 0xf1f2f3f4f5f6f7f8;
	errno = EDOM;
	for (int i = 0; i < TIMES; i++) {
		assert_int_equal(MOVED("movb (%1), %%al", DEVICE + 3, before), 0xa0a1a2a3a4a5a6f8);
		assert_device_saw(1, 3);
		assert_int_equal(MOVED("movb (%1), %%ah", DEVICE + 5, before), 0xa0a1a2a3a4a5f8a7);
		assert_device_saw(1, 5);
		assert_int_equal(MOVED("movw (%1), %%ax", DEVICE + 6, before), 0xa0a1a2a3a4a5f7f8);
		assert_device_saw(2, 6);
		assert_int_equal(MOVED("movl (%1), %%eax", DEVICE + 8, before), 0xf5f6f7f8);
		assert_device_saw(4, 8);
		assert_int_equal(MOVED("movq (%1), %%rax", DEVICE + 8, before), device.value);
		assert_device_saw(8, 8);
		assert_int_equal(MOVED("movsbl (%1), %%eax", DEVICE + 1, before), 0xfffffff8);
		assert_device_saw(1, 1);
		assert_int_equal(MOVED("movzwl (%1), %%eax", DEVICE + 2, before), 0xf7f8);
		assert_device_saw(2, 2);
		assert_int_equal(MOVED("movslq (%1), %%rax", DEVICE + 4, before),
		                 0xfffffffff5f6f7f8);
		assert_device_saw(4, 4);
	}
	assert_int_equal(device.reads, 8 * TIMES);
	assert_int_equal(device.writes, 0);
}

static void test_quick_stores_to_a_device(void **state)
{
	const uint64_t rax = 0xa0a1a2a3a4a5a6a7;

	(void)state;
	errno = EDOM;
	for (int i = 0; i < TIMES; i++) {
		assert_int_equal(MOVED("movb %%dl, (%1)", DEVICE + 3, rax), rax);
		assert_int_equal(device.written, 0x11);
		assert_device_saw(1, 3);
		MOVED("movb %%dh, (%1)", DEVICE + 3, rax);
		assert_int_equal(device.written, 0x22);
		MOVED("movw %%dx, (%1)", DEVICE + 6, rax);
		assert_int_equal(device.written, 0x2211);
		assert_device_saw(2, 6);
		MOVED("movl %%edx, (%1)", DEVICE + 8, rax);
		assert_int_equal(device.written, 0x44332211);
		assert_device_saw(4, 8);
		MOVED("movq %%rdx, (%1)", DEVICE + 8, rax);
		assert_int_equal(device.written, 0x8877665544332211);
		assert_device_saw(8, 8);
		MOVED("movq $-2, (%1)", DEVICE + 16, rax);
		assert_int_equal(device.written, -2ull);
		assert_device_saw(8, 16);
		MOVED("movw $-2, (%1)", DEVICE + 16, rax);
		assert_int_equal(device.written, 0xfffe);
	}
	assert_int_equal(device.writes, 7 * TIMES);
	assert_int_equal(device.reads, 0);
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
	device.raises = true;
	signal(SIGUSR1, count_signal);
	for (int i = 0; i < TIMES; i++) {
		device.handled = 0;
		add(DEVICE, 1);
		assert_int_equal(device.handled_before_write, 0);
		assert_int_equal(device.handled, 1);
		assert_false(sigismember(&device.mask, SIGINT));
		pthread_sigmask(SIG_BLOCK, NULL, &now);
		assert_false(sigismember(&now, SIGUSR1));
		load(DEVICE);
		assert_false(sigismember(&device.mask, SIGUSR1));
	}
}

/* --- strings with REP --- */

struct string {
	uint64_t from, to, count;
};

static void copy_string(struct string *s)
{
	__asm__ volatile("rep movsb" : "+S"(s->from), "+D"(s->to), "+c"(s->count) : : "memory");
}

static struct string left; /* where a signal came */

static void leave_string(int signo, siginfo_t *info, void *ucontext)
{
	const greg_t *regs = ((ucontext_t *)ucontext)->uc_mcontext.gregs;

	left = (struct string){(uint64_t)regs[REG_RSI], (uint64_t)regs[REG_RDI],
	                       (uint64_t)regs[REG_RCX]};
	jump_out(signo, info, ucontext);
}

static void copy_into_fault(uint64_t from, uint64_t to, uint64_t count)
{
	struct string s = {from, to, count};

	if (sigsetjmp(landing, 1))
		return;
	copy_string(&s);
	fail();
}

static void assert_left(uint64_t from, uint64_t to, uint64_t count, uint64_t fault)
{
	assert_int_equal(left.from, from);
	assert_int_equal(left.to, to);
	assert_int_equal(left.count, count);
	assert_ptr_equal(fault_address, (void *)fault);
}

static void catch_string(struct sigaction *before)
{
	struct sigaction act = {.sa_sigaction = leave_string, .sa_flags = SA_SIGINFO | SA_NODEFER};

	signals = 0;
	assert_int_equal(sigaction(SIGSEGV, &act, before), 0);
}

static uint8_t *map_pages(void *at, unsigned pages)
{
	uint8_t *p = mmap(at, (size_t)pages * BYTES, PROT_READ | PROT_WRITE,
	                  MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED_NOREPLACE : 0), -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

/* Memory ends in the middle, of the program's own at either end, or of the window's. */
static void test_quick_copies_strings_as_far_as_they_go(void **state)
{
	enum { DONE = 100, COUNT = 300 };
	uint8_t *pages = map_pages(NULL, 2), *end = pages + BYTES, *at = end - DONE;
	struct regmap_window *w = map_fickle(FICKLE, 2ul * BYTES, pages);
	struct sigaction before;

	(void)state;
	assert_int_equal(mprotect(end, BYTES, PROT_NONE), 0);
	catch_string(&before);
	for (int i = 1; i <= TIMES; i++) {
		memset(host, i, BYTES);
		copy_into_fault(HOST, (uintptr_t)at, COUNT);
		assert_left(HOST + DONE, (uintptr_t)end, COUNT - DONE, (uintptr_t)end);
		assert_memory_equal(at, host, DONE);
		memset(at, ~i, DONE);
		copy_into_fault((uintptr_t)at, HOST, COUNT);
		assert_left((uintptr_t)end, HOST + DONE, COUNT - DONE, (uintptr_t)end);
		assert_memory_equal(at, host, DONE);
		assert_int_equal(host[DONE], i);
		copy_into_fault(FICKLE + BYTES - DONE, HOST + DONE, COUNT);
		assert_left(FICKLE + BYTES, HOST + 2 * DONE, COUNT - DONE, FICKLE + BYTES);
		assert_memory_equal(at, host + DONE, DONE);
		assert_int_equal(host[2 * DONE], i);
	}
	sigaction(SIGSEGV, &before, NULL);
	assert_int_equal(signals, 3 * TIMES);
	assert_int_equal(regmap_unmap(w), 0);
	munmap(pages, 2ul * BYTES);
}

/* What was ordinary memory at the last access, may be a window by now, and the other way round. */
static void test_quick_copies_strings_to_where_windows_come_and_go(void **state)
{
	static uint8_t there[BYTES];
	uint8_t *at = map_pages(NULL, 1);

	(void)state;
	for (int i = 1; i < 100; i++) {
		struct string to_memory = {HOST, (uintptr_t)at, BYTES}, to_window = to_memory;
		struct regmap_window *w;

		memset(host, i, BYTES);
		copy_string(&to_memory);
		assert_memory_equal(at, host, BYTES);
		assert_int_equal(to_memory.count, 0);
		assert_int_equal(to_memory.from, HOST + BYTES);
		assert_int_equal(to_memory.to, (uintptr_t)at + BYTES);
		munmap(at, BYTES);
		w = map_fickle((uintptr_t)at, BYTES, there);
		copy_string(&to_window);
		assert_memory_equal(there, host, BYTES);
		assert_memory_equal(&to_window, &to_memory, sizeof(to_memory));
		assert_int_equal(regmap_unmap(w), 0);
		assert_ptr_equal(map_pages(at, 1), at);
	}
	munmap(at, BYTES);
}

static void test_quick_copies_no_string_within_what_is_read_only(void **state)
{
	struct string within = {HOST, HOST + BYTES / 2, 64};
	struct sigaction before;

	(void)state;
	catch_string(&before);
	for (int i = 1; i <= TIMES; i++) {
		struct string s = within;

		memset(host, i, 64);
		copy_string(&s);
		assert_memory_equal(host + BYTES / 2, host, 64);
		memset(host, ~i, 64);
		copy_into_fault(READ_ONLY, READ_ONLY + BYTES / 2, 64);
		assert_left(READ_ONLY, READ_ONLY + BYTES / 2, 64, READ_ONLY + BYTES / 2);
		assert_int_equal(host[BYTES / 2], i);
	}
	sigaction(SIGSEGV, &before, NULL);
	assert_int_equal(signals, TIMES);
}

/* Elements that are read as soon as they have been written; comparisons that end early. */
static void test_quick_repeats_strings_like_the_processor(void **state)
{
	uint64_t count, to, from, rax, flags;

	(void)state;
	for (unsigned i = 0; i < TIMES; i++) {
		struct string s = {HOST, HOST + 3, 30};

		memcpy(host, "abc", 4);
		copy_string(&s);
		assert_memory_equal(host, "abcabcabcabcabcabcabcabcabcabcabc", 33);
		to = HOST, count = 33;
		__asm__ volatile("repne scasb\n\tpushfq\n\tpop %2"
		                 : "+D"(to), "+c"(count), "=r"(flags)
		                 : "a"('c')
		                 : "memory", "cc");
		assert_int_equal(to, HOST + 3);
		assert_int_equal(count, 30);
		assert_int_equal(flags & CPU_STATUS, CPU_ZF | CPU_PF);
		from = HOST, to = HOST + 3, count = 100;
		__asm__ volatile("repe cmpsw\n\tpushfq\n\tpop %3"
		                 : "+S"(from), "+D"(to), "+c"(count), "=r"(flags)
		                 :
		                 : "memory", "cc");
		assert_int_equal(from, HOST + 32);
		assert_int_equal(to, HOST + 35);
		assert_int_equal(count, 100 - 16);
		assert_int_equal(flags & CPU_ZF, 0);
		from = HOST + 4, count = 2, rax = ~0ull;
		__asm__ volatile("rep lodsw" : "+S"(from), "+c"(count), "+a"(rax) : : "memory");
		assert_int_equal(rax, 0xffffffffffff6261);
		assert_int_equal(from, HOST + 8);
		memset(host, 0, 40);
	}
}

/* --- flags that sigreturn leaves as they are --- */

static uint8_t aside[128];

/* RDI: the operand; RSI, RCX, RDX, RAX: of no importance. What the flags are afterwards. */
#define FLAGS_AFTER(instruction, at, wanted) \
	({ \
		uint64_t flags_ = (wanted), rdi_ = (at), rsi_ = (uintptr_t)(aside + 64), rcx_ = 9; \
		__asm__ volatile( \
			"lea -128(%%rsp), %%rsp\n\tpushfq\n\tor %0, (%%rsp)\n\tpopfq\n\t" instruction \
			"\n\tpushfq\n\tpop %0\n\tpushq $0x202\n\tpopfq\n\t" \
			"lea 128(%%rsp), %%rsp" \
			: "+b"(flags_), "+D"(rdi_), "+S"(rsi_), "+c"(rcx_) \
			: "a"(3), "d"(0) \
			: "xmm3", "memory", "cc"); \
		flags_ &CPU_STICKY; \
	})

static void test_quick_keeps_flags_that_nobody_computes(void **state)
{
	static const uint64_t wanted[] = {0, CPU_ID, CPU_NT, CPU_ID | CPU_NT};

	(void)state;
	for (int i = 0; i < 4 * TIMES; i++) {
		const uint64_t sticky = wanted[i % 4];

		assert_int_equal(FLAGS_AFTER("mov %%rax, (%%rdi)", HOST, sticky), sticky);
		assert_int_equal(FLAGS_AFTER("add %%rax, (%%rdi)", HOST, sticky), sticky);
		assert_int_equal(FLAGS_AFTER("lock add %%rax, (%%rdi)", DEVICE, sticky), sticky);
		assert_int_equal(FLAGS_AFTER("bts %%rax, (%%rdi)", HOST, sticky), sticky);
		assert_int_equal(FLAGS_AFTER("comisd (%%rdi), %%xmm3", HOST, sticky), sticky);
		assert_int_equal(FLAGS_AFTER("rep movsb", HOST, sticky), sticky);
		assert_int_equal(FLAGS_AFTER("std\n\trep movsb\n\tcld", HOST + 64, sticky), sticky);
		assert_int_equal(FLAGS_AFTER("repe cmpsb", HOST, sticky), sticky);
		assert_int_equal(FLAGS_AFTER("scasb", HOST, sticky), sticky);
	}
}

static volatile bool ticking;

static void tick(int signo)
{
	(void)signo;
	signals++;
	if (ticking)
		siglongjmp(landing, 1);
}

/* A window isn't held by a string that was left in the middle. */
static void test_quick_lets_strings_be_left(void **state)
{
	enum { LONG = 1 << 20 };
	const struct itimerval never = {0};
	uint8_t *from = map_pages(NULL, LONG / BYTES), *to = map_pages(NULL, LONG / BYTES);
	struct regmap_window *w = map_fickle(FICKLE, LONG, from);

	(void)state;
	signals = 0;
	signal(SIGALRM, tick);
	for (volatile int i = 0; i < 500; i++) {
		const struct itimerval once = {{0, 0}, {0, 10 + i % 150}};
		struct string s = {FICKLE, (uintptr_t)to, LONG};

		if (sigsetjmp(landing, 1))
			continue;
		ticking = true;
		setitimer(ITIMER_REAL, &once, NULL);
		copy_string(&s);
		ticking = false;
	}
	ticking = false;
	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_DFL);
	assert_true(signals > 0);
	assert_int_equal(regmap_unmap(w), 0);
	munmap(from, LONG);
	munmap(to, LONG);
}

/* --- vectors --- */

/* A device with memory, which keeps a log of its pieces. */
static struct {
	uint8_t bytes[128] __attribute__((aligned(64)));
	struct {
		uint64_t offset;
		unsigned width;
		bool write;
	} log[16];
	unsigned pieces, fails_at, goes_at;
	struct regmap_window *window;
} wide;

static int wide_piece(uint64_t offset, unsigned width, bool write)
{
	wide.log[wide.pieces % 16].offset = offset;
	wide.log[wide.pieces % 16].width = width;
	wide.log[wide.pieces % 16].write = write;
	wide.pieces++;
	if (wide.pieces == wide.goes_at)
		assert_int_equal(regmap_unmap(wide.window), 0);
	return wide.pieces == wide.fails_at ? -EIO : 0;
}

static int wide_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	*value = ~0ull;
	memcpy(value, wide.bytes + offset, width);
	return wide_piece(offset, width, false);
}

static int wide_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx;
	if (width < 8)
		assert_int_equal(value >> width * 8, 0);
	memcpy(wide.bytes + offset, &value, width);
	return wide_piece(offset, width, true);
}

static void lay_wide(void)
{
	static const struct regmap_device_ops wide_ops = {wide_read, wide_write};
	struct regmap_config c = {
		.size = sizeof(c),
		.guest = FICKLE,
		.length = sizeof(wide.bytes),
		.access = REGMAP_READ | REGMAP_WRITE,
		.backing = REGMAP_DEVICE,
		.ops = &wide_ops,
	};

	memset(&wide, 0, sizeof(wide));
	for (unsigned i = 0; i < sizeof(wide.bytes); i++)
		wide.bytes[i] = (uint8_t)(i + 1);
	assert_int_equal(regmap_map(&c, &wide.window), 0);
}

static void assert_pieces(uint64_t from, const unsigned *width, bool write)
{
	for (unsigned i = 0; i < wide.pieces; from += width[i++]) {
		assert_int_equal(wide.log[i].offset, from);
		assert_int_equal(wide.log[i].width, width[i]);
		assert_int_equal(wide.log[i].write, write);
	}
}

static void sse_load(uint64_t at, uint8_t out[16])
{
	__asm__ volatile("movups (%1), %%xmm5\n\tmovups %%xmm5, %0"
	                 : "=m"(*(uint8_t(*)[16])out)
	                 : "D"(at)
	                 : "xmm5", "memory");
}

static void sse_store(uint64_t at, const uint8_t in[16])
{
	__asm__ volatile("movups %1, %%xmm5\n\tmovups %%xmm5, (%0)"
	                 :
	                 : "D"(at), "m"(*(const uint8_t(*)[16])in)
	                 : "xmm5", "memory");
}

static void test_quick_moves_vectors_in_pieces(void **state)
{
	static const unsigned aligned[] = {8, 8}, odd[] = {1, 4, 8, 2, 1};
	uint8_t bytes[16], in[16];

	(void)state;
	lay_wide();
	memset(in, 0xc3, sizeof(in));
	for (int i = 0; i < TIMES; i++) {
		for (unsigned at = 0; at < 4; at += 3) {
			wide.pieces = 0;
			sse_load(FICKLE + at, bytes);
			assert_memory_equal(bytes, wide.bytes + at, 16);
			assert_int_equal(wide.pieces, at ? 5 : 2);
			assert_pieces(at, at ? odd : aligned, false);
			wide.pieces = 0;
			sse_store(FICKLE + 64 + at, in);
			assert_memory_equal(in, wide.bytes + 64 + at, 16);
			assert_int_equal(wide.pieces, at ? 5 : 2);
			assert_pieces(64 + at, at ? odd : aligned, true);
		}
	}
	assert_int_equal(wide.bytes[63], 64);
	assert_int_equal(wide.bytes[64 + 19], 64 + 20);
	assert_int_equal(regmap_unmap(wide.window), 0);
}

static void test_quick_calculates_with_what_a_device_says(void **state)
{
	const float factors[4] = {1, 2, 3, 4}, said[4] = {5, 6, 7, 8};
	float out[4];

	(void)state;
	lay_wide();
	memcpy(wide.bytes, said, sizeof(said));
	for (int i = 0; i < TIMES; i++) {
		__asm__ volatile("movups %1, %%xmm3\n\tmulps (%2), %%xmm3\n\tmovups %%xmm3, %0"
		                 : "=m"(out)
		                 : "m"(factors), "D"(FICKLE)
		                 : "xmm3", "memory");
		for (int k = 0; k < 4; k++)
			assert_true(out[k] == factors[k] * said[k]);
	}
	assert_int_equal(wide.pieces, 2 * TIMES);
	assert_int_equal(regmap_unmap(wide.window), 0);
}

/* The first half is done, and no more is asked; no register has changed. */
static void test_quick_says_which_piece_was_refused(void **state)
{
	struct sigaction before;
	uint8_t bytes[16] = {0};

	(void)state;
	lay_wide();
	sse_load(FICKLE, bytes);
	catch_signal(SIGBUS, &before);
	for (volatile int i = 0; i < TIMES; i++) {
		wide.pieces = 0;
		wide.fails_at = 2;
		if (!sigsetjmp(landing, 1)) {
			i % 2 ? sse_load(FICKLE, bytes) : sse_store(FICKLE, bytes);
			fail();
		}
		assert_int_equal(wide.pieces, 2);
		assert_ptr_equal(fault_address, (void *)(FICKLE + 8));
	}
	sigaction(SIGBUS, &before, NULL);
	assert_int_equal(signals, TIMES);
	assert_int_equal(regmap_unmap(wide.window), 0);
}

/* The rest of the access finds what is there now. */
static void test_quick_sees_a_window_go_between_pieces(void **state)
{
	struct sigaction before;
	uint8_t bytes[16] = {0};

	(void)state;
	catch_signal(SIGSEGV, &before);
	for (volatile int i = 0; i < TIMES; i++) {
		lay_wide();
		sse_load(FICKLE, bytes);
		sse_store(FICKLE, bytes);
		wide.pieces = 0;
		wide.goes_at = 1;
		if (!sigsetjmp(landing, 1)) {
			i % 2 ? sse_load(FICKLE, bytes) : sse_store(FICKLE, bytes);
			fail();
		}
		assert_int_equal(wide.pieces, 1);
		assert_int_equal(signals, i + 1);
	}
	sigaction(SIGSEGV, &before, NULL);
}

/* An exception that is not masked comes with the operand read once. */
static void test_quick_reads_once_for_an_exception(void **state)
{
	const float one[4] = {1, 1, 1, 1}, zero[4] = {0};
	struct sigaction before;
	uint32_t masked, open;

	(void)state;
	lay_wide();
	memcpy(wide.bytes, zero, sizeof(zero));
	catch_signal(SIGFPE, &before);
	__asm__ volatile("stmxcsr %0" : "=m"(masked));
	open = masked & ~0x200u;
	for (volatile int i = 0; i < 2 * TIMES; i++) {
		wide.pieces = 0;
		if (!sigsetjmp(landing, 1)) {
			__asm__ volatile("movups %1, %%xmm3\n\tldmxcsr %0\n\t"
			                 "divps (%2), %%xmm3\n\tldmxcsr %3"
			                 :
			                 : "m"(*(i % 2 ? &open : &masked)), "m"(one), "D"(FICKLE),
			                   "m"(masked)
			                 : "xmm3", "memory");
			assert_int_equal(i % 2, 0);
		}
		__asm__ volatile("ldmxcsr %0" : : "m"(masked));
		assert_int_equal(wide.pieces, 2);
		assert_int_equal(signals, (i + 1) / 2);
	}
	sigaction(SIGFPE, &before, NULL);
	assert_int_equal(regmap_unmap(wide.window), 0);
}

/*
 * Moves, each with the whole register before and after: what it leaves above is part of it. The same
 * site runs on memory, too.
 */
struct move {
	const char *text;
	void (*run)(uint64_t at, uint8_t reg[64]);
	bool wants_avx512;
};

#define WHOLE_0 "ymm6"
#define WHOLE_6 "zmm6"
#define WHOLE_20 "zmm20"
#define MOVES(x) \
	x(0, "movups (%0), %%xmm6", "vmovdqu", \
	  0) x(1, "movaps (%0), %%xmm6", "vmovdqu", \
	       0) x(2, "movdqu (%0), %%xmm6", "vmovdqu", \
	            0) x(3, "movdqa (%0), %%xmm6", "vmovdqu", \
	                 0) x(4, "movupd (%0), %%xmm6", "vmovdqu", \
	                      0) x(5, "movapd (%0), %%xmm6", "vmovdqu", \
	                           0) x(6, "lddqu (%0), %%xmm6", "vmovdqu", \
	                                0) x(7, "movntdqa (%0), %%xmm6", "vmovdqu", \
	                                     0) x(8, "movss (%0), %%xmm6", "vmovdqu", \
	                                          0) x(9, "movsd (%0), %%xmm6", "vmovdqu", \
	                                               0) x(10, "movd (%0), %%xmm6", "vmovdqu", 0) \
		x(11, "movq (%0), %%xmm6", "vmovdqu", \
	          0) x(12, "movups %%xmm6, (%0)", "vmovdqu", \
	               0) x(13, "movaps %%xmm6, (%0)", "vmovdqu", \
	                    0) x(14, "movntps %%xmm6, (%0)", "vmovdqu", \
	                         0) x(15, "movntdq %%xmm6, (%0)", "vmovdqu", \
	                              0) x(16, "movss %%xmm6, (%0)", "vmovdqu", \
	                                   0) x(17, "movsd %%xmm6, (%0)", "vmovdqu", \
	                                        0) x(18, "movd %%xmm6, (%0)", "vmovdqu", 0) \
			x(19, "movq %%xmm6, (%0)", "vmovdqu", \
	                  0) x(20, "vmovups (%0), %%xmm6", "vmovdqu", \
	                       0) x(21, "vmovups (%0), %%ymm6", "vmovdqu", \
	                            0) x(22, "vmovss (%0), %%xmm6", "vmovdqu", \
	                                 0) x(23, "vmovsd (%0), %%xmm6", "vmovdqu", \
	                                      0) x(24, "vmovd (%0), %%xmm6", "vmovdqu", \
	                                           0) x(25, "vmovq (%0), %%xmm6", "vmovdqu", 0) \
				x(26, "vmovdqa %%ymm6, (%0)", "vmovdqu", \
	                          0) x(27, "vmovntpd %%ymm6, (%0)", "vmovdqu", \
	                               0) x(28, "vlddqu (%0), %%ymm6", "vmovdqu", \
	                                    0) x(29, "vmovq %%xmm6, (%0)", "vmovdqu", \
	                                         0) x(30, "movhps (%0), %%xmm6", "vmovdqu", \
	                                              0) x(31, "movlps (%0), %%xmm6", "vmovdqu", \
	                                                   0) x(32, "vmovups (%0), %%xmm6", \
	                                                        "vmovdqu64", \
	                                                        6) x(33, "vmovups (%0), %%ymm6", \
	                                                             "vmovdqu64", 6) \
					x(34, "vmovdqu64 (%0), %%zmm6", "vmovdqu64", \
	                                  6) x(35, "movups (%0), %%xmm6", "vmovdqu64", \
	                                       6) x(36, "vmovdqa32 %%zmm6, (%0)", "vmovdqu64", 6) \
						x(37, "vmovss (%0), %%xmm6", "vmovdqu64", \
	                                          6) x(38, "vmovdqu8 (%0), %%xmm20", "vmovdqu64", \
	                                               20) x(39, "vmovdqu16 (%0), %%ymm20", \
	                                                     "vmovdqu64", \
	                                                     20) x(40, "vmovdqa64 (%0), %%zmm20", \
	                                                           "vmovdqu64", 20) \
							x(41, "vmovsd (%0), %%xmm20", "vmovdqu64", \
	                                                  20) x(42, "vmovdqu32 %%ymm20, (%0)", \
	                                                        "vmovdqu64", 20) \
								x(43, "vmovq (%0), %%xmm20", \
	                                                          "vmovdqu64", 20)
#define MOVE(id, text, reg, whole) \
	static void move_##id(uint64_t at, uint8_t state[64]) \
	{ \
		__asm__ volatile(reg " (%1), %%" WHOLE_##whole \
		                 "\n\t" text "\n\t" reg " %%" WHOLE_##whole ", (%1)\n\tvzeroupper" \
		                 : \
		                 : "D"(at), "S"(state) \
		                 : "xmm6", "memory"); \
	}
/* clang-format off */
MOVES(MOVE)
#define MOVE_ROW(id, text, reg, whole) {text, move_##id, whole != 0},
static const struct move moves[] = {MOVES(MOVE_ROW)};
/* clang-format on */

static void compare_move(const struct move *move)
{
	uint8_t twin[sizeof(wide.bytes)] __attribute__((aligned(64))), expected[64], state[64];

	for (int i = 0; i < TIMES; i++) {
		for (unsigned k = 0; k < 64; k++)
			expected[k] = state[k] = (uint8_t)(0xff - 3 * k - (unsigned)i);
		memcpy(twin, wide.bytes, sizeof(twin));
		move->run((uintptr_t)twin, expected);
		move->run(FICKLE, state);
		if (memcmp(state, expected, 64) || memcmp(wide.bytes, twin, sizeof(twin)))
			fail_msg("%s", move->text);
	}
}

static void test_quick_moves_like_memory(void **state)
{
	(void)state;
	if (!__builtin_cpu_supports("avx"))
		skip();
	lay_wide();
	for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++)
		if (!moves[i].wants_avx512 ||
		    (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")))
			compare_move(&moves[i]);
	assert_int_equal(regmap_unmap(wide.window), 0);
}

/* XMM2 stands at 0x880. */
static void test_quick_knows_vector_registers_by_address(void **state)
{
	const float two[4] = {1, 2, 3, 4}, three[4] = {5, 6, 7, 8};
	float loaded[4], product[4], stored[4], part[4];

	(void)state;
	for (int i = 0; i < TIMES; i++) {
		__asm__ volatile("movups %4, %%xmm2\n\tmovups %5, %%xmm3\n\t"
		                 "movups (%6), %%xmm1\n\tmovups %%xmm1, %0\n\t"
		                 "mulps (%6), %%xmm1\n\tmovups %%xmm1, %1\n\t"
		                 "movups %%xmm3, (%6)\n\tmovups %%xmm2, %2\n\t"
		                 "movlps %%xmm1, 8(%6)\n\tmovups %%xmm2, %3"
		                 : "=m"(loaded), "=m"(product), "=m"(stored), "=m"(part)
		                 : "m"(two), "m"(three), "D"(0x880)
		                 : "xmm1", "xmm2", "xmm3", "memory");
		assert_memory_equal(loaded, two, sizeof(two));
		for (int k = 0; k < 4; k++)
			assert_true(product[k] == two[k] * two[k]);
		assert_memory_equal(stored, three, sizeof(three));
		assert_memory_equal(part, three, 8);
		assert_memory_equal(part + 2, product, 8);
	}
}

static void test_quick_knows_wide_registers_by_address(void **state)
{
	const double in[4] = {1, 2, 3, 4};
	double out[4], upper[4];

	(void)state;
	if (!__builtin_cpu_supports("avx"))
		skip();
	for (int i = 0; i < TIMES; i++) {
		__asm__ volatile(
			"vmovups %2, %%ymm2\n\tvmovups (%3), %%ymm1\n\tvmovups %%ymm1, %0\n\t"
			"vmovups (%3), %%xmm1\n\tvmovups %%ymm1, %1\n\tvzeroupper"
			: "=m"(out), "=m"(upper)
			: "m"(in), "D"(0x880)
			: "xmm1", "xmm2", "memory");
		assert_memory_equal(out, in, sizeof(in));
		assert_memory_equal(upper, in, 16);
		assert_true(upper[2] == 0 && upper[3] == 0);
	}
}

/* Next to the sum, the address of the last instruction: the same site tells both. */
static __attribute__((noinline)) double x87_add(uint64_t at, uint32_t env[7])
{
	double sum = 1;

	__asm__ volatile("fldl %0\n\tfadds (%2)\n\tfnstenv %1\n\tfldenv %1\n\tfstpl %0"
	                 : "+m"(sum), "=m"(*(uint32_t(*)[7])env)
	                 : "D"(at)
	                 : "memory");
	return sum;
}

static void test_quick_adds_in_the_fpu(void **state)
{
	uint32_t env[7], native[7];
	float value = 2.5f;

	(void)state;
	memcpy(host, &value, sizeof(value));
	for (int i = 0; i < TIMES; i++) {
		assert_true(x87_add((uintptr_t)host, native) == 3.5);
		assert_true(x87_add(HOST, env) == 3.5);
		assert_memory_equal(env, native, 12);
		if (env[3])
			assert_int_equal(env[3], native[3]);
	}
}

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
		T(loads_what_a_device_says),
		T(stores_to_a_device),
		T(asks_a_device_that_refuses_once),
		T(is_left_by_jumps),
		T(holds_signals_in_the_handler),
		T(copies_strings_as_far_as_they_go),
		T(copies_strings_to_where_windows_come_and_go),
		T(copies_no_string_within_what_is_read_only),
		T(repeats_strings_like_the_processor),
		T(keeps_flags_that_nobody_computes),
		T(lets_strings_be_left),
		T(moves_vectors_in_pieces),
		T(calculates_with_what_a_device_says),
		T(says_which_piece_was_refused),
		T(sees_a_window_go_between_pieces),
		T(reads_once_for_an_exception),
		T(moves_like_memory),
		T(knows_vector_registers_by_address),
		T(knows_wide_registers_by_address),
		T(adds_in_the_fpu),
		T(changes_one_vector_register),
		T(changes_what_vectors_lead_to),
		T(leaves_vector_faults_to_others),
		T(remembers_many_sites),
		T(compares_the_code),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("quick", tests, lay_all, NULL);
}
