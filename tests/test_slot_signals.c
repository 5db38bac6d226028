/* SPDX-License-Identifier: MIT */
/*
 * A signal before each single instruction of a patched site's slot and of what all slots call: its
 * handler never sees these, but the program's own code and registers (or the C that they call, like that
 * of any function); it uses a patched site itself, and forks; and in the end the access was made once, in
 * the child as well.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <regmap/regmap.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <Zydis/Zydis.h>
#include <cmocka.h>

#include "../arch/x86_64/slot.h"
#include "../arch/x86_64/slotmove.h"
#include "../src/patch_sites.h"
#include "child.h"
#include "lay.h"

enum { HOST = 0x40000000, ANY = 0x40010000, GENERAL = 0x40020000, INNER = 0x40030000 };
enum { SIZE = 0x1000, AT = 0x40, FAILS = 0x80, WARM_UP = 3000, MORE = 4 };
enum { INSTRUCTIONS = 4096 };

static const uint64_t CELL = 0x1122334455667788, RAX = 0x99aabbccddeeff00, RSI = 3;
enum { ADDED = 0x55667788 + 3 };

/* RDI: where; RSI: what; RAX: what is there before. What it leaves in RAX and the flags goes out. */
uint64_t slot_rax;
uint16_t slot_flags;
#define SITE(name, instruction) \
	__asm__(".text\n.p2align 4\n.type " #name ", @function\n" #name ":\n.cfi_startproc\n" \
	        "mov %rdx, %rax\nmov $7, %r8d\n" \
	        "movq $0x1234567, -8(%rsp)\nmovq $0x7654321, -128(%rsp)\n" #name \
	        "_from: int3\nstc\n" #name "_site: " instruction "\n" #name "_next:\n" \
	        "mov %rax, slot_rax(%rip)\nlahf\nmov %ax, slot_flags(%rip)\n" \
	        "int3\n" #name "_to:\n" \
	        "mov -8(%rsp), %rax\nsub $0x1234567, %rax\n" \
	        "mov -128(%rsp), %rcx\nsub $0x7654321, %rcx\nor %rcx, %rax\nret\n" \
	        ".cfi_endproc\n.size " #name ", . - " #name "\n"); \
	uint64_t name(uint64_t at, uint64_t rsi, uint64_t rax); \
	extern const uint8_t name##_from[], name##_site[], name##_next[], name##_to[]

SITE(load, "movl (%rdi), %eax\nnop\nnop\nnop\nnop");
SITE(count, "movl (%rdi), %eax\ninc %r8d\nnop"); /* the jump takes in what counts */
SITE(store, "movl %esi, (%rdi)\nnop\nnop\nnop\nnop");
SITE(add, "addl %esi, (%rdi)\nnop\nnop\nnop\nnop");
SITE(exchange, "lock xaddl %esi, (%rdi)\nnop\nnop\nnop\nnop");
SITE(compare, "cmpl %esi, (%rdi)\nnop\nnop\nnop\nnop");
SITE(vector, "movdqu (%rdi), %xmm3\nnop\nnop\nnop\nnop");

/* The handler's own */
__asm__(".text\n.p2align 4\n.type inner, @function\ninner:\n.cfi_startproc\ninner_site: movl (%rdi), %eax\nnop\nnop\nnop\nnop\nret\n"
        ".cfi_endproc\n.size inner, . - inner\n");
uint32_t inner(uint64_t at);
extern const uint8_t inner_site[];

struct kind {
	const char *name;
	uint64_t (*function)(uint64_t, uint64_t, uint64_t);
	const uint8_t *from, *site, *next, *to;
	uint64_t at;
	unsigned reads, writes; /* of a device */
	uint64_t rax;           /* after it */
	uint64_t cell;          /* likewise */
	bool fails;
};

#define KIND(name, site, ...) \
	{ \
		name, site, site##_from, site##_site, site##_next, site##_to, __VA_ARGS__ \
	}
#define LOW 0x55667788
static const struct kind kinds[] = {
	KIND("a load from memory", load, HOST + AT, 0, 0, LOW, 0x1122334455667788),
	KIND("a store to memory", store, HOST + AT, 0, 0, 0x99aabbccddeeff00, 0x1122334400000003),
	KIND("an addition in memory", add, HOST + AT, 0, 0, 0x99aabbccddeeff00,
             0x1122334400000000 | ADDED),
	KIND("a LOCKed one", exchange, HOST + AT, 0, 0, 0x99aabbccddeeff00,
             0x1122334400000000 | ADDED),
	KIND("a comparison with memory", compare, HOST + AT, 0, 0, 0x99aabbccddeeff00,
             0x1122334455667788),
	KIND("a vector from memory", vector, HOST + AT, 0, 0, 0x99aabbccddeeff00,
             0x1122334455667788),
	KIND("a load from a device", load, ANY + AT, 1, 0, LOW, 0x1122334455667788),
	KIND("a store to a device", store, ANY + AT, 0, 1, 0x99aabbccddeeff00, 0x1122334400000003),
	KIND("an addition in a device", add, ANY + AT, 1, 1, 0x99aabbccddeeff00,
             0x1122334400000000 | ADDED),
	KIND("a LOCKed one in a device", exchange, ANY + AT, 1, 1, 0x99aabbccddeeff00,
             0x1122334400000000 | ADDED),
	KIND("a vector from a device", vector, ANY + AT, 2, 0, 0x99aabbccddeeff00,
             0x1122334455667788),
	KIND("a load from a general device", load, GENERAL + AT, 1, 0, LOW, 0x1122334455667788),
	KIND("a load from a general device, and counting", count, GENERAL + AT, 1, 0, LOW,
             0x1122334455667788),
	KIND("a load from a device, and counting", count, ANY + AT, 1, 0, LOW, 0x1122334455667788),
	KIND("a store to a general device", store, GENERAL + AT, 0, 1, 0x99aabbccddeeff00,
             0x1122334400000003),
	KIND("an addition in a general device", add, GENERAL + AT, 1, 1, 0x99aabbccddeeff00,
             0x1122334400000000 | ADDED),
	KIND("a load that a device refuses", load, ANY + FAILS, 1, 0, 0x99aabbccddeeff00,
             0x1122334455667788, true),
	KIND("a store that a general device refuses", store, GENERAL + FAILS, 0, 1,
             0x99aabbccddeeff00, 0x1122334455667788, true),
	KIND("an addition whose store is refused", add, ANY + FAILS + 4, 1, 1, 0x99aabbccddeeff00,
             0x1122334455667788, true),
};

/* Of tracer and child */
struct shared {
	bool over;
	unsigned signals, failures, count;
	uint64_t address[INSTRUCTIONS];
};
static struct shared *shared;

static uint8_t memory[SIZE] __attribute__((aligned(64)));
static uint64_t cell;
static volatile unsigned reads, writes, refused;
static volatile uint32_t inner_reads;
static const struct kind *now;
static bool is_child;

static void wrong(const char *what, uint64_t is, uint64_t wanted)
{
	if (shared->failures++ < 20)
		dprintf(1, "%s%s: %s: 0x%llx, not 0x%llx\n", is_child ? "in a child, " : "",
		        now->name, what, (unsigned long long)is, (unsigned long long)wanted);
}

static int model_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	const uint64_t mask = width == 8 ? UINT64_MAX : UINT32_MAX;

	(void)ctx;
	reads++;
	*value = cell & mask;
	return offset == FAILS ? -EIO : 0;
}

static int model_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx;
	writes++;
	if (offset >= FAILS)
		return -EIO;
	memcpy(&cell, &value, width);
	return 0;
}

static int inner_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = ++inner_reads;
	return 0;
}

static const struct regmap_device_ops model = {model_read, model_write},
				      inner_model = {inner_read, NULL};

extern const uint8_t regmap__slot_saved_some[], regmap__slot_restored_some[],
	regmap__slot_restoring_x87[], regmap__slot_undecided_all[], regmap__slot_saved[],
	regmap__slot_restored[], regmap__slot_handing[], regmap__slot_handled[],
	regmap__slot_handling[], regmap__slot_not_handled[];

static bool lies_in(uint64_t rip, const uint8_t *from, const uint8_t *to)
{
	return rip >= (uintptr_t)from && rip < (uintptr_t)to;
}

/* What saves and restores vector state around a callback shows as the callback does. */
static bool is_around_callback(uint64_t rip)
{
	return lies_in(rip, regmap__slot_saved_some, regmap__slot_restored_some) ||
	       lies_in(rip, regmap__slot_restoring_x87, regmap__slot_undecided_all) ||
	       lies_in(rip, regmap__slot_saved, regmap__slot_restored);
}

/* Neither a slot nor what only slots run */
static bool is_c(uint64_t rip)
{
	struct patch_place place;

	return is_around_callback(rip) ||
	       (!regmap__patch_find(rip, &place) &&
	        (!regmap__slot_is_called(rip) ||
	         lies_in(rip, regmap__slot_handing, regmap__slot_handled) ||
	         lies_in(rip, regmap__slot_handling, regmap__slot_not_handled)));
}

static bool is_between(uint64_t rip)
{
	return lies_in(rip, now->from, now->to);
}

static void check_registers(const greg_t *regs, uint64_t rip, uint64_t rax)
{
	if (rip == (uintptr_t)now->site && rax != RAX)
		wrong("a handler sees RAX at the site", rax, RAX);
	if (rip == (uintptr_t)now->next && rax != now->rax)
		wrong("a handler sees RAX behind the site", rax, now->rax);
	if (regs[REG_RSI] != (greg_t)RSI && now->function != exchange)
		wrong("a handler sees RSI", (uint64_t)regs[REG_RSI], RSI);
	if (now->function == count && regs[REG_R8] != (rip > (uintptr_t)now->site + 2 ? 8 : 7))
		wrong("a handler sees the count", (uint64_t)regs[REG_R8],
		      rip - (uintptr_t)now->site);
	if ((uint64_t)regs[REG_RDI] != now->at)
		wrong("a handler sees RDI", (uint64_t)regs[REG_RDI], now->at);
}

static void use_inner(void)
{
	uint32_t before = inner_reads;

	if (inner(INNER) != before + 1)
		wrong("what the handler read", inner_reads, before + 1);
}

/* Both go on from here. */
static void fork_here(void)
{
	int status;

	if (t_go_on_in_both(&status)) {
		is_child = true;
		use_inner();
	} else if (status) {
		wrong("a child's end", (uint64_t)status, 0);
	}
}

static void on_signal(int signo, siginfo_t *info, void *ucontext)
{
	const greg_t *regs = ((ucontext_t *)ucontext)->uc_mcontext.gregs;
	uint64_t rip = (uint64_t)regs[REG_RIP], rax = (uint64_t)regs[REG_RAX];

	(void)signo, (void)info;
	shared->signals++;
	if (!is_between(rip) && !is_c(rip))
		wrong("a handler sees RIP", rip, (uintptr_t)now->site);
	if (is_between(rip))
		check_registers(regs, rip, rax);
	use_inner();
	fork_here();
}

static void ignore(int signo)
{
	(void)signo;
}

static void on_refusal(int signo, siginfo_t *info, void *ucontext)
{
	greg_t *regs = ((ucontext_t *)ucontext)->uc_mcontext.gregs;

	(void)signo;
	refused++;
	if ((uint64_t)regs[REG_RIP] != (uintptr_t)now->site)
		wrong("SIGBUS at", (uint64_t)regs[REG_RIP], (uintptr_t)now->site);
	if ((uintptr_t)info->si_addr != now->at)
		wrong("SIGBUS for", (uintptr_t)info->si_addr, now->at);
	regs[REG_RIP] = (greg_t)(uintptr_t)now->next;
}

static void reset(void)
{
	cell = CELL;
	memcpy(memory + AT, &cell, sizeof(cell));
	reads = writes = refused = 0;
}

static void check_round(uint64_t red_zone)
{
	uint64_t is = cell;

	if (now->at < ANY)
		memcpy(&is, memory + AT, sizeof(is));
	if (red_zone)
		wrong("the red zone changed by", red_zone, 0);
	if (is != now->cell)
		wrong("in the end there is", is, now->cell);
	if (slot_rax != now->rax)
		wrong("in the end RAX is", slot_rax, now->rax);
	if (reads != now->reads)
		wrong("reads of the device", reads, now->reads);
	if (writes != now->writes)
		wrong("writes of the device", writes, now->writes);
	if (refused != now->fails)
		wrong("bus errors", refused, now->fails);
	/* STC before it; a store and a load leave that, the others set what they compute */
	if ((slot_flags >> 8 & 1) != (now->function == load || now->function == store ||
	                              now->function == count || now->function == vector ||
	                              now->fails))
		wrong("flags", slot_flags >> 8, 0);
}

static void lay(void)
{
	struct regmap_config c = {.size = sizeof(c),
	                          .name = "general",
	                          .guest = GENERAL,
	                          .length = SIZE,
	                          .access = REGMAP_READ | REGMAP_WRITE,
	                          .backing = REGMAP_DEVICE,
	                          .flags = REGMAP_GENERAL,
	                          .ops = &model};

	if (t_lay_host("host", HOST, memory, SIZE, REGMAP_READ | REGMAP_WRITE) ||
	    t_lay_device("any", ANY, SIZE, &model, NULL) || regmap_map(&c, NULL) ||
	    t_lay_device("inner", INNER, SIZE, &inner_model, NULL) || regmap_patch(1))
		_exit(3);
}

static bool is_warm(void)
{
	return regmap_patch_site(now->site) == 1 && regmap_patch_site(inner_site) == 1;
}

static void go_round(void)
{
	reset();
	now->function((now->at & ~(uint64_t)(SIZE - 1)) + AT, RSI, RAX);
	inner(INNER);
}

/* Until the sites are patched, and have met their devices. */
static void warm_up(void)
{
	for (unsigned i = 0; i < WARM_UP && !is_warm(); i++)
		go_round();
	if (!is_warm())
		_exit(77);
	for (unsigned i = 0; i < MORE; i++)
		go_round();
}

static void list(const uint8_t *code, const uint8_t *end)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction i;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	while (code < end && shared->count < INSTRUCTIONS) {
		shared->address[shared->count++] = (uintptr_t)code;
		if (ZYAN_FAILED(ZydisDecoderDecodeInstruction(&decoder, NULL, code,
		                                              (size_t)(end - code), &i)))
			return;
		code += i.length;
	}
}

/* A slot's room is more than its code; what lies behind that never comes by. */
static void list_all(void)
{
	const struct patch *patch = regmap__patch_of((uintptr_t)now->site);
	const uint8_t *slot = (const uint8_t *)(uintptr_t)patch->slot;

	list(slot, slot + SLOT_CODE_MOST);
	list((const uint8_t *)regmap__slot_call, regmap__slot_call_end);
	list((const uint8_t *)regmap__slot_move, regmap__slot_move_end);
	list((const uint8_t *)regmap__slot_device, regmap__slot_device_end);
}

static int be_child(void)
{
	struct sigaction act = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};

	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	sigaction(SIGUSR1, &act, NULL);
	act.sa_sigaction = on_refusal;
	sigaction(SIGBUS, &act, NULL);
	signal(SIGTRAP, ignore); /* of what is traced no more */
	if (!freopen("/dev/null", "w", stderr))
		return 2;
	lay();
	warm_up();
	list_all();
	while (!shared->over) {
		reset();
		check_round(now->function(now->at, RSI, RAX));
		if (is_child)
			_exit(0);
	}
	return 0;
}

/* --- the tracer --- */

static void *debug_register(unsigned n)
{
	return (long *)offsetof(struct user, u_debugreg) + n;
}

/* The processor stops before the instruction at @address; 0: no longer. */
static bool stop_at(pid_t pid, uint64_t address)
{
	return !ptrace(PTRACE_POKEUSER, pid, debug_register(7), 0L) &&
	       !ptrace(PTRACE_POKEUSER, pid, debug_register(0), (long)address) &&
	       (!address || !ptrace(PTRACE_POKEUSER, pid, debug_register(7), 1L));
}

static uint64_t rip_of(pid_t pid)
{
	return (uint64_t)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip), NULL);
}

/* On to the next trap, other signals handed on. False: it has ended. */
static bool run_to_trap(pid_t pid, int signo, int *status)
{
	do {
		ptrace(PTRACE_CONT, pid, NULL, (long)signo);
		assert_int_equal(waitpid(pid, status, 0), pid);
		signo = WIFSTOPPED(*status) ? WSTOPSIG(*status) : 0;
	} while (signo && signo != SIGTRAP);
	return signo;
}

/* One round for each instruction, and a signal where it comes by. */
static unsigned trace(pid_t pid, int *status)
{
	unsigned hit = 0, n = 0;

	while (run_to_trap(pid, 0, status)) {
		if (!shared->count || rip_of(pid) != (uintptr_t)now->from + 1)
			continue;
		if (n == shared->count) {
			shared->over = true;
			continue;
		}
		if (!stop_at(pid, shared->address[n]))
			return 0;
		if (!run_to_trap(pid, 0, status))
			break;
		if (rip_of(pid) != shared->address[n++])
			continue;
		hit++;
		stop_at(pid, 0);
		if (!run_to_trap(pid, SIGUSR1, status))
			break;
	}
	return hit;
}

static void test_slot_signals_everywhere(void **unused)
{
	(void)unused;
	shared = t_shared(sizeof(*shared));
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		unsigned hit;
		int status;
		pid_t pid;

		now = &kinds[i];
		memset(shared, 0, sizeof(*shared));
		pid = fork();
		if (!pid)
			_exit(be_child());
		hit = trace(pid, &status);
		if (!hit)
			kill(pid, SIGKILL);
		if (!hit || (WIFEXITED(status) && WEXITSTATUS(status) == 77))
			skip();
		printf("%-40s of %u instructions %u had a signal, %u failures\n", now->name,
		       shared->count, hit, shared->failures);
		assert_int_equal(status, 0);
		assert_int_equal(shared->failures, 0);
		assert_int_equal(shared->signals, hit);
		assert_true(hit > 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slot_signals_everywhere),
	};

	return cmocka_run_group_tests_name("slot_signals", tests, NULL, NULL);
}
