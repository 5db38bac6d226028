/* SPDX-License-Identifier: MIT */
/* One call of a device's callback. */
#ifndef SRC_DEVICE_H
#define SRC_DEVICE_H

#include <limits.h>

#include "access.h"

/* Whatever the callback makes of the sign. */
static inline int device_error(int err)
{
	if (err > 0)
		return -err;
	return err == INT_MIN ? -INT_MAX : err;
}

/*
 * The callback is the program's: it may set errno, which the interrupted program is not to notice,
 * and may even take its own window away. @at: one piece, and access_note_thread() has been
 * called. 0 or -errno.
 */
static inline int device_call_read(const struct access *at, uint64_t *value)
{
	const struct regmap_window *w = at->window;
	int saved = at->error_number ? *at->error_number : 0, err;

	err = w->device.ops->read(w->device.ctx, at->address - window_start(w),
	                          (unsigned)at->length, value);
	if (at->error_number)
		*at->error_number = saved;
	return device_error(err);
}

static inline int device_call_write(const struct access *at, uint64_t value)
{
	const struct regmap_window *w = at->window;
	int saved = at->error_number ? *at->error_number : 0, err;

	err = w->device.ops->write(w->device.ctx, at->address - window_start(w),
	                           (unsigned)at->length, value);
	if (at->error_number)
		*at->error_number = saved;
	return device_error(err);
}

#endif
