/* SPDX-License-Identifier: MIT */
/* Patched code in a library that is loaded, unloaded and loaded again, by libregmap as a library. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include <regmap/regmap.h>

#define WINDOW 0xffff900000000000ULL

typedef uint64_t (*read_fn)(uint64_t);

static uint64_t memory[512];

static void *load(void)
{
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 32);
	void *plugin;

	assert_true(length > 0);
	path[length] = 0;
	strcpy(strrchr(path, '/') + 1, "plugin_patch.so");
	plugin = dlopen(path, RTLD_NOW);
	assert_non_null(plugin);
	return plugin;
}

static void test_patch_follows_libraries(void **state)
{
	struct regmap_config c = {.size = sizeof(c),
	                          .guest = WINDOW,
	                          .length = sizeof(memory),
	                          .access = REGMAP_READ | REGMAP_WRITE,
	                          .backing = REGMAP_HOST,
	                          .host = memory};

	(void)state;
	assert_int_equal(regmap_map(&c, NULL), 0);
	assert_int_equal(regmap_patch(2), 0);
	for (unsigned turn = 0; turn < 5; turn++) {
		void *plugin = load();
		read_fn read = (read_fn)(uintptr_t)dlsym(plugin, "plugin_read");
		const uint8_t *site = dlsym(plugin, "plugin_site");

		assert_int_equal(site[0], 0x48);
		for (unsigned n = 0; n < 20; n++) {
			memory[32] = n + turn * 100;
			assert_int_equal(read(WINDOW), n + turn * 100);
		}
		assert_int_equal(regmap_patch_site(site), 1);
		assert_int_equal(site[0], 0xe9);
		if (turn == 3) {
			assert_int_equal(regmap_patch(0), 0);
			assert_int_equal(site[0], 0x48);
			assert_int_equal(regmap_patch(2), 0);
		}
		assert_int_equal(dlclose(plugin), 0);
	}
	assert_int_equal(regmap_patch(0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_patch_follows_libraries)};

	return cmocka_run_group_tests_name("so_patch", tests, NULL, NULL);
}
