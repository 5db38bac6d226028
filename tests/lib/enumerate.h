/* SPDX-License-Identifier: MIT */
/*
 * Every instruction that Zydis knows to have a memory operand, found by decoding all opcodes of all
 * maps under all prefixes. Nothing is listed by hand.
 */
#ifndef TESTS_ENUMERATE_H
#define TESTS_ENUMERATE_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { T_CODE_MAX = 15 };

struct t_insn {
	uint8_t bytes[T_CODE_MAX];
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	int mem; /* the memory operand that ModRM or a displacement encodes, or -1 */
};

/* An encoding form: registers, addresses and immediates don't count. */
struct t_form {
	uint8_t bytes
		[T_CODE_MAX]; /* one instance of it, with the operand at [rbx] where it has ModRM */
	uint8_t length;
	uint16_t mnemonic;
	uint64_t key;         /* of the encoding form */
	uint64_t operand_key; /* of the operand form: mnemonic, types, sizes, register classes */
};

struct t_forms {
	struct t_form *form;
	size_t count;
};

/* How many different mnemonics, operand forms, encoding forms. */
struct t_counts {
	size_t mnemonics, operand_forms, encodings;
};

/* CPUs by AMD, or Hygon: in some corners all others are different. */
bool t_is_amd(void);
/* Decode as this CPU would. */
bool t_decode(const uint8_t *bytes, size_t length, struct t_insn *to);
/* Is this an unprivileged instruction with a memory operand? Then its keys. */
bool t_form_of(const struct t_insn *i, struct t_form *to);
/* All of them, in the order of opcode maps. Never fails: aborts when out of memory. */
void t_enumerate(struct t_forms *to);
void t_forms_free(struct t_forms *forms);

/* Those for which @chosen is nonzero; @chosen NULL: all. */
void t_count(const struct t_forms *forms, const uint8_t *chosen, struct t_counts *to);

/* Intel syntax, terminated. */
void t_format(const uint8_t *bytes, size_t length, char *to, size_t size);

#endif
