/* SPDX-License-Identifier: MIT */
/*
 * CMSIS-SVD files. svd_tree.c reads the XML; here and in the other svd_*.c it becomes a layout.
 *
 * Vendors' files have their ways. What two things that can't both stand say is settled so:
 * - a peripheral, register or field whose name is taken gets _2, _3 and so on;
 * - address blocks that overlap are one region; registers outside of them make it longer;
 * - registers have 8, 16, 32 or 64 bits: others the next larger; above 64 they are several;
 * - reset values are cut to the register, fields too, those wholly outside are left out;
 * - values that don't fit into their field are left out;
 * - characters that names can't have are underscores.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "svd.h"
#include "svd_build.h"

/* ---- peripherals ---- */

/* It is known as the peripheral is, whose place in the file it has, too. */
static int read_block(struct svd_build *b, const struct svd_node *node,
                      const struct regmap_peripheral *p)
{
	struct svd_block block = {.name = p->name, .source = p->source};
	uint64_t offset = 0, size = 0;
	int err = regmap__svd_child_number(b, node, SVD_OFFSET, &offset);

	if (!err)
		err = regmap__svd_child_number(b, node, SVD_SIZE, &size);
	if (err || !size)
		return err;
	if (__builtin_add_overflow(p->address, offset, &block.start) ||
	    __builtin_add_overflow(block.start, size - 1, &block.last))
		return SVD_WRONG(b, node,
		                 "the <addressBlock> of \"%s\" ends behind the last address",
		                 p->name);
	return regmap__svd_block_add(b, &b->blocks, block);
}

static bool is_reserved(const struct svd_node *block)
{
	const struct svd_node *usage = regmap__svd_own(block, SVD_USAGE);

	return usage && strcmp(usage->text, "reserved") == 0;
}

/* Its own, or those of what it is derived from. */
static int read_blocks(struct svd_build *b, const struct svd_node *node,
                       const struct regmap_peripheral *p)
{
	int err = 0;

	while (node->base && !regmap__svd_own(node, SVD_ADDRESS_BLOCK))
		node = node->base;
	for (const struct svd_node *n = node->member; n && !err; n = n->next)
		if (n->tag == SVD_ADDRESS_BLOCK && !is_reserved(n))
			err = read_block(b, n, p);
	return err;
}

/* @first: its blocks from there on. Registers outside of them are kept for later. */
static int find_strays(struct svd_build *b, size_t first, const struct regmap_peripheral *p)
{
	int err = 0;

	for (size_t i = 0; i < p->register_count && !err; i++) {
		const struct regmap_register *r = p->registers[i];
		struct svd_block own = {
			.start = p->address + r->offset,
			.last = p->address + r->offset + (r->width - 1),
			.name = p->name,
			.source = p->source,
		};
		bool inside = false;

		for (size_t k = first; k < b->blocks.count && k < first + 16 && !inside; k++)
			inside = b->blocks.at[k].start <= own.start &&
			         b->blocks.at[k].last >= own.last;
		if (!inside)
			err = regmap__svd_block_add(b, &b->strays, own);
	}
	return err;
}

/* From its base address to the end of its last block or register. */
static int measure(struct svd_build *b, const struct svd_node *node, size_t first,
                   struct regmap_peripheral *p)
{
	uint64_t last = p->address, end;

	for (size_t i = first; i < b->blocks.count; i++)
		if (b->blocks.at[i].last > last)
			last = b->blocks.at[i].last;
	for (size_t i = 0; i < p->register_count; i++) {
		const struct regmap_register *r = p->registers[i];

		if (__builtin_add_overflow(p->address, r->offset, &end) ||
		    __builtin_add_overflow(end, r->width - 1, &end))
			return SVD_WRONG(b, node, "register \"%s.%s\" lies behind the last address",
			                 p->name, r->name);
		if (end > last)
			last = end;
	}
	p->length = last - p->address + 1;
	return 0;
}

static int read_interrupts(struct svd_build *b, const struct svd_node *node,
                           struct regmap_peripheral *p)
{
	struct layout_list list = {0};

	while (node->base && !regmap__svd_own(node, SVD_INTERRUPT))
		node = node->base;
	for (const struct svd_node *n = node->member; n; n = n->next) {
		const struct svd_node *value = regmap__svd_own(n, SVD_VALUE);
		struct regmap_interrupt *i;

		if (n->tag != SVD_INTERRUPT)
			continue;
		i = regmap__layout_alloc(b->out, sizeof(*i));
		if (!i || regmap__list_reserve(b->out, &list, 1))
			return regmap__svd_no_memory(b);
		i->name = regmap__svd_child_text(b, n, SVD_NAME);
		i->description = regmap__svd_child_text(b, n, SVD_DESCRIPTION);
		i->number = value ? (int)strtol(value->text, NULL,
		                                value->text[0] == '0' ? 16 : 10) :
		                    -1;
		if (!i->name || !i->description)
			return regmap__svd_no_memory(b);
		regmap__list_insert(&list, list.count, i);
	}
	p->interrupts = (const struct regmap_interrupt *const *)list.at;
	p->interrupt_count = list.count;
	return 0;
}

/* Peripherals are told apart by the layout's own names. */
static const char *free_name(struct svd_build *b, const char *name)
{
	const char *to = name;

	for (unsigned n = 2;
	     to && regmap__names_find(&b->out->names, NAME_PERIPHERAL, NULL, to, strlen(to), true);
	     n++)
		to = regmap__svd_text(b, "%s_%u", name, n < 10 ? n : 10 + b->serial++);
	return to;
}

static int copy_registers(struct svd_build *b, struct regmap_peripheral *p)
{
	const struct regmap_register **all = regmap__layout_alloc(b->tree.memory,
	                                                          b->registers.count *
	                                                                  sizeof(*all));

	if (!all)
		return regmap__svd_no_memory(b);
	for (size_t i = 0; i < b->registers.count; i++)
		all[i] = &((const struct svd_register *)b->registers.at[i])->pub;
	p->registers = all;
	p->register_count = b->registers.count;
	return 0;
}

static int add_peripheral(struct svd_build *b, const struct svd_node *node, const char *name,
                          uint64_t address, const struct svd_defaults *defaults)
{
	struct regmap_peripheral p = {
		.name = name ? free_name(b, name) : NULL,
		.description = regmap__svd_child_text(b, node, SVD_DESCRIPTION),
		.group = regmap__svd_child_text(b, node, SVD_GROUP_NAME),
		.address = address,
		.source = node->source,
	};
	size_t first = b->blocks.count;
	int err = 0;

	if (!p.name || !p.description || !p.group)
		return regmap__svd_no_memory(b);
	err = read_blocks(b, node, &p);
	if (!err)
		err = regmap__svd_registers(b, node, defaults);
	if (!err)
		err = copy_registers(b, &p);
	if (!err)
		err = measure(b, node, first, &p);
	if (!err)
		err = find_strays(b, first, &p);
	if (!err)
		err = read_interrupts(b, node, &p);
	return err ? err : regmap__layout_adopt_peripheral(b->out, &p, b->error);
}

static int read_peripheral(struct svd_build *b, const struct svd_node *node,
                           const struct svd_defaults *outer)
{
	struct svd_defaults own;
	uint64_t base = 0, step, address = 0;
	struct svd_dim dim;
	int err;

	if (!node->name[0])
		return SVD_WRONG(b, node, "a peripheral has no <name>");
	if (!regmap__svd_child(node, SVD_BASE_ADDRESS))
		return SVD_WRONG(b, node, "peripheral \"%s\" has no <baseAddress>", node->name);
	err = regmap__svd_child_number(b, node, SVD_BASE_ADDRESS, &base);
	if (!err)
		err = regmap__svd_defaults(b, node, outer, &own);
	if (!err)
		err = regmap__svd_dim(b, node, &dim);
	for (uint64_t i = 0; !err && i < dim.count; i++) {
		if (__builtin_mul_overflow(i, dim.increment, &step) ||
		    __builtin_add_overflow(base, step, &address))
			err = SVD_WRONG(b, node, "peripheral \"%s\" lies behind the last address",
			                node->name);
		if (!err)
			err = add_peripheral(b, node, regmap__svd_name(b, node, &dim, i), address,
			                     &own);
	}
	return err;
}

/* ---- the device ---- */

/* All at once, so that nobody who looks at what things are derived from can fail. */
static int resolve(struct svd_build *b, struct svd_node *node)
{
	struct svd_node *base;
	int err = regmap__svd_base(&b->tree, node, &base);

	for (struct svd_node *n = node->member; n && !err; n = n->next)
		err = resolve(b, n);
	return err;
}

static int read_head(struct svd_build *b, const struct svd_node *device)
{
	const struct svd_node *cpu = regmap__svd_own(device, SVD_CPU);
	struct regmap_layout *pub = &b->out->pub;
	uint64_t unit = 8;
	int err = regmap__svd_child_number(b, device, SVD_ADDRESS_UNIT_BITS, &unit);

	if (!err && unit != 8)
		err = SVD_WRONG(b, device,
		                "<addressUnitBits> is %" PRIu64 ": only bytes have addresses here",
		                unit);
	if (err)
		return err;
	pub->name = regmap__svd_child_text(b, device, SVD_NAME);
	pub->description = regmap__svd_child_text(b, device, SVD_DESCRIPTION);
	pub->vendor = regmap__svd_child_text(b, device, SVD_VENDOR);
	if (pub->vendor && !pub->vendor[0])
		pub->vendor = regmap__svd_child_text(b, device, SVD_VENDOR_ID);
	pub->license = regmap__svd_child_text(b, device, SVD_LICENSE_TEXT);
	pub->cpu = cpu ? regmap__svd_child_text(b, cpu, SVD_NAME) : "";
	if (!pub->name || !pub->description || !pub->vendor || !pub->license || !pub->cpu)
		return regmap__svd_no_memory(b);
	return 0;
}

static int read_device(struct svd_build *b)
{
	static const struct svd_defaults usual = {32, REGMAP_READ_WRITE, 0, UINT64_MAX};
	struct svd_node *device = b->tree.root;
	struct svd_defaults own;
	int err = resolve(b, device);

	if (!err)
		err = read_head(b, device);
	if (!err && !device->has_list)
		err = SVD_WRONG(b, device, "<device> has no <peripherals>");
	if (!err)
		err = regmap__svd_defaults(b, device, &usual, &own);
	if (err)
		return err;
	for (const struct svd_node *n = device->member; n && !err; n = n->next)
		if (n->tag == SVD_PERIPHERAL)
			err = read_peripheral(b, n, &own);
	return err ? err : regmap__svd_regions(b);
}

static int load(struct svd_build *b, const char *text, size_t length, const char *name)
{
	const char *file = regmap__layout_string(b->out, name);
	int err;

	if (!file)
		return regmap__svd_no_memory(b);
	err = regmap__svd_tree_parse(&b->tree, text, length, file, b->error);
	if (err)
		return err;
	err = read_device(b);
	regmap__svd_tree_free(&b->tree);
	free(b->used.entries);
	free(b->used.slots);
	free(b->blocks.at);
	free(b->strays.at);
	return err;
}

int regmap__svd_load(const char *text, size_t length, const char *name, struct layout **out,
                     struct regmap_error *error)
{
	struct svd_build b = {.error = error};
	struct regmap_layout *layout;
	int err = regmap_layout_new("", &layout);

	*out = NULL;
	if (err)
		return regmap__layout_wrong(error, err, NULL, "out of memory");
	b.out = layout_of(layout);
	err = load(&b, text, length, name);
	if (err)
		regmap_layout_free(layout);
	else
		*out = b.out;
	return err;
}
