/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "reach.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "../arch/x86_64/context.h"
#include "../arch/x86_64/guard.h"
#include "../arch/x86_64/syscall.h"
#include "access.h"
#include "direct.h"
#include "window.h"

#include "sigsafe.h"

enum { PAGE = 4096, STRETCH = 256 };

/*
 * Mapped where the program sees it: memory wants it, here or behind an alias, and it is there. Not
 * what only reads find mapped, as the kernel would not hand a store to the device.
 */
static bool is_direct(const struct access *at, uint64_t address)
{
	struct cpu_trap trap;

	return at->host && regmap__direct_wanted(at->window) && !window_ops(at->window)->write &&
	       !regmap__guard_probe_read((const void *)(uintptr_t)address, at->length, &trap);
}

static bool is_ours(const struct access *at, uint64_t address)
{
	return at->window && !window_ops(at->window)->needs_cpu && !is_direct(at, address);
}

/* Looks up one stretch. Direct pages and others of one window are told apart page by page. */
static bool next(struct access *at, uint64_t address, size_t length, unsigned access)
{
	regmap__access_begin(at, address, length, access);
	if (at->window && regmap__direct_wanted(at->window)) {
		size_t page = PAGE - address % PAGE;

		at->length = at->length < page ? at->length : page;
	}
	return is_ours(at, address);
}

bool regmap__reach_needed(uint64_t address, size_t length)
{
	bool needed = false;

	if (!regmap__window_meets(address, length))
		return false;
	while (length > 0 && !needed) {
		struct access at;

		needed = next(&at, address, length, 0);
		regmap__access_end(&at);
		address += at.length;
		length -= at.length;
	}
	return needed;
}

static bool is_allowed(const struct access *at, bool ours, uint64_t address, unsigned access)
{
	struct cpu_trap trap;

	if (ours)
		return !at->refusal;
	if (access & REGMAP_WRITE)
		return !regmap__guard_probe_write((void *)(uintptr_t)address, at->length, &trap);
	return !regmap__guard_probe_read((const void *)(uintptr_t)address, at->length, &trap);
}

bool regmap__reach_allowed(uint64_t address, size_t length, unsigned access)
{
	bool allowed = true;

	while (length > 0 && allowed) {
		struct access at;
		bool ours = next(&at, address, length, access);

		allowed = is_allowed(&at, ours, address, access);
		regmap__access_end(&at);
		address += at.length;
		length -= at.length;
	}
	return allowed;
}

/* at->length may shrink to what was moved. */
static int move(struct access *at, bool ours, uint64_t address, void *to, const void *from)
{
	void *memory = (void *)(uintptr_t)address;
	struct cpu_trap trap;

	if (!ours)
		return regmap__guard_copy(to ? to : memory, to ? memory : from, at->length, &trap) ?
		               -EFAULT :
		               0;
	if (at->refusal)
		return -EFAULT;
	return to ? regmap__access_read(at, NULL, to, &trap) :
	            regmap__access_write(at, NULL, from, &trap);
}

int regmap__reach_read(uint64_t address, void *to, size_t length)
{
	int err = 0;

	for (size_t done = 0; done < length && !err;) {
		struct access at;
		bool ours = next(&at, address + done, length - done, REGMAP_READ);

		err = move(&at, ours, address + done, (uint8_t *)to + done, NULL);
		regmap__access_end(&at);
		done += at.length;
	}
	return err;
}

size_t regmap__reach_write(uint64_t address, const void *from, size_t length)
{
	for (size_t done = 0; done < length;) {
		struct access at;
		bool ours = next(&at, address + done, length - done, REGMAP_WRITE);
		int err = move(&at, ours, address + done, NULL, (const uint8_t *)from + done);

		regmap__access_end(&at);
		if (err)
			return done;
		done += at.length;
	}
	return length;
}

/* Never across a page, and of a device never more than a byte. */
static int read_stretch(uint64_t address, char *to, size_t size, size_t *got)
{
	size_t page = PAGE - address % PAGE;
	struct access at;
	bool ours;
	int err;

	size = size < STRETCH ? size : STRETCH;
	ours = next(&at, address, size < page ? size : page, REGMAP_READ);
	if (ours && !at.host)
		at.length = 1;
	err = move(&at, ours, address, to, NULL);
	regmap__access_end(&at);
	*got = at.length;
	return err;
}

long regmap__reach_string(uint64_t address, char *to, size_t size)
{
	for (size_t done = 0, got; done < size; done += got) {
		const char *end;

		if (read_stretch(address + done, to + done, size - done, &got))
			return -EFAULT;
		end = memchr(to + done, 0, got);
		if (end)
			return end - to + 1;
	}
	return -ENAMETOOLONG;
}

/* --- loans --- */

enum { REMEMBERED = 16 };

static __thread struct {
	uint64_t nonce;
	struct {
		void *_Atomic base; /* NULL: free */
		size_t size;
		uint64_t nonce;
		const _Atomic uint64_t *copy; /* in the frame of the call */
	} slot[REMEMBERED];
} self __attribute__((tls_model("initial-exec")));

static void release(void *base, size_t size)
{
	sys_call(SYS_munmap, (long)base, (long)size, 0, 0);
}

static void sweep_slot(unsigned i)
{
	uint64_t seen = 0;
	struct cpu_trap trap;
	void *base = atomic_load(&self.slot[i].base);

	if (!base ||
	    (!regmap__guard_copy(&seen, (const void *)self.slot[i].copy, sizeof(seen), &trap) &&
	     seen == self.slot[i].nonce))
		return;
	if (atomic_compare_exchange_strong(&self.slot[i].base, &base, NULL))
		release(base, self.slot[i].size);
}

/* Where TLS works; a handler that interrupts this may take a slot, too, but none that is in use. */
__attribute__((noinline)) static unsigned remember(void *base, size_t size, _Atomic uint64_t *copy)
{
	for (unsigned i = 0; i < REMEMBERED; i++) {
		sweep_slot(i);
		if (self.slot[i].base)
			continue;
		self.nonce += 1 << 8;
		atomic_store(copy, self.nonce | i | 1ull << 63);
		self.slot[i].nonce = self.nonce | i | 1ull << 63;
		self.slot[i].size = size;
		self.slot[i].copy = copy;
		self.slot[i].base = base;
		return i + 1;
	}
	return 0;
}

__attribute__((noinline)) static void forget(unsigned slot)
{
	self.slot[slot].base = NULL;
}

__attribute__((noinline)) static void forget_all(void)
{
	for (unsigned i = 0; i < REMEMBERED; i++) {
		void *base = atomic_exchange(&self.slot[i].base, NULL);

		if (base)
			release(base, self.slot[i].size);
	}
}

void regmap__loan_forget(void)
{
	if (regmap__tls_works())
		forget_all();
}

void regmap__loan_init(struct loan *loan)
{
	loan->used = 0;
	loan->count = 0;
}

static void *take_large(struct loan *loan, size_t size)
{
	long base;
	unsigned i = loan->count;

	size = (size + PAGE - 1) & -(size_t)PAGE;
	if (i == LOANS)
		return NULL;
	base = sys_call6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
	                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base < 0)
		return NULL;
	loan->large[i].base = (void *)base;
	loan->large[i].size = size;
	loan->large[i].slot = 0;
	if (regmap__tls_works())
		loan->large[i].slot = remember((void *)base, size, &loan->large[i].nonce);
	loan->count++;
	return (void *)base;
}

void *regmap__loan_take(struct loan *loan, size_t size)
{
	void *at = loan->small + loan->used;

	size = (size + 15) & ~(size_t)15;
	if (size > LOAN_SMALL - loan->used)
		return take_large(loan, size);
	loan->used += size;
	return at;
}

void regmap__loan_return(struct loan *loan)
{
	while (loan->count) {
		unsigned i = --loan->count;

		if (loan->large[i].slot)
			forget(loan->large[i].slot - 1);
		release(loan->large[i].base, loan->large[i].size);
		atomic_store(&loan->large[i].nonce, 0);
	}
}
