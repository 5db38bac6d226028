/* SPDX-License-Identifier: MIT */
/*
 * Large memory that isn't zero at first (erased flash). The kernel has zeroed pages for nothing, others
 * have to be written, and a flash of 512 MB is not to take 512 MB. So there is a window over all of it
 * that traps; the first access to a block has that block filled and laid inside, as a window like any
 * other, which is direct from then on wherever it can be.
 *
 * Blocks are laid in the middle of an access, on any thread, in signal handlers, and by several at once:
 * nothing is locked or allocated here, and who loses a race finds what the other has laid.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>

#include "bytes.h"
#include "memory.h"

/* What is smaller is filled at once. */
#define SMALL (4ULL << 20)
#define BLOCK (256ULL << 10)

bool regmap__blocks_needed(const struct part *part)
{
	return part->region->length > SMALL && regmap__part_fill(part);
}

/* The child of a part that an address lies in. */
static const struct part *child_at(const struct part *part, uint64_t address)
{
	uint64_t last;
	const struct part *p = regmap__part_at(part->device->memory, address, &last);

	while (p && p != part && p->parent != part)
		p = p->parent;
	return p == part ? NULL : p;
}

/*
 * Windows may not cross. So what a smaller region has of a block, and of the next one, is taken off. The
 * address lies in none of those.
 */
static void find_range(const struct part *part, uint64_t address, uint64_t *first, uint64_t *last)
{
	const struct part *child;

	*first = address & -BLOCK;
	*last = *first + (BLOCK - 1);
	if (*first < part->region->address)
		*first = part->region->address;
	if (*last > part_last(part))
		*last = part_last(part);
	child = child_at(part, *first);
	if (child && child->region->address < *first)
		*first = part_last(child) + 1;
	child = child_at(part, *last);
	if (child && part_last(child) > *last)
		*last = child->region->address - 1;
}

static int block_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	struct block *block = ctx;
	struct part *part = atomic_load(&block->part);
	uint64_t address = atomic_load(&block->first) + offset;
	void *host;
	int err = regmap_translate(part->at + (address - part->region->address), &host);

	return err ? err : regmap__flash_take(part, address, host, width, value);
}

static const struct regmap_device_ops flash_ops = {NULL, block_write};

static int map_block(struct part *part, struct block *block, uint64_t first, uint64_t length)
{
	bool flash = part->kind == PART_FLASH;
	struct regmap_config c = {
		.size = sizeof(c),
		.name = part->region->name,
		.guest = part->at + (first - part->region->address),
		.length = length,
		.access = REGMAP_READ | REGMAP_WRITE,
		.backing = flash ? REGMAP_DEVICE : REGMAP_RAM,
		.flags = flash ? REGMAP_READ_DIRECT : 0,
		.ops = flash ? &flash_ops : NULL,
		.ctx = block,
		.fill = regmap__part_fill(part),
	};

	if (!flash && !(part->region->permissions & REGMAP_PERMIT_WRITE))
		c.access = REGMAP_READ;
	if (!flash && !(part->region->permissions & REGMAP_PERMIT_READ))
		c.access = REGMAP_WRITE;
	atomic_store(&block->part, part);
	atomic_store(&block->first, first);
	atomic_store(&block->length, length);
	return regmap_map(&c, &block->window);
}

/* Whoever comes first makes it known. */
static void know(struct part *part, struct block *block, uint8_t *host)
{
	uint8_t *none = NULL;

	if (!atomic_compare_exchange_strong(&block->host, &none, host))
		return;
	block->before = atomic_load(&part->touched);
	while (!atomic_compare_exchange_weak(&part->touched, &block->before, block))
		;
}

/* -EEXIST: another thread was here in between; or this one, and a handler runs in the middle of it. */
static int lay_block(struct part *part, struct block *block, uint64_t address, uint64_t first,
                     uint64_t length)
{
	int err = map_block(part, block, first, length);
	void *host;

	if (!err || err == -EEXIST)
		err = regmap_translate(part->at + (address - part->region->address), &host);
	if (!err)
		know(part, block, (uint8_t *)host - (address - first));
	return err;
}

int regmap__block_at(struct part *part, uint64_t address, bool lay, uint8_t **host, uint64_t *run)
{
	uint64_t index = address / BLOCK - part->region->address / BLOCK, first, last;
	struct block *block = &part->blocks[index];
	uint8_t *at = atomic_load(&block->host);
	int err = 0;

	find_range(part, address, &first, &last);
	if (!at && lay) {
		err = lay_block(part, block, address, first, last - first + 1);
		at = atomic_load(&block->host);
	}
	*host = at ? at + (address - first) : NULL;
	*run = last - address + 1;
	return err;
}

/* ---- the window that traps ---- */

static int first_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	struct part *part = ctx;
	uint64_t run;
	uint8_t *host;
	int err = regmap__block_at(part, part->region->address + offset, true, &host, &run);

	*value = err ? 0 : bytes_load(host, width);
	return err;
}

static int first_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	struct part *part = ctx;
	uint64_t address = part->region->address + offset, run;
	uint8_t *host;
	int err = regmap__block_at(part, address, true, &host, &run);

	if (err)
		return err;
	if (part->kind == PART_FLASH)
		return regmap__flash_take(part, address, host, width, value);
	bytes_store(host, width, value);
	return 0;
}

static const struct regmap_device_ops first_ops = {first_read, first_write};

static uint64_t round_up(uint64_t bytes)
{
	return (bytes + 4095) & -4096ULL;
}

int regmap__blocks_map(struct part *part)
{
	uint64_t count = part_last(part) / BLOCK - part->region->address / BLOCK + 1;
	unsigned rights = part->region->permissions;
	struct regmap_config c = {
		.size = sizeof(c),
		.name = part->region->name,
		.guest = part->at,
		.length = part->region->length,
		.access = REGMAP_READ | REGMAP_WRITE,
		.backing = REGMAP_DEVICE,
		.ops = &first_ops,
		.ctx = part,
	};
	void *p;

	if (part->kind == PART_RAM)
		c.access = (rights & REGMAP_PERMIT_READ ? REGMAP_READ : 0) |
		           (rights & REGMAP_PERMIT_WRITE ? REGMAP_WRITE : 0);
	part->blocks_bytes = round_up(count * sizeof(*part->blocks));
	p = mmap(NULL, part->blocks_bytes, PROT_READ | PROT_WRITE,
	         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	part->blocks = p;
	return regmap_map(&c, &part->window);
}

/* Its window has gone, so no more are laid. */
void regmap__blocks_unmap(struct part *part)
{
	int err;

	for (struct block *b = atomic_load(&part->touched); b; b = b->before)
		do
			err = regmap_unmap(b->window);
		while (err == -EDEADLK);
	munmap(part->blocks, part->blocks_bytes);
}
