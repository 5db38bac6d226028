/* SPDX-License-Identifier: MIT */
/**
 * Firmware whose buffers and stack lie where the chip has its memory.
 *
 * A register of 32 bits that holds an address, of a DMA buffer or a descriptor, means something on the
 * host only if the buffer lies below 4 GB; drivers that check for it want it at the chip's own
 * addresses. So the linker places sections there (regmap-firmware.mk says how), and a device takes them
 * over as its memory. docs/firmware.md leads through it.
 */
#ifndef REGMAP_FIRMWARE_H
#define REGMAP_FIRMWARE_H

#include <regmap/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * regmap_device_adopt() - Map a device at its own addresses, over what the linker has placed there.
 *
 * Whole pages of the program's own segments that lie in the device's RAM, and of those without
 * write permission that lie in its flash, ROM or storage, become the device's: their bytes are copied into it,
 * and its memory is mapped where they were. Variables, constants and stacks in such sections stay where they are
 * and keep their values; regmap_device_read(), a model that plays DMA, and the program see the same
 * bytes. All else is as by regmap_device_map() with offset 0, which this is if there are no such sections.
 *
 * No other thread may access these sections meanwhile, and the caller's stack must not lie in one.
 *
 * Return: as regmap_device_map(); -EADDRINUSE, too, for a segment that holds code. On an error, the
 *         sections are as before, and nothing is mapped.
 * Context: MT-Unsafe as said. AS-Unsafe (allocates). Not from a callback.
 * Since: 0.2
 */
REGMAP_API int regmap_device_adopt(struct regmap_device *device,
                                   struct regmap_error *error) REGMAP_MUST_CHECK;

/**
 * regmap_run_on_stack() - Call a function on a stack of your own.
 * @run:   called with @arg; what it returns goes to @result, which may be NULL.
 * @stack: lowest byte of @size bytes, at least 4096.
 *
 * Local variables of @run and what it calls then have addresses in @stack. The thread gets an alternate
 * signal stack if it has none, so that accesses to registers need no room on this one. @run may leave by longjmp(), as a
 * failing assertion does.
 *
 * Return: 0; -EINVAL a NULL @run or @stack, or a @size that is too small; what regmap_signal_stacks() says.
 * Context: MT-Safe. AS-Unsafe. From a callback, too.
 * Since: 0.2
 */
REGMAP_API int regmap_run_on_stack(int (*run)(void *arg), void *arg, void *stack, size_t size,
                                   int *result) REGMAP_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
