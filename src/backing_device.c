/* SPDX-License-Identifier: MIT */
/* A device model: callbacks. */
#include <errno.h>
#include <string.h>

#include "device.h"
#include "sigsafe.h"

/* regmap_map() has looked at the operations, which it does without the map lock. */
static int device_create(struct regmap_window *w, const struct regmap_config *config)
{
	w->device.ops = config->ops;
	w->device.ctx = config->ctx;
	return 0;
}

static int device_refuses(const struct regmap_window *w, unsigned access)
{
	bool read = (access & REGMAP_READ) && !w->device.ops->read;
	bool write = (access & REGMAP_WRITE) && !w->device.ops->write;

	return read || write ? -EACCES : 0;
}

/* The first naturally aligned piece of a range. */
size_t regmap__device_piece(uint64_t address, size_t length)
{
	size_t width = 8;

	while (width > length || address % width)
		width /= 2;
	return width;
}

/* 1, 2, 4 or 8 bytes. */
static void move(void *to, const void *from, size_t width)
{
	switch (width) {
	case 1: memcpy(to, from, 1); break;
	case 2: memcpy(to, from, 2); break;
	case 4: memcpy(to, from, 4); break;
	default: memcpy(to, from, 8);
	}
}

static int device_read(const struct access *at, struct window_bus *bus, void *to)
{
	uint64_t value = 0;
	int err;

	(void)bus;
	err = device_call_read(at, &value);
	move(to, &value, at->length);
	return err;
}

int regmap__device_write(const struct access *at, struct window_bus *bus, const void *from)
{
	uint64_t value = 0;

	(void)bus;
	move(&value, from, at->length);
	return device_call_write(at, value);
}

const struct backing_ops regmap__backing_device = {
	.name = "device",
	.create = device_create,
	.refuses = device_refuses,
	.piece = regmap__device_piece,
	.read = device_read,
	.write = regmap__device_write,
};
