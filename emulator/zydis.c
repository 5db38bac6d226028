/* SPDX-License-Identifier: MIT */
/* Small questions that all planners ask of what Zydis decoded. */
#include <cpuid.h>

#include "internal.h"

#include "../arch/x86_64/sigsafe.h"

/* CPUID leaves a virtual machine, so once is enough; a race stores the same value. */
bool regmap__em_is_amd(void)
{
	static int known = -1;
	int amd = __atomic_load_n(&known, __ATOMIC_RELAXED);

	if (amd < 0) {
		unsigned a, b = 0, c, d;

		__cpuid(0, a, b, c, d);
		amd = b == 0x68747541 || b == 0x6f677948; /* "Auth", "Hygo" */
		__atomic_store_n(&known, amd, __ATOMIC_RELAXED);
	}
	return amd;
}

bool regmap__em_is_x87(const struct em_decoded *d)
{
	return d->insn.meta.isa_ext == ZYDIS_ISA_EXT_X87 ||
	       d->insn.meta.category == ZYDIS_CATEGORY_X87_ALU; /* FISTTP belongs to SSE3 */
}

unsigned regmap__em_selector_width(unsigned word)
{
	return regmap__em_is_amd() ? word : 2;
}

unsigned regmap__em_log2(unsigned bytes)
{
	return bytes ? 31 - (unsigned)__builtin_clz(bytes) : 0;
}

bool regmap__em_gpr(ZydisRegister reg, struct em_reg *out)
{
	ZydisRegisterClass class = ZydisRegisterGetClass(reg);
	ZydisRegister whole;

	if (class != ZYDIS_REGCLASS_GPR8 && class != ZYDIS_REGCLASS_GPR16 &&
	    class != ZYDIS_REGCLASS_GPR32 && class != ZYDIS_REGCLASS_GPR64)
		return false;
	whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
	out->gpr = (uint8_t)ZydisRegisterGetId(whole);
	out->high = reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
	return true;
}
