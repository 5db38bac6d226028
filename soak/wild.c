/* SPDX-License-Identifier: MIT */
/*
 * Windows that may be gone at any moment, and callbacks that do more than a device's: both outcomes
 * are right, but each access must have happened once, or not at all.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <regmap/regmap.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crew.h"

enum { PLACES = 6, RW = REGMAP_READ | REGMAP_WRITE };

/*
 * What stands behind: a word that is counted up. Its upper half says what the window is made of, and
 * whether it lives.
 */
enum { OF_HOST = 1, OF_DEVICE = 2, OF_RAM = 3, DEAD = 0xdead, WHAT = 48 };

struct mortal {
	_Atomic uint64_t word;
	uint64_t page[REGION / 8 - 1];
};

static struct place {
	uint64_t guest;
	struct regmap_window *window;
	struct mortal *mortal; /* of OF_HOST and OF_DEVICE */
	unsigned what;
} place[PLACES];

/* Increments that were seen in windows gone by, and increments that threads made. */
static _Atomic uint64_t seen[4], made[4];

/* Long enough for others to take the window away, if they could. */
static void dawdle(const struct mortal *m)
{
	for (unsigned i = m->word & 7 ? 0 : 4; i; i--)
		sched_yield();
}

static int mortal_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	struct mortal *m = ctx;

	dawdle(m);
	if (width != 8 || offset || m->word >> WHAT != OF_DEVICE)
		soak__failed("a device that is gone, or another access", "read",
		             "a window that goes", m->word, offset);
	*value = m->word;
	return 0;
}

static int mortal_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	struct mortal *m = ctx;

	dawdle(m);
	if (width != 8 || offset || m->word >> WHAT != OF_DEVICE)
		soak__failed("a device that is gone, or another access", "write",
		             "a window that goes", m->word, offset);
	m->word = value;
	return 0;
}

static const struct regmap_device_ops mortal_ops = {mortal_read, mortal_write};

/* Once it is unmapped, nobody counts any more. */
static void bury(struct place *p)
{
	uint64_t last;

	if (!p->window)
		return;
	if (regmap_unmap(p->window))
		soak__failed("regmap_unmap", "", "a window that goes", 1, 0);
	p->window = NULL;
	atomic_fetch_add(&soak__tally.unmaps, 1);
	if (!p->mortal)
		return;
	last = atomic_exchange(&p->mortal->word, (uint64_t)DEAD << WHAT);
	atomic_fetch_add(&seen[p->what], last & 0xffffffff);
	for (unsigned i = 0; i < 4; i++) {
		sched_yield();
		if (p->mortal->word != (uint64_t)DEAD << WHAT)
			soak__failed("an access after the end", "lock xadd", "a window that goes",
			             p->mortal->word, (uint64_t)DEAD << WHAT);
	}
	free(p->mortal);
	p->mortal = NULL;
}

static void raise_up(struct place *p, struct random *random)
{
	struct regmap_config c = {
		.size = sizeof(c),
		.name = "mortal",
		.guest = p->guest,
		.length = REGION,
		.access = RW,
		.flags = soak__below(random, 2) ? REGMAP_TRAP : 0,
	};
	int err;

	p->what = 1 + soak__below(random, 3);
	if (p->what != OF_RAM) {
		p->mortal = aligned_alloc(64, sizeof(*p->mortal));
		p->mortal->word = (uint64_t)p->what << WHAT;
	}
	c.backing = p->what == OF_HOST ? REGMAP_HOST :
	            p->what == OF_RAM  ? REGMAP_RAM :
	                                 REGMAP_DEVICE;
	c.host = p->what == OF_HOST ? p->mortal : NULL;
	c.ops = p->what == OF_DEVICE ? &mortal_ops : NULL;
	c.ctx = p->mortal;
	err = regmap_map(&c, &p->window);
	if (err)
		soak__failed("regmap_map", "", "a window that goes", (uint64_t)err, 0);
	atomic_fetch_add(&soak__tally.maps, 1);
}

void soak__wild_renew(struct random *random)
{
	struct place *p = &place[soak__below(random, PLACES)];

	if (p->window)
		bury(p);
	else
		raise_up(p, random);
}

extern const char soak__wild_xadd[], soak__wild_load[];
__asm__(".pushsection .text; .p2align 4\n"
        ".globl soak__wild_xadd; soak__wild_xadd: endbr64; lock xaddq %rax, (%rdi); ret\n"
        ".globl soak__wild_load; soak__wild_load: endbr64; movq (%rdi), %rax; ret\n"
        ".popsection");

static void aim(struct member *self, const char *code, uint64_t at)
{
	struct shot *shot = &self->gun->shot;

	shot->code = code;
	soak__state_random(&self->gun->random, &shot->in, self->gun->in);
	shot->in.gpr[RAX] = 1;
	shot->in.gpr[RDI] = at;
}

/* The one register that changes is RAX. */
static void check_state(const struct gun *gun, const char *what)
{
	const struct state *in = &gun->shot.in, *out = &gun->shot.out;
	const char *differs = soak__image_differs(gun->shot.out_image, gun->in);

	for (unsigned i = RCX; i < GPRS; i++)
		if (i != RSP && in->gpr[i] != out->gpr[i])
			soak__failed("a general register", what, "a wild window", out->gpr[i],
			             in->gpr[i]);
	if (differs)
		soak__failed(differs, what, "a wild window", 0, 0);
}

/* It may be gone, or another one. */
static void count_up(struct member *self)
{
	uint64_t word;

	aim(self, soak__wild_xadd, place[soak__below(&self->gun->random, PLACES)].guest);
	self->gun->done[CONTESTED]++;
	if (sigsetjmp(self->escape, 1)) {
		atomic_fetch_add(&soak__tally.gone, 1);
		return;
	}
	self->may_escape = true;
	soak__shot(&self->gun->shot);
	self->may_escape = false;
	word = self->gun->shot.out.gpr[RAX];
	check_state(self->gun, "lock xadd");
	switch (word >> WHAT) {
	case 0: break; /* RAM */
	case OF_HOST:
	case OF_DEVICE: atomic_fetch_add(&made[word >> WHAT], 1); break;
	default: soak__failed("what nobody wrote", "lock xadd", "a window that goes", word, 0);
	}
}

/* --- callbacks --- */

enum act { ALLOCATE, PRINT, NEST, REFUSE, JUMP, MAP, FORK, ACTS };

#define CALLBACKS_AT 0x7fff123400000000ULL
#define MAPPED_AT 0xffffd00000000000ULL

static _Atomic uint64_t acted[ACTS], asked[ACTS];
static FILE *nowhere;

static void allocate(struct random *random)
{
	void *some[4];

	for (unsigned i = 0; i < 4; i++)
		some[i] = malloc(1 + soak__below(random, 5000));
	for (unsigned i = 0; i < 4; i++)
		free(some[i]);
}

/* Other windows, and the registers. */
static void nest(void)
{
	uint64_t flags;

	__asm__ volatile("movq 0x88, %0" : "=r"(flags));
	if (!(flags & 2))
		soak__failed("the flags", "a load", "the register page, in a callback", flags, 2);
	__asm__ volatile("lock incq (%0)"
	                 :
	                 : "r"(soak__path[0].guest + (uint64_t)COUNTERS * REGION + 64)
	                 : "memory", "cc");
}

static void map_and_unmap(struct member *self)
{
	static uint8_t memory[REGION];
	struct regmap_config c = {
		.size = sizeof(c),
		.guest = MAPPED_AT + (uint64_t)(self - soak__crew) * REGION,
		.length = REGION,
		.access = REGMAP_READ,
		.backing = REGMAP_HOST,
		.host = memory,
	};
	struct regmap_window *window;

	if (regmap_map(&c, &window) || *(volatile uint8_t *)c.guest || regmap_unmap(window))
		soak__failed("a window", "map, read, unmap", "a callback", 1, 0);
}

static void fork_here(void)
{
	pid_t pid = fork();
	int status = -1;

	if (!pid) {
		nest();
		_exit(7);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
	    WEXITSTATUS(status) != 7)
		soak__failed("a child", "fork", "a callback", (uint64_t)(unsigned)status, 7 << 8);
	atomic_fetch_add(&soak__tally.forks, 1);
}

static int act(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	struct member *self = soak__self();
	enum act what = (enum act)(offset / 8);

	(void)ctx;
	atomic_fetch_add(&acted[what], 1);
	*value = 0x600d0000 + what;
	if (width != 8 || offset % 8)
		soak__failed("an access of another width", "load", "callbacks", width, 8);
	switch (what) {
	case ALLOCATE: allocate(&self->gun->random); return 0;
	case PRINT: fprintf(nowhere, "%p %g\n", ctx, (double)offset); return 0;
	case NEST: nest(); return 0;
	case REFUSE: return -EIO;
	case JUMP: siglongjmp(self->escape, 1);
	case MAP: map_and_unmap(self); return 0;
	case FORK: fork_here(); return 0;
	default: return -EINVAL;
	}
}

static const struct regmap_device_ops acting = {act, NULL};

static void call_back(struct member *self)
{
	enum act what = (enum act)soak__below(&self->gun->random, ACTS);
	uint64_t got;
	int left;

	if (what == FORK && soak__below(&self->gun->random, 64))
		what = NEST;
	aim(self, soak__wild_load, CALLBACKS_AT + 8 * what);
	atomic_fetch_add(&asked[what], 1);
	self->gun->done[CALLBACK]++;
	left = sigsetjmp(self->escape, 1);
	if (left) {
		if (what != (left == SIGBUS ? REFUSE : JUMP))
			soak__failed("a way out", "load", "callbacks", what, JUMP);
		return;
	}
	self->may_escape = what == REFUSE;
	soak__shot(&self->gun->shot);
	self->may_escape = false;
	got = self->gun->shot.out.gpr[RAX];
	if (got != 0x600d0000 + (uint64_t)what)
		soak__failed("a value", "load", "callbacks", got, 0x600d0000 + (uint64_t)what);
	check_state(self->gun, "a callback");
}

/* --- */

void soak__wild(struct member *self)
{
	if (soak__below(&self->gun->random, 2))
		count_up(self);
	else
		call_back(self);
}

void soak__wild_init(uint64_t seed)
{
	static const uint64_t spaces[] = {SOAK_LOW_SPACE, SOAK_HIGH_SPACE, SOAK_HOLE_SPACE};
	struct regmap_config c = {
		.size = sizeof(c),
		.name = "callbacks",
		.guest = CALLBACKS_AT,
		.length = REGION,
		.access = REGMAP_READ,
		.backing = REGMAP_DEVICE,
		.ops = &acting,
	};

	(void)seed;
	nowhere = fopen("/dev/null", "w");
	if (!nowhere || regmap_map(&c, NULL)) {
		perror("soak: callbacks");
		exit(1);
	}
	for (unsigned i = 0; i < PLACES; i++)
		place[i].guest = spaces[i % 3] + 0x10000 * (uint64_t)i;
}

bool soak__wild_agrees(void)
{
	uint64_t nested;

	for (unsigned i = 0; i < PLACES; i++)
		bury(&place[i]);
	for (unsigned i = OF_HOST; i <= OF_DEVICE; i++)
		if (seen[i] != made[i])
			return soak__failed("increments", "lock xadd",
			                    i == OF_HOST ? "host windows that go" :
			                                   "device windows that go",
			                    seen[i], made[i]);
	for (unsigned i = 0; i < ACTS; i++)
		if (acted[i] != asked[i])
			return soak__failed("calls", "load", "callbacks", acted[i], asked[i]);
	memcpy(&nested, soak__store[HOST].memory + (size_t)COUNTERS * REGION + 64, 8);
	return nested == acted[NEST] ? true :
	                               soak__failed("increments", "lock inc",
	                                            "host, from callbacks", nested, acted[NEST]);
}
