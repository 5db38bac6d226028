/* SPDX-License-Identifier: MIT */
/*
 * Code memory: one memfd mapped twice, writable here and executable there. Stubs are found by their
 * content and never change once published, so readers need no lock. When they are used up, a few
 * more are lent for one execution each. It is shared with a child after fork(), which must not
 * append to its parent's: the index lives in memory that a fork wipes, and whoever finds it wiped
 * lays new code memory over the old.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "native.h"

#include "sigsafe.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif

enum {
	STUB_SIZE = 32, /* ENDBR64, at most 15 bytes, RET; the length in the last byte */
	STUBS = 1 << 15,
	LENT = 64, /* one-way stubs, behind the ones that are remembered */
	INDEX = STUBS * 2,
	CODE_SIZE = STUB_SIZE * (STUBS + LENT),
	STUB_LENGTH = STUB_SIZE - 1,
	RET = 0xc3,
};

static const uint8_t endbr64[NATIVE_STUB_ENTRY] = {0xf3, 0x0f, 0x1e, 0xfa};

/* Wiped by fork. */
struct code_index {
	atomic_uint state; /* 0 wiped, 1 being laid, 2 ready */
	atomic_uint used;
	atomic_uint slot[INDEX]; /* stub number + 1; 0 free */
	atomic_bool lent[LENT];
};

static struct {
	uint8_t *writable, *executable;
	struct code_index *index;
	atomic_uint generation;
} code;

static int code_fd(void)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd = memfd_create("regmap-code", flags | MFD_EXEC);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("regmap-code", flags);
	if (fd >= 0 && ftruncate(fd, CODE_SIZE)) {
		close(fd);
		return -1;
	}
	return fd;
}

/*
 * The one view that is writable by now remains the only one: what is mapped later, by whomever, can
 * never be made so. A kernel before 5.1 does without.
 */
static void seal(int fd)
{
	fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

/*
 * The executable view stays where it was, if there was one. The writable one isn't handed to
 * children, who could change their parent's code through it.
 */
static int lay(void)
{
	int fixed = code.executable ? MAP_FIXED : 0;
	int fd = code_fd(), err;
	void *w, *x = MAP_FAILED;

	if (fd < 0)
		return -errno;
	w = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	seal(fd);
	if (w != MAP_FAILED)
		x = mmap(code.executable, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | fixed, fd,
		         0);
	err = errno;
	close(fd);
	if (x == MAP_FAILED) {
		if (w != MAP_FAILED)
			munmap(w, CODE_SIZE);
		return -err;
	}
	madvise(w, CODE_SIZE, MADV_DONTFORK);
	code.writable = w;
	code.executable = x;
	atomic_fetch_add(&code.generation, 1);
	return 0;
}

int regmap__code_init(void)
{
	void *index;
	int err;

	if (code.index)
		return 0;
	index = mmap(NULL, sizeof *code.index, PROT_READ | PROT_WRITE,
	             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (index == MAP_FAILED)
		return -errno;
	err = madvise(index, sizeof *code.index, MADV_WIPEONFORK) ? -errno : lay();
	if (err) {
		munmap(index, sizeof *code.index);
		return err;
	}
	code.index = index;
	atomic_store(&code.index->state, 2);
	return 0;
}

/* In a child of fork(), once; a thread that comes second does without a stub for the moment. */
static bool ready(void)
{
	unsigned state = atomic_load_explicit(&code.index->state, memory_order_acquire);

	if (state == 2)
		return true;
	state = 0;
	if (!atomic_compare_exchange_strong(&code.index->state, &state, 1))
		return false;
	if (lay()) {
		atomic_store(&code.index->state, 0);
		return false;
	}
	atomic_store_explicit(&code.index->state, 2, memory_order_release);
	return true;
}

uint32_t regmap__code_generation(void)
{
	if (code.index)
		ready();
	return atomic_load_explicit(&code.generation, memory_order_acquire);
}

bool regmap__code_contains(uint64_t rip)
{
	return code.executable && rip - (uintptr_t)code.executable < CODE_SIZE;
}

static uint32_t hash(const uint8_t *bytes, size_t length)
{
	uint32_t h = 2166136261u;

	while (length--)
		h = (h ^ *bytes++) * 16777619u;
	return h;
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

/*
 * Fresh memory that no core has fetched from needs no serialising instruction; the ones that did
 * not write it see it through coherent caches.
 */
const void *regmap__code_stub(const uint8_t *bytes, size_t length)
{
	unsigned fresh = STUBS;

	if (!code.index || !ready())
		return NULL;
	for (uint32_t i = hash(bytes, length), n = 0; n < INDEX; i++, n++) {
		atomic_uint *slot = &code.index->slot[i % INDEX];
		unsigned found = atomic_load_explicit(slot, memory_order_acquire);

		if (!found) {
			if (fresh == STUBS) {
				if (atomic_load_explicit(&code.index->used, memory_order_relaxed) >=
				    STUBS)
					return NULL;
				fresh = atomic_fetch_add(&code.index->used, 1);
				if (fresh >= STUBS)
					return NULL;
				write_stub(fresh, bytes, length);
			}
			if (atomic_compare_exchange_strong(slot, &found, fresh + 1))
				return address(fresh);
		}
		if (same(found - 1, bytes, length))
			return address(found - 1);
	}
	return NULL;
}

/*
 * A lent stub held other code before, which this core may have fetched: SDM vol. 3, 9.1.3 asks for
 * a serialising instruction. Nobody else runs it meanwhile.
 */
const void *regmap__code_borrow(const uint8_t *bytes, size_t length)
{
	if (!code.index || !ready())
		return NULL;
	for (unsigned i = 0; i < LENT; i++) {
		if (atomic_exchange(&code.index->lent[i], true))
			continue;
		write_stub(STUBS + i, bytes, length);
		regmap__serialize();
		return address(STUBS + i);
	}
	return NULL;
}

void regmap__code_give_back(const void *stub)
{
	size_t i = (size_t)((const uint8_t *)stub - code.executable) / STUB_SIZE;

	if (i >= STUBS)
		atomic_store(&code.index->lent[i - STUBS], false);
}
