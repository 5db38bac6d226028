/* SPDX-License-Identifier: MIT */
#ifndef DESCRIBE_LOAD_H
#define DESCRIBE_LOAD_H

#include "build.h"

struct loaded_file; /* which were read, in which includes which */

/* One loading or checking of a description with all that it includes. */
struct load {
	struct notes *notes;
	struct merge merge;
	struct loaded_file *files, *innermost;
	struct svd_part *parts; /* layouts that trees still point into */
	unsigned depth;
	bool is_overlay; /* the outermost file is made to be laid over another */
};

int regmap__load_begin(struct load *load, struct notes *notes);
void regmap__load_end(struct load *load);
/* A file that couldn't be read, as a note. */
void regmap__load_unreadable(struct notes *notes, int err, const char *name);
/* With what they include, laid over what was loaded before. */
void regmap__load_file(struct load *load, const char *path, enum regmap_format format);
void regmap__load_text(struct load *load, const char *text, size_t length,
                       enum regmap_format format, const char *name);
/* What was loaded as a layout, finished. NULL: notes say why. */
struct regmap_layout *regmap__load_finish(struct load *load);

/* text.c: what the text is, as far as its first lines show; REGMAP_FORMAT_AUTO: they don't. */
enum regmap_format regmap__format_of(const char *text, size_t length, const char *name);
/* All of a file; malloc()ed. 0 or -errno; -E2BIG beyond TREE_TEXT_MOST. */
int regmap__read_file(const char *path, char **text, size_t *length);

#endif
