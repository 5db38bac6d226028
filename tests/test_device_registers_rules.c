/* SPDX-License-Identifier: MIT */
/* Rules at work on registers that live. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <setjmp.h>
#include <cmocka.h>

#include "lib/regs.h"

#define FIELDS(...) \
	(const struct regmap_field *const[]) \
	{ \
		__VA_ARGS__ \
	}
#define FIELD(...) \
	&(struct regmap_field) \
	{ \
		__VA_ARGS__ \
	}

/* P: CR 0x00 (EN bit 0, RDY bit 1 read-only, LOCK bit 7), SR 0x04 (A bit 0, B bit 1), DR 0x08, AR 0x0c,
 * OUT 0x10 (64 bits), KEYR 0x18 (write-only), BYTES 0x1c. Q: CR 0x400, SR 0x404. */
static void lay(struct t_regs *t)
{
	static const char *const names[] = {"P", "Q"};

	t_layout(t);
	for (int i = 0; i < 2; i++) {
		t_peripheral(t, names[i], T_BASE + 0x400u * (unsigned)i);
		t_register(t, names[i],
		           (struct regmap_register){
				   .name = "CR",
				   .fields = FIELDS(FIELD(.name = "EN", .lsb = 0, .width = 1),
		                                    FIELD(.name = "RDY", .lsb = 1, .width = 1,
		                                          .access = REGMAP_READ_ONLY),
		                                    FIELD(.name = "LOCK", .lsb = 7, .width = 1)),
				   .field_count = 3});
		t_register(t, names[i],
		           (struct regmap_register){.name = "SR",
		                                    .offset = 4,
		                                    .fields = FIELDS(FIELD(.name = "A", .lsb = 0,
		                                                           .width = 1),
		                                                     FIELD(.name = "B", .lsb = 1,
		                                                           .width = 1)),
		                                    .field_count = 2});
	}
	t_register(t, "P", (struct regmap_register){.name = "DR", .offset = 8});
	t_register(t, "P", (struct regmap_register){.name = "AR", .offset = 12});
	t_register(t, "P", (struct regmap_register){.name = "OUT", .offset = 16, .width = 8});
	t_register(t, "P",
	           (struct regmap_register){.name = "KEYR",
	                                    .offset = 24,
	                                    .access = REGMAP_WRITE_ONLY});
	t_register(t, "P", (struct regmap_register){.name = "BYTES", .offset = 28});
}

enum {
	CR = 0,
	SR = 4,
	DR = 8,
	AR = 12,
	OUT = 16,
	KEYR = 24,
	BYTES = 28,
	Q_CR = 0x400,
	Q_SR = 0x404
};

struct rule {
	const char *scope, *text;
};

static void begin_with(struct t_regs *t, const struct rule *rules)
{
	lay(t);
	for (; rules->text; rules++)
		t_rule(t, rules->scope, rules->text);
	t_start(t);
}

#define BEGIN(t, ...) begin_with(t, (const struct rule[]){__VA_ARGS__, {NULL, NULL}})

static uint64_t get(struct t_regs *t, uint64_t offset)
{
	uint64_t value = t_read(t, offset, offset == OUT ? 8 : 4);

	assert_int_equal(t->err, 0);
	return value;
}

static void put(struct t_regs *t, uint64_t offset, uint64_t value)
{
	t_write(t, offset, offset == OUT ? 8 : 4, value);
	assert_int_equal(t->err, 0);
}

/* --- what follows --- */

static void test_device_registers_rules_follow(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "CR.RDY = CR.EN"}, {"P", "OUT = SR << 4 | CR.RDY"},
	      {"Q", "SR.A = P.OUT == 0x31"});
	put(&t, CR, 1);
	assert_int_equal(get(&t, CR), 3);
	assert_int_equal(get(&t, OUT), 1);
	put(&t, SR, 3);
	assert_int_equal(get(&t, OUT), 0x31);
	assert_int_equal(get(&t, Q_SR), 1);
	put(&t, CR, 0);
	assert_int_equal(get(&t, CR), 0);
	assert_int_equal(get(&t, OUT), 0x30);
	assert_int_equal(get(&t, Q_SR), 0);
	t_end(&t);
}

/* In any order of the rules: the last of a chain is said first. */
static void test_device_registers_rules_follow_in_order_of_need(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "OUT = AR + 1"}, {"P", "AR = DR + 1"}, {"P", "DR = SR + 1"},
	      {"P", "SR = CR + 1"});
	assert_int_equal(get(&t, OUT), 4);
	put(&t, CR, 0x80);
	assert_int_equal(get(&t, OUT), 0x84);
	t_end(&t);
}

static void test_device_registers_rules_what_follows_can_not_be_written(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "AR = DR"}, {"P", "SR.B = CR.EN"});
	put(&t, DR, 7);
	put(&t, AR, 9);
	assert_int_equal(get(&t, AR), 7);
	put(&t, SR, 0xff);
	assert_int_equal(get(&t, SR), 0xfd);
	t_poke(&t, "P.AR", 3);
	assert_int_equal(get(&t, AR), 7);
	t_poke(&t, "P.DR", 8);
	assert_int_equal(get(&t, AR), 8);
	/* steps neither */
	t_end(&t);
	BEGIN(&t, {"P", "AR = DR"}, {"P", "on write CR: AR = 5; OUT = AR"});
	put(&t, DR, 7);
	put(&t, CR, 1);
	assert_int_equal(get(&t, AR), 7);
	assert_int_equal(get(&t, OUT), 7);
	t_end(&t);
}

static void test_device_registers_rules_follow_reads_and_resets_and_variables(void **state)
{
	struct t_regs t;

	(void)state;
	lay(&t);
	t_register(&t, "P",
	           (struct regmap_register){.name = "RC",
	                                    .offset = 0x20,
	                                    .reset_value = 5,
	                                    .read_action = REGMAP_READ_CLEAR});
	t_rule(&t, "P", "OUT = RC + $n");
	t_rule(&t, "P", "on write DR: $n = $n + value");
	t_start(&t);
	assert_int_equal(get(&t, OUT), 5);
	assert_int_equal(get(&t, 0x20), 5);
	assert_int_equal(get(&t, OUT), 0);
	put(&t, DR, 10);
	put(&t, DR, 20);
	assert_int_equal(get(&t, OUT), 30);
	regmap__regs_reset(t.device.regs);
	assert_int_equal(get(&t, OUT), 5);
	t_end(&t);
}

static void test_device_registers_rules_follow_across_eight_bytes(void **state)
{
	struct t_regs t;

	(void)state;
	lay(&t);
	t_register(&t, "P",
	           (struct regmap_register){.name = "ODD",
	                                    .offset = 0x2e,
	                                    .fields = FIELDS(
						    FIELD(.name = "MID", .lsb = 8, .width = 16)),
	                                    .field_count = 1});
	t_register(&t, "P", (struct regmap_register){.name = "ODD2", .offset = 0x3d});
	t_rule(&t, "P", "OUT = ODD.MID");
	t_rule(&t, "P", "ODD2 = AR");
	t_rule(&t, "P", "on change ODD.MID: DR = value << 16 | old");
	t_start(&t);
	t_write(&t, 0x2e, 2, 0x2211);
	t_write(&t, 0x30, 2, 0x4433);
	assert_int_equal(get(&t, OUT), 0x3322);
	assert_int_equal(get(&t, DR), 0x33220022);
	put(&t, AR, 0x87654321);
	assert_int_equal(t_stored(&t, "P.ODD2"), 0x87654321);
	assert_int_equal(t_read(&t, 0x3d, 1), 0x21);
	assert_int_equal(t_read(&t, 0x40, 1), 0x87);
	t_end(&t);
}

/* --- reads --- */

static void test_device_registers_rules_before_and_on_read(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "before read DR: DR = DR > 9 ? DR - 9 : 20"},
	      {"P.AR", "on read: SR.A = 1; OUT = value"}, {"P.SR.A", "on read: CR = CR + 1"});
	put(&t, DR, 30);
	assert_int_equal(get(&t, DR), 21);
	assert_int_equal(get(&t, DR), 12);
	assert_int_equal(get(&t, DR), 3);
	assert_int_equal(get(&t, DR), 20);
	put(&t, AR, 0x1234);
	assert_int_equal(t_stored(&t, "P.SR"), 0);
	assert_int_equal(get(&t, AR), 0x1234);
	assert_int_equal(get(&t, OUT), 0x1234);
	assert_int_equal(get(&t, SR), 1);
	assert_int_equal(get(&t, CR), 1);
	/* of the other bytes alone: not the field's read */
	t_read(&t, SR + 1, 1);
	assert_int_equal(get(&t, CR), 1);
	/* from inside: no read */
	t_stored(&t, "P.SR");
	t_stored(&t, "P.DR");
	assert_int_equal(get(&t, CR), 1);
	t_end(&t);
}

/* --- writes --- */

static void test_device_registers_rules_on_write_sees_value_and_old(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on write DR: OUT = value << 32 | old; AR = address"},
	      {"P", "on write CR.LOCK: SR = value + 2 * old"},
	      {"P", "on write KEYR: BYTES = value"});
	put(&t, DR, 5);
	put(&t, DR, 6);
	assert_int_equal(get(&t, OUT), 0x600000005);
	assert_int_equal(get(&t, AR), T_BASE + DR);
	/* one byte: the others are as they were */
	t_write(&t, DR + 1, 1, 0xaa);
	assert_int_equal(get(&t, OUT), 0xaa0600000006);
	put(&t, CR, 0x80);
	assert_int_equal(get(&t, SR), 1);
	put(&t, CR, 0x80);
	assert_int_equal(get(&t, SR), 3);
	put(&t, CR, 0);
	assert_int_equal(get(&t, SR), 2);
	t_write(&t, CR + 1, 1, 0xff);
	assert_int_equal(get(&t, SR), 2);
	put(&t, KEYR, 0x45670123);
	assert_int_equal(get(&t, BYTES), 0x45670123);
	assert_int_equal(get(&t, KEYR), 0);
	t_end(&t);
}

static void test_device_registers_rules_on_set_clear_and_change(void **state)
{
	static const struct {
		uint64_t write, counts; /* as OUT says: set, clear, change */
	} cases[] = {
		{0, 0x000}, {1, 0x101}, {1, 0x101}, {3, 0x101},
		{2, 0x112}, {0, 0x112}, {1, 0x213}, {0, 0x224},
	};
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on set SR.A: OUT = OUT + 0x100"}, {"P", "on clear SR.A: OUT = OUT + 0x10"},
	      {"P", "on change SR.A: OUT = OUT + 1"}, {"P", "on set DR: AR = AR + 1"},
	      {"P", "on clear DR: AR = AR + 0x10"}, {"P", "on change DR: AR = AR + 0x100"});
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put(&t, SR, cases[i].write);
		assert_int_equal(get(&t, OUT), cases[i].counts);
	}
	put(&t, DR, 5);
	assert_int_equal(get(&t, AR), 0x101);
	put(&t, DR, 6);
	assert_int_equal(get(&t, AR), 0x201);
	put(&t, DR, 0);
	assert_int_equal(get(&t, AR), 0x311);
	t_end(&t);
}

/* What follows in the written register changes by the write, too. */
static void test_device_registers_rules_on_set_of_what_follows(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "CR.RDY = CR.EN"}, {"P", "on set CR.RDY: OUT = OUT + 1"});
	put(&t, CR, 1);
	put(&t, CR, 1);
	put(&t, CR, 0);
	put(&t, CR, 2);
	put(&t, CR, 1);
	assert_int_equal(get(&t, OUT), 2);
	t_end(&t);
}

static void test_device_registers_rules_have_conditions(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on write DR if CR.EN: OUT = value"},
	      {"P", "on write DR if value == 7 && old == 6: AR = 1"});
	put(&t, DR, 6);
	assert_int_equal(get(&t, OUT), 0);
	put(&t, CR, 1);
	put(&t, DR, 7);
	assert_int_equal(get(&t, OUT), 7);
	assert_int_equal(get(&t, AR), 1);
	t_end(&t);
}

static void test_device_registers_rules_run_in_their_order(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on write DR: OUT = OUT * 10 + 1"},
	      {"P", "on change DR: OUT = OUT * 10 + 2"},
	      {"", "on set P.DR: P.OUT = P.OUT * 10 + 3"},
	      {"P.DR", "on write: OUT = OUT * 10 + 4; OUT = OUT * 10 + 5"});
	put(&t, DR, 1);
	assert_int_equal(get(&t, OUT), 12345);
	t_end(&t);
}

/* Steps change values, and cause no events. */
static void test_device_registers_rules_steps_are_no_accesses(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on write DR: AR = 1; SR = 0x1ff"}, {"P", "on write AR: OUT = 1"},
	      {"P", "on change AR: OUT = 2"}, {"P", "before read AR: OUT = 3"},
	      {"P", "ignore write SR"});
	put(&t, DR, 1);
	assert_int_equal(get(&t, OUT), 0);
	assert_int_equal(get(&t, SR), 0x1ff);
	put(&t, SR, 0);
	assert_int_equal(get(&t, SR), 0x1ff);
	t_end(&t);
}

static void test_device_registers_rules_cut_values_to_their_place(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on write DR: CR.LOCK = value; AR = value << 8; $v = 0 - 1; OUT = $v"});
	put(&t, DR, 0xffffff02);
	assert_int_equal(get(&t, CR), 0);
	assert_int_equal(get(&t, AR), 0xffff0200);
	assert_int_equal(get(&t, OUT), ~0ull);
	put(&t, DR, 3);
	assert_int_equal(get(&t, CR), 0x80);
	t_end(&t);
}

/* --- ignore and refuse --- */

static void test_device_registers_rules_ignore(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "ignore write CR if CR.LOCK"}, {"P", "on write CR: OUT = OUT + 1"},
	      {"P.SR.A", "ignore write if value"}, {"P", "on write SR: AR = AR + 1"});
	put(&t, CR, 1);
	put(&t, CR, 0x81);
	put(&t, CR, 0);
	assert_int_equal(get(&t, CR), 0x81);
	assert_int_equal(get(&t, OUT), 2);
	/* the field alone */
	put(&t, SR, 3);
	assert_int_equal(get(&t, SR), 2);
	assert_int_equal(get(&t, AR), 1);
	/* all of what is written: no write */
	t_write(&t, CR, 1, 5);
	assert_int_equal(t.err, 0);
	assert_int_equal(get(&t, OUT), 2);
	/* its neighbour in a wide one */
	t_write(&t, CR, 8, 0x200000000);
	assert_int_equal(get(&t, CR), 0x81);
	assert_int_equal(get(&t, SR), 2);
	t_end(&t);
}

static void test_device_registers_rules_refuse(void **state)
{
	uint64_t refused;
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "refuse write DR if !CR.EN"}, {"P", "refuse read AR if SR.A"},
	      {"P", "on write DR: OUT = 1"}, {"P", "on read AR: OUT = 2"},
	      {"P", "before read AR: OUT = 3"});
	t_write(&t, DR, 4, 5);
	assert_int_equal(t.err, -EIO);
	assert_int_equal(get(&t, DR), 0);
	assert_int_equal(get(&t, OUT), 0);
	put(&t, CR, 1);
	put(&t, DR, 5);
	assert_int_equal(get(&t, DR), 5);
	put(&t, OUT, 0);
	put(&t, SR, 1);
	t_read(&t, AR, 4);
	assert_int_equal(t.err, -EIO);
	assert_int_equal(get(&t, OUT), 0);
	put(&t, SR, 0);
	get(&t, AR);
	assert_int_equal(get(&t, OUT), 2);
	refused = regmap__regs_refused(t.device.regs);
	assert_int_equal(refused, 2);
	t_end(&t);
}

/* --- locks --- */

static void unlock(struct t_regs *t, uint64_t first, uint64_t second)
{
	put(t, KEYR, first);
	put(t, KEYR, second);
}

/* As "locks" of a description says it. */
static void test_device_registers_rules_can_say_locks(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on reset: CR.LOCK = 1"}, {"P", "ignore write CR if CR.LOCK"},
	      {"P", "ignore write AR if CR.LOCK"},
	      {"P",
	       "on write KEYR: $keys = $keys == 0 && value == 0x45670123 ? 1 : $keys == 1 && value == 0xCDEF89AB ? 2 : 9;"
	       " CR.LOCK = $keys == 2 ? 0 : 1; $keys = $keys == 2 ? 0 : $keys"},
	      {"P", "on set CR.LOCK: $keys = $keys == 9 ? 9 : 0"});
	put(&t, AR, 1);
	assert_int_equal(get(&t, AR), 0);
	unlock(&t, 0x45670123, 0xcdef89ab);
	put(&t, AR, 1);
	put(&t, CR, 0x01);
	assert_int_equal(get(&t, AR), 1);
	put(&t, CR, 0x81);
	put(&t, AR, 2);
	put(&t, CR, 0);
	assert_int_equal(get(&t, AR), 1);
	unlock(&t, 0x45670123, 0xcdef89ab);
	put(&t, AR, 3);
	assert_int_equal(get(&t, AR), 3);
	put(&t, CR, 0x80);
	unlock(&t, 0x45670123, 0xcdef89aa);
	unlock(&t, 0x45670123, 0xcdef89ab);
	put(&t, AR, 4);
	assert_int_equal(get(&t, AR), 3);
	regmap__regs_reset(t.device.regs);
	unlock(&t, 0x45670123, 0xcdef89ab);
	put(&t, AR, 5);
	assert_int_equal(get(&t, AR), 5);
	t_end(&t);
}

/* --- after N --- */

static void test_device_registers_rules_after_counts_accesses(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on write DR: SR.A = 0; after 2: SR.A = 1; after 1: SR.B = 1"});
	put(&t, DR, 1);
	assert_int_equal(get(&t, SR), 0);
	get(&t, Q_SR); /* another peripheral's */
	put(&t, Q_CR, 0);
	assert_int_equal(get(&t, SR), 0);
	assert_int_equal(get(&t, SR), 1);
	assert_int_equal(get(&t, SR), 3);
	/* once more while it waits: from the start */
	put(&t, DR, 1);
	put(&t, DR, 1);
	assert_int_equal(get(&t, SR), 2);
	assert_int_equal(get(&t, SR), 2);
	assert_int_equal(get(&t, SR), 3);
	/* bytes that no register describes are accesses, too; peeks are none */
	put(&t, DR, 1);
	get(&t, 0x300);
	t_stored(&t, "P.SR");
	t_stored(&t, "P.SR");
	assert_int_equal(get(&t, SR), 2);
	assert_int_equal(get(&t, SR), 3);
	t_end(&t);
}

static void test_device_registers_rules_after_keeps_what_it_was_about(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on write DR: after 1: OUT = value << 32 | old; AR = address"});
	put(&t, DR, 1);
	put(&t, CR, 0);
	put(&t, DR, 2);
	assert_int_equal(get(&t, OUT), 0x100000000);
	assert_int_equal(get(&t, OUT), 0x200000001);
	assert_int_equal(get(&t, AR), T_BASE + DR);
	t_end(&t);
}

static void test_device_registers_rules_after_is_forgotten_by_a_reset(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on write DR: after 1: SR.A = 1"},
	      {"", "on write Q.SR: after 1: P.SR.B = 1"});
	put(&t, DR, 1);
	regmap__regs_reset(t.device.regs);
	get(&t, SR);
	assert_int_equal(get(&t, SR), 0);
	/* of the device's own rules: accesses to what they are about */
	put(&t, Q_SR, 1);
	get(&t, SR);
	assert_int_equal(get(&t, SR), 0);
	get(&t, Q_SR);
	assert_int_equal(get(&t, SR), 2);
	t_end(&t);
}

/* A refused access is none. */
static void test_device_registers_rules_after_counts_no_refusals(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on write DR: after 1: SR.A = 1"}, {"P", "refuse read AR"});
	put(&t, DR, 1);
	t_read(&t, AR, 4);
	assert_int_equal(t.err, -EIO);
	assert_int_equal(get(&t, SR), 0);
	assert_int_equal(get(&t, SR), 1);
	t_end(&t);
}

/* --- resets --- */

static void test_device_registers_rules_reset_steps(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on write DR if value == 1: $n = 5; reset; OUT = OUT + 1 + $n"},
	      {"P", "on write DR if value == 2: reset(Q)"},
	      {"P", "on write DR if value == 3: reset(device)"},
	      {"P", "on reset: BYTES = BYTES + 1"}, {"Q", "on reset: P.AR = P.AR + 1"},
	      {"", "on reset: Q.SR = 9"}, {"Q", "on write SR: after 2: CR = 0x7f"});
	assert_int_equal(get(&t, AR), 1);
	assert_int_equal(get(&t, BYTES), 1);
	assert_int_equal(get(&t, Q_SR), 9);
	put(&t, Q_CR, 5);
	put(&t, CR, 5);
	put(&t, DR, 1);
	assert_int_equal(get(&t, CR), 0);
	assert_int_equal(get(&t, DR), 0);
	assert_int_equal(get(&t, AR), 0);
	assert_int_equal(get(&t, BYTES), 1);
	assert_int_equal(get(&t, OUT), 1);
	assert_int_equal(get(&t, Q_CR), 5);
	put(&t, CR, 5);
	put(&t, Q_SR, 1);
	put(&t, DR, 2);
	assert_int_equal(get(&t, CR), 5);
	assert_int_equal(get(&t, Q_CR), 0);
	assert_int_equal(get(&t, Q_CR), 0);
	assert_int_equal(get(&t, Q_CR), 0);
	assert_int_equal(get(&t, Q_SR), 0);
	assert_int_equal(get(&t, AR), 1);
	put(&t, Q_CR, 5);
	t_write(&t, 0x8000, 4, 5);
	put(&t, DR, 3);
	assert_int_equal(get(&t, CR), 0);
	assert_int_equal(get(&t, Q_CR), 0);
	assert_int_equal(get(&t, Q_SR), 9);
	assert_int_equal(t_read(&t, 0x8000, 4), 0);
	t_end(&t);
}

/* --- bit-band, eight bytes --- */

static void test_device_registers_rules_see_changes_of_single_bits(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "CR.RDY = CR.EN"}, {"P", "on read CR: OUT = OUT + 1"},
	      {"P", "on set CR.EN: OUT = OUT + 0x100"});
	assert_int_equal(regmap__regs_change(t.device.regs, t.region, T_BASE, 0, 1), 0);
	assert_int_equal(t_stored(&t, "P.CR"), 3);
	assert_int_equal(get(&t, OUT), 0x101);
	t_end(&t);
}

/* --- flash --- */

static void program(struct t_regs *t, const struct regmap_region *region, uint64_t address,
                    uint64_t value)
{
	const struct programming write = {.address = address, .value = value, .width = 2};

	regmap__regs_programmed(t->device.regs, region, &write);
}

static void test_device_registers_rules_know_of_programming(void **state)
{
	struct regmap_region region = {.name = "Flash 1",
	                               .address = 0x8000000,
	                               .length = 0x1000,
	                               .permissions = 5,
	                               .type = REGMAP_REGION_FLASH,
	                               .program_if = "P.CR.EN && !$x"};
	struct regmap_region other = {.name = "Flash 2",
	                              .address = 0x9000000,
	                              .length = 0x1000,
	                              .permissions = 5,
	                              .type = REGMAP_REGION_FLASH};
	const struct regmap_region *first, *second;
	struct regmap_error error;
	struct t_regs t;

	(void)state;
	lay(&t);
	assert_int_equal(regmap_layout_add_region(t.layout, &region, &error), 0);
	assert_int_equal(regmap_layout_add_region(t.layout, &other, &error), 0);
	t_rule(&t, "P", "on program \"Flash 1\": OUT = address; AR = value");
	t_rule(&t, "P", "on program if value: SR = SR + 1");
	t_start(&t);
	first = t.layout->regions[0];
	second = t.layout->regions[1];
	t.region = t.layout->regions[2];
	assert_false(regmap__regs_may_program(t.device.regs, first));
	assert_true(regmap__regs_may_program(t.device.regs, second));
	assert_true(regmap__regs_may_program(t.device.regs, t.region));
	put(&t, CR, 1);
	assert_true(regmap__regs_may_program(t.device.regs, first));
	program(&t, first, 0x8000010, 0x55aa);
	assert_int_equal(get(&t, OUT), 0x8000010);
	assert_int_equal(get(&t, AR), 0x55aa);
	program(&t, second, 0x9000010, 0x1111);
	program(&t, second, 0x9000010, 0);
	assert_int_equal(get(&t, OUT), 0x8000010);
	assert_int_equal(get(&t, SR), 2);
	t_end(&t);
}

/* --- threads and signals --- */

enum { ROUNDS = 5000 };

static void *hammer(void *arg)
{
	struct t_regs *t = arg;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t value;

		if (regmap__regs_write(t->device.regs, t->region, T_BASE + DR, 4, 1) ||
		    regmap__regs_read(t->device.regs, t->region, T_BASE + AR, 4, &value))
			return t;
	}
	return NULL;
}

/* No write is lost, and what follows is never behind. */
static void test_device_registers_rules_are_whole_among_threads(void **state)
{
	enum { THREADS = 4 };
	pthread_t threads[THREADS];
	struct t_regs t;
	void *failed;

	(void)state;
	BEGIN(&t, {"P", "on write DR: OUT = OUT + value; $n = $n + 1"},
	      {"P", "on read AR: BYTES = BYTES + 1"}, {"P", "refuse read AR if BYTES != SR"},
	      {"P", "SR = BYTES"}, {"P", "refuse write DR if $n != OUT"});
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, &t), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(get(&t, OUT), THREADS * ROUNDS);
	assert_int_equal(get(&t, BYTES), THREADS * ROUNDS);
	t_end(&t);
}

static struct t_regs *of_handler;
static atomic_uint handled;
static sigjmp_buf *_Atomic way_out;

static void on_signal(int signo)
{
	(void)signo;
	t_write(of_handler, DR, 4, 1);
	atomic_fetch_add(&handled, 1);
	if (atomic_load(&way_out))
		siglongjmp(*atomic_load(&way_out), 1);
}

static timer_t timer;

static void start_timer(int signo)
{
	struct sigaction act = {.sa_handler = on_signal};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = signo};
	struct itimerspec every = {{0, 100000}, {0, 100000}};

	sigaction(signo, &act, NULL);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &every, NULL), 0);
}

static void stop_timer(void)
{
	assert_int_equal(timer_delete(timer), 0);
}

static void test_device_registers_rules_let_handlers_in(void **state)
{
	unsigned writes = 0;
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on write DR: OUT = OUT + value"}, {"P", "AR = OUT"});
	of_handler = &t;
	atomic_store(&handled, 0);
	start_timer(SIGALRM);
	for (; atomic_load(&handled) < 50; writes++)
		put(&t, DR, 1);
	stop_timer();
	assert_int_equal(get(&t, OUT), writes + atomic_load(&handled));
	assert_int_equal(get(&t, AR), writes + atomic_load(&handled));
	t_end(&t);
}

/* SIGINT doesn't wait: it comes in beside the access that it interrupts. What follows is right in the end. */
static void test_device_registers_rules_let_urgent_handlers_in_at_once(void **state)
{
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on write DR: OUT = OUT + value"}, {"P", "AR = OUT"}, {"P", "BYTES = AR"});
	of_handler = &t;
	atomic_store(&handled, 0);
	start_timer(SIGINT);
	while (atomic_load(&handled) < 300)
		put(&t, DR, 1);
	stop_timer();
	assert_int_equal((uint32_t)get(&t, OUT), get(&t, AR));
	assert_int_equal(get(&t, BYTES), get(&t, AR));
	t_end(&t);
}

static void *write_some(void *arg)
{
	for (int i = 0; i < 100; i++)
		t_write(arg, DR, 4, 1);
	return NULL;
}

/* A handler that jumps out in the middle leaves no lock behind. */
static void survive_jumps(int signo)
{
	static volatile unsigned jumps;
	static sigjmp_buf env;
	pthread_t thread;
	struct t_regs t;

	BEGIN(&t, {"P", "on write DR: OUT = OUT + value"}, {"P", "AR = OUT"});
	of_handler = &t;
	jumps = 0;
	start_timer(signo);
	if (sigsetjmp(env, 1))
		jumps++;
	atomic_store(&way_out, &env);
	while (jumps < 100)
		t_write(&t, DR, 4, 1);
	atomic_store(&way_out, NULL);
	stop_timer();
	assert_int_equal(pthread_create(&thread, NULL, write_some, &t), 0);
	pthread_join(thread, NULL);
	put(&t, DR, 1);
	assert_int_equal((uint32_t)get(&t, OUT), get(&t, AR));
	t_end(&t);
}

static void test_device_registers_rules_survive_jumps(void **state)
{
	(void)state;
	survive_jumps(SIGALRM);
}

static void test_device_registers_rules_survive_jumps_out_of_the_middle(void **state)
{
	(void)state;
	survive_jumps(SIGINT);
}

static void *write_for_ever(void *arg)
{
	while (!atomic_load(&handled))
		t_write(arg, DR, 4, 1);
	return NULL;
}

/* A child of a moment when another thread is in the middle. */
static void test_device_registers_rules_live_on_in_children(void **state)
{
	pthread_t thread;
	struct t_regs t;

	(void)state;
	BEGIN(&t, {"P", "on write DR: OUT = OUT + value"}, {"P", "AR = OUT"});
	atomic_store(&handled, 0);
	assert_int_equal(pthread_create(&thread, NULL, write_for_ever, &t), 0);
	for (int i = 0; i < 50; i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			t_write(&t, DR, 4, 1);
			_exit(t_read(&t, AR, 4) == (uint32_t)t_read(&t, OUT, 8) ? 0 : 1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	atomic_store(&handled, 1);
	pthread_join(thread, NULL);
	t_end(&t);
}

/* Handlers are kept waiting by what comes with the first window, and a device has some. */
static int lay_window(void **state)
{
	static uint64_t host[512];
	struct regmap_config config = {.size = sizeof(config),
	                               .guest = 0x1000000000000000,
	                               .length = sizeof(host),
	                               .access = REGMAP_READ | REGMAP_WRITE,
	                               .backing = REGMAP_HOST,
	                               .host = host};

	(void)state;
	return regmap_map(&config, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device_registers_rules_follow),
		cmocka_unit_test(test_device_registers_rules_follow_in_order_of_need),
		cmocka_unit_test(test_device_registers_rules_what_follows_can_not_be_written),
		cmocka_unit_test(test_device_registers_rules_follow_reads_and_resets_and_variables),
		cmocka_unit_test(test_device_registers_rules_follow_across_eight_bytes),
		cmocka_unit_test(test_device_registers_rules_before_and_on_read),
		cmocka_unit_test(test_device_registers_rules_on_write_sees_value_and_old),
		cmocka_unit_test(test_device_registers_rules_on_set_clear_and_change),
		cmocka_unit_test(test_device_registers_rules_on_set_of_what_follows),
		cmocka_unit_test(test_device_registers_rules_have_conditions),
		cmocka_unit_test(test_device_registers_rules_run_in_their_order),
		cmocka_unit_test(test_device_registers_rules_steps_are_no_accesses),
		cmocka_unit_test(test_device_registers_rules_cut_values_to_their_place),
		cmocka_unit_test(test_device_registers_rules_ignore),
		cmocka_unit_test(test_device_registers_rules_refuse),
		cmocka_unit_test(test_device_registers_rules_can_say_locks),
		cmocka_unit_test(test_device_registers_rules_after_counts_accesses),
		cmocka_unit_test(test_device_registers_rules_after_keeps_what_it_was_about),
		cmocka_unit_test(test_device_registers_rules_after_is_forgotten_by_a_reset),
		cmocka_unit_test(test_device_registers_rules_after_counts_no_refusals),
		cmocka_unit_test(test_device_registers_rules_reset_steps),
		cmocka_unit_test(test_device_registers_rules_see_changes_of_single_bits),
		cmocka_unit_test(test_device_registers_rules_know_of_programming),
		cmocka_unit_test(test_device_registers_rules_are_whole_among_threads),
		cmocka_unit_test(test_device_registers_rules_let_handlers_in),
		cmocka_unit_test(test_device_registers_rules_let_urgent_handlers_in_at_once),
		cmocka_unit_test(test_device_registers_rules_survive_jumps),
		cmocka_unit_test(test_device_registers_rules_survive_jumps_out_of_the_middle),
		cmocka_unit_test(test_device_registers_rules_live_on_in_children),
	};

	return cmocka_run_group_tests_name("device_registers_rules", tests, lay_window, NULL);
}
