/* SPDX-License-Identifier: MIT */
/*
 * Signals that come at any moment, with window accesses of their own in the handler; and exceptions
 * of the emulated instructions themselves. The registers are those of the program throughout, and
 * devices see each access once.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "lay.h"

enum { PAGE = 4096, AREA = 2 * PAGE, RW = REGMAP_READ | REGMAP_WRITE, VECTORS = 16, YMM = 32 };

#define HOST 0xffff900000000000ULL
#define DEVICE 0xffff900000010000ULL
#define NOWHERE 0x1234567800000000ULL
#define HANDLER_HOST 0xffff900000020000ULL
#define HANDLER_DEVICE 0xffff900000030000ULL

static uint8_t plain[AREA] __attribute__((aligned(PAGE))),
	host[AREA] __attribute__((aligned(PAGE)));
static uint8_t device[AREA] __attribute__((aligned(PAGE)));
static uint64_t device_reads, device_writes;

static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	uint8_t *bytes = ctx;

	device_reads += bytes == device;
	memcpy(value, bytes + offset, width);
	return 0;
}

static int device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	uint8_t *bytes = ctx;

	device_writes += bytes == device;
	memcpy(bytes + offset, &value, width);
	return 0;
}

static const struct regmap_device_ops ops = {device_read, device_write};

/* ---- one piece of code, from all registers to all registers ----------------------------------- */

/* By number: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15. RSP stays the test's. */
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, GPRS = 16 };

struct state {
	uint64_t gpr[GPRS], flags;
	uint8_t ymm[VECTORS][YMM];
};

struct state async_in, async_out;
uint64_t async_code, async_rsp;
void async_run(void);
extern const char async_back[];

#define LOAD(n, reg) "mov async_in+8*" #n "(%rip), %" #reg "\n"
#define SAVE(n, reg) "mov %" #reg ", async_out+8*" #n "(%rip)\n"
#define ALL_GPRS(X) \
	X(0, rax) \
	X(1, rcx) \
	X(2, rdx) \
	X(3, rbx) \
	X(5, rbp) \
	X(6, rsi) \
	X(7, rdi) \
	X(8, r8) X(9, r9) X(10, r10) X(11, r11) X(12, r12) X(13, r13) X(14, r14) X(15, r15)
#define VLOAD(n) "vmovdqu async_in+136+32*" #n "(%rip), %ymm" #n "\n"
#define VSAVE(n) "vmovdqu %ymm" #n ", async_out+136+32*" #n "(%rip)\n"
#define ALL_YMMS(X) \
	X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

_Static_assert(offsetof(struct state, ymm) == 136, "VLOAD and VSAVE");

/* clang-format off */
__asm__(".pushsection .text\n"
	".globl async_run, async_back\n"
	"async_run:\n"
	"push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
	"sub $136, %rsp\n" /* beyond the red zone of nobody */
	"mov %rsp, async_rsp(%rip)\n"
	ALL_YMMS(VLOAD)
	"pushq async_in+128(%rip)\n popfq\n"
	ALL_GPRS(LOAD)
	"jmp *async_code(%rip)\n"
	"async_back:\n"
	ALL_GPRS(SAVE)
	"mov %rsp, async_out+32(%rip)\n"
	"mov async_rsp(%rip), %rsp\n"
	"pushfq\n popq async_out+128(%rip)\n"
	ALL_YMMS(VSAVE)
	"pushq $0x202\n popfq\n"
	"vzeroupper\n"
	"add $136, %rsp\n"
	"pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
	"ret\n"
	".popsection\n");

#define CODE(name, text) \
	__asm__(".pushsection .text\ncode_" #name ":\n" text "\njmp async_back\n.popsection\n"); \
	extern const char code_##name[];
/* clang-format on */

/* RDI and RSI point into the area, 64-byte aligned. YMM15 holds small indices, RCX is 100. */
#define CASES(X) \
	X(load, "mov 3(%rdi), %rax") \
	X(load_byte, "mov 5(%rdi), %ah") \
	X(extend, "movslq (%rdi), %r9") \
	X(store, "mov %r10, 8(%rdi)") \
	X(store_misaligned, "mov %r11, 13(%rdi)") \
	X(store_byte, "mov %bh, 1(%rdi)") \
	X(add_from, "adc (%rdi), %rdx") \
	X(add_to, "sbb %r8, 16(%rdi)") \
	X(shift, "shll %cl, (%rdi)") \
	X(compare, "cmpw $77, (%rdi)") \
	X(multiply, "mulq (%rdi)") \
	X(lock_xadd, "lock xadd %rbx, (%rdi)") \
	X(lock_bts, "lock bts %rcx, (%rdi)") \
	X(exchange, "xchg %rbp, 24(%rdi)") \
	X(lock_cmpxchg, "lock cmpxchg %r12, (%rdi)") \
	X(lock_cmpxchg16b, "lock cmpxchg16b (%rdi)") \
	X(push, "pushq (%rdi)\npop %r13") \
	X(pop, "push %r14\npopq 8(%rdi)") \
	X(rep_movs, "rep movsb") \
	X(rep_movs_words, "rep movsw") \
	X(rep_stos, "rep stosq") \
	X(repne_scas, "repne scasb") \
	X(repe_cmps, "repe cmpsb") \
	X(sse_load, "movups 4(%rdi), %xmm3") \
	X(sse_store, "movaps %xmm4, 32(%rdi)") \
	X(sse_xor, "pxor (%rdi), %xmm5") \
	X(avx_load, "vmovdqu 9(%rdi), %ymm6") \
	X(avx_store, "vmovdqa %ymm7, 64(%rdi)") \
	X(avx_blend, "vpaddq (%rdi), %ymm8, %ymm9") \
	X(insert, "vpinsrw $5, 2(%rdi), %xmm10, %xmm11") \
	X(mask_store, "vpmaskmovd %ymm12, %ymm13, (%rdi)") \
	X(gather, "vpcmpeqd %ymm2, %ymm2, %ymm2\nvpgatherdd %ymm2, (%rdi,%ymm15,4), %ymm1") \
	X(x87, "fildq (%rdi)\nfildq 8(%rdi)\nfaddp\nfistpq 16(%rdi)") \
	X(bmi, "bextr %r15, (%rdi), %r9") \
	X(xsave, "mov $6, %eax\nxor %edx, %edx\nxsave (%rdi)\n" \
	         "vpxor %ymm4, %ymm4, %ymm4\nvpxor %ymm14, %ymm14, %ymm14\nxrstor (%rdi)")

#define X(name, text) CODE(name, text)
CASES(X)
#undef X

static const struct {
	const char *name, *code;
} cases[] = {
#define X(name, text) {#name, code_##name},
	CASES(X)
#undef X
};

enum { COUNT = sizeof(cases) / sizeof(cases[0]), TO = 1024, FROM = 256 };

static uint64_t pattern(uint64_t seed)
{
	seed = (seed + 1) * 0x9e3779b97f4a7c15;
	return seed ^ seed >> 31;
}

static void fill(uint64_t base, unsigned seed)
{
	static const uint32_t indices[8] = {3, 0, 17, 5, 5, 100, 63, 9};

	for (unsigned i = 0; i < GPRS; i++)
		async_in.gpr[i] = pattern(seed + i);
	async_in.gpr[RCX] = 100;
	async_in.gpr[RDI] = base + TO;
	async_in.gpr[RSI] = base + FROM;
	async_in.flags = 0x202 | (seed & 1);
	for (unsigned i = 0; i < VECTORS * YMM / 8; i++) {
		uint64_t value = pattern(seed + 99 + i);

		memcpy(async_in.ymm[0] + 8 * i, &value, 8);
	}
	memcpy(async_in.ymm[15], indices, sizeof(indices));
}

static void fill_memory(uint8_t *memory, unsigned seed)
{
	for (unsigned i = 0; i < AREA / 8; i++) {
		uint64_t value = pattern(seed ^ i) >> (i % 3 * 8);

		memcpy(memory + 8 * i, &value, 8);
	}
	memset(memory + TO + 512, 0, 64); /* XSAVE's header */
}

/* Pointers relative to where they pointed. */
static struct state run_at(uint64_t base, const char *code, unsigned seed)
{
	struct state end;

	fill(base, seed);
	async_code = (uintptr_t)code;
	async_run();
	end = async_out;
	end.gpr[RDI] -= base;
	end.gpr[RSI] -= base;
	end.gpr[RSP] -= async_rsp;
	return end;
}

static void assert_same(const char *name, const struct state *want, const struct state *got,
                        uint64_t ignored)
{
	for (unsigned i = 0; i < GPRS; i++)
		if (want->gpr[i] != got->gpr[i])
			fail_msg("%s: register %u is %llx, not %llx", name, i,
			         (long long)got->gpr[i], (long long)want->gpr[i]);
	if ((want->flags ^ got->flags) & ~ignored)
		fail_msg("%s: flags are %llx, not %llx", name, (long long)got->flags,
		         (long long)want->flags);
	for (unsigned i = 0; i < VECTORS; i++)
		if (memcmp(want->ymm[i], got->ymm[i], YMM))
			fail_msg("%s: YMM%u", name, i);
}

/* Natively on plain memory, and then in the window: no difference. */
static void compare(unsigned which, uint64_t base, uint8_t *behind, unsigned seed)
{
	struct state want, got;

	fill_memory(plain, seed);
	memcpy(behind, plain, AREA);
	want = run_at((uintptr_t)plain, cases[which].code, seed);
	got = run_at(base, cases[which].code, seed);
	assert_same(cases[which].name, &want, &got, 0);
	if (memcmp(plain, behind, AREA))
		fail_msg("%s: memory", cases[which].name);
}

/* ---- the handler ----------------------------------------------------------------------------- */

static volatile uint64_t interrupts, handler_failures;
static uint64_t handler_host[PAGE / 8] __attribute__((aligned(64)));
static uint64_t handler_device[PAGE / 8] __attribute__((aligned(64)));

/* Each kind of access, and each leaves something that can be counted. */
static void on_tick(int signo)
{
	uint64_t rsp_here, rsp_in_page, one = 1, seen;
	double pi;

	(void)signo;
	__asm__ volatile("lock incq (%0)" : : "r"(HANDLER_HOST) : "memory", "cc");
	__asm__ volatile("incq (%0)" : : "r"(HANDLER_DEVICE) : "memory", "cc");
	__asm__ volatile("lock xaddq %0, 8(%1)" : "+r"(one) : "r"(HANDLER_DEVICE) : "memory", "cc");
	__asm__ volatile("mov (%1), %0" : "=r"(seen) : "r"(HANDLER_DEVICE) : "memory");
	__asm__ volatile("mov %%rsp, %0\n\tmov 0x20, %1" : "=&r"(rsp_here), "=r"(rsp_in_page));
	__asm__ volatile("movsd 16(%1), %%xmm9\n\tmovapd %%xmm9, %0"
	                 : "=x"(pi)
	                 : "r"(HANDLER_HOST)
	                 : "xmm9", "memory");
	handler_failures += rsp_here != rsp_in_page || seen != one + 1 || pi != 3.25;
	interrupts++;
}

static timer_t start_timer(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
	struct itimerspec often = {{0, 100000}, {0, 100000}};
	timer_t timer;

	event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
	return timer;
}

static void listen_to_ticks(int flags)
{
	struct sigaction act = {.sa_handler = on_tick, .sa_flags = flags | SA_RESTART};

	interrupts = handler_failures = 0;
	memset(handler_host, 0, sizeof(handler_host));
	memset(handler_device, 0, sizeof(handler_device));
	((double *)handler_host)[2] = 3.25;
	assert_int_equal(sigaction(SIGPROF, &act, NULL), 0);
}

static void check_handler(void)
{
	assert_int_equal(handler_failures, 0);
	assert_int_equal(handler_host[0], interrupts);
	assert_int_equal(handler_device[0], interrupts);
	assert_int_equal(handler_device[1], interrupts);
}

/* ---- the program ----------------------------------------------------------------------------- */

/* How often a device is read and written by each case: as counted when nothing interferes. */
static void count_device(unsigned which, unsigned seed, uint64_t counts[2])
{
	device_reads = device_writes = 0;
	compare(which, DEVICE, device, seed);
	counts[0] = device_reads;
	counts[1] = device_writes;
}

static void all_cases(unsigned seed, uint64_t counts[COUNT][2], bool first)
{
	for (unsigned i = 0; i < COUNT; i++) {
		uint64_t now[2];

		compare(i, HOST, host, seed);
		compare(i, NOWHERE, host, seed);
		count_device(i, seed, now);
		if (first)
			memcpy(counts[i], now, sizeof(now));
		if (memcmp(counts[i], now, sizeof(now)))
			fail_msg("%s: the device saw %d reads and %d writes, not %d and %d",
			         cases[i].name, (int)now[0], (int)now[1], (int)counts[i][0],
			         (int)counts[i][1]);
	}
}

/* Puts signals off, and then runs their handlers with all signals blocked, SIGSEGV included. */
extern void __tsan_init(void) __attribute__((weak));

/* Until the handler has come often enough; less often where all is slow. */
static void interfere(int flags)
{
	const char *mode = getenv("TEST_MODE");
	bool slow = mode && !strcmp(mode, "asan");
	unsigned rounds = slow ? 5 : 40, least = slow ? 1 : 5000;
	uint64_t counts[COUNT][2];
	timer_t timer;

	if (__tsan_init)
		skip();
	all_cases(1, counts, true);
	listen_to_ticks(flags);
	timer = start_timer();
	for (unsigned i = 0; i < rounds || interrupts < least; i++)
		all_cases(1, counts, false);
	assert_int_equal(timer_delete(timer), 0);
	signal(SIGPROF, SIG_IGN);
	check_handler();
}

static void test_async_profiler_on_the_own_stack(void **state)
{
	(void)state;
	interfere(0);
}

static void test_async_profiler_on_an_alternate_stack(void **state)
{
	static uint8_t memory[1 << 18];
	stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)},
		none = {.ss_flags = SS_DISABLE};

	(void)state;
	assert_int_equal(sigaltstack(&stack, NULL), 0);
	interfere(SA_ONSTACK);
	assert_int_equal(sigaltstack(&none, NULL), 0);
}

/* The system's own: setitimer() and a process-wide signal, at whatever thread it hits. */
static volatile bool stop;

static void *access_meanwhile(void *unused)
{
	uint64_t count = 0;

	(void)unused;
	for (; !stop; count++)
		__asm__ volatile("lock incq 64(%0)" : : "r"(HANDLER_HOST) : "memory", "cc");
	return (void *)count;
}

static void test_async_itimer_hits_any_thread(void **state)
{
	struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
	uint64_t counts[COUNT][2], total = 0;
	pthread_t threads[2];

	(void)state;
	if (__tsan_init)
		skip();
	all_cases(1, counts, true);
	listen_to_ticks(0);
	stop = false;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, access_meanwhile, NULL), 0);
	assert_int_equal(setitimer(ITIMER_PROF, &often, NULL), 0);
	for (unsigned i = 0; i < 10; i++)
		all_cases(1, counts, false);
	stop = true;
	for (unsigned i = 0; i < 2; i++) {
		void *count;

		pthread_join(threads[i], &count);
		total += (uintptr_t)count;
	}
	assert_int_equal(setitimer(ITIMER_PROF, &never, NULL), 0);
	signal(SIGPROF, SIG_IGN);
	assert_int_equal(handler_host[8], total);
	/* Two handlers may run at a time here: only what is LOCKed counts. */
	assert_int_equal(handler_host[0], handler_device[1]);
}

/* ---- exceptions ------------------------------------------------------------------------------ */

/* What the program's handler sees, and does. */
static struct {
	int count, signo, code;
	uint64_t address, rip;
	uint64_t gpr[GPRS];
	uint8_t xmm[VECTORS][16];
	unsigned skip; /* bytes of the instruction; 0: jump out */
} seen;

static sigjmp_buf out;

static const int numbers[GPRS] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};

static void on_fpe(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	greg_t *regs = uc->uc_mcontext.gregs;

	seen.count++;
	seen.signo = signo;
	seen.code = info->si_code;
	seen.address = (uintptr_t)info->si_addr;
	seen.rip = (uint64_t)regs[REG_RIP];
	for (unsigned i = 0; i < GPRS; i++)
		seen.gpr[i] = (uint64_t)regs[numbers[i]];
	memcpy(seen.xmm, uc->uc_mcontext.fpregs->_xmm, sizeof(seen.xmm));
	if (!seen.skip)
		siglongjmp(out, 1);
	regs[REG_RIP] += seen.skip;
	regs[REG_R8] = 4242;
	uc->uc_mcontext.fpregs->mxcsr |= 0x1f80; /* masked again */
	uc->uc_mcontext.fpregs->cwd |= 0x3f;
	uc->uc_mcontext.fpregs->swd = 0;
	uc->uc_mcontext.fpregs->_xmm[1].element[0] = 77;
}

/* The faulting instruction stands at fault_NAME, and the code goes on behind it. */
/* clang-format off */
#define FAULTING(name, before, text, after) \
	CODE(name, before "\n.globl fault_" #name ", resume_" #name "\nfault_" #name ":\n" text \
	     "\nresume_" #name ":\n" after) \
	extern const char fault_##name[], resume_##name[];
/* clang-format on */

#define UNMASK_SSE "movl $0x0000, -64(%rsp)\nldmxcsr -64(%rsp)"
#define MASK_SSE "movl $0x1f80, -64(%rsp)\nldmxcsr -64(%rsp)"
#define UNMASK_X87 "fninit\nmovw $0x340, -64(%rsp)\nfldcw -64(%rsp)"

FAULTING(div_by_zero, "", "divq (%rdi)", "")
FAULTING(div_byte, "", "divb (%rdi)", "")
FAULTING(idiv_overflow, "", "idivl 8(%rdi)", "")
FAULTING(sse_div, UNMASK_SSE, "divss (%rdi), %xmm1", MASK_SSE)
FAULTING(sse_packed, UNMASK_SSE, "divpd 16(%rdi), %xmm2", MASK_SSE)
FAULTING(avx_div, UNMASK_SSE, "vdivsd (%rdi), %xmm3, %xmm4", MASK_SSE)
FAULTING(sse_convert, UNMASK_SSE, "cvtss2si 32(%rdi), %r9", MASK_SSE)
FAULTING(x87_div, UNMASK_X87 "\nfld1\nfdivl (%rdi)", "fwait", "fninit")
FAULTING(x87_stack, UNMASK_X87 "\nfstpl 40(%rdi)", "fwait", "fninit")

static const struct faulting {
	const char *name, *code, *fault, *resume;
	int si_code;
} faulting[] = {
#define F(name, code) \
	{ \
#name, code_##name, fault_##name, resume_##name, code \
	}
	F(div_by_zero, FPE_INTDIV), F(div_byte, FPE_INTDIV),   F(idiv_overflow, FPE_INTDIV),
	F(sse_div, FPE_FLTDIV),     F(sse_packed, FPE_FLTDIV), F(avx_div, FPE_FLTDIV),
	F(sse_convert, FPE_FLTINV), F(x87_div, FPE_FLTDIV),    F(x87_stack, FPE_FLTINV),
#undef F
};

enum { FAULTING = sizeof(faulting) / sizeof(faulting[0]) };

static void fill_faulting(uint64_t base, uint8_t *memory)
{
	static const double ones[2] = {1, 1};
	static const float one = 1, huge = 1e30f;
	static const uint32_t divisor = 1;

	memset(memory, 0, AREA);
	memcpy(memory + TO + 8, &divisor, 4);
	memcpy(memory + TO + 32, &huge, 4);
	fill(base, 1);
	async_in.gpr[RAX] = 0xfedcba9876543210;
	async_in.gpr[RDX] = 5;
	memcpy(async_in.ymm[1], &one, 4);
	memcpy(async_in.ymm[2], ones, 16);
	memcpy(async_in.ymm[3], ones, 16);
}

/* RSP by difference: the code pushes nothing. */
static void assert_seen(const struct faulting *f, uint64_t rsp)
{
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.signo, SIGFPE);
	if (seen.code != f->si_code || seen.rip != (uintptr_t)f->fault)
		fail_msg("%s: si_code %d at %+ld", f->name, seen.code,
		         (long)(seen.rip - (uintptr_t)f->fault));
	assert_int_equal(seen.address, (uintptr_t)f->fault);
	for (unsigned i = 0; i < GPRS; i++)
		if (seen.gpr[i] != (i == RSP ? rsp : async_in.gpr[i]))
			fail_msg("%s: register %u is %llx in the handler", f->name, i,
			         (long long)seen.gpr[i]);
	for (unsigned i = 0; i < VECTORS; i++)
		if (memcmp(seen.xmm[i], async_in.ymm[i], 16))
			fail_msg("%s: XMM%u in the handler", f->name, i);
}

/* The handler mends the context, and the code goes on with that. */
static void go_on(const struct faulting *f, uint64_t base, uint8_t *memory)
{
	uint32_t element;

	memset(&seen, 0, sizeof(seen));
	seen.skip = (unsigned)(f->resume - f->fault);
	fill_faulting(base, memory);
	async_code = (uintptr_t)f->code;
	async_run();
	assert_seen(f, async_rsp);
	for (unsigned i = 0; i < GPRS; i++)
		if (i != RSP && async_out.gpr[i] != (i == RDI + 1 ? 4242 : async_in.gpr[i]))
			fail_msg("%s: register %u is %llx behind the handler", f->name, i,
			         (long long)async_out.gpr[i]);
	memcpy(&element, async_out.ymm[1], 4);
	assert_int_equal(element, 77);
	assert_memory_equal(async_out.ymm[2], async_in.ymm[2], YMM);
	assert_memory_equal(async_out.ymm[4], async_in.ymm[4], YMM);
}

static void jump_out(const struct faulting *f, uint64_t base, uint8_t *memory)
{
	memset(&seen, 0, sizeof(seen));
	fill_faulting(base, memory);
	async_code = (uintptr_t)f->code;
	if (!sigsetjmp(out, 1)) {
		async_run();
		fail_msg("%s: no signal", f->name);
	}
	__asm__ volatile("fninit\n\tldmxcsr %0" : : "m"((uint32_t){0x1f80}));
	assert_seen(f, async_rsp);
}

static void test_async_exceptions_are_the_programs(void **state)
{
	struct sigaction act = {.sa_sigaction = on_fpe, .sa_flags = SA_SIGINFO};
	const struct {
		uint64_t base;
		uint8_t *memory;
	} places[] = {{(uintptr_t)plain, plain}, {HOST, host}, {DEVICE, device}, {NOWHERE, host}};

	(void)state;
	assert_int_equal(sigaction(SIGFPE, &act, NULL), 0);
	for (unsigned i = 0; i < FAULTING; i++) {
		for (unsigned k = 0; k < 4; k++) {
			go_on(&faulting[i], places[k].base, places[k].memory);
			jump_out(&faulting[i], places[k].base, places[k].memory);
		}
	}
}

/* A device is read once by an instruction that then faults. */
static void test_async_exceptions_read_the_device_once(void **state)
{
	struct sigaction act = {.sa_sigaction = on_fpe, .sa_flags = SA_SIGINFO};

	(void)state;
	assert_int_equal(sigaction(SIGFPE, &act, NULL), 0);
	device_reads = device_writes = 0;
	go_on(&faulting[0], DEVICE, device);
	assert_int_equal(device_reads, 1);
	assert_int_equal(device_writes, 0);
}

/* All of that under fire. */
static void test_async_exceptions_under_a_profiler(void **state)
{
	timer_t timer;

	(void)state;
	if (__tsan_init)
		skip();
	listen_to_ticks(0);
	timer = start_timer();
	for (unsigned i = 0; i < 20; i++)
		test_async_exceptions_are_the_programs(NULL);
	assert_int_equal(timer_delete(timer), 0);
	signal(SIGPROF, SIG_IGN);
	check_handler();
}

/* ---- An instruction is one ------------------------------------------------------------------- */

static volatile uint64_t ticks;

static void count_tick(int signo)
{
	(void)signo;
	ticks++;
	__asm__ volatile("incq (%0); lock incq (%0)" : : "r"(DEVICE) : "memory", "cc");
}

static void count_tick_locked(int signo)
{
	(void)signo;
	ticks++;
	__asm__ volatile("lock incq (%0)" : : "r"(DEVICE) : "memory", "cc");
}

static uint64_t device_counter(void)
{
	uint64_t value;

	memcpy(&value, device, sizeof(value));
	return value;
}

/* No handler of the same thread's comes between the load and the store, LOCKed or not. */
static void test_async_nothing_comes_between(void **state)
{
	uint64_t mine = 0;
	timer_t timer;

	(void)state;
	if (__tsan_init)
		skip();
	memset(device, 0, sizeof(device));
	ticks = 0;
	assert_ptr_not_equal(signal(SIGPROF, count_tick), SIG_ERR);
	timer = start_timer();
	for (; ticks < 2000; mine += 3)
		__asm__ volatile(
			"incq (%0); lock addq $1, (%0); addq $1, (%0); decq (%0); incq (%0)"
			:
			: "r"(DEVICE)
			: "memory", "cc");
	assert_int_equal(timer_delete(timer), 0);
	signal(SIGPROF, SIG_IGN);
	assert_int_equal(device_counter(), mine + 2 * ticks);
}

static atomic_bool over;

static void *lock_until_over(void *count)
{
	while (!atomic_load(&over)) {
		__asm__ volatile("lock incq (%0)" : : "r"(DEVICE) : "memory", "cc");
		++*(uint64_t *)count;
	}
	return NULL;
}

/*
 * A handler that LOCKs the device which its thread was storing to, while another thread has the
 * lock and waits for the store: each gets its turn, and none is lost.
 */
static void test_async_locks_in_handlers_of_stores(void **state)
{
	uint64_t others = 0;
	pthread_t thread;
	timer_t timer;

	(void)state;
	if (__tsan_init)
		skip();
	memset(device, 0, sizeof(device));
	ticks = 0;
	atomic_store(&over, false);
	assert_ptr_not_equal(signal(SIGPROF, count_tick_locked), SIG_ERR);
	assert_int_equal(pthread_create(&thread, NULL, lock_until_over, &others), 0);
	timer = start_timer();
	while (ticks < 300)
		__asm__ volatile("movq $1, 64(%0)" : : "r"(DEVICE) : "memory");
	assert_int_equal(timer_delete(timer), 0);
	signal(SIGPROF, SIG_IGN);
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	assert_int_equal(device_counter(), others + ticks);
}

static sigset_t mask_in_callback;
static jmp_buf after_callback;
static bool leave;

static int look_at_mask(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = 0;
	pthread_sigmask(SIG_BLOCK, NULL, &mask_in_callback);
	if (leave)
		longjmp(after_callback, 1);
	return 0;
}

static int take_anything(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	return 0;
}

static bool is_blocked_now(int signo)
{
	sigset_t now;

	pthread_sigmask(SIG_BLOCK, NULL, &now);
	return sigismember(&now, signo);
}

/* What a callback leaves by longjmp(), which knows nothing of masks, leaves nothing blocked. */
static void test_async_read_modify_write_leaves_the_mask(void **state)
{
	static const struct regmap_device_ops watched = {look_at_mask, take_anything};
	struct regmap_config c = {
		.size = sizeof(c),
		.guest = DEVICE + AREA,
		.length = 64,
		.access = RW,
		.backing = REGMAP_DEVICE,
		.ops = &watched,
	};
	struct regmap_window *w;

	(void)state;
	assert_int_equal(regmap_map(&c, &w), 0);
	__asm__ volatile("movq (%0), %%rax" : : "r"(c.guest) : "rax", "memory");
	assert_false(sigismember(&mask_in_callback, SIGUSR1));
	__asm__ volatile("incq (%0)" : : "r"(c.guest) : "memory", "cc");
	assert_false(sigismember(&mask_in_callback, SIGINT));
	assert_false(is_blocked_now(SIGUSR1));
	leave = true;
	if (!setjmp(after_callback)) {
		__asm__ volatile("incq (%0)" : : "r"(c.guest) : "memory", "cc");
		fail();
	}
	leave = false;
	assert_false(is_blocked_now(SIGUSR1));
	assert_int_equal(regmap_unmap(w), 0);
}

static int lay_all(void **state)
{
	(void)state;
	return t_lay_host("host", HOST, host, AREA, RW) ||
	       t_lay_host("nowhere", NOWHERE, host, AREA, RW) ||
	       t_lay_device("device", DEVICE, AREA, &ops, device) ||
	       t_lay_host("handler", HANDLER_HOST, handler_host, PAGE, RW) ||
	       t_lay_device("handler", HANDLER_DEVICE, PAGE, &ops, handler_device) ||
	       regmap_map_registers();
}

#define T(name) cmocka_unit_test(test_async_##name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(profiler_on_the_own_stack),
		T(profiler_on_an_alternate_stack),
		T(itimer_hits_any_thread),
		T(exceptions_are_the_programs),
		T(exceptions_read_the_device_once),
		T(exceptions_under_a_profiler),
		T(nothing_comes_between),
		T(locks_in_handlers_of_stores),
		T(read_modify_write_leaves_the_mask),
	};

	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi"))
		return 77;
	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("async", tests, lay_all, NULL);
}
