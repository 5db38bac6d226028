/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "regfile.h"

#include "sigsafe.h"

enum {
	AT_GPR = 0x000,
	AT_RIP = 0x080,
	AT_RFLAGS = 0x088,
	AT_FS_BASE = 0x090,
	AT_GS_BASE = 0x098,
	AT_MXCSR = 0x0a0,
	AT_FCW = 0x0a4,
	AT_FSW = 0x0a6,
	AT_FTW = 0x0a8,
	AT_FPU_END = 0x0aa,
	AT_OPMASK = 0x0c0,
	AT_ST = 0x100,
	AT_ST_END = 0x180,
	AT_VECTOR = 0x800,
	VECTOR_SLOT = 64,
	ST_SLOT = 16,
	ST_BYTES = 10,
	FX_FSW = 2,
	FX_FTW = 4,
	FX_MXCSR_MASK = 28,
	MXCSR_MASK_DEFAULT = 0xffbf,
	TAG_EMPTY = 3,
};

/* One register, or a part of one, as the page shows it. */
struct field {
	uint16_t at, size;
};

static size_t vector_extent(size_t offset)
{
	size_t i = (offset - AT_VECTOR) / VECTOR_SLOT, byte = offset % VECTOR_SLOT;
	size_t bytes = regmap__vector_bytes(), count = regmap__vector_count();

	if (i >= count || byte >= bytes)
		return 0;
	return bytes == VECTOR_SLOT ? AT_VECTOR + count * VECTOR_SLOT - offset : bytes - byte;
}

size_t regmap__regfile_extent(size_t offset)
{
	if (offset < AT_FPU_END)
		return AT_FPU_END - offset;
	if (offset >= AT_VECTOR)
		return offset < REGFILE_SIZE ? vector_extent(offset) : 0;
	if (regmap__xstate.xcr0 & XSTATE_OPMASK && offset >= AT_OPMASK && offset < AT_ST_END)
		return AT_ST_END - offset;
	return offset >= AT_ST && offset < AT_ST_END ? AT_ST_END - offset : 0;
}

size_t regmap__regfile_gap(size_t offset)
{
	size_t n = 0;

	while (offset + n < REGFILE_SIZE && !regmap__regfile_extent(offset + n))
		n++;
	return n;
}

static struct field field_at(size_t offset)
{
	if (offset < AT_MXCSR)
		return (struct field){offset & ~7u, 8};
	if (offset < AT_FCW)
		return (struct field){AT_MXCSR, 4};
	if (offset < AT_FPU_END)
		return (struct field){offset & ~1u, 2};
	if (offset < AT_ST)
		return (struct field){offset & ~7u, 8};
	if (offset < AT_ST_END)
		return (struct field){offset & ~15u, ST_SLOT};
	return (struct field){offset & ~15u, 16};
}

static bool valid(const struct cpu *cpu, uint64_t component)
{
	return *xsave_bv(cpu->xsave) & component;
}

static unsigned top_of_stack(const struct cpu *cpu)
{
	return cpu->xsave[FX_FSW + 1] >> 3 & 7;
}

/* SDM vol. 1, 8.1.7 and 10.5.1.1: the full tag of one physical register from the image. */
static unsigned full_tag(const struct cpu *cpu, unsigned physical)
{
	const uint8_t *st = cpu->xsave + XSAVE_ST + ((physical - top_of_stack(cpu)) & 7) * ST_SLOT;
	uint64_t significand;
	unsigned exponent;

	if (!(cpu->xsave[FX_FTW] >> physical & 1))
		return TAG_EMPTY;
	memcpy(&significand, st, sizeof significand);
	exponent = (st[8] | st[9] << 8) & 0x7fff;
	if (exponent == 0)
		return significand ? 2 : 1;
	return exponent == 0x7fff || !(significand >> 63) ? 2 : 0;
}

static uint16_t tag_word(const struct cpu *cpu)
{
	unsigned word = 0;

	for (unsigned i = 0; i < 8; i++)
		word |= full_tag(cpu, i) << i * 2;
	return (uint16_t)word;
}

static void get_x87(const struct cpu *cpu, unsigned at, uint8_t *to)
{
	static const uint16_t fcw_init = 0x37f, ftw_init = 0xffff;
	uint16_t tags = ftw_init;

	if (valid(cpu, XSTATE_X87))
		tags = tag_word(cpu);
	if (at == AT_FTW)
		memcpy(to, &tags, sizeof tags);
	else if (valid(cpu, XSTATE_X87))
		memcpy(to, cpu->xsave + (at - AT_FCW), 2);
	else if (at == AT_FCW)
		memcpy(to, &fcw_init, sizeof fcw_init);
}

static void get_field(const struct cpu *cpu, uint64_t next, struct field f, uint8_t to[16])
{
	uint64_t value = 0;

	memset(to, 0, 16);
	if (f.at < AT_RIP)
		value = cpu->gpr[f.at / 8];
	else if (f.at == AT_RIP)
		value = next;
	else if (f.at == AT_RFLAGS)
		value = cpu->rflags;
	else if (f.at == AT_FS_BASE)
		value = cpu->fs_base;
	else if (f.at == AT_GS_BASE)
		value = cpu->gs_base;
	else if (f.at >= AT_OPMASK && f.at < AT_ST)
		value = regmap__opmask_get(cpu, (f.at - AT_OPMASK) / 8);
	memcpy(to, &value, sizeof value);
	if (f.at == AT_MXCSR)
		memcpy(to, cpu->xsave + XSAVE_MXCSR, 4);
	else if (f.at >= AT_FCW && f.at < AT_FPU_END)
		get_x87(cpu, f.at, to);
	else if (f.at >= AT_ST && f.at < AT_ST_END && valid(cpu, XSTATE_X87))
		memcpy(to, cpu->xsave + XSAVE_ST + (f.at - AT_ST), ST_BYTES);
	else if (f.at >= AT_VECTOR)
		regmap__vector_get(cpu, (f.at - AT_VECTOR) / VECTOR_SLOT, f.at % VECTOR_SLOT, to,
		                   16);
}

static void set_flags(struct cpu *cpu, uint64_t value)
{
	cpu->rflags = (cpu->rflags & ~(uint64_t)CPU_USER_FLAGS) | (value & CPU_USER_FLAGS);
}

/* A bit that the CPU doesn't have would make the kernel refuse the whole context. */
static void set_mxcsr(struct cpu *cpu, const uint8_t *from)
{
	uint32_t value, mask;

	memcpy(&value, from, sizeof value);
	memcpy(&mask, cpu->xsave + FX_MXCSR_MASK, sizeof mask);
	value &= mask ? mask : MXCSR_MASK_DEFAULT;
	memcpy(cpu->xsave + XSAVE_MXCSR, &value, sizeof value);
	regmap__xsave_materialize(cpu->xsave, XSTATE_SSE);
}

static void set_x87(struct cpu *cpu, unsigned at, const uint8_t *from)
{
	regmap__xsave_materialize(cpu->xsave, XSTATE_X87);
	if (at == AT_FTW) {
		unsigned word = from[0] | from[1] << 8;

		cpu->xsave[FX_FTW] = 0;
		for (unsigned i = 0; i < 8; i++)
			if ((word >> i * 2 & 3) != TAG_EMPTY)
				cpu->xsave[FX_FTW] |= 1 << i;
	} else {
		memcpy(cpu->xsave + (at - AT_FCW), from, 2);
	}
}

static void set_high_field(struct cpu *cpu, struct field f, const uint8_t *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof value);
	if (f.at == AT_MXCSR) {
		set_mxcsr(cpu, from);
	} else if (f.at < AT_FPU_END) {
		set_x87(cpu, f.at, from);
	} else if (f.at < AT_ST) {
		regmap__opmask_set(cpu, (f.at - AT_OPMASK) / 8, value);
	} else if (f.at < AT_ST_END) {
		regmap__xsave_materialize(cpu->xsave, XSTATE_X87);
		memcpy(cpu->xsave + XSAVE_ST + (f.at - AT_ST), from, ST_BYTES);
	} else {
		regmap__vector_set(cpu, (f.at - AT_VECTOR) / VECTOR_SLOT, f.at % VECTOR_SLOT, from,
		                   16);
	}
}

static void set_field(struct cpu *cpu, struct field f, const uint8_t *from)
{
	uint64_t value;

	if (f.at >= AT_MXCSR) {
		set_high_field(cpu, f, from);
		return;
	}
	memcpy(&value, from, sizeof value);
	if (f.at < AT_RIP) {
		cpu->gpr[f.at / 8] = value;
	} else if (f.at == AT_RIP) {
		cpu->rip = value;
	} else if (f.at == AT_RFLAGS) {
		set_flags(cpu, value);
	} else if (f.at == AT_FS_BASE) {
		cpu->fs_base = value;
		cpu->dirty |= CPU_DIRTY_FS_BASE;
	} else {
		cpu->gs_base = value;
		cpu->dirty |= CPU_DIRTY_GS_BASE;
	}
}

void regmap__regfile_read(const struct cpu *cpu, uint64_t next, size_t offset, void *to,
                          size_t length)
{
	uint8_t *out = to, value[16];

	while (length) {
		struct field f = field_at(offset);
		size_t skip = offset - f.at;
		size_t n = f.size - skip < length ? f.size - skip : length;

		get_field(cpu, next, f, value);
		memcpy(out, value + skip, n);
		offset += n;
		out += n;
		length -= n;
	}
}

void regmap__regfile_write(struct cpu *cpu, size_t offset, const void *from, size_t length)
{
	const uint8_t *in = from;
	uint8_t value[16];

	while (length) {
		struct field f = field_at(offset);
		size_t skip = offset - f.at;
		size_t n = f.size - skip < length ? f.size - skip : length;

		get_field(cpu, cpu->rip, f, value);
		memcpy(value + skip, in, n);
		set_field(cpu, f, value);
		offset += n;
		in += n;
		length -= n;
	}
}

static bool canonical(uint64_t value)
{
	int64_t high = (int64_t)value >> 47; /* five-level paging is the kernel's to refuse */

	return high == 0 || high == -1;
}

bool regmap__regfile_accepts(const struct cpu *cpu, size_t offset, const void *from, size_t length)
{
	size_t end = offset + length;

	for (size_t at = AT_FS_BASE; at <= AT_GS_BASE; at += 8) {
		uint64_t value = at == AT_FS_BASE ? cpu->fs_base : cpu->gs_base;
		size_t low = offset > at ? offset : at, high = end < at + 8 ? end : at + 8;

		if (low >= high)
			continue;
		memcpy((uint8_t *)&value + (low - at), (const uint8_t *)from + (low - offset),
		       high - low);
		if (!canonical(value))
			return false;
	}
	return true;
}
