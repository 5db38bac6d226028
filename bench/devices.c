/* SPDX-License-Identifier: MIT */
/*
 * Described devices: what it takes to make one, to reach it by calls, and to reach its registers by
 * pointers. Register accesses are those of the STM32F103's clock control, whose ready bits follow.
 */
#include <stdio.h>
#include <stdlib.h>

#include <regmap/device.h>

#include "bench.h"

#define OFFSET 0x400000000000ull
#define SRAM 0x20000000ull
#define RCC_CR 0x40021000ull
#define RCC_APB1ENR 0x4002101cull

enum { CALLS = 100000, SVD_BYTES = 5 << 20 };

static struct regmap_device *device;

/* ---- made ---- */

static bool load_template(const struct bench_row *row, struct bench_sample *to)
{
	struct regmap_device *made;
	struct regmap_error error;
	double begin = bench_now();

	if (regmap_device_from_template(row->arg, &made, &error))
		bench_fail("%s", error.text);
	to->value = (bench_now() - begin) / 1e6;
	regmap_device_free(made);
	return true;
}

static void put_field(FILE *f, unsigned n)
{
	fprintf(f,
	        "          <field><name>F%u</name><description>What bit %u of this register says of the "
	        "state of its channel</description><bitRange>[%u:%u]</bitRange></field>\n",
	        n, n, n, n);
}

static void put_register(FILE *f, unsigned n)
{
	fprintf(f,
	        "      <register><name>R%u</name><description>A register of this peripheral"
	        "</description><addressOffset>0x%X</addressOffset><size>32</size>"
	        "<resetValue>0x00000000</resetValue>\n        <fields>\n",
	        n, 4 * n);
	for (unsigned i = 0; i < 16; i++)
		put_field(f, i);
	fprintf(f, "        </fields>\n      </register>\n");
}

static void put_peripheral(FILE *f, unsigned n)
{
	fprintf(f,
	        "    <peripheral><name>P%u</name><baseAddress>0x%X</baseAddress>"
	        "<addressBlock><offset>0</offset><size>0x400</size><usage>registers</usage>"
	        "</addressBlock><registers>\n",
	        n, 0x40000000 + 0x400 * n);
	for (unsigned i = 0; i < 64; i++)
		put_register(f, i);
	fprintf(f, "    </registers></peripheral>\n");
}

static char *svd;
static size_t svd_length;

static void write_svd(void)
{
	FILE *f = open_memstream(&svd, &svd_length);

	if (!f)
		bench_fail("no memory");
	fprintf(f, "<?xml version=\"1.0\"?>\n<device schemaVersion=\"1.3\"><name>LARGE</name>"
	           "<version>1</version><description>Large</description><addressUnitBits>8"
	           "</addressUnitBits><width>32</width><size>32</size><peripherals>\n");
	for (unsigned n = 0; ftell(f) < SVD_BYTES; n++)
		put_peripheral(f, n);
	fprintf(f, "</peripherals></device>\n");
	fclose(f);
}

static bool load_svd(const struct bench_row *row, struct bench_sample *to)
{
	struct regmap_layout *layout;
	struct regmap_error error;
	double begin;

	(void)row;
	if (!svd)
		write_svd();
	begin = bench_now();
	if (regmap_layout_from_string(svd, svd_length, REGMAP_FORMAT_SVD, "large.svd", &layout,
	                              &error))
		bench_fail("%s", error.text);
	to->value = (bench_now() - begin) / 1e6;
	regmap_layout_free(layout);
	return true;
}

/* ---- by calls ---- */

typedef int (*call_fn)(void);

static uint32_t word;
static uint64_t value;
static void *host;

static int read_memory(void)
{
	return regmap_device_read(device, SRAM, &word, sizeof(word));
}

static int write_memory(void)
{
	return regmap_device_write(device, SRAM, &word, sizeof(word));
}

static int read_register(void)
{
	return regmap_device_read(device, RCC_CR, &word, sizeof(word));
}

static int write_register(void)
{
	return regmap_device_write(device, RCC_CR, &word, sizeof(word));
}

static int translate(void)
{
	return regmap_device_translate(device, SRAM, &host);
}

static int translate_back(void)
{
	uint64_t guest;

	return regmap_device_translate_back(device, host, &guest);
}

static int get_register(void)
{
	return regmap_device_get(device, "RCC.CR", &value);
}

static int set_field(void)
{
	return regmap_device_set(device, "RCC.CR.HSEON", 1);
}

static int find_field(void)
{
	struct regmap_place place;

	return regmap_layout_find(regmap_device_layout(device), "RCC.APB2ENR.USART1EN", &place);
}

static int find_address(void)
{
	struct regmap_place place;

	return regmap_layout_find_at(regmap_device_layout(device), RCC_CR, &place);
}

static const call_fn calls[] = {read_memory, write_memory,   read_register, write_register,
                                translate,   translate_back, get_register,  set_field,
                                find_field,  find_address};
enum { READ, WRITE, READ_REGISTER, WRITE_REGISTER, TRANSLATE, BACK, GET, SET, FIND, FIND_AT };

static bool call(const struct bench_row *row, struct bench_sample *to)
{
	call_fn one = calls[row->n];
	double begin;
	int err = one();

	if (err)
		bench_fail("%s: %s", row->name, regmap_strerror(err));
	begin = bench_now();
	for (unsigned i = 0; i < CALLS; i++)
		err |= one();
	to->value = (bench_now() - begin) / CALLS;
	return !err;
}

/* ---- by pointers ---- */

#define MADE(id, text, how, what_of, most) \
	{ \
		.name = "devices/" id, .what = text, .unit = "ms", .figure = BENCH_VALUE, \
		.wanted = most, .measure = how, .arg = what_of \
	}
#define CALL(id, text, which) \
	{ \
		.name = "devices/" id, .what = text, .unit = "ns", .figure = BENCH_VALUE, \
		.measure = call, .n = which \
	}
#define FAULT(id, text, instruction, place) \
	{ \
		.name = "devices/" id, .what = text, .unit = "ns", .base = "floor", \
		.figure = BENCH_COST, .measure = bench_against_floor, \
		.insn = &bench_##instruction, .at = OFFSET + (place) \
	}
#define HOT(id, text, instruction, place) \
	{ \
		.name = "devices-patched/" id, .what = text, .unit = "ns", .base = "floor", \
		.figure = BENCH_SPEEDUP, .measure = bench_patched_against_floor, \
		.insn = &bench_hot_##instruction, .base_insn = &bench_##instruction, \
		.at = OFFSET + (place) \
	}

static struct bench_row rows[] = {
	MADE("template/stm32f103", "a device of the template STM32F103", load_template, "STM32F103",
             0),
	MADE("template/stm32f429", "the same, STM32F429", load_template, "STM32F429", 0),
	MADE("template/cortexa53", "the same, CortexA53", load_template, "CortexA53", 0),
	MADE("svd", "a layout of an SVD file of 5 MB", load_svd, NULL, 1000),
	CALL("read", "read 4 bytes of RAM by address", READ),
	CALL("write", "write 4 bytes of RAM by address", WRITE),
	CALL("read-register", "read a register by address", READ_REGISTER),
	CALL("write-register", "write a register that others follow by address", WRITE_REGISTER),
	CALL("translate", "translate an address", TRANSLATE),
	CALL("translate-back", "translate it back", BACK),
	CALL("get", "read a register by name", GET),
	CALL("set", "write a field by name", SET),
	CALL("find", "find a field by name", FIND),
	CALL("find-at", "find a register by address", FIND_AT),
	FAULT("load", "load from a register", register_load, RCC_APB1ENR),
	FAULT("load-modelled", "load from a register with rules", rule_load, RCC_CR),
	FAULT("store-modelled", "store to a register with rules", rule_store, RCC_CR),
};

static struct bench_row patched_rows[] = {
	HOT("load", "load from a register", register_load, RCC_APB1ENR),
	HOT("load-modelled", "load from a register with rules", rule_load, RCC_CR),
	HOT("store-modelled", "store to a register with rules", rule_store, RCC_CR),
};

static const char *set_up(void)
{
	struct regmap_error error;

	if (regmap_device_from_template("STM32F103", &device, &error) ||
	    regmap_device_map(device, OFFSET, &error))
		bench_fail("%s", error.text);
	bench_floor_set_up();
	return NULL;
}

static const char *set_up_patched(void)
{
	set_up();
	return bench_patch_on(4);
}

struct bench_part bench_devices = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
struct bench_part bench_devices_patched = {.set_up = set_up_patched,
                                           .rows = patched_rows,
                                           .count = BENCH_COUNT(patched_rows)};
