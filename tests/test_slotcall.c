/* SPDX-License-Identifier: MIT */
/* What regmap__slot_call() does for a slot: registers, flags, vector state, ways out, signals. */
#define _GNU_SOURCE
#include <errno.h>
#include <execinfo.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include <regmap/registers.h>
#include <regmap/regmap.h>

#include "child.h"
#include "handslot.h"

#define DEVICE 0x40000000u
#define HOST 0x40010000u
#define GENERAL 0x40020000u

/* All registers in and out, around one instruction. */
struct state {
	uint64_t gpr[16];
	uint64_t flags;
	uint8_t vector[16][32];
};

/* clang-format off */
#define SITE(name, instruction) \
	__asm__(".text\n.p2align 4\n.type " #name ", @function\n" #name ":\n.cfi_startproc\n" \
	"push %rbx\n.cfi_adjust_cfa_offset 8\n.cfi_offset rbx, -16\n" \
	"push %rbp\n.cfi_adjust_cfa_offset 8\n.cfi_offset rbp, -24\n" \
	"push %r12\n.cfi_adjust_cfa_offset 8\n.cfi_offset r12, -32\n" \
	"push %r13\n.cfi_adjust_cfa_offset 8\n.cfi_offset r13, -40\n" \
	"push %r14\n.cfi_adjust_cfa_offset 8\n.cfi_offset r14, -48\n" \
	"push %r15\n.cfi_adjust_cfa_offset 8\n.cfi_offset r15, -56\n" \
	"push %rdi\n.cfi_adjust_cfa_offset 8\n" \
	"pushq 128(%rdi)\npopfq\n" \
	"mov 0(%rdi),%rax\nmov 8(%rdi),%rcx\nmov 16(%rdi),%rdx\nmov 24(%rdi),%rbx\n" \
	"mov 40(%rdi),%rbp\nmov 48(%rdi),%rsi\nmov 64(%rdi),%r8\nmov 72(%rdi),%r9\n" \
	"mov 80(%rdi),%r10\nmov 88(%rdi),%r11\nmov 96(%rdi),%r12\nmov 104(%rdi),%r13\n" \
	"mov 112(%rdi),%r14\nmov 120(%rdi),%r15\nmov 56(%rdi),%rdi\n" \
	"movq $0x1234567,-8(%rsp)\nmovq $0x7654321,-128(%rsp)\n" \
	#name "_site: " instruction "\n" #name "_next:\n" \
	"mov %rsp," #name "_sp(%rip)\n" \
	"lea -136(%rsp),%rsp\npushfq\npush %rdi\n" \
	"mov 152(%rsp),%rdi\n" \
	"popq 56(%rdi)\npopq 128(%rdi)\npushq $2\npopfq\nlea 136(%rsp),%rsp\n" \
	"mov %rax,0(%rdi)\nmov %rcx,8(%rdi)\nmov %rdx,16(%rdi)\nmov %rbx,24(%rdi)\n" \
	"mov %rsp,32(%rdi)\nmov %rbp,40(%rdi)\nmov %rsi,48(%rdi)\nmov %r8,64(%rdi)\nmov %r9,72(%rdi)\n" \
	"mov %r10,80(%rdi)\nmov %r11,88(%rdi)\nmov %r12,96(%rdi)\nmov %r13,104(%rdi)\n" \
	"mov %r14,112(%rdi)\nmov %r15,120(%rdi)\n" \
	"mov -8(%rsp),%rax\nsub $0x1234567,%rax\nmov -128(%rsp),%rcx\nsub $0x7654321,%rcx\nor %rcx,%rax\n" \
	"pop %rdi\n.cfi_adjust_cfa_offset -8\npop %r15\n.cfi_adjust_cfa_offset -8\npop %r14\n.cfi_adjust_cfa_offset -8\n" \
	"pop %r13\n.cfi_adjust_cfa_offset -8\npop %r12\n.cfi_adjust_cfa_offset -8\n" \
	"pop %rbp\n.cfi_adjust_cfa_offset -8\npop %rbx\n.cfi_adjust_cfa_offset -8\nret\n" \
	".cfi_endproc\n.size " #name ", . - " #name "\n.local " #name "_sp\n.comm " #name "_sp, 8, 8\n"); \
	extern const char name##_site[], name##_next[]; \
	long name(struct state *)
/* clang-format on */

SITE(add_load, "addl 0x100(%rdi), %eax; .byte 0x0f, 0x1f, 0x00");
SITE(store, "movl %eax, 0x100(%rdi)");
SITE(modify, "lock xaddl %eax, 0x100(%rdi)");
SITE(divide, "divl 0x100(%rdi)");
SITE(sse_load, "paddd 0x100(%rdi), %xmm3");
SITE(move_rsp, "movq %rax, 0x20");
SITE(write_rip, "movq %rax, 0x80");
SITE(read_rip, "movq 0x80, %rax");
SITE(string, "rep movsb; nopl (%rax)"); /* never patched */
SITE(plain, "movl 0x100(%rdi), %eax");

static uint32_t memory[1024] __attribute__((aligned(64)));
static struct {
	uint32_t value, stored, width;
	unsigned reads, writes;
	int result;
	void (*hook)(void);
} device;

/* All that a callback may change. */
static void spoil(void)
{
	__asm__ volatile(
		"pcmpeqd %%xmm0, %%xmm0\n\tmovdqa %%xmm0, %%xmm3\n\tmovdqa %%xmm0, %%xmm15\n\t"
		"fldpi\n\tfstp %%st(0)"
		:
		:
		: "xmm0", "xmm3", "xmm15");
	errno = 77;
}

static int read_device(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)offset;
	device.width = width;
	device.reads++;
	if (!ctx)
		spoil();
	if (device.hook)
		device.hook();
	*value = device.value;
	return device.result;
}

static int write_device(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)offset;
	device.width = width;
	device.writes++;
	if (!ctx)
		spoil();
	if (device.hook)
		device.hook();
	device.stored = (uint32_t)value;
	return device.result;
}

static const struct regmap_device_ops ops = {read_device, write_device};

static void lay(struct regmap_config c)
{
	c.size = sizeof(c);
	c.length = 4096;
	c.access = REGMAP_READ | REGMAP_WRITE;
	assert_int_equal(regmap_map(&c, NULL), 0);
}

static int set_up(void **unused)
{
	static const void *const sites[] = {add_load_site,  store_site,    modify_site,
	                                    divide_site,    sse_load_site, move_rsp_site,
	                                    write_rip_site, read_rip_site, plain_site};

	(void)unused;
	lay((struct regmap_config){.guest = DEVICE, .backing = REGMAP_DEVICE, .ops = &ops});
	lay((struct regmap_config){.guest = HOST, .backing = REGMAP_HOST, .host = memory});
	lay((struct regmap_config){.guest = GENERAL,
	                           .backing = REGMAP_DEVICE,
	                           .flags = REGMAP_GENERAL,
	                           .ops = &ops,
	                           .ctx = &device});
	assert_int_equal(regmap_map_registers(), 0);
	for (unsigned i = 0; i < sizeof(sites) / sizeof(sites[0]); i++)
		t_handslot_make(sites[i]);
	return 0;
}

static int forget(void **unused)
{
	(void)unused;
	memset(&device, 0, sizeof(device));
	memset(memory, 0, sizeof(memory));
	return 0;
}

static struct state numbers(uint64_t rdi)
{
	struct state s;

	for (unsigned i = 0; i < 16; i++)
		s.gpr[i] = 0x1111111111111111u * i + 7;
	s.gpr[7] = rdi - 0x100;
	s.flags = 0xad7; /* all but DF; OF, too */
	return s;
}

/* All but RAX, RSP and the status flags are to be as they were. */
static void assert_kept(const struct state *before, const struct state *after)
{
	for (unsigned i = 1; i < 16; i++)
		if (i != 4)
			assert_int_equal(after->gpr[i], before->gpr[i]);
}

static void assert_adds(uint64_t guest)
{
	struct state s = numbers(guest), before = s;

	s.gpr[0] = before.gpr[0] = 0xffffffff00000005;
	assert_int_equal(add_load(&s), 0);
	assert_kept(&before, &s);
	assert_int_equal(s.gpr[0], 2);
	assert_int_equal(s.flags & 0xcd5, 0x11); /* carry and half carry */
}

static void test_slotcall_host(void **unused)
{
	(void)unused;
	memory[0] = 0xfffffffd;
	assert_adds(HOST);
}

static void test_slotcall_general_device(void **unused)
{
	(void)unused;
	device.value = 0xfffffffd;
	assert_adds(GENERAL);
	assert_int_equal(device.reads, 1);
	assert_int_equal(device.width, 4);
}

static void test_slotcall_any_device(void **unused)
{
	(void)unused;
	device.value = 0xfffffffd;
	errno = 5;
	assert_adds(DEVICE);
	assert_int_equal(device.reads, 1);
	assert_int_equal(errno, 5);
}

static void test_slotcall_store_keeps_flags(void **unused)
{
	struct state s = numbers(DEVICE), before = s;

	(void)unused;
	s.flags = 0xcd7 | 0x40000; /* DF, too, and AC */
	assert_int_equal(store(&s), 0);
	assert_kept(&before, &s);
	assert_int_equal(s.gpr[0], before.gpr[0]);
	assert_int_equal(s.flags & 0x40cd5, 0x40cd5);
	assert_int_equal(device.stored, (uint32_t)before.gpr[0]);
}

static void test_slotcall_modifies(void **unused)
{
	struct state s = numbers(DEVICE);

	(void)unused;
	device.value = 40;
	s.gpr[0] = 2;
	assert_int_equal(modify(&s), 0);
	assert_int_equal(s.gpr[0], 40);
	assert_int_equal(device.stored, 42);
	assert_int_equal(device.reads, 1);
	assert_int_equal(device.writes, 1);
}

/* Another instruction than the patched one sees vector registers as they were. */
static void test_slotcall_vectors_survive_callback(void **unused)
{
	static const uint32_t in[16][4] __attribute__((
		aligned(16))) = {[0] = {1, 2, 3, 4}, [3] = {5, 6, 7, 8}, [15] = {9, 10, 11, 12}};
	uint32_t out[3][4];
	struct state s = numbers(DEVICE);

	(void)unused;
	__asm__ volatile(
		"movdqa (%1), %%xmm0\n\tmovdqa 48(%1), %%xmm3\n\tmovdqa 240(%1), %%xmm15\n\t"
		"mov %2, %%rdi\n\tlea -128(%%rsp), %%rsp\n\tcall store\n\tlea 128(%%rsp), %%rsp\n\t"
		"movdqu %%xmm0, (%0)\n\tmovdqu %%xmm3, 16(%0)\n\tmovdqu %%xmm15, 32(%0)"
		:
		: "b"(out), "r"(in), "r"(&s)
		: "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm3",
		  "xmm15", "memory", "cc");
	assert_int_equal(device.writes, 1);
	assert_memory_equal(out[0], in[0], 16);
	assert_memory_equal(out[1], in[3], 16);
	assert_memory_equal(out[2], in[15], 16);
}

static void test_slotcall_vector_result(void **unused)
{
	static const uint32_t in[4] __attribute__((aligned(16))) = {1, 2, 3, 4};
	uint32_t out[4];
	struct state s = numbers(HOST);

	(void)unused;
	memory[0] = 10, memory[1] = 20, memory[2] = 30, memory[3] = 40;
	__asm__ volatile("movdqa (%1), %%xmm3\n\tmov %2, %%rdi\n\tlea -128(%%rsp), %%rsp\n\t"
	                 "call sse_load\n\tlea 128(%%rsp), %%rsp\n\tmovdqu %%xmm3, (%0)"
	                 :
	                 : "b"(out), "r"(in), "r"(&s)
	                 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm3",
	                   "memory", "cc");
	assert_int_equal(out[0], 11);
	assert_int_equal(out[3], 44);
}

static void test_slotcall_ordinary_memory(void **unused)
{
	static uint32_t ordinary = 0xfffffffd;

	(void)unused;
	assert_adds((uintptr_t)&ordinary);
}

static void test_slotcall_reads_rip(void **unused)
{
	struct state s = numbers(0);

	(void)unused;
	assert_int_equal(read_rip(&s), 0);
	assert_int_equal(s.gpr[0], (uintptr_t)read_rip_next);
}

static void test_slotcall_jumps(void **unused)
{
	struct state s = numbers(0), before;

	(void)unused;
	s.gpr[0] = (uintptr_t)write_rip_next;
	before = s;
	assert_int_equal(write_rip(&s), 0);
	assert_kept(&before, &s);
	assert_int_equal(s.gpr[0], (uintptr_t)write_rip_next);
}

/* RSP is written, as what it was or as it must be to come back. */
static void test_slotcall_moves_stack(void **unused)
{
	struct state s = numbers(0), before;

	(void)unused;
	assert_int_equal(plain((s = numbers(HOST), &s)), 0);
	before = numbers(0);
	before.gpr[0] = s.gpr[4]; /* this frame's depth is that one's */
	s = before;
	assert_int_equal(move_rsp(&s), 0);
	assert_kept(&before, &s);
	assert_int_equal(s.gpr[4], before.gpr[0]);
}

/* --- failures --- */

static sigjmp_buf out_of_handler;
static struct {
	int signo, code;
	uint64_t address, rip, rax;
} seen;

static void see(int signo, siginfo_t *info, void *ucontext)
{
	const greg_t *regs = ((const ucontext_t *)ucontext)->uc_mcontext.gregs;

	seen.signo = signo;
	seen.code = info->si_code;
	seen.address = (uintptr_t)info->si_addr;
	seen.rip = (uint64_t)regs[REG_RIP];
	seen.rax = (uint64_t)regs[REG_RAX];
	siglongjmp(out_of_handler, 1);
}

static void assert_dies(long site(struct state *), const char *at, uint64_t guest, int signo,
                        uint64_t address)
{
	struct sigaction act = {.sa_sigaction = see, .sa_flags = SA_SIGINFO}, before;
	struct state s = numbers(guest);

	memset(&seen, 0, sizeof(seen));
	s.gpr[2] = 0;
	sigaction(signo, &act, &before);
	if (!sigsetjmp(out_of_handler, 1))
		site(&s);
	sigaction(signo, &before, NULL);
	assert_int_equal(seen.signo, signo);
	assert_int_equal(seen.rip, (uintptr_t)at);
	assert_int_equal(seen.address, address);
	assert_int_equal(seen.rax, 7);
}

static void test_slotcall_device_refuses(void **unused)
{
	(void)unused;
	device.result = -EIO;
	assert_dies(add_load, add_load_site, DEVICE, SIGBUS, DEVICE);
	assert_int_equal(device.reads, 1);
	assert_dies(store, store_site, GENERAL, SIGBUS, GENERAL);
	assert_int_equal(device.writes, 1);
}

static void test_slotcall_division_faults(void **unused)
{
	(void)unused;
	assert_dies(divide, divide_site, DEVICE, SIGFPE, (uintptr_t)divide_site);
	assert_int_equal(device.reads, 1);
}

static void test_slotcall_null_pointer(void **unused)
{
	(void)unused;
	assert_dies(add_load, add_load_site, 0x7000, SIGSEGV, 0x7000);
	assert_int_equal(seen.code, SEGV_MAPERR);
}

/* --- stacks and signals --- */

static void *frames[32];
static int depth;

static void look_back(void)
{
	depth = backtrace(frames, 32);
}

static void assert_shows(const char *site)
{
	bool found = false;

	for (int i = 0; i + 1 < depth; i++)
		if (frames[i] == site)
			found = (char *)frames[i + 1] - (char *)assert_adds < 0x10000 ||
			        (char *)assert_adds - (char *)frames[i + 1] < 0x10000;
	assert_true(found);
}

static void test_slotcall_backtrace(void **unused)
{
	(void)unused;
	device.hook = look_back;
	device.value = 0xfffffffd;
	assert_adds(DEVICE);
	assert_shows(add_load_site);
	assert_adds(GENERAL);
	assert_shows(add_load_site);
}

static jmp_buf out_of_callback;

static void leave(void)
{
	longjmp(out_of_callback, 1);
}

static void test_slotcall_longjmp(void **unused)
{
	struct state s = numbers(DEVICE);
	volatile int times = 0;

	(void)unused;
	device.hook = leave;
	if (!setjmp(out_of_callback))
		add_load(&s);
	times++;
	assert_int_equal(device.reads, 1);
	device.hook = NULL;
	device.value = 0xfffffffd;
	assert_adds(DEVICE);
}

/* Each step of the trap flag is one of the program's instructions. */
static volatile unsigned steps, steps_inside;

static void count_step(int signo, siginfo_t *info, void *ucontext)
{
	const greg_t *regs = ((const ucontext_t *)ucontext)->uc_mcontext.gregs;
	uint64_t rip = (uint64_t)regs[REG_RIP];

	(void)signo, (void)info;
	steps++;
	if (rip - (uintptr_t)add_load_site < 16)
		steps_inside++;
	else if (rip - (uintptr_t)add_load > 1024)
		abort(); /* in a slot, or the library */
}

static void test_slotcall_single_steps(void **unused)
{
	struct sigaction act = {.sa_sigaction = count_step, .sa_flags = SA_SIGINFO}, before;
	struct state s = numbers(DEVICE);

	(void)unused;
	sigaction(SIGTRAP, &act, &before);
	device.value = 0xfffffffd;
	s.gpr[0] = 5;
	s.flags = 0x102;
	steps = steps_inside = 0;
	add_load(&s);
	__asm__ volatile("pushfq; andl $~0x100,(%%rsp); popfq" : : : "cc", "memory");
	sigaction(SIGTRAP, &before, NULL);
	assert_int_equal(s.gpr[0], 2);
	assert_int_equal(device.reads, 1);
	assert_int_equal(steps_inside, 3); /* before it, behind it, and behind the NOP */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(test_slotcall_##name, forget)
	const struct CMUnitTest tests[] = {
		TEST(host),
		TEST(general_device),
		TEST(any_device),
		TEST(store_keeps_flags),
		TEST(modifies),
		TEST(vectors_survive_callback),
		TEST(vector_result),
		TEST(ordinary_memory),
		TEST(reads_rip),
		TEST(jumps),
		TEST(moves_stack),
		TEST(device_refuses),
		TEST(division_faults),
		TEST(null_pointer),
		TEST(backtrace),
		TEST(longjmp),
		TEST(single_steps),
	};

	return cmocka_run_group_tests_name("slotcall", tests, set_up, NULL);
}
