/* SPDX-License-Identifier: MIT */
/* A device for programs that know nothing of libregmap. See run.sh. */
#include <regmap/regmap.h>
#include <stdio.h>

static int seconds(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	static uint32_t now = 1000;

	(void)ctx, (void)width;
	*value = now++ >> offset * 8;
	return 0;
}

static const struct regmap_device_ops rtc = {.read = seconds};

__attribute__((constructor)) static void lay(void)
{
	struct regmap_config c = {.size = sizeof(c),
	                          .name = "RTC",
	                          .guest = 0x40002818,
	                          .length = 4,
	                          .access = REGMAP_READ,
	                          .backing = REGMAP_DEVICE,
	                          .ops = &rtc};
	int err = regmap_map(&c, NULL);

	if (err)
		fprintf(stderr, "shim: %s\n", regmap_strerror(err));
}
