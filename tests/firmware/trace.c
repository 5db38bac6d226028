/* SPDX-License-Identifier: MIT */
/*
 * The firmware on a described chip, linked with the library: each access to a register on a line. Other
 * compilers and levels of optimisation must say the same.
 */
#include <stdio.h>

#include <regmap/firmware.h>

int firmware_main(void);

static FILE *out;

static void show(void *ctx, struct regmap_device *device, const struct regmap_device_access *access)
{
	char name[64];

	(void)ctx;
	fprintf(out, "%c%u %s 0x%llx%s\n", access->is_write ? 'W' : 'R', access->width,
	        regmap_layout_describe(regmap_device_layout(device), access->address, name,
	                               sizeof(name)),
	        (unsigned long long)access->value, access->error ? " failed" : "");
}

int main(int argc, char **argv)
{
	struct regmap_device *device;
	struct regmap_error error;
	int failed;

	out = argc > 2 ? fopen(argv[2], "w") : stdout;
	if (!out || argc < 2 || regmap_device_from_template(argv[1], &device, &error) ||
	    regmap_device_adopt(device, &error)) {
		fprintf(stderr, "trace: %s\n", argc < 2 ? "which template?" : error.text);
		return 2;
	}
	regmap_device_watch(device, show, NULL);
	failed = firmware_main();
	regmap_device_watch(device, NULL, NULL);
	regmap_device_free(device);
	if (fclose(out))
		return 2;
	return failed;
}
