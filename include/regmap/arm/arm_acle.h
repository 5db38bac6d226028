/* SPDX-License-Identifier: MIT */
/**
 * What the newest CMSIS wants of <arm_acle.h>, for sources that <regmap/arm_host.h> brings to x86-64.
 *
 * Hints, barriers and special registers are the prelude's; arithmetic is C. Give the folder of this file
 * as -I: it comes before the one that Clang has, which refuses any target but Arm's.
 */
#ifndef REGMAP_ARM_ACLE_H
#define REGMAP_ARM_ACLE_H

#pragma GCC system_header

#include <stdint.h>

#include "../arm_host.h"

#define __dmb(option) __asm__ volatile("dmb %0" : : "i"(option) : "memory")
#define __dsb(option) __asm__ volatile("dsb %0" : : "i"(option) : "memory")
#define __isb(option) __asm__ volatile("isb %0" : : "i"(option) : "memory")
#define __nop() __asm__ volatile("nop")
#define __wfi() __asm__ volatile("wfi" : : : "memory")
#define __wfe() __asm__ volatile("wfe" : : : "memory")
#define __sev() __asm__ volatile("sev" : : : "memory")
#define __yield() __asm__ volatile("yield" : : : "memory")
#define __dbg(option) ((void)(option))

/* The register's name is a string literal: "primask". */
#define __arm_rsr(special) \
	__extension__({ \
		uint32_t regmap__value; \
		__asm__ volatile("mrs %0, " special : "=r"(regmap__value) : : "memory"); \
		regmap__value; \
	})
#define __arm_wsr(special, value) \
	__asm__ volatile("msr " special ", %0" : : "r"((uint32_t)(value)) : "memory")

#ifdef __cplusplus
extern "C" {
#endif

#define REGMAP__ACLE static __inline__ __attribute__((always_inline, unused))

REGMAP__ACLE uint32_t __ror(uint32_t value, uint32_t by)
{
	by &= 31;
	return by ? value >> by | value << (32 - by) : value;
}
REGMAP__ACLE uint64_t __rorll(uint64_t value, uint32_t by)
{
	by &= 63;
	return by ? value >> by | value << (64 - by) : value;
}
REGMAP__ACLE uint32_t __clz(uint32_t value)
{
	return value ? (uint32_t)__builtin_clz(value) : 32;
}
REGMAP__ACLE uint32_t __clzll(uint64_t value)
{
	return value ? (uint32_t)__builtin_clzll(value) : 64;
}
REGMAP__ACLE uint32_t __cls(uint32_t value)
{
	return __clz((value & 0x80000000u ? ~value : value) << 1 | 1);
}
REGMAP__ACLE uint32_t __rev(uint32_t value)
{
	return __builtin_bswap32(value);
}
REGMAP__ACLE uint64_t __revll(uint64_t value)
{
	return __builtin_bswap64(value);
}
REGMAP__ACLE uint32_t __rev16(uint32_t value)
{
	return (value & 0x00FF00FFu) << 8 | (value >> 8 & 0x00FF00FFu);
}
REGMAP__ACLE int16_t __revsh(int16_t value)
{
	return (int16_t)__builtin_bswap16((uint16_t)value);
}
REGMAP__ACLE uint32_t __rbit(uint32_t value)
{
	value = __builtin_bswap32(value);
	value = (value & 0x0F0F0F0Fu) << 4 | (value >> 4 & 0x0F0F0F0Fu);
	value = (value & 0x33333333u) << 2 | (value >> 2 & 0x33333333u);
	return (value & 0x55555555u) << 1 | (value >> 1 & 0x55555555u);
}

/* @bits: 1 to 32, of the result with its sign. */
REGMAP__ACLE int32_t __ssat(int32_t value, uint32_t bits)
{
	int64_t most = ((int64_t)1 << (bits - 1)) - 1;

	return value > most ? (int32_t)most : value < -most - 1 ? (int32_t)(-most - 1) : value;
}
/* @bits: 0 to 31. */
REGMAP__ACLE uint32_t __usat(int32_t value, uint32_t bits)
{
	int64_t most = ((int64_t)1 << bits) - 1;

	return value > most ? (uint32_t)most : value < 0 ? 0 : (uint32_t)value;
}
REGMAP__ACLE int32_t __qadd(int32_t a, int32_t b)
{
	int32_t sum;

	return __builtin_add_overflow(a, b, &sum) ? (a < 0 ? INT32_MIN : INT32_MAX) : sum;
}
REGMAP__ACLE int32_t __qsub(int32_t a, int32_t b)
{
	int32_t difference;

	return __builtin_sub_overflow(a, b, &difference) ? (a < 0 ? INT32_MIN : INT32_MAX) :
	                                                   difference;
}
REGMAP__ACLE int32_t __qdbl(int32_t a)
{
	return __qadd(a, a);
}

#undef REGMAP__ACLE

#ifdef __cplusplus
}
#endif

#endif
