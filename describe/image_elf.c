/* SPDX-License-Identifier: MIT */
/*
 * ELF files by their segments, of any machine, class and byte order: the bytes go as they are to
 * their physical addresses, which is where a programmer or a boot loader puts them.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <gelf.h>
#include <libelf.h>

#include "image_build.h"

struct elf {
	struct image_builder *b;
	Elf *elf;
	size_t count;     /* program headers */
	bool by_virtual;  /* physical addresses were not filled in */
	bool moved_parts; /* some segments run elsewhere than they are loaded, others don't */
};

static bool loads(struct elf *e, size_t i, GElf_Phdr *p)
{
	return gelf_getphdr(e->elf, i, p) && p->p_type == PT_LOAD && p->p_memsz;
}

/*
 * Some linkers leave all physical addresses at 0; with one segment that may also be meant.
 * Initialised data of firmware lies in flash and is copied to RAM: such a segment's distance from
 * physical to virtual differs from that of code. A kernel's is the same throughout.
 */
static void look_at_addresses(struct elf *e)
{
	GElf_Phdr p;
	size_t n = 0, zero = 0, virtual = 0;
	uint64_t distance = 0;

	for (size_t i = 0; i < e->count; i++) {
		if (!loads(e, i, &p))
			continue;
		e->moved_parts |= n && p.p_vaddr - p.p_paddr != distance;
		distance = p.p_vaddr - p.p_paddr;
		n++;
		zero += !p.p_paddr;
		virtual += p.p_vaddr != 0;
	}
	e->by_virtual = n > 1 && zero == n && virtual;
	e->moved_parts &= !e->by_virtual;
}

static int check_span(const struct elf *e, uint64_t address, uint64_t length)
{
	if (address + (length - 1) >= address)
		return 0;
	return IMAGE_WRONG(e->b, 0, 0,
	                   "a segment at 0x%" PRIx64 " with 0x%" PRIx64
	                   " bytes runs beyond the address space: the file is damaged",
	                   address, length);
}

static int add(struct elf *e, uint64_t address, uint64_t length, const uint8_t *bytes)
{
	if (!length)
		return 0;
	return regmap__image_add(e->b, &(struct image_run){address, length, bytes, 0, 0});
}

/* Zeroes of data that is copied to RAM belong there: behind its original in flash is something else. */
static int add_segment(struct elf *e, const GElf_Phdr *p)
{
	uint64_t address = e->by_virtual ? p->p_vaddr : p->p_paddr;
	uint64_t zeroed = e->moved_parts ? p->p_vaddr : address; /* where all of it would start */
	int err;

	if (p->p_filesz > p->p_memsz)
		return IMAGE_WRONG(e->b, 0, 0,
		                   "a segment has more bytes in the file than in memory: the file "
		                   "is damaged");
	if (p->p_offset > e->b->length || p->p_filesz > e->b->length - p->p_offset)
		return IMAGE_WRONG(e->b, 0, 0,
		                   "a segment's bytes end at 0x%" PRIx64 " of the file, which has "
		                   "0x%zx: it is cut",
		                   p->p_offset + p->p_filesz, e->b->length);
	err = check_span(e, address, p->p_memsz);
	if (!err)
		err = check_span(e, zeroed, p->p_memsz);
	if (!err)
		err = add(e, address, p->p_filesz, e->b->file + p->p_offset);
	return err ? err : add(e, zeroed + p->p_filesz, p->p_memsz - p->p_filesz, NULL);
}

static int add_segments(struct elf *e)
{
	size_t n = 0;
	GElf_Phdr p;
	int err = 0;

	look_at_addresses(e);
	for (size_t i = 0; i < e->count && !err; i++) {
		if (!gelf_getphdr(e->elf, i, &p))
			return IMAGE_WRONG(e->b, 0, 0, "its program headers can't be read: %s",
			                   elf_errmsg(-1));
		if (p.p_type == PT_LOAD && (p.p_memsz || p.p_filesz)) {
			err = add_segment(e, &p);
			n++;
		}
	}
	if (!err && !n)
		err = IMAGE_WRONG(e->b, 0, 0,
		                  "it has no segments to load: link it (an object file has none)");
	return err;
}

/* A table of headers lies where the file has something. Section headers come last: they show best that it is cut. */
static int check_table(const struct elf *e, const char *name, uint64_t at, uint64_t length)
{
	if (!length || (at <= e->b->length && length <= e->b->length - at))
		return 0;
	return IMAGE_WRONG(e->b, 0, 0,
	                   "its %s headers end at 0x%" PRIx64 " of the file, which has 0x%zx: it "
	                   "is cut",
	                   name, at + length, e->b->length);
}

static int read_headers(struct elf *e)
{
	struct image *out = e->b->out;
	GElf_Ehdr header;
	int err;

	if (elf_kind(e->elf) != ELF_K_ELF || !gelf_getehdr(e->elf, &header))
		return IMAGE_WRONG(e->b, 0, 0, "it is no ELF file, or it is cut or damaged: %s",
		                   elf_errmsg(-1));
	err = check_table(e, "section", header.e_shoff,
	                  (uint64_t)header.e_shnum * header.e_shentsize);
	if (err)
		return err;
	if (elf_getphdrnum(e->elf, &e->count))
		return IMAGE_WRONG(e->b, 0, 0, "its program headers can't be read: %s",
		                   elf_errmsg(-1));
	err = check_table(e, "program", header.e_phoff, (uint64_t)e->count * header.e_phentsize);
	if (err)
		return err;
	out->entry = header.e_entry;
	out->has_entry = header.e_entry;
	return add_segments(e);
}

int regmap__image_read_elf(struct image_builder *b)
{
	struct elf e = {.b = b};
	int err;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return IMAGE_WRONG(b, 0, 0, "libelf: %s", elf_errmsg(-1));
	/* It is only read: libelf changes what it was told to write. */
	e.elf = elf_memory((char *)(uintptr_t)b->file, b->length);
	if (!e.elf)
		return IMAGE_WRONG(b, 0, 0, "it can't be read as ELF: %s", elf_errmsg(-1));
	err = read_headers(&e);
	elf_end(e.elf);
	return err;
}
