/* SPDX-License-Identifier: MIT */
#include <elf.h>
#include <string.h>
#include <sys/mman.h>

#include "../arch/x86_64/scratch.h"
#include "../arch/x86_64/syscall.h"
#include "maps.h"
#include "symbols.h"

#include "sigsafe.h"

enum { END = 2 }; /* SEEK_END */

/* A file, of which nothing is believed that isn't within its size. */
struct image {
	const uint8_t *at;
	uint64_t size;
};

static bool open_image(const char *path, struct image *image)
{
	long fd = sys_open_read(path), at = -1;

	if (fd < 0)
		return false;
	image->size = (uint64_t)sys_call(SYS_lseek, fd, 0, END, 0);
	if ((int64_t)image->size > 0)
		at = sys_call6(SYS_mmap, 0, (long)image->size, PROT_READ, MAP_PRIVATE, fd, 0);
	sys_call(SYS_close, fd, 0, 0, 0);
	image->at = (const uint8_t *)at;
	return at > 0;
}

/* @count things of @each bytes, or NULL. */
static const void *part(const struct image *image, uint64_t offset, uint64_t count, uint64_t each)
{
	if (offset > image->size || offset % 8 || count > (image->size - offset) / each)
		return NULL;
	return image->at + offset;
}

static const Elf64_Ehdr *header(const struct image *image)
{
	const Elf64_Ehdr *h = part(image, 0, 1, sizeof(*h));

	if (!h || memcmp(h->e_ident, ELFMAG, SELFMAG) || h->e_ident[EI_CLASS] != ELFCLASS64 ||
	    h->e_shentsize != sizeof(Elf64_Shdr) || h->e_phentsize != sizeof(Elf64_Phdr))
		return NULL;
	return h;
}

/* The address that the file gives to what lies at @offset. */
static bool link_address(const struct image *image, const Elf64_Ehdr *h, uint64_t offset,
                         uint64_t *address)
{
	const Elf64_Phdr *p = part(image, h->e_phoff, h->e_phnum, sizeof(*p));

	for (unsigned i = 0; p && i < h->e_phnum; i++) {
		if (p[i].p_type != PT_LOAD || offset - p[i].p_offset >= p[i].p_filesz)
			continue;
		*address = p[i].p_vaddr + (offset - p[i].p_offset);
		return true;
	}
	return false;
}

static const Elf64_Shdr *find_table(const Elf64_Shdr *s, unsigned count, unsigned type)
{
	for (unsigned i = 0; i < count; i++)
		if (s[i].sh_type == type && s[i].sh_link < count)
			return &s[i];
	return NULL;
}

static bool holds(const Elf64_Sym *sym, uint64_t address)
{
	unsigned type = ELF64_ST_TYPE(sym->st_info);

	return (type == STT_FUNC || type == STT_GNU_IFUNC) && sym->st_shndx != SHN_UNDEF &&
	       address >= sym->st_value &&
	       (!sym->st_size || address - sym->st_value < sym->st_size);
}

static const Elf64_Sym *nearest(const Elf64_Sym *sym, uint64_t count, uint64_t address)
{
	const Elf64_Sym *best = NULL;

	for (uint64_t i = 0; i < count; i++)
		if (holds(&sym[i], address) && (!best || sym[i].st_value > best->st_value))
			best = &sym[i];
	return best;
}

static bool copy_name(const struct image *image, const Elf64_Shdr *strings, uint32_t at, char *name,
                      size_t size)
{
	uint64_t from = strings->sh_offset + at;
	size_t n = 0;

	if (at >= strings->sh_size || strings->sh_offset > image->size)
		return false;
	for (; n + 1 < size && from + n < image->size && image->at[from + n]; n++)
		name[n] = (char)image->at[from + n];
	name[n] = 0;
	return n > 0;
}

static bool look_up(const struct image *image, uint64_t file_offset, char *name, size_t size,
                    uint64_t *offset)
{
	const Elf64_Ehdr *h = header(image);
	const Elf64_Shdr *s = h ? part(image, h->e_shoff, h->e_shnum, sizeof(*s)) : NULL, *table;
	const Elf64_Sym *sym;
	uint64_t address, count;

	if (!s || !link_address(image, h, file_offset, &address))
		return false;
	table = find_table(s, h->e_shnum, SHT_SYMTAB);
	table = table ? table : find_table(s, h->e_shnum, SHT_DYNSYM);
	count = table ? table->sh_size / sizeof(*sym) : 0;
	sym = table ? part(image, table->sh_offset, count, sizeof(*sym)) : NULL;
	sym = sym ? nearest(sym, count, address) : NULL;
	if (!sym || !copy_name(image, &s[table->sh_link], sym->st_name, name, size))
		return false;
	*offset = address - sym->st_value;
	return true;
}

bool regmap__symbol_find(uint64_t address, char *name, size_t size, uint64_t *offset)
{
	char *text = regmap__scratch_map(MAPS_TEXT);
	struct image image;
	struct mapping m;
	bool found = false;

	if (!text)
		return false;
	if (regmap__maps_find(address, text, &m) && open_image(m.name, &image)) {
		found = look_up(&image, m.offset + (address - m.start), name, size, offset);
		regmap__scratch_unmap((void *)(uintptr_t)image.at, image.size);
	}
	regmap__scratch_unmap(text, MAPS_TEXT);
	return found;
}
