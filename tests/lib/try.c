/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lay.h"
#include "try.h"

enum {
	CODE_AT = 0x14000000,
	GS_BASE = 0x5000,
	RW = REGMAP_READ | REGMAP_WRITE,
	STACK = 1 << 16,
	MXCSR_MASK = 28,
	RESERVED = 416,
	COMPONENTS = 576,
};

struct t_try t_try;
int (*volatile t_device_hook)(bool write, uint64_t offset);

static uint8_t backing[5][T_PG] __attribute__((aligned(T_PG)));
static uint8_t stack[STACK] __attribute__((aligned(64)));

extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));

bool t_has_asan(void)
{
	return __asan_init;
}

bool t_has_tsan(void)
{
	return __tsan_init;
}

const uint64_t t_places[T_EVERYWHERE] = {T_PLAIN, T_HOST, T_HIGH,     T_NOWHERE,
                                         T_TOP,   T_DEV,  T_HIGH_DEV, T_NOWHERE_DEV};
uint64_t t_where;

/* Other names for the same bytes. */
static uint64_t first_name(uint64_t guest)
{
	static const uint64_t names[][2] = {
		{T_HIGH, T_HOST},    {T_NOWHERE, T_HOST}, {T_TOP, T_HOST},
		{T_SHIFTED, T_HOST}, {T_HIGH_DEV, T_DEV}, {T_NOWHERE_DEV, T_DEV},
		{T_EDGE_DEV, T_DEV},
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (guest - names[i][0] < T_PG)
			return names[i][1] + (guest - names[i][0]);
	assert_in_range(guest, T_PLAIN, T_VOID - 1);
	return guest;
}

bool t_is_device(uint64_t guest)
{
	return first_name(guest) - T_DEV < 2 * T_PG;
}

uint8_t *t_bytes(uint64_t guest)
{
	unsigned place;

	guest = first_name(guest);
	place = (unsigned)(guest - T_PLAIN) / T_PG;
	if (place == 0 || place == T_PLACES - 1)
		return (uint8_t *)(uintptr_t)guest;
	return &backing[place - 1][guest % T_PG];
}

void t_put(uint64_t guest, const void *from, unsigned length)
{
	for (unsigned i = 0; i < length; i++)
		*t_bytes(guest + i) = ((const uint8_t *)from)[i];
}

void t_put64(uint64_t guest, uint64_t value)
{
	t_put(guest, &value, sizeof(value));
}

uint64_t t_get64(uint64_t guest)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < sizeof(value); i++)
		value |= (uint64_t)*t_bytes(guest + i) << 8 * i;
	return value;
}

/* Devices */

static void note(const char *format, char name, uint64_t offset, unsigned width, uint64_t value)
{
	size_t have = strlen(t_try.log);

	snprintf(t_try.log + have, sizeof(t_try.log) - have, format, name, width,
	         (unsigned long)offset, (unsigned long)value);
}

static char name_of(const void *ctx)
{
	return ctx == backing[2] ? 'A' : 'B';
}

static int hook(const void *ctx, bool write, uint64_t offset)
{
	int (*set)(bool, uint64_t) = t_device_hook;

	return set && name_of(ctx) == 'A' ? set(write, offset) : 0;
}

static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	int err = hook(ctx, false, offset);

	*value = 0;
	memcpy(value, (uint8_t *)ctx + offset, width);
	note("%c.r%u@%lx ", name_of(ctx), offset, width, 0);
	return err;
}

static int device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	int err = hook(ctx, true, offset);

	if (!err)
		memcpy((uint8_t *)ctx + offset, &value, width);
	note("%c.w%u@%lx=%lx ", name_of(ctx), offset, width, value);
	return err;
}

static const struct regmap_device_ops logging = {device_read, device_write};

/* Places */

static int lay_plain(uint64_t at)
{
	void *p = mmap((void *)(uintptr_t)at, T_PG, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	return p != (void *)(uintptr_t)at;
}

static int lay_hosts(void)
{
	return t_lay_host("host", T_HOST, backing[0], T_PG, RW) ||
	       t_lay_host("host2", T_HOST2, backing[1], T_PG, RW) ||
	       t_lay_host("host3", T_HOST3, backing[4], T_PG, RW) ||
	       t_lay_host("high", T_HIGH, backing[0], T_PG, RW) ||
	       t_lay_host("nowhere", T_NOWHERE, backing[0], T_PG, RW) ||
	       t_lay_host("top", T_TOP, backing[0], T_PG, RW) ||
	       t_lay_host("shifted", T_SHIFTED, backing[0], T_PG / 2, RW);
}

static int lay_devices(void)
{
	return t_lay_device("dev", T_DEV, T_PG, &logging, backing[2]) ||
	       t_lay_device("dev2", T_DEV2, T_PG, &logging, backing[3]) ||
	       t_lay_device("high_dev", T_HIGH_DEV, T_PG, &logging, backing[2]) ||
	       t_lay_device("nowhere_dev", T_NOWHERE_DEV, T_PG, &logging, backing[2]) ||
	       t_lay_device("edge_dev", T_EDGE_DEV, T_PG, &logging, backing[2]);
}

int t_try_init(void **state)
{
	(void)state;
	t_machine_init(CODE_AT, GS_BASE);
	return lay_plain(T_PLAIN) || lay_plain(T_PLAIN2) || lay_hosts() || lay_devices();
}

/* One try */

static void fill_vectors(void)
{
	for (unsigned reg = 0; reg < 32; reg++) {
		uint8_t bytes[64];

		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)(reg * 37 + i * 5 + 1);
		t_image_set_vector(t_try.in_image, reg, 0, bytes, sizeof(bytes));
	}
}

void t_start(void)
{
	t_machine_catch();
	memset(&t_try.in, 0, sizeof(t_try.in));
	for (unsigned i = 0; i < T_GPRS; i++)
		t_try.in.gpr[i] = 0x0101010101010101ull * (0xa0 + i) + i;
	t_try.in.gpr[T_RSP] = (uintptr_t)stack + sizeof(stack) / 2;
	t_try.in.rflags = 0x202;
	t_try.flags = ~0ull;
	t_image_init(t_try.in_image);
	fill_vectors();
	for (uint64_t at = T_PLAIN; at < T_VOID; at++)
		*t_bytes(at) = (uint8_t)(at * 7 + at / T_PG);
	t_try.log[0] = 0;
	t_device_hook = NULL;
}

/* What t_run() makes canonical in its result. */
static void take_wanted(void)
{
	t_try.want = t_try.in;
	memcpy(t_try.want_image, t_try.in_image, t_layout.size);
	memset(t_try.want_image + MXCSR_MASK, 0, 4);
	memset(t_try.want_image + RESERVED, 0, COMPONENTS - RESERVED);
	for (unsigned i = 0; i < T_PLACES; i++)
		memcpy(t_try.want_memory[i], t_bytes(T_PLAIN + i * T_PG), T_PG);
}

void t_run_at(const char *code)
{
	t_try.in.rip = (uintptr_t)code;
	take_wanted();
	t_run(&t_try.in, t_try.in_image, &t_try.out, t_try.out_image);
}

void t_want(uint64_t guest, const void *bytes, unsigned length)
{
	for (unsigned i = 0; i < length; i++) {
		uint64_t at = first_name(guest + i) - T_PLAIN;

		t_try.want_memory[at / T_PG][at % T_PG] = ((const uint8_t *)bytes)[i];
	}
}

void t_want64(uint64_t guest, uint64_t value)
{
	t_want(guest, &value, sizeof(value));
}

void t_want_vector(unsigned reg, unsigned at, const void *bytes, unsigned length)
{
	t_image_set_vector(t_try.want_image, reg, at, bytes, length);
}

/* Is it as wanted? */

static bool same(const char *what, uint64_t index, uint64_t is, uint64_t wanted)
{
	if (is != wanted)
		print_error("%s %#lx is %#lx, not %#lx\n", what, index, is, wanted);
	return is == wanted;
}

static bool same_registers(void)
{
	const struct t_regs *is = &t_try.out.regs, *wanted = &t_try.want;
	bool good = true;

	for (unsigned i = 0; i < T_GPRS; i++)
		good &= same("register", i, is->gpr[i], wanted->gpr[i]);
	good &= same("RFLAGS, mask", t_try.flags, is->rflags & t_try.flags,
	             wanted->rflags & t_try.flags);
	return good;
}

static bool same_memory(void)
{
	bool good = true;

	for (unsigned i = 0; i < T_PLACES * T_PG && good; i++)
		good = same("memory", T_PLAIN + i, *t_bytes(T_PLAIN + i),
		            t_try.want_memory[i / T_PG][i % T_PG]);
	return good;
}

static bool same_images(void)
{
	bool good = true;

	for (unsigned i = 0; i < t_layout.size && good; i++)
		good = same("image byte", i, t_try.out_image[i], t_try.want_image[i]);
	return good;
}

static bool same_state(void)
{
	bool good = same_registers();

	good &= same_memory();
	return same_images() && good;
}

static void complain(const char *file, int line)
{
	print_error("with operands at %#lx\n", t_where);
	if (t_try.out.end == T_END_FAULT)
		print_error("signal %d, code %d, address %#lx\n", t_try.out.signo, t_try.out.code,
		            t_try.out.address);
	_fail(file, line);
}

void t__done(const char *end, const char *file, int line)
{
	bool good = same("how it ended", 0, t_try.out.end, T_END_DONE);

	good &= same("RIP", 0, t_try.out.regs.rip, (uintptr_t)end);
	if (!same_state() || !good)
		complain(file, line);
}

void t__step(const char *where, const char *file, int line)
{
	bool good = same("how it ended", 0, t_try.out.end, T_END_STEP);

	good &= same("RIP", 0, t_try.out.regs.rip, (uintptr_t)where);
	if (!same_state() || !good)
		complain(file, line);
}

void t__fault(const char *where, int signo, int code, uint64_t number, uint64_t address,
              const char *file, int line)
{
	bool good = same("how it ended", 0, t_try.out.end, T_END_FAULT);

	good &= same("signal", 0, (unsigned)t_try.out.signo, (unsigned)signo);
	good &= same("si_code", 0, (unsigned)t_try.out.code, (unsigned)code);
	good &= same("exception", 0, t_try.out.number, number);
	good &= same("si_addr", 0, t_try.out.address, address);
	good &= same("RIP", 0, t_try.out.regs.rip, (uintptr_t)where);
	if (!same_state() || !good)
		complain(file, line);
}

void t__logged(const char *text, const char *file, int line)
{
	_assert_string_equal(t_try.log, text, file, line);
}
