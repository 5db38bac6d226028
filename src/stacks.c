/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/mman.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "../arch/x86_64/guard.h"
#include "../arch/x86_64/sigframe.h"
#include "../arch/x86_64/syscall.h"
#include "../include/regmap/regmap.h"
#include "next.h"
#include "stacks.h"

#include "sigsafe.h"

/*
 * Stacks lie in chunks, one mapping each: the owners of its stacks, then the stacks, each above a
 * guard page. A chunk is never unmapped, so that an address can be looked up at any time. Pages of
 * a stack cost memory from the first use on.
 */
enum { PAGE = 4096, CHUNKS = 64, FEWEST = 16, MOST = 4096, PATIENCE = 8 };

#define LARGEST ((size_t)1 << 30)
#define PROMISED 1ULL /* an owner to be; others are process << 32 | thread */

struct chunk {
	uint8_t *stacks; /* the first one's guard page */
	size_t size;     /* of a stack */
	unsigned capacity;
	_Atomic unsigned carved; /* stacks that were ever used */
	_Atomic uint64_t *owner; /* of each; 0: free */
};

/* A page that a child finds zeroed after fork(), but not after vfork(). */
struct life {
	atomic_int lock;
	bool began;
};

typedef int (*sigaltstack_fn)(const stack_t *, stack_t *);

static struct chunk chunks[CHUNKS];
static atomic_uint chunk_count;
atomic_size_t regmap__stacks_wanted;
static struct life *life;
static uint64_t forker;
static unsigned spare;    /* free ones among the carved that are large enough */
static unsigned handed;   /* out since dead owners were looked for */
static unsigned patience; /* how many may be before that is done again */
atomic_uint regmap__stacks_change_count;

/* ThreadSanitizer asks for the stack while it isn't ready to be told of function calls. */
#define EARLY __attribute__((no_sanitize("thread")))

EARLY static int plain_sigaltstack(const stack_t *set, stack_t *old)
{
	long error;

	__asm__ volatile("syscall"
	                 : "=a"(error)
	                 : "a"(SYS_sigaltstack), "D"(set), "S"(old)
	                 : "rcx", "r11", "memory");
	if (error)
		errno = (int)-error;
	return error ? -1 : 0;
}

static sigaltstack_fn next_sigaltstack = plain_sigaltstack;

__attribute__((constructor)) static void find_next(void)
{
	next_sigaltstack = NEXT(sigaltstack, plain_sigaltstack);
}

static uint64_t me(void)
{
	uint64_t process = (uint64_t)sys_call(SYS_getpid, 0, 0, 0, 0);

	return process << 32 | (uint32_t)sys_call(SYS_gettid, 0, 0, 0, 0);
}

static bool lives(uint64_t owner)
{
	long process = (long)(owner >> 32), thread = (long)(uint32_t)owner;

	return owner == PROMISED || sys_call(SYS_tgkill, process, thread, 0, 0) != -ESRCH;
}

static stack_t current_stack(void)
{
	stack_t now = {.ss_flags = SS_DISABLE};

	sys_call(SYS_sigaltstack, 0, (long)&now, 0, 0);
	return now;
}

/* A thread that never had one shows no flag in a signal's frame. */
static bool is_none(const stack_t *stack)
{
	return stack->ss_flags & SS_DISABLE || !stack->ss_size;
}

/* The pool */

static stack_t stack_at(const struct chunk *c, unsigned i)
{
	uint8_t *guard = c->stacks + (size_t)i * (PAGE + c->size);

	return (stack_t){.ss_sp = guard + PAGE, .ss_size = c->size};
}

/* NULL: none of ours. */
static _Atomic uint64_t *owner_of(uint64_t address)
{
	unsigned count = atomic_load_explicit(&chunk_count, memory_order_acquire);

	for (unsigned n = 0; n < count; n++) {
		const struct chunk *c = &chunks[n];
		uint64_t i = (address - (uintptr_t)c->stacks) / (PAGE + c->size);

		if (address >= (uintptr_t)c->stacks && i < c->capacity)
			return &c->owner[i];
	}
	return NULL;
}

bool regmap__stacks_is_ours(const stack_t *stack)
{
	return !is_none(stack) && owner_of((uintptr_t)stack->ss_sp);
}

static bool large_enough(const struct chunk *c)
{
	return c->size >= atomic_load_explicit(&regmap__stacks_wanted, memory_order_relaxed);
}

static bool add_chunk(void)
{
	unsigned n = atomic_load(&chunk_count);
	size_t size = atomic_load(&regmap__stacks_wanted), most = (size_t)FEWEST << (n < 8 ? n : 8);
	size_t owners = (most * sizeof(uint64_t) + PAGE - 1) & ~(size_t)(PAGE - 1);
	long base;

	if (n == CHUNKS)
		return false;
	base = sys_call6(SYS_mmap, 0, (long)(owners + most * (PAGE + size)), PROT_NONE,
	                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (base < 0)
		return false;
	if (sys_call(SYS_mprotect, base, (long)owners, PROT_READ | PROT_WRITE, 0)) {
		sys_call(SYS_munmap, base, (long)(owners + most * (PAGE + size)), 0, 0);
		return false;
	}
	chunks[n].stacks = (uint8_t *)base + owners;
	chunks[n].size = size;
	chunks[n].capacity = (unsigned)most;
	chunks[n].owner = (_Atomic uint64_t *)base;
	atomic_store_explicit(&chunk_count, n + 1, memory_order_release);
	return true;
}

/* One that was never used. */
static bool carve(uint64_t owner, stack_t *stack)
{
	unsigned n = atomic_load(&chunk_count);
	struct chunk *c = n ? &chunks[n - 1] : NULL;

	if (!c || c->carved == c->capacity || !large_enough(c)) {
		if (!add_chunk())
			return false;
		c = &chunks[n];
	}
	*stack = stack_at(c, c->carved);
	if (sys_call(SYS_mprotect, (long)stack->ss_sp, (long)c->size, PROT_READ | PROT_WRITE, 0))
		return false;
	c->owner[c->carved++] = owner;
	return true;
}

/* One whose owner is @from becomes one of @to's. */
static bool hand_over(uint64_t from, uint64_t to, stack_t *stack)
{
	unsigned count = atomic_load(&chunk_count);

	for (unsigned n = 0; n < count; n++)
		for (unsigned i = 0; large_enough(&chunks[n]) && i < chunks[n].carved; i++) {
			if (chunks[n].owner[i] != from)
				continue;
			chunks[n].owner[i] = to;
			*stack = stack_at(&chunks[n], i);
			return true;
		}
	return false;
}

/* Each stack costs a system call: done so rarely that it doesn't count. */
static void bury_the_dead(void)
{
	unsigned count = atomic_load(&chunk_count), living = 0;

	spare = 0;
	for (unsigned n = 0; n < count; n++)
		for (unsigned i = 0; i < chunks[n].carved; i++) {
			_Atomic uint64_t *owner = &chunks[n].owner[i];

			if (*owner && !lives(*owner))
				*owner = 0;
			living += *owner != 0;
			spare += !*owner && large_enough(&chunks[n]);
		}
	handed = 0;
	patience = PATIENCE + living / 2;
}

/* Used ones first; @spare is up to date as far as it isn't 0. */
static bool reuse(uint64_t owner, stack_t *stack)
{
	if (!spare || !hand_over(0, owner, stack))
		return false;
	spare--;
	return true;
}

static bool find(uint64_t owner, stack_t *stack)
{
	if (reuse(owner, stack) || (handed < patience && carve(owner, stack))) {
		handed++;
		return true;
	}
	bury_the_dead();
	return reuse(owner, stack) || carve(owner, stack);
}

/*
 * After a fork: others' stacks are free, and so is their memory. What the thread that forked had
 * stays, as there may be frames on it; after a fork that didn't tell, the one that it is on.
 */
static void start_over(void)
{
	unsigned count = atomic_load(&chunk_count);
	stack_t now = current_stack();
	_Atomic uint64_t *used[] = {owner_of((uintptr_t)now.ss_sp), owner_of((uintptr_t)&now)};

	spare = 0;
	for (unsigned n = 0; n < count; n++)
		for (unsigned i = 0; i < chunks[n].carved; i++) {
			_Atomic uint64_t *owner = &chunks[n].owner[i];
			stack_t stack = stack_at(&chunks[n], i);

			if (owner == used[0] || owner == used[1] || (*owner && *owner == forker)) {
				*owner = me();
				continue;
			}
			if (*owner)
				sys_call(SYS_madvise, (long)stack.ss_sp, (long)stack.ss_size,
				         MADV_DONTNEED, 0);
			*owner = 0;
			spare += large_enough(&chunks[n]);
		}
	forker = 0;
	life->began = true;
}

/* All signals are blocked, so that no handler ever waits for its own thread. */
static void pool_lock(uint64_t *mask)
{
	const uint64_t all = ~0ULL;
	int open = 0;

	sys_sigmask(SIG_SETMASK, &all, mask);
	while (!atomic_compare_exchange_weak(&life->lock, &open, 1)) {
		sys_call(SYS_sched_yield, 0, 0, 0, 0);
		open = 0;
	}
	if (!life->began)
		start_over();
}

static void pool_unlock(const uint64_t *mask)
{
	atomic_store(&life->lock, 0);
	sys_sigmask(SIG_SETMASK, mask, NULL);
}

/* The calling thread's own, from before or new. */
static bool find_mine(stack_t *stack)
{
	uint64_t mask, mine = me();
	bool found;

	pool_lock(&mask);
	found = hand_over(mine, mine, stack) || find(mine, stack);
	pool_unlock(&mask);
	return found;
}

/* The option */

static int begin(void)
{
	long page;

	if (life)
		return 0;
	page = sys_call6(SYS_mmap, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	                 0);
	if (page < 0)
		return -ENOMEM;
	sys_call(SYS_madvise, page, PAGE, MADV_WIPEONFORK, 0);
	life = (struct life *)page;
	life->began = true;
	return 0;
}

static bool has_enough(const stack_t *stack)
{
	if (is_none(stack))
		return false;
	return stack->ss_size >= atomic_load(&regmap__stacks_wanted) ||
	       !regmap__stacks_is_ours(stack);
}

static int give_me(void)
{
	stack_t now = current_stack(), stack;

	if (has_enough(&now))
		return 0;
	if (!find_mine(&stack))
		return -ENOMEM;
	/* EPERM: a smaller one of ours is in use just now */
	sys_call(SYS_sigaltstack, (long)&stack, 0, 0, 0);
	return 0;
}

int regmap__stacks_enable(size_t bytes)
{
	size_t least = getauxval(AT_MINSIGSTKSZ) + STACKS_FOOTPRINT, size;
	uint64_t mask;
	int err;

	if (bytes && (bytes < least || bytes > LARGEST))
		return -EINVAL;
	size = bytes ? bytes : least + STACKS_DEFAULT;
	size = (size + PAGE - 1) & ~(size_t)(PAGE - 1);
	err = begin();
	if (err)
		return err;
	pool_lock(&mask);
	if (size > atomic_load(&regmap__stacks_wanted)) {
		atomic_store(&regmap__stacks_wanted, size);
		bury_the_dead();
	}
	pool_unlock(&mask);
	return give_me();
}

void regmap__stacks_before_fork(void)
{
	forker = me();
}

void regmap__stacks_after_fork(void)
{
	uint64_t mask;

	if (!life)
		return;
	pool_lock(&mask);
	pool_unlock(&mask);
}

/* New threads */

bool regmap__stacks_promise(stack_t *stack)
{
	uint64_t mask;
	bool found;

	pool_lock(&mask);
	found = find(PROMISED, stack);
	pool_unlock(&mask);
	return found;
}

static void set_owner(const stack_t *stack, uint64_t owner)
{
	uint64_t mask;

	pool_lock(&mask);
	*owner_of((uintptr_t)stack->ss_sp) = owner;
	spare += !owner && stack->ss_size >= atomic_load(&regmap__stacks_wanted);
	pool_unlock(&mask);
}

void regmap__stacks_break_promise(const stack_t *stack)
{
	set_owner(stack, 0);
}

/* A sanitizer may have given the thread one of its own. */
void regmap__stacks_move_in(const stack_t *stack)
{
	stack_t now = current_stack();

	if (!is_none(&now)) {
		set_owner(stack, 0);
		return;
	}
	set_owner(stack, me());
	sys_call(SYS_sigaltstack, (long)stack, 0, 0, 0);
}

/* Threads that exist already */

bool regmap__stacks_has(uint64_t owner)
{
	stack_t stack;
	uint64_t mask;
	bool found;

	pool_lock(&mask);
	found = hand_over(owner, owner, &stack);
	pool_unlock(&mask);
	return found;
}

void *regmap__stacks_cookie(void)
{
	return chunks;
}

/* What the program believes */

static int fail(int error)
{
	errno = error;
	return -1;
}

/*
 * The kernel refuses while RSP lies on the stack in use, which the program doesn't know of (it is a
 * device's callback that asks). With all signals blocked, nothing needs RSP.
 */
static long set_while_on_it(const stack_t *set)
{
	const uint64_t all = ~0ULL;
	uint64_t mask;
	long result;

	sys_sigmask(SIG_SETMASK, &all, &mask);
	__asm__ volatile("mov %%rsp, %%r12\n\t"
	                 "xor %%esp, %%esp\n\t"
	                 "syscall\n\t"
	                 "mov %%r12, %%rsp"
	                 : "=a"(result)
	                 : "a"(SYS_sigaltstack), "D"(set), "S"(0)
	                 : "rcx", "r11", "r12", "memory");
	sys_sigmask(SIG_SETMASK, &mask, NULL);
	return result;
}

/* Ours is in place: the program believes that it has none. */
static int change_from_none(const stack_t *set, stack_t *old)
{
	struct cpu_trap trap;
	stack_t copy;
	long error = 0;
	int mode;

	if (set && regmap__guard_copy(&copy, set, sizeof(copy), &trap))
		return fail(EFAULT);
	mode = set ? copy.ss_flags & ~(int)SS_AUTODISARM : SS_DISABLE;
	if (mode != SS_DISABLE)
		error = set_while_on_it(&copy);
	if (error)
		return fail((int)-error);
	copy = (stack_t){.ss_flags = SS_DISABLE};
	return old && regmap__guard_copy(old, &copy, sizeof(copy), &trap) ? fail(EFAULT) : 0;
}

static bool disables(const stack_t *set)
{
	struct cpu_trap trap;
	stack_t copy;

	return set && !regmap__guard_copy(&copy, set, sizeof(copy), &trap) &&
	       (copy.ss_flags & ~(int)SS_AUTODISARM) == SS_DISABLE;
}

static int change(const stack_t *set, stack_t *old)
{
	stack_t now = current_stack(), ours;

	if (regmap__stacks_is_ours(&now))
		return change_from_none(set, old);
	if (disables(set) && find_mine(&ours))
		return next_sigaltstack(&ours, old);
	return next_sigaltstack(set, old);
}

EARLY REGMAP_API int sigaltstack(const stack_t *restrict set, stack_t *restrict old)
{
	if (set)
		atomic_fetch_add(&regmap__stacks_change_count, 1);
	return atomic_load(&regmap__stacks_wanted) ? change(set, old) : next_sigaltstack(set, old);
}

/* The handler's side */

void regmap__stacks_give(void *ucontext)
{
	stack_t *stack = regmap__sigframe_stack(ucontext), ours;

	if (!regmap__stacks_enabled())
		return;
	if (!has_enough(stack) && find_mine(&ours))
		*stack = ours;
}

/* Until sigreturn no other one comes in between, or they would pile up on the stack. */
bool regmap__stacks_answer(const siginfo_t *info, void *ucontext)
{
	const uint64_t all = ~0ULL;

	if (info->si_code != SI_QUEUE || info->si_value.sival_ptr != regmap__stacks_cookie())
		return false;
	sys_sigmask(SIG_SETMASK, &all, NULL);
	regmap__stacks_give(ucontext);
	return true;
}

/* Disabled may be what SS_AUTODISARM made of it while the handler runs. */
void regmap__stacks_keep_change(void *ucontext)
{
	stack_t *stack = regmap__sigframe_stack(ucontext), now = current_stack();

	now.ss_flags &= ~SS_ONSTACK;
	if (!is_none(&now) || !(stack->ss_flags & SS_AUTODISARM))
		*stack = now;
}
