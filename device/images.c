/* SPDX-License-Identifier: MIT */
/* Images into memory and out of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../describe/image.h"
#include "../describe/layout.h"
#include "memory.h"

enum { PATH_MOST = 4096, STEP = 1 << 20 };

static int file_error(const char *path, int err, struct regmap_error *error)
{
	struct regmap_source source = {.file = path};

	return regmap__layout_wrong(error, err, &source, "%s", strerror(-err));
}

/* ---- files ---- */

struct bytes {
	uint8_t *at;
	size_t length, room;
};

static bool make_room(struct bytes *b)
{
	size_t room = b->room ? b->room * 2 : STEP;
	uint8_t *more;

	if (b->length < b->room)
		return true;
	more = realloc(b->at, room);
	if (!more)
		return false;
	b->at = more;
	b->room = room;
	return true;
}

/* Not mapped: a file that somebody cuts would end in a bus error. */
static int read_all(int fd, struct bytes *b)
{
	ssize_t n;

	for (;;) {
		if (!make_room(b))
			return -ENOMEM;
		n = read(fd, b->at + b->length, b->room - b->length);
		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		b->length += n > 0 ? (size_t)n : 0;
	}
}

static int read_file(const char *path, struct bytes *b, struct regmap_error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;

	*b = (struct bytes){NULL, 0, 0};
	if (fd < 0)
		return file_error(path, -errno, error);
	err = read_all(fd, b);
	close(fd);
	if (!err)
		return 0;
	free(b->at);
	return file_error(path, err, error);
}

static int write_all(int fd, const uint8_t *from, size_t length)
{
	while (length) {
		ssize_t n = write(fd, from, length);

		if (n < 0 && errno != EINTR)
			return -errno;
		from += n > 0 ? n : 0;
		length -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* ---- in ---- */

/* The piece's place, in a layout's words. */
static int say_where(const struct regmap_device *d, const struct image_piece *piece,
                     const char *path, uint64_t address, int err, struct regmap_error *error)
{
	struct regmap_source source = {.file = path};
	char where[128];

	if (err == -ENOMEM)
		return regmap__layout_wrong(error, err, &source, "out of memory");
	if (piece->source.line)
		source = piece->source;
	regmap_layout_describe(d->layout, address, where, sizeof(where));
	return regmap__layout_wrong(
		error, -EFAULT, &source,
		"the byte for 0x%llx (%s) would lie in %s: load the image at another address",
		(unsigned long long)address, where,
		err == -ENODEV ? "what is no memory" : "nothing");
}

/* Look, have the memory there, put the bytes: in this order for all, so that nothing is half done. */
enum pass { LOOK, LAY, PUT, PASSES };

static int pass_piece(const struct memory *m, const struct image_piece *piece, uint64_t *address,
                      enum pass pass)
{
	uint64_t left = piece->length, run;
	uint8_t *host;
	int err;

	for (; left; *address += run, left -= run) {
		err = pass == LOOK ? regmap__memory_look(m, *address, &host, &run, NULL) :
		                     regmap__memory_host(m, *address, &host, &run, NULL);
		if (err)
			return err;
		run = run < left ? run : left;
		if (pass == PUT && piece->bytes)
			memcpy(host, piece->bytes + (piece->length - left), run);
		else if (pass == PUT)
			memset(host, 0, run);
	}
	return 0;
}

static int put_image(struct regmap_device *d, const struct image *image, uint64_t guest,
                     const char *path, struct regmap_error *error)
{
	for (unsigned pass = LOOK; pass < PASSES; pass++)
		for (size_t i = 0; i < image->piece_count; i++) {
			const struct image_piece *piece = &image->pieces[i];
			uint64_t address = piece->address + guest;
			int err = pass_piece(d->memory, piece, &address, pass);

			if (err)
				return say_where(d, piece, path, address, err, error);
		}
	return 0;
}

/* @absolute: addresses that the file has are meant; else @guest is added to all. */
static int load(struct regmap_device *d, uint64_t guest, bool absolute, const char *path,
                enum regmap_image_format format, uint64_t *entry, struct regmap_error *error)
{
	struct image image;
	struct bytes file;
	int err = read_file(path, &file, error);

	if (err)
		return err;
	err = regmap__image_parse(file.at, file.length, path, format, &image, error);
	if (!err) {
		if (absolute && image.format != REGMAP_IMAGE_RAW)
			guest = 0;
		err = put_image(d, &image, guest, path, error);
		if (!err && entry && image.has_entry)
			*entry = image.entry + guest;
		regmap__image_free(&image);
	}
	free(file.at);
	return err;
}

int regmap_device_load_file(struct regmap_device *device, uint64_t guest, const char *path,
                            enum regmap_image_format format, uint64_t *entry,
                            struct regmap_error *error)
{
	int saved = errno, err;

	if (!path)
		return regmap__layout_wrong(error, -EINVAL, NULL, "no file");
	err = load(device, guest, false, path, format, entry, error);
	errno = saved;
	return err;
}

/* Beside the description, unless it says otherwise. */
static int find_content(const struct regmap_region *r, char path[PATH_MOST])
{
	const char *file = r->source.file ? r->source.file : "";
	const char *slash = r->content[0] == '/' ? NULL : strrchr(file, '/');
	int n = snprintf(path, PATH_MOST, "%.*s%s", slash ? (int)(slash - file) + 1 : 0, file,
	                 r->content);

	return n < PATH_MOST ? 0 : -ENAMETOOLONG;
}

int regmap__content_load(struct regmap_device *d, struct regmap_error *error)
{
	char path[PATH_MOST];
	int err = 0;

	for (size_t i = 0; i < d->memory->count && !err; i++) {
		const struct regmap_region *r = d->memory->parts[i].region;

		if (!*r->content)
			continue;
		err = find_content(r, path);
		err = err ? file_error(r->content, err, error) :
		            load(d, r->address, true, path, REGMAP_IMAGE_AUTO, NULL, error);
	}
	return err;
}

/* ---- out ---- */

static enum regmap_image_format format_of(const char *path)
{
	static const struct {
		const char *ending;
		enum regmap_image_format format;
	} known[] = {
		{".hex", REGMAP_IMAGE_HEX},  {".ihex", REGMAP_IMAGE_HEX},
		{".ihx", REGMAP_IMAGE_HEX},  {".srec", REGMAP_IMAGE_SREC},
		{".sre", REGMAP_IMAGE_SREC}, {".s19", REGMAP_IMAGE_SREC},
		{".s28", REGMAP_IMAGE_SREC}, {".s37", REGMAP_IMAGE_SREC},
		{".mot", REGMAP_IMAGE_SREC}, {".elf", REGMAP_IMAGE_ELF},
	};
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot && i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcasecmp(dot, known[i].ending))
			return known[i].format;
	return REGMAP_IMAGE_RAW;
}

/* Memory as it is, or would be if it were touched. */
static int get_memory(const struct memory *m, uint64_t address, uint8_t *to, uint64_t length)
{
	struct part *part;
	uint64_t run;
	uint8_t *host;
	int err;

	for (; length; address += run, length -= run) {
		err = regmap__memory_look(m, address, &host, &run, &part);
		if (err)
			return err;
		run = run < length ? run : length;
		if (to && host)
			memcpy(to, host, run);
		else if (to)
			memset(to, regmap__part_fill(part), run);
		to = to ? to + run : NULL;
	}
	return 0;
}

static int write_raw(const struct memory *m, int fd, uint64_t address, uint64_t length)
{
	uint8_t *step = malloc(STEP);
	int err = step ? 0 : -ENOMEM;
	uint64_t n;

	for (; length && !err; address += n, length -= n) {
		n = length < STEP ? length : STEP;
		err = get_memory(m, address, step, n);
		if (!err)
			err = write_all(fd, step, n);
	}
	free(step);
	return err;
}

static int format_text(const struct memory *m, uint64_t address, uint64_t length,
                       enum regmap_image_format format, char **text, size_t *text_length,
                       struct regmap_error *error)
{
	uint8_t *bytes = malloc(length ? length : 1);
	int err;

	if (!bytes)
		return regmap__layout_wrong(error, -ENOMEM, NULL, "out of memory");
	err = get_memory(m, address, bytes, length);
	if (!err)
		err = regmap__image_format(format, address, bytes, length, text, text_length,
		                           error);
	free(bytes);
	return err;
}

/* A file that couldn't be written to its end goes again; a device or a pipe stays. */
static int save(const struct memory *m, uint64_t address, uint64_t length, const char *path,
                const char *text, size_t text_length, struct regmap_error *error)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), err;
	struct stat st;

	if (fd < 0)
		return file_error(path, -errno, error);
	err = text ? write_all(fd, (const uint8_t *)text, text_length) :
	             write_raw(m, fd, address, length);
	if (err && !fstat(fd, &st) && S_ISREG(st.st_mode))
		unlink(path);
	if (close(fd) && !err)
		err = -errno;
	return err ? file_error(path, err, error) : 0;
}

static int check_save(const struct regmap_device *d, uint64_t guest, uint64_t length,
                      enum regmap_image_format format, struct regmap_error *error)
{
	char where[128];
	uint64_t address = guest, run;
	uint8_t *host;

	if (format == REGMAP_IMAGE_ELF)
		return regmap__layout_wrong(error, -EINVAL, NULL,
		                            "ELF files can't be saved: choose raw, Intel HEX or "
		                            "S-records");
	if (length && guest + (length - 1) < guest)
		return regmap__layout_wrong(error, -EFAULT, NULL, "the range wraps");
	while (address - guest < length) {
		if (regmap__memory_look(d->memory, address, &host, &run, NULL)) {
			regmap_layout_describe(d->layout, address, where, sizeof(where));
			return regmap__layout_wrong(error, -EFAULT, NULL,
			                            "no memory at 0x%llx (%s): save less",
			                            (unsigned long long)address, where);
		}
		if (run > UINT64_MAX - address)
			break;
		address += run;
	}
	return 0;
}

int regmap_device_save_file(struct regmap_device *device, uint64_t guest, uint64_t length,
                            const char *path, enum regmap_image_format format,
                            struct regmap_error *error)
{
	int saved = errno, err;
	size_t text_length = 0;
	char *text = NULL;

	if (!path)
		return regmap__layout_wrong(error, -EINVAL, NULL, "no file");
	if (format == REGMAP_IMAGE_AUTO)
		format = format_of(path);
	err = check_save(device, guest, length, format, error);
	if (!err && format != REGMAP_IMAGE_RAW)
		err = format_text(device->memory, guest, length, format, &text, &text_length,
		                  error);
	if (!err)
		err = save(device->memory, guest, length, path, text, text_length, error);
	free(text);
	errno = saved;
	return err;
}
