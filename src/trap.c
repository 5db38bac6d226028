/* SPDX-License-Identifier: MIT */
/*
 * From a signal to an instruction carried out, or back to the program.
 *
 * The program may have changed its FS base, by the register page or WRFSBASE. So nothing here uses
 * thread-local storage (errno, the stack protector's canary) before the FS base has been looked at.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>

#include "../arch/x86_64/context.h"
#include "../arch/x86_64/guard.h"
#include "../arch/x86_64/native.h"
#include "../arch/x86_64/syscall.h"
#include "../emulator/quick.h"
#include "access.h"
#include "backing.h"
#include "bus.h"
#include "chain.h"
#include "fork.h"
#include "hidden.h"
#include "hot.h"
#include "others.h"
#include "patch.h"
#include "quick.h"
#include "report.h"
#include "sigmask.h"
#include "site.h"
#include "stacks.h"
#include "stray.h"
#include "syscalls.h"
#include "trap.h"
#include "window.h"

#include "sigsafe.h"

/*
 * Alternate stacks of 8 KB are common, and the kernel's frame takes half of that: what is big lives
 * no longer than it must, in functions that are not inlined.
 */
#define OWN_FRAME __attribute__((noinline))

/* Iterations of a REP string before signals get a chance. */
enum { PAGE = 4096, STRING_BUDGET = 1 << 20, WORDS = (EM_MAX_LENGTH + 14) / 8 };

enum { AGAIN = 64 };

_Static_assert(WORDS * 8 >= EM_MAX_LENGTH + 7, "an instruction may begin at a word's last byte");

struct trap {
	int signo;
	unsigned how; /* it came: chain.h */
	siginfo_t *info;
	void *uc;
	struct cpu_trap raised; /* number and error code of the exception */
	uint64_t rip;
	const struct plan *plan;
	uint8_t code[EM_MAX_LENGTH];
	unsigned have;       /* bytes of code */
	struct plan decoded; /* where the plan is that isn't remembered */
	bool patched;        /* it faulted in its slot */
	struct cpu cpu;
	struct em_fault fault;
};

/* Fetch and decode */

/* Execute-only text: the kernel reads it for us. */
static bool fetch_from_kernel(uint64_t rip, uint8_t *to, size_t length)
{
	long fd = sys_open_read("/proc/self/mem"), got;

	if (fd < 0)
		return false;
	got = sys_call(SYS_pread64, fd, (long)to, (long)length, (long)rip);
	sys_call(SYS_close, fd, 0, 0, 0);
	return got == (long)length;
}

/*
 * The aligned words that hold the bytes, each read at once as another thread may be patching it. They
 * don't reach into another page.
 */
static bool fetch_words(uint64_t rip, uint8_t *to, size_t length)
{
	uint64_t word[WORDS], at = rip & -(uint64_t)sizeof(word[0]);
	struct cpu_trap trap;

	for (unsigned i = 0; i < WORDS && at + i * sizeof(word[0]) < rip + length; i++)
		if (regmap__guard_copy(&word[i], (const void *)(at + i * sizeof(word[0])),
		                       sizeof(word[0]), &trap))
			return false;
	memcpy(to, (uint8_t *)word + (rip - at), length);
	return true;
}

/* At most EM_MAX_LENGTH bytes. */
static bool fetch(uint64_t rip, uint8_t *to, size_t length)
{
	return fetch_words(rip, to, length) || fetch_from_kernel(rip, to, length);
}

static bool fetch_code(struct trap *t)
{
	if (fetch(t->rip, t->code, t->have))
		return true;
	t->have = 0;
	return false;
}

static enum em_status plan(struct trap *t)
{
	struct kept_fs kept;
	enum em_status status;

	regmap__canary_lend(&kept);
	status = regmap__em_plan(&t->decoded, t->code, t->have, regmap__em_tiers());
	regmap__canary_take_back(&kept);
	return status;
}

/* Without a footprint, but for the byte that faulted: the report says what to do. */
static enum em_status hidden(struct trap *t)
{
	memset(&t->decoded, 0, sizeof(t->decoded));
	t->decoded.refusal = regmap__hidden_refusal;
	return EM_UNIMPLEMENTED;
}

/* Not beyond the page at first: the next one may not be there. */
static enum em_status decode(struct trap *t)
{
	uint64_t rip = t->rip;
	size_t room = PAGE - rip % PAGE;
	enum em_status status;

	t->have = room < EM_MAX_LENGTH ? (unsigned)room : EM_MAX_LENGTH;
	if (!fetch_code(t))
		return EM_RETRY;
	if (t->code[0] == HIDDEN_INT3 && !regmap__hidden_find(rip, t->code))
		return hidden(t);
	status = plan(t);
	if (status != EM_RETRY || t->have == EM_MAX_LENGTH)
		return status;
	if (!fetch(rip + t->have, t->code + t->have, EM_MAX_LENGTH - t->have))
		return EM_RETRY;
	t->have = EM_MAX_LENGTH;
	return plan(t);
}

/*
 * Is it the same, but for a breakpoint? One byte alone proves nothing: only where no file says what
 * the breakpoint hides, it is taken for what it was.
 */
OWN_FRAME static bool same_behind_breakpoint(uint64_t rip, const struct plan *plan)
{
	uint8_t code[EM_MAX_LENGTH], first;

	if (!fetch(rip, code, plan->length))
		return false;
	if (code[0] == HIDDEN_INT3) {
		if (plan->length == 1 && regmap__hidden_find(rip, &first) &&
		    first != plan->bytes[0])
			return false;
		code[0] = plan->bytes[0];
	}
	return !memcmp(code, plan->bytes, plan->length);
}

/* @word: the aligned words of the code, as many as the plan's bytes need. */
static inline bool same_code(const struct plan *plan, const uint64_t word[WORDS], unsigned shift)
{
	unsigned bits = plan->length * 8u;
	uint64_t low = word[0], high = word[1], plan_low, plan_high;

	if (shift) {
		low = word[0] >> shift | word[1] << (64 - shift);
		high = word[1] >> shift | word[2] << (64 - shift);
	}
	memcpy(&plan_low, plan->bytes, sizeof(plan_low));
	memcpy(&plan_high, plan->bytes + 8, sizeof(plan_high));
	low ^= plan_low;
	high ^= plan_high;
	return bits <= 64 ? !(low << (64 - bits)) : !(low | high << (128 - bits));
}

static inline bool is_of_site(uint64_t rip, const struct plan *plan)
{
	uint64_t word[WORDS] = {0}, at = rip & -(uint64_t)sizeof(word[0]);
	unsigned ahead = (unsigned)(rip - at), n = (ahead + plan->length + 7u) / 8;
	struct cpu_trap trap;

	return (!regmap__guard_load(word, (const void *)at, n, &trap) &&
	        same_code(plan, word, ahead * 8)) ||
	       same_behind_breakpoint(rip, plan);
}

static inline const struct plan *remembered(uint64_t rip)
{
	const struct plan *plan;

	for (unsigned way = 0; (plan = site_next(rip, &way));)
		if (is_of_site(rip, plan))
			return plan;
	return NULL;
}

static enum em_status find_plan(struct trap *t)
{
	if (t->plan)
		return EM_OK;
	t->decoded.length = 0;
	t->plan = &t->decoded;
	return decode(t);
}

static bool is_fresh(const struct trap *t)
{
	return t->plan == &t->decoded;
}

static void remember(struct trap *t)
{
	if (is_fresh(t))
		t->plan = regmap__site_remember(t->rip, &t->decoded);
}

/* Is it ours? */

static bool could_be_access(const struct trap *t)
{
	if (t->signo != SIGSEGV && t->signo != SIGBUS)
		return false;
	switch (t->raised.number) {
	case TRAP_PAGE: return !(t->raised.error & PF_FETCH);
	case TRAP_GP:
	case TRAP_STACK: return true;
	}
	return false;
}

static bool in_range(const struct em_range *range, uint64_t address)
{
	return address - range->address < range->length;
}

/* A page fault outside of the footprint isn't this instruction's. */
static bool explains_fault(const struct trap *t, const struct em_footprint *footprint)
{
	uint64_t address = (uintptr_t)t->info->si_addr;

	if (t->raised.number != TRAP_PAGE)
		return true;
	for (unsigned i = 0; i < footprint->count; i++)
		if (in_range(&footprint->range[i], address))
			return true;
	return footprint->reported.length && in_range(&footprint->reported, address);
}

static const struct em_range *claimed_range(const struct em_footprint *footprint)
{
	for (unsigned i = 0; i < footprint->count; i++)
		if (regmap__window_meets(footprint->range[i].address, footprint->range[i].length))
			return &footprint->range[i];
	return NULL;
}

/* Without a plan, the faulting byte is all we know. */
static struct em_range faulting_byte(const struct trap *t)
{
	return (struct em_range){
		.address = (uintptr_t)t->info->si_addr,
		.length = 1,
		.access = t->raised.error & PF_WRITE ? EM_WRITE : EM_READ,
	};
}

/* Of an instruction that we can't do, too, as far as it could be decoded. */
static void find_footprint(const struct trap *t, struct em_footprint *footprint)
{
	regmap__em_footprint(t->plan, &t->cpu, footprint);
	if (!t->plan->length && t->raised.number == TRAP_PAGE) {
		footprint->count = 1;
		footprint->range[0] = faulting_byte(t);
	}
}

OWN_FRAME static bool claims(const struct trap *t)
{
	struct em_footprint footprint;

	find_footprint(t, &footprint);
	return explains_fault(t, &footprint) && claimed_range(&footprint);
}

/* What to tell the program and the user */

/* The part of the footprint that the failure is about. */
OWN_FRAME static struct em_range blamed_range(const struct trap *t)
{
	struct em_footprint footprint;
	const struct em_range *claimed;

	find_footprint(t, &footprint);
	for (unsigned i = 0; i < footprint.count; i++)
		if (t->fault.trap.signo && in_range(&footprint.range[i], t->fault.trap.address))
			return footprint.range[i];
	claimed = claimed_range(&footprint);
	return claimed ? *claimed : faulting_byte(t);
}

OWN_FRAME static void report(const struct trap *t, enum em_status status, int signo)
{
	uint8_t code[EM_MAX_LENGTH];

	struct report r = {
		.status = status,
		.fault = &t->fault,
		.range = blamed_range(t),
		.cpu = &t->cpu,
		.bytes = t->plan->length ? t->plan->bytes : code,
		.length = t->plan->length ? t->plan->length : t->have,
		.signo = signo,
		.ucontext = t->uc,
	};

	if (!t->plan->length) {
		memcpy(code, t->code, sizeof(code));
		regmap__patch_overlay(t->rip, code, t->have);
	}
	regmap__report(&r);
}

/* #DE, #MF, #XM, #UD are the program's business; an access that fails in part deserves a word. */
static bool is_access_fault(const struct cpu_trap *trap)
{
	return trap->signo == SIGSEGV || trap->signo == SIGBUS;
}

/* The siginfo and context that silicon's exception would have made. */
static void show_trap(struct trap *t, const struct cpu_trap *trap)
{
	bool at_rip = trap->signo == SIGFPE || trap->signo == SIGILL;

	memset(t->info, 0, sizeof(*t->info));
	t->info->si_signo = trap->signo;
	t->info->si_code = trap->code;
	t->info->si_addr = (void *)(uintptr_t)(at_rip ? t->rip : trap->address);
	regmap__context_set_trap(t->uc, trap);
}

static void deliver_trap(struct trap *t, enum em_status status)
{
	struct cpu_trap trap = t->fault.trap;

	if (!trap.signo)
		trap = (struct cpu_trap){SIGBUS, BUS_ADRERR, blamed_range(t).address, TRAP_PAGE,
		                         t->raised.error};
	if (status == EM_DENIED || is_access_fault(&trap))
		report(t, status, trap.signo);
	show_trap(t, &trap);
	regmap__chain_deliver(trap.signo, t->info, t->uc, t->how);
}

static void refuse(struct trap *t, enum em_status status)
{
	/* REP strings have got somewhere; vector state may show the flags of an exception */
	regmap__context_store(&t->cpu, t->uc, false);
	switch (status) {
	case EM_OK:
	case EM_RETRY: return;
	case EM_UNIMPLEMENTED:
		report(t, status, t->signo);
		regmap__chain_deliver(t->signo, t->info, t->uc, t->how | CHAIN_REFAULTS);
		return;
	case EM_DENIED:
	case EM_FAULT: deliver_trap(t, status);
	}
}

OWN_FRAME static enum em_status execute(struct trap *t, uint64_t budget)
{
	struct window_bus bus __attribute__((cleanup(regmap__window_bus_end)));

	regmap__window_bus_init(&bus);
	return regmap__em_execute(t->plan, &t->cpu, &bus.bus, budget, &t->fault);
}

/*
 * The single step over the instruction. A jump to where it leads, run with the trap flag set, raises
 * the very exception: what the kernel says of it is right, whatever SIGTRAP is set to. Without code
 * memory, where the instruction has cleared the flag, or where the jump itself would fault, a signal
 * of our own has to do.
 */
OWN_FRAME static void single_step(struct trap *t)
{
	/* jmp *6(%rip), so that the address is aligned behind the stub's entry: the program's AC may be set */
	uint8_t code[20] = {0xff, 0x25, 6};
	uint64_t to = regmap__context_rip(t->uc);
	const uint8_t *stub = NULL;

	_Static_assert((NATIVE_STUB_ENTRY + 12) % 8 == 0, "aligned");
	memcpy(code + 12, &to, sizeof(to));
	if (t->cpu.rflags & CPU_TF && regmap__em_tiers() & EM_TIER_NATIVE && !(to >> 47))
		stub = regmap__code_stub(code, sizeof(code));
	if (stub)
		regmap__context_advance(t->uc, (uintptr_t)stub + NATIVE_STUB_ENTRY);
	else
		regmap__chain_single_step(t->uc);
}

static void carry_out(struct trap *t)
{
	bool step = t->cpu.rflags & CPU_TF;
	/* asked before it is carried out: FS may be another one then */
	bool step_ends_here = step && !regmap__em_delays_step(t->plan);
	unsigned moves = atomic_load_explicit(&regmap__ram_moves, memory_order_acquire);
	enum em_status status = execute(t, step ? 1 : STRING_BUDGET);

	if (status == EM_FAULT && is_access_fault(&t->fault.trap) && ram_has_moved(moves))
		status = EM_RETRY;
	if (status != EM_OK) {
		refuse(t, status);
		return;
	}
	regmap__context_store(&t->cpu, t->uc, true);
	if (step_ends_here)
		single_step(t);
	else if (!step && !t->patched)
		regmap__patch_heat(t->rip, t->plan, (uintptr_t)t->info->si_addr);
	regmap__context_store_segments(&t->cpu); /* the last act: see context.h */
}

/*
 * Inside an rseq critical section RIP has moved on to the abort handler, which begins behind a
 * signature: rseq(2). It starts the section over, and so the access.
 */
static bool is_rseq_abort(const struct trap *t)
{
	static const uint32_t signature = 0x53053053;
	const void *before = (const void *)(uintptr_t)(t->rip - sizeof(signature));

	return t->raised.number == TRAP_PAGE && regmap__window_meets(faulting_byte(t).address, 1) &&
	       !regmap__guard_compare(before, &signature, sizeof(signature));
}

static bool is_canonical(uint64_t address)
{
	return (uint64_t)((int64_t)(address << 7) >> 7) == address;
}

/*
 * Not canonical, or not aligned. 57 bits count; on machines with 48, some faults are tried again to
 * no avail.
 */
OWN_FRAME static bool could_be_general_protection(const struct trap *t)
{
	unsigned align = t->plan->align ? t->plan->align : 1;
	struct em_footprint footprint;

	find_footprint(t, &footprint);
	for (unsigned i = 0; i < footprint.count; i++)
		if (!is_canonical(footprint.range[i].address) || footprint.range[i].address % align)
			return true;
	return footprint.count == 0;
}

/*
 * The access was that of other code, which was here a moment ago: the byte that faulted lies in a
 * window, but what is here now doesn't touch it (or can't be read at all). Or the fault has no
 * address, and what is here now would have had one.
 */
static bool was_of_other_code(const struct trap *t)
{
	if (t->raised.number != TRAP_PAGE)
		return t->plan->length && !could_be_general_protection(t);
	return regmap__window_meets(faulting_byte(t).address, 1);
}

/* Of one thread, as a rule: how often the same fault was left to be tried again. */
static struct {
	_Atomic uint64_t key;
	_Atomic unsigned count;
} again[AGAIN];

static uint64_t key_of(const struct trap *t)
{
	uint64_t key = t->rip ^ (uintptr_t)t->info->si_addr;

	for (unsigned i = 0; i < 16; i++)
		key = (key ^ t->cpu.gpr[i]) * 0x9e3779b97f4a7c15;
	return key;
}

/*
 * The new code gets its chance. If nothing comes of that, again and again, we don't understand what
 * is going on, and the program had better get its signal.
 */
static bool try_again(const struct trap *t)
{
	unsigned most = t->raised.number == TRAP_PAGE ? 10000 : 100;
	unsigned slot = (unsigned)(regmap__thread_key() * 0x9e3779b97f4a7c15 >> 58) % AGAIN;
	uint64_t key = key_of(t);

	if (!was_of_other_code(t))
		return false;
	if (atomic_exchange(&again[slot].key, key) != key)
		atomic_store(&again[slot].count, 0);
	return atomic_fetch_add(&again[slot].count, 1) < most;
}

static bool handle_planned(struct trap *t, enum em_status planned, uint8_t *legacy)
{
	regmap__context_load(&t->cpu, t->uc, legacy);
	if (planned == EM_RETRY)
		return try_again(t);
	if (!claims(t))
		return is_rseq_abort(t) || try_again(t);
	if (planned == EM_OK) {
		remember(t);
		carry_out(t);
		return true;
	}
	memset(&t->fault, 0, sizeof(t->fault));
	t->fault.reason = t->plan->refusal;
	refuse(t, EM_UNIMPLEMENTED);
	return true;
}

/*
 * Most integer instructions need neither a copy of the registers nor a footprint: see "make bench"
 * for what that saves.
 */
static enum quick on_general_registers(struct trap *t, struct quick_failure *failure)
{
	struct cpu_regs regs = regmap__context_regs(t->uc);
	uint64_t address, fault = (uintptr_t)t->info->si_addr;

	if (t->raised.number != TRAP_PAGE || !em_quick_address(t->plan, &regs, t->rip, &address) ||
	    fault - address >= t->plan->size)
		return QUICK_NO;
	if (is_fresh(t) && regmap__window_meets(fault, 1))
		remember(t); /* not after it: a device's callback need not come back */
	return regmap__quick_at(t->plan, &regs, t->rip, address, 0, failure);
}

OWN_FRAME static void fail_quickly(struct trap *t, const struct quick_failure *failure)
{
	uint8_t legacy[XSAVE_LEGACY] __attribute__((aligned(64)));

	regmap__context_load(&t->cpu, t->uc, legacy);
	t->fault = failure->fault;
	refuse(t, failure->status);
}

OWN_FRAME static bool carry_out_quickly(struct trap *t)
{
	struct quick_failure failure;

	switch (on_general_registers(t, &failure)) {
	case QUICK_DONE:
		regmap__context_advance(t->uc, t->rip + t->plan->length);
		if (!t->patched)
			regmap__patch_heat(t->rip, t->plan, (uintptr_t)t->info->si_addr);
		return true;
	case QUICK_FAILED: fail_quickly(t, &failure); return true;
	default: return false;
	}
}

/* What a slot's call part has tried to do. */
OWN_FRAME static bool has_failed_already(struct trap *t)
{
	const struct cpu_regs regs = regmap__context_regs(t->uc);
	struct quick_failure failure;

	failure.status = regmap__hot_failure(t->rip, &regs, &failure.fault);
	if (failure.status != EM_OK)
		fail_quickly(t, &failure);
	return failure.status != EM_OK;
}

OWN_FRAME static bool handle_legacy(struct trap *t, enum em_status planned)
{
	uint8_t legacy[XSAVE_LEGACY] __attribute__((aligned(64)));

	return handle_planned(t, planned, legacy);
}

/* The site is a jump by now, or is about to be or not to be one. */
static bool is_patched_meanwhile(const struct trap *t)
{
	return regmap__patch_shows(t->rip, t->code, t->have);
}

/* In a child that can't change code, a register site may be halted for good. */
static void take_for_page_fault(struct trap *t, const struct plan *plan)
{
	const struct cpu_regs regs = regmap__context_regs(t->uc);
	uint64_t address;

	if (!em_quick_address(plan, &regs, t->rip, &address))
		return;
	t->plan = plan;
	t->raised.number = TRAP_PAGE;
	t->info->si_addr = (void *)(uintptr_t)address;
}

/* It was a HLT of ours, and the program is to go on where the context says. */
static bool is_halted(struct trap *t)
{
	const struct patch *patch;
	enum patch_halt halt = regmap__patch_halted(t->rip, &patch);

	if (halt == HALT_STAYS && patch->slot)
		regmap__context_advance(t->uc, patch->slot);
	else if (halt == HALT_STAYS)
		take_for_page_fault(t, patch->plan);
	return halt == HALT_AGAIN || (halt == HALT_STAYS && patch->slot);
}

/* How a site came here whose plan is known. */
enum known {
	UNKNOWN,
	REMEMBERED, /* the short way can't do it */
	PATCHED,    /* it faulted in its slot; its code shows our jump */
};

/* False: not ours. */
OWN_FRAME static bool handle(int signo, siginfo_t *info, void *ucontext, unsigned how,
                             const struct plan *plan, enum known known)
{
	struct trap t;
	enum em_status planned;

	t.signo = signo;
	t.how = how;
	t.info = info;
	t.uc = ucontext;
	t.plan = plan;
	regmap__context_get_trap(ucontext, &t.raised);
	if (!could_be_access(&t))
		return false;
	t.rip = regmap__context_rip(ucontext);
	/* from a slot: that is no HLT, but the access of an address that is none */
	if (known != PATCHED && t.raised.number == TRAP_GP && is_halted(&t))
		return true;
	t.patched = known == PATCHED;
	planned = find_plan(&t);
	if (is_fresh(&t) && is_patched_meanwhile(&t))
		return true;
	if (t.patched && has_failed_already(&t))
		return true;
	if (known != REMEMBERED && planned == EM_OK && carry_out_quickly(&t))
		return true;
	if (regmap__context_has_header(ucontext))
		return handle_planned(&t, planned, NULL);
	return handle_legacy(&t, planned);
}

OWN_FRAME static void fail(int signo, siginfo_t *info, void *ucontext, unsigned how,
                           const struct plan *plan, const struct quick_failure *failure)
{
	struct trap t = {.signo = signo, .how = how, .info = info, .uc = ucontext, .plan = plan};

	t.rip = regmap__context_rip(ucontext);
	regmap__context_get_trap(ucontext, &t.raised);
	fail_quickly(&t, failure);
}

static inline enum quick express_vector(const struct plan *plan, const struct cpu_regs *regs,
                                        void *ucontext, uint64_t rip, uint64_t at,
                                        struct quick_failure *failure)
{
	uint64_t address, xfeatures;
	uint8_t *xsave = regmap__context_vector(ucontext, &xfeatures);

	if (!xsave || !regmap__em_quick_native_address(plan, regs, rip, &address) ||
	    at - address >= plan->size)
		return QUICK_NO;
	return regmap__quick_vector(plan, regs, rip, address, xsave, xfeatures, failure);
}

static inline enum quick express_integer(const struct plan *plan, const struct cpu_regs *regs,
                                         uint64_t rip, uint64_t at, unsigned how,
                                         struct quick_failure *failure)
{
	uint64_t address;

	if (!em_quick_address(plan, regs, rip, &address) || at - address >= plan->size)
		return QUICK_NO;
	return regmap__quick_at(plan, regs, rip, address, how & CHAIN_FORWARDED ? 0 : QUICK_RETURNS,
	                        failure);
}

/*
 * The short way of a site that is remembered. Between two accesses the kernel's code has been all
 * over the caches: each line, each call and each locked operation less is felt here.
 */
static inline bool express(int signo, siginfo_t *info, void *ucontext, unsigned how,
                           const struct plan **found)
{
	uint64_t rip, at = (uintptr_t)info->si_addr;
	struct quick_failure failure;
	struct cpu_regs regs;
	struct cpu_trap raised;
	const struct plan *plan;
	unsigned changes;
	enum quick quick;

	regmap__context_get_trap(ucontext, &raised);
	if ((signo != SIGSEGV && signo != SIGBUS) || raised.number != TRAP_PAGE ||
	    raised.error & PF_FETCH)
		return false;
	rip = regmap__context_rip(ucontext);
	*found = plan = remembered(rip);
	if (!plan)
		return false;
	regs = regmap__context_regs(ucontext);
	changes = regmap__stacks_changes();
	if (plan->kind == EM_NATIVE)
		quick = express_vector(plan, &regs, ucontext, rip, at, &failure);
	else if (plan->kind == EM_STRING)
		quick = regmap__quick_string(plan, &regs, rip, at);
	else
		quick = express_integer(plan, &regs, rip, at, how, &failure);
	if (regmap__stacks_changes() != changes) /* by a device's callback */
		regmap__stacks_keep_change(ucontext);
	switch (quick) {
	case QUICK_DONE:
		regmap__context_advance(ucontext, rip + plan->length);
		regmap__patch_heat(rip, plan, at);
		return true;
	case QUICK_PART: return true;
	case QUICK_FAILED: fail(signo, info, ucontext, how, plan, &failure); return true;
	default: return false;
	}
}

/*
 * False: not ours. A device's callback may have changed the alternate
 * stack.
 */
static bool emulate(int signo, siginfo_t *info, void *ucontext, unsigned how,
                    const struct plan *plan, enum known known)
{
	unsigned changes = regmap__stacks_changes();

	if (!(signo == SIGSYS ? regmap__syscalls_signal(info, ucontext) :
	                        handle(signo, info, ucontext, how, plan, known)))
		return false;
	if (regmap__stacks_changes() != changes)
		regmap__stacks_keep_change(ucontext);
	return true;
}

/* Not ours: where it was going, as far as that can be known. Length 0: nowhere in particular. */

/* Faults of addresses that are none have no si_addr: the footprint has them. */
static struct em_range stray_range(const struct trap *t)
{
	uint64_t address = (uintptr_t)t->info->si_addr;
	bool known = t->raised.number == TRAP_PAGE;
	struct em_footprint footprint;

	if (known && t->raised.error & PF_FETCH)
		return (struct em_range){.address = address, .length = 1};
	find_footprint(t, &footprint);
	for (unsigned i = 0; i < footprint.count; i++) {
		const struct em_range *range = &footprint.range[i];

		if (known ? in_range(range, address) : !is_canonical(range->address))
			return *range;
	}
	return known ? faulting_byte(t) : (struct em_range){.length = 0};
}

OWN_FRAME static void report_stray_range(struct trap *t, struct em_range range)
{
	struct report r = {
		.status = EM_FAULT,
		.fault = &t->fault,
		.range = range,
		.cpu = &t->cpu,
		.bytes = t->plan->length ? t->plan->bytes : t->code,
		.length = t->plan->length ? t->plan->length : t->have,
		.signo = t->signo,
		.stray = true,
		.ucontext = t->uc,
	};

	memset(&t->fault, 0, sizeof(t->fault));
	t->fault.reason = range.access ? "nothing is there" : "that is not code";
	regmap__report(&r);
}

OWN_FRAME static void look_at_stray(int signo, siginfo_t *info, void *ucontext)
{
	uint8_t legacy[XSAVE_LEGACY] __attribute__((aligned(64)));
	struct em_range range;
	struct trap t;

	memset(&t, 0, sizeof(t));
	t.signo = signo;
	t.info = info;
	t.uc = ucontext;
	t.rip = regmap__context_rip(ucontext);
	regmap__context_get_trap(ucontext, &t.raised);
	if (t.raised.number == TRAP_PAGE && t.raised.error & PF_FETCH)
		t.plan = &t.decoded;
	else
		find_plan(&t);
	regmap__context_load(&t.cpu, ucontext, legacy);
	range = stray_range(&t);
	if (!range.length || !regmap__stray_is_news(t.rip, range.address, signo))
		return;
	regmap__stray_note(t.rip, &range);
	report_stray_range(&t, range);
}

static inline bool could_be_stray(int signo, const siginfo_t *info)
{
	return stray_expert() && info->si_code > 0 && (signo == SIGSEGV || signo == SIGBUS);
}

OWN_FRAME static void receive(int signo, siginfo_t *info, void *ucontext, unsigned how,
                              const struct plan *plan)
{
	enum known known = plan ? REMEMBERED : UNKNOWN;
	const struct plan *of_slot;

	regmap__fork_notice();
	if (regmap__hot_roll(signo, info, ucontext, &of_slot) == HOT_PAST && info->si_code > 0)
		return;
	if (of_slot) {
		plan = of_slot;
		known = PATCHED;
	}
	if (info->si_code > 0) {
		if (regmap__guard_fixup(signo, info, ucontext))
			return;
		if (signo != SIGSYS)
			regmap__report_escape();
		if (emulate(signo, info, ucontext, how, plan, known))
			return;
	} else if (regmap__stacks_answer(info, ucontext)) {
		return;
	}
	if (stands_for(signo) && info->si_code <= 0 &&
	    regmap__others_put_off(signo, info, ucontext))
		return;
	if (could_be_stray(signo, info))
		look_at_stray(signo, info, ucontext);
	regmap__chain_deliver(signo, info, ucontext, signo == SIGSYS ? how : how | CHAIN_REFAULTS);
	if (signo == SIGSYS && info->si_code <= 0)
		regmap__syscalls_sent(ucontext);
}

/* No site that is remembered lies in a guarded routine, so those need not be asked before. */
static inline void receive_quickly(int signo, siginfo_t *info, void *ucontext, unsigned how)
{
	const struct plan *plan = NULL;

	if (regmap__stacks_enabled() && info->si_code > 0 && signo != SIGSYS)
		regmap__stacks_give(ucontext);
	if (info->si_code <= 0 || !report_is_idle() || !express(signo, info, ucontext, how, &plan))
		receive(signo, info, ucontext, how, plan);
}

void regmap__trap_signal(int signo, void *info, void *ucontext)
{
	uint64_t kept;

	if (__builtin_return_address(0) == (void *)regmap__restore_rt) {
		receive_quickly(signo, info, ucontext, 0);
		return;
	}
	regmap__chain_forwarded_begin(ucontext, &kept);
	receive_quickly(signo, info, ucontext, CHAIN_FORWARDED);
	regmap__chain_forwarded_end(ucontext, &kept);
}

int regmap__trap_install(void)
{
	static bool ready;

	if (!ready)
		regmap__report_init();
	ready = true;
	return regmap__chain_install();
}
