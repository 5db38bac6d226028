/* SPDX-License-Identifier: MIT */
/* One access of 1, 2, 4 or 8 bytes, naturally aligned, to memory that others access, too. */
#ifndef DEVICE_BYTES_H
#define DEVICE_BYTES_H

#include <stdint.h>

static inline uint64_t bytes_load(const uint8_t *from, unsigned width)
{
	switch (width) {
	case 1: return __atomic_load_n(from, __ATOMIC_RELAXED);
	case 2: return __atomic_load_n((const uint16_t *)from, __ATOMIC_RELAXED);
	case 4: return __atomic_load_n((const uint32_t *)from, __ATOMIC_RELAXED);
	default: return __atomic_load_n((const uint64_t *)from, __ATOMIC_RELAXED);
	}
}

static inline void bytes_store(uint8_t *to, unsigned width, uint64_t value)
{
	switch (width) {
	case 1: __atomic_store_n(to, (uint8_t)value, __ATOMIC_RELAXED); break;
	case 2: __atomic_store_n((uint16_t *)to, (uint16_t)value, __ATOMIC_RELAXED); break;
	case 4: __atomic_store_n((uint32_t *)to, (uint32_t)value, __ATOMIC_RELAXED); break;
	default: __atomic_store_n((uint64_t *)to, value, __ATOMIC_RELAXED);
	}
}

static inline void bytes_and(uint8_t *to, unsigned width, uint64_t value)
{
	switch (width) {
	case 1: __atomic_fetch_and(to, (uint8_t)value, __ATOMIC_SEQ_CST); break;
	case 2: __atomic_fetch_and((uint16_t *)to, (uint16_t)value, __ATOMIC_SEQ_CST); break;
	case 4: __atomic_fetch_and((uint32_t *)to, (uint32_t)value, __ATOMIC_SEQ_CST); break;
	default: __atomic_fetch_and((uint64_t *)to, value, __ATOMIC_SEQ_CST);
	}
}

static inline void bytes_or(uint8_t *to, unsigned width, uint64_t value)
{
	switch (width) {
	case 1: __atomic_fetch_or(to, (uint8_t)value, __ATOMIC_SEQ_CST); break;
	case 2: __atomic_fetch_or((uint16_t *)to, (uint16_t)value, __ATOMIC_SEQ_CST); break;
	case 4: __atomic_fetch_or((uint32_t *)to, (uint32_t)value, __ATOMIC_SEQ_CST); break;
	default: __atomic_fetch_or((uint64_t *)to, value, __ATOMIC_SEQ_CST);
	}
}

#endif
