/* SPDX-License-Identifier: MIT */
/*
 * A device whose registers may be read without its model: RAM to those who read, a device to those
 * who write. Its memory is shown at guest addresses for reading alone, so stores trap.
 */
#include <errno.h>
#include <string.h>

#include "../arch/x86_64/guard.h"
#include "access.h"
#include "sigsafe.h"

static int readable_create(struct regmap_window *w, const struct regmap_config *config)
{
	w->device.ops = config->ops;
	w->device.ctx = config->ctx;
	return regmap__ram_create(w, config);
}

static int readable_refuses(const struct regmap_window *w, unsigned access)
{
	bool write = (access & REGMAP_WRITE) && (!w->device.ops || !w->device.ops->write);

	return write ? -EACCES : 0;
}

/* For who has looked it up in order to write, and reads first. */
static int readable_read(const struct access *at, struct window_bus *bus, void *to)
{
	struct cpu_trap trap;

	(void)bus;
	return regmap__guard_copy(to, (const void *)window_place(at->window, at->address),
	                          at->length, &trap) ?
	               -EFAULT :
	               0;
}

static int readable_attach(const struct regmap_window *w, uint64_t from, uint64_t bytes,
                           uint64_t guest, unsigned access)
{
	return regmap__ram_attach(w, from, bytes, guest, access & ~(unsigned)REGMAP_WRITE);
}

const struct backing_ops regmap__backing_readable = {
	.name = "device",
	.maps_memory = true,
	.create = readable_create,
	.destroy = regmap__ram_destroy,
	.host = true,
	.refuses = readable_refuses,
	.piece = regmap__device_piece,
	.read = readable_read,
	.write = regmap__device_write,
	.attach = readable_attach,
};
