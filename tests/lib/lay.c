/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "lay.h"

int t_lay_host(const char *name, uint64_t guest, void *host, uint64_t length, unsigned access)
{
	struct regmap_config config = {
		.size = sizeof(config),
		.name = name,
		.guest = guest,
		.length = length,
		.access = access,
		.backing = REGMAP_HOST,
		.flags = REGMAP_TRAP,
		.host = host,
	};

	return regmap_map(&config, NULL);
}

int t_lay_device(const char *name, uint64_t guest, uint64_t length,
                 const struct regmap_device_ops *ops, void *ctx)
{
	struct regmap_config config = {
		.size = sizeof(config),
		.name = name,
		.guest = guest,
		.length = length,
		.access = REGMAP_READ | REGMAP_WRITE,
		.backing = REGMAP_DEVICE,
		.ops = ops,
		.ctx = ctx,
	};

	return regmap_map(&config, NULL);
}

const char *t_mapped_mode(uint64_t at)
{
	static char mode[8];
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long from, to;
	char line[512];

	if (!f)
		abort();
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) == 3 && from <= at && at < to)
			break;
	if (feof(f))
		mode[0] = 0;
	fclose(f);
	return mode;
}
