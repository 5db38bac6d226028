/* SPDX-License-Identifier: MIT */
/*
 * What a vendor's core header has: inline assembly for a Cortex-M, in the forms that are in use. Nothing in here
 * knows that it is compiled for anything else.
 */
#ifndef FIRMWARE_CORE_H
#define FIRMWARE_CORE_H

#include <stdint.h>

#define CORE_INLINE __attribute__((always_inline)) static inline

CORE_INLINE void __enable_irq(void)
{
	__asm volatile("cpsie i" : : : "memory");
}
CORE_INLINE void __disable_irq(void)
{
	__asm volatile("cpsid i" : : : "memory");
}
CORE_INLINE void __enable_fault_irq(void)
{
	__asm volatile("cpsie f" : : : "memory");
}
CORE_INLINE void __disable_fault_irq(void)
{
	__asm volatile("cpsid f" : : : "memory");
}

#define CORE_SPECIAL(function, name) \
	CORE_INLINE uint32_t __get_##function(void) \
	{ \
		uint32_t result; \
\
		__asm volatile("MRS %0, " #name : "=r"(result)); \
		return result; \
	} \
	CORE_INLINE void __set_##function(uint32_t value) \
	{ \
		__asm volatile("MSR " #name ", %0" : : "r"(value) : "memory"); \
	}
CORE_SPECIAL(PRIMASK, primask)
CORE_SPECIAL(BASEPRI, basepri)
CORE_SPECIAL(BASEPRI_MAX, basepri_max)
CORE_SPECIAL(FAULTMASK, faultmask)
CORE_SPECIAL(CONTROL, control)
CORE_SPECIAL(MSP, msp)
CORE_SPECIAL(PSP, psp)
CORE_SPECIAL(IPSR, ipsr)
CORE_SPECIAL(APSR, apsr)
CORE_SPECIAL(xPSR, xpsr)

#define __NOP() __asm volatile("nop")
#define __WFI() __asm volatile("wfi" : : : "memory")
#define __WFE() __asm volatile("wfe" : : : "memory")
#define __SEV() __asm volatile("sev")
#define __SVC(number) __asm volatile("svc %0" : : "I"(number) : "memory")
#define __BKPT(number) __asm volatile("bkpt " #number)

CORE_INLINE void __ISB(void)
{
	__asm volatile("isb 0xF" : : : "memory");
}
CORE_INLINE void __DSB(void)
{
	__asm volatile("dsb 0xF" : : : "memory");
}
CORE_INLINE void __DMB(void)
{
	__asm volatile("dmb 0xF" : : : "memory");
}

#define CORE_UNARY(function, mnemonic) \
	CORE_INLINE uint32_t function(uint32_t value) \
	{ \
		uint32_t result; \
\
		__asm volatile(mnemonic " %0, %1" : "=r"(result) : "r"(value)); \
		return result; \
	}
CORE_UNARY(__REV, "rev")
CORE_UNARY(__REV16, "rev16")
CORE_UNARY(__RBIT, "rbit")
CORE_UNARY(__CLZ, "clz")
CORE_UNARY(__RRX, "rrx")

CORE_INLINE int16_t __REVSH(int16_t value)
{
	int16_t result;

	__asm volatile("revsh %0, %1" : "=r"(result) : "r"(value));
	return result;
}

#define __SSAT(value, bits) \
	__extension__({ \
		int32_t core_result, core_value = (value); \
		__asm("ssat %0, %1, %2" : "=r"(core_result) : "I"(bits), "r"(core_value)); \
		core_result; \
	})
#define __USAT(value, bits) \
	__extension__({ \
		uint32_t core_result, core_value = (value); \
		__asm("usat %0, %1, %2" : "=r"(core_result) : "I"(bits), "r"(core_value)); \
		core_result; \
	})

CORE_INLINE void __CLREX(void)
{
	__asm volatile("clrex" : : : "memory");
}

#define CORE_EXCLUSIVE(load, store, suffix, type) \
	CORE_INLINE type load(volatile type *addr) \
	{ \
		uint32_t result; \
\
		__asm volatile("ldrex" suffix " %0, %1" : "=r"(result) : "Q"(*addr)); \
		return (type)result; \
	} \
	CORE_INLINE uint32_t store(type value, volatile type *addr) \
	{ \
		uint32_t result; \
\
		__asm volatile("strex" suffix " %0, %2, %1" \
		               : "=&r"(result), "=Q"(*addr) \
		               : "r"((uint32_t)value)); \
		return result; \
	}
CORE_EXCLUSIVE(__LDREXB, __STREXB, "b", uint8_t)
CORE_EXCLUSIVE(__LDREXH, __STREXH, "h", uint16_t)
CORE_EXCLUSIVE(__LDREXW, __STREXW, "", uint32_t)

/* As it was written before compilers knew "Q". */
#define CORE_EXCLUSIVE_AT(load, store, suffix, type) \
	CORE_INLINE type load(volatile type *addr) \
	{ \
		uint32_t result; \
\
		__asm volatile("ldrex" suffix " %0, [%1]" : "=r"(result) : "r"(addr) : "memory"); \
		return (type)result; \
	} \
	CORE_INLINE uint32_t store(type value, volatile type *addr) \
	{ \
		uint32_t result; \
\
		__asm volatile("strex" suffix " %0, %2, [%1]" \
		               : "=&r"(result) \
		               : "r"(addr), "r"((uint32_t)value) \
		               : "memory"); \
		return result; \
	}
CORE_EXCLUSIVE_AT(load_byte_exclusive, store_byte_exclusive, "b", uint8_t)
CORE_EXCLUSIVE_AT(load_half_exclusive, store_half_exclusive, "h", uint16_t)
CORE_EXCLUSIVE_AT(load_word_exclusive, store_word_exclusive, "", uint32_t)

/* What registers are made of. */
#define __I volatile const
#define __O volatile
#define __IO volatile

#endif
