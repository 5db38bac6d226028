/* SPDX-License-Identifier: MIT */
/*
 * Memory of the program's, wherever it has it. Always trapped: moving it would take it from the
 * program.
 */
#include <errno.h>

#include "table.h"

#include "sigsafe.h"

static int host_create(struct regmap_window *w, const struct regmap_config *config)
{
	uintptr_t first = (uintptr_t)config->host;

	if (!first || first + (config->length - 1) < first)
		return -EINVAL;
	atomic_store_explicit(&w->base, first, memory_order_release);
	return 0;
}

const struct backing_ops regmap__backing_host = {
	.name = "host memory",
	.create = host_create,
	.host = true,
};
