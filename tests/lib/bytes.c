/* SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <string.h>

#include "bytes.h"

uint64_t t_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static size_t put_legacy(uint8_t *to, uint64_t r)
{
	static const uint8_t prefix[8] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x64, 0x65, 0x66};
	size_t n = 0;

	for (unsigned i = 0; i < (r & 3); i++)
		to[n++] = prefix[r >> (2 + 3 * i) & 7];
	if (r & 1 << 12)
		to[n++] = 0x40 | (r >> 13 & 15);
	if (r >> 17 & 3)
		to[n++] = 0x0f;
	if ((r >> 17 & 3) > 1)
		to[n++] = r >> 17 & 1 ? 0x38 : 0x3a;
	return n;
}

static size_t put_vex(uint8_t *to, uint64_t r)
{
	to[0] = r & 1 ? 0xc4 : 0x8f; /* XOP */
	to[1] = (uint8_t)((r >> 1 & 7) << 5 | (r & 1 ? 1 + (r >> 4) % 3 : 8 + (r >> 4) % 3));
	to[2] = (uint8_t)(r >> 8);
	if (r & 1 << 16)
		to[2] |= 0x78; /* no second source */
	return 3;
}

static size_t put_evex(uint8_t *to, uint64_t r)
{
	static const uint8_t map[8] = {1, 2, 3, 5, 6, 1, 2, 3};

	to[0] = 0x62;
	to[1] = (uint8_t)((r & 15) << 4 | map[r >> 4 & 7]);
	to[2] = (uint8_t)(r >> 8 | 4);
	to[3] = (uint8_t)(r >> 16);
	if (r & 1 << 24)
		to[2] |= 0x78, to[3] |= 8;
	return 4;
}

void t_make_bytes(uint8_t code[T_BYTES], uint64_t *state)
{
	uint64_t r = t_next(state), modrm = t_next(state);
	uint8_t bytes[T_BYTES + 8];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(t_next(state) >> 13);
	switch (r & 3) {
	case 0: n = put_evex(bytes, r >> 8); break;
	case 1: n = put_vex(bytes, r >> 8); break;
	default: n = put_legacy(bytes, r >> 8); break;
	}
	n++; /* the opcode: any */
	bytes[n] = (uint8_t)modrm;
	if (modrm & 0x300)
		bytes[n] &= 0x7f; /* memory: no displacement, or a short one */
	if ((bytes[n] & 7) == 4)
		bytes[n + 1] = (uint8_t)(modrm >> 16);
	memcpy(code, bytes, T_BYTES);
}
