/* SPDX-License-Identifier: MIT */
/* The CPU's registers from C, by <regmap/registers.h>: what a compiler has no word for. */
#include <regmap/regmap.h>
#include <regmap/registers.h>
#include <stdio.h>

enum { ROUND_UP = 0x4000 };

__attribute__((noinline)) static double third(void)
{
	volatile double one = 1, three = 3;

	return one / three;
}

/* Jumps to its own label: a goto with the target in a variable. */
static const char *jump(void)
{
	__asm__ goto("lea %l[there](%%rip), %%rax\n\t"
	             "mov %%rax, 0x80" /* RIP */
	             :
	             :
	             : "rax", "memory"
	             : there);
	return "fell through";
there:
	return "jumped";
}

int main(void)
{
	int err = regmap_map_registers(), local = 0;
	uint32_t mxcsr;
	double up;

	if (err) {
		fprintf(stderr, "regmap_map_registers: %s\n", regmap_strerror(err));
		return 1;
	}

	printf("RSP is near a local variable: %d\n",
	       (uintptr_t)&local - regmap_get64(REGMAP_RSP) < 4096);
	printf("RIP is near main: %d\n",
	       regmap_get64(REGMAP_RIP) - (uint64_t)(uintptr_t)main + 4096 < 8192);
	printf("interrupts are on: %u\n", regmap_get16(REGMAP_RFLAGS) >> 9 & 1);
	printf("FS base points at itself: %d\n",
	       *(uint64_t *)regmap_get64(REGMAP_FS_BASE) == regmap_get64(REGMAP_FS_BASE));

	mxcsr = regmap_get32(REGMAP_MXCSR);
	printf("MXCSR %#x, x87 control %#x, tags %#x\n", mxcsr & 0xffc0u, regmap_get16(REGMAP_FCW),
	       regmap_get16(REGMAP_FTW));
	regmap_set32(REGMAP_MXCSR, mxcsr | ROUND_UP);
	up = third();
	regmap_set32(REGMAP_MXCSR, mxcsr);
	printf("1/3 to nearest %.20f\n1/3 upwards    %.20f\n", third(), up);

	printf("a store to RIP: %s\n", jump());
	return 0;
}
