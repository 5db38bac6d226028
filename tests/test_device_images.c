/* SPDX-License-Identifier: MIT */
/* Images into devices and out of them. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chip.h"

enum { KB = 1024, MB = 1024 * KB };

#define SRAM 0x20000000
#define FLASH 0x08000000

static char folder[] = "/tmp/regmap-images-XXXXXX";

static const char *file(const char *name)
{
	static char path[4][128];
	static unsigned next;

	next = (next + 1) % 4;
	snprintf(path[next], sizeof(path[next]), "%s/%s", folder, name);
	return path[next];
}

static const char *put(const char *name, const void *bytes, size_t length)
{
	const char *path = file(name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, length, f), length);
	fclose(f);
	return path;
}

static const char *put_text(const char *name, const char *text)
{
	return put(name, text, strlen(text));
}

static struct regmap_device *chip(void)
{
	return T_CHIP(T_REGION(FLASH, "Flash", FLASH, 4 * KB, T_R),
	              T_REGION(ROM, "ROM", FLASH + 4 * KB, KB, T_R),
	              T_REGION(STORAGE, "OTP", FLASH + 5 * KB, KB, T_RW, .program_once = true),
	              T_RAM("SRAM", SRAM, 4 * KB), T_REGION(MMIO, "APB", SRAM + 4 * KB, KB, T_RW),
	              T_REGION(ALIAS, "boot", 0, 4 * KB, T_R, .target = FLASH));
}

static int load(struct regmap_device *d, uint64_t guest, const char *path,
                struct regmap_error *error)
{
	return regmap_device_load_file(d, guest, path, REGMAP_IMAGE_AUTO, NULL, error);
}

/* ---- in ---- */

static void test_images_raw_goes_where_it_is_told(void **state)
{
	struct regmap_device *d = chip();
	uint8_t back[8];

	(void)state;
	assert_int_equal(load(d, SRAM + 3, put("a.bin", "\1\2\3\4\5", 5), NULL), 0);
	assert_int_equal(regmap_device_read(d, SRAM + 2, back, 7), 0);
	assert_memory_equal(back, "\0\1\2\3\4\5\0", 7);
	regmap_device_free(d);
}

/* Flash of the policy "fault", ROM, memory that can be programmed once. */
static void test_images_go_into_all_memory(void **state)
{
	struct regmap_device *d = chip();
	uint8_t bytes[6 * KB], back[6 * KB];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i % 251);
	assert_int_equal(load(d, FLASH, put("a.bin", bytes, sizeof(bytes)), NULL), 0);
	assert_int_equal(regmap_device_read(d, FLASH, back, sizeof(back)), 0);
	assert_memory_equal(back, bytes, sizeof(bytes));
	memset(bytes, 0xff, sizeof(bytes)); /* also back to the erased state */
	assert_int_equal(load(d, FLASH, put("a.bin", bytes, sizeof(bytes)), NULL), 0);
	assert_int_equal(t_get(d, FLASH + 5 * KB), 0xffffffff);
	regmap_device_free(d);
}

static void test_images_go_through_aliases(void **state)
{
	struct regmap_device *d = chip();

	(void)state;
	assert_int_equal(load(d, 16, put("a.bin", "\1\2\3\4", 4), NULL), 0);
	assert_int_equal(t_get(d, FLASH + 16), 0x04030201);
	regmap_device_free(d);
}

static void test_images_go_into_reversed_words(void **state)
{
	struct regmap_device *d = T_CHIP(T_RAM("D", SRAM, KB),
	                                 T_REGION(REVERSED, "I", SRAM + MB, KB, T_RW,
	                                          .target = SRAM, .widths = 4));

	(void)state;
	assert_int_equal(load(d, SRAM + MB, put("a.bin", "\1\2\3\4\5\6\7\10", 8), NULL), 0);
	assert_int_equal(t_get(d, SRAM + KB - 4), 0x04030201);
	assert_int_equal(t_get(d, SRAM + KB - 8), 0x08070605);
	regmap_device_free(d);
}

static void test_images_that_lie_in_nothing_load_nothing(void **state)
{
	struct regmap_device *d = chip();
	static uint8_t bytes[7 * KB];
	struct regmap_error error;

	(void)state;
	memset(bytes, 1, sizeof(bytes));
	assert_int_equal(load(d, FLASH, put("a.bin", bytes, sizeof(bytes)), &error), -EFAULT);
	assert_non_null(strstr(error.text, "a.bin"));
	assert_non_null(strstr(error.text, "0x8001800"));
	assert_int_equal(t_get(d, FLASH), 0xffffffff);
	assert_int_equal(load(d, SRAM + 4 * KB - 4, put("a.bin", bytes, 8), &error), -EFAULT);
	assert_non_null(strstr(error.text, "no memory"));
	assert_int_equal(t_get(d, SRAM + 4 * KB - 4), 0);
	regmap_device_free(d);
}

static void test_images_hex_has_its_own_addresses(void **state)
{
	struct regmap_device *d = chip();
	uint64_t entry = 0;

	(void)state;
	put_text("a.hex",
	         ":020000042000DA\n:0400100001020304E2\n:0400000520000011C6\n:00000001FF\n");
	assert_int_equal(regmap_device_load_file(d, 0, file("a.hex"), REGMAP_IMAGE_AUTO, &entry,
	                                         NULL),
	                 0);
	assert_int_equal(t_get(d, SRAM + 0x10), 0x04030201);
	assert_int_equal(entry, 0x20000011);
	assert_int_equal(load(d, 0x100, file("a.hex"), NULL), 0);
	assert_int_equal(t_get(d, SRAM + 0x110), 0x04030201);
	regmap_device_free(d);
}

static void test_images_wrong_load_nothing(void **state)
{
	struct regmap_device *d = chip();
	struct regmap_error error;

	(void)state;
	put_text("a.hex", ":020000042000DA\n:0400100001020304E2\n:0400100001020304FF\n");
	assert_int_equal(load(d, 0, file("a.hex"), &error), -EINVAL);
	assert_non_null(strstr(error.text, "a.hex:3"));
	assert_int_equal(t_get(d, SRAM + 0x10), 0);
	regmap_device_free(d);
}

static void test_images_say_why_a_file_cant_be_read(void **state)
{
	struct regmap_device *d = chip();
	struct regmap_error error;

	(void)state;
	assert_int_equal(load(d, SRAM, file("none"), &error), -ENOENT);
	assert_non_null(strstr(error.text, "none"));
	assert_int_equal(load(d, SRAM, folder, &error), -EISDIR);
	assert_int_equal(load(d, SRAM, NULL, &error), -EINVAL);
	regmap_device_free(d);
}

static void test_images_leave_errno_alone(void **state)
{
	struct regmap_device *d = chip();

	(void)state;
	errno = 7;
	assert_int_equal(load(d, SRAM, file("none"), NULL), -ENOENT);
	assert_int_equal(errno, 7);
	regmap_device_free(d);
}

/* ---- first content ---- */

static void test_images_are_a_regions_first_content(void **state)
{
	const char *path = put("content.bin", "\1\2\3\4", 4);
	struct regmap_device *d = T_CHIP(T_REGION(ROM, "ROM", FLASH, KB, T_R, .content = path),
	                                 T_REGION(RAM, "SRAM", SRAM, KB, T_RW,
	                                          .content = "content.bin",
	                                          .source = {file("board.toml"), 1, 1}));

	(void)state;
	assert_int_equal(t_get(d, FLASH), 0x04030201);
	assert_int_equal(t_get(d, SRAM), 0x04030201);
	assert_int_equal(t_chip_put(d, SRAM, 0), 0);
	assert_int_equal(regmap_device_reset(d, true), 0);
	assert_int_equal(t_get(d, SRAM), 0x04030201);
	regmap_device_free(d);
}

static void test_images_with_addresses_are_content_there(void **state)
{
	const char *path = put_text("c.hex", ":020000042000DA\n:0400100001020304E2\n:00000001FF\n");
	struct regmap_device *d = T_CHIP(T_RAM("SRAM", SRAM, KB, .content = path));

	(void)state;
	assert_int_equal(t_get(d, SRAM + 0x10), 0x04030201);
	regmap_device_free(d);
}

/* ---- out ---- */

static void save_and_load(const char *name)
{
	struct regmap_device *d = chip(), *e = chip();
	uint8_t a[2 * KB], b[2 * KB];

	for (size_t i = 0; i < sizeof(a); i++)
		a[i] = (uint8_t)(i * 31 >> 2);
	assert_int_equal(regmap_device_write(d, SRAM + 8, a, sizeof(a)), 0);
	assert_int_equal(regmap_device_save_file(d, SRAM + 8, sizeof(a), file(name),
	                                         REGMAP_IMAGE_AUTO, NULL),
	                 0);
	assert_int_equal(load(e, strstr(name, ".bin") ? SRAM + 8 : 0, file(name), NULL), 0);
	assert_int_equal(regmap_device_read(e, SRAM + 8, b, sizeof(b)), 0);
	assert_memory_equal(a, b, sizeof(a));
	regmap_device_free(d);
	regmap_device_free(e);
}

static void test_images_are_saved_and_loaded_again(void **state)
{
	(void)state;
	save_and_load("s.bin");
	save_and_load("s.hex");
	save_and_load("s.srec");
	save_and_load("s.S19");
}

static void test_images_of_untouched_flash_are_erased(void **state)
{
	struct regmap_device *d = T_CHIP(T_REGION(FLASH, "Flash", FLASH, 64 * MB, T_R));
	static uint8_t bytes[5 * MB];
	FILE *f;

	(void)state;
	assert_int_equal(regmap_device_save_file(d, FLASH + MB, sizeof(bytes), file("f.bin"),
	                                         REGMAP_IMAGE_RAW, NULL),
	                 0);
	f = fopen(file("f.bin"), "r");
	assert_non_null(f);
	assert_int_equal(fread(bytes, 1, sizeof(bytes), f), sizeof(bytes));
	assert_int_equal(fgetc(f), EOF);
	fclose(f);
	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 0xff);
	regmap_device_free(d);
}

static void test_images_that_cant_be_saved_leave_no_file(void **state)
{
	struct regmap_device *d = chip();
	struct regmap_error error;

	(void)state;
	assert_int_equal(regmap_device_save_file(d, SRAM, 5 * KB, file("x.bin"), REGMAP_IMAGE_AUTO,
	                                         &error),
	                 -EFAULT);
	assert_non_null(strstr(error.text, "APB"));
	assert_int_equal(access(file("x.bin"), F_OK), -1);
	assert_int_equal(regmap_device_save_file(d, SRAM, KB, file("x.elf"), REGMAP_IMAGE_AUTO,
	                                         &error),
	                 -EINVAL);
	assert_int_equal(access(file("x.elf"), F_OK), -1);
	assert_int_equal(regmap_device_save_file(d, SRAM, KB, file("no/x.bin"), REGMAP_IMAGE_AUTO,
	                                         &error),
	                 -ENOENT);
	assert_non_null(strstr(error.text, "no/x.bin"));
	assert_int_equal(regmap_device_save_file(d, SRAM, KB, "/dev/full", REGMAP_IMAGE_AUTO,
	                                         &error),
	                 -ENOSPC);
	assert_int_equal(access("/dev/full", F_OK), 0);
	regmap_device_free(d);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

int main(void)
{
#define T(name) cmocka_unit_test(test_images_##name)
	static const struct CMUnitTest tests[] = {
		T(raw_goes_where_it_is_told),
		T(go_into_all_memory),
		T(go_through_aliases),
		T(go_into_reversed_words),
		T(that_lie_in_nothing_load_nothing),
		T(hex_has_its_own_addresses),
		T(wrong_load_nothing),
		T(say_why_a_file_cant_be_read),
		T(leave_errno_alone),
		T(are_a_regions_first_content),
		T(with_addresses_are_content_there),
		T(are_saved_and_loaded_again),
		T(of_untouched_flash_are_erased),
		T(that_cant_be_saved_leave_no_file),
	};

	return cmocka_run_group_tests_name("device_images", tests, make_folder, remove_folder);
}
