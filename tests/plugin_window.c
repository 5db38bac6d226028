/* SPDX-License-Identifier: MIT */
/* A plugin that depends on libregmap, as a model of some hardware would. */
#include <regmap/regmap.h>
#include <stddef.h>

int plugin_map(uint64_t guest, void *host, size_t length)
{
	struct regmap_config config = {
		.size = sizeof(config),
		.name = "plugin",
		.guest = guest,
		.length = length,
		.access = REGMAP_READ | REGMAP_WRITE,
		.backing = REGMAP_HOST,
		.host = host,
	};

	return regmap_map(&config, NULL);
}
