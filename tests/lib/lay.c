/* SPDX-License-Identifier: MIT */
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
