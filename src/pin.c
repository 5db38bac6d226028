/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "pin.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>

#include "../arch/x86_64/context.h"
#include "../arch/x86_64/guard.h"
#include "../arch/x86_64/scratch.h"
#include "../arch/x86_64/syscall.h"
#include "atomics.h"
#include "gate.h"
#include "hot.h"
#include "lane.h"
#include "others.h"
#include "sigmask.h"
#include "sigsafe.h"

/* A further block of slots is added, for good, when all are taken. */
enum { SLOTS = 1024, BLOCKS = PIN_OF_LANES / SLOTS };

_Static_assert(sizeof(struct slot) == 64, "a cache line");

struct slot regmap__home_slots[SLOTS];
struct slot regmap__lane_slots[PIN_LANES];
static struct slot *_Atomic block[BLOCKS] = {regmap__home_slots};
static _Atomic unsigned top = PIN_HOMES; /* no slot from here on was ever claimed */
/* How far from home its threads' claims ever went, beyond home itself. */
static _Atomic unsigned reach[PIN_HOMES];
_Atomic uint64_t regmap__slots_used[PIN_HOMES / 64];
static void *_Atomic scratch[SLOTS]; /* memory that belongs to a slot of the first block */
static _Atomic long process;         /* the id of the one that owns this memory */

/* --- threads --- */

__attribute__((constructor)) static void note_process(void)
{
	set(&process, sys_call(SYS_getpid, 0, 0, 0, 0));
}

uint32_t regmap__thread_id(void)
{
	return (uint32_t)sys_call(SYS_gettid, 0, 0, 0, 0);
}

/*
 * Of the thread that the FS base belongs to, as libc knows it: a thread's CPU clock is named by its
 * id, ~tid << 3 and the kind of clock.
 */
struct remembered {
	long owner; /* the process that it holds for */
	uint32_t id;
	int *error; /* where errno is */
};

__attribute__((noinline, cold)) static void remember_anew(struct remembered *own)
{
	clockid_t clock;

	own->id = 0; /* for a handler that comes in between */
	atomic_signal_fence(memory_order_seq_cst);
	own->owner = get(&process);
	own->error = &errno;
	atomic_signal_fence(memory_order_seq_cst);
	own->id = pthread_getcpuclockid(pthread_self(), &clock) ? 0 : (uint32_t) ~(clock >> 3);
}

/* Not inlined, or the compiler might read FS before it was asked about. */
__attribute__((noinline)) static const struct remembered *remembered(void)
{
	static __thread struct remembered own __attribute__((tls_model("initial-exec")));

	if (!own.id || own.owner != get(&process))
		remember_anew(&own);
	return &own;
}

/* A system call each time would cost as much as all the rest of a pin. */
static uint32_t thread_id_of_libc(void)
{
	return regmap__tls_works() ? remembered()->id : regmap__thread_id();
}

/* In a process made by other means than fork(), nobody knows. */
bool regmap__slot_is_dead(const struct slot *slot)
{
	uint32_t tid = get(&slot->tid);
	long own = sys_call(SYS_getpid, 0, 0, 0, 0);

	return tid && get(&process) == own && sys_call(SYS_tgkill, own, tid, 0, 0) == -ESRCH;
}

/* --- slots --- */

static struct slot *add_block(unsigned b)
{
	size_t bytes = SLOTS * sizeof(struct slot);
	struct slot *none = NULL, *p = regmap__scratch_map(bytes);

	if (!p)
		return get(&block[b]);
	if (atomic_compare_exchange_strong(&block[b], &none, p))
		return p;
	regmap__scratch_unmap(p, bytes);
	return none;
}

/* After the caller's own seq_cst store: whoever doesn't see that shows here. */
unsigned regmap__slot_next(unsigned i)
{
	for (; i < PIN_HOMES; i = (i | 63) + 1) {
		uint64_t used = atomic_load(&regmap__slots_used[i / 64]) >> i % 64;

		if (used)
			return i + (unsigned)__builtin_ctzll(used);
	}
	if (i < atomic_load(&top))
		return i;
	if (i < PIN_OF_LANES)
		i = PIN_OF_LANES;
	return i - PIN_OF_LANES < regmap__lane_slots_used() ? i : NO_SLOT;
}

struct slot *regmap__slot_at(unsigned i)
{
	if (i >= PIN_OF_LANES)
		return &regmap__lane_slots[i - PIN_OF_LANES];
	return &get(&block[i / SLOTS])[i % SLOTS];
}

bool regmap__slot_is_lost(const struct slot *slot, uint64_t nonce)
{
	const void *copy = (const void *)get(&slot->copy);
	struct cpu_trap trap;
	uint64_t seen;

	return regmap__guard_copy(&seen, copy, sizeof(seen), &trap) || seen != nonce;
}

/* A handler that interrupts a claim sees nonce 0 and leaves the slot alone. */
static bool claim(struct slot *slot, uint64_t key)
{
	uint64_t owner = get(&slot->key), nonce;

	if (owner == 0)
		return atomic_compare_exchange_strong(&slot->key, &owner, key);
	nonce = get(&slot->nonce);
	return owner == key && nonce && regmap__slot_is_lost(slot, nonce) &&
	       atomic_compare_exchange_strong(&slot->nonce, &nonce, 0);
}

static void widen(_Atomic unsigned *bound, unsigned to)
{
	unsigned now = get(bound);

	while (now < to && !atomic_compare_exchange_weak(bound, &now, to))
		;
}

/* The n-th slot that a thread looks at. */
static unsigned nth_slot(uint64_t key, unsigned n)
{
	return n / SLOTS * SLOTS + (pin_home_of(key) + n) % SLOTS;
}

/* All that a thread may have claimed, from 0 on; NULL behind the last. */
static struct slot *own_slot(uint64_t key, unsigned n)
{
	unsigned reached = get(&reach[pin_home_of(key)]);
	const struct lane *lane;

	if (n <= reached)
		return regmap__slot_at(nth_slot(key, n));
	if (n > reached + 1 || !regmap__lane_slots_used() || !regmap__tls_works())
		return NULL;
	lane = lane_own();
	return lane ? lane->pin : NULL;
}

#define FOR_OWN_SLOTS(key, slot) for (unsigned n_ = 0; (slot = own_slot(key, n_)) != NULL; n_++)

static unsigned claim_any(uint64_t key)
{
	for (unsigned round = 0;; regmap__back_off(round++)) {
		for (unsigned n = 0; n < BLOCKS * SLOTS; n++) {
			unsigned i = nth_slot(key, n);

			if (n % SLOTS == 0 && !get(&block[n / SLOTS]) && !add_block(n / SLOTS))
				break;
			if (!claim(regmap__slot_at(i), key))
				continue;
			widen(&top, i + 1);
			widen(&reach[pin_home_of(key)], n);
			return i;
		}
	}
}

void regmap__pin_take(struct pin *pin)
{
	uint64_t key = regmap__thread_key();
	unsigned i;

	if (pin_take_home(pin, key))
		return;
	i = claim_any(key);
	pin_fill(pin, regmap__slot_at(i), i);
}

/* What belongs to a lane, stays its thread's. */
static void release(struct slot *slot)
{
	bool of_lane = slot_of_nonce(get(&slot->latest)) >= PIN_OF_LANES;

	set(&slot->window, 0);
	set(&slot->waits, 0);
	set(&slot->nonce, 0);
	if (!of_lane)
		set(&slot->key, 0);
}

/*
 * Not those that the program's own instructions raise; nor those that end programs by custom, as a
 * callback may hang; nor libc's own.
 */
#define STAYS_OPEN \
	(SYNCHRONOUS | SYS_SIGBIT(SIGSYS) | SYS_SIGBIT(SIGINT) | SYS_SIGBIT(SIGQUIT) | \
	 SYS_SIGBIT(SIGTERM) | SYS_SIGBIT(SIGABRT) | LIBC_SIGNALS)

void regmap__pin_hold_signals(struct pin *pin)
{
	const uint64_t block = ~STAYS_OPEN;
	uint64_t before;

	set(&pin->holds, true);
	if (regmap__others_are_covered())
		return;
	sys_sigmask(SIG_BLOCK, &block, &before);
	set(&pin->blocked, block & ~before);
}

/* No handler finds the pin any more. */
static void open_again(struct pin *pin)
{
	const uint64_t blocked = get(&pin->blocked);

	set(&pin->blocked, 0);
	if (blocked)
		sys_sigmask(SIG_UNBLOCK, &blocked, NULL);
}

void regmap__pin_drop(struct pin *pin)
{
	struct slot *slot = pin->slot;
	uint64_t nonce;

	if (!slot)
		return;
	pin->slot = NULL;
	nonce = get(&pin->nonce);
	if (nonce && get(&slot->nonce) == nonce)
		release(slot);
	set(&pin->nonce, 0);
	open_again(pin);
}

void regmap__pin_empty(struct pin *pin)
{
	set(&pin->slot->window, 0);
}

/*
 * The exchange orders the pin before the look at the version (and at the lock: gate.h); drains have
 * them the other way round.
 */
bool regmap__pin_window(struct pin *pin, uint64_t address, struct table_hit *hit)
{
	for (;;) {
		regmap__table_find(address, hit);
		if (!hit->window)
			break;
		if (!pin->slot)
			regmap__pin_take(pin);
		atomic_exchange(&pin->slot->window, (uintptr_t)hit->window | pin->stores);
		if (regmap__table_unchanged(hit->version))
			return true;
	}
	regmap__pin_drop(pin);
	return false;
}

int *regmap__pin_note_thread(struct pin *pin)
{
	bool works = regmap__tls_works();
	const struct remembered *own = works ? remembered() : NULL;

	if (pin->slot)
		set(&pin->slot->tid, own ? own->id : regmap__thread_id());
	return own ? own->error : NULL;
}

/*
 * A child of vfork() is its parent, which stands still: it has the same FS base and another id, and
 * mustn't wait for what the parent was at.
 */
void regmap__pin_note_waiter(struct pin *pin)
{
	uint32_t tid = regmap__thread_id();
	bool shares = tid != thread_id_of_libc();

	if (shares && sys_call(SYS_getpid, 0, 0, 0, 0) != get(&process))
		tid = 0;
	set(&pin->slot->tid, tid);
}

void regmap__pin_note_origin(struct pin *pin, uint64_t sp, uint64_t site)
{
	if (!pin->slot)
		return;
	set(&pin->site, site);
	set(&pin->slot->origin, sp);
}

/* --- who isn't there any more --- */

/* The thread's alternate stack. */
struct extent {
	uint64_t first, length;
};

static struct extent signal_stack(void)
{
	stack_t now = {.ss_flags = SS_DISABLE};

	if (sys_call(SYS_sigaltstack, 0, (long)&now, 0, 0) || now.ss_flags & SS_DISABLE)
		return (struct extent){0, 0};
	return (struct extent){(uintptr_t)now.ss_sp, now.ss_size};
}

static bool within(const struct extent *e, uint64_t address)
{
	return address - e->first < e->length;
}

/* Do both lie on one stack, as far as can be seen: stacks are not adjacent, but for a guard page. */
static bool on_one_stack(const struct extent *signal_stack, uint64_t low, uint64_t high)
{
	enum { LARGEST = 1 << 28 };
	struct cpu_trap trap;

	if (within(signal_stack, low) || within(signal_stack, high))
		return within(signal_stack, low) && within(signal_stack, high);
	return high - low <= LARGEST &&
	       !regmap__guard_probe_read((const void *)low, high - low + 1, &trap);
}

/* What the calling thread leaves. */
struct jump {
	uint64_t key;
	bool asked;
	struct extent signal_stack;
};

static bool is_below(struct jump *j, uint64_t address, uint64_t sp)
{
	if (!j->asked)
		j->signal_stack = signal_stack();
	j->asked = true;
	return on_one_stack(&j->signal_stack, address, sp);
}

/* Of an access whose callback this one is made in, the frame lies above. */
void regmap__pin_recover_lane(struct slot *slot, uint64_t sp)
{
	struct jump jump = {.key = get(&slot->key)};
	uint64_t frame = (uintptr_t)get(&slot->copy);

	if (get(&slot->nonce) && frame < sp && is_below(&jump, frame, sp))
		release(slot);
}

/*
 * What lies below the stack pointer is gone. So is a signal handler's frame, wherever it lies, whose
 * interrupted code is gone or goes on elsewhere; and all that lies below that.
 */
static void drop_below(struct jump *j, uint64_t sp)
{
	struct slot *slot;

	FOR_OWN_SLOTS(j->key, slot)
	{
		uint64_t nonce = get(&slot->nonce), origin = get(&slot->origin);
		uint64_t frame = (uintptr_t)get(&slot->copy);
		bool gone, cut;

		if (get(&slot->key) != j->key || !nonce || regmap__slot_is_lost(slot, nonce))
			continue;
		gone = frame < sp && is_below(j, frame, sp);
		cut = !gone && origin && origin <= sp && is_below(j, origin, sp);
		if (!gone && !cut)
			continue;
		set(get(&slot->copy), 0);
		release(slot);
		open_again((struct pin *)(frame - offsetof(struct pin, nonce)));
		if (cut)
			drop_below(j, frame);
	}
}

static struct pin *pin_of(const struct slot *slot)
{
	return (struct pin *)((uintptr_t)get(&slot->copy) - offsetof(struct pin, nonce));
}

/*
 * The callback was called by the frame that holds the pin, so that is the closest one above. Pins on other
 * stacks are further away, or below.
 */
uint64_t regmap__current_site(void)
{
	uint64_t key = regmap__thread_key(), here = (uintptr_t)__builtin_frame_address(0);
	uint64_t closest = UINT64_MAX, site = 0;
	const struct slot *slot;

	FOR_OWN_SLOTS(key, slot)
	{
		uint64_t nonce = get(&slot->nonce), distance = (uintptr_t)get(&slot->copy) - here;

		if (get(&slot->key) != key || !nonce || distance >= closest ||
		    regmap__slot_is_lost(slot, nonce))
			continue;
		closest = distance;
		site = get(&pin_of(slot)->site);
	}
	return site;
}

/* --- signals that wait --- */

/* Left by a jump that nobody saw, as what lies below the stack pointer is. */
static bool is_left(struct jump *j, const struct slot *slot, uint64_t sp)
{
	uint64_t frame = (uintptr_t)get(&slot->copy), origin = get(&slot->origin);

	return (frame < sp && is_below(j, frame, sp)) ||
	       (origin && origin <= sp && is_below(j, origin, sp));
}

/* The calling thread's; those of others are not looked into. */
static struct pin *find_holding(uint64_t sp)
{
	struct jump jump = {.key = regmap__thread_key()};
	const struct slot *slot;

	FOR_OWN_SLOTS(jump.key, slot)
	{
		uint64_t nonce = get(&slot->nonce);

		if (get(&slot->key) == jump.key && nonce && !regmap__slot_is_lost(slot, nonce) &&
		    get(&pin_of(slot)->holds) && !is_left(&jump, slot, sp))
			return pin_of(slot);
	}
	return NULL;
}

bool regmap__pin_puts_off(int signo, uint64_t sp, uint64_t *mask)
{
	const uint64_t block = ~STAYS_OPEN;
	struct pin *pin = find_holding(sp);
	uint64_t blocked, before;

	if (!pin)
		return false;
	blocked = get(&pin->blocked);
	if (!(block & ~blocked & ~*mask & SYS_SIGBIT(signo)))
		return false;
	sys_sigmask(SIG_BLOCK, &block, &before);
	set(&pin->blocked, blocked | (block & ~*mask));
	*mask |= block;
	return true;
}

uint64_t regmap__pin_blocked(uint64_t sp)
{
	struct pin *pin = find_holding(sp);

	return pin ? get(&pin->blocked) : 0;
}

/* A thread without pins pays for a few loads. */
void regmap__pin_jump(uint64_t sp)
{
	struct jump jump = {.key = regmap__thread_key()};

	if (hot_is_on())
		regmap__lane_leave();
	drop_below(&jump, sp);
}

void regmap__pin_forget_others(void)
{
	uint64_t me = regmap__thread_key();

	note_process();
	FOR_EACH_SLOT (i) {
		struct slot *slot = regmap__slot_at(i);

		if (get(&slot->key) != me)
			release(slot);
		else if (get(&slot->tid))
			set(&slot->tid, regmap__thread_id());
	}
}

/* --- scratch memory --- */

/* A slot keeps its memory for the next claim, so that what is lost is found again with the slot. */
void *regmap__scratch_take(struct scratch *s)
{
	unsigned i;

	s->pin.slot = NULL;
	s->pin.stores = 0;
	regmap__pin_take(&s->pin);
	i = slot_of_nonce(get(&s->pin.nonce));
	s->memory = i < SLOTS ? get(&scratch[i]) : NULL;
	if (!s->memory && (s->memory = regmap__scratch_map(BUS_SCRATCH)) && i < SLOTS)
		set(&scratch[i], s->memory);
	return s->memory;
}

void regmap__scratch_drop(struct scratch *s)
{
	unsigned i;

	if (!s->pin.slot)
		return;
	i = slot_of_nonce(get(&s->pin.nonce));
	if (i >= SLOTS && s->memory)
		regmap__scratch_unmap(s->memory, BUS_SCRATCH);
	regmap__pin_drop(&s->pin);
}
