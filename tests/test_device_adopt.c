/* SPDX-License-Identifier: MIT */
/* CFLAGS: -include regmap/arm_host.h */
/* LDLIBS: -no-pie -Wl,--section-start=.sram=0x20000000 -Wl,--section-start=.table=0x08004000 -Wl,--section-start=.regmap_far=0x7e9000000000 */
/* Sections of the program at the chip's addresses become the device's memory, and stacks lie there. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <regmap/firmware.h>

#include "child.h"

enum { FLASH = 0x08000000, SRAM = 0x20000000, SRAM_SIZE = 20 << 10, STACK_SIZE = 8 << 10 };

static uint8_t dma_buffer[64] __attribute__((section(".sram"))) = "from the program's file";
static uint8_t stack[STACK_SIZE] __attribute__((section(".sram"), aligned(16)));
static const uint16_t table[] __attribute__((section(".table"))) = {1, 2, 4, 8};

static struct regmap_layout *make_layout(uint64_t sram, const char *also)
{
	struct regmap_region flash = {.name = "Flash",
	                              .address = FLASH,
	                              .length = 128 << 10,
	                              .permissions = REGMAP_PERMIT_READ | REGMAP_PERMIT_EXECUTE,
	                              .type = REGMAP_REGION_FLASH,
	                              .erased = 0xFF,
	                              .flash_policy = REGMAP_FLASH_FAULT};
	struct regmap_region ram = {.name = "SRAM",
	                            .address = SRAM,
	                            .length = sram,
	                            .permissions = REGMAP_PERMIT_READ | REGMAP_PERMIT_WRITE,
	                            .type = REGMAP_REGION_RAM};
	struct regmap_region more = {.name = also,
	                             .address = (uintptr_t)&make_layout & -4096ul,
	                             .length = 4096,
	                             .permissions = REGMAP_PERMIT_READ | REGMAP_PERMIT_WRITE,
	                             .type = REGMAP_REGION_RAM};
	struct regmap_layout *layout;

	assert_int_equal(regmap_layout_new("part", &layout), 0);
	assert_int_equal(regmap_layout_add_region(layout, &flash, NULL), 0);
	assert_int_equal(regmap_layout_add_region(layout, &ram, NULL), 0);
	if (also)
		assert_int_equal(regmap_layout_add_region(layout, &more, NULL), 0);
	return layout;
}

static struct regmap_device *make_device(uint64_t sram, const char *also)
{
	struct regmap_layout *layout = make_layout(sram, also);
	struct regmap_device *device;
	struct regmap_error error = {.text = ""};

	if (regmap_device_from_layout(layout, &device, &error))
		fail_msg("%s", error.text);
	regmap_layout_free(layout);
	return device;
}

/* Each in a child: what has been adopted stays so. */
static void in_child(int (*body)(void *))
{
	struct t_child child;

	t_child_run(&child, body, NULL);
	if (t_fate(child.status))
		fail_msg("fate %d: %s", t_fate(child.status), child.text);
}

static int adopt(struct regmap_device *device)
{
	struct regmap_error error = {.text = ""};
	int err = regmap_device_adopt(device, &error);

	if (err)
		fprintf(stderr, "%s\n", error.text);
	return err;
}

static int check_same_bytes(void *arg)
{
	struct regmap_device *device = make_device(SRAM_SIZE, NULL);
	volatile uint8_t *bytes = dma_buffer;
	uint8_t copy[sizeof(dma_buffer)];

	(void)arg;
	bytes[40] = 77;
	T_CHECK((uintptr_t)dma_buffer - SRAM < SRAM_SIZE);
	T_CHECK(!adopt(device));
	T_CHECK(!strcmp((const char *)dma_buffer, "from the program's file"));
	T_CHECK(bytes[40] == 77);
	T_CHECK(!regmap_device_read(device, (uintptr_t)dma_buffer, copy, sizeof(copy)));
	T_CHECK(!memcmp(copy, dma_buffer, sizeof(copy)));
	T_CHECK(!regmap_device_write(device, (uintptr_t)dma_buffer, "by the device", 14));
	T_CHECK(!strcmp((const char *)bytes, "by the device"));
	bytes[1] = 'Y';
	T_CHECK(!regmap_device_read(device, (uintptr_t)dma_buffer, copy, 14));
	T_CHECK(!strcmp((const char *)copy, "bY the device"));
	return 0;
}

static void test_device_adopt_shares_bytes_with_the_device(void **state)
{
	(void)state;
	in_child(check_same_bytes);
}

static int check_rest(void *arg)
{
	struct regmap_device *device = make_device(SRAM_SIZE, NULL);
	volatile uint32_t *last = (volatile uint32_t *)(uintptr_t)(SRAM + SRAM_SIZE - 4);

	(void)arg;
	T_CHECK(!adopt(device));
	*last = 0x12345678;
	T_CHECK(*last == 0x12345678);
	/* Ordinary memory now: a system call reaches it. */
	T_CHECK(write(open("/dev/null", 1), (void *)last, 4) == 4);
	return 0;
}

static void test_device_adopt_maps_what_the_program_has_not(void **state)
{
	(void)state;
	in_child(check_rest);
}

static int check_flash(void *arg)
{
	struct regmap_device *device = make_device(SRAM_SIZE, NULL);
	const volatile uint16_t *t = table;
	uint16_t copy[4];

	(void)arg;
	T_CHECK(!adopt(device));
	T_CHECK((uintptr_t)t == FLASH + 0x4000);
	T_CHECK(t[0] == 1 && t[3] == 8);
	T_CHECK(!regmap_device_read(device, FLASH + 0x4000, copy, sizeof(copy)));
	T_CHECK(copy[2] == 4);
	T_CHECK(*(const volatile uint32_t *)(uintptr_t)FLASH == 0xFFFFFFFF);
	return 0;
}

static void test_device_adopt_takes_constants_into_flash(void **state)
{
	(void)state;
	in_child(check_flash);
}

static int check_code(void *arg)
{
	struct regmap_device *device = make_device(SRAM_SIZE, "Over code");
	struct regmap_error error = {.text = ""};
	uint8_t byte;

	(void)arg;
	T_CHECK(regmap_device_adopt(device, &error) == -EADDRINUSE);
	T_CHECK(strstr(error.text, "Over code"));
	T_CHECK(!strcmp((const char *)dma_buffer, "from the program's file"));
	T_CHECK(table[3] == 8);
	T_CHECK(regmap_read(SRAM, &byte, 1) == -EFAULT);
	return 0;
}

static void test_device_adopt_of_code_leaves_all_as_it_was(void **state)
{
	(void)state;
	in_child(check_code);
}

/* The program lies where this chip has memory: its constants and data are its own all the same. */
static int check_around_program(void *arg)
{
	struct regmap_region around = {.name = "Around",
	                               .address = 0x400000,
	                               .length = 16 << 20,
	                               .permissions = REGMAP_PERMIT_READ | REGMAP_PERMIT_WRITE,
	                               .type = *(enum regmap_region_type *)arg,
	                               .erased = 0xFF,
	                               .flash_policy = REGMAP_FLASH_FAULT};
	struct regmap_error error = {.text = ""};
	struct regmap_layout *layout;
	struct regmap_device *device;

	T_CHECK((uintptr_t)&layout > SRAM && (uintptr_t)&check_around_program < 0x1400000);
	T_CHECK(!regmap_layout_new("part", &layout));
	T_CHECK(!regmap_layout_add_region(layout, &around, NULL));
	T_CHECK(!regmap_device_from_layout(layout, &device, NULL));
	T_CHECK(regmap_device_adopt(device, &error) == -EADDRINUSE);
	T_CHECK(strstr(error.text, "Around"));
	return 0;
}

static void test_device_adopt_leaves_a_program_inside_a_region(void **state)
{
	static enum regmap_region_type types[] = {REGMAP_REGION_RAM, REGMAP_REGION_FLASH};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct t_child child;

		t_child_run(&child, check_around_program, &types[i]);
		if (t_fate(child.status))
			fail_msg("fate %d: %s", t_fate(child.status), child.text);
	}
}

/* A section that is longer than the chip's memory is not the device's to take. */
static int check_too_small(void *arg)
{
	struct regmap_device *device = make_device(4096, NULL);
	struct regmap_error error = {.text = ""};

	(void)arg;
	T_CHECK(regmap_device_adopt(device, &error) == -EADDRINUSE);
	T_CHECK(!strcmp((const char *)dma_buffer, "from the program's file"));
	return 0;
}

static void test_device_adopt_refuses_sections_longer_than_memory(void **state)
{
	(void)state;
	in_child(check_too_small);
}

/* --- stacks --- */

static int on_stack(void *arg)
{
	volatile int local = 5;
	uint32_t address = (uint32_t)(uintptr_t)&local;

	/* 32 bits are enough for it. */
	*(volatile int *)(uintptr_t)address = 7;
	*(uintptr_t *)arg = address;
	return local;
}

static int check_stack(void *arg)
{
	struct regmap_device *device = make_device(SRAM_SIZE, NULL);
	uintptr_t at = 0;
	int result = 0;

	(void)arg;
	T_CHECK(!adopt(device));
	T_CHECK(!regmap_run_on_stack(on_stack, &at, stack, sizeof(stack), &result));
	T_CHECK(result == 7);
	T_CHECK(at >= (uintptr_t)stack && at < (uintptr_t)stack + sizeof(stack));
	T_CHECK(!regmap_run_on_stack(on_stack, &at, stack, sizeof(stack), NULL));
	return 0;
}

static void test_device_adopt_runs_on_a_stack_in_sram(void **state)
{
	(void)state;
	in_child(check_stack);
}

static int answer(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	(void)width;
	*value = offset;
	return 0;
}

static int access_register(void *arg)
{
	(void)arg;
	return *(volatile uint32_t *)0x40021018;
}

static int check_access(void *arg)
{
	static const struct regmap_device_ops ops = {.read = answer};
	struct regmap_config c = {.size = sizeof(c),
	                          .guest = 0x40021000,
	                          .length = 4096,
	                          .access = REGMAP_READ,
	                          .backing = REGMAP_DEVICE,
	                          .ops = &ops};
	struct regmap_device *device = make_device(SRAM_SIZE, NULL);
	int result = 0;

	(void)arg;
	T_CHECK(!adopt(device));
	T_CHECK(!regmap_map(&c, NULL));
	memset(stack, 0xA5, sizeof(stack));
	T_CHECK(!regmap_run_on_stack(access_register, NULL, stack, sizeof(stack), &result));
	T_CHECK(result == 0x18);
	/* Where the kernel's frame and the handler would have been, nothing was. */
	for (unsigned i = 0; i < STACK_SIZE - 2048; i++)
		T_CHECK(stack[i] == 0xA5);
	return 0;
}

static void test_device_adopt_accesses_need_no_room_on_the_stack(void **state)
{
	(void)state;
	in_child(check_access);
}

static jmp_buf out;

static int jump_out(void *arg)
{
	(void)arg;
	longjmp(out, 3);
}

static int check_jump(void *arg)
{
	static volatile int jumped;

	(void)arg;
	jumped = setjmp(out);
	if (!jumped) {
		T_CHECK(!regmap_run_on_stack(jump_out, NULL, stack, sizeof(stack), NULL));
		return 1;
	}
	T_CHECK(jumped == 3);
	return 0;
}

static void test_device_adopt_stack_may_be_left_by_longjmp(void **state)
{
	(void)state;
	in_child(check_jump);
}

static void test_device_adopt_refuses_wrong_arguments(void **state)
{
	struct regmap_error error;

	(void)state;
	assert_int_equal(regmap_run_on_stack(NULL, NULL, stack, sizeof(stack), NULL), -EINVAL);
	assert_int_equal(regmap_run_on_stack(on_stack, NULL, NULL, 8192, NULL), -EINVAL);
	assert_int_equal(regmap_run_on_stack(on_stack, NULL, stack, 4095, NULL), -EINVAL);
	assert_int_equal(regmap_device_adopt(NULL, &error), -EINVAL);
}

/* The heap begins behind the program, which the linker's flags have made end far away. */
static void test_device_adopt_heap_is_far_from_windows(void **state)
{
	(void)state;
	assert_true((uintptr_t)sbrk(0) > 0x7e9000000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device_adopt_shares_bytes_with_the_device),
		cmocka_unit_test(test_device_adopt_maps_what_the_program_has_not),
		cmocka_unit_test(test_device_adopt_takes_constants_into_flash),
		cmocka_unit_test(test_device_adopt_of_code_leaves_all_as_it_was),
		cmocka_unit_test(test_device_adopt_leaves_a_program_inside_a_region),
		cmocka_unit_test(test_device_adopt_refuses_sections_longer_than_memory),
		cmocka_unit_test(test_device_adopt_runs_on_a_stack_in_sram),
		cmocka_unit_test(test_device_adopt_accesses_need_no_room_on_the_stack),
		cmocka_unit_test(test_device_adopt_stack_may_be_left_by_longjmp),
		cmocka_unit_test(test_device_adopt_refuses_wrong_arguments),
		cmocka_unit_test(test_device_adopt_heap_is_far_from_windows),
	};

	return cmocka_run_group_tests_name("device_adopt", tests, NULL, NULL);
}
