/* SPDX-License-Identifier: MIT */
/* One system call of syscalls.def, on buffers of ours in the place of those in windows. */
#ifndef SRC_TRANSFER_H
#define SRC_TRANSFER_H

#include "../arch/x86_64/calls.h"

/*
 * Is there an argument that the kernel can't reach and we can, and can all of them be reached? Then
 * make the call: true. Otherwise the kernel knows best what to say to it. @result: also -EFAULT
 * from a device that refused, -ENOMEM.
 */
bool regmap__transfer(const struct call *call, long *result);

/*
 * Which argument points to a signal set that the call is to use for a while, and how (0: none).
 * Nothing is looked at behind the pointers.
 */
enum { MASK_NONE, MASK_PLAIN, MASK_IN_PAIR };
unsigned regmap__transfer_mask(uint64_t number, unsigned *argument);

#endif
