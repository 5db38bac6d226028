/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "out.h"
#include "place.h"

#include "../src/sigsafe.h"

enum {
	LINE = 1024,      /* callbacks may run on small stacks */
	END = 48,         /* of it: what comes behind the fields */
	OUT_OF_WAY = 240, /* descriptors from here on */
	NAME = 96,
};

/* --- files --- */

bool regmap__trace_is_ours(int fd, uint64_t inode)
{
	struct stat now;

	return !inode || (!sys_call(SYS_fstat, fd, (long)&now, 0, 0) && now.st_ino == inode);
}

int regmap__trace_open_file(const char *path, uint64_t *inode)
{
	const int how = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
	struct stat now;
	int fd = (int)sys_call(SYS_openat, AT_FDCWD, (long)path, how, 0666), high;

	if (fd < 0)
		return fd;
	high = (int)sys_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, OUT_OF_WAY, 0);
	if (high >= 0) {
		sys_call(SYS_close, fd, 0, 0, 0);
		fd = high;
	}
	*inode = sys_call(SYS_fstat, fd, (long)&now, 0, 0) ? 0 : now.st_ino;
	return fd;
}

static uint64_t now(void)
{
	struct timespec t;

	sys_call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t, 0, 0);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int regmap__trace_open(struct trace *trace, const char *path)
{
	trace->start = now();
	trace->file = 0;
	trace->fd = path ? regmap__trace_open_file(path, &trace->file) : 2;
	return trace->fd < 0 ? trace->fd : 0;
}

/* --- what an access means --- */

struct line {
	const struct regmap_device_access *access;
	struct text text;
	char *begin;
	uint64_t number, before; /* before: the last value that was seen */
	bool knows_before;
	uint64_t value; /* of the whole register, as far as it is known */
};

static uint64_t mask_of(unsigned bits)
{
	return bits >= 64 ? UINT64_MAX : (1ULL << bits) - 1;
}

/* The bits of the register that the access has, and the others as they were. */
static void merge(struct line *l)
{
	const struct regmap_device_access *a = l->access;
	uint64_t start = a->peripheral->address + a->reg->offset;
	uint64_t mask = mask_of(a->width * 8), part = a->value & mask;
	uint64_t ahead = a->address - start;

	if (a->address < start) {
		ahead = start - a->address;
		part = ahead < 8 ? part >> ahead * 8 : 0;
		mask = ahead < 8 ? mask >> ahead * 8 : 0;
	} else if (ahead < 8) {
		part <<= ahead * 8;
		mask <<= ahead * 8;
	} else {
		part = mask = 0;
	}
	l->value = ((l->before & ~mask) | (part & mask)) & mask_of(a->reg->width * 8);
}

/* What was seen before is replaced: each value is the "before" of one access. */
static void remember(struct line *l, struct tally_row *row)
{
	const struct regmap_register *reg = l->access->reg;

	l->knows_before = row && reg;
	if (!reg || !l->access->peripheral)
		return;
	l->before = reg->reset_value & reg->reset_mask;
	if (row && atomic_load_explicit(&row->seen, memory_order_acquire))
		l->before = atomic_load_explicit(&row->last, memory_order_relaxed);
	merge(l);
	if (!row || l->access->error)
		return;
	atomic_store_explicit(&row->last, l->value, memory_order_relaxed);
	atomic_store_explicit(&row->seen, 1, memory_order_release);
}

static uint64_t field_of(const struct regmap_field *field, uint64_t value)
{
	return value >> field->lsb & mask_of(field->width);
}

/* The name of a value; NULL: it has none. */
static const char *value_name(const struct regmap_field *field, uint64_t value, bool is_write)
{
	unsigned usage = is_write ? REGMAP_WRITE : REGMAP_READ;
	const char *others = NULL;

	for (size_t i = 0; i < field->value_count; i++) {
		const struct regmap_enum_value *v = field->values[i];

		if (v->usage && !(v->usage & usage))
			continue;
		if (v->is_default)
			others = v->name;
		else if (v->value == value)
			return v->name;
	}
	return others;
}

static bool has_room(const struct line *l)
{
	return l->text.end - l->text.at > END + NAME;
}

/* "EIO"; a number where there is no name. */
static void put_error(struct text *t, int error)
{
	unsigned number = error < 0 ? -(unsigned)error : (unsigned)error;
	const char *name = NULL;

#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 32)
	name = strerrorname_np((int)number);
#endif
#endif
	if (name)
		put(t, name);
	else
		put_decimal(t, number);
}

/* --- for people --- */

static void put_field_value(struct line *l, const struct regmap_field *field, uint64_t value)
{
	const char *name = value_name(field, value, l->access->is_write);

	if (name) {
		put(&l->text, name);
		put_char(&l->text, '(');
	}
	if (value < 10)
		put_decimal(&l->text, value);
	else
		put_hex(&l->text, value);
	if (name)
		put_char(&l->text, ')');
}

/* Those that aren't 0, and those that have changed. */
static void put_fields(struct line *l)
{
	const struct regmap_register *reg = l->access->reg;

	for (size_t i = 0; i < reg->field_count; i++) {
		const struct regmap_field *field = reg->fields[i];
		uint64_t before = field_of(field, l->before), after = field_of(field, l->value);

		if (!after && before == after)
			continue;
		put_char(&l->text, ' ');
		if (!has_room(l)) {
			put(&l->text, "...");
			return;
		}
		put(&l->text, field->name);
		put_char(&l->text, '=');
		if (before != after) {
			put_field_value(l, field, before);
			put(&l->text, "->");
		}
		put_field_value(l, field, after);
	}
}

static void put_time(struct text *t, uint64_t ns, bool padded)
{
	uint64_t micro = ns / 1000;

	put_padded(t, micro / 1000000, padded ? 4 : 1);
	put_char(t, '.');
	put_number(t, micro % 1000000, 10, 6);
}

static void put_site(struct line *l)
{
	struct code_place place;

	if (!l->access->ip) {
		put(&l->text, "(a call)");
		return;
	}
	regmap__place_find(l->access->ip, &place);
	if (place.function[0]) {
		put(&l->text, place.function);
		put_char(&l->text, '+');
		put_hex(&l->text, place.offset);
	} else {
		put_address(&l->text, l->access->ip);
	}
	if (place.file[0]) {
		put(&l->text, " (");
		put(&l->text, place.file);
		put_char(&l->text, '+');
		put_hex(&l->text, place.file_offset);
		put_char(&l->text, ')');
	}
}

static void put_name(struct line *l, const struct regmap_layout *layout)
{
	char name[NAME];

	put(&l->text, regmap_layout_describe(layout, l->access->address, name, sizeof(name)));
}

enum { VALUE = 74, SITE = 86, FIELDS = 134 };

/* Up to the name. */
static void put_access(struct line *l, uint64_t ns, long thread, const char *what)
{
	const struct regmap_device_access *a = l->access;

	put_padded(&l->text, l->number, 7);
	put_char(&l->text, ' ');
	put_time(&l->text, ns, true);
	put_char(&l->text, ' ');
	put_padded(&l->text, (uint64_t)thread, 7);
	put_char(&l->text, ' ');
	put(&l->text, what);
	put_decimal(&l->text, a->width * 8);
	put(&l->text, a->width == 1 ? "  " : " ");
	put_address(&l->text, a->address);
	put_char(&l->text, ' ');
}

static void tell_people(const struct trace *trace, struct line *l, uint64_t ns, long thread)
{
	const struct regmap_device_access *a = l->access;

	put_access(l, ns, thread, a->is_write ? "write " : "read  ");
	put_name(l, trace->layout);
	put_column(&l->text, l->begin, VALUE);
	put_value(&l->text, a->value & mask_of(a->width * 8), a->width);
	put_column(&l->text, l->begin, SITE);
	put_site(l);
	if (a->reg && a->reg->field_count) {
		put_column(&l->text, l->begin, FIELDS);
		put_char(&l->text, '|');
		put_fields(l);
	}
	if (a->error) {
		put(&l->text, "  refused: ");
		put_error(&l->text, a->error);
	}
	put_char(&l->text, '\n');
}

static void tell_people_stray(struct line *l, uint64_t ns, long thread, const char *words)
{
	const struct regmap_device_access *a = l->access;

	put_access(l, ns, thread, !a->width ? "jump  " : a->is_write ? "write " : "read  ");
	put(&l->text, "(nothing)");
	put_column(&l->text, l->begin, SITE);
	put_site(l);
	put(&l->text, "  ");
	put(&l->text, words);
	put_char(&l->text, '\n');
}

/* --- for programs --- */

static void put_key(struct text *t, const char *name)
{
	put(t, ",\"");
	put(t, name);
	put(t, "\":");
}

static void put_text_member(struct text *t, const char *name, const char *value)
{
	put_key(t, name);
	put_json(t, value);
}

static void put_number_member(struct text *t, const char *name, uint64_t value)
{
	put_key(t, name);
	put_decimal(t, value);
}

static void put_hex_member(struct text *t, const char *name, uint64_t value)
{
	put_key(t, name);
	put(t, "\"");
	put_address(t, value);
	put(t, "\"");
}

static void put_json_field(struct line *l, const struct regmap_field *field)
{
	uint64_t before = field_of(field, l->before), after = field_of(field, l->value);
	const char *name = value_name(field, after, l->access->is_write);

	put(&l->text, "{\"name\":");
	put_json(&l->text, field->name);
	put_number_member(&l->text, "value", after);
	if (name)
		put_text_member(&l->text, "means", name);
	if (before != after)
		put_number_member(&l->text, "was", before);
	put_char(&l->text, '}');
}

/* All of them, as long as there is room in the line: which doesn't break the JSON. */
static void put_json_fields(struct line *l)
{
	const struct regmap_register *reg = l->access->reg;

	put_key(&l->text, "fields");
	put_char(&l->text, '[');
	for (size_t i = 0; i < reg->field_count; i++) {
		char *mark = l->text.at;

		if (i)
			put_char(&l->text, ',');
		put_json_field(l, reg->fields[i]);
		if (l->text.end - l->text.at < END) {
			l->text.at = mark;
			break;
		}
	}
	put_char(&l->text, ']');
}

static void put_json_site(struct line *l)
{
	struct code_place place;

	if (!l->access->ip)
		return;
	regmap__place_find(l->access->ip, &place);
	put_hex_member(&l->text, "ip", l->access->ip);
	if (place.function[0]) {
		put_text_member(&l->text, "function", place.function);
		put_number_member(&l->text, "function_offset", place.offset);
	}
	if (place.file[0]) {
		put_text_member(&l->text, "file", place.file);
		put_number_member(&l->text, "file_offset", place.file_offset);
	}
}

static void put_json_names(struct line *l, const struct regmap_layout *layout)
{
	const struct regmap_device_access *a = l->access;

	put_key(&l->text, "name");
	put_char(&l->text, '"');
	put_name(l, layout);
	put_char(&l->text, '"');
	if (a->region)
		put_text_member(&l->text, "region", a->region->name);
	if (a->peripheral)
		put_text_member(&l->text, "peripheral", a->peripheral->name);
	if (a->reg)
		put_text_member(&l->text, "register", a->reg->name);
}

static void put_json_access(struct line *l, uint64_t ns, long thread, const char *what)
{
	const struct regmap_device_access *a = l->access;

	put(&l->text, "{\"seq\":");
	put_decimal(&l->text, l->number);
	put_key(&l->text, "time");
	put_time(&l->text, ns, false);
	put_number_member(&l->text, "thread", (uint64_t)thread);
	put_text_member(&l->text, "access", what);
	put_number_member(&l->text, "width", a->width * 8);
	put_hex_member(&l->text, "address", a->address);
}

static void tell_programs(const struct trace *trace, struct line *l, uint64_t ns, long thread)
{
	const struct regmap_device_access *a = l->access;

	put_json_access(l, ns, thread, a->is_write ? "write" : "read");
	put_json_names(l, trace->layout);
	put_key(&l->text, "value");
	put_char(&l->text, '"');
	put_value(&l->text, a->value & mask_of(a->width * 8), a->width);
	put_char(&l->text, '"');
	put_json_site(l);
	if (a->error) {
		put_key(&l->text, "error");
		put_char(&l->text, '"');
		put_error(&l->text, a->error);
		put_char(&l->text, '"');
	}
	if (a->reg && a->peripheral)
		put_json_fields(l);
	put(&l->text, "}\n");
}

static void tell_programs_stray(struct line *l, uint64_t ns, long thread, const char *words)
{
	const struct regmap_device_access *a = l->access;

	put_json_access(l, ns, thread, !a->width ? "jump" : a->is_write ? "write" : "read");
	put_text_member(&l->text, "nothing", words);
	put_json_site(l);
	put(&l->text, "}\n");
}

void regmap__trace_access(const struct trace *trace, const struct regmap_device_access *access,
                          struct tally_row *row)
{
	char begin[LINE];
	struct line l = {.access = access, .text = {begin, begin + LINE}, .begin = begin};
	long thread = sys_call(SYS_gettid, 0, 0, 0, 0);

	l.number = atomic_fetch_add(&trace->tally->accesses, 1) + 1;
	remember(&l, row);
	if (trace->json)
		tell_programs(trace, &l, now() - trace->start, thread);
	else
		tell_people(trace, &l, now() - trace->start, thread);
	if (regmap__trace_is_ours(trace->fd, trace->file))
		out_write(trace->fd, begin, l.text.at);
}

void regmap__trace_stray(const struct trace *trace, uint64_t ip, uint64_t address, unsigned bytes,
                         bool is_write, const char *words)
{
	const struct regmap_device_access access = {.address = address,
	                                            .width = bytes,
	                                            .is_write = is_write,
	                                            .ip = ip};
	char begin[LINE];
	struct line l = {.access = &access, .text = {begin, begin + LINE}, .begin = begin};
	long thread = sys_call(SYS_gettid, 0, 0, 0, 0);

	l.number = atomic_fetch_add(&trace->tally->accesses, 1) + 1;
	if (trace->json)
		tell_programs_stray(&l, now() - trace->start, thread, words);
	else
		tell_people_stray(&l, now() - trace->start, thread, words);
	if (regmap__trace_is_ours(trace->fd, trace->file))
		out_write(trace->fd, begin, l.text.at);
}
