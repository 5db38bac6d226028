/* SPDX-License-Identifier: MIT */
/* Accesses without a fault to several ranges, and to strings, whose end only their bytes tell. */
#include <errno.h>
#include <string.h>

#include "access.h"

#include "sigsafe.h"

enum { STRETCH = 256 }; /* bytes of a string that are looked at together, where nobody notices */

/* --- lists --- */

/* Steps through a list. */
struct cursor {
	const struct iovec *at;
	size_t count;  /* entries from @at on */
	size_t offset; /* in the first of them */
};

/* The bytes to come in the entry that holds the next one; 0: the end. */
static size_t cursor_left(struct cursor *c)
{
	while (c->count && c->offset == c->at->iov_len) {
		c->at++;
		c->count--;
		c->offset = 0;
	}
	return c->count ? c->at->iov_len - c->offset : 0;
}

static uint64_t cursor_address(const struct cursor *c)
{
	return (uintptr_t)c->at->iov_base + c->offset;
}

/* To the list, or from it; the list is long enough. */
static void cursor_move(struct cursor *c, void *bytes, size_t length, bool to_list)
{
	uint8_t *buffer = bytes;

	while (length > 0) {
		size_t left = cursor_left(c), n = left < length ? left : length;
		void *memory = (char *)c->at->iov_base + c->offset;

		memcpy(to_list ? (void *)memory : buffer, to_list ? buffer : memory, n);
		c->offset += n;
		buffer += n;
		length -= n;
	}
}

static int total_of(const struct iovec *list, size_t count, size_t *total)
{
	*total = 0;
	for (size_t i = 0; i < count; i++)
		if (__builtin_add_overflow(*total, list[i].iov_len, total))
			return -EINVAL;
	return 0;
}

static int check_lists(const struct iovec *to, size_t to_count, const struct iovec *from,
                       size_t from_count)
{
	size_t to_total, from_total;

	if (total_of(to, to_count, &to_total) || total_of(from, from_count, &from_total))
		return -EINVAL;
	return to_total == from_total ? 0 : -EINVAL;
}

static int check_guest(const struct iovec *list, size_t count, unsigned access)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		err = regmap__check_range((uintptr_t)list[i].iov_base, list[i].iov_len, access);
	return err;
}

/* Memory goes straight from or to the list, an entry of it at a time; devices by their own pieces. */
static int move_memory(struct access *at, struct cursor *list, bool read)
{
	size_t left = cursor_left(list);
	void *memory = (void *)(uintptr_t)cursor_address(list);
	struct cpu_trap trap;
	int err;

	if (left < at->length)
		at->length = left;
	err = read ? regmap__access_read(at, NULL, memory, &trap) :
	             regmap__access_write(at, NULL, memory, &trap);
	list->offset += at->length;
	return err;
}

static int move_piece(struct access *at, struct cursor *list, bool read)
{
	uint8_t piece[8];
	struct cpu_trap trap;
	int err;

	at->length = window_ops(at->window)->piece(at->address, at->length);
	if (!read) {
		cursor_move(list, piece, at->length, false);
		return regmap__access_write(at, NULL, piece, &trap);
	}
	err = regmap__access_read(at, NULL, piece, &trap);
	if (!err)
		cursor_move(list, piece, at->length, true);
	return err;
}

/* A window may have gone, or turned into another kind, since it was checked. */
static int move_checked(struct access *at, struct cursor *list, bool read)
{
	if (!at->window)
		return -EFAULT;
	if (at->refusal)
		return at->refusal->error;
	if (at->host)
		return move_memory(at, list, read);
	return window_ops(at->window)->piece ? move_piece(at, list, read) : -EOPNOTSUPP;
}

static int move_lists(struct cursor *guest, struct cursor *list, bool read)
{
	int err = 0;

	for (size_t left; !err && (left = cursor_left(guest)) > 0;) {
		ENDING_ACCESS at = {.pin.slot = NULL};

		regmap__access_begin(&at, cursor_address(guest), left,
		                     read ? REGMAP_READ : REGMAP_WRITE);
		err = move_checked(&at, list, read);
		regmap__access_end(&at);
		guest->offset += at.length;
	}
	return err;
}

int regmap_readv(const struct iovec *to, size_t to_count, const struct iovec *from,
                 size_t from_count)
{
	struct cursor guest = {from, from_count, 0}, list = {to, to_count, 0};
	int err = check_lists(to, to_count, from, from_count);

	if (!err)
		err = check_guest(from, from_count, REGMAP_READ);
	return err ? err : move_lists(&guest, &list, true);
}

int regmap_writev(const struct iovec *to, size_t to_count, const struct iovec *from,
                  size_t from_count)
{
	struct cursor guest = {to, to_count, 0}, list = {from, from_count, 0};
	int err = check_lists(to, to_count, from, from_count);

	if (!err)
		err = check_guest(to, to_count, REGMAP_WRITE);
	return err ? err : move_lists(&guest, &list, false);
}

/* --- strings --- */

/* The next bytes into @to: a stretch of memory, or one byte of a device. at->length says how many. */
static int read_stretch(struct access *at, char *to)
{
	struct cpu_trap trap;
	int err;

	if (!at->window || at->refusal)
		return at->refusal ? at->refusal->error : -EFAULT;
	if (window_ops(at->window)->needs_cpu)
		return -EOPNOTSUPP;
	if (!at->host)
		at->length = 1;
	err = regmap__access_read(at, NULL, to, &trap);
	if (!err || !at->host || at->length == 1)
		return err;
	at->length = 1; /* it may end before what faults */
	return regmap__access_read(at, NULL, to, &trap);
}

/* Append up to the NUL. 1: it was among them. */
static int append_stretch(uint64_t guest, char *to, size_t size, size_t *length)
{
	char stretch[STRETCH];
	size_t room = size - *length, n;
	ENDING_ACCESS at = {.pin.slot = NULL};
	const char *end;
	int err;

	regmap__access_begin(&at, guest, room < STRETCH ? room : STRETCH, REGMAP_READ);
	err = read_stretch(&at, stretch);
	regmap__access_end(&at);
	if (err)
		return err;
	end = memchr(stretch, 0, at.length);
	n = end ? (size_t)(end - stretch) : at.length;
	if (!end && n == room)
		n--;
	memcpy(to + *length, stretch, n);
	*length += n;
	return end ? 1 : n < at.length ? -E2BIG : 0;
}

int regmap_read_string(uint64_t guest, char *to, size_t size, size_t *length)
{
	size_t n = 0;
	int err = 0;

	if (!to || !size)
		return -EINVAL;
	while (!err)
		err = append_stretch(guest + n, to, size, &n);
	to[n] = 0;
	if (length)
		*length = n;
	return err == 1 ? 0 : err;
}
