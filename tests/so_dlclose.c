/* SPDX-License-Identifier: MIT */
/* LDLIBS: -ldl */
/* The shared library, loaded and closed while its windows stand: it stays. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <regmap/regmap.h>

#define WINDOW 0x31000000ULL

static int count(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)offset, (void)width;
	*value = ++*(unsigned *)ctx;
	return 0;
}

static void test_dlclose_leaves_windows(void **state)
{
	static const struct regmap_device_ops ops = {.read = count};
	static unsigned reads;
	const struct regmap_config config = {.size = sizeof(config),
	                                     .guest = WINDOW,
	                                     .length = 8,
	                                     .access = REGMAP_READ,
	                                     .backing = REGMAP_DEVICE,
	                                     .ops = &ops,
	                                     .ctx = &reads};
	void *library = dlopen("libregmap.so.0", RTLD_NOW | RTLD_LOCAL);
	int (*map)(const struct regmap_config *, struct regmap_window **);
	int (*unmap)(struct regmap_window *);
	struct regmap_window *window;

	(void)state;
	if (strcmp(getenv("TEST_MODE") ? getenv("TEST_MODE") : "rel", "rel"))
		skip(); /* a sanitizer's dlopen() looks in other folders */
	if (!library)
		print_error("%s\n", dlerror());
	assert_non_null(library);
	*(void **)&map = dlsym(library, "regmap_map");
	*(void **)&unmap = dlsym(library, "regmap_unmap");
	assert_int_equal(map(&config, &window), 0);
	assert_int_equal(*(volatile uint32_t *)(uintptr_t)WINDOW, 1);
	assert_int_equal(dlclose(library), 0);
	assert_non_null(dlopen("libregmap.so.0", RTLD_NOW | RTLD_NOLOAD));
	assert_int_equal(*(volatile uint32_t *)(uintptr_t)WINDOW, 2);
	assert_int_equal(unmap(window), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_dlclose_leaves_windows)};

	return cmocka_run_group_tests_name("dlclose", tests, NULL, NULL);
}
