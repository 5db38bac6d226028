/* SPDX-License-Identifier: MIT */
/*
 * Sites that keep faulting become jumps, or other instructions: how many times faster than the
 * floor they are then. Before each sample, they are executed often enough to be patched.
 */
#include <cpuid.h>

#include "bench.h"
#include "general.h"

#define HOST_AT 0x30000000ull
#define GENERAL_AT 0x40021000ull
#define DEVICE_AT 0x40031000ull

const char *bench_patch_on(unsigned threshold)
{
	int err = regmap_patch(threshold);

	return err ? regmap_strerror(err) : NULL;
}

void bench_patch_off(void)
{
	if (regmap_patch(0))
		bench_fail("regmap_patch(0)");
}

void bench_note_patches(const char *whom)
{
	struct regmap_patch_stats s = {.size = sizeof(s)};

	if (regmap_patch_stats(&s))
		bench_fail("regmap_patch_stats()");
	bench_note("%s: %llu sites, %llu patched (%llu in place, %llu punned), %llu refused", whom,
	           (unsigned long long)s.sites, (unsigned long long)s.patched,
	           (unsigned long long)s.in_place, (unsigned long long)s.punned,
	           (unsigned long long)s.refused);
	for (unsigned i = 0; i < REGMAP_PATCH_REASONS; i++)
		if (s.reason[i])
			bench_note("%s: %llu refused: %s", whom, (unsigned long long)s.reason[i],
			           regmap_patch_reason(i));
}

bool bench_is_patched(const struct bench_row *row, const void *site)
{
	return regmap_patch_site(site) == 1 || bench_skip(row, "the site isn't patched");
}

unsigned bench_warm_up(const struct bench_row *row, const struct bench_insn *insn, uint64_t at,
                       unsigned most)
{
	enum { ENOUGH = 100, SLOW = 500 };

	insn->loop(at, ENOUGH);
	if (!bench_is_patched(row, insn->site))
		return 0;
	return bench_per_access(insn->loop, at, ENOUGH) < SLOW ? most : BENCH_TRAPPED;
}

/* Sixteen in a row: one alone would hide behind the loop around it. RBX is [0x18]. */
#define SIXTEEN(text) \
	text "\n" text "\n" text "\n" text "\n" text "\n" text "\n" text "\n" text "\n" text \
	     "\n" text "\n" text "\n" text "\n" text "\n" text "\n" text "\n" text "\n"

#define REGISTER_LOOP(name, text) \
	void loop_##name(uint64_t at, unsigned n); \
	extern const uint8_t site_##name[]; \
	__asm__(".pushsection .text\n" \
	        ".p2align 4\n" \
	        ".type loop_" #name ", @function\n" \
	        "loop_" #name ":\n" \
	        "	push %rbx\n" \
	        "	xor %eax, %eax\n" \
	        "	mov $1, %ebx\n" \
	        "site_" #name ":\n" \
	        "1:\n" SIXTEEN(text) "	sub $1, %esi\n" \
	                             "	jnz 1b\n" \
	                             "	pop %rbx\n" \
	                             "	ret\n" \
	                             ".size loop_" #name ", . - loop_" #name "\n" \
	                             ".popsection\n"); \
	static const struct bench_insn name = {loop_##name, NULL, site_##name}

REGISTER_LOOP(add_page, "add %rax, 0x18(,1)");
REGISTER_LOOP(add_register, "add %rax, %rbx");
REGISTER_LOOP(store_page, "mov %rax, 0x18(,1)");
REGISTER_LOOP(store_register, "mov %rax, %rbx");
REGISTER_LOOP(vector_page, "movdqu 0x840(,1), %xmm0");
REGISTER_LOOP(vector_register, "movdqu %xmm1, %xmm0");
/* Bytes 1 and 2 of RBX: no register of its own. */
REGISTER_LOOP(odd_page, "movzwl 0x19(,1), %eax");

bool bench_patched_against_floor(const struct bench_row *row, struct bench_sample *to)
{
	unsigned n = bench_warm_up(row, row->insn, row->at, BENCH_DIRECT);

	if (!n)
		return false;
	to->base = bench_floor(row->base_insn, BENCH_TRAPPED);
	to->value = bench_per_access(row->insn->loop, row->at, n);
	return true;
}

static bool with_avx(const struct bench_row *row, struct bench_sample *to)
{
	if (!__builtin_cpu_supports("avx"))
		return bench_skip(row, "the CPU has no AVX");
	return bench_patched_against_floor(row, to);
}

static bool with_avx512(const struct bench_row *row, struct bench_sample *to)
{
	if (!__builtin_cpu_supports("avx512f"))
		return bench_skip(row, "the CPU has no AVX-512");
	return bench_patched_against_floor(row, to);
}

/*
 * Around a callback, x87 registers take longer to keep than all others. They are in use from a thread's
 * first x87 instruction on, and until XRSTOR says that they aren't; or an FNINIT, where the CPU is AMD's.
 */
static void put_out_of_use(void)
{
	static const uint8_t nothing[1024] __attribute__((aligned(64)));
	uint32_t a, b, c, d;

	__asm__ volatile("fninit");
	if (__get_cpuid(1, &a, &b, &c, &d) && c & bit_OSXSAVE)
		__asm__ volatile("xrstor64 %0" : : "m"(nothing), "a"(1), "d"(0));
}

static bool without_x87(const struct bench_row *row, struct bench_sample *to)
{
	put_out_of_use();
	return bench_patched_against_floor(row, to);
}

static bool with_x87(const struct bench_row *row, struct bench_sample *to)
{
	bool measured;

	__asm__ volatile("fldpi\n\tfstp %st(0)");
	measured = bench_patched_against_floor(row, to);
	put_out_of_use();
	return measured;
}

enum { IN_A_ROW = 16, LOOPS = 100000 };

static bool against_register(const struct bench_row *row, struct bench_sample *to)
{
	unsigned n = bench_warm_up(row, row->insn, 0, LOOPS);

	if (!n)
		return false;
	to->base = bench_per_access(row->base_insn->loop, 0, LOOPS) / IN_A_ROW;
	to->value = bench_per_access(row->insn->loop, 0, n) / IN_A_ROW;
	return true;
}

static bool odd_register(const struct bench_row *row, struct bench_sample *to)
{
	unsigned n = bench_warm_up(row, row->insn, 0, LOOPS);

	if (!n)
		return false;
	to->base = bench_floor(&bench_load, BENCH_TRAPPED);
	to->value = bench_per_access(row->insn->loop, 0, n) / IN_A_ROW;
	return true;
}

#define HOT(id, text, loop, place, least, how) \
	{ \
		.name = "patched/" id, .what = text, .unit = "ns", .base = "floor", \
		.figure = BENCH_SPEEDUP, .wanted = least, .measure = how, \
		.insn = &bench_hot_##loop, .base_insn = &bench_##loop, .at = place \
	}
#define HOST(id, text, loop) HOT("host/" id, text, loop, HOST_AT, 400, bench_patched_against_floor)
#define IN_PLACE(id, text, page, by_hand) \
	{ \
		.name = "patched/registers/" id, .what = text, .unit = "ns", .base = "register", \
		.figure = BENCH_COST, .wanted = 1.5, .measure = against_register, .insn = &page, \
		.base_insn = &by_hand \
	}

static struct bench_row rows[] = {
	HOST("load", "integer load of 3 bytes, host window", load),
	HOST("long-load", "integer load of 7 bytes, host window", long_load),
	HOST("live-flags", "integer load with live flags, host window", live_load),
	HOST("store", "integer store, host window", store),
	HOST("add", "integer add to memory, host window", add),
	HOST("lock-xadd", "locked exchange and add, host window", xadd),
	HOST("sse-load", "SSE load, host window", sse_load),
	HOST("sse-store", "SSE store, host window", sse_store),
	HOST("sse-multiply", "SSE multiply, host window", sse_multiply),
	HOST("x87-add", "x87 add, host window", x87_add),
	HOT("host/avx-load", "AVX load, host window", avx_load, HOST_AT, 400, with_avx),
	HOT("host/avx512-load", "AVX-512 load, host window", avx512_load, HOST_AT, 400,
            with_avx512),
	HOT("general/load", "integer load, device that uses general registers only", general_load,
            GENERAL_AT, 100, bench_patched_against_floor),
	HOT("general/store", "integer store, device that uses general registers only",
            general_store, GENERAL_AT, 100, bench_patched_against_floor),
	HOT("device/load", "integer load, any device", device_load, DEVICE_AT, 20, without_x87),
	HOT("device/store", "integer store, any device", device_store, DEVICE_AT, 20, without_x87),
	HOT("device/load-x87", "integer load, any device, x87 registers in use", device_load,
            DEVICE_AT, 0, with_x87),
	{.name = "patched/registers/slot",
         .what = "bytes of a register that have no name",
         .unit = "ns",
         .base = "floor",
         .figure = BENCH_SPEEDUP,
         .measure = odd_register,
         .insn = &odd_page},
	IN_PLACE("add", "add [0x18], rax / add rbx, rax", add_page, add_register),
	IN_PLACE("store", "mov [0x18], rax / mov rbx, rax", store_page, store_register),
	IN_PLACE("sse-load", "movdqu xmm0, [0x840] / movdqu xmm0, xmm1", vector_page,
                 vector_register),
};

static const char *set_up(void)
{
	static uint8_t host[4096] __attribute__((aligned(64)));
	int err = regmap_map_registers();

	if (err)
		bench_fail("the register page: %s", regmap_strerror(err));
	bench_map((struct regmap_config){.guest = HOST_AT,
	                                 .length = 4096,
	                                 .backing = REGMAP_HOST,
	                                 .host = host});
	bench_map((struct regmap_config){.guest = GENERAL_AT,
	                                 .length = 4096,
	                                 .backing = REGMAP_DEVICE,
	                                 .flags = REGMAP_GENERAL,
	                                 .ops = &bench_general_ops});
	bench_map((struct regmap_config){.guest = DEVICE_AT,
	                                 .length = 4096,
	                                 .backing = REGMAP_DEVICE,
	                                 .ops = &bench_general_ops});
	bench_floor_set_up();
	return bench_patch_on(4);
}

struct bench_part bench_patched = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
