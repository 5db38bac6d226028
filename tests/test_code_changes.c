/* SPDX-License-Identifier: MIT */
/* LDLIBS: -ldl */
/* Code that changes under remembered plans. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "arena.h"
#include "lay.h"

#define WINDOW 0x31000000ULL
#define DEVICE 0x31010000ULL
#define NOWHERE 0x1234567800000000ULL /* not canonical: its faults have no address */

enum { PAGE = 4096, PAGES = 4 };

/* Two views of the same memory, for a JIT that keeps W^X, and one that may all. */
static uint8_t *writable, *executable, *both;
static uint64_t host[512];
static uint64_t plain[512];

/* All code here: xor %eax, %eax; an instruction that changes; ret. %rdi the window, %rsi memory. */
typedef uint64_t code_fn(uint64_t window, const void *memory);

struct variant {
	const char *name;
	uint8_t code[13]; /* with what follows it, up to RET */
	uint8_t length;
	bool memory; /* doesn't access the window */
	unsigned word;
	uint64_t mask;
};

#define ALL 0xffffffffffffffff

static const struct variant variants[] = {
	{"mov (%rdi), %rax", {0x48, 0x8b, 0x07}, 3, false, 0, ALL},
	{"mov (%rsi), %rax", {0x48, 0x8b, 0x06}, 3, true, 0, ALL},
	{"add (%rdi), %rax", {0x48, 0x03, 0x07}, 3, false, 0, ALL},
	{"mov (%rdi), %eax", {0x8b, 0x07}, 2, false, 0, 0xffffffff},
	{"mov (%rdi), %ax", {0x66, 0x8b, 0x07}, 3, false, 0, 0xffff},
	{"mov (%edi), %eax", {0x67, 0x8b, 0x07}, 3, false, 0, 0xffffffff},
	{"movzbl (%rdi), %eax", {0x0f, 0xb6, 0x07}, 3, false, 0, 0xff},
	{"mov 8(%rdi), %rax", {0x48, 0x8b, 0x47, 0x08}, 4, false, 1, ALL},
	{"mov 8(%rsi), %rax", {0x48, 0x8b, 0x46, 0x08}, 4, true, 1, ALL},
	{"mov 0x100(%rdi), %rax", {0x48, 0x8b, 0x87, 0, 1, 0, 0}, 7, false, 32, ALL},
	{"mov 0x200(%rdi), %rax", {0x48, 0x8b, 0x87, 0, 2, 0, 0}, 7, false, 64, ALL},
	{"movq (%rdi), %xmm0",
         {0xf3, 0x0f, 0x7e, 0x07, 0x66, 0x48, 0x0f, 0x7e, 0xc0},
         9,
         false,
         0,
         ALL},
	{"movq (%rsi), %xmm0",
         {0xf3, 0x0f, 0x7e, 0x06, 0x66, 0x48, 0x0f, 0x7e, 0xc0},
         9,
         true,
         0,
         ALL},
	{"movd (%rdi), %xmm0",
         {0x66, 0x0f, 0x6e, 0x07, 0x66, 0x48, 0x0f, 0x7e, 0xc0},
         9,
         false,
         0,
         0xffffffff},
	{"movdqa (%rdi), %xmm0",
         {0x66, 0x0f, 0x6f, 0x07, 0x66, 0x48, 0x0f, 0x7e, 0xc0},
         9,
         false,
         0,
         ALL},
	{"push (%rdi); pop %rax", {0xff, 0x37, 0x58}, 3, false, 0, ALL},
	{"crc32 (%rdi)", {0xf2, 0x48, 0x0f, 0x38, 0xf1, 0x07, 0x31, 0xc0}, 8, false, 0, 0},
};

enum { VARIANTS = sizeof(variants) / sizeof(variants[0]) };

static const uint8_t xor_eax[2] = {0x31, 0xc0};

static uint64_t value_of(const struct variant *v)
{
	return (v->memory ? plain : host)[v->word] & v->mask;
}

/* In one memory operation each, so that nothing is ever executed half-written here. */
static void put(uint8_t *to, const struct variant *v)
{
	uint8_t code[16];

	memset(code, 0xcc, sizeof(code));
	memcpy(code, xor_eax, sizeof(xor_eax));
	memcpy(code + 2, v->code, v->length);
	code[2 + v->length] = 0xc3;
	memcpy(to, code, sizeof(code));
}

static void check(const uint8_t *at, const struct variant *v)
{
	uint64_t got = ((code_fn *)(uintptr_t)at)(WINDOW, plain);

	if (got != value_of(v))
		print_error("%s at %p\n", v->name, (const void *)at);
	assert_int_equal(got, value_of(v));
}

/* --- rewritten --- */

static void rewrite(uint8_t *write, const uint8_t *run)
{
	uint64_t random = 1;

	for (unsigned i = 0; i < 20000; i++) {
		const struct variant *v = &variants[t_random(&random) % VARIANTS];

		put(write, v);
		check(run, v);
		if (i & 1)
			check(run, v);
	}
}

static void test_code_changes_in_place(void **state)
{
	(void)state;
	rewrite(both, both);
	rewrite(both + 61, both + 61);
}

static void test_code_changes_through_another_view(void **state)
{
	(void)state;
	rewrite(writable, executable);
	rewrite(writable + PAGE - 5, executable + PAGE - 5);
}

/* Every change from one to another, plans of both remembered. */
static void test_code_changes_from_each_to_each(void **state)
{
	(void)state;
	for (unsigned i = 0; i < VARIANTS; i++) {
		for (unsigned k = 0; k < VARIANTS; k++) {
			put(both, &variants[i]);
			check(both, &variants[i]);
			put(both, &variants[k]);
			check(both, &variants[k]);
		}
	}
}

/* The same bytes of memory, executed at two addresses. */
static void test_code_changes_under_two_views(void **state)
{
	uint8_t *second = mremap(executable, 0, PAGES * PAGE, MREMAP_MAYMOVE);
	uint64_t random = 2;

	(void)state;
	assert_ptr_not_equal(second, MAP_FAILED);
	for (unsigned i = 0; i < 2000; i++) {
		const struct variant *v = &variants[t_random(&random) % VARIANTS];

		put(writable + 100, v);
		check(executable + 100, v);
		check(second + 100, v);
	}
	munmap(second, PAGES * PAGE);
}

/* Two sites that share a place in the memory of plans; see slot_of() in src/site.c. */
static void test_code_changes_sites_collide(void **state)
{
	(void)state;
	for (unsigned page = 1; page < PAGES; page++) {
		uintptr_t a = (uintptr_t)both + 2, b = (uintptr_t)both + (uintptr_t)page * PAGE;
		unsigned offset = 0;

		while (offset < PAGE - 16 &&
		       (((a ^ a >> 12) ^ ((b + offset + 2) ^ (b + offset + 2) >> 12)) & 4095))
			offset++;
		if (offset == PAGE - 16)
			continue;
		for (unsigned i = 0; i < 1000; i++) {
			const struct variant *v = &variants[i % VARIANTS];
			const struct variant *w = &variants[i / 3 % VARIANTS];

			put(both, v);
			put((uint8_t *)b + offset, w);
			check(both, v);
			check((uint8_t *)b + offset, w);
			check(both, v);
		}
	}
}

/* --- mapped anew --- */

static uint8_t *map_code(void *at, size_t length)
{
	uint8_t *p = mmap(at, length, PROT_READ | PROT_WRITE | PROT_EXEC,
	                  MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED_NOREPLACE : 0), -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static void test_code_changes_by_mapping(void **state)
{
	uint8_t *p = map_code(NULL, PAGE);

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		put(p + 8, &variants[i * 7 % VARIANTS]);
		check(p + 8, &variants[i * 7 % VARIANTS]);
		assert_int_equal(munmap(p, PAGE), 0);
		assert_ptr_equal(map_code(p, PAGE), p);
	}
	munmap(p, PAGE);
}

/* mov disp32(%rdi), %rax with the border of a page at each of its bytes; the second page changes. */
static void straddle(uint8_t *border, unsigned before, uint32_t displacement)
{
	uint8_t code[10] = {0x31, 0xc0, 0x48, 0x8b, 0x87, 0, 0, 0, 0, 0xc3};

	memcpy(code + 5, &displacement, sizeof(displacement));
	munmap(border, PAGE);
	map_code(border, PAGE);
	memcpy(border - 2 - before, code, sizeof(code));
	assert_int_equal(((code_fn *)(uintptr_t)(border - 2 - before))(WINDOW, plain),
	                 host[displacement / 8]);
}

static void test_code_changes_behind_a_page_border(void **state)
{
	uint8_t *p = map_code(NULL, 2 * PAGE);

	(void)state;
	for (unsigned before = 1; before < 7; before++)
		for (unsigned i = 0; i < 200; i++)
			straddle(p + PAGE, before, i * 8);
	munmap(p, 2 * PAGE);
}

static sigjmp_buf out;
static volatile uintptr_t fault_address;
static volatile uint64_t fault_error;

static void catch (int signo, siginfo_t *info, void *ucontext)
{
	(void)signo;
	fault_address = (uintptr_t)info->si_addr;
	fault_error = (uint64_t)((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_ERR];
	siglongjmp(out, 1);
}

static bool faults(const uint8_t *at)
{
	struct sigaction act = {.sa_sigaction = catch, .sa_flags = SA_SIGINFO}, old;
	bool jumped;

	sigaction(SIGSEGV, &act, &old);
	jumped = sigsetjmp(out, 1);
	if (!jumped)
		((code_fn *)(uintptr_t)at)(WINDOW, plain);
	sigaction(SIGSEGV, &old, NULL);
	return jumped;
}

static void test_code_changes_to_nothing(void **state)
{
	uint8_t *p = map_code(NULL, 2 * PAGE), *border = p + PAGE;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		straddle(border, 4, 64);
		munmap(border, PAGE);
		assert_true(faults(border - 6));
		assert_int_equal(fault_address, (uintptr_t)border);
		assert_true(fault_error & 16);
		map_code(border, PAGE);
		straddle(border, 4, 128);
		assert_int_equal(mprotect(border, PAGE, PROT_READ), 0);
		assert_true(faults(border - 6));
		assert_int_equal(fault_address, (uintptr_t)border);
	}
	munmap(p, 2 * PAGE);
}

/* With protection keys, text that can't be read; without, as readable as ever. */
static void test_code_changes_while_execute_only(void **state)
{
	uint8_t *p = map_code(NULL, PAGE);

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		const struct variant *v = &variants[i * 5 % VARIANTS];

		assert_int_equal(mprotect(p, PAGE, PROT_READ | PROT_WRITE), 0);
		put(p, v);
		assert_int_equal(mprotect(p, PAGE, PROT_EXEC), 0);
		check(p, v);
		check(p, v);
	}
	munmap(p, PAGE);
}

/* From a window to a real fault: that must arrive, with its own address. */
static void test_code_changes_to_a_fault(void **state)
{
	const uint8_t to_null[] = {0x31, 0xc0, 0x48, 0x8b, 0x00, 0xc3};

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		put(both, &variants[0]);
		check(both, &variants[0]);
		memcpy(both, to_null, sizeof(to_null));
		assert_true(faults(both));
		assert_int_equal(fault_address, 0);
	}
}

/* --- one library in the place of another --- */

static bool compile(const char *folder, const char *name, const char *instruction)
{
	const char *compilers[] = {getenv("CC"), "cc", "gcc", "clang"};
	char command[512];

	for (unsigned i = 0; i < 4; i++) {
		if (!compilers[i])
			continue;
		snprintf(command, sizeof(command),
		         "printf '.globl probe\\nprobe: xor %%%%eax, %%%%eax\\n%s\\nret\\n"
		         ".section .note.GNU-stack,\"\",@progbits\\n' | "
		         "%s -shared -nostdlib -x assembler -o %s/%s - 2>/dev/null",
		         instruction, compilers[i], folder, name);
		if (system(command) == 0)
			return true;
	}
	return false;
}

static uintptr_t load_and_check(const char *folder, const char *name, const struct variant *v)
{
	char path[128];
	uintptr_t where;
	void *library;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	library = dlopen(path, RTLD_NOW);
	assert_non_null(library);
	where = (uintptr_t)dlsym(library, "probe");
	check((const uint8_t *)where, v);
	check((const uint8_t *)where, v);
	dlclose(library);
	return where;
}

static void test_code_changes_with_libraries(void **state)
{
	static const struct variant *const v[] = {&variants[0], &variants[7], &variants[1],
	                                          &variants[11]};
	static const char *const names[] = {"a.so", "b.so", "c.so", "d.so"};
	char folder[] = "/tmp/test_code_changes.XXXXXX", path[128];
	unsigned same = 0;
	uintptr_t last = 0;

	(void)state;
	assert_non_null(mkdtemp(folder));
	if (!compile(folder, "a.so", "mov (%%rdi), %%rax"))
		skip(); /* no compiler here */
	assert_true(compile(folder, "b.so", "mov 8(%%rdi), %%rax"));
	assert_true(compile(folder, "c.so", "mov (%%rsi), %%rax"));
	assert_true(compile(folder, "d.so", "movq (%%rdi), %%xmm0\\nmovq %%xmm0, %%rax"));
	for (unsigned i = 0; i < 400; i++) {
		uintptr_t now = load_and_check(folder, names[i % 4], v[i % 4]);

		same += now == last;
		last = now;
	}
	assert_true(same > 100);
	for (unsigned i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		unlink(path);
	}
	rmdir(folder);
}

/* --- the code changes itself, or a callback does --- */

typedef uint64_t patching_fn(uint64_t window, const void *memory, uint32_t code, void *where);

/* xor %eax, %eax; mov %edx, (%rcx); what that has just written; ret */
static void test_code_changes_by_the_instruction_before(void **state)
{
	static const struct {
		uint8_t code[4];
		unsigned variant;
	} next[] = {{{0x48, 0x8b, 0x07, 0x90}, 0}, {{0x48, 0x8b, 0x06, 0x90}, 1},
	            {{0x8b, 0x07, 0x90, 0x90}, 3}, {{0x66, 0x8b, 0x07, 0x90}, 4},
	            {{0x48, 0x8b, 0x47, 0x08}, 7}, {{0x48, 0x8b, 0x46, 0x08}, 8}};
	const uint8_t code[] = {0x31, 0xc0, 0x89, 0x11, 0x48, 0x8b, 0x07, 0x90, 0xc3};
	uint64_t random = 3;

	(void)state;
	memcpy(both, code, sizeof(code));
	for (unsigned i = 0; i < 10000; i++) {
		unsigned n = t_random(&random) % 6;
		uint32_t bytes;

		memcpy(&bytes, next[n].code, sizeof(bytes));
		assert_int_equal(((patching_fn *)(uintptr_t)both)(WINDOW, plain, bytes, both + 4),
		                 value_of(&variants[next[n].variant]));
	}
}

static struct {
	uint8_t code[8];
	unsigned length, at_call, calls;
} patch;

static int patch_and_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)width;
	if (patch.calls++ == patch.at_call)
		memcpy(both + 2, patch.code, patch.length);
	*value = 0x11 + offset;
	return 0;
}

static void set_patch(const void *code, unsigned length, unsigned at_call)
{
	memcpy(patch.code, code, length);
	patch.length = length;
	patch.at_call = at_call;
	patch.calls = 0;
}

/*
 * What is under way is the old instruction, which ends where it ended. The new one begins with the
 * next time round. In the third, the old one's end lies in the middle: an ES prefix before the RET.
 */
static void test_code_changes_in_its_own_callback(void **state)
{
	static const uint8_t new[][5] = {{0x48, 0x8b, 0x06, 0xc3, 0xc3},
	                                 {0x8b, 0x06, 0x90, 0xc3, 0xc3},
	                                 {0x48, 0x8b, 0x04, 0x26, 0xc3}};
	static const struct {
		uint8_t code[9];
		uint64_t value;
	} old[] = {{{0x48, 0x8b, 0x07, 0xc3, 0xc3}, 0x11}, {{0x0f, 0xb6, 0x07, 0xc3, 0xc3}, 0x11}};

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		const uint64_t memory[] = {plain[0], (uint32_t)plain[0], plain[0]};

		memcpy(both, xor_eax, 2);
		memcpy(both + 2, old[i & 1].code, 9);
		set_patch(new[i % 3], 5, 0);
		assert_int_equal(((code_fn *)(uintptr_t)both)(DEVICE, plain), old[i & 1].value);
		assert_int_equal(patch.calls, 1);
		assert_int_equal(((code_fn *)(uintptr_t)both)(DEVICE, plain), memory[i % 3]);
		assert_int_equal(patch.calls, 1);
	}
}

/* REP MOVSB from the device becomes two NOPs in its own fourth iteration: all of it is the old one. */
static void test_code_changes_in_a_string_instruction(void **state)
{
	const uint8_t code[] = {0x90, 0x90, 0xf3, 0xa4, 0xc3}, nops[] = {0x90, 0x90};
	uint8_t to[16];

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		uint64_t rcx = sizeof(to), rsi = DEVICE, rdi = (uintptr_t)to;

		memset(to, 0, sizeof(to));
		memcpy(both, code, sizeof(code));
		set_patch(nops, 2, 3);
		__asm__ volatile("lea -128(%%rsp), %%rsp\n\tcall *%3\n\tlea 128(%%rsp), %%rsp"
		                 : "+c"(rcx), "+S"(rsi), "+D"(rdi)
		                 : "r"(both)
		                 : "memory");
		assert_int_equal(rcx, 0);
		for (unsigned n = 0; n < sizeof(to); n++)
			assert_int_equal(to[n], 0x11 + n);
		rcx = 5;
		__asm__ volatile("lea -128(%%rsp), %%rsp\n\tcall *%3\n\tlea 128(%%rsp), %%rsp"
		                 : "+c"(rcx), "+S"(rsi), "+D"(rdi)
		                 : "r"(both)
		                 : "memory");
		assert_int_equal(rcx, 5);
	}
}

/* --- another thread changes it --- */

/*
 * Eight bytes, aligned, between an XOR of EAX and a MOVQ of XMM0 to RAX if it isn't over by then. The
 * end of either instruction must be a fit beginning in the other, on silicon, too: the change may
 * come when the one is just done. So 0x90 is a displacement in one and a NOP in the other.
 */
struct race {
	const char *name;
	uint8_t old[8], new[8];
	uint64_t window, old_value, new_value;
	unsigned wait; /* rounds that the old one is in place, of 64 */
};

static struct {
	const struct race *race;
	atomic_bool stop;
} racing;

static void store_code(const uint8_t *code)
{
	uint64_t word;

	memcpy(&word, code, sizeof(word));
	atomic_store((_Atomic uint64_t *)(void *)(both + 8), word);
}

static void *change_all_the_time(void *arg)
{
	const struct race *r = arg;

	while (!atomic_load(&racing.stop)) {
		store_code(r->old);
		for (unsigned i = 0; i < r->wait; i++)
			__builtin_ia32_pause();
		store_code(r->new);
		for (unsigned i = r->wait; i < 64; i++)
			__builtin_ia32_pause();
	}
	return NULL;
}

static void try_race(const struct race *r)
{
	static const uint8_t before[8] = {0x31, 0xc0, 0x66, 0x90, 0x66, 0x90, 0x66, 0x90};
	static const uint8_t after[6] = {0x66, 0x48, 0x0f, 0x7e, 0xc0, 0xc3};
	unsigned old = 0, new = 0;
	pthread_t thread;

	memcpy(both, before, sizeof(before));
	store_code(r->old);
	memcpy(both + 16, after, sizeof(after));
	atomic_store(&racing.stop, false);
	assert_int_equal(pthread_create(&thread, NULL, change_all_the_time, (void *)r), 0);
	for (unsigned i = 0; i < 20000 || !old || !new; i++) {
		uint64_t got = ((code_fn *)(uintptr_t)both)(r->window, plain);

		if (got != r->old_value && got != r->new_value)
			print_error("%s: %llx\n", r->name, (unsigned long long)got);
		assert_true(got == r->old_value || got == r->new_value);
		old += got == r->old_value;
		new += got == r->new_value;
	}
	atomic_store(&racing.stop, true);
	pthread_join(thread, NULL);
}

static void test_code_changes_by_another_thread(void **state)
{
	const struct race races[] = {
		{"window to memory",
	         {0x48, 0x8b, 0x07, 0xc3},
	         {0x48, 0x8b, 0x06, 0xc3},
	         WINDOW,
	         host[0],
	         plain[0],
	         32},
		{"memory, for moments window",
	         {0x48, 0x8b, 0x07, 0xc3},
	         {0x48, 0x8b, 0x06, 0xc3},
	         WINDOW,
	         host[0],
	         plain[0],
	         0},
		{"of another length",
	         {0x48, 0x8b, 0x07, 0xc3, 0xc3},
	         {0x48, 0x8b, 0x47, 0x90, 0xc3},
	         WINDOW + 256,
	         host[32],
	         host[18],
	         32},
		{"another prefix",
	         {0x66, 0x8b, 0x07, 0xc3},
	         {0x3e, 0x8b, 0x07, 0xc3},
	         WINDOW,
	         host[0] & 0xffff,
	         host[0] & 0xffffffff,
	         32},
		{"displacement",
	         {0x48, 0x8b, 0x87, 0, 1, 0, 0, 0xc3},
	         {0x48, 0x8b, 0x87, 0, 2, 0, 0, 0xc3},
	         WINDOW,
	         host[32],
	         host[64],
	         32},
		{"native code",
	         {0xf3, 0x0f, 0x7e, 0x07, 0x0f, 0x1f, 0x40, 0},
	         {0xf3, 0x0f, 0x7e, 0x06, 0x0f, 0x1f, 0x40, 0},
	         WINDOW,
	         host[0],
	         plain[0],
	         32},
		{"native to compiled",
	         {0xf2, 0x48, 0x0f, 0x2d, 0x07, 0xc3},
	         {0x48, 0x8b, 0x44, 0x27, 0x08, 0xc3},
	         WINDOW,
	         1ULL << 63,
	         host[1],
	         32},
		{"without an address",
	         {0x48, 0x8b, 0x07, 0xc3},
	         {0x48, 0x8b, 0x06, 0xc3},
	         NOWHERE,
	         host[0],
	         plain[0],
	         32},
		{"without an address, for moments",
	         {0x48, 0x8b, 0x07, 0xc3},
	         {0x48, 0x8b, 0x06, 0xc3},
	         NOWHERE,
	         host[0],
	         plain[0],
	         0},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(races) / sizeof(races[0]); i++)
		try_race(&races[i]);
}

static int set_up(void **state)
{
	static const struct regmap_device_ops ops = {.read = patch_and_read};
	int fd = memfd_create("jit", MFD_CLOEXEC);

	(void)state;
	if (fd < 0 || ftruncate(fd, PAGES * PAGE))
		return -1;
	writable = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	executable = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	close(fd);
	both = map_code(NULL, PAGES * PAGE);
	for (unsigned i = 0; i < 512; i++) {
		host[i] = 0x0101010101010101u * (i + 1) ^ 0xfedcba9876543210;
		plain[i] = ~host[i] * 3;
	}
	return t_lay_host("values", WINDOW, host, sizeof(host), REGMAP_READ | REGMAP_WRITE) |
	       t_lay_host("nowhere", NOWHERE, host, sizeof(host), REGMAP_READ) |
	       t_lay_device("patches", DEVICE, 64, &ops, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_code_changes_in_place),
		cmocka_unit_test(test_code_changes_through_another_view),
		cmocka_unit_test(test_code_changes_from_each_to_each),
		cmocka_unit_test(test_code_changes_under_two_views),
		cmocka_unit_test(test_code_changes_sites_collide),
		cmocka_unit_test(test_code_changes_by_mapping),
		cmocka_unit_test(test_code_changes_behind_a_page_border),
		cmocka_unit_test(test_code_changes_to_nothing),
		cmocka_unit_test(test_code_changes_while_execute_only),
		cmocka_unit_test(test_code_changes_to_a_fault),
		cmocka_unit_test(test_code_changes_with_libraries),
		cmocka_unit_test(test_code_changes_by_the_instruction_before),
		cmocka_unit_test(test_code_changes_in_its_own_callback),
		cmocka_unit_test(test_code_changes_in_a_string_instruction),
		cmocka_unit_test(test_code_changes_by_another_thread),
	};

	return cmocka_run_group_tests_name("code changes", tests, set_up, NULL);
}
