/* SPDX-License-Identifier: MIT */
/*
 * Sections of the program at guest addresses become the device's memory. The kernel has mapped them
 * there from the program's file, so no window can be laid; what they hold moves into the device, whose
 * pages are then mapped in their place.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <regmap/firmware.h>

#include "../describe/layout.h"
#include "inside.h"

enum { PAGE = 4096 };

static const struct regmap_source nowhere = {.file = ""};

struct piece {
	uint64_t first, end; /* whole pages */
	int protection;      /* what the program has them with */
	uint8_t *copy;
};

struct pieces {
	const struct regmap_device *device;
	struct piece *list;
	size_t count;
	int err;
};

/* ---- which pages ---- */

static bool takes(const struct regmap_region *region, int protection)
{
	switch (region->type) {
	case REGMAP_REGION_RAM:
	case REGMAP_REGION_EXTERNAL: return !region->detached;
	case REGMAP_REGION_FLASH:
	case REGMAP_REGION_ROM:
	case REGMAP_REGION_STORAGE: return !(protection & PROT_WRITE);
	default: return false;
	}
}

/* Every byte in memory of the device's, which may be several regions, one after the other. */
static bool lies_within(const struct regmap_device *device, const struct piece *piece)
{
	const struct regmap_region *region;
	uint64_t left;

	for (uint64_t at = piece->first; at < piece->end; at += left) {
		region = regmap_device_region_at(device, at);
		if (!region || !takes(region, piece->protection))
			return false;
		left = region->length - (at - region->address);
		/* Another one may begin inside of it. */
		left = left < PAGE ? left : PAGE - at % PAGE;
	}
	return true;
}

static int add_piece(struct pieces *pieces, const struct piece *piece)
{
	struct piece *list = realloc(pieces->list, (pieces->count + 1) * sizeof(*pieces->list));

	if (!list)
		return -ENOMEM;
	list[pieces->count++] = *piece;
	pieces->list = list;
	return 0;
}

static int protection_of(const ElfW(Phdr) * segment)
{
	return (segment->p_flags & PF_R ? PROT_READ : 0) |
	       (segment->p_flags & PF_W ? PROT_WRITE : 0) |
	       (segment->p_flags & PF_X ? PROT_EXEC : 0);
}

/* Code, and what it needs while this one runs: the dynamic linker's tables, thread-local data. */
static bool is_vital(const ElfW(Phdr) * segment)
{
	switch (segment->p_type) {
	case PT_LOAD: return segment->p_flags & PF_X;
	case PT_DYNAMIC:
	case PT_GNU_RELRO:
	case PT_INTERP:
	case PT_PHDR:
	case PT_TLS: return true;
	default: return false;
	}
}

/*
 * A region around the object's code is there because the program happens to lie where the chip has something. Its
 * constants and data are not the firmware's choice, then, and libregmap may be in there.
 */
static bool is_around_code(const struct regmap_device *device, const struct dl_phdr_info *object,
                           uint64_t address)
{
	const struct regmap_region *region = regmap_device_region_at(device, address);

	for (size_t i = 0; region && i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
		uint64_t first = object->dlpi_addr + segment->p_vaddr;

		if (is_vital(segment) && segment->p_memsz &&
		    first - region->address < region->length)
			return true;
	}
	return false;
}

static int find_pieces(struct dl_phdr_info *object, size_t size, void *arg)
{
	struct pieces *pieces = arg;

	(void)size;
	for (size_t i = 0; i < object->dlpi_phnum && !pieces->err; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
		uint64_t first = object->dlpi_addr + segment->p_vaddr;
		struct piece piece = {
			.first = first & -(uint64_t)PAGE,
			.end = (first + segment->p_memsz + PAGE - 1) & -(uint64_t)PAGE,
			.protection = protection_of(segment),
		};

		if (segment->p_type == PT_LOAD && segment->p_memsz && !(segment->p_flags & PF_X) &&
		    lies_within(pieces->device, &piece) &&
		    !is_around_code(pieces->device, object, first))
			pieces->err = add_piece(pieces, &piece);
	}
	return pieces->err;
}

/* ---- there and back ---- */

static int keep_copy(struct piece *piece)
{
	size_t length = piece->end - piece->first;

	piece->copy = malloc(length);
	if (!piece->copy)
		return -ENOMEM;
	memcpy(piece->copy, (const void *)piece->first, length);
	return 0;
}

/* Flash and ROM take no writes, so by their memory. */
static int fill_device(struct regmap_device *device, const struct piece *piece)
{
	uint64_t at = piece->first, n;
	void *host;
	int err;

	for (; at < piece->end; at += n) {
		const struct regmap_region *region = regmap_device_region_at(device, at);

		err = regmap_device_translate(device, at, &host);
		if (err)
			return err;
		n = region->length - (at - region->address);
		n = n < PAGE - at % PAGE ? n : PAGE - at % PAGE;
		memcpy(host, piece->copy + (at - piece->first), n);
	}
	return 0;
}

static void put_back(const struct piece *piece)
{
	size_t length = piece->end - piece->first;
	void *at = mmap((void *)piece->first, length, PROT_READ | PROT_WRITE,
	                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (at == MAP_FAILED)
		abort(); /* what was there a moment ago has no room: the program can't go on */
	memcpy(at, piece->copy, length);
	mprotect(at, length, piece->protection);
}

static int move(struct regmap_device *device, struct pieces *pieces, struct regmap_error *error)
{
	int err = 0;

	for (size_t i = 0; i < pieces->count && !err; i++) {
		err = keep_copy(&pieces->list[i]);
		if (!err)
			err = fill_device(device, &pieces->list[i]);
	}
	if (err)
		return regmap__layout_wrong(
			error, err, &nowhere,
			"the program's sections can't be moved into the device: %s",
			regmap_strerror(err));
	for (size_t i = 0; i < pieces->count; i++)
		munmap((void *)pieces->list[i].first, pieces->list[i].end - pieces->list[i].first);
	err = regmap_device_map(device, 0, error);
	for (size_t i = 0; i < pieces->count && err; i++)
		put_back(&pieces->list[i]);
	return err;
}

int regmap_device_adopt(struct regmap_device *device, struct regmap_error *error)
{
	struct pieces pieces = {.device = device};
	int err;

	if (!device)
		return regmap__layout_wrong(error, -EINVAL, &nowhere, "no device");
	dl_iterate_phdr(find_pieces, &pieces);
	err = pieces.err;
	if (err)
		regmap__layout_wrong(error, err, &nowhere, "%s", regmap_strerror(err));
	else
		err = move(device, &pieces, error);
	for (size_t i = 0; i < pieces.count; i++)
		free(pieces.list[i].copy);
	free(pieces.list);
	return err;
}
