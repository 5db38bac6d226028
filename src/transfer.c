/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "transfer.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "../arch/x86_64/syscall.h"
#include "../include/regmap/regmap.h"
#include "reach.h"

#include "sigsafe.h"

enum kind { NOTHING, FIXED, COUNTED, BITS, STRING, LIST, SOCKET_NAME, MESSAGE, SET, SET_PAIR };
/* When what the kernel has written is copied out, and how much of it. */
enum when { NEVER, SUCCESS, INTERRUPTED, NOT_ZERO, AS_RESULT, AS_TOLD };

struct rule {
	uint8_t kind, in, when;
	uint8_t count; /* number of an argument, perhaps | HALF */
	uint16_t unit; /* bytes */
};

/* MOST_BYTES is the kernel's own: MAX_RW_COUNT */
enum { ARGS = 6, HALF = 8, MOST_BYTES = INT_MAX & -4096, MOST_ENTRIES = 1024, MOST_PIECES = 8 };

/* clang-format off */
#define _ {NOTHING, 0, 0, 0, 0}
#define INT(k) ((k) | HALF)
#define IN(n) {FIXED, 1, NEVER, 0, n}
#define OUT(n) {FIXED, 0, SUCCESS, 0, n}
#define INOUT(n) {FIXED, 1, SUCCESS, 0, n}
#define LATE(n) {FIXED, 1, INTERRUPTED, 0, n}
#define MAYBE(n) {FIXED, 0, NOT_ZERO, 0, n}
#define BYTES_IN(k) {COUNTED, 1, NEVER, k, 1}
#define BYTES_OUT(k) {COUNTED, 0, AS_RESULT, k, 1}
#define ITEMS_OUT(k, n) {COUNTED, 0, AS_RESULT, k, n}
#define ITEMS(k, n) {COUNTED, 1, SUCCESS, k, n}
#define FDSET(k) {BITS, 1, SUCCESS, (k) | HALF, 8}
#define PATH {STRING, 1, NEVER, 0, 1}
#define LIST_IN(k) {LIST, 1, NEVER, k, 1}
#define LIST_OUT(k) {LIST, 0, AS_RESULT, k, 1}
#define NAME(k) {SOCKET_NAME, 0, AS_TOLD, k, 1}
#define MESSAGE_IN {MESSAGE, 1, NEVER, 0, 1}
#define MESSAGE_OUT {MESSAGE, 0, AS_RESULT, 0, 1}
#define MASK(k) {SET, 1, NEVER, k, 1}
#define MASK_AND_SIZE {SET_PAIR, 1, NEVER, 0, 1}
/* clang-format on */

#define SYSCALL(name, ...) [SYS_##name] = {__VA_ARGS__},
static const struct rule rows[][ARGS] = {
#include "syscalls.def"
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

/* One buffer that the kernel can't reach. */
struct piece {
	uint64_t guest;
	size_t length;
	uint8_t *ours;
	uint64_t *slot;       /* where the kernel finds its address */
	const uint64_t *told; /* AS_TOLD: where that is which says how much the kernel wrote */
	struct rule rule;
};

struct transfer {
	uint64_t number;
	uint64_t arg[ARGS];
	struct piece piece[MOST_PIECES];
	unsigned pieces;
	bool needed;
	/* LIST, and that of a MESSAGE; there is one at most. */
	struct iovec *seen, *used; /* as the program has it, and as the kernel gets it */
	size_t entries, lent;      /* bytes of those entries that need us */
	struct rule list;
	/* MESSAGE */
	uint64_t message_at;
	struct msghdr *message;
	uint64_t told[2]; /* where the sizes of its name and control data are */
	struct loan loan;
};

/* --- what is to be done --- */

static uint64_t value_of(const struct transfer *t, unsigned argument)
{
	uint64_t value = t->arg[(argument & ~HALF) - 1];

	return argument & HALF ? (uint32_t)value : value;
}

static void add_piece(struct transfer *t, uint64_t guest, uint64_t length, uint64_t *slot,
                      const struct rule *rule, const uint64_t *told)
{
	struct piece *p = &t->piece[t->pieces];

	if (length > MOST_BYTES)
		length = MOST_BYTES;
	if (!guest || !length || guest + (length - 1) < guest || t->pieces == MOST_PIECES ||
	    !regmap__reach_needed(guest, length))
		return;
	*p = (struct piece){guest, length, NULL, slot, told, *rule};
	t->pieces++;
	t->needed = true;
}

static void plan_counted(struct transfer *t, unsigned i, const struct rule *rule)
{
	uint64_t count = value_of(t, rule->count);

	if (rule->kind == BITS)
		count = count > INT_MAX ? 0 : (count + 63) / 64;
	if (count > MOST_BYTES)
		count = MOST_BYTES;
	add_piece(t, t->arg[i], count * rule->unit, &t->arg[i], rule, NULL);
}

/* Up to where a path can reach, as nothing but its bytes tells how long it is. */
static void plan_string(struct transfer *t, unsigned i, const struct rule *rule)
{
	uint64_t at = t->arg[i], room = ~at;

	add_piece(t, at, room < PATH_MAX ? room : PATH_MAX, &t->arg[i], rule, NULL);
}

/* The kernel reads how much room there is, and writes how much it would have needed. */
static void plan_name(struct transfer *t, unsigned i, const struct rule *rule)
{
	static const struct rule size_rule = INOUT(4);
	uint64_t *size_at = &t->arg[rule->count - 1];
	uint32_t room;

	if (!t->arg[i] || !*size_at || regmap__reach_read(*size_at, &room, sizeof(room)))
		return;
	add_piece(t, t->arg[i], room, &t->arg[i], rule, size_at);
	add_piece(t, *size_at, sizeof(room), size_at, &size_rule, NULL);
}

/* False: no list that the kernel would take. */
static bool plan_list(struct transfer *t, uint64_t at, uint64_t count, const struct rule *rule)
{
	size_t total = 0;

	if (!at || !count || count > MOST_ENTRIES)
		return false;
	t->seen = regmap__loan_take(&t->loan, 2 * count * sizeof(*t->seen));
	if (!t->seen || regmap__reach_read(at, t->seen, count * sizeof(*t->seen)))
		return false;
	t->needed |= regmap__reach_needed(at, count * sizeof(*t->seen));
	t->used = t->seen + count;
	t->entries = count;
	t->list = *rule;
	memcpy(t->used, t->seen, count * sizeof(*t->seen));
	for (size_t i = 0; i < count; i++) {
		uint64_t base = (uintptr_t)t->seen[i].iov_base;
		size_t length = t->seen[i].iov_len;

		if (length > MOST_BYTES - total || base + length < base)
			return false;
		total += length;
		t->used[i].iov_base = NULL;
		if (!regmap__reach_needed(base, length))
			t->used[i].iov_base = t->seen[i].iov_base;
		else
			t->lent += length;
	}
	t->needed |= t->lent > 0;
	return true;
}

static void plan_nothing(struct transfer *t)
{
	t->needed = false;
	t->pieces = 0;
	t->entries = 0;
}

static void plan_message_buffers(struct transfer *t, const struct rule *rule)
{
	struct rule buffer = {COUNTED, rule->in, rule->in ? NEVER : AS_TOLD, 0, 1};
	struct msghdr *m = t->message;

	t->told[0] = (uintptr_t)&m->msg_namelen;
	t->told[1] = (uintptr_t)&m->msg_controllen;
	add_piece(t, (uintptr_t)m->msg_name, m->msg_namelen, (uint64_t *)&m->msg_name, &buffer,
	          &t->told[0]);
	add_piece(t, (uintptr_t)m->msg_control, m->msg_controllen, (uint64_t *)&m->msg_control,
	          &buffer, &t->told[1]);
	if (!m->msg_iovlen)
		return;
	if (plan_list(t, (uintptr_t)m->msg_iov, m->msg_iovlen, rule))
		m->msg_iov = t->used;
	else
		plan_nothing(t);
}

static void plan_message(struct transfer *t, unsigned i, const struct rule *rule)
{
	uint64_t at = t->arg[i];

	t->message = regmap__loan_take(&t->loan, sizeof(*t->message));
	if (!t->message || !at || regmap__reach_read(at, t->message, sizeof(*t->message)))
		return;
	t->message_at = at;
	t->list = *rule;
	t->needed = regmap__reach_needed(at, sizeof(*t->message));
	if (t->needed && rule->when != NEVER &&
	    !regmap__reach_allowed(at, sizeof(*t->message), REGMAP_WRITE))
		plan_nothing(t);
	else
		plan_message_buffers(t, rule);
	if (t->needed)
		t->arg[i] = (uintptr_t)t->message;
}

static void plan_vector(struct transfer *t, unsigned i, const struct rule *rule)
{
	if (!plan_list(t, t->arg[i], value_of(t, rule->count), rule))
		plan_nothing(t);
	else if (t->needed)
		t->arg[i] = (uintptr_t)t->used;
}

static void plan_argument(struct transfer *t, unsigned i)
{
	const struct rule *rule = &rows[t->number][i];

	switch ((enum kind)rule->kind) {
	case FIXED: add_piece(t, t->arg[i], rule->unit, &t->arg[i], rule, NULL); break;
	case COUNTED:
	case BITS: plan_counted(t, i, rule); break;
	case STRING: plan_string(t, i, rule); break;
	case SOCKET_NAME: plan_name(t, i, rule); break;
	case MESSAGE: plan_message(t, i, rule); break;
	case LIST: plan_vector(t, i, rule); break;
	case NOTHING:
	case SET:
	case SET_PAIR: break; /* the caller has made it ordinary memory */
	}
}

static bool is_allowed(uint64_t guest, size_t length, const struct rule *rule)
{
	if (rule->in &&
	    !regmap__reach_allowed(guest, rule->kind == STRING ? 1 : length, REGMAP_READ))
		return false;
	return rule->when == NEVER || regmap__reach_allowed(guest, length, REGMAP_WRITE);
}

static bool all_allowed(const struct transfer *t)
{
	for (unsigned i = 0; i < t->pieces; i++)
		if (!is_allowed(t->piece[i].guest, t->piece[i].length, &t->piece[i].rule))
			return false;
	for (size_t i = 0; i < t->entries; i++)
		if (!t->used[i].iov_base &&
		    !is_allowed((uintptr_t)t->seen[i].iov_base, t->seen[i].iov_len, &t->list))
			return false;
	return true;
}

/* --- in --- */

static long bring_in(struct transfer *t, struct piece *p)
{
	p->ours = regmap__loan_take(&t->loan, p->length);
	if (!p->ours)
		return -ENOMEM;
	*p->slot = (uintptr_t)p->ours;
	if (p->rule.kind == STRING) {
		long length = regmap__reach_string(p->guest, (char *)p->ours, p->length);

		return length < 0 ? length : 0;
	}
	if (p->rule.in)
		return regmap__reach_read(p->guest, p->ours, p->length) ? -EFAULT : 0;
	if (p->rule.kind == FIXED)
		memset(p->ours, 0, p->length); /* the kernel leaves padding out */
	return 0;
}

static long bring_in_list(struct transfer *t)
{
	uint8_t *at = t->lent ? regmap__loan_take(&t->loan, t->lent) : NULL;
	int err = 0;

	if (t->lent && !at)
		return -ENOMEM;
	for (size_t i = 0; i < t->entries && !err; i++) {
		struct iovec *seen = &t->seen[i], *used = &t->used[i];

		if (used->iov_base == seen->iov_base)
			continue;
		used->iov_base = at;
		at += used->iov_len;
		if (t->list.in)
			err = regmap__reach_read((uintptr_t)seen->iov_base, used->iov_base,
			                         seen->iov_len);
	}
	return err ? -EFAULT : 0;
}

static long bring_all_in(struct transfer *t)
{
	long err = 0;

	for (unsigned i = 0; i < t->pieces && !err; i++)
		err = bring_in(t, &t->piece[i]);
	return err ? err : bring_in_list(t);
}

/* --- out --- */

static bool succeeded(long result)
{
	return result >= 0 || result < -4095;
}

static uint64_t told(const struct piece *p)
{
	uint32_t size;

	return p->told && !regmap__reach_read(*p->told, &size, sizeof(size)) ? size : 0;
}

/* How many bytes of the piece the kernel has written. */
static size_t written(const struct piece *p, long result)
{
	uint64_t n = 0;

	switch ((enum when)p->rule.when) {
	case NEVER: break;
	case SUCCESS: n = succeeded(result) ? p->length : 0; break;
	case INTERRUPTED: n = result == -EINTR ? p->length : 0; break;
	case NOT_ZERO: n = result > 0 ? p->length : 0; break;
	case AS_RESULT: n = result > 0 ? (uint64_t)result * p->rule.unit : 0; break;
	case AS_TOLD: n = result >= 0 ? told(p) : 0; break;
	}
	return n < p->length ? n : p->length;
}

/* What has been read is lost where a device refuses it, as to the kernel where memory faults. */
static long take_out(const struct piece *p, long result)
{
	size_t n = written(p, result), done = n ? regmap__reach_write(p->guest, p->ours, n) : 0;

	if (done == n)
		return result;
	if (p->rule.when == AS_RESULT && done >= p->rule.unit)
		return (long)(done / p->rule.unit);
	return -EFAULT;
}

static long take_out_list(const struct transfer *t, long result)
{
	size_t left = result > 0 && t->list.when == AS_RESULT ? (size_t)result : 0;

	for (size_t i = 0; i < t->entries && left > 0; i++) {
		const struct iovec *seen = &t->seen[i], *used = &t->used[i];
		size_t n = used->iov_len < left ? used->iov_len : left, done = n;

		if (used->iov_base != seen->iov_base)
			done = regmap__reach_write((uintptr_t)seen->iov_base, used->iov_base, n);
		left -= done;
		if (done < n)
			return result > (long)left ? result - (long)left : -EFAULT;
	}
	return result;
}

static bool put_message(const struct transfer *t, size_t offset, size_t length)
{
	const char *from = (const char *)t->message + offset;

	return regmap__reach_write(t->message_at + offset, from, length) == length;
}

#define PUT(t, member) put_message(t, offsetof(struct msghdr, member), sizeof((t)->message->member))

/* What recvmsg() writes into its struct. */
static long take_out_message(const struct transfer *t, long result)
{
	if (!t->message || t->list.when == NEVER || result < 0)
		return result;
	return PUT(t, msg_namelen) && PUT(t, msg_controllen) && PUT(t, msg_flags) ? result :
	                                                                            -EFAULT;
}

static long take_all_out(const struct transfer *t, long result)
{
	long seen = result;

	for (unsigned i = 0; i < t->pieces && seen != -EFAULT; i++) {
		long now = take_out(&t->piece[i], result);

		seen = now == result ? seen : now;
	}
	if (seen == -EFAULT || (t->entries && (seen = take_out_list(t, result)) == -EFAULT))
		return -EFAULT;
	return take_out_message(t, seen);
}

/* --- all of it --- */

static long make(struct transfer *t)
{
	long result = bring_all_in(t);

	if (result)
		return result;
	result = sys_call6((long)t->number, (long)t->arg[0], (long)t->arg[1], (long)t->arg[2],
	                   (long)t->arg[3], (long)t->arg[4], (long)t->arg[5]);
	return take_all_out(t, result);
}

bool regmap__transfer(const struct call *call, long *result)
{
	struct transfer t;
	bool possible;

	if (call->compat || call->number >= ROWS)
		return false;
	t.number = call->number;
	t.pieces = 0;
	t.needed = false;
	t.entries = t.lent = 0;
	t.message = NULL;
	regmap__loan_init(&t.loan);
	for (unsigned i = 0; i < ARGS; i++)
		t.arg[i] = call->arg[i];
	for (unsigned i = 0; i < ARGS; i++)
		plan_argument(&t, i);
	possible = t.needed && all_allowed(&t);
	if (possible)
		*result = make(&t);
	regmap__loan_return(&t.loan);
	return possible;
}

unsigned regmap__transfer_mask(uint64_t number, unsigned *argument)
{
	for (unsigned i = 0; number < ROWS && i < ARGS; i++) {
		*argument = i;
		if (rows[number][i].kind == SET)
			return MASK_PLAIN;
		if (rows[number][i].kind == SET_PAIR)
			return MASK_IN_PAIR;
	}
	return MASK_NONE;
}
