/* SPDX-License-Identifier: MIT */
#include "stores.h"

#include <regmap/regmap.h>
#include <regmap/registers.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RW = REGMAP_READ | REGMAP_WRITE };

struct store soak__store[STORES];

#define HOST_AT 0xffff900000000000ULL
#define DEVICE_AT 0x1234567800000000ULL
#define LOW_DEVICE_AT 0x60000000ULL
#define RAM_AT 0x61000000ULL
#define DIRECT_RAM_AT 0x62000000ULL
#define BUS_AT 0x63000000ULL
#define PERIPHERAL_AT (BUS_AT + STORE)

const struct path soak__path[PATHS] = {
	{"host memory, kernel's half", HOST_AT, HOST},
	{"host memory, low", 0x64000000, HOST},
	{"device, no canonical address", DEVICE_AT, DEVICE},
	{"device, low", LOW_DEVICE_AT, LOW_DEVICE},
	{"RAM, trapped", RAM_AT, RAM},
	{"RAM, direct", DIRECT_RAM_AT, DIRECT_RAM},
	{"bus", BUS_AT, BUS},
	{"peripheral on the bus", PERIPHERAL_AT, PERIPHERAL},
	{"alias of RAM", 0xffffa00000000000, RAM},
	{"alias of direct RAM", 0x65000000, DIRECT_RAM},
	{"alias of an alias of a device", 0xfedc000000000000, LOW_DEVICE},
	{"RAM of odd size, kernel's half", 0xffffb00000000000, HOST},
};

static uint8_t memories[STORES][STORE] __attribute__((aligned(4096)));

/* --- books --- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
	return x ^ x >> 32;
}

static void enter(struct books *books, bool write, uint64_t at, unsigned width, uint64_t value)
{
	atomic_fetch_add_explicit(write ? &books->writes : &books->reads, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&books->bytes, width, memory_order_relaxed);
	atomic_fetch_add_explicit(&books->sum,
	                          mix(value + mix(at << 8 | width << 1 | (unsigned)write)),
	                          memory_order_relaxed);
}

/* The naturally aligned pieces of a range, as regmap.h promises. */
void soak__books_expect(struct store *store, size_t at, bool write, const uint8_t *value,
                        unsigned length)
{
	while (length) {
		uint64_t piece = 0;
		unsigned width = 8;

		while (width > length || at % width)
			width /= 2;
		memcpy(&piece, value, width);
		enter(&store->expected[at / REGION], write, at, width, piece);
		at += width, value += width, length -= width;
	}
}

const char *soak__books_differ(const struct store *store, unsigned region)
{
	const struct books *is = &store->books[region], *should = &store->expected[region];

	if (is->reads != should->reads)
		return is->reads < should->reads ? "reads that the device never saw" :
		                                   "reads that nobody made";
	if (is->writes != should->writes)
		return is->writes < should->writes ? "writes that the device never saw" :
		                                     "writes that nobody made";
	if (is->bytes != should->bytes)
		return "accesses of another width";
	return is->sum != should->sum ? "accesses elsewhere, or of other values" : NULL;
}

static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	struct store *store = ctx;

	*value = 0;
	memcpy(value, store->memory + offset, width);
	enter(&store->books[offset / REGION], false, offset, width, *value);
	return 0;
}

static int device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	struct store *store = ctx;

	memcpy(store->memory + offset, &value, width);
	enter(&store->books[offset / REGION], true, offset, width, value);
	return 0;
}

static const struct regmap_device_ops device_ops = {device_read, device_write};

/* --- windows --- */

static void lay(struct regmap_config c)
{
	int err;

	c.size = sizeof(c);
	c.access = RW;
	c.length = c.length ? c.length : STORE;
	err = regmap_map(&c, NULL);
	if (err) {
		fprintf(stderr, "soak: window at %#llx: %s\n", (unsigned long long)c.guest,
		        regmap_strerror(err));
		exit(1);
	}
}

static void lay_host(uint64_t guest, enum store_name store, uint64_t length)
{
	lay((struct regmap_config){.name = "host",
	                           .guest = guest,
	                           .length = length,
	                           .backing = REGMAP_HOST,
	                           .host = soak__store[store].memory});
}

static void lay_device(uint64_t guest, enum store_name store)
{
	soak__store[store].is_device = true;
	lay((struct regmap_config){.name = "device",
	                           .guest = guest,
	                           .backing = REGMAP_DEVICE,
	                           .ops = &device_ops,
	                           .ctx = &soak__store[store]});
}

static void lay_ram(uint64_t guest, enum store_name store, unsigned flags)
{
	void *memory;

	lay((struct regmap_config){.name = "RAM",
	                           .guest = guest,
	                           .backing = REGMAP_RAM,
	                           .flags = flags});
	if (regmap_translate(guest, &memory))
		exit(1);
	soak__store[store].memory = memory;
}

static void lay_alias(uint64_t guest, uint64_t target)
{
	lay((struct regmap_config){.name = "alias",
	                           .guest = guest,
	                           .backing = REGMAP_ALIAS,
	                           .target = target});
}

void soak__stores_init(uint64_t seed)
{
	struct random random = {seed};

	for (unsigned s = 0; s < STORES; s++)
		soak__store[s].memory = memories[s];
	lay_host(HOST_AT, HOST, 0);
	lay_host(0x64000000, HOST, 0);
	lay_host(0xffffb00000000000, HOST, STORE - 13);
	lay_host(BUS_AT, BUS, 2 * STORE);
	lay_device(DEVICE_AT, DEVICE);
	lay_device(LOW_DEVICE_AT, LOW_DEVICE);
	lay_device(PERIPHERAL_AT, PERIPHERAL);
	lay_ram(RAM_AT, RAM, REGMAP_TRAP);
	lay_ram(DIRECT_RAM_AT, DIRECT_RAM, 0);
	lay_alias(0xffffa00000000000, RAM_AT);
	lay_alias(0x65000000, DIRECT_RAM_AT);
	lay_alias(0x66000000, LOW_DEVICE_AT);
	lay_alias(0xfedc000000000000, 0x66000000);
	if (regmap_map_registers())
		exit(1);
	for (unsigned s = 0; s < STORES; s++)
		for (size_t i = 0; i < (size_t)COUNTERS * REGION; i += 8) {
			uint64_t value = soak__random(&random);

			memcpy(soak__store[s].memory + i, &value, 8);
			memcpy(soak__store[s].twin + i, &value, 8);
		}
}

void soak__store_adopt(unsigned region)
{
	for (unsigned s = 0; s < STORES; s++)
		memcpy(soak__store[s].twin + (size_t)region * REGION,
		       soak__store[s].memory + (size_t)region * REGION, REGION);
}
