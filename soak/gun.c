/* SPDX-License-Identifier: MIT */
#include "gun.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN = 12, LINE = 64 };

/* --- failures --- */

static struct failure {
	const char *what, *operation, *where;
	uint64_t got, want;
} failure[SHOWN];
static atomic_uint failures;

bool soak__failed(const char *what, const char *operation, const char *where, uint64_t got,
                  uint64_t want)
{
	unsigned i = atomic_fetch_add(&failures, 1);

	if (i < SHOWN)
		failure[i] = (struct failure){what, operation, where, got, want};
	return false;
}

unsigned soak__failures(void)
{
	return atomic_load(&failures);
}

void soak__forget_failures(void)
{
	atomic_store(&failures, 0);
}

void soak__print_failures(int fd)
{
	unsigned n = soak__failures();

	for (unsigned i = 0; i < n && i < SHOWN; i++)
		dprintf(fd, "soak: FAILED: %s: %s on %s: %#llx, expected %#llx\n", failure[i].what,
		        failure[i].operation, failure[i].where, (unsigned long long)failure[i].got,
		        (unsigned long long)failure[i].want);
	if (n > SHOWN)
		dprintf(fd, "soak: and %u more\n", n - SHOWN);
}

/* --- private regions: the CPU on ordinary memory is the oracle --- */

static bool registers_agree(const struct op *op, const struct path *path, const struct shot *shot,
                            const struct shot *twin)
{
	const struct state *is = &shot->out, *should = &twin->out;
	const char *differs;

	for (unsigned i = 0; i < GPRS; i++) {
		uint64_t want = should->gpr[i];

		if (i == RSP)
			continue;
		if (soak__op_moves(op, &twin->in, should, i))
			want += shot->in.gpr[op->base] - twin->in.gpr[op->base];
		if (is->gpr[i] != want)
			return soak__failed("a general register", op->name, path->name, is->gpr[i],
			                    want);
	}
	if (is->flags != should->flags)
		return soak__failed("the flags", op->name, path->name, is->flags, should->flags);
	differs = soak__image_differs(shot->out_image, twin->out_image);
	return differs ? soak__failed(differs, op->name, path->name, 0, 0) : true;
}

/* Values read are those of before, values written those of afterwards. */
static void expect(struct gun *gun, const struct op *op, struct store *store, size_t at)
{
	struct touch touches[MOST_TOUCHES];
	unsigned n = soak__op_touches(op, &gun->twin, touches);

	for (unsigned i = 0; i < n; i++) {
		size_t place = at + touches[i].at;
		const uint8_t *value = touches[i].write ? store->twin + place :
		                                          gun->before + place % REGION;

		soak__books_expect(store, place, touches[i].write, value, touches[i].width);
	}
}

static bool memory_agrees(const struct gun *gun, const struct op *op, const struct path *path)
{
	const struct store *store = &soak__store[path->store];
	size_t base = (size_t)gun->region * REGION;
	const char *differs;

	for (size_t i = base; i < base + REGION; i += 8)
		if (memcmp(store->memory + i, store->twin + i, 8)) {
			uint64_t is, should;

			memcpy(&is, store->memory + i, 8);
			memcpy(&should, store->twin + i, 8);
			return soak__failed("memory", op->name, path->name, is, should);
		}
	if (!store->is_device)
		return true;
	differs = soak__books_differ(store, gun->region);
	if (!differs)
		return true;
	return soak__failed(differs, op->name, path->name,
	                    store->books[gun->region].reads + store->books[gun->region].writes,
	                    store->expected[gun->region].reads +
	                            store->expected[gun->region].writes);
}

static unsigned choose_place(struct gun *gun, const struct op *op)
{
	unsigned at = LINE + soak__below(&gun->random, REGION - REACH - 2 * LINE);

	return op->shape == ALIGNED ? at / LINE * LINE : at;
}

/* Once on the twin, once on the window. */
static bool fire_at_store(struct gun *gun)
{
	const struct op *op = soak__op_random(&gun->random);
	const struct path *path = &soak__path[soak__below(&gun->random, PATHS)];
	struct store *store = &soak__store[path->store];
	size_t base = (size_t)gun->region * REGION, at = base + choose_place(gun, op);

	gun->twin.code = gun->shot.code = op->code;
	soak__state_random(&gun->random, &gun->twin.in, gun->in);
	soak__op_aim(op, &gun->random, (uintptr_t)store->twin + at, &gun->twin.in, gun->in);
	gun->shot.in = gun->twin.in;
	soak__op_aim_again(op, path->guest + at, &gun->shot.in);
	memcpy(gun->before, store->twin + base, REGION);
	soak__shot(&gun->twin);
	if (store->is_device)
		expect(gun, op, store, at);
	soak__shot(&gun->shot);
	gun->done[op->kind]++;
	return registers_agree(op, path, &gun->shot, &gun->twin) && memory_agrees(gun, op, path);
}

/* --- counters that all share --- */

#define COUNT(name, code) \
	extern const char soak__##name[]; \
	__asm__(".pushsection .text; .p2align 4; .globl soak__" #name "; soak__" #name \
	        ": endbr64; " code "; ret; .popsection");

COUNT(inc8, "lock incb 8(%rdi)")
COUNT(add16, "lock addw $1, 16(%rdi)")
COUNT(xadd32, "lock xaddl %eax, 24(%rdi)")
COUNT(sub64, "lock subq $-1, 32(%rdi)")

enum { STATUS = 0x8d5 };

static const struct counter {
	const char *name;
	const char *code;
	unsigned offset, width;
} counters[] = {
	{"lock inc8", soak__inc8, 8, 1},
	{"lock add16", soak__add16, 16, 2},
	{"lock xadd32", soak__xadd32, 24, 4},
	{"lock sub64", soak__sub64, 32, 8},
};

static const unsigned counter_paths[] = {0, 2, 4, 5};

/* Nothing but flags changes; but XADD's register, which is the old value of the counter. */
static bool fire_counter(struct gun *gun)
{
	unsigned which = soak__below(&gun->random, SHARED_COUNTERS);
	const struct path *path = &soak__path[counter_paths[which / 4]];
	const struct counter *counter = &counters[which % 4];
	struct shot *shot = &gun->shot;
	const char *differs;

	shot->code = counter->code;
	soak__state_random(&gun->random, &shot->in, gun->in);
	shot->in.gpr[RAX] = 1;
	shot->in.gpr[RDI] = path->guest + (uint64_t)COUNTERS * REGION;
	soak__shot(shot);
	gun->counted[which]++;
	gun->done[COUNTER]++;
	for (unsigned i = 0; i < GPRS; i++)
		if (i != RSP && shot->out.gpr[i] != shot->in.gpr[i] && (i != RAX || which % 4 != 2))
			return soak__failed("a general register", counter->name, path->name,
			                    shot->out.gpr[i], shot->in.gpr[i]);
	if ((shot->out.flags ^ shot->in.flags) & ~(uint64_t)STATUS)
		return soak__failed("the flags", counter->name, path->name, shot->out.flags,
		                    shot->in.flags);
	differs = soak__image_differs(shot->out_image, gun->in);
	return differs ? soak__failed(differs, counter->name, path->name, 0, 0) : true;
}

static bool counter_agrees(unsigned which, uint64_t sum)
{
	const struct path *path = &soak__path[counter_paths[which / 4]];
	const struct counter *counter = &counters[which % 4];
	const uint8_t *at = soak__store[path->store].memory + (size_t)COUNTERS * REGION;
	uint64_t is = 0;

	memcpy(&is, at + counter->offset, counter->width);
	if (counter->width < 8)
		sum &= (1ULL << 8 * counter->width) - 1;
	return is == sum ? true : soak__failed("increments", counter->name, path->name, is, sum);
}

/* A device has seen a read and a write for each. */
static bool device_agrees(unsigned path, uint64_t sum)
{
	const struct store *store = &soak__store[soak__path[path].store];
	const struct books *books = &store->books[COUNTERS];

	if (!store->is_device || (books->reads == sum && books->writes == sum))
		return true;
	return soak__failed("a read and a write each", "all counters", soak__path[path].name,
	                    books->reads + books->writes, 2 * sum);
}

bool soak__counters_agree(const struct gun *guns, unsigned count)
{
	bool good = true;

	for (unsigned p = 0; p < SHARED_COUNTERS / 4; p++) {
		uint64_t total = 0;

		for (unsigned c = 4 * p; c < 4 * p + 4; c++) {
			uint64_t sum = 0;

			for (unsigned g = 0; g < count; g++)
				sum += guns[g].counted[c];
			good = counter_agrees(c, sum) && good;
			total += sum;
		}
		good = device_agrees(counter_paths[p], total) && good;
	}
	return good;
}

/* --- the register page --- */

#define PAGE_OP(name, code) COUNT(name, code)
PAGE_OP(page_load, "movq 0x68, %rax")    /* R13 */
PAGE_OP(page_store, "movq %r15, 0x48")   /* R9 */
PAGE_OP(page_inc, "incl 0x28")           /* the low half of RBP */
PAGE_OP(page_xmm, "movups 0x8c0, %xmm7") /* XMM3 */
PAGE_OP(page_xmm_store, "movups %xmm7, 0x8c0")
PAGE_OP(page_lock, "lock xaddq %rdx, 0x60") /* R12 */

static bool page_agrees(const struct gun *gun, const char *name, const struct state *want,
                        const uint8_t *image, uint64_t ignored)
{
	const struct state *is = &gun->shot.out;
	const char *differs;

	for (unsigned i = 0; i < GPRS; i++)
		if (i != RSP && is->gpr[i] != want->gpr[i])
			return soak__failed("a general register", name, "the register page",
			                    is->gpr[i], want->gpr[i]);
	if ((is->flags ^ want->flags) & ~ignored)
		return soak__failed("the flags", name, "the register page", is->flags, want->flags);
	differs = soak__image_differs(gun->shot.out_image, image);
	return differs ? soak__failed(differs, name, "the register page", 0, 0) : true;
}

static bool fire_at_page(struct gun *gun)
{
	static const struct {
		const char *name, *code;
	} all[] = {
		{"load", soak__page_load},
		{"store", soak__page_store},
		{"inc", soak__page_inc},
		{"xmm", soak__page_xmm},
		{"xmm store", soak__page_xmm_store},
		{"lock", soak__page_lock},
	};
	enum { R12 = 12, R13 = 13, R15 = 15 };
	unsigned which = soak__below(&gun->random, 6);
	struct state *in = &gun->shot.in, want;
	uint64_t sum;

	gun->shot.code = all[which].code;
	soak__state_random(&gun->random, in, gun->in);
	soak__shot(&gun->shot);
	gun->done[REGISTERS]++;
	want = *in;
	switch (which) {
	case 0: want.gpr[RAX] = in->gpr[R13]; break;
	case 1: want.gpr[R9] = in->gpr[R15]; break;
	case 2:
		want.gpr[RBP] = (in->gpr[RBP] & ~0xffffffffULL) | (uint32_t)(in->gpr[RBP] + 1);
		break;
	case 3: memcpy(soak__xmm(gun->in, 7), soak__xmm(gun->in, 3), 16); break;
	case 4: memcpy(soak__xmm(gun->in, 3), soak__xmm(gun->in, 7), 16); break;
	case 5:
		sum = in->gpr[R12] + in->gpr[RDX];
		want.gpr[RDX] = in->gpr[R12];
		want.gpr[R12] = sum;
	}
	return page_agrees(gun, all[which].name, &want, gun->in,
	                   which == 2 || which == 5 ? STATUS : 0);
}

/* --- guns --- */

void soak__gun_init(struct gun *gun, uint64_t seed, unsigned region)
{
	gun->random.state = seed * 0x9e3779b97f4a7c15 + region;
	gun->region = region;
	gun->shot.in_image = gun->twin.in_image = gun->in;
	gun->shot.out_image = gun->out;
	gun->twin.out_image = gun->twin_out;
}

bool soak__fire_private(struct gun *gun)
{
	return soak__below(&gun->random, 12) ? fire_at_store(gun) : fire_at_page(gun);
}

bool soak__fire(struct gun *gun)
{
	unsigned dice = soak__below(&gun->random, 16);

	return dice < 3 ? fire_counter(gun) : soak__fire_private(gun);
}
