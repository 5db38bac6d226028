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
#include "../arch/x86_64/syscall.h"
#include "bus.h"
#include "chain.h"
#include "report.h"
#include "site.h"
#include "trap.h"
#include "window.h"

#include "sigsafe.h"

/*
 * Alternate stacks of 8 KB are common, and the kernel's frame takes half of that: what is big lives
 * no longer than it must, in functions that are not inlined.
 */
#define OWN_FRAME __attribute__((noinline))

/* Iterations of a REP string before signals get a chance. */
enum { PAGE = 4096, STRING_BUDGET = 1 << 20 };

struct trap {
	int signo;
	unsigned how; /* it came: chain.h */
	siginfo_t *info;
	void *uc;
	struct cpu_trap raised; /* number and error code of the exception */
	uint64_t rip;
	struct plan plan;
	uint8_t code[EM_MAX_LENGTH];
	unsigned have; /* bytes of code */
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

static bool fetch(uint64_t rip, uint8_t *to, size_t length)
{
	struct cpu_trap trap;

	return !regmap__guard_copy(to, (const void *)(uintptr_t)rip, length, &trap) ||
	       fetch_from_kernel(rip, to, length);
}

static enum em_status plan(struct trap *t)
{
	struct kept_fs kept;
	enum em_status status;

	regmap__canary_lend(&kept);
	status = regmap__em_plan(&t->plan, t->code, t->have, regmap__em_tiers());
	regmap__canary_take_back(&kept);
	return status;
}

/* Not beyond the page at first: the next one may not be there. */
static enum em_status decode(struct trap *t)
{
	uint64_t rip = t->rip;
	size_t room = PAGE - rip % PAGE;
	enum em_status status;

	t->have = room < EM_MAX_LENGTH ? (unsigned)room : EM_MAX_LENGTH;
	if (!fetch(rip, t->code, t->have)) {
		t->have = 0;
		return EM_RETRY;
	}
	status = plan(t);
	if (status != EM_RETRY || t->have == EM_MAX_LENGTH)
		return status;
	if (!fetch(rip + t->have, t->code + t->have, EM_MAX_LENGTH - t->have))
		return EM_RETRY;
	t->have = EM_MAX_LENGTH;
	return plan(t);
}

/* Execute-only text is fetched and compared. */
static bool unchanged(struct trap *t)
{
	int differs = regmap__guard_compare((const void *)(uintptr_t)t->rip, t->plan.bytes,
	                                    t->plan.length);

	if (differs < 0)
		return fetch(t->rip, t->code, t->have) && !memcmp(t->code, t->plan.bytes, t->have);
	memcpy(t->code, t->plan.bytes, sizeof(t->code));
	return !differs;
}

static bool remembered(struct trap *t)
{
	if (!regmap__site_find(t->rip, &t->plan))
		return false;
	t->have = t->plan.length;
	return unchanged(t);
}

static enum em_status find_plan(struct trap *t)
{
	enum em_status status;

	if (remembered(t))
		return EM_OK;
	status = decode(t);
	if (status == EM_OK)
		regmap__site_remember(t->rip, &t->plan);
	return status;
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
	regmap__em_footprint(&t->plan, &t->cpu, footprint);
	if (!t->plan.length && t->raised.number == TRAP_PAGE) {
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
	struct report r = {
		.status = status,
		.fault = &t->fault,
		.range = blamed_range(t),
		.cpu = &t->cpu,
		.bytes = t->code,
		.length = t->plan.length ? t->plan.length : t->have,
		.signo = signo,
		.ucontext = t->uc,
	};

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
	struct window_bus bus;

	regmap__window_bus_init(&bus);
	return regmap__em_execute(&t->plan, &t->cpu, &bus.bus, budget, &t->fault);
}

static void carry_out(struct trap *t)
{
	bool step = t->cpu.rflags & CPU_TF;
	enum em_status status = execute(t, step ? 1 : STRING_BUDGET);

	if (status != EM_OK) {
		refuse(t, status);
		return;
	}
	regmap__context_store(&t->cpu, t->uc, true);
	if (step)
		regmap__chain_single_step(t->uc);
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

static bool handle_planned(struct trap *t, enum em_status planned, uint8_t *legacy)
{
	regmap__context_load(&t->cpu, t->uc, legacy);
	if (planned == EM_RETRY)
		return false;
	if (!claims(t))
		return is_rseq_abort(t);
	if (planned == EM_OK) {
		carry_out(t);
		return true;
	}
	memset(&t->fault, 0, sizeof(t->fault));
	t->fault.reason = t->plan.refusal;
	refuse(t, EM_UNIMPLEMENTED);
	return true;
}

/*
 * Integer instructions on a window that is memory need neither a copy of the registers nor a
 * footprint: see "make bench" for what that saves.
 */
OWN_FRAME static bool carry_out_quickly(struct trap *t)
{
	struct cpu_regs regs = regmap__context_regs(t->uc);
	uint64_t address, fault = (uintptr_t)t->info->si_addr;
	struct access at;
	bool done;

	if (t->raised.number != TRAP_PAGE ||
	    !regmap__em_quick_address(&t->plan, &regs, t->rip, &address) ||
	    fault - address >= t->plan.size)
		return false;
	regmap__access_begin(&at, address, t->plan.size, t->plan.access & (EM_READ | EM_WRITE));
	done = at.window && at.host && at.length == t->plan.size &&
	       regmap__em_quick(&t->plan, &regs, at.host);
	regmap__access_end(&at);
	if (done)
		regmap__context_advance(t->uc, t->rip + t->plan.length);
	return done;
}

OWN_FRAME static bool handle_legacy(struct trap *t, enum em_status planned)
{
	uint8_t legacy[XSAVE_LEGACY] __attribute__((aligned(64)));

	return handle_planned(t, planned, legacy);
}

/* False: not ours. */
OWN_FRAME static bool handle(int signo, siginfo_t *info, void *ucontext, unsigned how)
{
	struct trap t;
	enum em_status planned;

	t.signo = signo;
	t.how = how;
	t.info = info;
	t.uc = ucontext;
	regmap__context_get_trap(ucontext, &t.raised);
	if (!could_be_access(&t))
		return false;
	t.rip = regmap__context_rip(ucontext);
	planned = find_plan(&t);
	if (planned == EM_OK && carry_out_quickly(&t))
		return true;
	if (regmap__context_has_header(ucontext))
		return handle_planned(&t, planned, NULL);
	return handle_legacy(&t, planned);
}

static void receive(int signo, siginfo_t *info, void *ucontext, unsigned how)
{
	if (info->si_code > 0) {
		if (regmap__guard_fixup(signo, info, ucontext))
			return;
		regmap__report_escape();
		if (handle(signo, info, ucontext, how))
			return;
	}
	regmap__chain_deliver(signo, info, ucontext, how | CHAIN_REFAULTS);
}

void regmap__trap_signal(int signo, void *info, void *ucontext)
{
	uint64_t kept;

	if (__builtin_return_address(0) == (void *)regmap__restore_rt) {
		receive(signo, info, ucontext, 0);
		return;
	}
	regmap__chain_forwarded_begin(ucontext, &kept);
	receive(signo, info, ucontext, CHAIN_FORWARDED);
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
