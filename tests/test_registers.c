/* SPDX-License-Identifier: MIT */
/* The register page: what stands where, and who wins. */
/* CFLAGS: -fomit-frame-pointer */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <cpuid.h>

#include <regmap/regmap.h>
#include <regmap/registers.h>

#define ALL_GPR \
	"rax", "rcx", "rdx", "rbx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", \
		"r15", "memory", "cc"

#define LITTLE "rax", "rcx", "rdx", "rbx", "memory", "cc"

/*
 * Run instructions with RAX..RBX loaded from regs[0..3] and stored back. RDI is taken and given up, as
 * no register is left where the frame needs RBP.
 */
#define RUN(regs, code) \
	do { \
		uint64_t *regs_ = (regs); \
\
		__asm__ volatile("lea -128(%%rsp), %%rsp\n\tmov %0, %%r15\n\t" \
		                 "mov (%%r15), %%rax\n\tmov 8(%%r15), %%rcx\n\t" \
		                 "mov 16(%%r15), %%rdx\n\tmov 24(%%r15), %%rbx\n\t" code "\n\t" \
		                 "mov %%rax, (%%r15)\n\tmov %%rcx, 8(%%r15)\n\t" \
		                 "mov %%rdx, 16(%%r15)\n\tmov %%rbx, 24(%%r15)\n\t" \
		                 "lea 128(%%rsp), %%rsp" \
		                 : "+D"(regs_) \
		                 : \
		                 : LITTLE, "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", \
		                   "rsi"); \
	} while (0)

static void test_registers_store_reaches_register(void **state)
{
	uint64_t r[4] = {77, 1, 2, 3};

	(void)state;
	RUN(r, "mov %%rax, 8");
	assert_int_equal(r[1], 77);
}

static void test_registers_load_reads_register(void **state)
{
	uint64_t r[4] = {1, 2, 0xfeedfacecafebeef, 3};

	(void)state;
	RUN(r, "mov 0x10, %%rax");
	assert_int_equal(r[0], 0xfeedfacecafebeef);
}

static void test_registers_narrow_stores_merge(void **state)
{
	uint64_t r[4] = {0x1111111111111111, 0x2222222222222222, ~0ull, 0};

	(void)state;
	RUN(r, "movl $0x33333333, 8\n\t movw $0x4444, 0x12\n\t movb $0x55, 1");
	assert_int_equal(r[0], 0x1111111111115511);
	assert_int_equal(r[1], 0x2222222233333333);
	assert_int_equal(r[2], 0xffffffff4444ffff);
}

static void test_registers_unaligned_spans_two(void **state)
{
	uint64_t r[4] = {0x1111111122222222, 0x3333333344444444, 0, 0};

	(void)state;
	RUN(r, "mov 4, %%rdx\n\t movl $-1, 0x1c");
	assert_int_equal(r[2], 0x4444444411111111);
	assert_int_equal(r[3], 0xffffffff00000000);
}

static void test_registers_load_into_register_it_reads(void **state)
{
	uint64_t r[4] = {0x8877665544332211, 0, 0, 0};

	(void)state;
	RUN(r, "movzbl 3, %%eax");
	assert_int_equal(r[0], 0x44);
}

static void test_registers_every_gpr_in_encoding_order(void **state)
{
	uint64_t seen[16];

	(void)state;
	__asm__ volatile("lea -128(%%rsp), %%rsp\n\t push %%rbp\n\t"
	                 "mov %0, %%r15\n\t"
	                 "mov $100, %%rax\n\t mov $101, %%rcx\n\t mov $102, %%rdx\n\t"
	                 "mov $103, %%rbx\n\t mov $105, %%rbp\n\t mov $106, %%rsi\n\t"
	                 "mov $107, %%rdi\n\t mov $108, %%r8\n\t mov $109, %%r9\n\t"
	                 "mov $110, %%r10\n\t mov $111, %%r11\n\t mov $112, %%r12\n\t"
	                 "mov $113, %%r13\n\t mov $114, %%r14\n\t"
	                 "pushq 0x78\n\t popq 0x78(%%r15)\n\t"
	                 "pushq 0x70\n\t popq 0x70(%%r15)\n\t pushq 0x68\n\t popq 0x68(%%r15)\n\t"
	                 "pushq 0x60\n\t popq 0x60(%%r15)\n\t pushq 0x58\n\t popq 0x58(%%r15)\n\t"
	                 "pushq 0x50\n\t popq 0x50(%%r15)\n\t pushq 0x48\n\t popq 0x48(%%r15)\n\t"
	                 "pushq 0x40\n\t popq 0x40(%%r15)\n\t pushq 0x38\n\t popq 0x38(%%r15)\n\t"
	                 "pushq 0x30\n\t popq 0x30(%%r15)\n\t pushq 0x28\n\t popq 0x28(%%r15)\n\t"
	                 "pushq 0x18\n\t popq 0x18(%%r15)\n\t pushq 0x10\n\t popq 0x10(%%r15)\n\t"
	                 "pushq 0x08\n\t popq 0x08(%%r15)\n\t pushq 0x00\n\t popq 0x00(%%r15)\n\t"
	                 "pop %%rbp\n\t lea 128(%%rsp), %%rsp"
	                 :
	                 : "r"(seen)
	                 : ALL_GPR);
	for (unsigned i = 0; i < 15; i++)
		if (i != 4)
			assert_int_equal(seen[i], 100 + i);
	assert_ptr_equal((void *)seen[15], seen);
}

static void test_registers_xadd_store_wins(void **state)
{
	uint64_t r[4] = {21, 0, 0, 0};

	(void)state;
	RUN(r, "xadd %%rax, 0");
	assert_int_equal(r[0], 42);
}

static void test_registers_xchg_swaps(void **state)
{
	uint64_t r[4] = {1, 2, 0, 0};

	(void)state;
	RUN(r, "xchg %%rax, 8");
	assert_int_equal(r[0], 2);
	assert_int_equal(r[1], 1);
}

static void test_registers_locked_add(void **state)
{
	uint64_t r[4] = {5, 7, 0, 0};

	(void)state;
	RUN(r, "lock addq %%rax, 8");
	assert_int_equal(r[1], 12);
}

static void test_registers_cmpxchg_failing_writes_back(void **state)
{
	uint64_t r[4] = {1, 2, 3, 0};

	(void)state;
	RUN(r, "cmpxchg %%rdx, 8");
	assert_int_equal(r[0], 2);
	assert_int_equal(r[1], 2);
}

static void test_registers_push_rsp_is_old(void **state)
{
	uint64_t r[4] = {0};

	(void)state;
	RUN(r, "mov %%rsp, %%rcx\n\t pushq 0x20\n\t pop %%rax\n\t mov %%rsp, %%rdx");
	assert_int_equal(r[0], r[1]);
	assert_int_equal(r[2], r[1]);
}

static void test_registers_pop_into_rsp_wins(void **state)
{
	uint64_t r[4] = {0};

	(void)state;
	RUN(r, "mov %%rsp, %%rcx\n\t lea -64(%%rsp), %%rsp\n\t push %%rcx\n\t popq 0x20\n\t"
	       "mov %%rsp, %%rax");
	assert_int_equal(r[0], r[1]);
}

static void test_registers_jump_and_call_through_register(void **state)
{
	uint64_t r[4] = {0};

	(void)state;
	RUN(r, "lea 1f(%%rip), %%rdx\n\t jmp *0x10\n\t ud2\n"
	       "2: mov $5, %%ecx\n\t ret\n"
	       "1: lea 2b(%%rip), %%rax\n\t sub $128, %%rsp\n\t call *0\n\t add $128, %%rsp");
	assert_int_equal(r[1], 5);
}

static void test_registers_rip_reads_as_next(void **state)
{
	uint64_t r[4] = {0};

	(void)state;
	RUN(r, "mov 0x80, %%rax\n1: lea 1b(%%rip), %%rcx");
	assert_int_equal(r[0], r[1]);
}

static void test_registers_rip_store_jumps(void **state)
{
	uint64_t r[4] = {0};

	(void)state;
	RUN(r, "lea 1f(%%rip), %%rax\n\t mov %%rax, 0x80\n\t ud2\n1: mov $9, %%ecx");
	assert_int_equal(r[1], 9);
}

static void test_registers_rip_add_skips(void **state)
{
	uint64_t r[4] = {2, 3, 0, 0};

	(void)state;
	RUN(r, "addq %%rax, 0x80\n\t ud2\n\t inc %%rcx");
	assert_int_equal(r[1], 4);
}

static void test_registers_flags_read_before_write(void **state)
{
	uint64_t r[4] = {0};

	(void)state;
	RUN(r, "stc\n\t testb $1, 0x88\n\t setnz %%al\n\t setc %%ah\n\t"
	       "xor %%ecx, %%ecx\n\t testb $0x40, 0x88\n\t setnz %%cl");
	assert_int_equal(r[0] & 0xffff, 1);
	assert_int_equal(r[1], 1);
}

static void test_registers_flags_store_wins(void **state)
{
	uint64_t r[4] = {0};

	(void)state;
	RUN(r, "clc\n\t orq $1, 0x88\n\t setc %%al\n\t btcq $0, 0x88\n\t setc %%ah");
	assert_int_equal(r[0] & 0xffff, 1);
}

static void test_registers_flags_reserved_bits_stay(void **state)
{
	uint64_t r[4] = {0};

	(void)state;
	RUN(r,
	    "movq $0, 0x88\n\t pushfq\n\t pop %%rax\n\t movq $0x8d5, 0x88\n\t pushfq\n\t pop %%rcx");
	assert_int_equal(r[0], 0x202);
	assert_int_equal(r[1], 0xad7);
}

static void test_registers_bts_reaches_any_bit(void **state)
{
	uint64_t r[4] = {0, 0, 0, 0};

	(void)state;
	RUN(r, "mov $83, %%eax\n\t btsq %%rax, 0\n\t setc %%dl\n\t btsq %%rax, 0\n\t setc %%dh");
	assert_int_equal(r[1], 1 << 19);
	assert_int_equal(r[2], 0x100);
}

static void test_registers_stos_overwrites_own_count(void **state)
{
	uint64_t r[4] = {0, 9, 0, 0};

	(void)state;
	/*
	 * RCX is counted down to 8, but its lowest byte written as 1; that is counted down to 0,
	 * which ends the string, though the second byte written makes RCX 0x100.
	 */
	RUN(r, "mov $1, %%eax\n\t mov $8, %%edi\n\t rep stosb\n\t mov %%rdi, %%rdx");
	assert_int_equal(r[1], 0x100);
	assert_int_equal(r[2], 10);
}

static void test_registers_movs_loads_eight(void **state)
{
	static const uint64_t table[] = {11, 12, 13, 14, 15, 16, 17};
	const uint64_t *from = table;
	uint64_t out[7];

	(void)state;
	__asm__ volatile(
		"mov $0x40, %%edi\n\t mov $7, %%ecx\n\t"
		"rep movsq\n\t"
		"mov %%r8, (%%rbx)\n\t mov %%r9, 8(%%rbx)\n\t mov %%r10, 16(%%rbx)\n\t"
		"mov %%r11, 24(%%rbx)\n\t mov %%r12, 32(%%rbx)\n\t mov %%r13, 40(%%rbx)\n\t"
		"mov %%r14, 48(%%rbx)"
		: "+S"(from)
		: "b"(out)
		: "rcx", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "memory");
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(out[i], 11 + i);
}

static void test_registers_xlat_indexes_the_file(void **state)
{
	uint64_t r[4] = {0x0a, 0x0000000000cc0000, 0, 0};

	(void)state;
	RUN(r, "xor %%ebx, %%ebx\n\t xlatb");
	assert_int_equal(r[0], 0xcc);
}

static void test_registers_vector_spans_integers(void **state)
{
	uint64_t in[2] = {100, 200}, out[2];

	(void)state;
	__asm__ volatile("movdqu (%0), %%xmm3\n\t mov $1, %%r8\n\t mov $2, %%r9\n\t"
	                 "paddq 0x40, %%xmm3\n\t" /* aligned: 0x40 */
	                 "movdqu %%xmm3, 0x50\n\t"
	                 "mov %%r10, (%1)\n\t mov %%r11, 8(%1)"
	                 :
	                 : "r"(in), "r"(out)
	                 : "r8", "r9", "r10", "r11", "xmm3", "memory");
	assert_int_equal(out[0], 101);
	assert_int_equal(out[1], 202);
}

static void test_registers_vector_registers_are_memory(void **state)
{
	uint64_t r[4] = {0x1122334455667788, 0, 0, 0};

	(void)state;
	__asm__ volatile("mov %0, %%r15\n\t mov (%%r15), %%rax\n\t pxor %%xmm5, %%xmm5\n\t"
	                 "mov %%rax, 0x948\n\t" /* XMM5, upper half */
	                 "movhlps %%xmm5, %%xmm4\n\t movq %%xmm4, 8(%%r15)\n\t"
	                 "mov 0x94c, %%eax\n\t mov %%rax, 16(%%r15)\n\t"
	                 "movq %%xmm5, 24(%%r15)"
	                 :
	                 : "r"(r)
	                 : "rax", "r15", "xmm4", "xmm5", "memory");
	assert_int_equal(r[1], 0x1122334455667788);
	assert_int_equal(r[2], 0x11223344);
	assert_int_equal(r[3], 0);
}

static void test_registers_mxcsr(void **state)
{
	uint32_t before = __builtin_ia32_stmxcsr(), seen;

	(void)state;
	assert_int_equal(regmap_get32(REGMAP_MXCSR), before);
	regmap_set32(REGMAP_MXCSR, before | 0x6000);
	seen = __builtin_ia32_stmxcsr();
	__builtin_ia32_ldmxcsr(before);
	assert_int_equal(seen, before | 0x6000);
}

static void test_registers_mxcsr_reserved_bits_are_dropped(void **state)
{
	uint32_t before = __builtin_ia32_stmxcsr(), seen;

	(void)state;
	regmap_set32(REGMAP_MXCSR, before | 0x80000000);
	seen = __builtin_ia32_stmxcsr();
	__builtin_ia32_ldmxcsr(before);
	assert_int_equal(seen, before);
}

static void test_registers_x87(void **state)
{
	uint16_t control, status, tag, fcw;
	uint64_t low;

	(void)state;
	__asm__ volatile("fninit\n\t fld1\n\t fldz\n\t fldpi" ::: "st", "st(1)", "st(2)");
	control = regmap_get16(REGMAP_FCW);
	status = regmap_get16(REGMAP_FSW);
	tag = regmap_get16(REGMAP_FTW);
	low = regmap_get64(REGMAP_ST0);
	regmap_set16(REGMAP_FCW, 0x027f);
	__asm__ volatile("fnstcw %0\n\t fninit" : "=m"(fcw));
	assert_int_equal(control, 0x37f);
	assert_int_equal(status >> 11 & 7, 5);
	assert_int_equal(tag, 0x13ff); /* physical 7: 1.0, 6: zero, 5: pi */
	assert_int_equal(low, 0xc90fdaa22168c235);
	assert_int_equal(fcw, 0x027f);
}

static void test_registers_mmx_is_low_part_of_slot(void **state)
{
	uint64_t value;

	(void)state;
	regmap_set64(REGMAP_ST0 + 16, 0); /* not yet in MMX mode: ST1 */
	__asm__ volatile("emms\n\t movq %1, %%mm1\n\t"
	                 :
	                 : "m"(value), "m"(*(uint64_t[1]){0x1234567890}));
	value = regmap_get64(REGMAP_ST0 + 16);
	__asm__ volatile("emms");
	assert_int_equal(value, 0x1234567890);
}

static bool has_avx512(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

static void test_registers_opmasks(void **state)
{
	uint64_t value;

	(void)state;
	if (!has_avx512())
		skip();
	regmap_set64(REGMAP_K0 + 8 * 3, 0x123456789abcdef0);
	__asm__ volatile("kmovq %%k3, %0" : "=r"(value));
	assert_int_equal(value, 0x123456789abcdef0);
}

static void test_registers_zmm31_top(void **state)
{
	uint64_t got[8] = {0};

	(void)state;
	if (!has_avx512())
		skip();
	__asm__ volatile("vpxorq %%zmm31, %%zmm31, %%zmm31\n\t"
	                 "mov $0x77, %%eax\n\t mov %%rax, 0xff8\n\t"
	                 "vmovdqu64 %%zmm31, (%0)\n\t vzeroupper"
	                 :
	                 : "r"(got)
	                 : "rax", "memory");
	assert_int_equal(got[7], 0x77);
	assert_int_equal(got[0], 0);
}

static void test_registers_gs_base(void **state)
{
	uint64_t old = regmap_get64(REGMAP_GS_BASE), value;
	static uint64_t there = 4711;

	(void)state;
	regmap_set64(REGMAP_GS_BASE, (uintptr_t)&there);
	__asm__ volatile("mov %%gs:0, %0" : "=r"(value));
	regmap_set64(REGMAP_GS_BASE, old);
	assert_int_equal(value, 4711);
}

static void test_registers_fs_base_reads_as_thread_pointer(void **state)
{
	uint64_t base = regmap_get64(REGMAP_FS_BASE);

	(void)state;
	assert_ptr_equal((void *)base, __builtin_thread_pointer());
	regmap_set64(REGMAP_FS_BASE, base);
}

extern void __tsan_init(void) __attribute__((weak));

/* Accesses go on while the FS base is foreign: no libc in between. */
static void test_registers_survive_foreign_fs_base(void **state)
{
	uint64_t r[4] = {0};

	(void)state;
	if (__tsan_init) /* the instrumented library itself uses thread-local storage */
		skip();
	RUN(r, "mov 0x90, %%rbx\n\t movq $0, 0x90\n\t mov 0x18, %%rax\n\t mov 0x90, %%rcx\n\t"
	       "mov %%rbx, 0x90\n\t mov 0x90, %%rdx");
	assert_int_equal(r[0], r[3]);
	assert_int_equal(r[1], 0);
	assert_int_equal(r[2], r[3]);
}

/* Faults that stay faults. */

static sigjmp_buf back;
static volatile uintptr_t fault_address;
static volatile int fault_code;

static void on_fault(int signo, siginfo_t *info, void *uc)
{
	(void)signo, (void)uc;
	fault_address = (uintptr_t)info->si_addr;
	fault_code = info->si_code;
	siglongjmp(back, 1);
}

static bool faults_at(uintptr_t address)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old;
	bool faulted = true;

	sigaction(SIGSEGV, &sa, &old);
	if (!sigsetjmp(back, 1)) {
		regmap_get8(address);
		faulted = false;
	}
	sigaction(SIGSEGV, &old, NULL);
	return faulted;
}

static void test_registers_unclaimed_offsets_fault(void **state)
{
	static const uintptr_t holes[] = {0xaa, 0xbf, 0x180, 0x1ff, 0x200, 0x7ff, 0x1000, 0x1fff};

	(void)state;
	for (unsigned i = 0; i < sizeof holes / sizeof holes[0]; i++) {
		assert_true(faults_at(holes[i]));
		assert_int_equal(fault_address, holes[i]);
		assert_int_equal(fault_code, SEGV_MAPERR);
	}
	assert_false(faults_at(0xa9));
	assert_false(faults_at(0x17f));
	assert_false(faults_at(0x800));
}

static void test_registers_absent_ones_fault(void **state)
{
	(void)state;
	assert_int_equal(faults_at(0xc0), !has_avx512());
	assert_int_equal(faults_at(0xc00), !has_avx512());
	assert_int_equal(faults_at(0x820), !has_avx512());
}

static void test_registers_call_through_null_faults(void **state)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old;
	void (*volatile null)(void) = NULL;
	volatile bool returned = false;

	(void)state;
	sigaction(SIGSEGV, &sa, &old);
	if (!sigsetjmp(back, 1)) {
		null();
		returned = true;
	}
	sigaction(SIGSEGV, &old, NULL);
	assert_false(returned);
	assert_int_equal(fault_address, 0);
}

static void test_registers_noncanonical_base_is_refused(void **state)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old;
	uint64_t base = regmap_get64(REGMAP_GS_BASE);
	volatile bool refused = true;

	(void)state;
	sigaction(SIGSEGV, &sa, &old);
	if (!sigsetjmp(back, 1)) {
		regmap_set64(REGMAP_GS_BASE, 0x8000000000000000);
		refused = false;
	}
	sigaction(SIGSEGV, &old, NULL);
	assert_true(refused);
	assert_int_equal(regmap_get64(REGMAP_GS_BASE), base);
}

static void test_registers_exclude_other_windows(void **state)
{
	static uint8_t host[64];
	struct regmap_config c = {.size = sizeof c,
	                          .guest = 0x200,
	                          .length = 64,
	                          .access = 3,
	                          .backing = REGMAP_HOST,
	                          .host = host};

	(void)state;
	assert_int_equal(regmap_map(&c, NULL), -EEXIST);
	assert_int_equal(regmap_map_registers(), 0);
	assert_int_equal(map_registers(), 0);
}

static int set_up(void **state)
{
	(void)state;
	return regmap_map_registers();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers_store_reaches_register),
		cmocka_unit_test(test_registers_load_reads_register),
		cmocka_unit_test(test_registers_narrow_stores_merge),
		cmocka_unit_test(test_registers_unaligned_spans_two),
		cmocka_unit_test(test_registers_load_into_register_it_reads),
		cmocka_unit_test(test_registers_every_gpr_in_encoding_order),
		cmocka_unit_test(test_registers_xadd_store_wins),
		cmocka_unit_test(test_registers_xchg_swaps),
		cmocka_unit_test(test_registers_locked_add),
		cmocka_unit_test(test_registers_cmpxchg_failing_writes_back),
		cmocka_unit_test(test_registers_push_rsp_is_old),
		cmocka_unit_test(test_registers_pop_into_rsp_wins),
		cmocka_unit_test(test_registers_jump_and_call_through_register),
		cmocka_unit_test(test_registers_rip_reads_as_next),
		cmocka_unit_test(test_registers_rip_store_jumps),
		cmocka_unit_test(test_registers_rip_add_skips),
		cmocka_unit_test(test_registers_flags_read_before_write),
		cmocka_unit_test(test_registers_flags_store_wins),
		cmocka_unit_test(test_registers_flags_reserved_bits_stay),
		cmocka_unit_test(test_registers_bts_reaches_any_bit),
		cmocka_unit_test(test_registers_stos_overwrites_own_count),
		cmocka_unit_test(test_registers_movs_loads_eight),
		cmocka_unit_test(test_registers_xlat_indexes_the_file),
		cmocka_unit_test(test_registers_vector_spans_integers),
		cmocka_unit_test(test_registers_vector_registers_are_memory),
		cmocka_unit_test(test_registers_mxcsr),
		cmocka_unit_test(test_registers_mxcsr_reserved_bits_are_dropped),
		cmocka_unit_test(test_registers_x87),
		cmocka_unit_test(test_registers_mmx_is_low_part_of_slot),
		cmocka_unit_test(test_registers_opmasks),
		cmocka_unit_test(test_registers_zmm31_top),
		cmocka_unit_test(test_registers_gs_base),
		cmocka_unit_test(test_registers_fs_base_reads_as_thread_pointer),
		cmocka_unit_test(test_registers_survive_foreign_fs_base),
		cmocka_unit_test(test_registers_unclaimed_offsets_fault),
		cmocka_unit_test(test_registers_absent_ones_fault),
		cmocka_unit_test(test_registers_call_through_null_faults),
		cmocka_unit_test(test_registers_noncanonical_base_is_refused),
		cmocka_unit_test(test_registers_exclude_other_windows),
	};

	return cmocka_run_group_tests_name("registers", tests, set_up, NULL);
}
