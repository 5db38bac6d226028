/* SPDX-License-Identifier: MIT */
/* From the text of an SVD file to a tree. Expat reads the XML. */
#include <errno.h>
#include <expat.h>
#include <stdlib.h>
#include <string.h>

#include "svd_tree.h"

enum { DEPTH_MOST = 64, GENERATIONS_MOST = 64, FILE_MOST = 256 << 20 };

struct reader {
	struct svd_tree *tree;
	XML_Parser parser;
	const char *text, *file;
	size_t length, skipped;  /* bytes of the whole text; those that expat doesn't get */
	size_t seen, line_start; /* where lines were counted up to; where that one begins */
	unsigned line;
	struct svd_node *at;
	unsigned depth, ignored; /* levels; those inside of an unknown element */
	char *buffer;            /* text of the element */
	size_t used, size;
	int err;
};

static const char *const tag_names[] = {
#define X(tag, name) [SVD_##tag] = (name),
	SVD_TAGS(X)
#undef X
};

const char *regmap__svd_tag_name(unsigned tag)
{
	return tag_names[tag];
}

static int tag_of(const char *name)
{
	int low = 0, high = SVD_TAG_COUNT;

	while (low < high) {
		int middle = (low + high) / 2, order = strcmp(name, tag_names[middle]);

		if (order == 0)
			return middle;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return -1;
}

/* Places only grow: each byte is looked at once. Columns are bytes, as everywhere. */
static struct regmap_source place_of(struct reader *r, size_t offset)
{
	const char *newline;

	if (offset > r->length)
		offset = r->length;
	while (r->seen < offset &&
	       (newline = memchr(r->text + r->seen, '\n', offset - r->seen)) != NULL) {
		r->line++;
		r->seen = r->line_start = (size_t)(newline + 1 - r->text);
	}
	if (r->seen < offset)
		r->seen = offset;
	return (struct regmap_source){
		.file = r->file,
		.line = r->line,
		.column = (unsigned)(offset - r->line_start) + 1,
	};
}

static struct regmap_source here(struct reader *r)
{
	XML_Index at = XML_GetCurrentByteIndex(r->parser);

	return place_of(r, r->skipped + (size_t)(at < 0 ? 0 : at));
}

static void stop(struct reader *r, int err)
{
	if (!r->err)
		r->err = err;
	XML_StopParser(r->parser, XML_FALSE);
}

static void out_of_memory(struct reader *r)
{
	stop(r, regmap__layout_wrong(r->tree->error, -ENOMEM, NULL, "out of memory"));
}

/* ---- elements ---- */

static bool is_member(int tag)
{
	switch (tag) {
	case SVD_PERIPHERAL:
	case SVD_CLUSTER:
	case SVD_REGISTER:
	case SVD_FIELD:
	case SVD_ENUMERATED_VALUES:
	case SVD_ENUMERATED_VALUE:
	case SVD_ADDRESS_BLOCK:
	case SVD_INTERRUPT: return true;
	default: return false;
	}
}

static bool is_list(int tag)
{
	return tag == SVD_PERIPHERALS || tag == SVD_REGISTERS || tag == SVD_FIELDS;
}

static void append(struct svd_node **first, struct svd_node **last, struct svd_node *n)
{
	if (*last)
		(*last)->next = n;
	else
		*first = n;
	*last = n;
}

static struct svd_node *new_node(struct reader *r, int tag)
{
	struct svd_node *n = regmap__layout_alloc(r->tree->memory, sizeof(*n)), *parent = r->at;

	if (!n)
		return NULL;
	n->tag = (uint16_t)tag;
	n->name = n->text = "";
	n->source = here(r);
	n->parent = parent;
	if (!parent)
		r->tree->root = n;
	else if (is_member(tag))
		append(&parent->member, &parent->last_member, n);
	else
		append(&parent->property, &parent->last_property, n);
	return n;
}

static bool take_attributes(struct reader *r, struct svd_node *n, const XML_Char **attributes)
{
	for (; attributes[0]; attributes += 2)
		if (strcmp(attributes[0], "derivedFrom") == 0 && attributes[1][0]) {
			n->derived_from = regmap__layout_string(r->tree->memory, attributes[1]);
			if (!n->derived_from)
				return false;
		}
	return true;
}

static void enter(struct reader *r, int tag, const XML_Char **attributes)
{
	struct svd_node *n = new_node(r, tag);

	if (!n || !take_attributes(r, n, attributes))
		out_of_memory(r);
	else
		r->at = n;
}

static void refuse_root(struct reader *r, const char *name)
{
	struct regmap_source place = here(r);

	stop(r, regmap__layout_wrong(r->tree->error, -EINVAL, &place,
	                             "this is no SVD file: it begins with <%.64s>, not <device>",
	                             name));
}

static void refuse_depth(struct reader *r)
{
	struct regmap_source place = here(r);

	stop(r, regmap__layout_wrong(
			r->tree->error, -E2BIG, &place,
			"elements are nested more than %d deep: put less into one another",
			DEPTH_MOST));
}

/* What is unknown is ignored with all that is in it, and so is what can be there once, the second time. */
static void on_start(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
	struct reader *r = ctx;
	int tag = r->ignored ? -1 : tag_of(name);

	r->used = 0;
	if (r->err)
		return;
	if (!r->at && !r->ignored && tag != SVD_DEVICE)
		refuse_root(r, name);
	else if (tag < 0 || (r->at && !is_member(tag) && regmap__svd_own(r->at, tag)))
		r->ignored++;
	else if (++r->depth > DEPTH_MOST)
		refuse_depth(r);
	else if (is_list(tag))
		r->at->has_list = true;
	else
		enter(r, tag, attributes);
}

/* Blanks, newlines, and "\n" spelt so, in any number, are one space. */
static size_t squeeze(char *s, size_t length)
{
	size_t used = 0;
	bool blank = false;

	for (size_t i = 0; i < length; i++) {
		char c = s[i];

		if (c == '\\' && i + 1 < length && s[i + 1] == 'n') {
			blank = true;
			i++;
		} else if ((unsigned char)c <= ' ') {
			blank = true;
		} else {
			if (blank && used)
				s[used++] = ' ';
			blank = false;
			s[used++] = c;
		}
	}
	return used;
}

/* Of two with one name, a reference means the first. */
static bool take_name(struct reader *r, struct svd_node *n)
{
	struct svd_tree *t = r->tree;
	struct svd_node *name = regmap__svd_own(n, SVD_NAME);

	if (n->tag != SVD_PERIPHERAL && n->tag != SVD_CLUSTER && n->tag != SVD_REGISTER &&
	    n->tag != SVD_FIELD && n->tag != SVD_ENUMERATED_VALUES)
		return true;
	if (!name)
		return true;
	n->name = name->text;
	if (regmap__names_reserve(&t->names, 1) || regmap__names_reserve(&t->lists, 1))
		return false;
	regmap__names_add(&t->names, NAME_FIELD, n->parent, n);
	if (n->tag == SVD_ENUMERATED_VALUES)
		regmap__names_add(&t->lists, NAME_FIELD, NULL, n);
	return true;
}

static void on_end(void *ctx, const XML_Char *name)
{
	struct reader *r = ctx;
	struct svd_node *n = r->at;

	if (r->err)
		return;
	if (r->ignored) {
		r->ignored--;
		return;
	}
	r->depth--;
	if (is_list(tag_of(name)))
		return;
	if (!n->property && !n->member && r->used) {
		n->text = regmap__layout_string_n(r->tree->memory, r->buffer,
		                                  squeeze(r->buffer, r->used));
		if (!n->text)
			out_of_memory(r);
	}
	r->used = 0;
	if (!take_name(r, n))
		out_of_memory(r);
	r->at = n->parent;
}

static void on_text(void *ctx, const XML_Char *text, int length)
{
	struct reader *r = ctx;
	size_t need = r->used + (size_t)length, size = r->size ? r->size : 1024;
	char *buffer;

	if (r->err || r->ignored)
		return;
	while (size < need)
		size *= 2;
	if (size != r->size) {
		buffer = realloc(r->buffer, size);
		if (!buffer) {
			out_of_memory(r);
			return;
		}
		r->buffer = buffer;
		r->size = size;
	}
	memcpy(r->buffer + r->used, text, (size_t)length);
	r->used = need;
}

/* Entities can be made to grow without end, or to read other files; no SVD file needs any. */
static void on_doctype(void *ctx, const XML_Char *name, const XML_Char *system,
                       const XML_Char *public, int has_subset)
{
	struct reader *r = ctx;
	struct regmap_source place = here(r);

	(void)name, (void)system, (void)public, (void)has_subset;
	stop(r, regmap__layout_wrong(
			r->tree->error, -EINVAL, &place,
			"a DOCTYPE, which could declare entities, is not taken: remove it"));
}

/* Texts of vendors are in all sorts of code pages; names and numbers are ASCII in each of them. */
static int on_encoding(void *ctx, const XML_Char *name, XML_Encoding *info)
{
	(void)ctx, (void)name;
	for (int i = 0; i < 256; i++)
		info->map[i] = i;
	info->data = NULL;
	info->convert = NULL;
	info->release = NULL;
	return XML_STATUS_OK;
}

/* ---- the file ---- */

static int say_damaged(struct reader *r)
{
	enum XML_Error code = XML_GetErrorCode(r->parser);
	struct regmap_source place = here(r);

	if (code == XML_ERROR_NO_MEMORY)
		return regmap__layout_wrong(r->tree->error, -ENOMEM, NULL, "out of memory");
	if (code == XML_ERROR_NO_ELEMENTS || code == XML_ERROR_UNCLOSED_TOKEN ||
	    code == XML_ERROR_PARTIAL_CHAR || code == XML_ERROR_UNCLOSED_CDATA_SECTION) {
		place = place_of(r, r->length);
		if (r->at)
			return regmap__layout_wrong(
				r->tree->error, -EINVAL, &place,
				"the file ends within <%s>: it has been cut off",
				tag_names[r->at->tag]);
		return regmap__layout_wrong(r->tree->error, -EINVAL, &place,
		                            "the file ends before its <device> begins: it is empty "
		                            "or has been cut off");
	}
	return regmap__layout_wrong(r->tree->error, -EINVAL, &place,
	                            "this is no well-formed XML: %s", XML_ErrorString(code));
}

/* An XML declaration must be the first thing in a file. In some, there is an empty line before. */
static size_t leading_blanks(const char *text, size_t length)
{
	size_t i = 0;

	if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		i = 3;
	while (i < length &&
	       (text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n'))
		i++;
	return i;
}

static int run(struct reader *r)
{
	XML_Parser p = r->parser = XML_ParserCreate(NULL);

	if (!p)
		return regmap__layout_wrong(r->tree->error, -ENOMEM, NULL, "out of memory");
	XML_SetUserData(p, r);
	XML_SetElementHandler(p, on_start, on_end);
	XML_SetCharacterDataHandler(p, on_text);
	XML_SetStartDoctypeDeclHandler(p, on_doctype);
	XML_SetUnknownEncodingHandler(p, on_encoding, NULL);
	r->skipped = leading_blanks(r->text, r->length);
	if (XML_Parse(p, r->text + r->skipped, (int)(r->length - r->skipped), XML_TRUE) !=
	            XML_STATUS_OK &&
	    !r->err)
		r->err = say_damaged(r);
	XML_ParserFree(p);
	return r->err;
}

int regmap__svd_tree_parse(struct svd_tree *tree, const char *text, size_t length, const char *file,
                           struct regmap_error *error)
{
	struct reader r = {.tree = tree, .text = text, .length = length, .file = file, .line = 1};
	struct regmap_source place = {file, 0, 0};
	struct regmap_layout *memory;
	int err;

	memset(tree, 0, sizeof(*tree));
	tree->error = error;
	if (length > FILE_MOST)
		return regmap__layout_wrong(error, -E2BIG, &place, "the file has more than %d MB",
		                            FILE_MOST >> 20);
	err = regmap_layout_new("", &memory);
	if (err)
		return regmap__layout_wrong(error, err, NULL, "out of memory");
	tree->memory = layout_of(memory);
	err = run(&r);
	free(r.buffer);
	if (err)
		regmap__svd_tree_free(tree);
	return err;
}

static void free_names(struct names *names)
{
	free(names->entries);
	free(names->slots);
}

void regmap__svd_tree_free(struct svd_tree *tree)
{
	free_names(&tree->names);
	free_names(&tree->lists);
	if (tree->memory)
		regmap_layout_free(&tree->memory->pub);
	memset(tree, 0, sizeof(*tree));
}

/* <access/> says as much as no <access>. */
static bool is_empty(const struct svd_node *n)
{
	return !n->text[0] && !n->property && !n->member;
}

struct svd_node *regmap__svd_own(const struct svd_node *node, enum svd_tag tag)
{
	struct svd_node *n = is_member(tag) ? node->member : node->property;

	while (n && (n->tag != tag || (!is_member(tag) && is_empty(n))))
		n = n->next;
	return n;
}

/* ---- derivedFrom ---- */

/* "CH%s" is also what "CH3" means. */
static bool is_one_of(const char *pattern, const char *name, size_t length)
{
	const char *place = strstr(pattern, "%s");
	size_t before = place ? (size_t)(place - pattern) : 0, after;

	if (!place)
		return false;
	after = strlen(place + 2);
	if (before && pattern[before - 1] == '[' && place[2] == ']' && length > before - 1 &&
	    name[before - 1] != '[') {
		before--;
		after--;
	}
	return length > before + after && memcmp(pattern, name, before) == 0 &&
	       memcmp(pattern + strlen(pattern) - after, name + length - after, after) == 0;
}

static struct svd_node *find_in_array(const struct svd_node *scope, const char *name, size_t length)
{
	for (struct svd_node *n = scope->member; n; n = n->next)
		if (strchr(n->name, '%') && is_one_of(n->name, name, length))
			return n;
	return NULL;
}

/* In @scope, or in what that is derived from; a circle of these ends where it closes. */
static struct svd_node *find_child(struct svd_tree *t, struct svd_node *scope, const char *name,
                                   size_t length)
{
	struct svd_node *base = NULL;
	const void *found = regmap__names_find(&t->names, NAME_FIELD, scope, name, length, true);

	if (!found)
		found = regmap__names_find(&t->names, NAME_FIELD, scope, name, length, false);
	if (!found)
		found = find_in_array(scope, name, length);
	if (!found && !scope->is_resolving && regmap__svd_base(t, scope, &base) == 0 && base)
		found = find_child(t, base, name, length);
	return (struct svd_node *)found;
}

static struct svd_node *find_path(struct svd_tree *t, struct svd_node *scope, const char *path)
{
	struct svd_node *n = scope;

	while (n && *path) {
		size_t length = strcspn(path, ".");

		n = find_child(t, n, path, length);
		path += length;
		path += *path == '.';
	}
	return n;
}

/* Registers can be derived from registers only, and so on. A field stands for its values. */
static struct svd_node *fitting(const struct svd_node *node, struct svd_node *found)
{
	if (found && node->tag == SVD_ENUMERATED_VALUES && found->tag == SVD_FIELD)
		found = regmap__svd_own(found, SVD_ENUMERATED_VALUES);
	return found && found->tag == node->tag && found != node ? found : NULL;
}

/* The name is looked up from where it stands outwards. */
static struct svd_node *find_base(struct svd_tree *t, const struct svd_node *node)
{
	const char *path = node->derived_from;
	struct svd_node *found = NULL;

	for (const struct svd_node *s = node->parent; s && !found; s = s->parent)
		found = fitting(node, find_path(t, (struct svd_node *)s, path));
	if (!found && node->tag == SVD_ENUMERATED_VALUES)
		found = fitting(node,
		                (struct svd_node *)regmap__names_find(&t->lists, NAME_FIELD, NULL,
		                                                      path, strlen(path), true));
	return found;
}

/* Does that, in the end, come from @node itself, or from what it lies in? */
static bool is_circle(struct svd_tree *t, struct svd_node *node, struct svd_node *base, int *err)
{
	for (const struct svd_node *n = node->parent; n; n = n->parent)
		if (n == base)
			return true;
	for (struct svd_node *b = base; b && !*err;) {
		if (b == node || b->is_resolving)
			return true;
		*err = regmap__svd_base(t, b, &b);
	}
	return false;
}

static int say_too_deep(struct svd_tree *t, const struct svd_node *node)
{
	return regmap__layout_wrong(
		t->error, -E2BIG, &node->source,
		"%s \"%s\" is derived from one that is derived, and so on, more than "
		"%d times",
		tag_names[node->tag], node->name, GENERATIONS_MOST);
}

static int say_missing(struct svd_tree *t, const struct svd_node *node)
{
	const char *kind = tag_names[node->tag];

	if (strcmp(node->derived_from, node->name) == 0)
		return regmap__layout_wrong(
			t->error, -EINVAL, &node->source,
			"%s \"%s\" is derived from \"%s\": there is no other %s of that name", kind,
			node->name, node->derived_from, kind);
	return regmap__layout_wrong(t->error, -EINVAL, &node->source,
	                            "%s \"%s\" is derived from \"%s\": there is no such %s", kind,
	                            node->name, node->derived_from, kind);
}

static int find_and_check(struct svd_tree *t, struct svd_node *node, struct svd_node **base)
{
	int err = 0;

	*base = find_base(t, node);
	if (!*base)
		return say_missing(t, node);
	if (is_circle(t, node, *base, &err))
		return regmap__layout_wrong(
			t->error, -EINVAL, &node->source,
			"%s \"%s\" is derived from \"%s\", and that from it: break the circle",
			tag_names[node->tag], node->name, node->derived_from);
	if (!err && (*base)->generation == GENERATIONS_MOST)
		err = say_too_deep(t, node);
	return err;
}

int regmap__svd_base(struct svd_tree *t, struct svd_node *node, struct svd_node **base)
{
	int err;

	*base = node->base;
	if (node->base || !node->derived_from)
		return 0;
	if (t->nesting == GENERATIONS_MOST)
		return say_too_deep(t, node);
	t->nesting++;
	node->is_resolving = true;
	err = find_and_check(t, node, base);
	node->is_resolving = false;
	t->nesting--;
	if (err)
		*base = NULL;
	else
		node->generation = (*base)->generation + 1;
	node->base = *base;
	return err;
}
