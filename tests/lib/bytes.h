/* SPDX-License-Identifier: MIT */
/*
 * Code bytes that look like instructions: any of prefixes, opcode maps and ModRM bytes, put
 * together without asking a decoder whether that means something. Plain random bytes hardly ever
 * make a VEX or EVEX instruction with a memory operand.
 */
#ifndef TESTS_BYTES_H
#define TESTS_BYTES_H

#include <stdint.h>

enum { T_BYTES = 15 };

/* splitmix64: all of its 64 bits are good, whatever @state was. */
uint64_t t_next(uint64_t *state);
void t_make_bytes(uint8_t code[T_BYTES], uint64_t *state);

#endif
