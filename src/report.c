/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>

#include "../arch/x86_64/context.h"
#include "../arch/x86_64/syscall.h"
#include "frames.h"
#include "hidden.h"
#include "report.h"
#include "stray.h"
#include "text.h"
#include "window.h"

enum { BUFFER = 12288, LABEL = 15, BYTES_COLUMN = 58, PATIENCE = 100, WALK = 12288 };

static bool silent;
static size_t stack_needed; /* for the unwinder, and a signal if it faults */

/* All of these belong to the thread whose id is in owner. */
atomic_int regmap__report_owner;
static char buffer[BUFFER];
static struct frame frames[FRAMES];
static unsigned frame_count;
static const char *obstacle; /* why there are no more frames */
static void *escape[5];      /* of __builtin_setjmp */
static bool escapable;
static bool unwinder_failed; /* it may hold its locks: never again */

void regmap__report_init(void)
{
	const char *wish = getenv("REGMAP_REPORT");

	silent = wish && !strcmp(wish, "0");
	stack_needed = WALK + getauxval(AT_MINSIGSTKSZ);
	if (!silent)
		regmap__frames_init();
}

#include "sigsafe.h"

static int thread_id(void)
{
	return (int)sys_call(SYS_gettid, 0, 0, 0, 0);
}

/* Where */

/* Why libunwind had better not be asked; NULL: it may. */
static const char *no_unwinding(const struct report *r)
{
	if (!regmap__tls_works())
		return "the FS base is not libc's";
	if (regmap__context_stack_left(r->ucontext, &r) < stack_needed)
		return "the alternate signal stack is too small: 64 KB would do";
	if (unwinder_failed)
		return "the unwinder faulted";
	return NULL;
}

/* A fault in the unwinder ends the walk, not the report. */
static void find_frames(const struct report *r)
{
	obstacle = no_unwinding(r);
	frame_count = 0;
	if (!obstacle && !__builtin_setjmp(escape)) {
		unwinder_failed = escapable = true;
		frame_count = regmap__frames_walk(r->ucontext, frames, FRAMES);
		unwinder_failed = escapable = false;
	}
	escapable = false;
	if (unwinder_failed)
		obstacle = "the unwinder faulted";
	if (!frame_count) {
		memset(&frames[0], 0, sizeof(frames[0]));
		frames[0].ip = r->cpu->rip;
		frame_count = 1;
	}
	regmap__frames_name_modules(frames, frame_count);
}

/* What went wrong */

static const char *direction(unsigned access)
{
	switch (access & (EM_READ | EM_WRITE)) {
	case EM_READ: return "read";
	case EM_WRITE: return "write";
	case 0: return "execution";
	}
	return "read and write";
}

/* glibc 2.32 has a table of constant strings; others get to see what devices mostly return. */
#ifdef __GLIBC_PREREQ
#define HAS_ERROR_NAMES __GLIBC_PREREQ(2, 32)
#endif

#if HAS_ERROR_NAMES

static const char *error_name(int error, const char **sentence)
{
	*sentence = strerrordesc_np(error);
	return strerrorname_np(error);
}

#else

static const char *error_name(int error, const char **sentence)
{
	static const struct {
		int error;
		const char *name, *sentence;
	} errors[] = {
		{EPERM, "EPERM", "Operation not permitted"},
		{ENOENT, "ENOENT", "No such file or directory"},
		{EIO, "EIO", "Input/output error"},
		{ENXIO, "ENXIO", "No such device or address"},
		{EAGAIN, "EAGAIN", "Resource temporarily unavailable"},
		{ENOMEM, "ENOMEM", "Cannot allocate memory"},
		{EACCES, "EACCES", "Permission denied"},
		{EFAULT, "EFAULT", "Bad address"},
		{EBUSY, "EBUSY", "Device or resource busy"},
		{ENODEV, "ENODEV", "No such device"},
		{EINVAL, "EINVAL", "Invalid argument"},
		{EROFS, "EROFS", "Read-only file system"},
		{ERANGE, "ERANGE", "Numerical result out of range"},
		{ENOSYS, "ENOSYS", "Function not implemented"},
		{ELOOP, "ELOOP", "Too many levels of symbolic links"},
		{EOPNOTSUPP, "EOPNOTSUPP", "Operation not supported"},
		{ETIMEDOUT, "ETIMEDOUT", "Connection timed out"},
	};

	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errors[i].error == error) {
			*sentence = errors[i].sentence;
			return errors[i].name;
		}
	*sentence = "see errno(3)";
	return NULL;
}

#endif

static void put_error(struct text *t, int error)
{
	const char *sentence, *name = error_name(-error, &sentence);

	put(t, name ? "-" : "error ");
	if (name)
		put(t, name);
	else
		put_decimal(t, (unsigned)-error);
	put(t, " (");
	put(t, sentence ? sentence : "no errno value");
	put(t, ")");
}

static bool lies_in_a_window(const struct em_range *range)
{
	struct window_info near[2];

	return regmap__window_near(range->address, near) && near[0].inside &&
	       near[0].last - range->address >= range->length - 1;
}

/* An exception of silicon's, and what to do about it. */
static const char *fault_reason(const struct report *r, const char **advice)
{
	*advice = "align the access, or clear RFLAGS.AC";
	if (r->fault->trap.number == TRAP_ALIGNMENT)
		return "it is misaligned, and RFLAGS.AC forbids that";
	*advice =
		"check the pointer's type and the window's length; vector code (strlen, memcpy) reads "
		"whole blocks, so give it windows of whole pages";
	if (!lies_in_a_window(&r->range))
		return "part of it lies in no window and in no mapped memory";
	*advice =
		"the host memory must be there as long as the window is: see what is mapped there now";
	if (r->fault->trap.number == TRAP_PAGE)
		return "the memory behind the window can't be accessed";
	*advice =
		"look for a misaligned pointer (MOVAPS and its kin want alignment); a far branch wants "
		"a valid selector, XRSTOR a valid area";
	return "the instruction itself objects (#GP)";
}

static void put_reason(struct text *t, const struct report *r)
{
	const char *advice;

	if (r->fault->reason)
		put(t, r->fault->reason);
	else if (r->status == EM_UNIMPLEMENTED)
		put(t, "this instruction can't be carried out");
	else if (r->status == EM_FAULT)
		put(t, fault_reason(r, &advice));
	else
		put(t, "the window refuses it");
	if (r->status == EM_DENIED && r->fault->error) {
		put(t, ": ");
		put_error(t, r->fault->error);
	}
}

static void put_headline(struct text *t, const struct report *r)
{
	put(t, "\nregmap: ");
	put(t, direction(r->range.access));
	put(t, " of ");
	put_decimal(t, r->range.length);
	put(t, r->range.length == 1 ? " byte at " : " bytes at ");
	put_address(t, r->range.address);
	put(t, ": ");
	put_reason(t, r);
	put(t, "\n\n");
}

/* The block of facts */

static const char *label(struct text *t, const char *name)
{
	const char *line = t->at;

	put(t, "  ");
	put(t, name);
	put_column(t, line, LABEL);
	return line;
}

/* False: nothing that Zydis knows. */
static bool format(const struct report *r, char *words, size_t size)
{
	struct kept_fs kept;
	size_t length;

	if (!r->length)
		return false;
	regmap__canary_lend(&kept);
	length = regmap__em_format(r->bytes, r->length, r->cpu->rip, words, size);
	regmap__canary_take_back(&kept);
	return length;
}

static void put_instruction(struct text *t, const struct report *r)
{
	const char *line = label(t, "instruction");
	char words[128];

	put(t, format(r, words, sizeof(words)) ? words : "(not one that libregmap knows)");
	put_column(t, line, BYTES_COLUMN);
	put_char(t, '|');
	for (unsigned i = 0; i < r->length; i++) {
		put_char(t, ' ');
		put_number(t, r->bytes[i], 16, 2);
	}
	put_char(t, '\n');
}

static void put_place(struct text *t, const struct frame *frame)
{
	put(t, frame->symbol[0] ? frame->symbol : "?");
	if (frame->symbol[0]) {
		put_char(t, '+');
		put_hex(t, frame->offset);
	}
	if (frame->module[0]) {
		put(t, " (");
		put(t, frame->module);
		put_char(t, '+');
		put_hex(t, frame->ip - frame->base);
		put_char(t, ')');
	}
}

static const char *rights(unsigned access)
{
	static const char *const words[] = {"no access", "read-only", "write-only", "read-write"};

	return words[access & 3];
}

static void put_window(struct text *t, const struct window_info *w, uint64_t address)
{
	put_char(t, '"');
	put(t, w->name);
	put(t, "\" ");
	put_address(t, w->guest);
	put(t, "..");
	put_address(t, w->last);
	put(t, ", ");
	put(t, rights(w->access));
	put_char(t, ' ');
	put(t, w->backing);
	if (w->inside) {
		put(t, "; offset ");
		put_hex(t, address - w->guest);
	} else if (address > w->last) {
		put(t, "; ended ");
		put_hex(t, address - w->last);
		put(t, " below");
	} else {
		put(t, "; begins ");
		put_hex(t, w->guest - address);
		put(t, " above");
	}
	put_char(t, '\n');
}

static void put_windows(struct text *t, uint64_t address)
{
	struct window_info near[2];
	unsigned count = regmap__window_near(address, near);

	if (!count || !near[0].inside) {
		label(t, "window");
		put(t, "none here\n");
	}
	for (unsigned i = 0; i < count; i++) {
		label(t, near[i].inside ? "window" : "nearest");
		put_window(t, &near[i], address);
	}
}

/* What somebody who knows more says of the address. */
static void put_expertise(struct text *t, uint64_t address)
{
	const struct stray_expert *expert = stray_expert();
	char words[256];

	if (!expert || !expert->describe || !expert->describe(address, words, sizeof(words)))
		return;
	label(t, expert->label);
	put(t, words);
	put_char(t, '\n');
}

static const char *signal_name(int signo)
{
	switch (signo) {
	case SIGSEGV: return "SIGSEGV";
	case SIGBUS: return "SIGBUS";
	}
	return "a signal";
}

static void put_consequence(struct text *t, const struct report *r)
{
	label(t, "the program");
	put(t, "gets ");
	put(t, signal_name(r->signo));
	put(t, " here, as from a bad address; registers and memory are as before\n");
}

static const char *advice(const struct report *r)
{
	struct window_info near[2];
	bool inside = regmap__window_near(r->range.address, near) && near[0].inside;
	const char *of_fault;

	if (r->stray && !(r->range.access & (EM_READ | EM_WRITE)))
		return "code runs in ordinary memory only: look for the function pointer that leads here";
	if (r->stray)
		return "compare the address with what is mapped, and look where this code has it from";
	if (r->fault->reason == regmap__hidden_refusal)
		return "set the breakpoint on an instruction before it, or when it has run once; a hardware "
		       "breakpoint (hbreak) leaves the code as it is, as long as the debugger does";
	if (r->status == EM_UNIMPLEMENTED && !(regmap__em_tiers() & EM_TIER_NATIVE))
		return "run without REGMAP_NATIVE=0, where executable memory is allowed, or use plain loads "
		       "and stores here";
	if (r->status == EM_UNIMPLEMENTED)
		return "use plain loads and stores here, or report the bytes above as a bug of libregmap";
	if (r->status == EM_FAULT && fault_reason(r, &of_fault))
		return of_fault;
	if (inside && r->range.access & EM_WRITE && !(near[0].access & REGMAP_WRITE))
		return "map the window with REGMAP_WRITE, or find out why this code writes here";
	if (inside && r->range.access & EM_READ && !(near[0].access & REGMAP_READ))
		return "map the window with REGMAP_READ, or find out why this code reads here";
	if (r->fault->error && stray_expert())
		return "compare with the device's description: permissions, access widths, flash rules, "
		       "\"refuse\" rules; or look into the model that is attached there";
	if (r->fault->error)
		return "the error comes from the device's callback: look there for what it expects";
	return "compare the address with the windows that are mapped";
}

static void put_advice(struct text *t, const struct report *r)
{
	label(t, "what to do");
	put(t, advice(r));
	put(t, "\n\n");
}

static void put_flags(struct text *t, uint64_t flags)
{
	static const struct {
		uint32_t bit;
		char name[4];
	} names[] = {
		{CPU_CF, " CF"}, {CPU_PF, " PF"}, {CPU_AF, " AF"}, {CPU_ZF, " ZF"}, {CPU_SF, " SF"},
		{CPU_TF, " TF"}, {CPU_DF, " DF"}, {CPU_OF, " OF"}, {CPU_AC, " AC"},
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (flags & names[i].bit)
			put(t, names[i].name);
}

static void put_register(struct text *t, const char *name, uint64_t value)
{
	put(t, "  ");
	put(t, name);
	put_char(t, ' ');
	put_number(t, value, 16, 16);
}

static void put_registers(struct text *t, const struct cpu *cpu)
{
	static const char names[16][4] = {
		"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
		"r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15",
	};

	for (unsigned i = 0; i < 16; i++) {
		put_register(t, names[i], cpu->gpr[i]);
		if (i % 4 == 3)
			put_char(t, '\n');
	}
	put_register(t, "rip", cpu->rip);
	put_register(t, "fs ", cpu->fs_base);
	put_register(t, "gs ", cpu->gs_base);
	put_register(t, "flg", cpu->rflags);
	put_flags(t, cpu->rflags);
	put(t, "\n\n");
}

static void put_backtrace(struct text *t)
{
	for (unsigned i = 0; i < frame_count; i++) {
		put(t, i < 10 ? "   #" : "  #");
		put_decimal(t, i);
		put(t, "  ");
		put_address(t, frames[i].ip);
		put(t, "  ");
		put_place(t, &frames[i]);
		put_char(t, '\n');
	}
	if (obstacle) {
		put(t, "   (no further: ");
		put(t, obstacle);
		put(t, ")\n");
	}
}

static void compose(struct text *t, const struct report *r)
{
	put_headline(t, r);
	put_instruction(t, r);
	label(t, "in");
	put_place(t, &frames[0]);
	put_char(t, '\n');
	put_expertise(t, r->range.address);
	put_windows(t, r->range.address);
	put_consequence(t, r);
	put_advice(t, r);
	put_registers(t, r->cpu);
	put_backtrace(t);
	put(t, "\n  REGMAP_REPORT=0 in the environment turns these reports off.\n\n");
}

/* One thread at a time */

static void write_all(const char *from, const char *end)
{
	while (from < end) {
		long n = sys_call(SYS_write, 2, (long)from, end - from, 0);

		if (n <= 0 && n != -EINTR)
			return;
		from += n > 0 ? n : 0;
	}
}

/* False: another thread's report takes too long. */
static bool acquire(int me)
{
	const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
	int seen = 0;

	for (int i = 0; i < PATIENCE; i++, seen = 0) {
		if (atomic_compare_exchange_strong(&regmap__report_owner, &seen, me))
			return true;
		if (seen == me)
			return false;
		sys_call(SYS_nanosleep, (long)&pause, 0, 0, 0);
	}
	return false;
}

static void compose_and_write(const struct report *r)
{
	/* static: the longjmp must not lose it */
	static struct text text;

	text = (struct text){buffer, buffer + BUFFER};
	find_frames(r);
	if (!__builtin_setjmp(escape)) {
		escapable = true;
		compose(&text, r);
	} else {
		put(&text, "   (a fault in this report cut it short)\n\n");
	}
	escapable = false;
	write_all(buffer, text.at);
}

__attribute__((noinline)) static void report_with_libc(const struct report *r)
{
	int saved = errno;
	sigset_t all, mask;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &mask);
	compose_and_write(r);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	errno = saved;
}

static void write_short(const struct report *r)
{
	char line[256];
	struct text t = {line, line + sizeof(line)};

	put_headline(&t, r);
	write_all(line + 1, t.at - 1);
}

void regmap__report(const struct report *r)
{
	int me = thread_id();

	if (silent)
		return;
	if (!acquire(me)) {
		write_short(r);
		return;
	}
	if (regmap__tls_works())
		report_with_libc(r);
	else
		compose_and_write(r);
	atomic_store(&regmap__report_owner, 0);
}

void regmap__report_forget_others(void)
{
	atomic_store(&regmap__report_owner, 0);
}

__attribute__((noinline)) static void jump(void)
{
	__builtin_longjmp(escape, 1);
}

void regmap__report_escape(void)
{
	int who = atomic_load_explicit(&regmap__report_owner, memory_order_relaxed);

	if (who && who == thread_id() && escapable)
		jump();
}
