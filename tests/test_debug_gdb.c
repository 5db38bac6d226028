/* SPDX-License-Identifier: MIT */
/*
 * GDB and windows: breakpoints on accessing instructions, conditions, finish, until, watchpoints,
 * backtraces from a device's callback, and the commands of tools/regmap-gdb.py.
 *
 * The program that is debugged is this one, called with an argument.
 */
#define _GNU_SOURCE
#include <regex.h>
#include <regmap/regmap.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "lay.h"

#ifdef __clang__
#define AS_WRITTEN __attribute__((noinline, optnone))
#else
#define AS_WRITTEN __attribute__((noinline, optimize("O0")))
#endif

/* --- the program that is debugged --- */

enum { HOST = 0x40000000, DEVICE = 0x40001000 };

uint32_t dbg_memory[1024];
uint64_t dbg_last;
unsigned dbg_reads, dbg_writes;

int dbg_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = ++dbg_reads;
	return 0;
}

int dbg_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width;
	dbg_writes++;
	dbg_last = value;
	return 0;
}

static const struct regmap_device_ops dbg_ops = {dbg_read, dbg_write};

/* One of each kind: the short way, a device, native, the register page, one byte, a jump. */
uint64_t dbg_paces(uint64_t at);
__asm__(".text\n"
        ".globl dbg_paces\n"
        "dbg_paces:\n"
        "	.cfi_startproc\n"
        "	nop\n"
        ".globl at_host, at_device, at_vector, at_page, at_byte, at_rep, at_jump, at_end\n"
        "at_host:	incl	(%rdi)\n"
        "at_device:	movl	%edi, 0x1000(%rdi)\n"
        "at_vector:	paddd	(%rdi), %xmm0\n"
        "at_page:	mov	0x38, %rdx\n"
        "	lea	0x100(%rdi), %rsi\n"
        "at_byte:	lodsb\n"
        "	mov	$5, %ecx\n"
        "	lea	0x200(%rdi), %rdi\n"
        "at_rep:	rep movsb\n"
        "	lea	at_end(%rip), %rax\n"
        "	mov	%rax, 0x300(%rdx)\n"
        "at_jump:	jmp	*0x300(%rdx)\n"
        "	ud2\n"
        "at_end:	mov	%rdx, %rax\n"
        "	ret\n"
        "	.cfi_endproc\n");

AS_WRITTEN uint32_t dbg_in_c(volatile uint32_t *p)
{
	uint32_t sum = 0;

first:
	__attribute__((unused));
	p[0] += 1;
	sum += p[0x400];
	p[0x401] = sum;
last:
	__attribute__((unused));
	sum++;
	return sum;
}

AS_WRITTEN int dbg_round(uint64_t at)
{
	int result = (int)dbg_in_c((volatile uint32_t *)at);

	return result + (dbg_paces(at) == at);
}

/* incl (%rdi); ret: where no file says what a breakpoint hides */
static void (*make_code(void))(uint64_t)
{
	static const uint8_t code[] = {0xff, 0x07, 0xc3};
	void *p = mmap((void *)0x41000000, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	memcpy(p, code, sizeof(code));
	return (void (*)(uint64_t))p;
}

AS_WRITTEN void dbg_made(void (*code)(uint64_t))
{
	code(HOST);
	code(HOST);
}

static int debuggee(int rounds, bool made)
{
	int sum = 0;

	if (t_lay_host("host", HOST, dbg_memory, 4096, REGMAP_READ | REGMAP_WRITE) ||
	    t_lay_device("device", DEVICE, 4096, &dbg_ops, NULL) || regmap_map_registers())
		return 2;
	if (made)
		dbg_made(make_code());
	for (int i = 0; i < rounds; i++)
		sum += dbg_round(HOST);
	printf("memory %u reads %u writes %u sum %d\n", dbg_memory[0], dbg_reads, dbg_writes, sum);
	return 0;
}

/* --- GDB --- */

static char self[4096];
static char said[1 << 18];

static void run_gdb(const char *arguments, const char *script)
{
	char name[] = "/tmp/regmap-gdb-XXXXXX", command[8192];
	int fd = mkstemp(name);
	size_t used = 0, got;
	FILE *pipe;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, script, strlen(script)), strlen(script));
	close(fd);
	snprintf(command, sizeof(command),
	         "DEBUGINFOD_URLS= timeout 120 gdb -batch -nx -iex 'set auto-load no' -x %s --args "
	         "%s %s </dev/null 2>&1",
	         name, self, arguments);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	while ((got = fread(said + used, 1, sizeof(said) - 1 - used, pipe)))
		used += got;
	said[used] = 0;
	pclose(pipe);
	unlink(name);
}

static void must_say(const char *pattern)
{
	regex_t re;

	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NEWLINE | REG_NOSUB), 0);
	if (regexec(&re, said, 0, NULL, 0)) {
		regfree(&re);
		fprintf(stderr, "%s\n", said);
		fail_msg("GDB did not say \"%s\"", pattern);
	}
	regfree(&re);
}

static unsigned count(const char *text)
{
	unsigned n = 0;

	for (const char *at = said; (at = strstr(at, text)); at++)
		n++;
	return n;
}

#define PASS "handle SIGSEGV SIGBUS nostop noprint pass\n"
#define GO_ON "commands\nsilent\ncontinue\nend\n"
#define ROUNDS(n) "memory " #n "0 reads "

static void test_debug_gdb_continues_over_breakpoints(void **state)
{
	(void)state;
	run_gdb("debuggee 20",
	        PASS "break at_host\n" GO_ON "break at_device\n" GO_ON "break at_vector\n" GO_ON
	             "break at_page\n" GO_ON "break at_byte\n" GO_ON "break at_rep\n" GO_ON
	             "break at_jump\n" GO_ON "break at_end\n" GO_ON "run\ninfo breakpoints\n");
	must_say("memory 40 reads 20 writes 40 sum 250");
	assert_int_equal(count("already hit 20 times"), 8);
}

/* On an instruction that doesn't access anything itself. */
static void test_debug_gdb_obeys_conditions(void **state)
{
	(void)state;
	run_gdb("debuggee 20",
	        PASS "break dbg_in_c if dbg_memory[0] == 12\nrun\nprint dbg_memory[0]\n"
	             "tbreak at_device\ncontinue\nprint dbg_memory[0]\ndelete\ncontinue\n");
	must_say("^\\$1 = 12$");
	must_say("^\\$2 = 14$");
	must_say("memory 40 reads 20 writes 40 sum 250");
}

static void test_debug_gdb_finishes_and_advances(void **state)
{
	(void)state;
	run_gdb("debuggee 4",
	        PASS "break dbg_in_c\nrun\nfinish\ntbreak at_vector\ncontinue\n"
	             "print dbg_memory[0]\nadvance at_end\ninfo symbol $pc\n"
	             "continue\nuntil -function dbg_in_c -label last\nfinish\ndelete\ncontinue\n");
	must_say("Value returned is .* = 2$");
	must_say("in at_vector");
	must_say("^\\$2 = 2$");
	must_say("^at_end in section");
	must_say("Value returned is .* = 3$");
	must_say("^memory 8 reads 4 writes 8 sum 18$");
}

static void test_debug_gdb_watches_host_memory(void **state)
{
	(void)state;
	run_gdb("debuggee 6",
	        PASS "break dbg_round\nrun\nwatch dbg_memory[0]\n" GO_ON "hbreak at_vector\n" GO_ON
	             "delete 1\ncontinue\ninfo breakpoints\n");
	if (strstr(said, "Could not insert hardware"))
		skip();
	must_say("^memory 12 reads 6 writes 12 sum 33$");
	must_say("Hardware watchpoint 2");
}

static void test_debug_gdb_shows_who_called_a_callback(void **state)
{
	(void)state;
	run_gdb("debuggee 4", PASS "break dbg_read if dbg_reads == 2\nrun\nbt\n"
	                           "frame function dbg_in_c\nup\ndelete\ncontinue\n");
	must_say("<signal handler called>");
	must_say("^#[0-9]+ .*dbg_in_c \\(p=0x40000000\\)");
	must_say("^#[0-9]+ .*dbg_round \\(at=1073741824\\)");
	must_say("^#[0-9]+ .*main ");
	must_say("^memory 8 reads 4 writes 8 sum 18$");
}

/* As it comes, GDB stops at each access; passed on, each is carried out once. */
static void test_debug_gdb_stops_at_faults_unless_told(void **state)
{
	(void)state;
	run_gdb("debuggee 0 made", "run\nx/i $pc\ncontinue\nprint dbg_memory[0]\nstepi\n"
	                           "info symbol $pc\nbt\ndelete\nhandle SIGSEGV nostop noprint\n"
	                           "continue\n");
	must_say("SIGSEGV");
	must_say("^=> 0x41000000:	inc");
	must_say("^\\$1 = 1$");
	must_say("signal_entry in section");
	must_say("in dbg_made");
	must_say("^memory 2 reads 0 writes 0 sum 0$");
}

static void test_debug_gdb_breakpoint_in_made_code_is_explained(void **state)
{
	(void)state;
	run_gdb("debuggee 0 made",
	        PASS "break dbg_made\nrun\nbreak *0x41000000\ncontinue\ncontinue\n");
	must_say("a breakpoint hides the instruction");
	must_say("hbreak");
	must_say("SIGSEGV, Segmentation fault");
}

/* Carried out once, it is remembered. */
static void test_debug_gdb_breakpoint_in_made_code_that_ran(void **state)
{
	(void)state;
	run_gdb("debuggee 0 made",
	        PASS "break dbg_made\nrun\ntbreak *0x41000002\ncontinue\nbreak *0x41000000\n"
	             "continue\nprint dbg_memory[0]\ndelete\ncontinue\n");
	must_say("^\\$1 = 1$");
	must_say("^memory 2 reads 0 writes 0 sum 0$");
}

/* --- patched sites --- */

#define PATCHED "set environment REGMAP_PATCH 2\n"

/* Such a site goes on faulting, and is hit as ever. */
static void test_debug_gdb_breakpoints_before_patching(void **state)
{
	(void)state;
	run_gdb("debuggee 20",
	        PASS PATCHED "break at_device\n" GO_ON "break at_vector\n" GO_ON
	                     "break at_jump\n" GO_ON "break dbg_round if dbg_memory[0] >= 38\n"
	                     "run\nprint (int)regmap_patch_site(&at_device)\ndelete 4\n"
	                     "continue\ninfo breakpoints\n");
	must_say("^\\$1 = -1$");
	must_say("memory 40 reads 20 writes 40 sum 250");
	assert_int_equal(count("already hit 20 times"), 3);
}

/* Ten rounds are left then: five stops, and five that are only counted. */
static void test_debug_gdb_breakpoints_on_patched_sites(void **state)
{
	(void)state;
	run_gdb("debuggee 20",
	        PASS PATCHED "break dbg_round if dbg_memory[0] >= 20\nrun\ndelete\n"
	                     "print (int)regmap_patch_site(&at_device)\n"
	                     "print (int)regmap_patch_site(&at_vector)\n"
	                     "break at_device\nbreak at_vector\n"
	                     "continue\ncontinue\ncontinue\ncontinue\nprint dbg_memory[0]\n"
	                     "info breakpoints\ndelete\ncontinue\n");
	must_say("^\\$1 = 1$");
	must_say("^\\$2 = 1$");
	must_say("^\\$3 = 24$");
	assert_int_equal(count("already hit 2 times"), 2);
	must_say("memory 40 reads 20 writes 40 sum 250");
}

static void test_debug_gdb_shows_who_called_a_patched_access(void **state)
{
	(void)state;
	run_gdb("debuggee 20", PASS PATCHED "break dbg_read if dbg_reads == 12\nrun\nbt\n"
	                                    "frame function dbg_in_c\ndelete\ncontinue\n");
	must_say("<signal handler called>");
	must_say("^#[0-9]+ .*regmap(__|\\.)slot_(enter|move)");
	must_say("^#[0-9]+ .*dbg_in_c \\(p=0x40000000\\)");
	must_say("^#[0-9]+ .*dbg_round \\(at=1073741824\\)");
	must_say("^#[0-9]+ .*main ");
	must_say("memory 40 reads 20 writes 40 sum 250");
}

/* Detached, with breakpoints on patched sites that GDB lifts: the program goes on. */
static void test_debug_gdb_detaches_from_patched_sites(void **state)
{
	(void)state;
	run_gdb("debuggee 20",
	        PASS PATCHED "break dbg_round if dbg_memory[0] >= 20\nrun\ndelete\n"
	                     "break at_device\nbreak at_vector\ncontinue\ncontinue\ndetach\n"
	                     "shell sleep 1\n");
	must_say("memory 40 reads 20 writes 40 sum 250");
}

/* --- tools/regmap-gdb.py --- */

#define TOOL "source tools/regmap-gdb.py\n"

static void need_python(void)
{
	run_gdb("debuggee 0", "python print('py' + 'thon')\n");
	if (!strstr(said, "\npython") && strncmp(said, "python", 6))
		skip();
}

static void test_debug_gdb_tool_steps_instructions(void **state)
{
	(void)state;
	need_python();
	run_gdb("debuggee 2",
	        TOOL "break dbg_paces\nrun\nregmap stepi\nregmap stepi\ninfo symbol $pc\n"
	             "print dbg_memory[0]\nregmap nexti\ninfo symbol $pc\nprint dbg_writes\n"
	             "regmap stepi 2\ninfo symbol $pc\nprint $rdx - $rdi\nregmap stepi 2\n"
	             "regmap stepi 2\ninfo symbol $pc\nregmap stepi\nregmap stepi 2\n"
	             "info symbol $pc\nregmap stepi\ninfo symbol $pc\ndelete\ncontinue\n");
	must_say("^at_device in section");
	must_say("^\\$1 = 2$");
	must_say("^at_vector in section");
	must_say("^\\$2 = 2$");
	must_say("^at_page \\+ 8 in section");
	must_say("^\\$3 = 0$");
	must_say("^at_rep in section");
	must_say("^at_jump in section");
	must_say("^at_end in section");
	must_say("^memory 4 reads 2 writes 4 sum 7$");
}

static void test_debug_gdb_tool_steps_lines(void **state)
{
	(void)state;
	need_python();
	run_gdb("debuggee 2", TOOL "break -function dbg_in_c -label first\nrun\nregmap next\n"
	                           "print dbg_memory[0]\nregmap next\nprint dbg_reads\n"
	                           "print sum\nregmap step\nprint dbg_last\ndelete\ncontinue\n");
	must_say("^\\$1 = 1$");
	must_say("^\\$2 = 1$");
	must_say("^\\$3 = 1$");
	must_say("^\\$4 = 1$");
	must_say("^memory 4 reads 2 writes 4 sum 7$");
}

/* A breakpoint on the site, and one in the callback that the step runs into. */
static void test_debug_gdb_tool_steps_off_breakpoints(void **state)
{
	(void)state;
	need_python();
	run_gdb("debuggee 2", TOOL "break at_host\nrun\nregmap stepi\ninfo symbol $pc\n"
	                           "print dbg_memory[0]\nbreak dbg_write\nregmap stepi\n"
	                           "info symbol $pc\ndelete\ncontinue\n");
	must_say("^at_device in section");
	must_say("^\\$1 = 2$");
	must_say("^dbg_write");
	must_say("^memory 4 reads 2 writes 4 sum 7$");
}

/* Where GDB alone would stop once. */
static void test_debug_gdb_tool_continues_to_each_breakpoint(void **state)
{
	(void)state;
	need_python();
	run_gdb("debuggee 20",
	        TOOL "break dbg_round\nrun\ndelete\nbreak at_host if dbg_memory[0] == 13\n"
	             "regmap continue\nprint dbg_memory[0]\ndelete\nbreak at_host\n"
	             "break at_device\nregmap continue\nprint dbg_memory[0]\nregmap continue\n"
	             "print dbg_memory[0]\nregmap continue\nprint dbg_memory[0]\ndelete\n"
	             "break at_rep\nregmap continue\ninfo symbol $pc\ndelete\n"
	             "regmap continue\n");
	must_say("^\\$1 = 13$");
	must_say("^\\$2 = 14$");
	must_say("^\\$3 = 15$");
	must_say("^\\$4 = 16$");
	must_say("^at_rep in section");
	must_say("memory 40 reads 20 writes 40 sum 250");
}

static void test_debug_gdb_tool_reads_and_writes(void **state)
{
	(void)state;
	need_python();
	run_gdb("debuggee 2", TOOL "break at_end\nrun\nregmap x 0x40000000\nregmap x 0x40001000 1\n"
	                           "regmap set 0x40000000 0x1234 2\nregmap x 0x40000000 1 8\n"
	                           "regmap set 0x40001000 77\nprint dbg_last\n"
	                           "delete\ncontinue\n");
	must_say("^0x40000000:	0x00000002	0x00000000	0x00000000	0x00000000$");
	must_say("^0x40001000:	0x00000002$");
	must_say("^0x40000000:	0x0000000000001234$");
	must_say("^\\$1 = 77$");
	must_say("^memory 4662 reads 3 writes 5 ");
	run_gdb("debuggee 2", TOOL "break at_end\nrun\nregmap x 0x50000000\n");
	must_say("0x50000000: .*no window");
}

static int can_trace(void **state)
{
	const char *mode = getenv("TEST_MODE");

	(void)state;
	if (mode && strcmp(mode, "rel") && strcmp(mode, "cov"))
		exit(77); /* sanitizers and a debugger at once */
	run_gdb("debuggee 1", "run\n");
	if (!strstr(said, "SIGSEGV"))
		exit(77); /* no GDB, or no ptrace() */
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_debug_gdb_continues_over_breakpoints),
		cmocka_unit_test(test_debug_gdb_obeys_conditions),
		cmocka_unit_test(test_debug_gdb_finishes_and_advances),
		cmocka_unit_test(test_debug_gdb_watches_host_memory),
		cmocka_unit_test(test_debug_gdb_shows_who_called_a_callback),
		cmocka_unit_test(test_debug_gdb_stops_at_faults_unless_told),
		cmocka_unit_test(test_debug_gdb_breakpoint_in_made_code_is_explained),
		cmocka_unit_test(test_debug_gdb_breakpoint_in_made_code_that_ran),
		cmocka_unit_test(test_debug_gdb_breakpoints_before_patching),
		cmocka_unit_test(test_debug_gdb_breakpoints_on_patched_sites),
		cmocka_unit_test(test_debug_gdb_shows_who_called_a_patched_access),
		cmocka_unit_test(test_debug_gdb_detaches_from_patched_sites),
		cmocka_unit_test(test_debug_gdb_tool_steps_instructions),
		cmocka_unit_test(test_debug_gdb_tool_steps_lines),
		cmocka_unit_test(test_debug_gdb_tool_steps_off_breakpoints),
		cmocka_unit_test(test_debug_gdb_tool_continues_to_each_breakpoint),
		cmocka_unit_test(test_debug_gdb_tool_reads_and_writes),
	};

	if (argc > 2 && !strcmp(argv[1], "debuggee"))
		return debuggee(atoi(argv[2]), argc > 3);
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 1;
	return cmocka_run_group_tests_name("debug_gdb", tests, can_trace, NULL);
}
