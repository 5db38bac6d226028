/* SPDX-License-Identifier: MIT */
/*
 * Code memory: the same memory mapped twice, writable here and executable there. Stubs are found by
 * their content and never change once published, so readers need no lock. When they are used up, a
 * few more are lent for one execution each.
 *
 * It is shared with a child after fork(), which must not append to its parent's: the index lives in
 * memory that a fork wipes, and whoever finds it wiped, and needs a new stub, puts a copy of the code
 * memory in the place of the old. Stubs stay where they are: one may be running, if the fork came
 * from a signal handler. None comes while a stub is written or lent: in that child, too, it would go on
 * as if the memory were its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "native.h"
#include "syscall.h"
#include "thread.h"

#include "sigsafe.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif

enum {
	PAGE = 4096,
	STUB_SIZE = 32, /* ENDBR64, at most 15 bytes, RET; the length in the last byte */
	STUBS = 1 << 15,
	LENT = 64, /* one-way stubs, behind the ones that are remembered */
	INDEX = STUBS * 2,
	CODE_SIZE = STUB_SIZE * (STUBS + LENT),
	STUB_LENGTH = STUB_SIZE - 1,
	RET = 0xc3,
};

enum { WIPED, BEING_LAID, READY };

static const uint8_t endbr64[NATIVE_STUB_ENTRY] = {0xf3, 0x0f, 0x1e, 0xfa};

/* Wiped by fork. */
struct code_index {
	atomic_uint state;
	atomic_uint slot[INDEX]; /* stub number + 1; 0 free */
};

/* Inherited: what the forking thread was about to do with a stub, it may still do in the child. */
static struct {
	uint8_t *writable, *executable;
	struct code_index *index;
	atomic_uint used;
	_Atomic uint64_t lent[LENT]; /* to a thread; 0: not */
	uint64_t mask[LENT];         /* its signal mask before */
} code;

/* By ourselves: libc's functions would set errno, wherever FS points to. */
static bool failed(long result)
{
	return result < 0 && result > -PAGE;
}

static long map(size_t size, int protection, int flags, long fd)
{
	return sys_call6(SYS_mmap, 0, (long)size, protection, flags, fd, 0);
}

static void unmap(long at, size_t size)
{
	sys_call(SYS_munmap, at, (long)size, 0, 0);
}

static long code_fd(void)
{
	static const char name[] = "regmap-code";
	const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	long fd = sys_call(SYS_memfd_create, (long)name, flags | MFD_EXEC, 0, 0);

	if (fd == -EINVAL)
		fd = sys_call(SYS_memfd_create, (long)name, flags, 0, 0);
	if (fd >= 0 && sys_call(SYS_ftruncate, fd, CODE_SIZE, 0, 0)) {
		sys_call(SYS_close, fd, 0, 0, 0);
		return -1;
	}
	return fd;
}

/*
 * The one view that is writable by now remains the only one: what is mapped later, by whomever, can
 * never be made so. A kernel before 5.1 does without.
 */
static void seal(long fd)
{
	sys_call(SYS_fcntl, fd, F_ADD_SEALS,
	         F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, 0);
}

/* Executable, and never both: the two views have no right in common but to be read. */
static long second_view(long fd, long first)
{
	long x, err;

	if (fd >= 0)
		return map(CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd);
	x = sys_call(SYS_mremap, first, 0, CODE_SIZE, MREMAP_MAYMOVE);
	if (failed(x))
		return x;
	err = sys_call(SYS_mprotect, x, CODE_SIZE, PROT_READ | PROT_EXEC, 0);
	if (!err)
		return x;
	unmap(x, CODE_SIZE);
	return err;
}

/*
 * 0 or -errno. Anonymous memory where there is no file descriptor left, or the system forbids that
 * kind.
 */
static long new_views(long *w, long *x)
{
	long fd = code_fd();
	int anonymous = fd < 0 ? MAP_ANONYMOUS : 0;

	*w = map(CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | anonymous, fd);
	if (fd >= 0)
		seal(fd);
	*x = failed(*w) ? *w : second_view(fd, *w);
	if (fd >= 0)
		sys_call(SYS_close, fd, 0, 0, 0);
	if (failed(*x) && !failed(*w))
		unmap(*w, CODE_SIZE);
	return failed(*x) ? *x : 0;
}

static long begin(long index)
{
	long w, x, err = sys_call(SYS_madvise, index, sizeof *code.index, MADV_WIPEONFORK, 0);

	if (!err)
		err = new_views(&w, &x);
	if (err)
		return err;
	code.writable = (uint8_t *)w;
	code.executable = (uint8_t *)x;
	code.index = (struct code_index *)index;
	atomic_store(&code.index->state, READY);
	return 0;
}

int regmap__code_init(void)
{
	long index, err;

	if (code.index)
		return 0;
	index = map(sizeof *code.index, PROT_READ | PROT_WRITE,
	            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	if (failed(index))
		return (int)index;
	err = begin(index);
	if (err)
		unmap(index, sizeof *code.index);
	return (int)err;
}

static uint32_t hash(const uint8_t *bytes, size_t length)
{
	uint32_t h = 2166136261u;

	while (length--)
		h = (h ^ *bytes++) * 16777619u;
	return h;
}

/* Whole, and so published or about to be; a thread that a child doesn't have may have left half a one. */
static bool is_stub(const uint8_t *s)
{
	size_t length = s[STUB_LENGTH];

	return length > 0 && length < STUB_LENGTH - NATIVE_STUB_ENTRY &&
	       s[NATIVE_STUB_ENTRY + length] == RET && !memcmp(s, endbr64, NATIVE_STUB_ENTRY);
}

static unsigned used(void)
{
	unsigned n = atomic_load_explicit(&code.used, memory_order_relaxed);

	return n < STUBS ? n : STUBS;
}

static void find_stubs(void)
{
	for (unsigned stub = 0; stub < used(); stub++) {
		const uint8_t *s = code.writable + (size_t)stub * STUB_SIZE;
		uint32_t i = hash(s + NATIVE_STUB_ENTRY, s[STUB_LENGTH]);

		if (!is_stub(s))
			continue;
		while (atomic_load(&code.index->slot[i % INDEX]))
			i++;
		atomic_store(&code.index->slot[i % INDEX], stub + 1);
	}
}

static void take_back_from_others(void)
{
	for (unsigned i = 0; i < LENT; i++)
		if (atomic_load(&code.lent[i]) != regmap__thread_key())
			atomic_store(&code.lent[i], 0);
}

/* @from replaces what is at @to in one go: threads may be running there. */
static bool put_in_place(long from, const void *to)
{
	if (sys_call6(SYS_mremap, from, CODE_SIZE, CODE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
	              (long)to, 0) == (long)to)
		return true;
	unmap(from, CODE_SIZE);
	return false;
}

/* A copy in the place of what is the parent's. Where it fails, all that there is goes on working. */
static bool lay(void)
{
	const size_t lent = (size_t)STUBS * STUB_SIZE;
	uint8_t *to;
	long w, x;

	if (new_views(&w, &x))
		return false;
	to = (uint8_t *)w;
	memcpy(to, code.executable, (size_t)used() * STUB_SIZE);
	memcpy(to + lent, code.executable + lent, (size_t)LENT * STUB_SIZE);
	if (!put_in_place(w, code.writable)) {
		unmap(x, CODE_SIZE);
		return false;
	}
	return put_in_place(x, code.executable);
}

/*
 * In a child, once. Threads that come second wait; no signal handler comes in between to wait for
 * its own thread.
 */
static bool make_own(void)
{
	const uint64_t all = ~0ULL;
	unsigned state = WIPED;
	uint64_t mask;
	bool laid = false;

	sys_sigmask(SIG_SETMASK, &all, &mask);
	if (atomic_compare_exchange_strong(&code.index->state, &state, BEING_LAID)) {
		laid = lay();
		if (laid) {
			find_stubs();
			take_back_from_others();
		}
		atomic_store_explicit(&code.index->state, laid ? READY : WIPED,
		                      memory_order_release);
	}
	while ((state = atomic_load_explicit(&code.index->state, memory_order_acquire)) ==
	       BEING_LAID)
		sys_call(SYS_sched_yield, 0, 0, 0, 0);
	sys_sigmask(SIG_SETMASK, &mask, NULL);
	return state == READY;
}

static bool ready(void)
{
	return atomic_load_explicit(&code.index->state, memory_order_acquire) == READY ||
	       make_own();
}

bool regmap__code_contains(uint64_t rip)
{
	return code.executable && rip - (uintptr_t)code.executable < CODE_SIZE;
}

static bool same(unsigned stub, const uint8_t *bytes, size_t length)
{
	const uint8_t *s = code.writable + (size_t)stub * STUB_SIZE;

	return s[STUB_LENGTH] == length && !memcmp(s + NATIVE_STUB_ENTRY, bytes, length);
}

static void write_stub(unsigned stub, const uint8_t *bytes, size_t length)
{
	uint8_t *s = code.writable + (size_t)stub * STUB_SIZE;

	memcpy(s, endbr64, NATIVE_STUB_ENTRY);
	memcpy(s + NATIVE_STUB_ENTRY, bytes, length);
	s[NATIVE_STUB_ENTRY + length] = RET;
	s[STUB_LENGTH] = (uint8_t)length;
}

static const void *address(unsigned stub)
{
	return code.executable + (size_t)stub * STUB_SIZE;
}

static uint64_t hold_signals(void)
{
	const uint64_t block = ~SYNCHRONOUS;
	uint64_t before;

	sys_sigmask(SIG_BLOCK, &block, &before);
	return before;
}

static void let_signals(uint64_t before)
{
	sys_sigmask(SIG_SETMASK, &before, NULL);
}

/*
 * Fresh memory that no core has fetched from needs no serialising instruction; the ones that did
 * not write it see it through coherent caches. STUBS: there is none left.
 */
static unsigned add_stub(const uint8_t *bytes, size_t length)
{
	unsigned fresh = used() < STUBS ? atomic_fetch_add(&code.used, 1) : STUBS;

	if (fresh >= STUBS)
		return STUBS;
	write_stub(fresh, bytes, length);
	return fresh;
}

static const void *find(const uint8_t *bytes, size_t length, bool or_make)
{
	unsigned fresh = STUBS;

	for (uint32_t i = hash(bytes, length), n = 0; n < INDEX; i++, n++) {
		atomic_uint *slot = &code.index->slot[i % INDEX];
		unsigned found = atomic_load_explicit(slot, memory_order_acquire);

		if (!found && fresh == STUBS && or_make)
			fresh = add_stub(bytes, length);
		if (!found && fresh == STUBS)
			return NULL;
		if (!found && atomic_compare_exchange_strong(slot, &found, fresh + 1))
			return address(fresh);
		if (same(found - 1, bytes, length))
			return address(found - 1);
	}
	return NULL;
}

const void *regmap__code_stub(const uint8_t *bytes, size_t length)
{
	const void *stub;
	uint64_t mask;

	if (!code.index)
		return NULL;
	stub = find(bytes, length, false);
	if (stub)
		return stub;
	mask = hold_signals();
	if (ready())
		stub = find(bytes, length, true);
	let_signals(mask);
	return stub;
}

static unsigned claim(void)
{
	for (unsigned i = 0; i < LENT; i++) {
		uint64_t nobody = 0;

		if (atomic_compare_exchange_strong(&code.lent[i], &nobody, regmap__thread_key()))
			return i;
	}
	return LENT;
}

/*
 * A lent stub held other code before, which this core may have fetched: SDM vol. 3, 9.1.3 asks for
 * a serialising instruction. Nobody else runs it meanwhile.
 */
const void *regmap__code_borrow(const uint8_t *bytes, size_t length)
{
	unsigned i = LENT;
	uint64_t mask;

	if (!code.index)
		return NULL;
	mask = hold_signals();
	if (ready())
		i = claim();
	if (i == LENT) {
		let_signals(mask);
		return NULL;
	}
	code.mask[i] = mask;
	write_stub(STUBS + i, bytes, length);
	regmap__serialize();
	return address(STUBS + i);
}

void regmap__code_give_back(const void *stub)
{
	size_t i = (size_t)((const uint8_t *)stub - code.executable) / STUB_SIZE;
	uint64_t mask;

	if (i < STUBS)
		return;
	mask = code.mask[i - STUBS];
	atomic_store(&code.lent[i - STUBS], 0);
	let_signals(mask);
}
