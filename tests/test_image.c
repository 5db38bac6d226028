/* SPDX-License-Identifier: MIT */
/* LDLIBS: -lelf */
/* Images: Intel HEX, S-record, ELF and raw files become pieces of memory, or say where they are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "describe/image.h"

#define END "\n:00000001FF\n"

static struct image image;
static struct regmap_error error;

static int parse(const void *file, size_t length, enum regmap_image_format format)
{
	memset(&error, 0, sizeof(error));
	return regmap__image_parse(file, length, "f", format, &image, &error);
}

static void load(const char *text, enum regmap_image_format format)
{
	int err = parse(text, strlen(text), REGMAP_IMAGE_AUTO);

	if (err)
		fail_msg("%s", error.text);
	assert_int_equal(image.format, format);
}

static void assert_wrong(unsigned line, unsigned column, const char *what)
{
	assert_int_equal(error.line, line);
	assert_int_equal(error.column, column);
	assert_string_equal(error.file, "f");
	if (!strstr(error.text, what))
		fail_msg("'%s' doesn't say '%s'", error.text, what);
	assert_null(image.pieces);
	assert_null(image.memory);
	assert_int_equal(image.piece_count, 0);
}

static void refuse(const char *text, unsigned line, unsigned column, const char *what)
{
	assert_int_equal(parse(text, strlen(text), REGMAP_IMAGE_AUTO), -EINVAL);
	assert_wrong(line, column, what);
}

static void assert_piece(size_t i, uint64_t address, const char *bytes, uint64_t length)
{
	assert_in_range(i, 0, image.piece_count - 1);
	assert_int_equal(image.pieces[i].address, address);
	assert_int_equal(image.pieces[i].length, length);
	if (bytes)
		assert_memory_equal(image.pieces[i].bytes, bytes, length);
	else
		assert_null(image.pieces[i].bytes);
}

/* One record with its checksum. */
static const char *hex(unsigned type, unsigned offset, const char *digits)
{
	static char text[8][600];
	static unsigned turn;
	char *to = text[turn++ % 8];
	unsigned n = strlen(digits) / 2, byte;
	uint8_t sum = n + (offset >> 8) + offset + type;

	for (unsigned i = 0; i < n; i++) {
		sscanf(digits + 2 * i, "%2x", &byte);
		sum += byte;
	}
	snprintf(to, 600, ":%02X%04X%02X%s%02X\n", n, offset, type, digits, (uint8_t)-sum);
	return to;
}

static char joined[4096];

static const char *join(const char *a, const char *b, const char *c, const char *d)
{
	snprintf(joined, sizeof(joined), "%s%s%s%s", a, b, c, d);
	return joined;
}

/* ---- Intel HEX --------------------------------------------------------------------------------- */

static void test_image_hex_data(void **state)
{
	(void)state;
	/* As printed in the specification's successors everywhere. */
	load(":10010000214601360121470136007EFE09D2190140\n"
	     ":100110002146017E17C20001FF5F16002148011928\n"
	     ":00000001FF\n",
	     REGMAP_IMAGE_HEX);
	assert_int_equal(image.piece_count, 1);
	assert_piece(0, 0x100,
	             "\x21\x46\x01\x36\x01\x21\x47\x01\x36\x00\x7E\xFE\x09\xD2\x19\x01"
	             "\x21\x46\x01\x7E\x17\xC2\x00\x01\xFF\x5F\x16\x00\x21\x48\x01\x19",
	             32);
	assert_int_equal(image.pieces[0].source.line, 1);
	assert_false(image.has_entry);
	regmap__image_free(&image);
}

static void test_image_hex_small_letters_and_line_ends(void **state)
{
	(void)state;
	load("\r\n  :02000000abcd86  \r\r:0000000"
	     "1ff",
	     REGMAP_IMAGE_HEX);
	assert_piece(0, 0, "\xab\xcd", 2);
	regmap__image_free(&image);
}

static void test_image_hex_gap_makes_two_pieces(void **state)
{
	(void)state;
	load(join(hex(0, 0x20, "03"), hex(0, 0x10, "0102"), ":00000001FF", ""), REGMAP_IMAGE_HEX);
	assert_int_equal(image.piece_count, 2);
	assert_piece(0, 0x10, "\1\2", 2);
	assert_int_equal(image.pieces[0].source.line, 2);
	assert_piece(1, 0x20, "\3", 1);
	assert_int_equal(image.pieces[1].source.line, 1);
	regmap__image_free(&image);
}

static void test_image_hex_linear_address(void **state)
{
	(void)state;
	load(join(hex(4, 0, "0800"), hex(0, 0x1234, "AABB"), hex(5, 0, "08000101"), ":00000001FF"),
	     REGMAP_IMAGE_HEX);
	assert_piece(0, 0x08001234, "\xaa\xbb", 2);
	assert_true(image.has_entry);
	assert_int_equal(image.entry, 0x08000101);
	regmap__image_free(&image);
}

static void test_image_hex_segment_address(void **state)
{
	(void)state;
	load(join(hex(2, 0, "1000"), hex(0, 0x20, "AABB"), hex(3, 0, "12345678"), ":00000001FF"),
	     REGMAP_IMAGE_HEX);
	assert_piece(0, 0x10020, "\xaa\xbb", 2);
	assert_true(image.has_entry);
	assert_int_equal(image.entry, 0x12340 + 0x5678);
	regmap__image_free(&image);
}

/* In a segment, the byte behind offset 0xffff is that at offset 0. */
static void test_image_hex_wraps_in_a_segment(void **state)
{
	(void)state;
	load(join(hex(2, 0, "1000"), hex(0, 0xfffe, "01020304"), ":00000001FF", ""),
	     REGMAP_IMAGE_HEX);
	assert_int_equal(image.piece_count, 2);
	assert_piece(0, 0x10000, "\3\4", 2);
	assert_piece(1, 0x1fffe, "\1\2", 2);
	regmap__image_free(&image);
}

static void test_image_hex_linear_goes_on_behind_64k(void **state)
{
	(void)state;
	load(join(hex(4, 0, "0001"), hex(0, 0xfffe, "01020304"), ":00000001FF", ""),
	     REGMAP_IMAGE_HEX);
	assert_int_equal(image.piece_count, 1);
	assert_piece(0, 0x1fffe, "\1\2\3\4", 4);
	regmap__image_free(&image);
}

static void test_image_hex_linear_wraps_at_4g(void **state)
{
	(void)state;
	load(join(hex(4, 0, "FFFF"), hex(0, 0xfffe, "01020304"), ":00000001FF", ""),
	     REGMAP_IMAGE_HEX);
	assert_int_equal(image.piece_count, 2);
	assert_piece(0, 0, "\3\4", 2);
	assert_piece(1, 0xfffffffe, "\1\2", 2);
	regmap__image_free(&image);
}

/* A linear address replaces a segment's, and the other way round. */
static void test_image_hex_last_base_counts(void **state)
{
	char text[512];

	(void)state;
	snprintf(text, sizeof(text), "%s%s%s%s%s:00000001FF", hex(2, 0, "F000"), hex(4, 0, "0002"),
	         hex(0, 0, "01"), hex(2, 0, "0010"), hex(0, 0, "02"));
	load(text, REGMAP_IMAGE_HEX);
	assert_piece(0, 0x100, "\2", 1);
	assert_piece(1, 0x20000, "\1", 1);
	regmap__image_free(&image);
}

static void test_image_hex_longest_record(void **state)
{
	char digits[511] = "";

	(void)state;
	for (unsigned i = 0; i < 255; i++)
		snprintf(digits + 2 * i, 3, "%02X", i);
	load(join(hex(0, 0, digits), ":00000001FF", "", ""), REGMAP_IMAGE_HEX);
	assert_int_equal(image.pieces[0].length, 255);
	for (unsigned i = 0; i < 255; i++)
		assert_int_equal(image.pieces[0].bytes[i], i);
	regmap__image_free(&image);
}

static void test_image_hex_wrong_records(void **state)
{
	(void)state;
	refuse(":0100000001FF" END, 1, 12, "checksum is FF, and FE");
	refuse(":02000000AB53" END, 1, 2, "says 2 bytes of data and has 1");
	refuse(":0100000001FE00" END, 1, 2, "says 1 bytes of data and has 2");
	refuse(":00000001FF\n:0100000001FE", 2, 1, "behind the end-of-file record");
	refuse("\n :0100000001FE\n", 2, 1, "no end-of-file record");
	refuse(":0100000001FE\n0100000001FE" END, 2, 1, "starts with ':'");
	refuse(":010000000GFE" END, 1, 11, "'G' where a hex digit should be");
	refuse(":010000001" END, 1, 11, "middle of a byte");
	refuse(":01\t000001FE" END, 1, 4, "byte 0x09");
	refuse(":" END, 1, 2, "says 0 bytes");
	refuse(":00000006FA" END, 1, 8, "type 06");
	refuse(":0100000401FA" END, 1, 2, "type 04 (linear address) has 2 bytes, not 1");
	refuse(":0100000201FC" END, 1, 2, "type 02 (segment address) has 2 bytes, not 1");
	refuse(":0100000301FB" END, 1, 2, "type 03");
	refuse(":0100000501F9" END, 1, 2, "type 05");
	refuse(":0100000101FD", 1, 2, "type 01 (end-of-file) has 0 bytes");
}

static void test_image_hex_line_without_an_end(void **state)
{
	char text[1200];

	(void)state;
	memset(text, '0', sizeof(text));
	text[0] = ':';
	text[sizeof(text) - 1] = 0;
	refuse(text, 1, 2 + 2 * 260, "longer than any may be");
}

/* Each place where it may be cut: never accepted, never a piece less without a word. */
static void test_image_hex_cut_anywhere(void **state)
{
	const char *whole = join(hex(4, 0, "0800"), hex(0, 0, "01020304"), hex(0, 4, "05"),
	                         ":00000001FF");

	(void)state;
	for (size_t n = 1; n < strlen(whole); n++) {
		char *part = strndup(whole, n);

		assert_int_equal(parse(part, n, REGMAP_IMAGE_AUTO), -EINVAL);
		assert_null(image.pieces);
		free(part);
	}
}

/* ---- one byte said twice -------------------------------------------------------------------------- */

static void test_image_same_byte_twice(void **state)
{
	(void)state;
	load(join(hex(0, 0x10, "01020304"), hex(0, 0x12, "030405"), hex(0, 0x11, "02"),
	          ":00000001FF"),
	     REGMAP_IMAGE_HEX);
	assert_int_equal(image.piece_count, 1);
	assert_piece(0, 0x10, "\1\2\3\4\5", 5);
	regmap__image_free(&image);
}

static void test_image_byte_that_differs(void **state)
{
	(void)state;
	refuse(join(hex(0, 0x10, "01020304"), hex(0, 0x40, "99"), hex(0, 0x12, "030605"),
	            ":00000001FF"),
	       3, 1, "the byte at 0x13 is 0x06 here and 0x04 in line 1");
	/* The later line is to blame, even if its address is the lower one. */
	refuse(join(hex(0, 0x10, "01020304"), hex(0, 0x0f, "0007"), ":00000001FF", ""), 2, 1,
	       "the byte at 0x10 is 0x07 here and 0x01 in line 1");
}

/* ---- S-records ------------------------------------------------------------------------------------ */

static const char *srec(unsigned type, const char *digits)
{
	static char text[8][600];
	static unsigned turn;
	char *to = text[turn++ % 8];
	unsigned n = strlen(digits) / 2, byte;
	uint8_t sum = n + 1;

	for (unsigned i = 0; i < n; i++) {
		sscanf(digits + 2 * i, "%2x", &byte);
		sum += byte;
	}
	snprintf(to, 600, "S%u%02X%s%02X\n", type, n + 1, digits, (uint8_t)~sum);
	return to;
}

static void test_image_srec_from_the_manual(void **state)
{
	(void)state;
	load("S00F000068656C6C6F202020202000003C\n"
	     "S11F00007C0802A6900100049421FFF07C6C1B787C8C23783C6000003863000026\n"
	     "S11F001C4BFFFFE5398000007D83637880010014382100107C0803A64E800020E9\n"
	     "S111003848656C6C6F20776F726C642E0A0042\n"
	     "S5030003F9\n"
	     "S9030000FC\n",
	     REGMAP_IMAGE_SREC);
	assert_int_equal(image.piece_count, 1);
	assert_int_equal(image.pieces[0].address, 0);
	assert_int_equal(image.pieces[0].length, 70);
	assert_memory_equal(image.pieces[0].bytes + 56, "Hello world.\n", 14);
	assert_int_equal(image.pieces[0].source.line, 2);
	assert_false(image.has_entry);
	regmap__image_free(&image);
}

static void test_image_srec_widths_of_addresses(void **state)
{
	char text[512];

	(void)state;
	snprintf(text, sizeof(text), "%s%s%s%s%s", srec(1, "123401"), srec(2, "12345602"),
	         srec(3, "1234567803"), srec(6, "000003"), srec(7, "12345678"));
	load(text, REGMAP_IMAGE_SREC);
	assert_piece(0, 0x1234, "\1", 1);
	assert_piece(1, 0x123456, "\2", 1);
	assert_piece(2, 0x12345678, "\3", 1);
	assert_true(image.has_entry);
	assert_int_equal(image.entry, 0x12345678);
	regmap__image_free(&image);
	load(join(srec(2, "12345602"), srec(8, "123456"), "", ""), REGMAP_IMAGE_SREC);
	assert_int_equal(image.entry, 0x123456);
	regmap__image_free(&image);
	load(join(srec(1, "123402"), srec(9, "1234"), "", ""), REGMAP_IMAGE_SREC);
	assert_int_equal(image.entry, 0x1234);
	regmap__image_free(&image);
}

static void test_image_srec_top_of_the_address_space(void **state)
{
	(void)state;
	load(join(srec(3, "FFFFFFFF07"), srec(7, "00000000"), "", ""), REGMAP_IMAGE_SREC);
	assert_piece(0, 0xffffffff, "\7", 1);
	regmap__image_free(&image);
}

static void test_image_srec_wrong_records(void **state)
{
	(void)state;
	refuse("S10400000100\nS9030000FC", 1, 11, "checksum is 00, and FA");
	refuse("S105000001F9\nS9030000FC", 1, 3, "says 5 bytes and has 4");
	refuse("S1020000\nS9030000FC", 1, 3, "S1 record has at least 3 bytes, not 2");
	refuse("S40400000100\nS9030000FC", 1, 2, "S4 is reserved");
	refuse("S104000001FA\n", 1, 1, "no record that ends the file");
	refuse("S9030000FC\nS104000001FA\n", 2, 1, "behind the record that ends the file");
	refuse("S104000001FA\nS5030002FA\nS9030000FC", 2, 5,
	       "counts 2 data records, and there are 1");
	refuse("S104000001FA\nT9030000FC", 2, 1, "starts with S0 to S9");
	refuse("S1040000G1FA\nS9030000FC", 1, 9, "'G'");
	refuse("S1\n", 1, 3, "says 0 bytes");
	refuse(join(srec(9, "000000"), "", "", ""), 1, 3, "S9 record has just 3 bytes, not 4");
	refuse(join(srec(1, "FFFF0102"), srec(9, "0000"), "", ""), 1, 5, "beyond the 16 bits");
	refuse(join(srec(3, "FFFFFFFF0102"), srec(7, "00000000"), "", ""), 1, 5,
	       "beyond the 32 bits");
	refuse(join(srec(1, "001001"), srec(1, "001002"), srec(9, "0000"), ""), 2, 1,
	       "the byte at 0x10 is 0x02 here and 0x01 in line 1");
}

static void test_image_srec_cut_anywhere(void **state)
{
	const char *whole = join(srec(0, "0000"), srec(3, "0800000001020304"), srec(5, "0001"),
	                         "S70508000000F2");

	(void)state;
	for (size_t n = 2; n < strlen(whole); n++) {
		char *part = strndup(whole, n);

		assert_int_equal(parse(part, n, REGMAP_IMAGE_AUTO), -EINVAL);
		assert_null(image.pieces);
		free(part);
	}
}

/* ---- ELF -------------------------------------------------------------------------------------------- */

struct segment {
	uint32_t type;
	uint64_t paddr, vaddr, filesz, memsz;
};

struct elf_kind {
	bool is_64, is_big;
	uint16_t machine;
};

static const struct elf_kind arm = {false, false, EM_ARM};

static struct {
	uint8_t bytes[4096];
	size_t length;
} file;

#define PUT16(k, field, value) ((field) = (k)->is_big ? htobe16(value) : htole16(value))
#define PUT32(k, field, value) ((field) = (k)->is_big ? htobe32(value) : htole32(value))
#define PUT64(k, field, value) ((field) = (k)->is_big ? htobe64(value) : htole64(value))

#define HEADER(k, bits, n) \
	do { \
		Elf##bits##_Ehdr h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS##bits, \
		                                  (k)->is_big ? ELFDATA2MSB : ELFDATA2LSB, 1}}; \
		PUT16(k, h.e_type, ET_EXEC); \
		PUT16(k, h.e_machine, (k)->machine); \
		PUT32(k, h.e_version, 1); \
		PUT##bits(k, h.e_entry, 0x08000101); \
		PUT##bits(k, h.e_phoff, sizeof(h)); \
		PUT16(k, h.e_ehsize, sizeof(h)); \
		PUT16(k, h.e_phentsize, sizeof(Elf##bits##_Phdr)); \
		PUT16(k, h.e_phnum, n); \
		memcpy(file.bytes, &h, sizeof(h)); \
	} while (0)

#define PROGRAM_HEADER(k, bits, i, s, at) \
	do { \
		Elf##bits##_Phdr p = {0}; \
		PUT32(k, p.p_type, (s)->type); \
		PUT##bits(k, p.p_offset, at); \
		PUT##bits(k, p.p_paddr, (s)->paddr); \
		PUT##bits(k, p.p_vaddr, (s)->vaddr); \
		PUT##bits(k, p.p_filesz, (s)->filesz); \
		PUT##bits(k, p.p_memsz, (s)->memsz); \
		memcpy(file.bytes + sizeof(Elf##bits##_Ehdr) + (i) * sizeof(p), &p, sizeof(p)); \
	} while (0)

/* Byte j of segment i is 0x10 * (i + 1) + j. */
static void make_elf(const struct elf_kind *k, const struct segment *segments, unsigned n)
{
	size_t at = 512;

	memset(&file, 0, sizeof(file));
	if (k->is_64)
		HEADER(k, 64, n);
	else
		HEADER(k, 32, n);
	for (unsigned i = 0; i < n; i++) {
		const struct segment *s = &segments[i];

		if (k->is_64)
			PROGRAM_HEADER(k, 64, i, s, at);
		else
			PROGRAM_HEADER(k, 32, i, s, at);
		for (unsigned j = 0; j < s->filesz && j < 16; j++)
			file.bytes[at + j] = 0x10 * (i + 1) + j;
		at += s->filesz;
	}
	file.length = at;
}

static void load_elf(void)
{
	int err = parse(file.bytes, file.length, REGMAP_IMAGE_AUTO);

	if (err)
		fail_msg("%s", error.text);
	assert_int_equal(image.format, REGMAP_IMAGE_ELF);
}

static void refuse_elf(const char *what)
{
	assert_int_equal(parse(file.bytes, file.length, REGMAP_IMAGE_AUTO), -EINVAL);
	assert_wrong(0, 0, what);
}

static void test_image_elf_any_class_order_and_machine(void **state)
{
	static const struct elf_kind kinds[] = {
		{false, false, EM_ARM},  {false, true, EM_PPC},  {true, false, EM_AARCH64},
		{true, true, EM_S390},   {false, false, EM_AVR}, {false, false, EM_XTENSA},
		{true, false, EM_RISCV}, {false, false, 0xfeed},
	};
	static const struct segment s[] = {
		{PT_LOAD, 0x08000000, 0x08000000, 4, 4},
		{PT_NOTE, 0x09000000, 0x09000000, 4, 4},
		{PT_LOAD, 0x20000000, 0x20000000, 2, 2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		make_elf(&kinds[i], s, 3);
		load_elf();
		assert_int_equal(image.piece_count, 2);
		assert_piece(0, 0x08000000, "\x10\x11\x12\x13", 4);
		assert_piece(1, 0x20000000, "\x30\x31", 2);
		assert_true(image.has_entry);
		assert_int_equal(image.entry, 0x08000101);
		assert_int_equal(image.pieces[0].source.line, 0);
		regmap__image_free(&image);
	}
}

/* Initialised data: in flash, where it is programmed; its zeroes in RAM. */
static void test_image_elf_physical_addresses(void **state)
{
	static const struct segment s[] = {
		{PT_LOAD, 0x08000000, 0x08000000, 4, 4},
		{PT_LOAD, 0x08000004, 0x20000000, 2, 8},
	};

	(void)state;
	make_elf(&arm, s, 2);
	load_elf();
	assert_int_equal(image.piece_count, 2);
	assert_piece(0, 0x08000000, "\x10\x11\x12\x13\x20\x21", 6);
	assert_piece(1, 0x20000002, NULL, 6);
	regmap__image_free(&image);
}

static void test_image_elf_bss_is_zero(void **state)
{
	static const struct segment s[] = {
		{PT_LOAD, 0x20000000, 0x20000000, 2, 16},
		{PT_LOAD, 0x20000010, 0x20000010, 0, 16},
	};

	(void)state;
	make_elf(&arm, s, 2);
	load_elf();
	assert_int_equal(image.piece_count, 2);
	assert_piece(0, 0x20000000, "\x10\x11", 2);
	assert_piece(1, 0x20000002, NULL, 30);
	regmap__image_free(&image);
}

/* All segments moved by the same distance, as a kernel's are: zeroes stay behind the data. */
static void test_image_elf_moved_as_a_whole(void **state)
{
	static const struct elf_kind riscv = {true, false, EM_RISCV};
	static const struct segment s[] = {
		{PT_LOAD, 0x80000000, 0xffffffff80000000, 4, 4},
		{PT_LOAD, 0x80001000, 0xffffffff80001000, 2, 8},
	};

	(void)state;
	make_elf(&riscv, s, 2);
	load_elf();
	assert_int_equal(image.piece_count, 3);
	assert_piece(1, 0x80001000, "\x20\x21", 2);
	assert_piece(2, 0x80001002, NULL, 6);
	regmap__image_free(&image);
}

static void test_image_elf_physical_addresses_not_filled_in(void **state)
{
	static const struct segment s[] = {
		{PT_LOAD, 0, 0x1000, 4, 4},
		{PT_LOAD, 0, 0x2000, 4, 4},
	};

	(void)state;
	make_elf(&arm, s, 2);
	load_elf();
	assert_piece(0, 0x1000, "\x10\x11\x12\x13", 4);
	assert_piece(1, 0x2000, "\x20\x21\x22\x23", 4);
	regmap__image_free(&image);
	/* One segment alone may be meant for 0. */
	make_elf(&arm, s, 1);
	load_elf();
	assert_piece(0, 0, "\x10\x11\x12\x13", 4);
	regmap__image_free(&image);
}

static void test_image_elf_bss_beyond_all_memory_costs_nothing(void **state)
{
	static const struct elf_kind k = {true, false, EM_AARCH64};
	static const struct segment s[] = {{PT_LOAD, 0x1000, 0x1000, 1, 1ull << 60}};

	(void)state;
	make_elf(&k, s, 1);
	load_elf();
	assert_piece(1, 0x1001, NULL, (1ull << 60) - 1);
	regmap__image_free(&image);
}

static void test_image_elf_cut_anywhere(void **state)
{
	static const struct segment s[] = {
		{PT_LOAD, 0x08000000, 0x08000000, 4, 4},
		{PT_LOAD, 0x20000000, 0x20000000, 8, 8},
	};
	size_t whole;

	(void)state;
	make_elf(&arm, s, 2);
	whole = file.length;
	for (file.length = 4; file.length < whole; file.length++) {
		/* Memory of just that size: what reads beyond it is seen. */
		uint8_t *part = malloc(file.length);

		memcpy(part, file.bytes, file.length);
		assert_int_equal(parse(part, file.length, REGMAP_IMAGE_AUTO), -EINVAL);
		assert_wrong(0, 0, "f: ");
		free(part);
	}
}

static void test_image_elf_section_headers_cut(void **state)
{
	static const struct segment s[] = {{PT_LOAD, 0x08000000, 0x08000000, 4, 4}};
	Elf32_Ehdr h;

	(void)state;
	make_elf(&arm, s, 1);
	memcpy(&h, file.bytes, sizeof(h));
	h.e_shoff = htole32(file.length - 8);
	h.e_shnum = htole16(3);
	h.e_shentsize = htole16(sizeof(Elf32_Shdr));
	memcpy(file.bytes, &h, sizeof(h));
	assert_int_equal(parse(file.bytes, file.length, REGMAP_IMAGE_AUTO), -EINVAL);
	assert_wrong(0, 0, "cut");
}

static void test_image_elf_damaged(void **state)
{
	static const struct elf_kind k = {true, false, EM_AARCH64};
	static const struct segment more[] = {{PT_LOAD, 0, 0, 8, 4}};
	static const struct segment note[] = {{PT_NOTE, 0, 0, 4, 4}};
	static const struct segment wraps[] = {{PT_LOAD, -4ull, -4ull, 4, 5}};
	static const struct segment cross[] = {{PT_LOAD, 0x10, 0x10, 4, 4},
	                                       {PT_LOAD, 0x12, 0x12, 4, 4}};
	static const struct segment zeroed[] = {{PT_LOAD, 0x10, 0x10, 4, 8},
	                                        {PT_LOAD, 0x14, 0x14, 4, 4}};

	(void)state;
	make_elf(&k, more, 1);
	refuse_elf("more bytes in the file than in memory");
	make_elf(&k, note, 1);
	refuse_elf("no segments to load");
	make_elf(&k, NULL, 0);
	refuse_elf("no segments to load");
	make_elf(&k, wraps, 1);
	refuse_elf("beyond the address space");
	make_elf(&k, cross, 2);
	refuse_elf("disagree about the byte at 0x12");
	make_elf(&k, zeroed, 2);
	refuse_elf("disagree about the byte at 0x14");
}

/* A small file whose many segments all show the same bytes must not take much memory. */
static void test_image_elf_bomb(void **state)
{
	enum { N = 3000, BYTES = 1 << 20 };
	static const struct elf_kind k = {true, false, EM_X86_64};
	size_t length = sizeof(Elf64_Ehdr) + N * sizeof(Elf64_Phdr) + BYTES;
	uint8_t *big = calloc(1, length);

	(void)state;
	make_elf(&k, NULL, 0);
	HEADER(&k, 64, N);
	memcpy(big, file.bytes, sizeof(Elf64_Ehdr));
	for (unsigned i = 0; i < N; i++) {
		Elf64_Phdr p = {.p_type = PT_LOAD,
		                .p_paddr = (uint64_t)i << 32,
		                .p_offset = length - BYTES,
		                .p_filesz = BYTES,
		                .p_memsz = BYTES};

		memcpy(big + sizeof(Elf64_Ehdr) + i * sizeof(p), &p, sizeof(p));
	}
	assert_int_equal(parse(big, length, REGMAP_IMAGE_AUTO), -EINVAL);
	assert_wrong(0, 0, "its segments claim");
	free(big);
}

/* ---- raw, and which it is --------------------------------------------------------------------------- */

static void test_image_raw(void **state)
{
	static const char bytes[] = {0, 1, 2, 3, ':', 'S', '1'};

	(void)state;
	assert_int_equal(parse(bytes, sizeof(bytes), REGMAP_IMAGE_AUTO), 0);
	assert_int_equal(image.format, REGMAP_IMAGE_RAW);
	assert_int_equal(image.piece_count, 1);
	assert_piece(0, 0, bytes, sizeof(bytes));
	regmap__image_free(&image);
}

/* Text that starts as a record does, but isn't one, is an error and not raw bytes. */
static void test_image_says_what_it_is(void **state)
{
	(void)state;
	load("Some text", REGMAP_IMAGE_RAW);
	regmap__image_free(&image);
	load("S", REGMAP_IMAGE_RAW);
	regmap__image_free(&image);
	refuse(":zz", 1, 2, "'z'");
	refuse("S1zz", 1, 3, "'z'");
	assert_int_equal(parse(":\0\1\2", 4, REGMAP_IMAGE_AUTO), 0);
	assert_int_equal(image.format, REGMAP_IMAGE_RAW);
	regmap__image_free(&image);
}

static void test_image_told_what_it_is(void **state)
{
	(void)state;
	assert_int_equal(parse(":00000001FF", 11, REGMAP_IMAGE_RAW), 0);
	assert_int_equal(image.format, REGMAP_IMAGE_RAW);
	assert_piece(0, 0, ":00000001FF", 11);
	regmap__image_free(&image);
	assert_int_equal(parse("\1\2\3", 3, REGMAP_IMAGE_HEX), -EINVAL);
	assert_wrong(1, 1, "is this Intel HEX?");
	assert_int_equal(parse("\1\2\3", 3, REGMAP_IMAGE_SREC), -EINVAL);
	assert_wrong(1, 1, "are these S-records?");
	assert_int_equal(parse("abc", 3, REGMAP_IMAGE_ELF), -EINVAL);
	assert_wrong(0, 0, "ELF");
	assert_int_equal(parse("abc", 3, (enum regmap_image_format)77), -EINVAL);
	assert_wrong(0, 0, "no image format 77");
}

static void test_image_empty(void **state)
{
	(void)state;
	assert_int_equal(parse("", 0, REGMAP_IMAGE_AUTO), -EINVAL);
	assert_wrong(0, 0, "empty");
	assert_int_equal(parse("", 0, REGMAP_IMAGE_ELF), -EINVAL);
	assert_int_equal(regmap__image_parse("", 0, "f", REGMAP_IMAGE_AUTO, &image, NULL), -EINVAL);
}

/* ---- writing -------------------------------------------------------------------------------------- */

static void assert_text(enum regmap_image_format format, uint64_t address, const char *bytes,
                        uint64_t length, const char *expected)
{
	char *text;
	size_t n;

	assert_int_equal(regmap__image_format(format, address, (const uint8_t *)bytes, length,
	                                      &text, &n, &error),
	                 0);
	assert_string_equal(text, expected);
	assert_int_equal(n, strlen(expected));
	free(text);
}

static void test_image_writes_hex(void **state)
{
	(void)state;
	assert_text(REGMAP_IMAGE_HEX, 0x100, "\x21\x46", 2,
	            ":020100002146"
	            "96\n:00000001FF\n");
	/* Records end at multiples of 16; a new upper half says so. */
	assert_text(REGMAP_IMAGE_HEX, 0x0800fffe, "\1\2\3", 3,
	            ":020000040800F2\n:02FFFE000102FE\n:020000040801F1\n:0100000003FC\n"
	            ":00000001FF\n");
	assert_text(REGMAP_IMAGE_HEX, 0, NULL, 0, ":00000001FF\n");
}

static void test_image_writes_srec(void **state)
{
	(void)state;
	assert_text(REGMAP_IMAGE_SREC, 0x38, "\x48\x65", 2,
	            "S00900007265676D61707A\nS1050038486515\nS5030001FB\nS9030000FC\n");
	assert_text(REGMAP_IMAGE_SREC, 0xffff, "\1\2", 2,
	            "S00900007265676D61707A\nS20500FFFF01FB\nS2050100000"
	            "2F7\nS5030002FA\n"
	            "S804000000FB\n");
	assert_text(REGMAP_IMAGE_SREC, 0xffffffff, "\1", 1,
	            "S00900007265676D61707A\nS306FFFFFFFF01FC\nS5030001FB\nS70500000000FA\n");
}

static void test_image_writes_32_bits_only(void **state)
{
	static const enum regmap_image_format formats[] = {REGMAP_IMAGE_HEX, REGMAP_IMAGE_SREC};
	char *text;
	size_t n;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(regmap__image_format(formats[i], 0xffffffff, (uint8_t *)"\1\2", 2,
		                                      &text, &n, &error),
		                 -EINVAL);
		assert_non_null(strstr(error.text, "0x100000000"));
	}
	assert_int_equal(regmap__image_format(REGMAP_IMAGE_ELF, 0, (uint8_t *)"\1", 1, &text, &n,
	                                      &error),
	                 -EINVAL);
}

/* What is written reads back as it was: any length and start. */
static void test_image_there_and_back(void **state)
{
	static const enum regmap_image_format formats[] = {REGMAP_IMAGE_HEX, REGMAP_IMAGE_SREC};
	static const uint64_t starts[] = {0,       1,        15,         0xfff8,
	                                  0x10000, 0xfffff8, 0x0800fff1, 0xfffff000};
	uint8_t bytes[300];

	(void)state;
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = i * 7 + (i >> 8);
	for (unsigned f = 0; f < 2; f++) {
		for (unsigned s = 0; s < sizeof(starts) / sizeof(starts[0]); s++) {
			for (unsigned length = 1; length <= sizeof(bytes); length += 13) {
				char *text;
				size_t n;

				assert_int_equal(regmap__image_format(formats[f], starts[s], bytes,
				                                      length, &text, &n, &error),
				                 0);
				assert_int_equal(parse(text, n, REGMAP_IMAGE_AUTO), 0);
				assert_int_equal(image.format, formats[f]);
				assert_int_equal(image.piece_count, 1);
				assert_piece(0, starts[s], (char *)bytes, length);
				regmap__image_free(&image);
				free(text);
			}
		}
	}
}

static void test_image_elf_to_hex(void **state)
{
	static const struct segment s[] = {
		{PT_LOAD, 0x08000000, 0x08000000, 4, 4},
		{PT_LOAD, 0x08000004, 0x20000000, 2, 8},
	};
	char *text;
	size_t n;

	(void)state;
	make_elf(&arm, s, 2);
	load_elf();
	assert_int_equal(regmap__image_format_all(REGMAP_IMAGE_HEX, &image, &text, &n, &error), 0);
	regmap__image_free(&image);
	load(text, REGMAP_IMAGE_HEX);
	assert_int_equal(image.piece_count, 1);
	assert_piece(0, 0x08000000, "\x10\x11\x12\x13\x20\x21", 6);
	assert_true(image.has_entry);
	assert_int_equal(image.entry, 0x08000101);
	regmap__image_free(&image);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_image_hex_data),
		cmocka_unit_test(test_image_hex_small_letters_and_line_ends),
		cmocka_unit_test(test_image_hex_gap_makes_two_pieces),
		cmocka_unit_test(test_image_hex_linear_address),
		cmocka_unit_test(test_image_hex_segment_address),
		cmocka_unit_test(test_image_hex_wraps_in_a_segment),
		cmocka_unit_test(test_image_hex_linear_goes_on_behind_64k),
		cmocka_unit_test(test_image_hex_linear_wraps_at_4g),
		cmocka_unit_test(test_image_hex_last_base_counts),
		cmocka_unit_test(test_image_hex_longest_record),
		cmocka_unit_test(test_image_hex_wrong_records),
		cmocka_unit_test(test_image_hex_line_without_an_end),
		cmocka_unit_test(test_image_hex_cut_anywhere),
		cmocka_unit_test(test_image_same_byte_twice),
		cmocka_unit_test(test_image_byte_that_differs),
		cmocka_unit_test(test_image_srec_from_the_manual),
		cmocka_unit_test(test_image_srec_widths_of_addresses),
		cmocka_unit_test(test_image_srec_top_of_the_address_space),
		cmocka_unit_test(test_image_srec_wrong_records),
		cmocka_unit_test(test_image_srec_cut_anywhere),
		cmocka_unit_test(test_image_elf_any_class_order_and_machine),
		cmocka_unit_test(test_image_elf_physical_addresses),
		cmocka_unit_test(test_image_elf_bss_is_zero),
		cmocka_unit_test(test_image_elf_moved_as_a_whole),
		cmocka_unit_test(test_image_elf_physical_addresses_not_filled_in),
		cmocka_unit_test(test_image_elf_bss_beyond_all_memory_costs_nothing),
		cmocka_unit_test(test_image_elf_cut_anywhere),
		cmocka_unit_test(test_image_elf_section_headers_cut),
		cmocka_unit_test(test_image_elf_damaged),
		cmocka_unit_test(test_image_elf_bomb),
		cmocka_unit_test(test_image_raw),
		cmocka_unit_test(test_image_says_what_it_is),
		cmocka_unit_test(test_image_told_what_it_is),
		cmocka_unit_test(test_image_empty),
		cmocka_unit_test(test_image_writes_hex),
		cmocka_unit_test(test_image_writes_srec),
		cmocka_unit_test(test_image_writes_32_bits_only),
		cmocka_unit_test(test_image_there_and_back),
		cmocka_unit_test(test_image_elf_to_hex),
	};

	return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
