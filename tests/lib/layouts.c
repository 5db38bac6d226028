/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "layouts.h"

struct regmap_layout *t_describe(enum regmap_format format, const char *text)
{
	struct regmap_layout *layout;
	struct regmap_error error = {0};
	int err = regmap_layout_from_string(text, strlen(text), format, "t", &layout, &error);

	if (err)
		fail_msg("%d: %s", err, error.text);
	return layout;
}

struct regmap_layout *t_describe_file(const char *path)
{
	struct regmap_layout *layout;
	struct regmap_error error = {0};
	int err = regmap_layout_from_file(path, REGMAP_FORMAT_AUTO, &layout, &error);

	if (err)
		fail_msg("%d: %s", err, error.text);
	return layout;
}

void t_describe_wrong(enum regmap_format format, const char *text, int err, const char *message)
{
	struct regmap_layout *layout = (void *)1;
	struct regmap_error error = {0};
	int got = regmap_layout_from_string(text, strlen(text), format, "t", &layout, &error);

	assert_string_equal(error.text, message);
	assert_int_equal(got, err);
	assert_null(layout);
}

/* ---- equality ------------------------------------------------------------------------------------------ */

#define SAME(member) assert_true(a->member == b->member)
#define SAME_TEXT(member) assert_string_equal(a->member, b->member)

static void same_field(const struct regmap_field *a, const struct regmap_field *b)
{
	SAME_TEXT(name);
	SAME_TEXT(description);
	SAME(lsb);
	SAME(width);
	SAME(access);
	SAME(read_action);
	SAME(write_action);
	SAME(value_count);
	for (size_t i = 0; i < a->value_count; i++) {
		SAME_TEXT(values[i]->name);
		SAME_TEXT(values[i]->description);
		SAME(values[i]->value);
		SAME(values[i]->is_default);
		SAME(values[i]->usage);
	}
}

static void same_register(const struct regmap_register *a, const struct regmap_register *b)
{
	SAME_TEXT(name);
	SAME_TEXT(description);
	SAME_TEXT(alternate);
	SAME(offset);
	SAME(width);
	SAME(access);
	SAME(read_action);
	SAME(write_action);
	SAME(reset_value);
	SAME(reset_mask);
	SAME(widths);
	SAME(width_policy);
	SAME(field_count);
	for (size_t i = 0; i < a->field_count; i++)
		same_field(a->fields[i], b->fields[i]);
}

static void same_peripheral(const struct regmap_peripheral *a, const struct regmap_peripheral *b)
{
	SAME_TEXT(name);
	SAME_TEXT(description);
	SAME_TEXT(group);
	SAME(address);
	SAME(length);
	SAME(widths);
	SAME(width_policy);
	SAME(interrupt_count);
	for (size_t i = 0; i < a->interrupt_count; i++) {
		SAME_TEXT(interrupts[i]->name);
		SAME_TEXT(interrupts[i]->description);
		SAME(interrupts[i]->number);
	}
	SAME(register_count);
	for (size_t i = 0; i < a->register_count; i++)
		same_register(a->registers[i], b->registers[i]);
}

static void same_region(const struct regmap_region *a, const struct regmap_region *b)
{
	SAME_TEXT(name);
	SAME_TEXT(description);
	SAME_TEXT(space);
	SAME_TEXT(device);
	SAME_TEXT(content);
	SAME_TEXT(program_if);
	SAME(address);
	SAME(length);
	SAME(permissions);
	SAME(type);
	SAME(target);
	SAME(widths);
	SAME(width_policy);
	SAME(detached);
	SAME(program_once);
	SAME(erased);
	SAME(flash_policy);
	SAME(program_width);
	SAME(sector_count);
	for (size_t i = 0; i < a->sector_count; i++) {
		SAME(sectors[i].length);
		SAME(sectors[i].count);
	}
}

void t_layouts_equal(const struct regmap_layout *a, const struct regmap_layout *b)
{
	SAME_TEXT(name);
	SAME_TEXT(description);
	SAME_TEXT(vendor);
	SAME_TEXT(cpu);
	SAME_TEXT(license);
	SAME(max_memory);
	SAME(allocate_at_once);
	SAME(page_size);
	SAME(space_count);
	for (size_t i = 0; i < a->space_count; i++) {
		SAME_TEXT(spaces[i]->name);
		SAME_TEXT(spaces[i]->description);
		SAME(spaces[i]->offset);
	}
	SAME(region_count);
	for (size_t i = 0; i < a->region_count; i++)
		same_region(a->regions[i], b->regions[i]);
	SAME(peripheral_count);
	for (size_t i = 0; i < a->peripheral_count; i++)
		same_peripheral(a->peripherals[i], b->peripherals[i]);
	SAME(rule_count);
	for (size_t i = 0; i < a->rule_count; i++) {
		SAME_TEXT(rules[i]->text);
		SAME_TEXT(rules[i]->scope);
	}
}

/* ---- files --------------------------------------------------------------------------------------------- */

static char folder[64];

const char *t_folder(void)
{
	if (!folder[0]) {
		strcpy(folder, "/tmp/regmap-describe-XXXXXX");
		assert_non_null(mkdtemp(folder));
		atexit(t_folder_remove);
	}
	return folder;
}

const char *t_text_file(const char *name, const char *text)
{
	static char paths[16][128];
	static unsigned next;
	char *path = paths[next++ % 16];
	FILE *file;

	snprintf(path, sizeof(paths[0]), "%s/%s", t_folder(), name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	return path;
}

/* One folder deep. */
static void empty(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char name[512];

	while (dir && (entry = readdir(dir))) {
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (entry->d_name[0] != '.' && unlink(name) && errno == EISDIR)
			empty(name);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

void t_folder_remove(void)
{
	if (folder[0])
		empty(folder);
	folder[0] = '\0';
}

/* ---- names --------------------------------------------------------------------------------------------- */

static struct regmap_place find(const struct regmap_layout *l, const char *name)
{
	struct regmap_place place;

	if (regmap_layout_find(l, name, &place))
		fail_msg("there is no \"%s\"", name);
	return place;
}

const struct regmap_region *t_region_of(const struct regmap_layout *l, const char *name)
{
	for (size_t i = 0; i < l->region_count; i++)
		if (strcmp(l->regions[i]->name, name) == 0)
			return l->regions[i];
	fail_msg("there is no region \"%s\"", name);
	return NULL;
}

const struct regmap_peripheral *t_peripheral_of(const struct regmap_layout *l, const char *name)
{
	for (size_t i = 0; i < l->peripheral_count; i++)
		if (strcmp(l->peripherals[i]->name, name) == 0)
			return l->peripherals[i];
	fail_msg("there is no peripheral \"%s\"", name);
	return NULL;
}

const struct regmap_register *t_register_of(const struct regmap_layout *l, const char *name)
{
	const struct regmap_register *reg = find(l, name).reg;

	assert_non_null(reg);
	return reg;
}

const struct regmap_field *t_field_of(const struct regmap_layout *l, const char *name)
{
	const struct regmap_field *field = find(l, name).field;

	assert_non_null(field);
	return field;
}
