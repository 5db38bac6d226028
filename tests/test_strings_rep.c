/* SPDX-License-Identifier: MIT */
/*
 * MOVS, STOS, LODS, CMPS and SCAS with every REP prefix, both ends anywhere: what they do at plain
 * memory is what they must do in windows, up to the iteration at which they fault.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "lay.h"
#include "try.h"

#define IN(reg) t_try.in.gpr[T_##reg]
#define WANT(reg) t_try.want.gpr[T_##reg]

enum { PAGE_FAULT = 14, PROTECTION = 13, SOURCE = 0x200, DESTINATION = 0x800, COUNT = 9 };

/* ---- Forms --------------------------------------------------------------------------------- */

#define WIDTHS(prefix, name, op) \
	T_CODE(prefix##name##b, prefix##_ op "b") \
	T_CODE(prefix##name##w, prefix##_ op "w") \
	T_CODE(prefix##name##d, prefix##_ op "d") T_CODE(prefix##name##q, prefix##_ op "q")
#define PREFIXES(name) WIDTHS(one, name, #name) WIDTHS(rep, name, #name) WIDTHS(repne, name, #name)
/* The assembler refuses REPNE MOVS, but the CPU takes it. */
#define one_ ""
#define rep_ ".byte 0xf3\n"
#define repne_ ".byte 0xf2\n"
PREFIXES(movs)
PREFIXES(stos)
PREFIXES(lods)
PREFIXES(cmps)
PREFIXES(scas)

struct form {
	const char *code, *end;
	unsigned width;
	bool source, destination, repeats;
};

#define FORM(prefix, name, suffix, width, source, destination) \
	{ \
		prefix##name##suffix, prefix##name##suffix##_end, width, source, destination, \
			sizeof(prefix##_) > 1 \
	}
#define FORM_WIDTHS(prefix, name, source, destination) \
	FORM(prefix, name, b, 1, source, destination), \
		FORM(prefix, name, w, 2, source, destination), \
		FORM(prefix, name, d, 4, source, destination), \
		FORM(prefix, name, q, 8, source, destination)
#define FORMS(name, source, destination) \
	FORM_WIDTHS(one, name, source, destination), FORM_WIDTHS(rep, name, source, destination), \
		FORM_WIDTHS(repne, name, source, destination)

static const struct form forms[] = {FORMS(movs, true, true), FORMS(stos, false, true),
                                    FORMS(lods, true, false), FORMS(cmps, true, true),
                                    FORMS(scas, false, true)};

/* ---- Twins --------------------------------------------------------------------------------- */

struct ends {
	uint64_t source, destination; /* a place each */
	unsigned from, to;            /* offsets in them */
};

/* The same bytes at both ends, but for a few that end comparisons early. */
static void fill(const struct ends *e, unsigned variant)
{
	for (unsigned i = 0; i < T_PG; i++) {
		t_bytes(e->source)[i] = (uint8_t)(variant & 1 ? 0xa0 : i * 11);
		t_bytes(e->destination)[i] = (uint8_t)(variant & 1 ? 0xa0 : i * 11);
	}
	for (unsigned i = 0; variant & 2 && i < 0x40; i++) {
		t_bytes(e->source)[(e->from + 24 + i) % T_PG] = 0x55;
		t_bytes(e->destination)[(e->to + 24 + i) % T_PG] = 0x66;
	}
}

static void prepare(const struct ends *e, uint64_t count, uint64_t flags, unsigned variant)
{
	t_start();
	fill(e, variant);
	IN(RSI) = e->source + e->from;
	IN(RDI) = e->destination + e->to;
	IN(RCX) = count;
	t_try.in.rflags |= flags;
}

static uint64_t moved(uint64_t value, const struct ends *from, const struct ends *to)
{
	if (value - from->source <= T_PG)
		return value - from->source + to->source;
	if (value - from->destination <= T_PG)
		return value - from->destination + to->destination;
	return value;
}

static struct t_try plain;

/* What is wanted is what happened at plain memory. */
static void twin(const char *code, const struct ends *at, uint64_t count, uint64_t flags,
                 unsigned variant)
{
	static uint8_t source[T_PG], destination[T_PG];
	struct ends there = *at;

	there.source = at->source == at->destination ? T_PLAIN2 : T_PLAIN;
	there.destination = T_PLAIN2;
	t_where = at->destination;
	prepare(&there, count, flags, variant);
	t_run_at(code);
	plain = t_try;
	memcpy(source, t_bytes(there.source), T_PG);
	memcpy(destination, t_bytes(there.destination), T_PG);
	prepare(at, count, flags, variant);
	t_run_at(code);
	t_want(at->source, source, T_PG);
	t_want(at->destination, destination, T_PG);
	t_try.want.gpr[T_RSI] = moved(plain.out.regs.gpr[T_RSI], &there, at);
	t_try.want.gpr[T_RDI] = moved(plain.out.regs.gpr[T_RDI], &there, at);
	t_try.want.gpr[T_RCX] = plain.out.regs.gpr[T_RCX];
	t_try.want.gpr[T_RAX] = plain.out.regs.gpr[T_RAX];
	t_try.want.rflags = plain.out.regs.rflags;
}

static const struct ends pairs[] = {
	{T_HOST, T_PLAIN2, 0, 0},   {T_PLAIN, T_HOST, 0, 0},       {T_HOST, T_HOST2, 0, 0},
	{T_HOST, T_HOST, 0, 0},     {T_DEV, T_PLAIN2, 0, 0},       {T_PLAIN, T_DEV, 0, 0},
	{T_DEV, T_DEV2, 0, 0},      {T_DEV, T_DEV, 0, 0},          {T_HOST, T_DEV, 0, 0},
	{T_DEV2, T_HOST3, 0, 0},    {T_HIGH, T_NOWHERE_DEV, 0, 0}, {T_HIGH_DEV, T_NOWHERE, 0, 0},
	{T_NOWHERE, T_HOST2, 0, 0}, {T_TOP, T_HIGH_DEV, 0, 0},     {T_PLAIN, T_NOWHERE, 0, 0},
};

enum { PAIRS = sizeof(pairs) / sizeof(pairs[0]), ALL = sizeof(forms) / sizeof(forms[0]) };

static void try_all(unsigned from, unsigned to, uint64_t count, uint64_t flags)
{
	for (unsigned f = 0; f < ALL; f++) {
		for (unsigned i = 0; i < PAIRS; i++) {
			struct ends at = pairs[i];

			at.from = from;
			at.to = to;
			twin(forms[f].code, &at, count, flags, (f + i) % 4);
			t__done(forms[f].end, __FILE__, __LINE__);
		}
	}
}

static void test_strings_rep_upwards(void **state)
{
	(void)state;
	try_all(SOURCE, DESTINATION, COUNT, 0);
	try_all(SOURCE + 3, DESTINATION + 1, COUNT, T_STATUS);
}

static void test_strings_rep_downwards(void **state)
{
	(void)state;
	try_all(SOURCE, DESTINATION, COUNT, T_DF);
	try_all(SOURCE + 1, DESTINATION + 6, 2, T_DF | T_STATUS);
}

static void test_strings_rep_zero_times(void **state)
{
	(void)state;
	try_all(SOURCE, DESTINATION, 0, T_STATUS);
}

/* Each element is read after the one before has been written. */
static void test_strings_rep_overlap(void **state)
{
	(void)state;
	try_all(SOURCE, SOURCE + 1, COUNT, 0);
	try_all(SOURCE, SOURCE + 3, COUNT, 0);
	try_all(SOURCE + 5, SOURCE, COUNT, T_DF);
}

/* What goes eight bytes at a time downwards, must not where it would be seen. */
static void test_strings_rep_overlap_by_little_downwards(void **state)
{
	static const unsigned distance[] = {1, 2, 4, 7, 8, 9};

	(void)state;
	for (unsigned i = 0; i < sizeof(distance) / sizeof(distance[0]); i++) {
		try_all(SOURCE + distance[i], SOURCE, 37, T_DF);
		try_all(SOURCE, SOURCE + distance[i], 37, T_DF);
	}
}

static void test_strings_rep_many_times(void **state)
{
	(void)state;
	try_all(0, 0x100, 0x1e0, 0);
}

/* With a count of zero, addresses don't matter. */
static void test_strings_rep_zero_times_anywhere(void **state)
{
	(void)state;
	for (unsigned f = 0; f < ALL; f++) {
		if (!forms[f].repeats)
			continue;
		t_start();
		IN(RCX) = 0;
		IN(RSI) = T_EDGE_DEV + T_PG - 1;
		IN(RDI) = T_VOID;
		t_run_at(forms[f].code);
		t__done(forms[f].end, __FILE__, __LINE__);
		t_logged("");
	}
}

/* ---- Faults -------------------------------------------------------------------------------- */

/* The page at PLACE is followed by nothing; iterations up to there are done. */
static void runs_out(const struct form *f, const struct ends *at, unsigned variant)
{
	bool canonical = at->source >> 48 == 0 || at->source >> 48 == 0xffff;
	uint64_t edge = (f->destination ? at->destination : at->source) + T_PG;

	twin(f->code, at, 1000, 0, variant);
	if (plain.out.end == T_END_DONE)
		t__done(f->end, __FILE__, __LINE__);
	else if (canonical)
		t_fault(f->code, SIGSEGV, SEGV_MAPERR, PAGE_FAULT, edge);
	else
		t_fault(f->code, SIGSEGV, SI_KERNEL, PROTECTION, 0);
}

static void test_strings_rep_run_out_of_the_destination(void **state)
{
	static const uint64_t places[] = {T_HIGH, T_NOWHERE, T_HIGH_DEV, T_NOWHERE_DEV, T_EDGE_DEV};

	(void)state;
	for (unsigned f = 0; f < ALL; f++) {
		for (unsigned i = 0; forms[f].destination && i < 5; i++) {
			struct ends at = {places[i], places[i], 0x100, T_PG - 40};

			runs_out(&forms[f], &at, 1);
			at.to -= 5;
			runs_out(&forms[f], &at, 2);
		}
	}
}

static void test_strings_rep_run_out_of_the_source(void **state)
{
	static const uint64_t places[] = {T_HIGH, T_NOWHERE, T_HIGH_DEV, T_NOWHERE_DEV, T_EDGE_DEV};

	(void)state;
	for (unsigned f = 0; f < ALL; f++) {
		for (unsigned i = 0; forms[f].source && i < 5; i++) {
			struct ends at = {places[i], places[i], T_PG - 43, 0x100};
			struct form form = forms[f];

			form.destination = false;
			runs_out(&form, &at, 1);
		}
	}
}

/* Downwards, into what lies before the window; the first element straddles nothing. */
static void test_strings_rep_run_out_downwards(void **state)
{
	(void)state;
	t_start();
	IN(RDI) = T_EDGE_DEV + 8;
	IN(RCX) = 5;
	IN(RAX) = 0x77;
	t_try.in.rflags |= T_DF;
	t_run_code(repstosd);
	WANT(RDI) = T_EDGE_DEV - 4;
	WANT(RCX) = 2;
	t_want(T_DEV, "\x77\0\0\0\x77\0\0\0\x77\0\0", 12);
	t_fault(repstosd, SIGSEGV, SEGV_MAPERR, PAGE_FAULT, T_EDGE_DEV - 4);
	t_logged("A.w4@8=77 A.w4@4=77 A.w4@0=77 ");
}

/* Neither end may be touched by an iteration that the other end refuses. */
static void test_strings_rep_check_both_ends_first(void **state)
{
	(void)state;
	t_start();
	IN(RSI) = T_DEV + 0x40;
	IN(RDI) = T_HIGH + T_PG - 8;
	IN(RCX) = 5;
	t_run_code(repmovsd);
	WANT(RSI) += 8;
	WANT(RDI) += 8;
	WANT(RCX) -= 2;
	t_want(T_HIGH + T_PG - 8, t_bytes(T_DEV + 0x40), 8);
	t_fault(repmovsd, SIGSEGV, SEGV_MAPERR, PAGE_FAULT, T_HIGH + T_PG);
	t_logged("A.r4@40 A.r4@44 ");
	t_start();
	IN(RSI) = T_HIGH + T_PG - 6;
	IN(RDI) = T_DEV + 0x40;
	t_run_code(onemovsq);
	t_fault(onemovsq, SIGSEGV, SEGV_MAPERR, PAGE_FAULT, T_HIGH + T_PG);
	t_logged("");
}

static int fail_at_48(bool write, uint64_t offset)
{
	(void)write;
	return offset == 0x48 ? -EIO : 0;
}

static void test_strings_rep_device_errors(void **state)
{
	(void)state;
	t_start();
	IN(RSI) = T_PLAIN;
	IN(RDI) = T_DEV + 0x40;
	IN(RCX) = 5;
	t_device_hook = fail_at_48;
	t_run_code(repmovsd);
	WANT(RSI) += 8;
	WANT(RDI) += 8;
	WANT(RCX) = 3;
	t_want(T_DEV + 0x40, t_bytes(T_PLAIN), 8);
	t_fault(repmovsd, SIGBUS, BUS_ADRERR, PAGE_FAULT, T_DEV + 0x48);
}

#define READ_ONLY 0x32001000ULL

static void test_strings_rep_run_into_a_read_only_window(void **state)
{
	static uint8_t writable[T_PG], read_only[T_PG];

	(void)state;
	assert_int_equal(t_lay_host("writable", READ_ONLY - T_PG, writable, T_PG, 3), 0);
	assert_int_equal(t_lay_host("read_only", READ_ONLY, read_only, T_PG, REGMAP_READ), 0);
	t_start();
	IN(RDI) = READ_ONLY - T_PG;
	IN(RCX) = 2 * T_PG;
	t_run_code(repstosb);
	WANT(RDI) = READ_ONLY;
	WANT(RCX) = T_PG;
	t_fault(repstosb, SIGSEGV, SEGV_ACCERR, PAGE_FAULT, READ_ONLY);
	assert_int_equal(writable[T_PG - 1], (uint8_t)IN(RAX));
	assert_int_equal(read_only[0], 0);
}

/* ---- Devices ------------------------------------------------------------------------------- */

static void test_strings_rep_devices_see_elements(void **state)
{
	(void)state;
	t_start();
	IN(RSI) = T_DEV + 0x40;
	IN(RDI) = T_DEV2 + 0x80;
	IN(RCX) = 2;
	t_put64(T_DEV + 0x40, 0x2200000011);
	t_run_code(repmovsd);
	WANT(RSI) += 8;
	WANT(RDI) += 8;
	WANT(RCX) = 0;
	t_want64(T_DEV2 + 0x80, 0x2200000011);
	t_done(repmovsd);
	t_logged("A.r4@40 B.w4@80=11 A.r4@44 B.w4@84=22 ");
}

static void test_strings_rep_devices_see_single_reads(void **state)
{
	(void)state;
	t_start();
	IN(RSI) = T_DEV + 0x40;
	IN(RDI) = T_DEV2 + 0x81;
	IN(RCX) = 3;
	t_put(T_DEV + 0x40, "\1\2\3", 3);
	t_put(T_DEV2 + 0x81, "\1\7\3", 3);
	t_run_code(repcmpsb);
	WANT(RSI) += 2;
	WANT(RDI) += 2;
	WANT(RCX) = 1;
	t_try.flags = 1;
	t_try.want.rflags = 1;
	t_done(repcmpsb);
	t_logged("A.r1@40 B.r1@81 A.r1@41 B.r1@82 ");
	t_start();
	IN(RDI) = T_DEV + 0x44;
	IN(RCX) = 2;
	IN(RAX) = 0x1122334455667788;
	t_run_code(repstosq);
	WANT(RDI) += 16;
	WANT(RCX) = 0;
	t_want64(T_DEV + 0x44, IN(RAX));
	t_want64(T_DEV + 0x4c, IN(RAX));
	t_done(repstosq);
	t_logged("A.w4@44=55667788 A.w4@48=11223344 A.w4@4c=55667788 A.w4@50=11223344 ");
}

static void test_strings_rep_devices_see_the_direction(void **state)
{
	(void)state;
	t_start();
	IN(RSI) = T_DEV + 0x44;
	IN(RCX) = 2;
	t_try.in.rflags |= T_DF;
	t_run_code(replodsw);
	WANT(RSI) -= 4;
	WANT(RCX) = 0;
	memcpy(&WANT(RAX), t_bytes(T_DEV + 0x42), 2);
	t_done(replodsw);
	t_logged("A.r2@44 A.r2@42 ");
}

/* ---- Borders ------------------------------------------------------------------------------- */

/* Through all places, one into the next, elements across each border. */
static void test_strings_rep_cross_every_border(void **state)
{
	static uint8_t bytes[6 * T_PG + 16];

	(void)state;
	t_start();
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = *t_bytes(T_PLAIN + 5 + i);
	IN(RSI) = T_PLAIN + 5;
	IN(RDI) = T_PLAIN + 5 + 0x300;
	IN(RCX) = 5 * T_PG / 8 + 1;
	IN(RSI) += 8 * (IN(RCX) - 1);
	IN(RDI) += 8 * (IN(RCX) - 1);
	t_try.in.rflags |= T_DF;
	t_run_code(repmovsq);
	WANT(RSI) -= 8 * IN(RCX);
	WANT(RDI) -= 8 * IN(RCX);
	WANT(RCX) = 0;
	t_want(T_PLAIN + 5 + 0x300, bytes, 5 * T_PG + 8);
	t_done(repmovsq);
}

/* ---- Address size and segments ------------------------------------------------------------- */

T_CODE(rep32movsb, ".byte 0x67\n rep movsb")
T_CODE(rep32stosd, ".byte 0x67\n rep stosd")
T_CODE(rep32lodsb, ".byte 0x67\n rep lodsb")
T_CODE(repe32cmpsw, ".byte 0x67\n repe cmpsw")
T_CODE(one32movsb, ".byte 0x67\n movsb")

static void low_twin(const char *code, const char *end, const struct ends *at, uint64_t count)
{
	static uint8_t source[T_PG], destination[T_PG];
	const struct ends there = {T_PLAIN, T_PLAIN2, at->from, at->to};

	t_where = at->destination;
	prepare(&there, count, 0, 1);
	IN(RSI) |= 0xabcdef0100000000;
	IN(RDI) |= 0xabcdef0200000000;
	t_run_at(code);
	plain = t_try;
	memcpy(source, t_bytes(T_PLAIN), T_PG);
	memcpy(destination, t_bytes(T_PLAIN2), T_PG);
	prepare(at, count, 0, 1);
	IN(RSI) |= 0xabcdef0100000000;
	IN(RDI) |= 0xabcdef0200000000;
	t_run_at(code);
	t_want(at->source, source, T_PG);
	t_want(at->destination, destination, T_PG);
	t_try.want = plain.out.regs;
	WANT(RSI) += at->source - T_PLAIN;
	WANT(RDI) += at->destination - T_PLAIN2;
	t__done(end, __FILE__, __LINE__);
}

static void test_strings_rep_address_size(void **state)
{
	const struct ends pair[] = {{T_HOST, T_HOST2, 0x40, 0x80}, {T_DEV, T_DEV2, 0x40, 0x81}};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		low_twin(rep32movsb, rep32movsb_end, &pair[i], 0x100000005);
		low_twin(rep32movsb, rep32movsb_end, &pair[i], 0x7700000000);
		low_twin(rep32stosd, rep32stosd_end, &pair[i], 0x100000005);
		low_twin(rep32lodsb, rep32lodsb_end, &pair[i], 5);
		low_twin(repe32cmpsw, repe32cmpsw_end, &pair[i], 0x100000005);
		low_twin(one32movsb, one32movsb_end, &pair[i], 5);
	}
}

/* From the last byte below 4 GiB on to address 0: RAX, if the register page is there. */
static void test_strings_rep_address_size_wraps(void **state)
{
	static uint8_t last[T_PG];

	(void)state;
	if (t_has_asan())
		skip();
	assert_int_equal(t_lay_host("last", 0xfffff000, last, T_PG, 3), 0);
	assert_int_equal(regmap_map_registers(), 0);
	t_start();
	memcpy(last + T_PG - 2, "\x11\x22", 2);
	IN(RSI) = 0xfffffffe;
	IN(RDI) = T_HOST + 0x40;
	IN(RCX) = 4;
	IN(RAX) = 0x4433;
	t_run_code(rep32movsb);
	WANT(RSI) = 2;
	WANT(RDI) += 4;
	WANT(RCX) = 0;
	t_want(T_HOST + 0x40, "\x11\x22\x33\x44", 4);
	t_done(rep32movsb);
}

T_CODE(gs_movsb, "wrgsbase rbx\n gs_movsb_string: .byte 0x65\n rep movsb")
T_CODE(gs_stosb, "wrgsbase rbx\n .byte 0x65\n rep stosb")
extern const char gs_movsb_string[];

/* A segment is the source's; the destination's is ES, always. */
static void test_strings_rep_segments(void **state)
{
	const uint64_t base = 0x700000000008;

	(void)state;
	if (!(getauxval(AT_HWCAP2) & 2))
		skip();
	t_start();
	IN(RBX) = base;
	IN(RSI) = T_HIGH + 0x40 - base;
	IN(RDI) = T_DEV + 0x40;
	IN(RCX) = 2;
	t_run_code(gs_movsb);
	WANT(RSI) += 2;
	WANT(RDI) += 2;
	WANT(RCX) = 0;
	t_want(T_DEV + 0x40, t_bytes(T_HIGH + 0x40), 2);
	t_done(gs_movsb);
	t_start();
	IN(RBX) = base;
	IN(RDI) = T_HIGH + 0x40;
	IN(RCX) = 2;
	t_run_code(gs_stosb);
	WANT(RDI) += 2;
	WANT(RCX) = 0;
	t_want(T_HIGH + 0x40, &IN(RAX), 1);
	t_want(T_HIGH + 0x41, &IN(RAX), 1);
	t_done(gs_stosb);
}

/* With AC, each element is checked; those before it are done. */
static void test_strings_rep_alignment_check(void **state)
{
	(void)state;
	t_start();
	IN(RSI) = T_HOST + 0x40;
	IN(RDI) = T_HOST2 + 0x42;
	IN(RCX) = 3;
	t_try.in.rflags |= T_AC;
	t_run_code(repmovsd);
	t_fault(repmovsd, SIGBUS, BUS_ADRALN, 17, 0);
	t_start();
	IN(RSI) = T_HOST + 0x40;
	IN(RDI) = T_HOST2 + 0x40;
	IN(RCX) = 3;
	t_try.in.rflags |= T_AC;
	t_run_code(repmovsd);
	WANT(RSI) += 12;
	WANT(RDI) += 12;
	WANT(RCX) = 0;
	t_want(T_HOST2 + 0x40, t_bytes(T_HOST + 0x40), 12);
	t_done(repmovsd);
}

#define T(name) cmocka_unit_test(test_strings_rep_##name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(upwards),
		T(downwards),
		T(zero_times),
		T(overlap),
		T(overlap_by_little_downwards),
		T(many_times),
		T(zero_times_anywhere),
		T(run_out_of_the_destination),
		T(run_out_of_the_source),
		T(run_out_downwards),
		T(check_both_ends_first),
		T(device_errors),
		T(run_into_a_read_only_window),
		T(devices_see_elements),
		T(devices_see_single_reads),
		T(devices_see_the_direction),
		T(cross_every_border),
		T(address_size),
		T(address_size_wraps),
		T(segments),
		T(alignment_check),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("strings_rep", tests, t_try_init, NULL);
}
