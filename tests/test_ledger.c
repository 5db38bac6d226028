/* SPDX-License-Identifier: MIT */
/*
 * What a device sees: for every form that this CPU runs, the accesses that the window's device logs,
 * against what the CPU itself touches. The latter is measured: an operand is moved against a page that
 * can't be accessed until the instruction faults, which tells its first and last byte, mask by mask.
 *
 * For a look at single instructions: T_ONLY=mnemonic T_SHOW=n build/.../test_ledger
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <regmap/regmap.h>

#include "cases.h"

enum { CHUNKS = 8, PARALLEL = 2, SHOWN = 10, LOG_MAX = 4096, PIECE = 8 };

/* The device */

struct event {
	uint16_t offset;
	uint8_t width;
	bool write;
};

struct log {
	unsigned count;
	struct event event[LOG_MAX];
};

static struct log device_log;
static uint8_t device_bytes[T_PAGE];

static void record(struct log *log, uint64_t offset, unsigned width, bool write)
{
	if (log->count < LOG_MAX)
		log->event[log->count++] = (struct event){ (uint16_t)offset, (uint8_t)width, write };
}

static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	record(&device_log, offset, width, false);
	*value = 0;
	memcpy(value, device_bytes + offset, width);
	return 0;
}

static int device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx;
	record(&device_log, offset, width, true);
	memcpy(device_bytes + offset, &value, width);
	return 0;
}

/* A contiguous access as the naturally aligned pieces of its range. */
static void expect(struct log *log, uint64_t offset, uint64_t length, bool write)
{
	while (length) {
		unsigned width = PIECE;

		while (offset % width || width > length)
			width /= 2;
		record(log, offset, width, write);
		offset += width;
		length -= width;
	}
}

struct tally {
	unsigned long compared, unknown, touches_nothing;
	unsigned differences, odd;
};

struct state {
	struct t_forms forms;
	struct tally *tally;
	uint8_t *compared;
	unsigned shown, show;
	struct t_case c;
	struct t_outcome outcome;
	uint8_t image[T_IMAGE_MAX];
};

static struct state s;

/* Measuring: how far an access reaches, in bytes relative to the operand's address. */

static void run_native(uint64_t shift)
{
	struct t_regs in = s.c.in;
	int base = -1;

	(void)base;
	in.gpr[T_RBX] += shift;
	memcpy((void *)T_WINDOW, s.c.memory + T_PAGE, T_PAGE);
	t_run(&in, s.c.image, &s.outcome, s.image);
}

static bool faults_at(uint64_t address)
{
	run_native(address - s.c.address);
	return s.outcome.end == T_END_FAULT && s.outcome.number == 14;
}

/* Bytes [from, to) relative to the operand; from == to: none. */
struct extent {
	int from, to;
};

enum { REACH = 4096 };

static int last_byte(void)
{
	int low = 0, high = 64;

	if (!faults_at(T_WINDOW_END))
		return 0;
	while (faults_at(T_WINDOW_END - (uint64_t)high))
		high *= 2;
	while (low + 1 < high) {
		int middle = (low + high) / 2;

		if (faults_at(T_WINDOW_END - (uint64_t)middle))
			low = middle;
		else
			high = middle;
	}
	return high;
}

static int first_byte(int last)
{
	int low = 0, high = last;

	while (low + 1 < high) {
		int middle = (low + high) / 2;

		if (faults_at(T_WINDOW - (uint64_t)middle))
			high = middle;
		else
			low = middle;
	}
	return faults_at(T_WINDOW - 1ull) ? (low == 0 && faults_at(T_WINDOW - 1ull) ? 0 : low) : low;
}

int main(int argc, char **argv)
{
	void *at = mmap((void *)T_ARENA, T_ARENA_SIZE, PROT_NONE,
	                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	(void)at;(void)argc;(void)argv;(void)first_byte;(void)device_read;(void)device_write;(void)expect;
	mprotect((void*)T_WINDOW, T_PAGE, PROT_READ|PROT_WRITE);
	t_machine_init(T_CODE_AT, T_GS_BASE);
	t_cases_init();
	t_enumerate(&s.forms);
	for (size_t i = 0; i < s.forms.count; i++) {
		struct t_insn x;
		char text[128];
		t_decode(s.forms.form[i].bytes, 15, &x);
		if (x.insn.encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX || !x.insn.raw.evex.aaa || x.insn.raw.evex.z || x.mem < 0 || x.op[x.mem].mem.type != ZYDIS_MEMOP_TYPE_MEM)
			continue;
		t_case_make(&s.c, &s.forms.form[i], 0, T_SIMPLE, 0);
		s.c.address = T_WINDOW + 1024;
		s.c.in.gpr[T_RBX] = T_WINDOW + 1024;
		uint64_t k = ~0ull;
		memcpy(s.c.image + t_layout.opmask + 8, &k, 8);
		run_native(0);
		if (s.outcome.end == T_END_FAULT) continue;
		t_format(s.c.i.bytes, 15, text, sizeof(text));
		const ZydisDecodedOperand *m = &x.op[x.mem];
		int all = last_byte();
		printf("%-70s size %d el %d ec %d all %d:", text, m->size / 8, m->element_size / 8, x.insn.meta.exception_class, all);
		k = 0; memcpy(s.c.image + t_layout.opmask + 8, &k, 8);
		printf(" 0:%d", last_byte());
		for (int b = 0; b < 64; b++) {
			k = 1ull << b; memcpy(s.c.image + t_layout.opmask + 8, &k, 8);
			int l = last_byte();
			if (l) printf(" %d", l); else printf(" -");
		}
		puts("");
	}
}
