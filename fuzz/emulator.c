/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as an instruction, any registers, any vector state, on a bus of two stretches of memory
 * (one of them across the top of the address space) that refuses what it likes. What must hold:
 *
 * - the bus sees no access outside of the announced footprint, and none twice;
 * - memory changes nowhere else; nothing has changed at all where the instruction was not carried
 *   out (strings with REP, gathers and scatters keep their progress, and no more than that);
 * - both tiers, and the short way, come to the same end;
 * - a decoder that is given too few bytes asks for more and reads none behind them;
 * - no flag is set that user code can't set.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "arch/x86_64/guard.h"
#include "emulator/plan.h"
#include "bytes.h"

/* An input: small, so that a mutation is likely to mean something. */
struct input {
	uint8_t code[EM_MAX_LENGTH];
	uint8_t have; /* of them are there before the end of a page */
	uint8_t options[2];
	uint8_t refuse; /* the transfer that the bus refuses, from 1 on */
	uint8_t seed[8];
	uint8_t gpr[16 * 2]; /* may be missing: where registers point */
};

enum { LEAST = offsetof(struct input, gpr) };

enum option {
	PINS_LOW = 1,
	PINS_HIGH = 2,
	READ_ONLY = 4,
	WRITE_ONLY = 8,
	ONE_TIER = 16,
	LEGACY_FRAME = 32,
	SHORT_BUDGET = 64,
	FORMAT = 128,
};

enum {
	HALF = 4096,
	FENCE = 4096,
	MEMORY = 2 * HALF,
	BUDGET = 64,
	FX_MXCSR_MASK = 28,
	FX_FSW = 2,
	FX_FOP = 6
};
enum { IMAGE = 4096, DENIED = -71, RIP = 0x5000 };

#define LOW_AT 0x10000ull
#define HIGH_AT (0ull - HALF / 2)
#define FLAGS_KEPT (~(uint64_t)CPU_USER_FLAGS)

static uint8_t room[FENCE + MEMORY + FENCE]; /* native code is not instrumented */
static uint8_t room_before[sizeof(room)];
static uint8_t *const memory = room + FENCE, *const memory_before = room_before + FENCE;
static uint8_t image[IMAGE] __attribute__((aligned(64)));
static uint8_t image_before[IMAGE] __attribute__((aligned(64)));
static uint8_t reads[MEMORY], writes[MEMORY];

static struct {
	unsigned options;
	unsigned refuse, transfers;         /* counted while the instruction runs */
	unsigned written;                   /* transfers that wrote */
	bool refused, probes_beyond;        /* ENTER asks about the RSP that it will leave */
	const struct em_footprint *allowed; /* NULL: a string moves on */
	unsigned locks, pins;
	unsigned commits, abandons;
} world;

static void die(const char *why)
{
	fprintf(stderr, "emulator: %s\n", why);
	abort();
}

/* --- the bus --- */

/* The byte's place in memory; false: nothing is there. */
static bool place_of(uint64_t address, size_t *at)
{
	if (address - LOW_AT < HALF)
		*at = (size_t)(address - LOW_AT);
	else if (address - HIGH_AT < HALF)
		*at = HALF + (size_t)(address - HIGH_AT);
	else
		return false;
	return true;
}

/* How often may a byte be accessed? Once for each part of the footprint that it lies in. */
static unsigned times(uint64_t address, unsigned access)
{
	unsigned n = 0;

	for (unsigned i = 0; i < world.allowed->count; i++)
		n += address - world.allowed->range[i].address < world.allowed->range[i].length &&
		     (!access || world.allowed->range[i].access & access);
	return n;
}

static void count(uint64_t address, size_t length, unsigned access)
{
	uint8_t *counters = access == EM_READ ? reads : writes;

	for (size_t i = 0, at; world.allowed && i < length; i++) {
		if (!times(address + i, access))
			die("an access outside of the footprint");
		if (place_of(address + i, &at) && ++counters[at] > times(address + i, access))
			die("a byte is accessed twice");
	}
}

static unsigned rights(size_t at)
{
	if (world.options & READ_ONLY && at < HALF / 2)
		return EM_READ;
	if (world.options & WRITE_ONLY && at >= HALF)
		return EM_WRITE;
	return EM_READ | EM_WRITE;
}

static enum em_status probe(struct bus *bus, uint64_t address, size_t length, unsigned access,
                            struct em_fault *fault)
{
	(void)bus;
	for (size_t i = 0, at; i < length; i++) {
		unsigned missing = 0;

		if (world.allowed && !world.probes_beyond && !times(address + i, 0))
			die("a probe outside of the footprint");
		if (place_of(address + i, &at))
			missing = access & (EM_READ | EM_WRITE) & ~rights(at);
		else
			fault->trap = (struct cpu_trap){SIGSEGV, SEGV_MAPERR, address + i, 14, 4};
		if (fault->trap.signo)
			return EM_FAULT;
		if (missing) {
			fault->error = DENIED;
			return EM_DENIED;
		}
	}
	return EM_OK;
}

/* Like real ones, not across 2^64, and not where anything is not allowed. */
static void *pin(struct bus *bus, uint64_t address, size_t length, unsigned access)
{
	size_t first, last;

	(void)bus;
	if (world.pins == 2 || !length || address + (length - 1) < address)
		return NULL;
	if (!place_of(address, &first) || !place_of(address + (length - 1), &last) ||
	    last - first != length - 1 || first / HALF != last / HALF)
		return NULL;
	if (!(world.options & (first < HALF ? PINS_LOW : PINS_HIGH)))
		return NULL;
	for (size_t i = first; i <= last; i++)
		if (access & (EM_READ | EM_WRITE) & ~rights(i))
			return NULL;
	world.pins++;
	return memory + first;
}

static void release(struct bus *bus)
{
	(void)bus;
	world.pins = 0;
}

static enum em_status transfer(struct bus *bus, uint64_t address, size_t length, unsigned access,
                               struct em_fault *fault)
{
	enum em_status st = probe(bus, address, length, access, fault);

	count(address, length, access);
	if (st)
		return st;
	if (world.commits && world.allowed)
		die("an access after the commit");
	if (++world.transfers == world.refuse) {
		world.refused = true;
		fault->error = DENIED;
		return EM_DENIED;
	}
	world.written += access == EM_WRITE;
	return EM_OK;
}

static enum em_status read_bytes(struct bus *bus, uint64_t address, void *to, size_t length,
                                 struct em_fault *fault)
{
	enum em_status st = transfer(bus, address, length, EM_READ, fault);

	for (size_t i = 0, at; !st && i < length; i++)
		if (place_of(address + i, &at))
			((uint8_t *)to)[i] = memory[at];
	return st;
}

static enum em_status write_bytes(struct bus *bus, uint64_t address, const void *from,
                                  size_t length, struct em_fault *fault)
{
	enum em_status st = transfer(bus, address, length, EM_WRITE, fault);

	for (size_t i = 0, at; !st && i < length; i++)
		if (place_of(address + i, &at))
			memory[at] = ((const uint8_t *)from)[i];
	return st;
}

static void lock(struct bus *bus, uint64_t address)
{
	(void)bus, (void)address;
	if (world.locks++)
		die("locked twice");
}

static void unlock(struct bus *bus, uint64_t address)
{
	(void)bus, (void)address;
	if (!world.locks--)
		die("unlocked what wasn't locked");
}

static void commit(struct bus *bus, struct cpu *cpu)
{
	(void)bus, (void)cpu;
	world.commits++;
}

static void abandon(struct bus *bus)
{
	(void)bus;
	world.abandons++;
}

static const struct bus_ops ops = {
	.probe = probe,
	.pin = pin,
	.release = release,
	.read = read_bytes,
	.write = write_bytes,
	.lock = lock,
	.unlock = unlock,
	.commit = commit,
	.abandon = abandon,
};

/* --- the state --- */

static void fill(void *to, size_t length, uint64_t *state)
{
	uint8_t *bytes = to;

	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(t_next(state) >> 13);
}

/* Indices of gathers that lead somewhere, masks with few elements, numbers that are extreme. */
static void season(uint8_t *element, uint64_t *state)
{
	static const uint64_t extreme[] = {0,
	                                   ~0ull,
	                                   1ull << 63,
	                                   0x7ff0000000000000,
	                                   0x7ff0000000000001,
	                                   1,
	                                   0x3ff0000000000000,
	                                   0x7f8000007f800000};
	uint64_t how = t_next(state), value;

	switch (how & 3) {
	case 0: value = extreme[how >> 8 & 7]; break;
	case 1: value = how >> 8 & 0x7f0000007f; break;
	default: return;
	}
	memcpy(element, &value, sizeof(value));
}

/* Through the CPU, which knows what reserved bits read as. The ABI's state comes back. */
static void make_loadable(uint8_t *state_image)
{
	static uint8_t out[IMAGE] __attribute__((aligned(64)));
	uint32_t mxcsr = 0x1f80,
		 low = (uint32_t)(regmap__xstate.xcr0 & (XSTATE_X87 | XSTATE_VECTOR));

	memset(out, 0, sizeof(out));
	__asm__ volatile("xrstor64 (%[in])\n\t"
	                 "xsave64 (%[out])\n\t"
	                 "fninit\n\t"
	                 "ldmxcsr %[mxcsr]"
	                 : "+m"(out), "+m"(*(uint8_t(*)[IMAGE])state_image)
	                 : [in] "r"(state_image), [out] "r"(out), [mxcsr] "m"(mxcsr), "a"(low),
	                   "d"(0)
	                 : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
	                   "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	if (low & XSTATE_AVX)
		__asm__ volatile("vzeroupper" ::: "memory");
	memcpy(state_image, out, sizeof(out));
}

static void make_vectors(struct cpu *cpu, uint64_t *state)
{
	uint32_t mxcsr_mask = 0xffff, size = regmap__xstate.size;
	uint16_t mxcsr = 0x1f80;

	if (size > sizeof(image))
		die("a larger image than foreseen");
	memset(image, 0, sizeof(image));
	fill(image, 464, state);
	for (unsigned i = XSAVE_LEGACY; i < size; i++)
		image[i] = (uint8_t)(t_next(state) >> 13);
	for (unsigned i = XSAVE_XMM; i + 8 <= size; i += 8)
		if (i < 416 || i >= XSAVE_LEGACY)
			season(image + i, state);
	if (t_next(state) % 4 == 0) /* exceptions unmasked, other roundings, DAZ, FTZ */
		mxcsr = (uint16_t)t_next(state);
	memcpy(image + XSAVE_MXCSR, &mxcsr, 2);
	memset(image + XSAVE_MXCSR + 2, 0, 2);
	memcpy(image + FX_MXCSR_MASK, &mxcsr_mask, 4);
	if (t_next(state) % 4) /* no x87 exception pending, or each instruction meets it */
		image[FX_FSW] &= 0x40, image[0] |= 0x3f;
	memset(image + XSAVE_HEADER, 0, XSAVE_LEGACY - XSAVE_HEADER);
	*xsave_bv(image) = regmap__xstate.xcr0 & (XSTATE_X87 | XSTATE_VECTOR);
	make_loadable(image);
	cpu->xsave = image;
	cpu->xfeatures = regmap__xstate.xcr0 & (XSTATE_X87 | XSTATE_VECTOR);
	if (world.options & LEGACY_FRAME)
		cpu->xfeatures &= XSTATE_X87 | XSTATE_SSE;
	*xsave_bv(image) &= cpu->xfeatures & (t_next(state) % 4 ? ~0ull : t_next(state));
}

static uint64_t make_pointer(uint16_t bits)
{
	uint64_t base = bits & 0x8000 ? HIGH_AT : LOW_AT;

	if (bits % 64 == 63) /* nowhere, or not canonical */
		return bits & 64 ? 0x7fffffff0000ull : 0x8000000000000000 | bits;
	if (bits & 0x4000) /* the beginning, the end, the middle of it */
		return base + (bits & 0x3000 ? HALF / 2 : 0) + (bits & 0x2000 ? HALF / 2 : 0) - 32 +
		       bits % 64;
	return base + bits % HALF;
}

static void make_registers(struct cpu *cpu, const struct input *in, bool chosen, uint64_t *state)
{
	for (unsigned i = 0; i < 16; i++) {
		uint64_t r = t_next(state);
		uint16_t bits = (uint16_t)r;

		if (chosen)
			memcpy(&bits, in->gpr + 2 * i, 2);
		cpu->gpr[i] = make_pointer(bits);
		if (r >> 16 & 3 && i != CPU_RSP) /* an index, a count, a bit offset */
			continue;
		if (i == CPU_RAX || i == CPU_RCX || (r >> 20 & 3) == 0)
			cpu->gpr[i] = (r >> 24 & 3) ? r >> 32 & 0x7f : r * 0x9e3779b97f4a7c15;
	}
	cpu->rflags = t_next(state) & (CPU_STATUS | CPU_DF | CPU_ID);
	if (t_next(state) % 8 == 0)
		cpu->rflags |= t_next(state) & CPU_USER_FLAGS;
	cpu->rflags |= 0x202;
	cpu->rip = t_next(state) % 8 ? RIP : LOW_AT + t_next(state) % HALF;
	cpu->fs_base = t_next(state) % 4 ? 0x40 : t_next(state);
	cpu->gs_base = t_next(state) % 4 ? 0ull - 0x40 : t_next(state);
	cpu->cs = 0x33;
	cpu->ss = 0x2b;
}

static void make_cpu(struct cpu *cpu, const struct input *in, bool chosen)
{
	uint64_t state;

	memset(cpu, 0, sizeof(*cpu));
	memcpy(&state, in->seed, sizeof(state));
	make_vectors(cpu, &state);
	make_registers(cpu, in, chosen, &state);
	fill(room, sizeof(room), &state);
	memcpy(room_before, room, sizeof(room));
	memcpy(image_before, image, sizeof(image));
}

/* --- what must hold --- */

/*
 * Components in their initial state are written out: what counts is the value. Where the FPU's last
 * instruction was gets lost on AMD's CPUs.
 */
static void make_canonical(uint8_t *to, const uint8_t *from)
{
	memcpy(to, from, IMAGE);
	regmap__xsave_materialize(to, regmap__xstate.xcr0 & (XSTATE_X87 | XSTATE_VECTOR));
	memset(to + XSAVE_HEADER, 0, XSAVE_LEGACY - XSAVE_HEADER);
	memset(to + 464, 0, XSAVE_HEADER - 464);
	memset(to + FX_FOP, 0, XSAVE_MXCSR - FX_FOP);
	memset(to + FX_MXCSR_MASK, 0, 4);
}

static bool same_vectors(const uint8_t *a, const uint8_t *b)
{
	static uint8_t one[IMAGE] __attribute__((aligned(64)));
	static uint8_t two[IMAGE] __attribute__((aligned(64)));

	make_canonical(one, a);
	make_canonical(two, b);
	return !memcmp(one, two, regmap__xstate.size);
}

static bool same_registers(const struct cpu *a, const struct cpu *b)
{
	return !memcmp(a->gpr, b->gpr, sizeof(a->gpr)) && a->rip == b->rip &&
	       a->rflags == b->rflags && a->fs_base == b->fs_base && a->gs_base == b->gs_base &&
	       a->fs == b->fs && a->gs == b->gs && a->dirty == b->dirty;
}

static uint64_t address_of(size_t at)
{
	return at < HALF ? LOW_AT + at : HIGH_AT + (at - HALF);
}

static void check_memory(bool may_change)
{
	if (!memcmp(room, room_before, sizeof(room)))
		return;
	if (!may_change)
		die("memory has changed, though nothing was done");
	if (memcmp(room, room_before, FENCE) ||
	    memcmp(memory + MEMORY, memory_before + MEMORY, FENCE))
		die("memory around the windows has changed");
	for (size_t i = 0; i < MEMORY; i++)
		if (memory[i] != memory_before[i] && world.allowed &&
		    !times(address_of(i), EM_WRITE))
			die("memory has changed outside of the footprint");
}

static bool keeps_progress(const struct plan *p)
{
	return p->kind == EM_GATHER || p->kind == EM_SCATTER || (p->kind == EM_STRING && p->rep);
}

/* A string has moved by whole elements: as many as were counted, and stored nowhere else. */
static void check_string(const struct plan *p, const struct cpu *before, const struct cpu *cpu)
{
	uint64_t mask = p->mem.address32 ? UINT32_MAX : UINT64_MAX;
	uint64_t n = (before->gpr[CPU_RCX] - cpu->gpr[CPU_RCX]) & mask, width = p->width;
	uint64_t first = before->gpr[CPU_RDI] & mask, end = cpu->gpr[CPU_RDI] & mask;
	bool down = before->rflags & CPU_DF;

	if (n > BUDGET)
		die("more iterations than the budget allows");
	if (cpu->gpr[CPU_RDI] == before->gpr[CPU_RDI] || ((end - first) & mask) == 0)
		end = first;
	else if ((((down ? first - end : end - first)) & mask) != n * width)
		die("the count and the destination of a string disagree");
	if (down)
		first = end + width, end = (before->gpr[CPU_RDI] & mask) + width;
	for (size_t i = 0; i < MEMORY; i++)
		if (memory[i] != memory_before[i] &&
		    ((address_of(i) - first) & mask) >= ((end - first) & mask))
			die("a string stored where it has not been");
}

static void check_failure(const struct plan *p, const struct cpu *before, const struct cpu *cpu,
                          const struct em_fault *fault)
{
	bool progress = keeps_progress(p);

	if (cpu->rip != before->rip)
		die("RIP has moved, though the instruction was not carried out");
	if (!(p->kind == EM_STRING && progress) && !same_registers(cpu, before))
		die("registers have changed, though the instruction was not carried out");
	if (!(progress && p->kind != EM_STRING) && fault->trap.signo != SIGFPE &&
	    !same_vectors(image, image_before))
		die("vector state has changed, though the instruction was not carried out");
	if (!world.abandons)
		die("neither committed nor abandoned");
	check_memory(progress || world.written > 0);
}

static void check_success(const struct plan *p, const struct cpu *before, const struct cpu *cpu)
{
	if ((cpu->rflags ^ before->rflags) & FLAGS_KEPT)
		die("a flag has changed that user code can't change");
	if (!world.commits || world.abandons)
		die("a success that was not committed");
	if (world.refused)
		die("a success, though the bus refused");
	if ((p->kind <= EM_BIT || p->kind >= EM_GATHER) && cpu->rip != before->rip + p->length)
		die("RIP is not at the next instruction");
	check_memory(true);
}

static enum em_status execute(const struct plan *plan, struct cpu *cpu, struct em_fault *fault)
{
	static struct em_footprint footprint;
	struct bus bus = {.ops = &ops};
	enum em_status st;

	if (regmap__em_footprint(plan, cpu, &footprint) != EM_OK && plan->kind != EM_NONE)
		die("no footprint for what there is a plan for");
	world.allowed = plan->kind == EM_STRING && plan->rep ? NULL : &footprint;
	world.transfers = world.written = world.commits = world.abandons = 0;
	world.refused = false;
	world.probes_beyond = plan->kind == EM_ENTER;
	memset(reads, 0, sizeof(reads));
	memset(writes, 0, sizeof(writes));
	st = regmap__em_execute(plan, cpu, &bus, world.options & SHORT_BUDGET ? 1 : BUDGET, fault);
	if (world.locks || world.pins)
		die("a lock or a pin is left behind");
	return st;
}

static enum em_status run(const struct plan *plan, struct cpu *cpu)
{
	const struct cpu before = *cpu;
	struct em_fault fault;
	enum em_status st = execute(plan, cpu, &fault);

	if (plan->kind == EM_NONE && st != EM_UNIMPLEMENTED)
		die("carried out what it can't do");
	if (st == EM_OK)
		check_success(plan, &before, cpu);
	else if (st != EM_RETRY)
		check_failure(plan, &before, cpu, &fault);
	if (plan->kind == EM_STRING && plan->rep)
		check_string(plan, &before, cpu);
	if (memcmp(room, room_before, FENCE))
		die("memory below has changed");
	return st;
}

struct ended {
	enum em_status status;
	struct cpu cpu;
	uint8_t room[sizeof(room)];
	uint8_t image[IMAGE] __attribute__((aligned(64)));
};

static void keep_end(struct ended *to, enum em_status status, const struct cpu *cpu)
{
	to->status = status;
	to->cpu = *cpu;
	memcpy(to->room, room, sizeof(room));
	memcpy(to->image, image, sizeof(image));
}

static void start_over(void)
{
	memcpy(room, room_before, sizeof(room));
	memcpy(image, image_before, sizeof(image));
}

/* The other tier on the same: what both can do, they do alike. */
static void check_tiers(const struct plan *plan, const struct cpu *before,
                        const struct ended *compiled)
{
	struct cpu cpu = *before;
	struct em_fault fault;
	enum em_status status;
	struct plan native;

	if (plan->kind != EM_COMPILED ||
	    regmap__em_plan(&native, plan->bytes, plan->length, EM_TIER_NATIVE) ||
	    native.kind != EM_NATIVE)
		return;
	start_over();
	status = execute(&native, &cpu, &fault);
	if (status == EM_UNIMPLEMENTED)
		return; /* not on this CPU, where it is #UD and never comes to an access */
	/* Of several reasons why not, each may find another one first. */
	if ((status == EM_OK) != (compiled->status == EM_OK))
		die("the tiers disagree on whether it can be done");
	if (!same_registers(&cpu, &compiled->cpu))
		die("the tiers disagree on registers");
	if (compiled->status == EM_OK && memcmp(room, compiled->room, sizeof(room)))
		die("the tiers disagree on memory");
}

/* The short way on the registers themselves, in host memory. */
static void check_short_way(const struct plan *plan, const struct cpu *before,
                            const struct ended *compiled)
{
	static const uint8_t in_order[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	struct cpu cpu = *before;
	struct cpu_regs regs = {cpu.gpr, in_order, &cpu.rflags};
	uint64_t address;
	size_t first, last;

	if (!regmap__em_quick_address(plan, &regs, cpu.rip, &address) ||
	    !place_of(address, &first) || !place_of(address + (plan->size - 1u), &last) ||
	    last - first != plan->size - 1u || compiled->status == EM_DENIED)
		return;
	start_over();
	if (!regmap__em_quick(plan, &regs, memory + first)) {
		if (compiled->status == EM_OK)
			die("the short way does not get there");
		cpu.rip -= plan->length;
	}
	cpu.rip += plan->length;
	if (!same_registers(&cpu, &compiled->cpu) || memcmp(room, compiled->room, sizeof(room)))
		die("the short way leads elsewhere");
}

/* A page ends: the decoder asks for more, or has seen enough. The heap's fence stands behind it. */
static enum em_status plan_at_page_end(struct plan *plan, const struct input *in, unsigned tiers)
{
	size_t have = 1 + in->have % EM_MAX_LENGTH;
	uint8_t *page = malloc(have);
	enum em_status st;
	struct plan all;

	if (!page)
		return EM_UNIMPLEMENTED;
	memcpy(page, in->code, have);
	st = regmap__em_plan(plan, page, have, tiers);
	free(page);
	if (st == EM_RETRY && have == EM_MAX_LENGTH)
		die("more than 15 bytes are asked for");
	if (st == EM_OK && plan->length > have)
		die("an instruction of bytes that aren't there");
	if (st == EM_RETRY)
		return regmap__em_plan(plan, in->code, EM_MAX_LENGTH, tiers);
	if (st == EM_OK && (regmap__em_plan(&all, in->code, EM_MAX_LENGTH, tiers) != EM_OK ||
	                    all.length != plan->length || all.kind != plan->kind))
		die("more bytes make another instruction of it");
	return st;
}

static void check_format(const uint8_t *code)
{
	char text[48];
	size_t n;

	memset(text, 'x', sizeof(text));
	n = regmap__em_format(code, EM_MAX_LENGTH, RIP, text, sizeof(text) - 8);
	if (n >= sizeof(text) - 8 || text[n] || text[sizeof(text) - 8] != 'x')
		die("text behind its end");
}

/* These really load FS, and the sanitizers' own code needs it. */
static bool loads_fs(const struct plan *p)
{
	if (p->kind == EM_POP)
		return p->bytes[p->length - 1] == 0xa1;
	return p->mnemonic == ZYDIS_MNEMONIC_LFS ||
	       (p->kind == EM_NATIVE && p->mnemonic == ZYDIS_MNEMONIC_MOV);
}

static unsigned tiers_of(const struct input *in)
{
	if (!(in->options[0] & ONE_TIER))
		return EM_TIER_BOTH;
	return in->options[1] & 1 ? EM_TIER_NATIVE : EM_TIER_COMPILED;
}

/* --- the fuzzer's interface --- */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

static void on_signal(int signo, siginfo_t *info, void *uc)
{
	if (!regmap__guard_fixup(signo, info, uc))
		abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};

	(void)argc, (void)argv;
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGFPE, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
	return regmap__em_init(EM_TIER_BOTH);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ended end;
	struct cpu cpu, before;
	struct input in = {0};
	struct plan plan;

	if (size < LEAST)
		return 0;
	memcpy(&in, data, size < sizeof(in) ? size : sizeof(in));
	world.options = in.options[0];
	world.refuse = in.refuse & 0x80 ? 0 : in.refuse & 15;
	if (world.options & FORMAT)
		check_format(in.code);
	if (plan_at_page_end(&plan, &in, tiers_of(&in)) != EM_OK || loads_fs(&plan))
		return 0;
	make_cpu(&cpu, &in, size >= sizeof(in));
	before = cpu;
	keep_end(&end, run(&plan, &cpu), &cpu);
	if (!world.refuse)
		check_tiers(&plan, &before, &end);
	if (!world.refuse)
		check_short_way(&plan, &before, &end);
	return 0;
}

/*
 * Plain mutations hardly ever get through the prefixes, maps and the ModRM byte that a VEX or EVEX
 * instruction with a memory operand is made of. Half of the time its bytes are made of those.
 */

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
	struct input in = {0};
	uint64_t state = seed;

	if (most < sizeof(in) || t_next(&state) % 2)
		return LLVMFuzzerMutate(data, size, most);
	memcpy(&in, data, size < sizeof(in) ? size : sizeof(in));
	switch (t_next(&state) % 4) {
	case 0:
	case 1: t_make_bytes(in.code, &state); break;
	case 2: fill(in.seed, sizeof(in.seed), &state); break;
	case 3: in.code[t_next(&state) % 6] ^= (uint8_t)(1 << (t_next(&state) & 7)); break;
	}
	memcpy(data, &in, sizeof(in));
	return size < sizeof(in) && t_next(&state) % 2 ? LEAST : sizeof(in);
}
