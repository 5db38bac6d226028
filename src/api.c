/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "direct.h"
#include "fork.h"
#include "gate.h"
#include "maplock.h"
#include "patch.h"
#include "quick.h"
#include "reserve.h"
#include "site.h"
#include "stacks.h"
#include "thread.h"
#include "trap.h"
#include "view.h"
#include "window.h"
#include "../emulator/emulator.h"

enum {
	PAGE_0_LAST = 0xfff,
	FIRST_CONFIG = offsetof(struct regmap_config, target) + sizeof(uint64_t), /* of 0.1 */
	MOST_CONFIG = 4096,
};

static struct regmap_window *registers;

/* --- the first mapping --- */

static unsigned wanted_tiers(void)
{
	const char *native = getenv("REGMAP_NATIVE");

	return native && !strcmp(native, "0") ? EM_TIER_COMPILED : EM_TIER_BOTH;
}

/* No init call: what the trap needs is made before there is a window to trap on. */
static int start(void)
{
	static bool emulator;
	int err;

	regmap__thread_link();
	regmap__xstate_init();
	err = regmap__fork_init();
	if (err)
		return err;
	err = emulator ? 0 : regmap__em_init(wanted_tiers());
	emulator = !err;
	if (emulator) {
		regmap__site_init();
		regmap__quick_init();
	}
	return err;
}

/* The trap is put back each time: somebody may have taken the signals behind our back. */
static int start_once(void)
{
	static bool started;
	bool first = !started;
	int err = started ? 0 : start();

	started = !err;
	err = err ? err : regmap__trap_install();
	if (!err && first && regmap__stacks_enabled())
		regmap__stacks_summon(); /* the environment asked, before there was a trap */
	if (!err && first)
		regmap__patch_init();
	return err;
}

int regmap__start(void)
{
	int err;

	regmap__maplock_take();
	err = start_once();
	regmap__maplock_release();
	return err;
}

static int signal_stacks_locked(size_t bytes)
{
	int err = start_once();

	err = err ? err : regmap__stacks_enable(bytes);
	return err ? err : regmap__stacks_summon();
}

int regmap_signal_stacks(size_t bytes)
{
	int saved = errno, err;

	regmap__maplock_take();
	err = signal_stacks_locked(bytes);
	regmap__maplock_release();
	errno = saved;
	return err;
}

/* --- map and unmap --- */

static const struct backing_ops *const backings[] = {
	[REGMAP_RAM] = &regmap__backing_ram,
	[REGMAP_HOST] = &regmap__backing_host,
	[REGMAP_DEVICE] = &regmap__backing_device,
	[REGMAP_ALIAS] = &regmap__backing_alias,
};

/* What regmap_map() was given, with nothing of the program's left to look at. */
struct request {
	struct regmap_config config;
	char name[sizeof(((struct regmap_window *)NULL)->name)];
};

/*
 * A later version's config is fine as long as it asks for nothing that this one doesn't know; what an
 * earlier one's doesn't have is zero.
 */
static int copy_config(struct regmap_config *to, const struct regmap_config *from)
{
	const char *bytes = (const char *)from;
	size_t size;

	if (!from || from->size < FIRST_CONFIG || from->size > MOST_CONFIG)
		return -EINVAL;
	size = from->size;
	for (size_t i = sizeof(*to); i < size; i++)
		if (bytes[i])
			return -EINVAL;
	memset(to, 0, sizeof(*to));
	memcpy(to, from, size < sizeof(*to) ? size : sizeof(*to));
	return 0;
}

/* Of its own, that stays where it is. */
static bool has_memory(const struct regmap_config *c)
{
	if (c->backing == REGMAP_DEVICE)
		return c->flags & REGMAP_READ_DIRECT;
	return c->backing == REGMAP_RAM && !(c->flags & REGMAP_PRIVATE);
}

static int check_config(const struct regmap_config *c)
{
	if (c->length == 0 || c->guest + (c->length - 1) < c->guest)
		return -EINVAL;
	if (c->access == 0 || c->access & ~(unsigned)(REGMAP_READ | REGMAP_WRITE))
		return -EINVAL;
	if (c->flags &
	    ~(unsigned)(REGMAP_TRAP | REGMAP_PRIVATE | REGMAP_GENERAL | REGMAP_READ_DIRECT))
		return -EINVAL;
	if (c->flags & REGMAP_PRIVATE && c->backing != REGMAP_RAM)
		return -EINVAL;
	if (c->flags & (REGMAP_GENERAL | REGMAP_READ_DIRECT) && c->backing != REGMAP_DEVICE)
		return -EINVAL;
	if (c->flags & REGMAP_READ_DIRECT && !(c->access & REGMAP_READ))
		return -EINVAL;
	if (c->fill && (c->fill > UINT8_MAX || !has_memory(c)))
		return -EINVAL;
	return (unsigned)c->backing < sizeof(backings) / sizeof(backings[0]) ? 0 : -EINVAL;
}

static const struct backing_ops *backing_of(const struct regmap_config *c)
{
	return c->flags & REGMAP_READ_DIRECT ? &regmap__backing_readable : backings[c->backing];
}

/* A callback for something that the window allows? Registers that are read directly need none. */
static bool has_callbacks(const struct regmap_config *c)
{
	if (c->flags & REGMAP_READ_DIRECT && !(c->access & REGMAP_WRITE))
		return true;
	if (!c->ops)
		return false;
	return c->ops->write || (c->ops->read && !(c->flags & REGMAP_READ_DIRECT));
}

/*
 * Before the map lock is taken: the config, its name and its operations may lie in a window whose
 * device maps and unmaps, or nowhere at all, which is a fault that the program may survive.
 */
static int copy_request(struct request *r, const struct regmap_config *from)
{
	struct regmap_config *c = &r->config;
	int err = copy_config(c, from);

	if (!err)
		err = check_config(c);
	if (err)
		return err;
	memset(r->name, 0, sizeof(r->name));
	strncpy(r->name, c->name ? c->name : backings[c->backing]->name, sizeof(r->name) - 1);
	c->name = r->name;
	return c->backing != REGMAP_DEVICE || has_callbacks(c) ? 0 : -EINVAL;
}

static struct regmap_window *new_window(const struct regmap_config *c,
                                        const struct backing_ops *ops)
{
	struct regmap_window *w = regmap__window_alloc();

	if (!w)
		return NULL;
	atomic_store_explicit(&w->start, c->guest, memory_order_release);
	atomic_store_explicit(&w->last, c->guest + (c->length - 1), memory_order_release);
	atomic_store_explicit(&w->ops, ops, memory_order_release);
	w->access = (uint8_t)c->access;
	w->flags = (uint8_t)c->flags;
	memset(w->name, 0, sizeof(w->name));
	strncpy(w->name, c->name ? c->name : ops->name, sizeof(w->name) - 1);
	return w;
}

/*
 * Room first, then the window above gives way, so that from the moment of insertion on, which may
 * not fail any more, all accesses trap; only then the window's own pages become direct.
 */
static int place(struct regmap_window *w, struct regmap_window *parent)
{
	uint64_t first = window_start(w), last = window_last(w);
	int err = regmap__reserve_take(first, last, w->name);

	if (err)
		return err;
	err = regmap__direct_detach(parent, first, last);
	if (!err) {
		regmap__direct_move_in(w);
		err = regmap__table_insert(w);
	}
	if (err) {
		regmap__direct_detach_old(w);
		regmap__direct_attach(parent, first, last);
		regmap__reserve_drop(first, last);
		return err;
	}
	w->live = true;
	regmap__direct_attach_new(w);
	regmap__views_forget(first, last);
	return 0;
}

/*
 * Not where the window itself is to lie: the kernel takes what is free, and much of it is. If that place
 * can't be had, place() will say so.
 */
static int create(struct regmap_window *w, const struct regmap_config *c)
{
	uint64_t first = window_start(w), last = window_last(w);
	bool taken = window_ops(w)->maps_memory && regmap__reserve_try(first, last);
	int err = window_ops(w)->create(w, c);

	if (err && taken)
		regmap__reserve_drop(first, last);
	return err;
}

static int create_and_place(struct regmap_window *w, const struct regmap_config *c)
{
	struct regmap_window *parent;
	int err = regmap__table_fits(window_start(w), window_last(w), &parent);

	if (!err && registers && window_start(w) <= PAGE_0_LAST)
		err = -EEXIST;
	if (!err)
		err = create(w, c);
	if (err)
		return err;
	err = place(w, parent);
	if (err && window_ops(w)->destroy)
		window_ops(w)->destroy(w);
	return err;
}

/* Map lock held. */
static int map_locked(const struct regmap_config *c, const struct backing_ops *ops,
                      struct regmap_window **out)
{
	struct regmap_window *w;
	int err = regmap__maplock_repair();

	if (!err)
		err = start_once();
	if (err)
		return err;
	w = new_window(c, ops);
	if (!w)
		return -ENOMEM;
	err = create_and_place(w, c);
	if (err)
		regmap__window_free(w);
	else
		*out = w;
	return err;
}

int regmap_map(const struct regmap_config *config, struct regmap_window **out)
{
	struct regmap_window *window = NULL;
	struct request r;
	int saved = errno, err = copy_request(&r, config);

	if (err)
		return err;
	regmap__maplock_take();
	err = map_locked(&r.config, backing_of(&r.config), &window);
	regmap__maplock_release();
	if (out && !err)
		*out = window;
	errno = saved;
	return err;
}

static bool page_0_is_free(void)
{
	struct table_hit hit;

	regmap__table_find(0, &hit);
	return !hit.window && hit.last >= PAGE_0_LAST;
}

static int map_registers_locked(void)
{
	static const struct regmap_config page_0 = {
		.length = PAGE_0_LAST + 1,
		.access = REGMAP_READ | REGMAP_WRITE,
	};

	if (registers)
		return 0;
	if (!page_0_is_free())
		return -EEXIST;
	return map_locked(&page_0, &regmap__backing_registers, &registers);
}

int regmap_map_registers(void)
{
	int saved = errno, err;

	regmap__maplock_take();
	err = map_registers_locked();
	regmap__maplock_release();
	errno = saved;
	return err;
}

int map_registers(void) __attribute__((weak, alias("regmap_map_registers")));

/*
 * What lay under the window shows again at once; its own backing lives until the last access ends.
 */
static int take_away(struct regmap_window *w, struct pin *wait)
{
	struct regmap_window *parent;
	int err = regmap__maplock_repair();

	if (err)
		return err;
	if (!regmap__window_is_live(w))
		return -EINVAL;
	if (!regmap__drain_announce(wait, w))
		return -EDEADLK;
	w->live = false;
	parent = atomic_load_explicit(&w->parent, memory_order_relaxed);
	regmap__direct_detach_old(w);
	regmap__table_remove(w);
	regmap__direct_attach(parent, window_start(w), window_last(w));
	regmap__reserve_drop(window_start(w), window_last(w));
	regmap__views_forget(window_start(w), window_last(w));
	return 0;
}

static void destroy(struct regmap_window *w)
{
	if (window_ops(w)->destroy)
		window_ops(w)->destroy(w);
	regmap__window_free(w);
}

int regmap_unmap(struct regmap_window *window)
{
	int saved = errno, err;
	struct pin wait;

	if (!window)
		return 0;
	regmap__maplock_take();
	err = take_away(window, &wait);
	regmap__maplock_release();
	if (err)
		return err;
	regmap__drain(&wait, window); /* callbacks may need the lock to end */
	regmap__views_settle();
	regmap__maplock_take();
	destroy(window);
	regmap__maplock_release();
	errno = saved;
	return 0;
}

/* Whoever pins the window from here on finds the flags as they are now: a pin comes before the look. */
static int change_general(struct regmap_window *w, bool general, struct pin *wait)
{
	uint8_t flags = (uint8_t)(w->flags & ~REGMAP_GENERAL);
	int err = regmap__maplock_repair();

	if (err)
		return err;
	if (!regmap__window_is_live(w) || window_ops(w) != &regmap__backing_device)
		return -EINVAL;
	if (!general && !regmap__drain_announce(wait, w))
		return -EDEADLK;
	__atomic_store_n(&w->flags, general ? flags | REGMAP_GENERAL : flags, __ATOMIC_SEQ_CST);
	return 0;
}

int regmap__window_set_general(struct regmap_window *window, bool general)
{
	struct pin wait;
	int err;

	regmap__maplock_take();
	err = change_general(window, general, &wait);
	regmap__maplock_release();
	if (!err && !general)
		regmap__drain(&wait, window);
	return err;
}

/* --- access without a fault --- */

int regmap__check_range(uint64_t guest, size_t length, unsigned access)
{
	struct access at;
	int err = 0;

	for (; length > 0 && !err; guest += at.length, length -= at.length) {
		regmap__access_begin(&at, guest, length, access);
		if (!at.window)
			err = -EFAULT;
		else if (at.refusal)
			err = at.refusal->error;
		else if (window_ops(at.window)->needs_cpu)
			err = -EOPNOTSUPP;
		regmap__access_end(&at);
	}
	return err;
}

static int move_piece(struct access *at, void *to, const void *from)
{
	struct cpu_trap trap;

	if (!at->window || at->refusal)
		return at->refusal ? at->refusal->error : -EFAULT;
	return to ? regmap__access_read(at, NULL, to, &trap) :
	            regmap__access_write(at, NULL, from, &trap);
}

/* One of @to and @from is NULL. */
static int move_all(uint64_t guest, uint8_t *to, const uint8_t *from, size_t length)
{
	unsigned access = to ? REGMAP_READ : REGMAP_WRITE;
	int err = regmap__check_range(guest, length, access);
	ENDING_ACCESS at = {.pin.slot = NULL};

	for (size_t done = 0; done < length && !err; done += at.length) {
		regmap__access_begin(&at, guest + done, length - done, access);
		err = move_piece(&at, to ? to + done : NULL, from ? from + done : NULL);
		regmap__access_end(&at);
	}
	return err;
}

/* All of it in the memory of one window, as a rule: then the first look is the check as well. */
static int move(uint64_t guest, uint8_t *to, const uint8_t *from, size_t length)
{
	unsigned access = to ? REGMAP_READ : REGMAP_WRITE;
	struct access at;
	bool whole = regmap__quick_begin(&at, guest, length, access);
	int err = 0;

	if (!whole) {
		regmap__access_begin(&at, guest, length, access);
		whole = at.host && !at.refusal && at.length == length;
	}
	if (whole)
		err = move_piece(&at, to, from);
	regmap__access_end(&at);
	return whole ? err : move_all(guest, to, from, length);
}

int regmap_read(uint64_t guest, void *to, size_t length)
{
	return length == 0 ? 0 : to ? move(guest, to, NULL, length) : -EFAULT;
}

int regmap_write(uint64_t guest, const void *from, size_t length)
{
	return length == 0 ? 0 : from ? move(guest, NULL, from, length) : -EFAULT;
}

/* --- errors --- */

#define ERRORS(X) \
	X(EINVAL, "a wrong argument: see the manual page of the function for what each may be") \
	X(EEXIST, "the range equals or crosses another window: nest them or keep them apart") \
	X(EADDRINUSE, "the program has something mapped there (see stderr): go elsewhere") \
	X(ENOMEM, "out of memory or of mappings: see vm.max_map_count") \
	X(ELOOP, "an alias of itself, or more than 8 in a chain: let it name the original") \
	X(ENOSYS, \
	  "no XSAVE for the register page, no user dispatch for regmap_syscalls(), or no way to " \
	  "change code for regmap_patch(): membarrier() and writing by /proc/self/mem") \
	X(EPERM, "the instruction can't be patched: see regmap_patch_stats()") \
	X(ENOENT, "no /proc, where existing threads are found: only new ones get signal stacks") \
	X(EDEADLK, "two callbacks unmap the windows of each other: do it after the callback") \
	X(EFAULT, "a byte lies in no window: map one there first") \
	X(EACCES, "the window doesn't allow this direction: see its access and callbacks") \
	X(EOPNOTSUPP, "the register page is for the program's own loads and stores") \
	X(E2BIG, "no end of the string within the size given: make the buffer larger") \
	X(ENODEV, "no host memory behind this address: use regmap_read() and regmap_write()")

const char *regmap_strerror(int err)
{
	switch (err < 0 ? -(unsigned)err : (unsigned)err) {
	case 0: return "success";
#define CASE(number, text) \
	case number: return text;
		ERRORS(CASE)
#undef CASE
	default: return "not an error of this library's: what a device's callback returned";
	}
}
