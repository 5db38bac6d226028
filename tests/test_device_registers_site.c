/* SPDX-License-Identifier: MIT */
/* Accesses by instructions: which one it was, and widths that registers don't take. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

#include "lib/child.h"
#include "lib/regs.h"

enum { FAR = 0x40000 }; /* times 2^28: where the device is mapped */

static struct regmap_device *device;
static uint64_t at; /* the first register's address in the program */

static struct regmap_device_access last;
static unsigned seen;

static void watch(void *ctx, struct regmap_device *d, const struct regmap_device_access *access)
{
	if (ctx == &seen && d == device) {
		last = *access;
		seen++;
	}
}

/* P: ANY 0x00, WORD 0x08 and NEXT 0x0c 32 bits only, STRICT 0x10 32 bits or a bus error, FREE 0x18. */
static int begin(void)
{
	static const struct regmap_register registers[] = {
		{.name = "ANY", .offset = 0, .width = 8, .reset_mask = ~0ull},
		{.name = "WORD", .offset = 8, .width = 4, .reset_mask = ~0u, .widths = 4},
		{.name = "NEXT", .offset = 12, .width = 4, .reset_mask = ~0u, .widths = 4},
		{.name = "STRICT",
	         .offset = 16,
	         .width = 4,
	         .reset_mask = ~0u,
	         .widths = 4,
	         .width_policy = REGMAP_WIDTH_FAULT},
		{.name = "FREE",
	         .offset = 24,
	         .width = 4,
	         .reset_mask = ~0u,
	         .widths = 4,
	         .width_policy = REGMAP_WIDTH_ALLOW},
		{.name = "HALF", .offset = 28, .width = 2, .reset_mask = 0xffff, .widths = 2 | 4},
	};
	struct regmap_error error = {.text = ""};
	struct t_regs t;
	int err;

	t_layout(&t);
	t_peripheral(&t, "P", T_BASE);
	for (unsigned i = 0; i < sizeof(registers) / sizeof(registers[0]); i++)
		t_register(&t, "P", registers[i]);
	err = regmap_device_from_layout(t.layout, &device, &error);
	regmap_layout_free(t.layout);
	at = ((uint64_t)FAR << 28) + T_BASE;
	if (!err)
		err = regmap_device_map(device, (uint64_t)FAR << 28, &error);
	fputs(error.text, stderr);
	return err;
}

/* --- which instruction --- */

/* An instruction with a label: the address of the access is in RDI, anything in RAX. */
#define SITE(name, ...) \
	extern const char name##_site[]; \
	uint64_t name(uint64_t address, uint64_t value); \
	__asm__(".pushsection .text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" \
	        "mov %rsi, %rax\nmovq %rsi, %xmm0\nmov $2, %ecx\n.globl " #name "_site\n" #name \
	        "_site: " __VA_ARGS__ "\nret\n.size " #name ", . - " #name "\n.popsection\n")

SITE(site_load, "mov (%rdi), %eax");
SITE(site_store, "mov %eax, (%rdi)");
SITE(site_add, "add %eax, (%rdi)");
SITE(site_locked, "lock add %eax, (%rdi)");
SITE(site_exchange, "xchg %eax, (%rdi)");
SITE(site_vector_store, "movups %xmm0, (%rdi)");
SITE(site_vector_load, "movups (%rdi), %xmm0");
SITE(site_string, "rep stosb");
SITE(site_push, "push (%rdi)\npop %rax");
SITE(site_byte, "movb %al, (%rdi)");
SITE(site_half, "movw %ax, (%rdi)");
SITE(site_eight, "mov (%rdi), %rax");
SITE(site_eight_store, "mov %rax, (%rdi)");
SITE(site_byte_load, "movzbl (%rdi), %eax");
SITE(site_again, "movb %al, (%rdi)");

static const struct site {
	const char *name;
	uint64_t (*call)(uint64_t, uint64_t);
	const char *site;
	unsigned accesses;
} sites[] = {
#define S(name, accesses) \
	{ \
#name, name, name##_site, accesses \
	}
	S(site_load, 1),        S(site_store, 1),    S(site_add, 2),
	S(site_locked, 2),      S(site_exchange, 2), S(site_vector_store, 2),
	S(site_vector_load, 2), S(site_string, 2),   S(site_push, 1),
	S(site_byte, 1),        S(site_eight, 1),    S(site_eight_store, 1),
};

static int check_sites(uint64_t address, unsigned times)
{
	for (unsigned i = 0; i < sizeof(sites) / sizeof(sites[0]); i++)
		for (unsigned k = 0; k < times; k++) {
			seen = 0;
			sites[i].call(address, 0);
			if (seen == sites[i].accesses && last.ip == (uintptr_t)sites[i].site)
				continue;
			fprintf(stderr, "%s, time %u: %u accesses, the last of 0x%lx\n",
			        sites[i].name, k, seen, (unsigned long)last.ip);
			return 1;
		}
	return 0;
}

static int trace_faults(void *arg)
{
	(void)arg;
	T_CHECK(!begin());
	T_CHECK(!regmap_device_watch(device, watch, &seen));
	T_CHECK(!check_sites(at, 3));
	/* an address that is none: no fault of a page */
	T_CHECK(!check_sites(regmap_device_base(device) + T_BASE, 3));
	return 0;
}

static int trace_patched(void *arg)
{
	(void)arg;
	T_CHECK(!begin());
	T_CHECK(!regmap_device_watch(device, watch, &seen));
	if (regmap_patch(1))
		return 77;
	T_CHECK(!check_sites(at, 20));
	T_CHECK(regmap_patch_site(site_load_site) == 1);
	T_CHECK(regmap_patch_site(site_store_site) == 1);
	return 0;
}

static int trace_calls(void *arg)
{
	uint64_t value;

	(void)arg;
	T_CHECK(!begin());
	T_CHECK(!regmap_device_watch(device, watch, &seen));
	T_CHECK(!regmap_device_read(device, T_BASE, &value, 4));
	T_CHECK(seen == 1 && last.ip == 0 && !last.is_write && last.width == 4);
	T_CHECK(!regmap_device_set(device, "P.WORD", 7));
	T_CHECK(last.ip == 0 && last.is_write && last.value == 7 && !last.error);
	T_CHECK(!strcmp(last.reg->name, "WORD") && !strcmp(last.peripheral->name, "P"));
	T_CHECK(!strcmp(last.region->name, "APB") && last.address == T_BASE + 8);
	T_CHECK(!regmap_read(at, &value, 4));
	T_CHECK(last.ip == 0);
	T_CHECK(!regmap_device_watch(device, NULL, NULL));
	seen = 0;
	site_load(at, 0);
	T_CHECK(seen == 0);
	return 0;
}

/* A callback that makes an access of its own, by an instruction or by a call. */
static uint64_t ip_inside, ip_by_call;

static int read_inside(void *ctx, struct regmap_device *d, const struct regmap_register *reg,
                       uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)reg, (void)offset, (void)width;
	site_store(at + 24, 1);
	ip_inside = last.ip;
	(void)!regmap_device_read(d, T_BASE + 24, value, 4);
	ip_by_call = last.ip;
	return 0;
}

static int trace_nested(void *arg)
{
	const struct regmap_model model = {.size = sizeof(model), .read = read_inside};

	(void)arg;
	T_CHECK(!begin());
	T_CHECK(!regmap_device_attach(device, "P.ANY", &model, NULL));
	T_CHECK(!regmap_device_watch(device, watch, &seen));
	if (arg && regmap_patch(1))
		return 77;
	for (int i = 0; i < 8; i++) {
		site_load(at, 0);
		T_CHECK(ip_inside == (uintptr_t)site_store_site);
		T_CHECK(ip_by_call == 0);
		T_CHECK(last.ip == (uintptr_t)site_load_site);
	}
	return 0;
}

static void run(int (*body)(void *), void *arg)
{
	struct t_child child;

	t_child_run(&child, body, arg);
	if (t_fate(child.status) == -1 - 77)
		skip();
	if (t_fate(child.status))
		fail_msg("%s", child.text);
}

static void test_device_registers_site_is_known_at_faults(void **state)
{
	(void)state;
	run(trace_faults, NULL);
}

static void test_device_registers_site_is_known_at_patched_sites(void **state)
{
	(void)state;
	run(trace_patched, NULL);
}

static void test_device_registers_site_is_0_by_calls(void **state)
{
	(void)state;
	run(trace_calls, NULL);
}

static void test_device_registers_site_is_that_of_the_innermost_access(void **state)
{
	(void)state;
	run(trace_nested, NULL);
}

static void test_device_registers_site_is_that_of_the_innermost_patched_access(void **state)
{
	(void)state;
	run(trace_nested, state);
}

/* --- widths --- */

static int narrow_writes(void *arg)
{
	(void)arg;
	T_CHECK(!begin());
	for (int i = 0; i < 10; i++) {
		site_byte(at + 8 + 1, 0x55);
		site_store(at + 12, 0x12345678);
	}
	T_CHECK(site_load(at + 8, 0) == 0x5500);
	return 0;
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

static void test_device_registers_site_is_told_once_of_its_width(void **state)
{
	struct t_child child;

	(void)state;
	t_child_run(&child, narrow_writes, NULL);
	assert_int_equal(t_fate(child.status), 0);
	assert_int_equal(count(child.text, "\n"), 1);
	assert_non_null(
		strstr(child.text,
	               "regmap: 8-bit write to P.WORD (0x40000009) by the instruction at 0x"));
	assert_non_null(strstr(child.text, "(site_byte+0x"));
	assert_non_null(
		strstr(child.text, "it takes 32 bits, so bytes of what it meets were accessed"));
	assert_non_null(strstr(child.text, "-fstrict-volatile-bitfields"));
}

static int all_widths(void *arg)
{
	(void)arg;
	T_CHECK(!begin());
	site_store(at + 8, 0x11111111);
	site_store(at + 12, 0x22222222);
	T_CHECK(site_eight(at + 8, 0) == 0x2222222211111111);
	site_eight_store(at + 8, 0x4444444433333333);
	T_CHECK(site_load(at + 8, 0) == 0x33333333);
	T_CHECK(site_load(at + 12, 0) == 0x44444444);
	site_half(at + 12, 0x5555);
	T_CHECK(site_load(at + 12, 0) == 0x44445555);
	T_CHECK(site_byte_load(at + 8, 0) == 0x33);
	site_again(at + 24, 1);
	site_store(at + 28, 1);
	return 0;
}

static void test_device_registers_site_is_told_the_likely_cause(void **state)
{
	struct t_child child;

	(void)state;
	t_child_run(&child, all_widths, NULL);
	assert_int_equal(t_fate(child.status), 0);
	assert_int_equal(count(child.text, "\n"), 4);
	assert_int_equal(count(child.text, "64-bit read of P.WORD"), 1);
	assert_int_equal(count(child.text, "GCC reads a volatile bit-field with 8 bytes"), 1);
	assert_int_equal(count(child.text, "64-bit write to P.WORD"), 1);
	assert_int_equal(count(child.text, "make one access of two"), 2);
	assert_int_equal(count(child.text, "16-bit write to P.NEXT"), 1);
	assert_int_equal(count(child.text, "GCC writes a volatile bit-field with 1 or 2 bytes"), 1);
	assert_int_equal(count(child.text, "8-bit read of P.WORD"), 1);
	assert_int_equal(count(child.text, "memcpy() or memset() on registers"), 2);
	assert_int_equal(count(child.text, "P.FREE"), 0);
	assert_int_equal(count(child.text, "P.HALF"), 0);
}

static int silently(void *arg)
{
	setenv("REGMAP_REPORT", "0", 1);
	return narrow_writes(arg);
}

static void test_device_registers_site_is_told_nothing_if_so_wished(void **state)
{
	struct t_child child;

	(void)state;
	t_child_run(&child, silently, NULL);
	assert_int_equal(t_fate(child.status), 0);
	assert_string_equal(child.text, "");
}

static int refused(void *arg)
{
	(void)arg;
	T_CHECK(!begin());
	signal(SIGBUS, SIG_DFL); /* cmocka's */
	site_store(at + 16, 1);
	site_half(at + 16, 0);
	return 1;
}

static void test_device_registers_site_gets_a_bus_error_where_widths_are_strict(void **state)
{
	struct t_child child;

	(void)state;
	t_child_run(&child, refused, NULL);
	assert_int_equal(t_fate(child.status), SIGBUS);
	assert_non_null(strstr(child.text, "16-bit write to P.STRICT"));
	assert_non_null(strstr(child.text, "so this is a bus error"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device_registers_site_is_known_at_faults),
		cmocka_unit_test(test_device_registers_site_is_known_at_patched_sites),
		cmocka_unit_test(test_device_registers_site_is_0_by_calls),
		cmocka_unit_test(test_device_registers_site_is_that_of_the_innermost_access),
		cmocka_unit_test(
			test_device_registers_site_is_that_of_the_innermost_patched_access),
		cmocka_unit_test(test_device_registers_site_is_told_once_of_its_width),
		cmocka_unit_test(test_device_registers_site_is_told_the_likely_cause),
		cmocka_unit_test(test_device_registers_site_is_told_nothing_if_so_wished),
		cmocka_unit_test(
			test_device_registers_site_gets_a_bus_error_where_widths_are_strict),
	};

	return cmocka_run_group_tests_name("device_registers_site", tests, NULL, NULL);
}
