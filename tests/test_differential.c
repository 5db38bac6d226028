/* SPDX-License-Identifier: MIT */
/*
 * Every instruction form that this CPU runs, natively on plain memory and again with windows in its
 * place, at the same addresses: registers, flags, vector state, memory and signals must be the
 * same, bit for bit.
 *
 * With PATCHED (so_differential_patched.c) each case runs from its patched site, on windows of
 * more kinds. What the CPU can't say, the fault path has said before: what a device sees, and how
 * an access ends that the window doesn't allow.
 *
 * For a look at single instructions: T_ONLY=mnemonic T_CASES=n T_SHOW=n
 * build/.../test_differential; for other data: T_SEED=n; for what children have to say on stderr:
 * T_NOISE=file
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
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <regmap/regmap.h>

#include "arena.h"
#include "cases.h"
#include "emulator/plan.h"

#ifndef PATCHED
#define PATCHED false
#endif

enum { BATCH = 256, CHUNKS = 8, PARALLEL = 2, CASES = PATCHED ? 4 : 16, SHOWN = 10 };
enum { ALIAS_AT = 0x18000000, NEVER = 1 << 30, REASON = 96 };
enum { PATCHED_FORMS = 7300, UNPATCHED_FORMS = 12 };
enum { READ = REGMAP_READ, WRITE = REGMAP_WRITE, BOTH = READ | WRITE };

/* What lies at T_WINDOW. */

enum backing {
	PLAIN,
	HOST,
	HOST_SHIFTED,
	RAM,
	DEVICE,
	ALIAS,
	/* patched only */
	HOST_ODD,
	HOST_HALF_LINE,
	GENERAL,
	READABLE,
	PIECES,
	NEIGHBOURS,
	READ_ONLY,
	WRITE_ONLY,
	BACKINGS
};

static const struct {
	const char *name;
	unsigned shift; /* of the host memory, against the window */
	unsigned access;
	bool by_fault; /* the fault path says what is to be seen */
} backings[BACKINGS] = {
	[PLAIN] = {"plain memory", 0, BOTH, false},
	[HOST] = {"host", 0, BOTH, false},
	[HOST_SHIFTED] = {"host, shifted", 20, BOTH, false},
	[RAM] = {"ram", 0, BOTH, false},
	[DEVICE] = {"device", 0, BOTH, true},
	[ALIAS] = {"alias", 0, BOTH, false},
	[HOST_ODD] = {"host, one byte off", 1, BOTH, false},
	[HOST_HALF_LINE] = {"host, half a line off", 32, BOTH, false},
	[GENERAL] = {"device, general registers only", 0, BOTH, false},
	[READABLE] = {"device that is read as memory", 0, BOTH, true},
	[PIECES] = {"several windows in the page", 0, BOTH, true},
	[NEIGHBOURS] = {"between windows", 8, BOTH, false},
	[READ_ONLY] = {"host, read-only", 0, READ, true},
	[WRITE_ONLY] = {"host, write-only", 0, WRITE, true},
};

static uint8_t store[2 * T_PAGE] __attribute__((aligned(T_PAGE)));
static uint8_t side_store[2][2 * T_PAGE] __attribute__((aligned(T_PAGE)));
static uint8_t *window_bytes; /* what the window shows, at an address that doesn't fault */
static uint8_t *side_bytes[2] = {(uint8_t *)T_ARENA, (uint8_t *)T_WINDOW_END};

/* Devices: what they see is kept as one number. General registers only, as one of them promises. */

static bool device_reached;
static uint64_t ledger;

#define GENERAL_ONLY __attribute__((target("general-regs-only"), noinline))

GENERAL_ONLY static void note(uint64_t a, uint64_t b)
{
	ledger = (ledger ^ a) * 0x9e3779b97f4a7c15;
	ledger = (ledger ^ ledger >> 29 ^ b) * 0xbf58476d1ce4e5b9;
	device_reached = true;
}

GENERAL_ONLY static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	const uint8_t *at = (uint8_t *)ctx + offset;

	note(offset, width);
	*value = 0;
	for (unsigned i = 0; i < width; i++)
		*value |= (uint64_t)at[i] << 8 * i;
	return 0;
}

GENERAL_ONLY static int device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	uint8_t *at = (uint8_t *)ctx + offset;

	note(offset, width | 16);
	note(value, 1);
	for (unsigned i = 0; i < width; i++)
		at[i] = (uint8_t)(value >> 8 * i);
	return 0;
}

static const struct regmap_device_ops device_ops = {device_read, device_write};

/* One that leaves nothing as it was in vector registers. */
static int any_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	__asm__ volatile("pcmpeqd %%xmm0, %%xmm0\n\tmovdqa %%xmm0, %%xmm7\n\tfld1\n\tfstp %%st(0)"
	                 :
	                 :
	                 : "xmm0", "xmm7", "st");
	return device_read(ctx, offset, width, value);
}

static const struct regmap_device_ops any_ops = {any_read, device_write};

static void make_plain(void)
{
	void *at = mmap((void *)T_WINDOW, T_PAGE, PROT_READ | PROT_WRITE,
	                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	assert_ptr_equal(at, (void *)T_WINDOW);
	window_bytes = at;
}

static struct regmap_window *laid[16];
static unsigned lays;

static void lay(uint64_t guest, uint64_t length, enum regmap_backing backing, unsigned access,
                unsigned flags, void *host)
{
	struct regmap_config config = {
		.size = sizeof(config),
		.guest = guest,
		.length = length,
		.access = access,
		.backing = backing,
		.flags = flags,
		.host = backing == REGMAP_HOST ? host : NULL,
		.ops = backing == REGMAP_DEVICE ?
	                       (flags & REGMAP_GENERAL ? &device_ops : &any_ops) :
	                       NULL,
		.ctx = backing == REGMAP_DEVICE ? host : NULL,
		.target = backing == REGMAP_ALIAS ? ALIAS_AT : 0,
	};

	assert_int_equal(regmap_map(&config, &laid[lays]), 0);
	lays++;
}

static void lay_page(enum regmap_backing backing, unsigned access, void *host)
{
	lay(T_WINDOW, T_PAGE, backing, access, REGMAP_TRAP, host);
}

static uint8_t *translated(uint64_t guest)
{
	void *host;

	assert_int_equal(regmap_translate(guest, &host), 0);
	return host;
}

/* Reads are those of memory that the window has; the model writes into it. */
static int readable_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx;
	return device_write(window_bytes, offset, width, value);
}

static void lay_readable(void)
{
	static const struct regmap_device_ops ops = {NULL, readable_write};
	const struct regmap_config config = {
		.size = sizeof(config),
		.guest = T_WINDOW,
		.length = T_PAGE,
		.access = BOTH,
		.backing = REGMAP_DEVICE,
		.flags = REGMAP_TRAP | REGMAP_READ_DIRECT,
		.ops = &ops,
	};

	assert_int_equal(regmap_map(&config, &laid[lays]), 0);
	lays++;
	window_bytes = translated(T_WINDOW);
}

/* Where operands lie there is an end of one and the start of another, at odd places, too. */
static void lay_pieces(void)
{
	static const uint16_t cut[] = {0,    1021, 1037, 1088, 1120, 1152, 1217,  1296,
	                               2056, 2080, 2211, 3060, 3072, 3080, T_PAGE};

	for (unsigned i = 0; cut[i] < T_PAGE; i++)
		lay(T_WINDOW + cut[i], cut[i + 1] - cut[i], i % 2 ? REGMAP_DEVICE : REGMAP_HOST,
		    BOTH, i % 4 == 1 ? REGMAP_GENERAL : REGMAP_TRAP, store + cut[i]);
}

/* The pages on both sides are windows themselves. */
static void lay_neighbours(unsigned shift)
{
	lay_page(REGMAP_HOST, BOTH, store + shift);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t at = (uintptr_t)side_bytes[i];

		assert_int_equal(munmap(side_bytes[i], T_PAGE), 0);
		side_bytes[i] = side_store[i] + 24 * i;
		lay(at, T_PAGE, REGMAP_HOST, BOTH, REGMAP_TRAP, side_bytes[i]);
	}
}

/* What the alias names is there all the time: later, the code of patched sites may lie there. */
static void make_original(void)
{
	lay(ALIAS_AT, T_PAGE, REGMAP_HOST, BOTH, REGMAP_TRAP, store);
}

static void make_window(enum backing backing)
{
	unsigned access = backings[backing].access, shift = backings[backing].shift;

	assert_int_equal(munmap((void *)T_WINDOW, T_PAGE), 0);
	window_bytes = store + shift;
	switch (backing) {
	case RAM:
		lay_page(REGMAP_RAM, access, NULL);
		window_bytes = translated(T_WINDOW);
		break;
	case DEVICE: lay_page(REGMAP_DEVICE, access, window_bytes); break;
	case GENERAL:
		lay(T_WINDOW, T_PAGE, REGMAP_DEVICE, access, REGMAP_GENERAL, window_bytes);
		break;
	case READABLE: lay_readable(); break;
	case PIECES: lay_pieces(); break;
	case NEIGHBOURS: lay_neighbours(shift); break;
	case ALIAS: lay_page(REGMAP_ALIAS, access, NULL); break;
	default: lay_page(REGMAP_HOST, access, window_bytes);
	}
}

static void make_side_pages(void)
{
	static const uint64_t at[2] = {T_ARENA, T_WINDOW_END};

	for (unsigned i = 0; i < 2; i++) {
		side_bytes[i] = mmap((void *)at[i], T_PAGE, PROT_READ | PROT_WRITE,
		                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		assert_ptr_equal(side_bytes[i], (void *)at[i]);
	}
}

static void take_window_away(void)
{
	bool neighbours = side_bytes[0] != (uint8_t *)T_ARENA;

	while (lays > 1) /* all but the original */
		assert_int_equal(regmap_unmap(laid[--lays]), 0);
	if (neighbours)
		make_side_pages();
}

/* The pages on both sides: ordinary memory, or none. */
static bool sides;

static void make_sides(bool present)
{
	int prot = present ? PROT_READ | PROT_WRITE : PROT_NONE;

	sides = present;
	assert_int_equal(mprotect((void *)T_ARENA, T_PAGE, prot), 0);
	assert_int_equal(mprotect((void *)T_WINDOW_END, T_PAGE, prot), 0);
}

/* Reports of faults that are none of our business here: into the file T_NOISE, if that is set. */
static int quiet(bool on)
{
	static int err = -1;

	if (on) {
		const char *noise = getenv("T_NOISE");
		int null = open(noise ? noise : "/dev/null", O_WRONLY | O_APPEND | O_CREAT, 0600);

		fflush(stderr);
		err = dup(2);
		dup2(null, 2);
		return close(null);
	}
	dup2(err, 2);
	return close(err);
}

/* Cases and what comes of them */

struct result {
	struct t_outcome outcome;
	uint8_t image[T_IMAGE_MAX];
	uint8_t memory[T_ARENA_SIZE];
};

/* Of backings that the fault path has shown: what devices saw, and what became of the rest. */
struct shown {
	uint64_t ledger;
	struct result result;
};

struct entry {
	struct t_case c;
	size_t form;
	bool sides;
	struct result native, got;
	struct shown shown[PATCHED ? BACKINGS : 1];
};

/* Why sites were not patched, as one child has it. */
struct reasons {
	char text[REGMAP_PATCH_REASONS][REASON];
	unsigned long cases[REGMAP_PATCH_REASONS];
};

/* What children find out. */
struct tally {
	unsigned differences;
	unsigned long cases, runs;
	unsigned long from_slots, never, refused; /* cases: by what became of the site */
	struct reasons reasons[CHUNKS];
};

struct state {
	struct t_forms forms;
	uint8_t *runs;    /* natively, in at least one case */
	uint8_t *differs; /* through a window, in at least one case */
	uint8_t *refused;
	uint8_t *reaches; /* a device has seen an access */
	uint8_t *patched; /* at least one case */
	uint8_t *stays;   /* why a case wasn't: of the child's reasons, + 1 */
	struct tally *tally;
	unsigned shown, show;
	struct entry *entry;
	unsigned entries;
};

static struct state s;

/* Slots have the stack below the red zone for themselves, where it is a stack and no window. */
static void forget_below_red_zone(const struct t_case *c, uint8_t *memory)
{
	uint64_t end = c->in.gpr[T_RSP] - 128 - T_ARENA, from = end < 1024 ? 0 : end - 1024;

	for (uint64_t at = from; PATCHED && at < end && at < T_ARENA_SIZE; at++)
		if (at / T_PAGE != 1)
			memory[at] = 0;
}

static void run_case(const struct t_case *c, struct result *to)
{
	if (sides) {
		memcpy(side_bytes[0], c->memory, T_PAGE);
		memcpy(side_bytes[1], c->memory + 2 * T_PAGE, T_PAGE);
	}
	ledger = 0;
	device_reached = false;
	memcpy(window_bytes, c->memory + T_PAGE, T_PAGE);
	t_run(&c->in, c->image, &to->outcome, to->image);
	memset(to->memory, 0, T_ARENA_SIZE);
	if (sides) {
		memcpy(to->memory, side_bytes[0], T_PAGE);
		memcpy(to->memory + 2 * T_PAGE, side_bytes[1], T_PAGE);
	}
	memcpy(to->memory + T_PAGE, window_bytes, T_PAGE);
	forget_below_red_zone(c, to->memory);
	__atomic_fetch_add(&s.tally->runs, 1, __ATOMIC_RELAXED);
}

static bool done(const struct result *r)
{
	return r->outcome.end != T_END_FAULT;
}

/* Comparing */

static size_t first_difference(const uint8_t *a, const uint8_t *b, size_t n)
{
	size_t i = 0;

	while (i < n && a[i] == b[i])
		i++;
	return i;
}

/* Which byte of its operand a page fault is about depends on how the CPU cuts the access up. */
static bool same_page(const struct t_outcome *a, const struct t_outcome *b)
{
	return a->number == 14 && b->number == 14 && a->address / T_PAGE == b->address / T_PAGE;
}

static bool same_registers(const struct t_regs *a, const struct t_regs *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* Both operands are out of reach: which one is it about? */
static bool compares_strings(const struct t_case *c)
{
	return c->i.insn.meta.category == ZYDIS_CATEGORY_STRINGOP && c->i.insn.operand_count > 1 &&
	       c->i.op[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
	       c->i.op[1].type == ZYDIS_OPERAND_TYPE_MEMORY;
}

static bool same_outcome(const struct t_case *c, const struct t_outcome *a,
                         const struct t_outcome *b)
{
	if (a->end == T_END_FAULT && b->end == T_END_FAULT && t_is_emulated_by_kernel(&c->i))
		return a->signo == b->signo; /* the kernel makes the siginfo up */
	if (a->end == T_END_FAULT && b->end == T_END_FAULT && !sides && compares_strings(c))
		return true;
	return a->end == b->end && a->signo == b->signo && a->code == b->code &&
	       a->number == b->number && (a->address == b->address || same_page(a, b));
}

static bool stores_ten_bytes(const struct t_insn *i)
{
	return i->insn.mnemonic == ZYDIS_MNEMONIC_FBSTP ||
	       (i->insn.mnemonic == ZYDIS_MNEMONIC_FSTP && i->op[i->mem].size == 80);
}

/*
 * ENTER has written its frame when it looks at the final RSP, the kernel writes in pieces, and so do Intel's
 * CPUs where ten bytes are stored, if seldom; the library does nothing until it knows that all will do.
 */
static bool is_half_done(const struct t_case *c, const struct t_outcome *o)
{
	return o->end == T_END_FAULT && (c->i.insn.mnemonic == ZYDIS_MNEMONIC_ENTER ||
	                                 stores_ten_bytes(&c->i) || t_is_emulated_by_kernel(&c->i));
}

/*
 * Elements to the left of the one that faults may or may not have been done (SDM vol. 2,
 * VGATHERDPS), and a single-step trap for those that have been may come in place of the fault.
 */
static bool is_interrupted(const struct t_case *c, const struct result *a, const struct result *b)
{
	return t_is_vsib(&c->i) &&
	       (a->outcome.end == T_END_FAULT || b->outcome.end == T_END_FAULT ||
	        (a->outcome.end == T_END_STEP && b->outcome.end == T_END_STEP &&
	         a->outcome.regs.rip != b->outcome.regs.rip));
}

static bool same_interruption(const struct t_case *c, const struct result *a,
                              const struct result *b)
{
	if (c->in.rflags & T_TF)
		return true;
	return a->outcome.end == b->outcome.end && a->outcome.signo == b->outcome.signo &&
	       same_registers(&a->outcome.regs, &b->outcome.regs);
}

static bool same(const struct t_case *c, const struct result *a, const struct result *b)
{
	if (is_interrupted(c, a, b))
		return same_interruption(c, a, b);
	return same_outcome(c, &a->outcome, &b->outcome) &&
	       same_registers(&a->outcome.regs, &b->outcome.regs) &&
	       !memcmp(a->image, b->image, t_layout.size) &&
	       (is_half_done(c, &a->outcome) || !memcmp(a->memory, b->memory, T_ARENA_SIZE));
}

static void show_outcome(const struct t_outcome *o)
{
	static const char *const end[] = {"done", "step", "fault"};

	printf("%s", end[o->end]);
	if (o->end == T_END_FAULT)
		printf(" (signal %d code %d addr %#lx vector %lu)", o->signo, o->code,
		       (unsigned long)o->address, (unsigned long)o->number);
}

static void show_bytes(const char *what, size_t at, const uint8_t *before, const uint8_t *a,
                       const uint8_t *b)
{
	printf("    %s+%zu:", what, at);
	for (size_t i = at; i < at + 16; i++)
		printf(" %02x>%02x/%02x", before[i], a[i], b[i]);
	puts("");
}

static void show_registers(const struct t_regs *in, const struct t_regs *a, const struct t_regs *b)
{
	for (unsigned i = 0; i < T_GPRS; i++)
		if (a->gpr[i] != b->gpr[i])
			printf("    r%u: %#lx > %#lx / %#lx\n", i, in->gpr[i], a->gpr[i],
			       b->gpr[i]);
	if (a->rip != b->rip)
		printf("    rip: %#lx > %#lx / %#lx\n", in->rip, a->rip, b->rip);
	if (a->rflags != b->rflags)
		printf("    rflags: %#lx > %#lx / %#lx\n", in->rflags, a->rflags, b->rflags);
	if (a->fs != b->fs || a->gs != b->gs || a->ds != b->ds || a->es != b->es)
		printf("    fs, gs, ds, es: %#x %#x %#x %#x / %#x %#x %#x %#x\n", a->fs, a->gs,
		       a->ds, a->es, b->fs, b->gs, b->ds, b->es);
	if (a->fs_base != b->fs_base || a->gs_base != b->gs_base)
		printf("    fs base, gs base: %#lx %#lx / %#lx %#lx\n", a->fs_base, a->gs_base,
		       b->fs_base, b->gs_base);
}

static void show(const struct entry *e, enum backing backing, const struct result *a)
{
	const struct result *b = &e->got;
	char text[256];
	size_t at;

	t_case_describe(&e->c, text, sizeof(text));
	printf("%s, %s, operand at %#lx rflags %#lx: ", text, backings[backing].name,
	       (unsigned long)e->c.address, e->c.in.rflags);
	show_outcome(&a->outcome);
	printf(" / ");
	show_outcome(&b->outcome);
	puts("");
	show_registers(&e->c.in, &a->outcome.regs, &b->outcome.regs);
	at = first_difference(a->image, b->image, t_layout.size);
	if (at < t_layout.size)
		show_bytes("image", at, e->c.image, a->image, b->image);
	at = first_difference(a->memory, b->memory, T_ARENA_SIZE);
	if (at < T_ARENA_SIZE)
		show_bytes("memory", at, e->c.memory, a->memory, b->memory);
}

/* The shared library, which is what patched runs use, doesn't say. */
static bool is_refused(const struct entry *e)
{
#ifdef SHARED
	(void)e;
	return false;
#else
	struct plan plan;

	return done(&e->native) && !done(&e->got) &&
	       regmap__em_plan(&plan, e->c.i.bytes, e->c.i.insn.length, EM_TIER_BOTH) != EM_OK;
#endif
}

static void count_difference(const struct entry *e, enum backing backing,
                             const struct result *should)
{
	__atomic_fetch_add(&s.tally->differences, 1, __ATOMIC_RELAXED);
	if (s.differs[e->form] < 3 && s.shown < s.show) {
		s.shown++;
		show(e, backing, should);
	}
	if (s.differs[e->form] < 255)
		s.differs[e->form]++;
}

static void judge(const struct entry *e, enum backing backing, const struct result *should)
{
	if (same(&e->c, should, &e->got))
		return;
	if (is_refused(e))
		s.refused[e->form] = 1;
	else
		count_difference(e, backing, should);
}

/* Batches */

static const char *only;
static unsigned seed;

static void run_natively(void)
{
	make_plain();
	for (unsigned i = 0; i < s.entries; i++) {
		struct entry *e = &s.entry[i];

		run_case(&e->c, &e->native);
		s.runs[e->form] |= done(&e->native);
	}
}

static void run_on(enum backing b, void (*each)(struct entry *e, enum backing b))
{
	make_window(b);
	t_machine_catch();
	for (unsigned i = 0; i < s.entries; i++)
		if (s.runs[s.entry[i].form])
			each(&s.entry[i], b);
	take_window_away();
	make_plain();
}

static void compare(struct entry *e, enum backing b)
{
	run_case(&e->c, &e->got);
	s.reaches[e->form] |= device_reached;
	judge(e, b, &e->native);
}

/* --- patched --- */

/* One whose rights are not all there, and what others see, only the fault path can tell. */
static void show_by_fault(struct entry *e, enum backing b)
{
	run_case(&e->c, &e->got);
	e->shown[b].ledger = ledger;
	e->shown[b].result = e->got;
	s.reaches[e->form] |= device_reached;
	if (backings[b].access == BOTH)
		judge(e, b, &e->native);
}

static unsigned reason_of_last(void)
{
	static uint64_t known[REGMAP_PATCH_REASONS];
	struct regmap_patch_stats now = {.size = sizeof(now)};
	unsigned why = 0;

	assert_int_equal(regmap_patch_stats(&now), 0);
	for (unsigned i = 0; i < REGMAP_PATCH_REASONS; i++) {
		if (now.reason[i] > known[i])
			why = i;
		known[i] = now.reason[i];
	}
	return why;
}

static void count_refusal(const struct entry *e)
{
	struct reasons *r = &s.tally->reasons[e->form % CHUNKS];
	unsigned why = reason_of_last();

	__atomic_fetch_add(&s.tally->refused, 1, __ATOMIC_RELAXED);
	r->cases[why]++;
	snprintf(r->text[why], REASON, "%s", regmap_patch_reason(why));
	s.stays[e->form] = (uint8_t)(why + 1);
}

/* By the fault that patches it. */
static void patch(struct entry *e, enum backing b)
{
	bool judged = sides == e->sides;

	run_case(&e->c, &e->got);
	if (judged)
		judge(e, b, &e->native);
	switch (regmap_patch_site((const void *)e->c.in.rip)) {
	case 1:
		s.patched[e->form] = 1;
		__atomic_fetch_add(&s.tally->from_slots, 1, __ATOMIC_RELAXED);
		break;
	case 0: __atomic_fetch_add(&s.tally->never, 1, __ATOMIC_RELAXED); break;
	default: count_refusal(e);
	}
}

static void compare_patched(struct entry *e, enum backing b)
{
	enum backing like = b == GENERAL ? DEVICE : b;
	const struct shown *shown = &e->shown[like];
	bool denies = backings[b].access != BOTH;

	run_case(&e->c, &e->got);
	judge(e, b, denies ? &shown->result : &e->native);
	if (!backings[like].by_fault || ledger == shown->ledger || done(&e->native) == false)
		return;
	printf("another ledger: ");
	count_difference(e, b, &e->native);
}

static void run_patched(void)
{
	bool real_sides = sides;

	t_place_close();
	assert_int_equal(regmap_patch(NEVER), 0);
	for (enum backing b = HOST; b < BACKINGS; b++)
		if (backings[b].by_fault)
			run_on(b, show_by_fault);
	assert_int_equal(regmap_patch(1), 0);
	make_sides(true);
	run_on(HOST, patch);
	make_sides(real_sides);
	for (enum backing b = HOST; b < BACKINGS; b++)
		if (b != NEIGHBOURS || sides)
			run_on(b, compare_patched);
}

static void run_batch(void)
{
	run_natively();
	quiet(true);
	if (PATCHED)
		run_patched();
	else
		for (enum backing b = HOST; b <= ALIAS; b++)
			run_on(b, compare);
	quiet(false);
	__atomic_fetch_add(&s.tally->cases, s.entries, __ATOMIC_RELAXED);
	s.entries = 0;
}

static void add(size_t form, unsigned n, enum t_style style)
{
	struct entry *e = &s.entry[s.entries];

	t_case_make(&e->c, &s.forms.form[form], n + seed * 100000, style,
	            PATCHED ? t_place(s.entries, BATCH) : s.entries);
	e->form = form;
	e->sides = sides;
	if (t_mode_is("tsan") && t_loads_fs(&e->c.i))
		return;
	if (++s.entries == BATCH)
		run_batch();
}

static bool is_chosen(size_t form, unsigned every)
{
	if (form / CHUNKS % every)
		return false;
	return !only || !strcasecmp(only, ZydisMnemonicGetString(s.forms.form[form].mnemonic));
}

/*
 * In child processes, two at a time: for speed, for the sake of a summary if one dies, and because
 * the library's room for code that it has seen is finite.
 */
struct work {
	unsigned first, count; /* cases */
	enum t_style style;
	unsigned every; /* of the forms */
};

/* LSL of one of the kernel's selectors tells the CPU's number. */
static void stay_on_one_cpu(unsigned chunk)
{
	unsigned n = chunk % PARALLEL;
	cpu_set_t all, one;

	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	n %= (unsigned)CPU_COUNT(&all);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && !n--) {
			CPU_SET(cpu, &one);
			break;
		}
	sched_setaffinity(0, sizeof(one), &one);
}

static void run_chunk(const struct work *work, unsigned chunk)
{
	setenv("CMOCKA_TEST_ABORT", "1", 1); /* the remaining tests are the parent's */
	stay_on_one_cpu(chunk);
	make_original();
	t_machine_catch();
	for (size_t i = chunk; i < s.forms.count; i += CHUNKS)
		for (unsigned n = 0; is_chosen(i, work->every) && n < work->count; n++)
			add(i, work->first + n, work->style);
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

static void run_forms(unsigned first, unsigned count, enum t_style style, unsigned every)
{
	const struct work work = {first, count, style, every};
	unsigned started = 0, waited = 0;

	for (; started < CHUNKS; started++) {
		pid_t pid;

		if (started - waited == PARALLEL) {
			wait_for_one();
			waited++;
		}
		pid = fork();
		assert_true(pid >= 0);
		if (!pid)
			run_chunk(&work, started);
	}
	for (; waited < started; waited++)
		wait_for_one();
}

static unsigned setting(const char *name, unsigned otherwise)
{
	const char *value = getenv(name);

	return value ? (unsigned)strtoul(value, NULL, 0) : otherwise;
}

/* Zeroed memory that children share. */
static void *shared(size_t count, size_t size)
{
	void *p = mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	               0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static int setup(void **unused)
{
	void *at = mmap((void *)T_ARENA, T_ARENA_SIZE, PROT_READ | PROT_WRITE,
	                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	(void)unused;
	assert_ptr_equal(at, (void *)T_ARENA);
	if (PATCHED)
		t_stack_aside_make();
	t_machine_init(T_CODE_AT, T_GS_BASE);
	t_cases_init();
	t_enumerate(&s.forms);
	s.runs = shared(s.forms.count, 1);
	s.differs = shared(s.forms.count, 1);
	s.refused = shared(s.forms.count, 1);
	s.reaches = shared(s.forms.count, 1);
	s.patched = shared(s.forms.count, 1);
	s.stays = shared(s.forms.count, 1);
	s.tally = shared(1, sizeof(*s.tally));
	s.entry = aligned_alloc(64, BATCH * sizeof(*s.entry));
	assert_non_null(s.entry);
	s.show = setting("T_SHOW", SHOWN);
	seed = setting("T_SEED", 0);
	only = getenv("T_ONLY");
	return 0;
}

static void print_counts(const char *what, const uint8_t *chosen)
{
	struct t_counts n;

	t_count(&s.forms, chosen, &n);
	printf("%-28s %6zu mnemonics %6zu operand forms %6zu encoding forms\n", what, n.mnemonics,
	       n.operand_forms, n.encodings);
}

/* Under ThreadSanitizer every fault takes ten times as long. */
static unsigned cases(void)
{
	return setting("T_CASES", t_mode_is("tsan") ? 2 : t_mode_is("asan") ? CASES / 2 : CASES);
}

static void test_differential_simple(void **unused)
{
	(void)unused;
	make_sides(true);
	run_forms(0, 2, T_SIMPLE, 1);
}

static void test_differential_varied(void **unused)
{
	(void)unused;
	make_sides(true);
	run_forms(10, cases(), T_VARIED, 1);
}

/* Each alignment, of every 16th form (64th with all the windows for patches, 160th under ThreadSanitizer). */
static void test_differential_alignments(void **unused)
{
	(void)unused;
	make_sides(true);
	run_forms(64, 64, T_SHIFTED, t_mode_is("tsan") ? 160 : PATCHED ? 64 : 16);
}

/* From the window to ordinary memory and back. */
static void test_differential_edges(void **unused)
{
	(void)unused;
	make_sides(true);
	run_forms(1000, cases() / 2, T_EDGES, 1);
}

/* From the window to where nothing is: the whole instruction faults. */
static void test_differential_void(void **unused)
{
	(void)unused;
	make_sides(false);
	run_forms(2000, cases() / 2, T_EDGES, 1);
}

/* AVX-512 F, DQ, CD, BW, VL: then we know how much there is. */
static bool is_skylake_x(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
	       __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vl");
}

static void print_refused(void)
{
	for (size_t i = 0; i < s.forms.count; i++) {
		const struct t_form *f = &s.forms.form[i];
		char text[128];

		if (!s.refused[i])
			continue;
		t_format(f->bytes, f->length, text, sizeof(text));
		printf("refused: %s: the emulator has no family for it\n", text);
	}
}

/* --- what became of the sites --- */

/* A form with all its cases: one that is never patched though devices see it. */
static bool stays_unpatched(size_t form)
{
	return s.runs[form] && s.stays[form] && !s.patched[form];
}

static const char *reason_of(size_t form)
{
	return s.tally->reasons[form % CHUNKS].text[s.stays[form] - 1];
}

static void print_unpatched(void)
{
	for (size_t i = 0; i < s.forms.count; i++) {
		const struct t_form *f = &s.forms.form[i];
		char text[128];

		if (!stays_unpatched(i))
			continue;
		t_format(f->bytes, f->length, text, sizeof(text));
		printf("never patched: %s: %s\n", text, reason_of(i));
	}
}

/* The children's reasons have numbers of their own. */
static void print_reasons(void)
{
	for (unsigned c = 0; c < CHUNKS * REGMAP_PATCH_REASONS; c++) {
		struct reasons *r = &s.tally->reasons[c / REGMAP_PATCH_REASONS];
		unsigned why = c % REGMAP_PATCH_REASONS;
		unsigned long cases = 0;

		for (unsigned d = c; *r->text[why] && d < CHUNKS * REGMAP_PATCH_REASONS; d++) {
			struct reasons *other = &s.tally->reasons[d / REGMAP_PATCH_REASONS];
			unsigned same = d % REGMAP_PATCH_REASONS;

			if (strcmp(other->text[same], r->text[why]))
				continue;
			cases += other->cases[same];
			other->cases[same] = 0;
		}
		if (cases)
			printf("%9lu cases: %s\n", cases, r->text[why]);
	}
}

/*
 * Every form that devices see is patched in some encoding, but for those of a single byte, and those
 * listed here. Instructions that never make an access (NOP, LEA) never fault.
 */
static void check_patched(void)
{
	uint8_t *unpatched = calloc(s.forms.count, 1);
	struct t_counts n, u, reach;

	assert_non_null(unpatched);
	for (size_t i = 0; i < s.forms.count; i++)
		unpatched[i] = stays_unpatched(i);
	print_unpatched();
	print_counts("patched", s.patched);
	print_counts("never patched", unpatched);
	printf("sites: %lu patched, %lu refused, %lu made no access that was carried out\n",
	       s.tally->from_slots, s.tally->refused, s.tally->never);
	print_reasons();
	t_count(&s.forms, s.patched, &n);
	t_count(&s.forms, unpatched, &u);
	t_count(&s.forms, s.reaches, &reach);
	free(unpatched);
	if (only)
		return;
	assert_true(u.encodings <= UNPATCHED_FORMS);
	assert_true(n.encodings + UNPATCHED_FORMS >= reach.encodings);
	if (is_skylake_x())
		assert_true(n.encodings >= PATCHED_FORMS);
}

static void test_differential_coverage(void **unused)
{
	uint8_t *covered = calloc(s.forms.count, 1);
	struct t_counts n;

	(void)unused;
	assert_non_null(covered);
	for (size_t i = 0; i < s.forms.count; i++)
		covered[i] = s.runs[i] && !s.differs[i] && !s.refused[i];
	print_refused();
	print_counts("known to Zydis", NULL);
	print_counts("run on this CPU", s.runs);
	print_counts("covered", covered);
	print_counts("of those, reach a device", s.reaches);
	print_counts("differ", s.differs);
	print_counts("refused", s.refused);
	printf("%lu cases, %lu runs, %u differences\n", s.tally->cases, s.tally->runs,
	       s.tally->differences);
	if (PATCHED)
		check_patched();
	t_count(&s.forms, covered, &n);
	free(covered);
	assert_int_equal(s.tally->differences, 0);
	if (!only && is_skylake_x()) {
		assert_true(n.mnemonics >= 990);
		assert_true(n.operand_forms >= 3390);
		assert_true(n.encodings >= 7330);
	}
	t_count(&s.forms, s.refused, &n);
	assert_int_equal(n.encodings, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_differential_simple),
		cmocka_unit_test(test_differential_varied),
		cmocka_unit_test(test_differential_alignments),
		cmocka_unit_test(test_differential_edges),
		cmocka_unit_test(test_differential_void),
		cmocka_unit_test(test_differential_coverage),
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	return cmocka_run_group_tests_name(PATCHED ? "differential_patched" : "differential", tests,
	                                   setup, NULL);
}
