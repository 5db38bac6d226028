/* SPDX-License-Identifier: MIT */
/* The map of a layout as a table for people. */
#include <errno.h>
#include <inttypes.h>

#include "layout.h"

int regmap_layout_print_map(const struct regmap_layout *layout, FILE *to)
{
	for (size_t i = 0; i < layout->region_count; i++)
		fprintf(to, "0x%08" PRIx64 " %s\n", layout->regions[i]->address,
		        layout->regions[i]->name);
	return ferror(to) ? -EIO : 0;
}
