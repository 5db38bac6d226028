/* SPDX-License-Identifier: MIT */
/* Files, what they include, and the layout that comes of it. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "load.h"
#include "rule.h"
#include "schema.h"
#include "svd.h"
#include "values.h"

/* A file or template, for as long as the loading takes. */
struct loaded_file {
	struct loaded_file *next;  /* read before it */
	struct loaded_file *outer; /* which includes it, while it is being read */
	const char *name;
	char *text; /* malloc()ed, or NULL */
	dev_t device;
	ino_t inode;
	bool is_file, is_open;
};

struct svd_part {
	struct svd_part *next;
	struct layout *layout;
};

int regmap__load_begin(struct load *load, struct notes *notes)
{
	*load = (struct load){.notes = notes};
	load->merge.notes = notes;
	load->merge.missing = -EINVAL;
	load->merge.memory = regmap__tree_memory_new();
	if (load->merge.memory)
		load->merge.root = regmap__tree_node(load->merge.memory, TREE_TABLE, NULL, 0, 0);
	if (load->merge.root)
		return 0;
	regmap__tree_memory_free(load->merge.memory);
	load->merge.memory = NULL;
	return regmap__layout_wrong(notes->error, -ENOMEM, NULL, "out of memory");
}

void regmap__load_end(struct load *load)
{
	for (struct loaded_file *f = load->files; f; f = f->next)
		free(f->text);
	for (struct svd_part *p = load->parts; p; p = p->next)
		regmap_layout_free(&p->layout->pub);
	regmap__tree_memory_free(load->merge.memory);
}

/* ---- which files ----------------------------------------------------------------------------------- */

static void *room_for(struct load *load, size_t size)
{
	void *got = regmap__tree_alloc(load->merge.memory, size);

	if (!got)
		regmap__note_memory(load->notes, load->merge.memory, load->merge.root);
	return got;
}

static struct loaded_file *add_file(struct load *load, const char *name)
{
	struct loaded_file *file = room_for(load, sizeof(*file));
	struct stat st;

	if (!file)
		return NULL;
	file->name = regmap__tree_text(load->merge.memory, name, strlen(name));
	if (!file->name) {
		regmap__note_memory(load->notes, load->merge.memory, load->merge.root);
		return NULL;
	}
	if (strncmp(name, "template:", 9) != 0 && stat(name, &st) == 0) {
		file->is_file = true;
		file->device = st.st_dev;
		file->inode = st.st_ino;
	}
	return file;
}

static bool are_same(const struct loaded_file *a, const struct loaded_file *b)
{
	if (a->is_file && b->is_file)
		return a->device == b->device && a->inode == b->inode;
	return a->is_file == b->is_file && strcasecmp(a->name, b->name) == 0;
}

static struct loaded_file *read_before(const struct load *load, const struct loaded_file *file)
{
	struct loaded_file *f = load->files;

	while (f && !are_same(f, file))
		f = f->next;
	return f;
}

static void put_chain(const struct loaded_file *file, const struct loaded_file *first, char *text,
                      size_t size)
{
	size_t used;

	if (file != first)
		put_chain(file->outer, first, text, size);
	used = strlen(text);
	snprintf(text + used, size - used, "%s -> ", file->name);
}

static void tell_circle(struct load *load, const struct loaded_file *first, const struct tree *at)
{
	char text[400] = "";

	put_chain(load->innermost, first, text, sizeof(text));
	regmap__note(load->notes, -ELOOP, at,
	             "include goes in a circle: %s%s: take one of these includes away", text,
	             first->name);
}

/* ---- texts ------------------------------------------------------------------------------------------- */

static void why_unreadable(int err, char *text, size_t size)
{
	if (err == -E2BIG)
		snprintf(text, size, "more than %d MB: describe less", TREE_TEXT_MOST >> 20);
	else
		snprintf(text, size, "%s: check the path", strerrordesc_np(-err));
}

void regmap__load_unreadable(struct notes *notes, int err, const char *name)
{
	struct regmap_source nowhere = {.file = name};
	struct regmap_error error;
	char text[100];

	why_unreadable(err, text, sizeof(text));
	regmap__layout_wrong(&error, err, &nowhere, "%s", text);
	regmap__note_error(notes, err, &error);
}

static struct tree *parse(struct load *load, const char *text, size_t length,
                          enum regmap_format format, const char *name)
{
	struct regmap_error error = {0};
	struct tree_input in = {text, name, length, load->merge.memory, &error};
	struct tree *tree = NULL;
	int err;

	if (length > TREE_TEXT_MOST) {
		regmap__load_unreadable(load->notes, -E2BIG, name);
		return NULL;
	}
	err = format == REGMAP_FORMAT_YAML ? regmap__tree_from_yaml(&in, &tree) :
	      format == REGMAP_FORMAT_JSON ? regmap__tree_from_json(&in, &tree) :
	                                     regmap__tree_from_toml(&in, &tree);
	if (err) {
		regmap__note_error(load->notes, err, &error);
		return NULL;
	}
	return tree;
}

/* An SVD file's things are merged as if a description had listed them. */
static void merge_svd(struct load *load, const char *text, size_t length, const char *name)
{
	struct merge part = load->merge;
	struct svd_part *kept = room_for(load, sizeof(*kept));
	struct regmap_error error;
	int err;

	if (!kept)
		return;
	err = regmap__svd_load(text, length, name, &kept->layout, &error);
	if (err) {
		regmap__note_error(load->notes, err, &error);
		return;
	}
	kept->next = load->parts;
	load->parts = kept;
	part.root = regmap__tree_node(part.memory, TREE_TABLE, name, 0, 0);
	if (!part.root) {
		regmap__note_memory(load->notes, part.memory, load->merge.root);
		return;
	}
	regmap__unbuild(&part, &kept->layout->pub);
	if (!regmap__notes_stop(load->notes))
		regmap__merge(&load->merge, part.root);
}

static void include(struct load *load, const struct tree *item);

static void merge_tree(struct load *load, struct tree *tree)
{
	struct tree *list = regmap__tree_get(tree, "include");
	bool is_overlay = false;

	regmap__schema_check(load->notes, tree);
	if (regmap__notes_stop(load->notes))
		return;
	regmap__value_boolean(load->notes, regmap__tree_get(tree, "overlay"), &is_overlay);
	load->is_overlay = load->depth == 1 && !load->merge.root->count && is_overlay && !list;
	if (load->is_overlay)
		return; /* what it corrects isn't there */
	if (list && list->kind != TREE_LIST)
		include(load, list);
	for (const struct tree *item = list ? list->first : NULL;
	     item && !regmap__notes_stop(load->notes); item = item->next)
		include(load, item);
	if (!regmap__notes_stop(load->notes))
		regmap__merge(&load->merge, tree);
}

static void load_text(struct load *load, struct loaded_file *file, const char *text, size_t length,
                      enum regmap_format format)
{
	struct tree *tree;

	if (format == REGMAP_FORMAT_AUTO)
		format = regmap__format_of(text, length, file->name);
	file->next = load->files;
	file->outer = load->innermost;
	file->is_open = true;
	load->files = load->innermost = file;
	load->depth++;
	if (format == REGMAP_FORMAT_SVD)
		merge_svd(load, text, length, file->name);
	else if ((tree = parse(load, text, length, format, file->name)))
		merge_tree(load, tree);
	load->depth--;
	load->innermost = file->outer;
	file->is_open = false;
}

static void load_path(struct load *load, struct loaded_file *file, enum regmap_format format,
                      const struct tree *at)
{
	size_t length;
	int err = regmap__read_file(file->name, &file->text, &length);

	char why[100];

	if (!err) {
		load_text(load, file, file->text, length, format);
		return;
	}
	why_unreadable(err, why, sizeof(why));
	if (at)
		regmap__note(load->notes, err, at, "include: \"%.150s\": %s", file->name, why);
	else
		regmap__load_unreadable(load->notes, err, file->name);
}

static void load_template(struct load *load, struct loaded_file *file, const struct tree *at)
{
	const char *text = regmap_template_text(file->name + strlen("template:"));

	if (text)
		load_text(load, file, text, strlen(text), REGMAP_FORMAT_TOML);
	else
		regmap__note(load->notes, -EINVAL, at,
		             "include: there is no template \"%.80s\": `regmap list` names all",
		             file->name + strlen("template:"));
}

/* Relative to the including file. */
static const char *beside(struct load *load, const char *file, const char *path)
{
	const char *slash = strrchr(file, '/');
	size_t length = slash ? slash - file + 1 : 0;
	char *whole;

	if (*path == '/' || strncmp(path, "template:", 9) == 0)
		return path;
	whole = room_for(load, length + strlen(path) + 1);
	if (whole) {
		memcpy(whole, file, length);
		strcpy(whole + length, path);
	}
	return whole;
}

/* What was read once is there: two files may include the same third. */
static void include(struct load *load, const struct tree *item)
{
	const char *path = "", *name;
	struct loaded_file *file, *before;

	if (!regmap__value_string(load->notes, item, &path))
		return;
	if (load->depth > INCLUDE_DEPTH_MOST) {
		regmap__note(load->notes, -E2BIG, item, "includes are nested deeper than %d",
		             INCLUDE_DEPTH_MOST);
		return;
	}
	name = beside(load, load->innermost->name, path);
	file = name ? add_file(load, name) : NULL;
	if (!file)
		return;
	before = read_before(load, file);
	if (before && before->is_open)
		tell_circle(load, before, item);
	else if (!before && strncmp(name, "template:", 9) == 0)
		load_template(load, file, item);
	else if (!before)
		load_path(load, file, REGMAP_FORMAT_AUTO, item);
}

void regmap__load_file(struct load *load, const char *path, enum regmap_format format)
{
	struct loaded_file *file = add_file(load, path);

	if (file)
		load_path(load, file, format, NULL);
}

void regmap__load_text(struct load *load, const char *text, size_t length,
                       enum regmap_format format, const char *name)
{
	struct loaded_file *file = add_file(load, name ? name : "<string>");

	if (file)
		load_text(load, file, text, length, format);
}

/* ---- layouts ----------------------------------------------------------------------------------------- */

static int finish(struct regmap_layout *layout, struct notes *notes)
{
	struct regmap_error error;
	int err = regmap__layout_finish(layout_of(layout), &error);

	if (!err)
		err = regmap__rules_check(layout, &error);
	if (err)
		regmap__note_error(notes, err, &error);
	return err;
}

struct regmap_layout *regmap__load_finish(struct load *load)
{
	struct regmap_layout *layout;

	if (load->notes->err)
		return NULL;
	if (load->is_overlay) {
		regmap__note_key(
			load->notes, -EINVAL, &(struct tree){.file = load->files->name},
			"it is an overlay and makes no device alone: lay it over one, or include one");
		return NULL;
	}
	layout = regmap__build(&load->merge);
	if (layout && finish(layout, load->notes)) {
		regmap_layout_free(layout);
		layout = NULL;
	}
	return layout;
}

/* An SVD file alone needs no tree. */
static int svd_alone(const char *text, size_t length, const char *name, struct regmap_layout **out,
                     struct notes *notes)
{
	struct regmap_error error;
	struct layout *layout;
	int err = regmap__svd_load(text, length, name, &layout, &error);

	if (err) {
		regmap__note_error(notes, err, &error);
		return err;
	}
	if (finish(&layout->pub, notes))
		regmap_layout_free(&layout->pub);
	else
		*out = &layout->pub;
	return notes->err;
}

static int layout_from_text(const char *text, size_t length, enum regmap_format format,
                            const char *name, struct regmap_layout **out, struct notes *notes)
{
	struct load load;
	int err;

	if (format == REGMAP_FORMAT_AUTO)
		format = regmap__format_of(text, length, name);
	if (format == REGMAP_FORMAT_SVD)
		return svd_alone(text, length, name, out, notes);
	err = regmap__load_begin(&load, notes);
	if (err)
		return err;
	regmap__load_text(&load, text, length, format, name);
	*out = regmap__load_finish(&load);
	regmap__load_end(&load);
	return notes->err;
}

/* Public functions leave errno as it was. */
int regmap_layout_from_file(const char *path, enum regmap_format format, struct regmap_layout **out,
                            struct regmap_error *error)
{
	struct notes notes = {.error = error};
	int saved = errno, err;
	size_t length;
	char *text;

	if (!path || !out)
		return regmap__layout_wrong(error, -EINVAL, NULL, "a path and a layout are needed");
	*out = NULL;
	err = regmap__read_file(path, &text, &length);
	if (err) {
		regmap__load_unreadable(&notes, err, path);
	} else {
		err = layout_from_text(text, length, format, path, out, &notes);
		free(text);
	}
	errno = saved;
	return err;
}

int regmap_layout_from_string(const char *text, size_t length, enum regmap_format format,
                              const char *name, struct regmap_layout **out,
                              struct regmap_error *error)
{
	struct notes notes = {.error = error};
	int saved = errno, err;

	if (!text || !out)
		return regmap__layout_wrong(error, -EINVAL, NULL, "a text and a layout are needed");
	*out = NULL;
	err = layout_from_text(text, length, format, name ? name : "<string>", out, &notes);
	errno = saved;
	return err;
}

static int no_template(const char *name, struct regmap_error *error)
{
	char all[400] = "";
	const char *one;

	for (unsigned i = 0; (one = regmap_template_name(i)); i++)
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? ", " : "", one);
	return regmap__layout_wrong(error, -ENOENT, NULL,
	                            "there is no template \"%.80s\": there are %s", name, all);
}

int regmap_layout_from_template(const char *name, struct regmap_layout **out,
                                struct regmap_error *error)
{
	char file[80];
	const char *text;

	if (!name || !out)
		return regmap__layout_wrong(error, -EINVAL, NULL, "a name and a layout are needed");
	*out = NULL;
	text = regmap_template_text(name);
	if (!text)
		return no_template(name, error);
	snprintf(file, sizeof(file), "template:%.60s", name);
	return regmap_layout_from_string(text, strlen(text), REGMAP_FORMAT_TOML, file, out, error);
}

/* ---- overlays ---------------------------------------------------------------------------------------- */

/* @path or @text. The layout changes when all has come to a good end. */
static int lay_over(struct regmap_layout *layout, const char *path, const char *text, size_t length,
                    enum regmap_format format, const char *name, struct regmap_error *error)
{
	struct notes notes = {.error = error};
	struct regmap_layout *result = NULL;
	struct load load;
	int err = regmap__load_begin(&load, &notes);

	if (err)
		return err;
	load.merge.missing = -ENOENT;
	regmap__unbuild(&load.merge, layout);
	if (!notes.err && path)
		regmap__load_file(&load, path, format);
	else if (!notes.err)
		regmap__load_text(&load, text, length, format, name);
	load.is_overlay = false;
	result = regmap__load_finish(&load);
	if (result)
		regmap__layout_swap(layout_of(layout), layout_of(result));
	regmap__load_end(&load);
	regmap_layout_free(result);
	return notes.err;
}

int regmap_layout_overlay_file(struct regmap_layout *layout, const char *path,
                               struct regmap_error *error)
{
	int saved = errno, err;

	if (!layout || !path)
		return regmap__layout_wrong(error, -EINVAL, NULL, "a layout and a path are needed");
	err = lay_over(layout, path, NULL, 0, REGMAP_FORMAT_AUTO, NULL, error);
	errno = saved;
	return err;
}

int regmap_layout_overlay_string(struct regmap_layout *layout, const char *text, size_t length,
                                 enum regmap_format format, const char *name,
                                 struct regmap_error *error)
{
	int saved = errno, err;

	if (!layout || !text)
		return regmap__layout_wrong(error, -EINVAL, NULL, "a layout and a text are needed");
	err = lay_over(layout, NULL, text, length, format, name, error);
	errno = saved;
	return err;
}
