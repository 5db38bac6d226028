/* SPDX-License-Identifier: MIT */
/* A device model: callbacks. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "../arch/x86_64/context.h"
#include "access.h"
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

enum { NO_ERRNO = INT_MIN };

/* A thread without libc, or with an FS base of its own, has none. */
static int get_errno(void)
{
	return regmap__tls_works() ? errno : NO_ERRNO;
}

static void set_errno(int saved)
{
	if (saved != NO_ERRNO)
		errno = saved;
}

/* Whatever the callback makes of the sign. */
int regmap__device_error(int err)
{
	if (err > 0)
		return -err;
	return err == INT_MIN ? -INT_MAX : err;
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

/*
 * The callback is the program's: it may set errno, which the interrupted program is not to notice,
 * and may even take its own window away.
 */
static int device_read(const struct access *at, struct window_bus *bus, void *to)
{
	const struct regmap_window *w = at->window;
	uint64_t offset = at->address - window_start(w), value = 0;
	int saved = get_errno(), err;

	(void)bus;
	err = w->device.ops->read(w->device.ctx, offset, (unsigned)at->length, &value);
	set_errno(saved);
	move(to, &value, at->length);
	return regmap__device_error(err);
}

int regmap__device_write(const struct access *at, struct window_bus *bus, const void *from)
{
	const struct regmap_window *w = at->window;
	uint64_t offset = at->address - window_start(w), value = 0;
	int saved = get_errno(), err;

	(void)bus;
	move(&value, from, at->length);
	err = w->device.ops->write(w->device.ctx, offset, (unsigned)at->length, value);
	set_errno(saved);
	return regmap__device_error(err);
}

const struct backing_ops regmap__backing_device = {
	.name = "device",
	.create = device_create,
	.refuses = device_refuses,
	.piece = regmap__device_piece,
	.read = device_read,
	.write = regmap__device_write,
};
