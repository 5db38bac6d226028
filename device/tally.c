/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

#include "../arch/x86_64/scratch.h"
#include "out.h"
#include "tally.h"

#include "../src/sigsafe.h"

enum { NAME = 128, ORDER = TALLY_ROWS * sizeof(struct tally_row *), KIND_BITS = 2 };

struct tally *regmap__tally_new(void)
{
	void *at = mmap(NULL, sizeof(struct tally), PROT_READ | PROT_WRITE,
	                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* --- counting --- */

static struct tally_row *find_row(struct tally *tally, uint64_t key)
{
	uint64_t at = key * 0x9e3779b97f4a7c15 >> 50;

	_Static_assert(TALLY_ROWS == 1 << 14, "50 = 64 - 14");
	for (unsigned i = 0; i < TALLY_ROWS; i++) {
		struct tally_row *row = &tally->row[(at + i) % TALLY_ROWS];
		uint64_t seen = atomic_load_explicit(&row->key, memory_order_relaxed);

		if (!seen && atomic_compare_exchange_strong(&row->key, &seen, key))
			return row;
		if (seen == key)
			return row;
	}
	atomic_fetch_add(&tally->lost, 1);
	return NULL;
}

static struct tally_row *count(struct tally *tally, const struct regmap_device_access *access,
                               uint64_t address, enum tally_kind kind)
{
	struct tally_row *row = find_row(tally, address << KIND_BITS | kind);
	uint64_t none = 0;

	if (!row)
		return NULL;
	atomic_fetch_add(access->is_write ? &row->writes : &row->reads, 1);
	if (access->error)
		atomic_fetch_add(&row->refused, 1);
	atomic_compare_exchange_strong(&row->ip, &none, access->ip);
	return row;
}

struct tally_row *regmap__tally_count(struct tally *tally,
                                      const struct regmap_device_access *access)
{
	const struct regmap_region *region = access->region;

	if (region)
		count(tally, access, region->address, TALLY_REGION);
	if (access->reg && access->peripheral)
		return count(tally, access, access->peripheral->address + access->reg->offset,
		             TALLY_REGISTER);
	if (region && region->type != REGMAP_REGION_MMIO)
		return NULL;
	return count(tally, access, access->address & ~3ULL, TALLY_UNKNOWN);
}

/* --- telling --- */

/* Of one tally that is being told; the text goes out piece by piece. */
struct telling {
	const struct regmap_layout *layout;
	struct tally_row **row; /* of all kinds, those with most accesses first */
	unsigned rows;
	uint64_t reads, writes, refused;
	int fd;
	struct text text;
	char line[1024];
};

static enum tally_kind kind_of(const struct tally_row *row)
{
	return (enum tally_kind)(atomic_load_explicit(&row->key, memory_order_relaxed) & 3);
}

static uint64_t address_of(const struct tally_row *row)
{
	return atomic_load_explicit(&row->key, memory_order_relaxed) >> KIND_BITS;
}

static uint64_t accesses_of(const struct tally_row *row)
{
	return row->reads + row->writes;
}

static bool comes_before(const struct tally_row *a, const struct tally_row *b)
{
	if (accesses_of(a) != accesses_of(b))
		return accesses_of(a) > accesses_of(b);
	return address_of(a) < address_of(b);
}

/* Shell's sort: no recursion, no memory. */
static void sort(struct tally_row **row, unsigned count)
{
	for (unsigned gap = count / 2; gap; gap /= 2)
		for (unsigned i = gap; i < count; i++) {
			struct tally_row *moved = row[i];
			unsigned at = i;

			for (; at >= gap && comes_before(moved, row[at - gap]); at -= gap)
				row[at] = row[at - gap];
			row[at] = moved;
		}
}

static void gather(struct telling *t, struct tally *tally)
{
	for (unsigned i = 0; i < TALLY_ROWS; i++) {
		struct tally_row *row = &tally->row[i];

		if (!atomic_load_explicit(&row->key, memory_order_acquire))
			continue;
		t->row[t->rows++] = row;
		if (kind_of(row) != TALLY_REGION)
			continue;
		t->reads += row->reads;
		t->writes += row->writes;
		t->refused += row->refused;
	}
	sort(t->row, t->rows);
}

static void begin_line(struct telling *t)
{
	t->text = (struct text){t->line, t->line + sizeof(t->line)};
}

static void flush(struct telling *t)
{
	out_write(t->fd, t->line, t->text.at);
	begin_line(t);
}

static const struct regmap_region *region_at(const struct regmap_layout *layout, uint64_t address)
{
	for (size_t i = 0; i < layout->region_count; i++)
		if (layout->regions[i]->address == address)
			return layout->regions[i];
	return NULL;
}

static const char *name_of(const struct telling *t, const struct tally_row *row, char *to)
{
	const struct regmap_region *region = NULL;

	if (kind_of(row) == TALLY_REGION)
		region = region_at(t->layout, address_of(row));
	return region ? region->name : regmap_layout_describe(t->layout, address_of(row), to, NAME);
}

static bool has_rows(const struct telling *t, enum tally_kind kind)
{
	for (unsigned i = 0; i < t->rows; i++)
		if (kind_of(t->row[i]) == kind)
			return true;
	return false;
}

/* For people */

static void put_counts(struct text *t, uint64_t reads, uint64_t writes, uint64_t refused)
{
	put_padded(t, reads, 12);
	put_padded(t, writes, 12);
	put_padded(t, refused, 10);
	put(t, "  ");
}

static void tell_section(struct telling *t, enum tally_kind kind, const char *title)
{
	char name[NAME];

	if (!has_rows(t, kind))
		return;
	put(&t->text, "\n       reads      writes   refused  ");
	put(&t->text, title);
	put(&t->text, "\n");
	flush(t);
	for (unsigned i = 0; i < t->rows; i++) {
		const struct tally_row *row = t->row[i];

		if (kind_of(row) != kind)
			continue;
		put_counts(&t->text, row->reads, row->writes, row->refused);
		put_address(&t->text, address_of(row));
		put(&t->text, "  ");
		put(&t->text, name_of(t, row, name));
		put_char(&t->text, '\n');
		flush(t);
	}
}

static void tell_people(struct telling *t, const char *who, uint64_t lost)
{
	put(&t->text, "\nregmap: ");
	put(&t->text, who);
	put(&t->text, " on ");
	put(&t->text, t->layout->name);
	put(&t->text, ": ");
	put_decimal(&t->text, t->reads);
	put(&t->text, " reads, ");
	put_decimal(&t->text, t->writes);
	put(&t->text, " writes, ");
	put_decimal(&t->text, t->refused);
	put(&t->text,
	    " of these refused (accesses to memory that is mapped directly don't count)\n");
	flush(t);
	tell_section(t, TALLY_REGION, "region");
	tell_section(t, TALLY_REGISTER, "register");
	tell_section(t, TALLY_UNKNOWN, "registers touched that no description has");
	if (lost) {
		put(&t->text, "\n  and ");
		put_decimal(&t->text, lost);
		put(&t->text, " accesses to more registers than can be counted one by one\n");
	}
	put_char(&t->text, '\n');
	flush(t);
}

/* For programs */

static void put_json_count(struct text *t, const char *name, uint64_t value)
{
	put(t, ",\"");
	put(t, name);
	put(t, "\":");
	put_decimal(t, value);
}

static void put_json_row(struct telling *t, const struct tally_row *row)
{
	char name[NAME];

	put(&t->text, "{\"name\":");
	put_json(&t->text, name_of(t, row, name));
	put(&t->text, ",\"address\":\"");
	put_address(&t->text, address_of(row));
	put(&t->text, "\"");
	put_json_count(&t->text, "reads", row->reads);
	put_json_count(&t->text, "writes", row->writes);
	put_json_count(&t->text, "refused", row->refused);
	put(&t->text, "}");
	flush(t);
}

static void tell_list(struct telling *t, enum tally_kind kind, const char *title)
{
	bool first = true;

	put(&t->text, ",\"");
	put(&t->text, title);
	put(&t->text, "\":[");
	for (unsigned i = 0; i < t->rows; i++) {
		if (kind_of(t->row[i]) != kind)
			continue;
		if (!first)
			put_char(&t->text, ',');
		first = false;
		put_json_row(t, t->row[i]);
	}
	put_char(&t->text, ']');
}

static void tell_programs(struct telling *t, const char *who, uint64_t lost)
{
	put(&t->text, "{\"stats\":");
	put_json(&t->text, t->layout->name);
	put(&t->text, ",\"program\":");
	put_json(&t->text, who);
	put_json_count(&t->text, "reads", t->reads);
	put_json_count(&t->text, "writes", t->writes);
	put_json_count(&t->text, "refused", t->refused);
	put_json_count(&t->text, "not_counted", lost);
	tell_list(t, TALLY_REGION, "regions");
	tell_list(t, TALLY_REGISTER, "registers");
	tell_list(t, TALLY_UNKNOWN, "undescribed");
	put(&t->text, "}\n");
	flush(t);
}

void regmap__tally_print(struct tally *tally, const struct regmap_layout *layout, const char *who,
                         int fd, bool json)
{
	struct telling *t = regmap__scratch_map(sizeof(*t) + ORDER);
	uint64_t lost = atomic_load(&tally->lost);

	if (!t)
		return;
	t->layout = layout;
	t->row = (struct tally_row **)(t + 1);
	t->fd = fd;
	begin_line(t);
	gather(t, tally);
	if (json)
		tell_programs(t, who, lost);
	else
		tell_people(t, who, lost);
	regmap__scratch_unmap(t, sizeof(*t) + ORDER);
}
