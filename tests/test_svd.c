/* SPDX-License-Identifier: MIT */
/* LDLIBS: -Wl,--wrap=calloc,--wrap=realloc */
/* CMSIS-SVD files: every feature, vendors' ways, wrong files, large files. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "describe/layout.h"
#include "describe/svd.h"
#include "starve.h"

/* --- loading --- */

static struct regmap_error error;

static char *read_all(const char *path, size_t *length)
{
	FILE *f = fopen(path, "rb");
	char *text = malloc(1 << 20);

	assert_non_null(f);
	assert_non_null(text);
	*length = fread(text, 1, 1 << 20, f);
	assert_true(*length > 0 && *length < 1 << 20);
	fclose(f);
	return text;
}

static struct regmap_layout *load_text(const char *text, size_t length)
{
	struct layout *l;

	memset(&error, 0, sizeof(error));
	if (regmap__svd_load(text, length, "t.svd", &l, &error))
		fail_msg("%s", error.text);
	if (regmap__layout_finish(l, &error))
		fail_msg("%s", error.text);
	return &l->pub;
}

static struct regmap_layout *load(const char *path)
{
	size_t length;
	char *text = read_all(path, &length);
	struct regmap_layout *l = load_text(text, length);

	free(text);
	return l;
}

/* A device with these peripherals. */
static char *device_of(const char *peripherals)
{
	char *text;

	assert_true(asprintf(&text,
	                     "<device><name>D</name>\n<peripherals>\n%s</peripherals></device>",
	                     peripherals) > 0);
	return text;
}

/* A device with one peripheral, P at 0x1000, with these registers. */
static char *registers_of(const char *registers)
{
	char *peripheral, *text;

	assert_true(asprintf(&peripheral,
	                     "<peripheral><name>P</name><baseAddress>0x1000</baseAddress>"
	                     "<addressBlock><offset>0</offset><size>0x100</size></addressBlock>"
	                     "<registers>\n%s</registers></peripheral>",
	                     registers) > 0);
	text = device_of(peripheral);
	free(peripheral);
	return text;
}

static struct regmap_layout *load_device(const char *peripherals)
{
	char *text = device_of(peripherals);
	struct regmap_layout *l = load_text(text, strlen(text));

	free(text);
	return l;
}

static struct regmap_layout *load_registers(const char *registers)
{
	char *text = registers_of(registers);
	struct regmap_layout *l = load_text(text, strlen(text));

	free(text);
	return l;
}

static int refusal(const char *text, size_t length)
{
	struct layout *l = (struct layout *)&error;
	int err;

	memset(&error, 0, sizeof(error));
	err = regmap__svd_load(text, length, "t.svd", &l, &error);
	assert_true(err < 0);
	assert_null(l);
	assert_true(error.text[0]);
	assert_null(strchr(error.text, '\n'));
	return err;
}

static void assert_refused(const char *text, int err, const char *says)
{
	assert_int_equal(refusal(text, strlen(text)), err);
	assert_string_equal(error.text, says);
}

static void assert_device_refused(const char *peripherals, int err, const char *says)
{
	char *text = device_of(peripherals);

	assert_refused(text, err, says);
	free(text);
}

static void assert_registers_refused(const char *registers, int err, const char *says)
{
	char *text = registers_of(registers);

	assert_refused(text, err, says);
	free(text);
}

/* --- what is there --- */

static struct regmap_place find(const struct regmap_layout *l, const char *name)
{
	struct regmap_place p;

	if (regmap_layout_find(l, name, &p))
		fail_msg("there is no %s", name);
	return p;
}

static const struct regmap_register *reg(const struct regmap_layout *l, const char *name)
{
	const struct regmap_register *r = find(l, name).reg;

	assert_non_null(r);
	return r;
}

static const struct regmap_field *field(const struct regmap_layout *l, const char *name)
{
	const struct regmap_field *f = find(l, name).field;

	assert_non_null(f);
	return f;
}

static bool has(const struct regmap_layout *l, const char *name)
{
	struct regmap_place p;

	return regmap_layout_find(l, name, &p) == 0;
}

static void assert_bits(const struct regmap_layout *l, const char *name, unsigned lsb,
                        unsigned width)
{
	assert_int_equal(field(l, name)->lsb, lsb);
	assert_int_equal(field(l, name)->width, width);
}

/* "Off=0 On=1": names and numbers of a field's values. */
static void assert_values(const struct regmap_layout *l, const char *name, const char *expected)
{
	const struct regmap_field *f = field(l, name);
	char text[400] = "", *at = text;

	for (size_t i = 0; i < f->value_count; i++)
		at += sprintf(at, "%s%s=%s%x", i ? " " : "", f->values[i]->name,
		              f->values[i]->is_default ? "default" : "",
		              (unsigned)f->values[i]->value);
	assert_string_equal(text, expected);
}

/* --- every feature --- */

static struct regmap_layout *all;

static int load_all(void **state)
{
	(void)state;
	all = load("tests/svd/all.svd");
	return 0;
}

static int free_all(void **state)
{
	(void)state;
	regmap_layout_free(all);
	return 0;
}

static void test_svd_device_is_described(void **state)
{
	(void)state;
	assert_string_equal(all->name, "EX1000");
	assert_string_equal(all->description, "An example with a description of two lines");
	assert_string_equal(all->vendor, "Example Semiconductors");
	assert_string_equal(all->cpu, "CM4");
	assert_string_equal(all->license, "Do what you like. Really.");
	assert_false(has(all, "NOT_ME"));
}

static void test_svd_peripherals_have_addresses(void **state)
{
	const struct regmap_peripheral *p = find(all, "TIMER0").peripheral;

	(void)state;
	assert_int_equal(p->address, 0x40000000);
	assert_int_equal(p->length, 0x900);
	assert_string_equal(p->description, "Counts");
	assert_string_equal(p->group, "TIMER");
	assert_int_equal(p->interrupt_count, 2);
	assert_string_equal(p->interrupts[0]->name, "TIMER0");
	assert_string_equal(p->interrupts[0]->description, "Overflow");
	assert_int_equal(p->interrupts[0]->number, 9);
	assert_int_equal(p->interrupts[1]->number, 10);
	assert_string_equal(p->source.file, "t.svd");
	assert_int_equal(p->source.line, 40);
	assert_int_equal(p->source.column, 5);
}

static const struct regmap_region *region_at(const struct regmap_layout *l, uint64_t address)
{
	uint64_t last;

	return regmap__layout_region_at(l, address, &last);
}

/* Blocks for registers and buffers are regions; what is reserved is not. */
static void test_svd_address_blocks_are_regions(void **state)
{
	const struct regmap_region *r = region_at(all, 0x40000000);

	(void)state;
	assert_string_equal(r->name, "TIMER0");
	assert_int_equal(r->type, REGMAP_REGION_MMIO);
	assert_int_equal(r->permissions, REGMAP_PERMIT_READ | REGMAP_PERMIT_WRITE);
	assert_int_equal(r->length, 0x100);
	assert_string_equal(region_at(all, 0x400008ff)->name, "TIMER0 (2)");
	assert_null(region_at(all, 0x40000c00));
	assert_int_equal(region_at(all, 0x48000400)->length, 0x400); /* 1k */
}

static void test_svd_registers_inherit_from_outside(void **state)
{
	const struct regmap_register *r = reg(all, "TIMER0.CR");

	(void)state;
	assert_int_equal(r->offset, 0);
	assert_int_equal(r->width, 4);
	assert_int_equal(r->access, REGMAP_READ_WRITE);
	assert_int_equal(r->reset_value, 0x13);
	assert_int_equal(r->reset_mask, 0xffffffff);
	assert_string_equal(r->description, "Control register");
	r = reg(all, "TIMER0.SR");
	assert_int_equal(r->width, 2);
	assert_int_equal(r->access, REGMAP_READ_ONLY);
	assert_int_equal(r->reset_value, 0x234);
	assert_int_equal(r->reset_mask, 0xfff);
	r = reg(all, "TIMER0.CH0_CFG"); /* from its cluster */
	assert_int_equal(r->width, 2);
	assert_int_equal(r->access, REGMAP_READ_WRITE);
	assert_int_equal(r->reset_value, 7);
	assert_int_equal(reg(all, "TIMER0.CH0_DMA_SRC")->access, REGMAP_WRITE_ONLY);
	assert_int_equal(reg(all, "TIMER0.CNT")->width, 8);
}

static void test_svd_access_has_five_kinds(void **state)
{
	(void)state;
	assert_int_equal(reg(all, "TIMER0.CR")->access, REGMAP_READ_WRITE);
	assert_int_equal(reg(all, "TIMER0.SR")->access, REGMAP_READ_ONLY);
	assert_int_equal(field(all, "TIMER0.CR.RST")->access, REGMAP_WRITE_ONLY);
	assert_int_equal(reg(all, "PORTA.P_LOCK_R")->access, REGMAP_WRITE_ONCE);
	assert_int_equal(reg(all, "PORTA.P_DATA_R")->access, REGMAP_READ_WRITE_ONCE);
}

static void test_svd_fields_have_three_ways_to_say_bits(void **state)
{
	(void)state;
	assert_bits(all, "TIMER0.CR.EN", 0, 1);
	assert_bits(all, "TIMER0.CR.RST", 1, 1);
	assert_bits(all, "TIMER0.CR.MODE", 4, 3);
	assert_bits(all, "TIMER0.SR.CC", 1, 2);
}

/* What a field doesn't say is as its register's. */
static void test_svd_effects_are_known(void **state)
{
	(void)state;
	assert_int_equal(reg(all, "TIMER0.SR")->read_action, REGMAP_READ_CLEAR);
	assert_int_equal(field(all, "TIMER0.SR.OVF")->read_action, REGMAP_READ_CLEAR);
	assert_int_equal(field(all, "TIMER0.SR.OVF")->access, REGMAP_READ_ONLY);
	assert_int_equal(field(all, "TIMER0.SR.CC")->read_action, REGMAP_READ_MODIFY_EXTERNAL);
	assert_int_equal(field(all, "TIMER0.SR.CC")->access, REGMAP_READ_WRITE);
	assert_int_equal(field(all, "TIMER0.SR.CC")->write_action, REGMAP_WRITE_ZERO_TO_CLEAR);
	assert_int_equal(field(all, "TIMER0.CR.RST")->write_action, REGMAP_WRITE_ONE_TO_SET);
	assert_int_equal(field(all, "TIMER0.CR.EN")->write_action, REGMAP_WRITE_MODIFY);
	assert_int_equal(reg(all, "TIMER0.CNTL")->write_action, REGMAP_WRITE_CLEAR);
}

static void test_svd_values_are_enumerated(void **state)
{
	const struct regmap_field *f = field(all, "ALT.Z.F");

	(void)state;
	assert_values(all, "TIMER0.CR.EN", "Off=0 On=1");
	assert_string_equal(field(all, "TIMER0.CR.EN")->values[0]->description, "Stopped");
	assert_values(all, "TIMER0.CR.MODE", "Once=0 Both=2 Both=3 Up=4 Reserved=default0");
	assert_values(all, "ALT.Z.F", "Idle=0 Go=1");
	assert_int_equal(f->values[0]->usage, REGMAP_READ);
	assert_int_equal(f->values[1]->usage, REGMAP_WRITE);
	assert_int_equal(field(all, "TIMER0.CR.EN")->values[0]->usage, REGMAP_READ | REGMAP_WRITE);
}

static void test_svd_values_are_derived(void **state)
{
	(void)state;
	assert_values(all, "TIMER0.CR2.NEW", "Off=0 On=1"); /* by a path */
	assert_values(all, "ALT.Z.E", "Off=0 On=1");        /* by a name that only one has */
}

static void test_svd_fields_are_derived(void **state)
{
	(void)state;
	assert_bits(all, "TIMER0.CR.EN2", 31, 1);
	assert_values(all, "TIMER0.CR.EN2", "Off=0 On=1");
	assert_bits(all, "ALT.Z.M", 16, 3);
	assert_values(all, "ALT.Z.M", "Once=0 Both=2 Both=3 Up=4 Reserved=default0");
}

static void test_svd_registers_are_derived(void **state)
{
	const struct regmap_register *r = reg(all, "TIMER0.CR2");

	(void)state;
	assert_int_equal(r->offset, 0x24);
	assert_int_equal(r->reset_value, 0x13);
	assert_string_equal(r->description, "Control register");
	assert_bits(all, "TIMER0.CR2.EN", 0, 1);
	assert_bits(all, "TIMER0.CR2.RST", 2, 1); /* its own */
	assert_int_equal(field(all, "TIMER0.CR2.RST")->access, REGMAP_READ_WRITE);
	assert_int_equal(r->field_count, 9);
	assert_int_equal(reg(all, "ALT.Y")->offset, 0); /* what it doesn't say, even this */
	assert_int_equal(reg(all, "ALT.X")->reset_mask, 0);
	assert_int_equal(reg(all, "TIMER0.COPY")->width, 2); /* as where that stands */
	assert_int_equal(reg(all, "TIMER0.COPY")->access, REGMAP_WRITE_ONLY);
}

static void test_svd_clusters_nest_and_are_derived(void **state)
{
	(void)state;
	assert_int_equal(reg(all, "TIMER0.CH0_CFG")->offset, 0x40);
	assert_int_equal(reg(all, "TIMER0.CH1_CFG")->offset, 0x60);
	assert_int_equal(reg(all, "TIMER0.CH1_DMA_SRC")->offset, 0x68);
	assert_int_equal(reg(all, "TIMER0.CH1_DMA_DSTY")->offset, 0x6e);
	assert_ptr_equal(reg(all, "TIMER0.CH[1].DMA.DSTY"), reg(all, "TIMER0.CH1_DMA_DSTY"));
	assert_int_equal(reg(all, "TIMER0.EXTRA_DMA_SRC")->offset, 0x88);
	assert_int_equal(reg(all, "TIMER0.EXTRA_CFG")->offset, 0x84); /* its own */
	assert_int_equal(reg(all, "TIMER0.EXTRA_CFG")->width, 1);
}

static void test_svd_peripherals_are_derived(void **state)
{
	const struct regmap_peripheral *p = find(all, "TIMER1").peripheral;

	(void)state;
	assert_string_equal(p->description, "Counts, too");
	assert_string_equal(p->group, "TIMER");
	assert_int_equal(p->length, 0x900);
	assert_int_equal(p->register_count, 28);
	assert_int_equal(reg(all, "TIMER1.CR")->reset_value, 0x99);
	assert_int_equal(reg(all, "TIMER1.CR")->field_count, 0);
	assert_int_equal(reg(all, "TIMER1.OWN")->offset, 0x34);
	assert_int_equal(reg(all, "TIMER1.SR")->access, REGMAP_READ_ONLY);
	assert_int_equal(find(all, "TIMER1.SR").address, 0x40001004);
	assert_string_equal(region_at(all, 0x40001000)->name, "TIMER1");
}

/* From one that comes later in the file. */
static void test_svd_references_go_forward(void **state)
{
	const struct regmap_peripheral *p = find(all, "TIMER9").peripheral;

	(void)state;
	assert_int_equal(p->register_count, 27);
	assert_string_equal(p->description, "Counts");
	assert_int_equal(p->interrupt_count, 1);
	assert_int_equal(p->interrupts[0]->number, 29);
}

static void test_svd_registers_have_other_views(void **state)
{
	(void)state;
	assert_string_equal(reg(all, "TIMER0.SRH")->alternate, "SR");
	assert_string_equal(reg(all, "TIMER0.CNT")->alternate, "CNTL"); /* by its group */
	assert_string_equal(reg(all, "TIMER0.CNTL")->alternate, "");
}

static void test_svd_names_get_prefix_and_suffix(void **state)
{
	(void)state;
	assert_int_equal(find(all, "PORTC.P_LOCK_R").address, 0x48000804);
	assert_int_equal(reg(all, "PORTC.P_LOCK_R")->offset, 4);
	assert_false(has(all, "PORTC.LOCK"));
}

/* --- arrays --- */

static void test_svd_arrays_of_peripherals(void **state)
{
	struct regmap_layout *l = load("tests/svd/arrays.svd");

	(void)state;
	assert_int_equal(find(l, "UART0").address, 0x40000000);
	assert_int_equal(find(l, "UART1").address, 0x40001000);
	assert_int_equal(find(l, "UART[1]").address, 0x40001000);
	assert_int_equal(find(l, "LPUART.RX_BUF1_WD").address, 0x5000011a);
	assert_int_equal(l->peripheral_count, 4);
	assert_int_equal(find(all, "PORTA").address, 0x48000000);
	assert_int_equal(find(all, "PORTB").address, 0x48000400);
	regmap_layout_free(l);
}

static void test_svd_arrays_of_registers_clusters_fields(void **state)
{
	struct regmap_layout *l = load("tests/svd/arrays.svd");

	(void)state;
	assert_int_equal(reg(l, "UART0.COUNT_LOW")->offset, 0);
	assert_int_equal(reg(l, "UART0.COUNT_HIGH")->offset, 4);
	assert_int_equal(reg(l, "UART0.PLAIN2")->offset, 0x28);
	assert_int_equal(reg(l, "UART0.RX_BUF0_WA")->offset, 0x104);
	assert_int_equal(reg(l, "UART0.TX_BUF1_WD")->offset, 0x15a);
	assert_bits(l, "UART0.TX_BUF1_WD.N3_X", 0, 3);
	assert_bits(l, "UART0.TX_BUF1_WD.N6_X", 12, 3);
	assert_int_equal(reg(l, "UART0.NOT__AN_ARRAY")->offset, 0x30);
	assert_int_equal(reg(all, "TIMER0.CC3")->offset, 0x1c);
	assert_int_equal(reg(all, "TIMER0.PSC6")->offset, 0x22);
	assert_bits(all, "TIMER0.CR.PINC", 12, 2);
	regmap_layout_free(l);
}

static void test_svd_references_into_arrays(void **state)
{
	struct regmap_layout *l = load("tests/svd/arrays.svd");

	(void)state;
	for (const char *name = "ABC"; *name; name++) {
		char path[] = {'R', 'E', 'F', '.', *name, 0};

		assert_int_equal(reg(l, path)->width, 2);
		assert_int_equal(reg(l, path)->field_count, 4);
	}
	assert_int_equal(reg(l, "UART0.SINGLE")->offset, 0x10); /* one, of an array */
	assert_int_equal(reg(l, "UART0.AGAIN_HIGH")->offset, 0x1c);
	regmap_layout_free(l);
}

static void test_svd_indices_must_suffice(void **state)
{
	(void)state;
	assert_registers_refused(
		"<register><dim>3</dim><dimIncrement>4</dimIncrement>\n<dimIndex>A,B</dimIndex>"
		"<name>R%s</name><addressOffset>0</addressOffset></register>",
		-EINVAL, "t.svd:5:1: <dimIndex> has 2 items, <dim> is 3");
	assert_registers_refused(
		"<register><dim>3</dim><dimIncrement>4</dimIncrement>\n<dimIndex>5-6</dimIndex>"
		"<name>R%s</name><addressOffset>0</addressOffset></register>",
		-EINVAL, "t.svd:5:1: <dimIndex> has 2 items, <dim> is 3");
	assert_registers_refused(
		"<register><dim>3</dim><name>R%s</name><addressOffset>0</addressOffset></register>",
		-EINVAL, "t.svd:4:11: there is a <dim>, but no <dimIncrement>");
}

/* --- numbers --- */

static uint64_t number(const char *text)
{
	char *registers;
	struct regmap_layout *l;
	uint64_t value;

	assert_true(asprintf(&registers,
	                     "<register><name>R</name><addressOffset>0</addressOffset>"
	                     "<size>64</size><resetValue>%s</resetValue></register>",
	                     text) > 0);
	l = load_registers(registers);
	value = reg(l, "P.R")->reset_value;
	free(registers);
	regmap_layout_free(l);
	return value;
}

static void test_svd_numbers_have_many_forms(void **state)
{
	(void)state;
	assert_int_equal(number("12"), 12);
	assert_int_equal(number("012"), 12);
	assert_int_equal(number("+5"), 5);
	assert_int_equal(number("0x1F"), 0x1f);
	assert_int_equal(number("0Xabcdef"), 0xabcdef);
	assert_int_equal(number("#101"), 5);
	assert_int_equal(number("0b110"), 6);
	assert_int_equal(number(" \n\t7 \r\n"), 7);
	assert_int_equal(number("4k"), 4096);
	assert_int_equal(number("0x2M"), 2 << 20);
	assert_int_equal(number("1G"), 1 << 30);
	assert_int_equal(number("0x4000_0000"), 0x40000000);
	assert_int_equal(number("0x10UL"), 16);
	assert_int_equal(number("0xFFFFFFFFFFFFFFFF"), UINT64_MAX);
	assert_int_equal(number("0x1FFFFFFFFFFFFFFFE"), UINT64_MAX - 1); /* wider than it is */
}

static void test_svd_wrong_numbers_are_refused(void **state)
{
	static const char *const wrong[] = {"x",     "0x",  "#",   "#2", "-1", "1 2",
	                                    "0x1G2", "4kk", "1.5", "_1", "5ux"};
	char text[200], says[300];

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(text, sizeof(text),
		         "<register><name>R</name>\n <addressOffset>%s</addressOffset></register>",
		         wrong[i]);
		snprintf(says, sizeof(says),
		         "t.svd:5:2: <addressOffset> is \"%s\": that is no number; "
		         "they look like 12, 0x1F, #101",
		         wrong[i]);
		assert_registers_refused(text, -EINVAL, says);
	}
	assert_registers_refused("<register><name>R</name>"
	                         "<addressOffset>0x10000000000000000</addressOffset></register>",
	                         -EINVAL,
	                         "t.svd:4:25: <addressOffset> is \"0x10000000000000000\": "
	                         "numbers have 64 bits");
}

/* --- vendors' ways --- */

static struct regmap_layout *quirks;

static int load_quirks(void **state)
{
	(void)state;
	quirks = load("tests/svd/quirks.svd");
	return 0;
}

static int free_quirks(void **state)
{
	(void)state;
	regmap_layout_free(quirks);
	return 0;
}

static void test_svd_odd_widths_become_larger(void **state)
{
	const struct regmap_register *r = reg(quirks, "ONE.CR");

	(void)state;
	assert_int_equal(r->width, 4);
	assert_int_equal(r->reset_value, 0xffffff);
	assert_int_equal(r->reset_mask, 0xffffff);
	r = reg(quirks, "ONE.BIG");
	assert_int_equal(r->width, 8);
	assert_int_equal(r->reset_value, 0x8899aabbccddeeff);
	r = reg(quirks, "ONE.BIG_1");
	assert_int_equal(r->offset, 0x48);
	assert_bits(quirks, "ONE.BIG.LOW", 0, 8);
	assert_bits(quirks, "ONE.BIG_1.TOP", 56, 8);
	assert_false(has(quirks, "ONE.BIG.TOP"));
	assert_false(has(quirks, "ONE.BIG_1.LOW"));
}

static void test_svd_fields_are_cut_to_their_register(void **state)
{
	(void)state;
	assert_bits(quirks, "ONE.CR.WIDE", 28, 4);
	assert_false(has(quirks, "ONE.CR.GONE"));
	assert_bits(quirks, "ONE.CR.TWICE", 4, 4); /* msb and lsb the wrong way round */
}

static void test_svd_equal_names_get_numbers(void **state)
{
	(void)state;
	assert_int_equal(reg(quirks, "ONE.CR_2")->offset, 4);
	assert_int_equal(reg(quirks, "ONE.CR_3")->offset, 8);
	assert_bits(quirks, "ONE.CR.TWICE_2", 0, 4);
	assert_int_equal(find(quirks, "ONE_2").address, 0x48000000);
	assert_int_equal(field(quirks, "ONE.CR.WITH_SPACE_AND_SUCH")->access, REGMAP_READ_ONLY);
}

static void test_svd_values_that_dont_fit_are_left_out(void **state)
{
	(void)state;
	assert_values(quirks, "ONE.CR.TWICE_2", "fits=f 3=3");
}

static void test_svd_overlapping_blocks_are_one_region(void **state)
{
	(void)state;
	assert_string_equal(region_at(quirks, 0x40000400)->name, "ONE");
	assert_int_equal(region_at(quirks, 0x40000400)->address, 0x40000000);
	assert_int_equal(find(quirks, "SAME").address, 0x40000400);
	assert_int_equal(find(quirks, "TWO").address, 0x40000400);
	assert_int_equal(find(quirks, "TWO.DR").address, 0x40000400);
}

static void test_svd_registers_outside_of_blocks_are_reached(void **state)
{
	(void)state;
	assert_string_equal(region_at(quirks, 0x40000523)->name, "ONE");
	assert_string_equal(region_at(quirks, 0x40000603)->name, "ONE"); /* of TWO, near it */
	assert_null(region_at(quirks, 0x40000604));
	assert_string_equal(region_at(quirks, 0x50000400)->name, "TWO"); /* far from it */
	assert_int_equal(region_at(quirks, 0x50000400)->length, 4);
	assert_int_equal(region_at(quirks, 0x49000010)->length, 0x28); /* no block at all */
	assert_int_equal(find(quirks, "NOBLOCK").length, 0x38);
	assert_int_equal(find(quirks, "ONE.FAR").address, 0x40000520);
	assert_non_null(region_at(quirks, find(quirks, "EMPTY").address));
}

static void test_svd_other_views_must_be_there(void **state)
{
	(void)state;
	assert_string_equal(reg(quirks, "NOBLOCK.IN")->alternate, "");
	assert_string_equal(reg(quirks, "NOBLOCK.OUT")->alternate, "IN");
	assert_string_equal(reg(quirks, "NOBLOCK.LOST")->alternate, "");
	assert_int_equal(find(quirks, "NOBLOCK").peripheral->interrupts[0]->number, -14);
}

/* An element with nothing in it is as none. */
static void test_svd_empty_elements_say_nothing(void **state)
{
	struct regmap_layout *l = load_registers(
		"<register><name>R</name><description/><addressOffset>8</addressOffset><size/>"
		"<access></access><resetValue> </resetValue><fields><field><name>F</name><bitRange/>"
		"<lsb>4</lsb><bitWidth>3</bitWidth><enumeratedValues/></field></fields></register>");

	(void)state;
	assert_int_equal(reg(l, "P.R")->width, 4);
	assert_int_equal(reg(l, "P.R")->access, REGMAP_READ_WRITE);
	assert_bits(l, "P.R.F", 4, 3);
	regmap_layout_free(l);
	assert_registers_refused("<register><name>R</name><addressOffset/></register>", -EINVAL,
	                         "t.svd:4:1: register \"R\" has no <addressOffset>");
}

/* Two lists are one, of what can be there but once the first counts. */
static void test_svd_repeated_elements_dont_confuse(void **state)
{
	struct regmap_layout *l = load_device(
		"<peripheral><name>P</name><name>Q</name><baseAddress>16</baseAddress>"
		"<baseAddress>x</baseAddress><registers><register><name>A</name>"
		"<addressOffset>0</addressOffset></register></registers><registers><register><name>B"
		"</name><addressOffset>4</addressOffset></register></registers></peripheral>");

	(void)state;
	assert_int_equal(find(l, "P.A").address, 16);
	assert_int_equal(find(l, "P.B").address, 20);
	assert_false(has(l, "Q"));
	regmap_layout_free(l);
}

/* Files in other code pages, and in UTF-16, are read as well. */
static void test_svd_reads_other_encodings(void **state)
{
	static const char windows[] =
		"<?xml version=\"1.0\" encoding=\"windows-1252\"?><device><name>D</name>"
		"<description>\x80 5</description><peripherals/></device>";
	static const char plain[] =
		"<device><name>D</name><peripherals><peripheral><name>P</name>"
		"<baseAddress>4</baseAddress></peripheral></peripherals></device>";
	char wide[2 * sizeof(plain)] = "\xff\xfe";
	struct regmap_layout *l = load_text(windows, strlen(windows));

	(void)state;
	assert_string_equal(l->name, "D");
	regmap_layout_free(l);
	for (size_t i = 0; i < sizeof(plain) - 1; i++) {
		wide[2 + 2 * i] = plain[i];
		wide[3 + 2 * i] = 0;
	}
	l = load_text(wide, 2 * sizeof(plain));
	assert_int_equal(find(l, "P").address, 4);
	regmap_layout_free(l);
	l = load_text("\xef\xbb\xbf<device><peripherals/></device>", 34);
	assert_int_equal(l->peripheral_count, 0);
	regmap_layout_free(l);
}

static void test_svd_text_may_be_cdata_and_escaped(void **state)
{
	struct regmap_layout *l = load_device(
		"<peripheral><name><![CDATA[P]]></name><description>a &lt; b &amp; "
		"c&#33;</description><baseAddress>0x<!-- no -->10</baseAddress></peripheral>");

	(void)state;
	assert_int_equal(find(l, "P").address, 0x10);
	assert_string_equal(find(l, "P").peripheral->description, "a < b & c!");
	regmap_layout_free(l);
}

/* --- wrong files --- */

static void test_svd_refuses_what_is_no_svd(void **state)
{
	(void)state;
	assert_refused("", -EINVAL,
	               "t.svd:1:1: the file ends before its <device> begins: it is empty or has "
	               "been cut off");
	assert_refused("\n<html>", -EINVAL,
	               "t.svd:2:1: this is no SVD file: it begins with <html>, not <device>");
	assert_refused("what", -EINVAL, "t.svd:1:1: this is no well-formed XML: syntax error");
	assert_refused("<device>\n <name>x</nam></device>", -EINVAL,
	               "t.svd:2:11: this is no well-formed XML: mismatched tag");
	assert_refused("<device/>", -EINVAL, "t.svd:1:1: <device> has no <peripherals>");
	assert_refused("<device><addressUnitBits>16</addressUnitBits><peripherals/></device>",
	               -EINVAL,
	               "t.svd:1:1: <addressUnitBits> is 16: only bytes have addresses here");
}

/* Neither entities that grow nor those that read files. */
static void test_svd_refuses_entities(void **state)
{
	(void)state;
	assert_refused(
		"<?xml version=\"1.0\"?>\n<!DOCTYPE lolz [\n<!ENTITY a \"aaaaaaaaaa\">\n"
		"<!ENTITY b \"&a;&a;&a;&a;\">]>\n<device><name>&b;</name></device>",
		-EINVAL,
		"t.svd:2:16: a DOCTYPE, which could declare entities, is not taken: remove it");
	assert_int_equal(refusal("<!DOCTYPE d SYSTEM \"file:///etc/passwd\"><device/>", 48),
	                 -EINVAL);
	assert_refused("<device><name>&x;</name></device>", -EINVAL,
	               "t.svd:1:15: this is no well-formed XML: undefined entity");
}

/* Wherever it is cut, there is one message with the place, and it isn't a crash. */
static void test_svd_refuses_truncated_files(void **state)
{
	size_t length;
	char *text = read_all("tests/svd/all.svd", &length);
	unsigned lines = 1;

	(void)state;
	for (size_t i = 0; i < length - 1; i++) {
		char *cut;

		lines += i && text[i - 1] == '\n';
		if (i % 7 != 0 && i < length - 50)
			continue;
		cut = malloc(i + 1); /* so that a sanitizer sees what is read behind it */
		assert_non_null(cut);
		memcpy(cut, text, i);
		cut[i] = 0;
		if (memmem(text, i, "</device>", 9))
			break;
		assert_int_equal(refusal(cut, i), -EINVAL);
		assert_int_equal(error.line, lines);
		assert_true(error.column >= 1);
		assert_string_equal(error.file, "t.svd");
		free(cut);
	}
	assert_int_equal(refusal(text, 5000), -EINVAL);
	assert_non_null(strstr(error.text, ": the file ends within <"));
	free(text);
}

static void test_svd_says_what_is_missing(void **state)
{
	(void)state;
	assert_device_refused("<peripheral/>", -EINVAL, "t.svd:3:1: a peripheral has no <name>");
	assert_device_refused("\n<peripheral><name>P</name></peripheral>", -EINVAL,
	                      "t.svd:4:1: peripheral \"P\" has no <baseAddress>");
	assert_registers_refused("<register/>", -EINVAL, "t.svd:4:1: a register has no <name>");
	assert_registers_refused(" <register><name>R</name></register>", -EINVAL,
	                         "t.svd:4:2: register \"R\" has no <addressOffset>");
	assert_registers_refused("<cluster><name>C</name></cluster>", -EINVAL,
	                         "t.svd:4:1: cluster \"C\" has no <addressOffset>");
}

static void test_svd_says_what_is_wrong(void **state)
{
	(void)state;
	assert_registers_refused("<register><name>R</name><addressOffset>0</addressOffset>\n"
	                         "<access>rw</access></register>",
	                         -EINVAL,
	                         "t.svd:5:1: <access> is \"rw\": it can be read-write, read-only, "
	                         "write-only, writeOnce, read-writeOnce");
	assert_registers_refused("<register><name>R</name><addressOffset>0</addressOffset>\n"
	                         "<readAction>no</readAction></register>",
	                         -EINVAL,
	                         "t.svd:5:1: <readAction> is \"no\": it can be clear, set, modify, "
	                         "modifyExternal");
	assert_registers_refused(
		"<register><name>R</name><addressOffset>0</addressOffset>\n"
		"<modifiedWriteValues>no</modifiedWriteValues></register>",
		-EINVAL,
		"t.svd:5:1: <modifiedWriteValues> is \"no\": it can be modify, clear, set, oneToClear, "
		"oneToSet, oneToToggle, zeroToClear, zeroToSet, zeroToToggle");
	assert_registers_refused("<register><name>R</name><addressOffset>0</addressOffset>\n"
	                         "<size>0</size></register>",
	                         -EINVAL, "t.svd:5:1: <size> is 0 bits: it can be 1 to 4096");
	assert_registers_refused(
		"<register><name>R</name><addressOffset>0</addressOffset>\n"
		"<fields><field><name>F</name></field></fields></register>",
		-EINVAL,
		"t.svd:5:9: field \"F\" has no bits: give it a <bitRange>, an <lsb> and "
		"<msb>, or a <bitOffset> and <bitWidth>");
	assert_registers_refused(
		"<register><name>R</name><addressOffset>0</addressOffset>\n"
		"<fields><field><name>F</name><bitRange>[a:b]</bitRange></field></fields></register>",
		-EINVAL, "t.svd:5:30: <bitRange> is \"[a:b]\": bits look like [7:4]");
	assert_registers_refused(
		"<register><name>R</name><addressOffset>0</addressOffset>\n"
		"<fields><field><name>F</name><bitOffset>0</bitOffset><bitWidth>0</bitWidth>"
		"</field></fields></register>",
		-EINVAL, "t.svd:5:9: field \"F\" has a width of 0 bits");
	assert_device_refused(
		"<peripheral><name>P</name><baseAddress>0xFFFFFFFFFFFFFFF0"
		"</baseAddress>\n<addressBlock><offset>0</offset><size>0x20</size>"
		"</addressBlock></peripheral>",
		-EINVAL, "t.svd:4:1: the <addressBlock> of \"P\" ends behind the last address");
}

static void test_svd_says_what_nothing_can_be_derived_from(void **state)
{
	(void)state;
	assert_device_refused("<peripheral derivedFrom=\"Q\"><name>P</name></peripheral>", -EINVAL,
	                      "t.svd:3:1: peripheral \"P\" is derived from \"Q\": there is no such "
	                      "peripheral");
	assert_registers_refused(
		"<register derivedFrom=\"P.X.Y\"><name>R</name></register>", -EINVAL,
		"t.svd:4:1: register \"R\" is derived from \"P.X.Y\": there is no such register");
	assert_registers_refused(
		"<cluster><name>C</name><addressOffset>0</addressOffset></cluster>\n"
		"<register derivedFrom=\"C\"><name>R</name></register>",
		-EINVAL,
		"t.svd:5:1: register \"R\" is derived from \"C\": there is no such register");
}

static void test_svd_refuses_circles(void **state)
{
	(void)state;
	assert_device_refused(
		"<peripheral derivedFrom=\"B\"><name>A</name></peripheral>"
		"<peripheral derivedFrom=\"C\"><name>B</name></peripheral>\n"
		"<peripheral derivedFrom=\"A\"><name>C</name></peripheral>",
		-EINVAL,
		"t.svd:4:1: peripheral \"C\" is derived from \"A\", and that from it: break the circle");
	assert_device_refused(
		"<peripheral derivedFrom=\"A\"><name>A</name></peripheral>", -EINVAL,
		"t.svd:3:1: peripheral \"A\" is derived from \"A\": there is no other "
		"peripheral of that name");
	assert_registers_refused(
		"<cluster><name>C</name><addressOffset>0</addressOffset>\n"
		"<cluster derivedFrom=\"C\"><name>D</name></cluster></cluster>",
		-EINVAL,
		"t.svd:5:1: cluster \"D\" is derived from \"C\", and that from it: break the circle");
	assert_registers_refused("<cluster><name>C</name><addressOffset>0</addressOffset>"
	                         "<cluster derivedFrom=\"D\"><name>X</name></cluster></cluster>\n"
	                         "<cluster><name>D</name><addressOffset>0</addressOffset>\n"
	                         "<cluster derivedFrom=\"C\"><name>Y</name></cluster></cluster>",
	                         -E2BIG, "t.svd:6:1: cluster \"Y\" lies in more than 32 others");
}

/* A few bytes can ask for more than there is room for. */
static void test_svd_refuses_what_is_too_large(void **state)
{
	char *text, *at;

	(void)state;
	assert_registers_refused(
		"<cluster><dim>3000</dim><dimIncrement>0</dimIncrement><name>C%s</name>"
		"<addressOffset>0</addressOffset>\n<register><dim>3000</dim><dimIncrement>0"
		"</dimIncrement><name>R%s</name><addressOffset>0</addressOffset></register></cluster>",
		-E2BIG,
		"t.svd:5:1: the file makes more than 1000000 registers, fields and values: its arrays "
		"are too large");
	assert_registers_refused(
		"<register><dim>2000000</dim><dimIncrement>0</dimIncrement><name>R%s</name>"
		"<addressOffset>0</addressOffset></register>",
		-E2BIG, "t.svd:4:11: <dim> is 2000000: it can be 1 to 1048576");
	at = text = malloc(100000);
	assert_non_null(text);
	at = stpcpy(at, "<device><peripherals><peripheral><registers>");
	for (unsigned i = 0; i < 1000; i++)
		at = stpcpy(at, "<cluster>");
	assert_int_equal(refusal(text, (size_t)(at - text)), -E2BIG);
	assert_string_equal(
		error.text,
		"t.svd:1:585: elements are nested more than 64 deep: put less into one another");
	at = stpcpy(text, "<device><peripherals>");
	for (unsigned i = 0; i < 1000; i++)
		at += sprintf(at, "<peripheral derivedFrom=\"P%u\"><name>P%u</name></peripheral>\n",
		              i + 1, i);
	at = stpcpy(at, "</peripherals></device>");
	assert_int_equal(refusal(text, (size_t)(at - text)), -E2BIG);
	assert_non_null(strstr(error.text, "is derived from one that is derived, and so on"));
	free(text);
}

/* --- large files --- */

/* As vendors' tools write them. */
static char *large_file(size_t size, unsigned *registers)
{
	char *text = malloc(size + (1 << 17)), *at = text;
	unsigned p = 0;

	assert_non_null(text);
	*registers = 0;
	at = stpcpy(at,
	            "<?xml version=\"1.0\"?>\n<device>\n  <name>LARGE</name>\n  <peripherals>\n");
	for (; (size_t)(at - text) < size; p++) {
		at += sprintf(at,
		              "    <peripheral>\n      <name>P%u</name>\n"
		              "      <baseAddress>0x%08X</baseAddress>\n      <addressBlock>\n"
		              "        <offset>0x0</offset>\n        <size>0x400</size>\n"
		              "      </addressBlock>\n      <registers>\n",
		              p, 0x40000000 + 0x400 * p);
		for (unsigned r = 0; r < 40; r++) {
			at += sprintf(at,
			              "        <register>\n          <name>R%u</name>\n"
			              "          <description>Register number %u\n"
			              "          of this peripheral</description>\n"
			              "          <addressOffset>0x%X</addressOffset>\n"
			              "          <fields>\n",
			              r, r, 4 * r);
			for (unsigned f = 0; f < 8; f++)
				at += sprintf(at,
				              "            <field>\n"
				              "              <name>F%u</name>\n"
				              "              <bitOffset>%u</bitOffset>\n"
				              "              <bitWidth>4</bitWidth>\n"
				              "            </field>\n",
				              f, 4 * f);
			at = stpcpy(at, "          </fields>\n        </register>\n");
			++*registers;
		}
		at = stpcpy(at, "      </registers>\n    </peripheral>\n");
	}
	strcpy(at, "  </peripherals>\n</device>\n");
	return text;
}

static void test_svd_large_files_load(void **state)
{
	unsigned registers, found = 0;
	char *text = large_file(5000000, &registers);
	struct regmap_layout *l = load_text(text, strlen(text));

	(void)state;
	for (size_t i = 0; i < l->peripheral_count; i++)
		found += (unsigned)l->peripherals[i]->register_count;
	assert_int_equal(found, registers);
	assert_int_equal(find(l, "P50.R39").address, 0x40000000 + 50 * 0x400 + 39 * 4);
	assert_bits(l, "P50.R39.F7", 28, 4);
	free(text);
	regmap_layout_free(l);
}

/* Each of these would take forever if it were looked for in a list. */
static void test_svd_many_equal_things_load(void **state)
{
	enum { COUNT = 30000 };
	char *text = malloc(COUNT * 100), *at = text;
	struct regmap_layout *l;

	(void)state;
	assert_non_null(text);
	at = stpcpy(at, "<device><peripherals><peripheral><name>P</name><baseAddress>0"
	                "</baseAddress><registers>");
	for (unsigned i = 0; i < COUNT; i++)
		at += sprintf(
			at,
			"<register%s><name>%s</name><addressOffset>0</addressOffset></register>",
			i ? " derivedFrom='LAST'" : "",
			i == COUNT - 1 ? "END" :
			i              ? "R" :
					 "LAST");
	at = stpcpy(at, "</registers></peripheral></peripherals></device>");
	l = load_text(text, (size_t)(at - text));
	assert_int_equal(l->peripherals[0]->register_count, COUNT);
	assert_true(has(l, "P.R_2"));
	free(text);
	regmap_layout_free(l);
}

/* --- memory that runs out --- */

static void try_without_memory(const char *path)
{
	size_t length;
	char *text = read_all(path, &length);
	unsigned n = 0;

	do {
		struct layout *l;
		int err;

		failed = false;
		countdown = ++n;
		err = regmap__svd_load(text, length, "t.svd", &l, &error);
		countdown = 0;
		assert_int_equal(err, failed ? -ENOMEM : 0);
		assert_int_equal(!l, failed);
		if (failed)
			assert_string_equal(error.text, "out of memory");
		else
			regmap_layout_free(&l->pub);
	} while (failed);
	assert_true(n > 10);
	free(text);
}

static void test_svd_survives_without_memory(void **state)
{
	(void)state;
	try_without_memory("tests/svd/all.svd");
	try_without_memory("tests/svd/quirks.svd");
}

#define T(name) cmocka_unit_test(test_svd_##name)
#define ALL(name) cmocka_unit_test_setup_teardown(test_svd_##name, load_all, free_all)
#define QUIRK(name) cmocka_unit_test_setup_teardown(test_svd_##name, load_quirks, free_quirks)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALL(device_is_described),
		ALL(peripherals_have_addresses),
		ALL(address_blocks_are_regions),
		ALL(registers_inherit_from_outside),
		ALL(access_has_five_kinds),
		ALL(fields_have_three_ways_to_say_bits),
		ALL(effects_are_known),
		ALL(values_are_enumerated),
		ALL(values_are_derived),
		ALL(fields_are_derived),
		ALL(registers_are_derived),
		ALL(clusters_nest_and_are_derived),
		ALL(peripherals_are_derived),
		ALL(references_go_forward),
		ALL(registers_have_other_views),
		ALL(names_get_prefix_and_suffix),
		ALL(arrays_of_peripherals),
		ALL(arrays_of_registers_clusters_fields),
		T(references_into_arrays),
		T(indices_must_suffice),
		T(numbers_have_many_forms),
		T(wrong_numbers_are_refused),
		QUIRK(odd_widths_become_larger),
		QUIRK(fields_are_cut_to_their_register),
		QUIRK(equal_names_get_numbers),
		QUIRK(values_that_dont_fit_are_left_out),
		QUIRK(overlapping_blocks_are_one_region),
		QUIRK(registers_outside_of_blocks_are_reached),
		QUIRK(other_views_must_be_there),
		T(empty_elements_say_nothing),
		T(repeated_elements_dont_confuse),
		T(reads_other_encodings),
		T(text_may_be_cdata_and_escaped),
		T(refuses_what_is_no_svd),
		T(refuses_entities),
		T(refuses_truncated_files),
		T(says_what_is_missing),
		T(says_what_is_wrong),
		T(says_what_nothing_can_be_derived_from),
		T(refuses_circles),
		T(refuses_what_is_too_large),
		T(large_files_load),
		T(many_equal_things_load),
		T(survives_without_memory),
	};

	return cmocka_run_group_tests_name("svd", tests, NULL, NULL);
}
