/* SPDX-License-Identifier: MIT */
/* Every instruction form with its operand at each register: the decoder must see the same otherwise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/fragment_code.h"
#include "enumerate.h"

static bool same_memory(const ZydisDecodedOperand *is, const ZydisDecodedOperand *was,
                        unsigned base, unsigned disp)
{
	return is->type == ZYDIS_OPERAND_TYPE_MEMORY && is->size == was->size &&
	       is->mem.base == ZYDIS_REGISTER_RAX + base && is->mem.index == ZYDIS_REGISTER_NONE &&
	       is->mem.disp.value == disp;
}

static bool same_operand(const ZydisDecodedOperand *is, const ZydisDecodedOperand *was)
{
	if (is->type != was->type || is->size != was->size || is->actions != was->actions)
		return false;
	if (is->type == ZYDIS_OPERAND_TYPE_REGISTER)
		return is->reg.value == was->reg.value;
	return is->type != ZYDIS_OPERAND_TYPE_IMMEDIATE || is->imm.value.u == was->imm.value.u;
}

static bool same_instruction(const struct em_decoded *is, const struct em_decoded *was,
                             unsigned base, unsigned disp)
{
	if (is->insn.mnemonic != was->insn.mnemonic || is->mem != was->mem ||
	    is->insn.operand_count != was->insn.operand_count ||
	    memcmp(&is->insn.avx, &was->insn.avx, sizeof(is->insn.avx)))
		return false;
	for (int i = 0; i < is->insn.operand_count; i++)
		if (i == is->mem ? !same_memory(&is->op[i], &was->op[i], base, disp) :
		                   !same_operand(&is->op[i], &was->op[i]))
			return false;
	return true;
}

static void complain(const struct t_form *form, const struct em_native *n, unsigned base)
{
	char was[128], is[128];

	t_format(form->bytes, form->length, was, sizeof(was));
	t_format(n->code, n->code_length, is, sizeof(is));
	fail_msg("%s, at register %u: %s", was, base, is);
}

/* Segments, stacks and strings have their operand elsewhere. */
static bool has_one_operand(const struct em_decoded *d)
{
	unsigned count = 0;

	for (int i = 0; i < d->insn.operand_count; i++)
		count += d->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY;
	return count == 1 && d->mem >= 0 && d->op[d->mem].mem.type == ZYDIS_MEMOP_TYPE_MEM &&
	       d->op[d->mem].mem.base == ZYDIS_REGISTER_RBX;
}

static unsigned try_form(const struct t_form *form)
{
	struct em_decoded d, got;
	static struct plan plan;
	struct em_native n;
	unsigned fit = 0;

	if (regmap__em_decode(&d, form->bytes, form->length) || !has_one_operand(&d) ||
	    regmap__em_plan(&plan, form->bytes, form->length, EM_TIER_BOTH) ||
	    !em_has_one_operand(&plan))
		return 0;
	for (unsigned i = 0; i < 32; i++) {
		unsigned base = i % 16, disp = i / 16 ? 5 * base + 1 : 0;

		memset(&n, 0, sizeof(n));
		if (base == CPU_RSP || !regmap__fragment_splice(&n, &d, base, (uint8_t)disp))
			continue;
		if (regmap__em_decode(&got, n.code, n.code_length) ||
		    got.insn.length != n.code_length || n.base != base ||
		    !same_instruction(&got, &d, base, disp))
			complain(form, &n, base);
		fit++;
	}
	return fit;
}

static void test_fragment_splice_all(void **state)
{
	unsigned long forms = 0, all = 0, fits = 0;
	struct t_forms list;

	(void)state;
	t_enumerate(&list);
	for (size_t i = 0; i < list.count; i++) {
		unsigned fit = try_form(&list.form[i]);

		forms += fit > 0;
		all += fit == 30;
		fits += fit;
	}
	printf("%lu forms at %lu registers; %lu of them at all 15, with and without a displacement\n",
	       forms, fits, all);
	assert_true(all > 8000);
	t_forms_free(&list);
}

/* mov %ah, (%rbx): with a REX prefix it would be another register. */
static void test_fragment_splice_high_bytes(void **state)
{
	static const uint8_t code[] = {0x88, 0x23};
	struct em_decoded d;
	struct em_native n;

	(void)state;
	assert_int_equal(regmap__em_decode(&d, code, sizeof(code)), 0);
	for (unsigned base = 0; base < 16; base++) {
		memset(&n, 0, sizeof(n));
		assert_int_equal(regmap__fragment_splice(&n, &d, base, 0), base < 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fragment_splice_all),
		cmocka_unit_test(test_fragment_splice_high_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
