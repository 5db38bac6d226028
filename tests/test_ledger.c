/* SPDX-License-Identifier: MIT */
/*
 * What a device sees: for every form that this CPU runs, the accesses that a window's device logs
 * (place, width, direction, order), against what the CPU itself touches. The latter is measured: an
 * operand is moved against a page that can't be accessed until the instruction faults, which tells
 * its first and last byte, for each bit of a mask; what a store writes is what comes out equal on
 * two fillings.
 *
 * With PATCHED (test_ledger_patched.c), from patched sites: what the first access of each, by the
 * fault, has shown must be shown again, whichever way the device is called.
 *
 * For a look at single instructions: T_ONLY=mnemonic T_SHOW=n build/.../test_ledger
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
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
#include "arena.h"

#ifndef PATCHED
#define PATCHED false
#endif

enum { BATCH = 128, CHUNKS = 8, PARALLEL = 2, CASES = 4, SHOWN = 10, LOG_MAX = 1024, PIECE = 8 };
enum { PAGE_FAULT = 14, SPAN = 128, REACH_BACK = -256, REACH = 2048 };

/* Logs */

struct event {
	uint16_t offset; /* in the window */
	uint8_t width;
	bool write;
};

struct log {
	unsigned count;
	struct event event[LOG_MAX];
};

struct entry {
	struct t_case c;
	size_t form;
	bool known; /* what to expect */
	struct log expected, seen;
};

struct tally {
	unsigned long compared, accesses, unknown, patched;
	unsigned differences;
};

struct state {
	struct t_forms forms;
	struct tally *tally;
	uint8_t *compared, *differs;
	unsigned shown, show;
	struct entry *entry;
	unsigned entries;
	const char *only;
	/* the last native run */
	struct t_outcome outcome;
	uint8_t image[T_IMAGE_MAX];
	bool confused; /* a fault of another kind came in between */
};

static struct state s;
static struct log *device_log;
static uint8_t device_bytes[T_PAGE];

/* General registers only: one of the devices promises that. */
#define GENERAL_ONLY __attribute__((target("general-regs-only")))

GENERAL_ONLY static void record(struct log *log, uint64_t offset, unsigned width, bool write)
{
	if (log->count < LOG_MAX)
		log->event[log->count++] = (struct event){(uint16_t)offset, (uint8_t)width, write};
}

GENERAL_ONLY static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	record(device_log, offset, width, false);
	*value = 0;
	for (unsigned i = 0; i < width; i++)
		*value |= (uint64_t)device_bytes[offset + i] << 8 * i;
	return 0;
}

GENERAL_ONLY static int device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx;
	record(device_log, offset, width, true);
	for (unsigned i = 0; i < width; i++)
		device_bytes[offset + i] = (uint8_t)(value >> 8 * i);
	return 0;
}

static const struct regmap_device_ops device_ops = {device_read, device_write};

/* A contiguous access: as the naturally aligned pieces of its range, at most 8 bytes each. */
static void will_access(struct log *log, uint64_t address, uint64_t length, bool write)
{
	uint64_t offset = address - T_WINDOW;

	while (length) {
		unsigned width = PIECE;

		while (offset % width || width > length)
			width /= 2;
		record(log, offset, width, write);
		offset += width;
		length -= width;
	}
}

/* Native runs, with nothing accessible but the window's page. */

static void run_native(const struct t_case *c, const struct t_regs *in, const uint8_t *image,
                       int fill)
{
	if (fill < 0)
		memcpy((void *)T_WINDOW, c->memory + T_PAGE, T_PAGE);
	else
		memset((void *)T_WINDOW, fill, T_PAGE);
	t_run(in, image, &s.outcome, s.image);
}

/* Does it fault on data when the operand lies there? */
static bool faults_at(const struct t_case *c, const uint8_t *image, uint64_t address)
{
	struct t_regs in = c->in;

	in.gpr[T_RBX] += address - c->address;
	run_native(c, &in, image, -1);
	if (s.outcome.end != T_END_FAULT || s.outcome.regs.rip != in.rip)
		return false;
	if (s.outcome.number != PAGE_FAULT && s.outcome.signo != SIGFPE)
		s.confused = true;
	return s.outcome.number == PAGE_FAULT;
}

/* Bytes [from, to) from the operand's address on. */
struct extent {
	int from, to;
};

static int find_end(const struct t_case *c, const uint8_t *image)
{
	int low = REACH_BACK, high = REACH;

	if (!faults_at(c, image, T_WINDOW_END - (uint64_t)(int64_t)low))
		return low;
	while (low + 1 < high) {
		int middle = low + (high - low) / 2;

		if (faults_at(c, image, T_WINDOW_END - (uint64_t)(int64_t)middle))
			low = middle;
		else
			high = middle;
	}
	return high;
}

static int find_start(const struct t_case *c, const uint8_t *image, int end)
{
	int low = REACH_BACK, high = end;

	while (low + 1 < high) {
		int middle = low + (high - low) / 2;

		if (faults_at(c, image, T_WINDOW - (uint64_t)(int64_t)middle))
			high = middle;
		else
			low = middle;
	}
	return low;
}

static struct extent measure(const struct t_case *c, const uint8_t *image)
{
	struct extent e = {0, find_end(c, image)};

	if (e.to == REACH_BACK)
		return (struct extent){0, 0};
	e.from = find_start(c, image, e.to);
	return e;
}

/* Masks: one bit at a time */

static bool has_opmask(const struct t_insn *i)
{
	return i->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX && i->insn.raw.evex.aaa;
}

static bool has_vector_mask(const struct t_insn *i)
{
	return i->insn.mnemonic == ZYDIS_MNEMONIC_VMASKMOVPS ||
	       i->insn.mnemonic == ZYDIS_MNEMONIC_VMASKMOVPD ||
	       i->insn.mnemonic == ZYDIS_MNEMONIC_VPMASKMOVD ||
	       i->insn.mnemonic == ZYDIS_MNEMONIC_VPMASKMOVQ;
}

static uint64_t opmask_of(const struct t_case *c)
{
	uint64_t k;

	memcpy(&k, c->image + t_layout.opmask + 8 * c->i.insn.raw.evex.aaa, 8);
	return k;
}

static unsigned element_bytes(const struct t_insn *i)
{
	unsigned bytes = i->op[i->mem].element_size / 8u;

	return bytes ? bytes : i->op[i->mem].size / 8u;
}

static unsigned mask_vector(const struct t_insn *i)
{
	return (unsigned)ZydisRegisterGetId(i->op[1].reg.value);
}

static uint64_t vector_mask_of(const struct t_case *c)
{
	unsigned element = element_bytes(&c->i), n = c->i.op[c->i.mem].size / 8u / element;
	uint64_t mask = 0;

	for (unsigned k = 0; k < n; k++) {
		uint8_t sign;

		t_image_get_vector(c->image, mask_vector(&c->i), (k + 1) * element - 1, &sign, 1);
		mask |= (uint64_t)(sign >> 7) << k;
	}
	return mask;
}

static void set_mask(const struct t_case *c, uint8_t *image, uint64_t mask)
{
	unsigned element = element_bytes(&c->i);

	if (has_opmask(&c->i)) {
		memcpy(image + t_layout.opmask + 8 * c->i.insn.raw.evex.aaa, &mask, 8);
		return;
	}
	for (unsigned k = 0; k < 64 / element; k++) {
		uint8_t sign = mask >> k & 1 ? 0x80 : 0;

		t_image_set_vector(image, mask_vector(&c->i), (k + 1) * element - 1, &sign, 1);
	}
}

/* Bytes from the operand's address on. */
struct bytes {
	bool at[SPAN];
};

static bool add_extent(struct bytes *b, struct extent e)
{
	if (e.from < 0 || e.to > SPAN)
		return false;
	for (int k = e.from; k < e.to; k++)
		b->at[k] = true;
	return true;
}

static struct extent extent_of(const struct bytes *b)
{
	struct extent e = {0, 0};

	for (int k = 0; k < SPAN; k++)
		if (b->at[k]) {
			e.to = k + 1;
			if (e.from == e.to - 1 && !b->at[e.from])
				e.from = k;
		}
	while (e.from < e.to && !b->at[e.from])
		e.from++;
	return e;
}

/*
 * The union of what each bit makes it touch; if that isn't all, then it is packed and has no holes.
 */
static bool masked_bytes(const struct t_case *c, uint64_t mask, struct extent all, struct bytes *to)
{
	static uint8_t image[T_IMAGE_MAX] __attribute__((aligned(64)));
	struct extent sum;

	memset(to, 0, sizeof(*to));
	memcpy(image, c->image, t_layout.size);
	for (; mask; mask &= mask - 1) {
		set_mask(c, image, mask & -mask);
		if (!add_extent(to, measure(c, image)))
			return false;
	}
	sum = extent_of(to);
	if (sum.from == all.from && sum.to == all.to)
		return true;
	memset(to, 0, sizeof(*to));
	return add_extent(to, all);
}

/* Aligned-only forms can't be moved about: the mask's bits are the operand's elements. */
static void aligned_bytes(const struct t_case *c, uint64_t mask, struct bytes *to)
{
	unsigned size = c->i.op[c->i.mem].size / 8u, element = element_bytes(&c->i);

	memset(to, 0, sizeof(*to));
	for (unsigned k = 0; k < size && k < SPAN; k++)
		to->at[k] = mask >> k / element & 1;
}

/* With REX.W: 10 bytes for Intel, 6 for AMD. */
static bool loads_far_pointer(const struct t_insn *i)
{
	return i->op[i->mem].size == 80 && i->insn.meta.isa_ext != ZYDIS_ISA_EXT_X87;
}

static bool touched_bytes(const struct t_case *c, struct bytes *to)
{
	uint64_t mask = has_opmask(&c->i)      ? opmask_of(c) :
	                has_vector_mask(&c->i) ? vector_mask_of(c) :
	                                         ~0ull;
	struct extent all;
	bool ok;

	s.confused = false;
	all = measure(c, c->image);
	memset(to, 0, sizeof(*to));
	if (has_opmask(&c->i) || has_vector_mask(&c->i))
		ok = masked_bytes(c, mask, all, to);
	else
		ok = add_extent(to, all);
	if (!s.confused)
		return ok;
	aligned_bytes(c, mask, to);
	return c->i.op[c->i.mem].size / 8u <= SPAN && !loads_far_pointer(&c->i);
}

/* What a pure store writes: the bytes that don't depend on what was there. */
static void written_bytes(const struct t_case *c, struct bytes *to)
{
	static uint8_t first[SPAN];

	run_native(c, &c->in, c->image, 0);
	memcpy(first, (void *)c->address, SPAN);
	run_native(c, &c->in, c->image, 0xff);
	for (unsigned k = 0; k < SPAN; k++)
		to->at[k] = first[k] == ((uint8_t *)c->address)[k];
}

static void will_access_bytes(struct log *log, const struct t_case *c, const struct bytes *b,
                              bool write)
{
	for (unsigned k = 0, n; k < SPAN; k += n) {
		for (n = 0; k + n < SPAN && b->at[k + n]; n++)
			;
		will_access(log, c->address + k, n, write);
		n += !n;
	}
}

/* Explicit operands */

static bool moves_no_data(const struct t_insn *i)
{
	switch (i->insn.mnemonic) {
	case ZYDIS_MNEMONIC_CLFLUSH:
	case ZYDIS_MNEMONIC_CLFLUSHOPT:
	case ZYDIS_MNEMONIC_CLWB: return true;
	default:
		return i->op[i->mem].mem.type == ZYDIS_MEMOP_TYPE_AGEN ||
		       i->insn.meta.category == ZYDIS_CATEGORY_PREFETCH;
	}
}

/* Areas whose holes depend on the state: what is in them is test_differential's business. */
static bool is_state_area(const struct t_insn *i)
{
	return i->op[i->mem].size / 8u > SPAN;
}

static bool expect_explicit(struct entry *e)
{
	const struct t_insn *i = &e->c.i;
	ZydisOperandActions actions = i->op[i->mem].actions;
	struct bytes b;

	if (moves_no_data(i))
		return true;
	if (is_state_area(i))
		return false;
	if (!(actions & ZYDIS_OPERAND_ACTION_MASK_READ)) {
		written_bytes(&e->c, &b);
		will_access_bytes(&e->expected, &e->c, &b, true);
		return true;
	}
	if (!touched_bytes(&e->c, &b))
		return false;
	will_access_bytes(&e->expected, &e->c, &b, false);
	if (actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
		will_access_bytes(&e->expected, &e->c, &b, true);
	return true;
}

/* Gather and scatter: element by element, by the book (SDM vol. 2, VGATHERDPS) */

static bool has_wide_index(const struct t_insn *i)
{
	const char *name = ZydisMnemonicGetString(i->insn.mnemonic), *at = strstr(name, "ther");

	at = at ? at + 4 : strstr(name, "tter") + 4;
	return *at == 'q';
}

static bool is_active(const struct t_case *c, unsigned k, unsigned width)
{
	uint8_t sign;

	if (has_opmask(&c->i))
		return opmask_of(c) >> k & 1;
	t_image_get_vector(c->image, (unsigned)ZydisRegisterGetId(c->i.op[2].reg.value),
	                   (k + 1) * width - 1, &sign, 1);
	return sign >> 7;
}

static uint64_t element_address(const struct t_case *c, unsigned k, bool wide)
{
	const ZydisDecodedOperandMem *mem = &c->i.op[c->i.mem].mem;
	unsigned vector = (unsigned)ZydisRegisterGetId(mem->index);
	int64_t index = 0;
	int32_t narrow;

	if (wide) {
		t_image_get_vector(c->image, vector, k * 8, &index, 8);
	} else {
		t_image_get_vector(c->image, vector, k * 4, &narrow, 4);
		index = narrow;
	}
	return c->in.gpr[T_RBX] + (uint64_t)index * mem->scale;
}

static bool expect_elements(struct entry *e)
{
	const struct t_insn *i = &e->c.i;
	unsigned width = element_bytes(i), vector = i->insn.avx.vector_length / 8u;
	bool wide = has_wide_index(i),
	     write = i->op[i->mem].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	unsigned n = vector / (wide || width == 8 ? 8 : 4);

	for (unsigned k = 0; k < n; k++)
		if (is_active(&e->c, k, width))
			will_access(&e->expected, element_address(&e->c, k, wide), width, write);
	return true;
}

/* Implicit operands: strings, stack */

static bool is_string(const struct t_insn *i)
{
	return i->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	       i->insn.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
	       ((i->insn.opcode >= 0xa4 && i->insn.opcode <= 0xa7) ||
	        (i->insn.opcode >= 0xaa && i->insn.opcode <= 0xaf));
}

static uint64_t iterations(const struct t_case *c)
{
	const ZydisInstructionAttributes rep = ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE |
	                                       ZYDIS_ATTRIB_HAS_REPNE;

	if (!(c->i.insn.attributes & rep))
		return 1;
	run_native(c, &c->in, c->image, -1);
	return c->in.gpr[T_RCX] - s.outcome.regs.gpr[T_RCX];
}

static unsigned string_width(const struct t_insn *i)
{
	return i->insn.opcode & 1 ? i->insn.operand_width / 8u : 1;
}

static bool expect_repeats(struct entry *e)
{
	static const uint8_t moves = 0xa4, compares = 0xa6, stores = 0xaa, loads = 0xac;
	uint64_t n = iterations(&e->c), rsi = e->c.in.gpr[T_RSI], rdi = e->c.in.gpr[T_RDI];
	unsigned width = string_width(&e->c.i), op = e->c.i.insn.opcode & 0xfe;

	for (uint64_t k = 0; k < n; k++, rsi += width, rdi += width) {
		if (op == moves || op == compares || op == loads)
			will_access(&e->expected, rsi, width, false);
		if (op != loads)
			will_access(&e->expected, rdi, width, op == moves || op == stores);
	}
	return true;
}

/*
 * MASKMOVQ and kin, XLAT, CLZERO: Zydis knows where and how much; masked bytes by what is written.
 */
static bool expect_implicit(struct entry *e)
{
	const struct t_insn *i = &e->c.i;
	struct bytes b = {{false}};

	switch (i->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		written_bytes(&e->c, &b);
		will_access_bytes(&e->expected, &e->c, &b, true);
		return true;
	case ZYDIS_MNEMONIC_XLAT:
		will_access(&e->expected, e->c.in.gpr[T_RBX] + (e->c.in.gpr[T_RAX] & 0xff), 1,
		            false);
		return true;
	case ZYDIS_MNEMONIC_CLZERO:
		will_access(&e->expected, e->c.in.gpr[T_RAX] & ~63ull, 64, true);
		return true;
	case ZYDIS_MNEMONIC_LEAVE:
		will_access(&e->expected, e->c.in.gpr[T_RBP], i->insn.operand_width == 16 ? 2 : 8,
		            false);
		return true;
	default: return false;
	}
}

static int stack_operand(const struct t_insn *i)
{
	for (int k = 0; k < i->insn.operand_count; k++)
		if (k != i->mem && i->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    i->op[k].mem.base == ZYDIS_REGISTER_RSP)
			return k;
	return -1;
}

static bool is_far(const struct t_insn *i)
{
	return i->insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
	       i->insn.mnemonic == ZYDIS_MNEMONIC_IRET ||
	       i->insn.mnemonic == ZYDIS_MNEMONIC_IRETD || i->insn.mnemonic == ZYDIS_MNEMONIC_IRETQ;
}

static bool pops_selector(const struct t_insn *i)
{
	return i->insn.mnemonic == ZYDIS_MNEMONIC_POP &&
	       i->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       ZydisRegisterGetClass(i->op[0].reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

/* PUSH, POP, CALL, RET: the source is read first. */
static bool expect_stack(struct entry *e, const ZydisDecodedOperand *stack)
{
	const struct t_insn *i = &e->c.i;
	uint64_t rsp = e->c.in.gpr[T_RSP];
	unsigned size = i->mem >= 0 ? i->op[i->mem].size / 8u : 0, width = stack->size / 8u;

	if (i->insn.mnemonic == ZYDIS_MNEMONIC_ENTER || is_far(i))
		return false;
	if (stack->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) {
		will_access(&e->expected, e->c.address, size, false);
		will_access(&e->expected, rsp - width, width, true);
	} else {
		if (pops_selector(i) && !t_is_amd())
			width = 2;
		will_access(&e->expected, rsp, width, false);
		will_access(&e->expected, e->c.address, size, true);
	}
	return true;
}

static bool find_expected(struct entry *e)
{
	const struct t_insn *i = &e->c.i;

	e->expected.count = 0;
	run_native(&e->c, &e->c.in, e->c.image, -1);
	if (s.outcome.end == T_END_FAULT)
		return false;
	if (is_string(i))
		return expect_repeats(e);
	if (i->insn.mnemonic == ZYDIS_MNEMONIC_MOVDIR64B)
		return false;
	if (t_is_vsib(i))
		return expect_elements(e);
	if (i->insn.mnemonic == ZYDIS_MNEMONIC_LEAVE)
		return expect_implicit(e);
	if (stack_operand(i) >= 0)
		return expect_stack(e, &i->op[stack_operand(i)]);
	if (i->mem < 0)
		return expect_implicit(e);
	if (i->op[i->mem].mem.base != ZYDIS_REGISTER_RBX)
		return false;
	return expect_explicit(e);
}

/* The window */

static void make_native(void)
{
	void *at = mmap((void *)T_WINDOW, T_PAGE, PROT_READ | PROT_WRITE,
	                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	assert_ptr_equal(at, (void *)T_WINDOW);
}

static void run_one(struct entry *e)
{
	device_log = &e->seen;
	device_log->count = 0;
	memcpy(device_bytes, e->c.memory + T_PAGE, T_PAGE);
	if (e->known)
		t_run(&e->c.in, e->c.image, &s.outcome, s.image);
}

static void run_on_device(unsigned flags)
{
	const struct regmap_config config = {
		.size = sizeof(config),
		.guest = T_WINDOW,
		.length = T_PAGE,
		.access = REGMAP_READ | REGMAP_WRITE,
		.backing = REGMAP_DEVICE,
		.flags = flags,
		.ops = &device_ops,
	};
	struct regmap_window *window;

	assert_int_equal(munmap((void *)T_WINDOW, T_PAGE), 0);
	assert_int_equal(regmap_map(&config, &window), 0);
	t_machine_catch();
	for (unsigned k = 0; k < s.entries; k++)
		run_one(&s.entry[k]);
	assert_int_equal(regmap_unmap(window), 0);
}

/* Judging */

static void show_log(const char *what, const struct log *log)
{
	printf("    %s:", what);
	for (unsigned k = 0; k < log->count && k < 24; k++)
		printf(" %c%u@%x", log->event[k].write ? 'w' : 'r', log->event[k].width,
		       log->event[k].offset);
	puts(log->count > 24 ? " ..." : "");
}

static void show(const struct entry *e)
{
	char text[256];

	t_case_describe(&e->c, text, sizeof(text));
	printf("%s, operand at %lx\n", text, (unsigned long)e->c.address);
	show_log("expected", &e->expected);
	show_log("seen    ", &e->seen);
}

static bool same_log(const struct log *a, const struct log *b)
{
	if (a->count != b->count)
		return false;
	for (unsigned k = 0; k < a->count; k++)
		if (a->event[k].offset != b->event[k].offset ||
		    a->event[k].width != b->event[k].width ||
		    a->event[k].write != b->event[k].write)
			return false;
	return true;
}

static void judge(const struct entry *e)
{
	if (!e->known) {
		__atomic_fetch_add(&s.tally->unknown, 1, __ATOMIC_RELAXED);
		return;
	}
	s.compared[e->form] = 1;
	__atomic_fetch_add(&s.tally->compared, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&s.tally->accesses, e->expected.count, __ATOMIC_RELAXED);
	if (same_log(&e->expected, &e->seen))
		return;
	__atomic_fetch_add(&s.tally->differences, 1, __ATOMIC_RELAXED);
	if (!s.differs[e->form] && s.shown++ < s.show)
		show(e);
	s.differs[e->form] = 1;
}

static void run_and_judge(unsigned flags)
{
	run_on_device(flags);
	for (unsigned k = 0; k < s.entries; k++)
		judge(&s.entry[k]);
}

static void run_patched(void)
{
	t_place_close();
	assert_int_equal(regmap_patch(1), 0);
	run_and_judge(0);
	for (unsigned k = 0; k < s.entries; k++)
		if (regmap_patch_site((const void *)s.entry[k].c.in.rip) == 1)
			__atomic_fetch_add(&s.tally->patched, 1, __ATOMIC_RELAXED);
	run_and_judge(0);
	run_and_judge(REGMAP_GENERAL);
}

static void run_batch(void)
{
	make_native();
	for (unsigned k = 0; k < s.entries; k++)
		s.entry[k].known = find_expected(&s.entry[k]);
	if (PATCHED)
		run_patched();
	else
		run_and_judge(0);
	s.entries = 0;
}

/* Half of the cases with an operand at [rbx] are moved off their alignment. */
static void misalign(struct t_case *c, unsigned n)
{
	static const uint8_t by[CASES] = {0, 4, 1, 7};

	if (c->i.mem < 0 || c->i.op[c->i.mem].mem.base != ZYDIS_REGISTER_RBX)
		return;
	c->in.gpr[T_RBX] += by[n % CASES];
	c->address += by[n % CASES];
}

static void add(size_t form, unsigned n)
{
	struct entry *e = &s.entry[s.entries];

	t_case_make(&e->c, &s.forms.form[form], 5000 + n, T_SIMPLE,
	            PATCHED ? t_place(s.entries, BATCH) : s.entries);
	misalign(&e->c, n);
	e->form = form;
	if (t_mode_is("tsan") && t_loads_fs(&e->c.i))
		return;
	if (++s.entries == BATCH)
		run_batch();
}

static bool is_chosen(size_t form)
{
	return !s.only || !strcasecmp(s.only, ZydisMnemonicGetString(s.forms.form[form].mnemonic));
}

static void run_chunk(unsigned chunk)
{
	t_machine_catch();
	for (size_t k = chunk; k < s.forms.count; k += CHUNKS)
		for (unsigned n = 0; is_chosen(k) && n < CASES; n++)
			add(k, n);
	if (s.entries)
		run_batch();
	fflush(stdout);
	_exit(0);
}

static void wait_for_one(void)
{
	int status;

	assert_true(wait(&status) > 0);
	if (WIFSIGNALED(status))
		fail_msg("a child died of signal %d", WTERMSIG(status));
	assert_int_equal(status, 0);
}

static void test_ledger_accesses(void **unused)
{
	unsigned started = 0, waited = 0;

	(void)unused;
	for (; started < CHUNKS; started++) {
		pid_t pid;

		if (started - waited == PARALLEL) {
			wait_for_one();
			waited++;
		}
		pid = fork();
		assert_true(pid >= 0);
		if (!pid)
			run_chunk(started);
	}
	for (; waited < started; waited++)
		wait_for_one();
}

static void print_counts(const char *what, const uint8_t *chosen)
{
	struct t_counts n;

	t_count(&s.forms, chosen, &n);
	printf("%-12s %6zu mnemonics %6zu operand forms %6zu encoding forms\n", what, n.mnemonics,
	       n.operand_forms, n.encodings);
}

static void test_ledger_summary(void **unused)
{
	(void)unused;
	print_counts("compared", s.compared);
	print_counts("differ", s.differs);
	printf("%lu cases with %lu accesses compared, %lu not comparable (faults, state areas, far "
	       "branches), %u differences\n",
	       s.tally->compared, s.tally->accesses, s.tally->unknown, s.tally->differences);
	assert_int_equal(s.tally->differences, 0);
	if (!PATCHED)
		return;
	printf("%lu sites patched\n", s.tally->patched);
	/* each was compared three times, once by the fault; some make no access */
	if (!s.only)
		assert_true(s.tally->patched >= s.tally->compared / 3 / 100 * 90);
}

static void *shared(size_t count, size_t size)
{
	void *p = mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	               0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static int setup(void **unused)
{
	void *at = mmap((void *)T_ARENA, T_ARENA_SIZE, PROT_NONE,
	                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	const char *show_count = getenv("T_SHOW");

	(void)unused;
	assert_ptr_equal(at, (void *)T_ARENA);
	if (PATCHED)
		t_stack_aside_make();
	t_machine_init(T_CODE_AT, T_GS_BASE);
	t_cases_init();
	t_enumerate(&s.forms);
	s.tally = shared(1, sizeof(*s.tally));
	s.compared = shared(s.forms.count, 1);
	s.differs = shared(s.forms.count, 1);
	s.entry = aligned_alloc(64, BATCH * sizeof(*s.entry));
	assert_non_null(s.entry);
	s.show = show_count ? (unsigned)strtoul(show_count, NULL, 0) : SHOWN;
	s.only = getenv("T_ONLY");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ledger_accesses),
		cmocka_unit_test(test_ledger_summary),
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	return cmocka_run_group_tests_name(PATCHED ? "ledger_patched" : "ledger", tests, setup,
	                                   NULL);
}
