/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "schema.h"
#include "values.h"

enum form {
	STRING,
	STRINGS, /* a list of them, or one alone */
	NUMBER,
	NUMBERS,
	SIGNED,
	SIZE,
	PAGE_SIZE, /* or "region" */
	BOOLEAN,
	WORD,
	PERMISSIONS,
	WIDTH,
	WIDTHS,
	BITS,
	TABLE,
	TABLES,
	VALUES, /* of a field: a table of numbers, or a list of tables */
	RULES,  /* strings, or tables that say their scope */
};

struct key {
	const char *key;
	enum form form;
	const void *more; /* struct word, struct schema */
	uint64_t most;    /* of a number; 0: all 64 bits */
};

struct schema {
	const char *what;
	const struct key *keys; /* up to one without a name */
};

static void check_table(struct notes *n, const struct tree *table, const struct schema *schema);

/* ---- the tables -------------------------------------------------------------------------------- */

/* clang-format off */
#define KEY(name, f) {.key = name, .form = f}
#define OF(name, f, m) {.key = name, .form = f, .more = m}
#define MOST(name, m) {.key = name, .form = NUMBER, .most = m}
#define END {.key = NULL}
/* clang-format on */
#define ARRAY_KEYS MOST("dim", DIM_MOST), KEY("dim_increment", NUMBER), KEY("dim_index", STRING)

static const struct key flash_sector_keys[] = {KEY("size", SIZE), KEY("count", NUMBER), END};
static const struct schema flash_sector = {"a sector", flash_sector_keys};

static const struct key flash_keys[] = {
	OF("policy", WORD, regmap__flash_policies),
	KEY("program_if", STRING),
	KEY("program_width", WIDTH),
	OF("sectors", TABLES, &flash_sector),
	END,
};
static const struct schema flash = {"a flash", flash_keys};

static const struct key rule_keys[] = {KEY("scope", STRING), KEY("rule", STRING), END};
static const struct schema rule = {"a rule", rule_keys};

static const struct key value_keys[] = {
	KEY("name", STRING),
	KEY("value", NUMBER),
	KEY("description", STRING),
	KEY("default", BOOLEAN),
	OF("usage", WORD, regmap__usages),
	END,
};
static const struct schema value = {"a value", value_keys};

static const struct key field_keys[] = {
	KEY("name", STRING),
	KEY("description", STRING),
	KEY("remove", BOOLEAN),
	MOST("bit", 63),
	KEY("bits", BITS),
	MOST("lsb", 63),
	MOST("width", 64),
	OF("access", WORD, regmap__accesses),
	OF("read", WORD, regmap__read_actions),
	OF("write", WORD, regmap__write_actions),
	KEY("values", VALUES),
	KEY("derived_from", STRING),
	ARRAY_KEYS,
	KEY("rules", RULES),
	END,
};
static const struct schema field = {"a field", field_keys};

static const struct key register_keys[] = {
	KEY("name", STRING),
	KEY("offset", NUMBER),
	KEY("description", STRING),
	KEY("remove", BOOLEAN),
	KEY("width", WIDTH),
	OF("access", WORD, regmap__accesses),
	OF("read", WORD, regmap__read_actions),
	OF("write", WORD, regmap__write_actions),
	KEY("reset", NUMBER),
	KEY("reset_mask", NUMBER),
	KEY("widths", WIDTHS),
	OF("width_policy", WORD, regmap__width_policies),
	KEY("alternate", STRING),
	KEY("derived_from", STRING),
	ARRAY_KEYS,
	OF("fields", TABLES, &field),
	KEY("rules", RULES),
	END,
};
static const struct schema reg = {"a register", register_keys};

static const struct key lock_keys[] = {
	KEY("bit", STRING), KEY("key", STRING), KEY("keys", NUMBERS), KEY("protects", STRINGS), END,
};
static const struct schema lock = {"a lock", lock_keys};

static const struct key interrupt_keys[] = {
	KEY("name", STRING),
	KEY("number", SIGNED),
	KEY("description", STRING),
	END,
};
static const struct schema interrupt = {"an interrupt", interrupt_keys};

static const struct key peripheral_keys[] = {
	KEY("name", STRING),
	KEY("address", NUMBER),
	KEY("offset", NUMBER),
	KEY("size", SIZE),
	KEY("description", STRING),
	KEY("group", STRING),
	KEY("remove", BOOLEAN),
	OF("interrupts", TABLES, &interrupt),
	KEY("address_space", STRING),
	KEY("derived_from", STRING),
	ARRAY_KEYS,
	KEY("widths", WIDTHS),
	OF("width_policy", WORD, regmap__width_policies),
	KEY("register_width", WIDTH),
	OF("register_access", WORD, regmap__accesses),
	KEY("register_reset", NUMBER),
	KEY("register_reset_mask", NUMBER),
	OF("registers", TABLES, &reg),
	KEY("rules", RULES),
	OF("locks", TABLES, &lock),
	END,
};
static const struct schema peripheral = {"a peripheral", peripheral_keys};

static const struct key region_keys[] = {
	KEY("name", STRING),
	KEY("guest_address", NUMBER),
	KEY("size", SIZE),
	OF("type", WORD, regmap__region_types),
	KEY("permissions", PERMISSIONS),
	KEY("description", STRING),
	KEY("remove", BOOLEAN),
	KEY("device", STRING),
	KEY("content", STRING),
	KEY("address_space", STRING),
	KEY("target", NUMBER),
	KEY("target_space", STRING),
	KEY("widths", WIDTHS),
	OF("width_policy", WORD, regmap__width_policies),
	KEY("attached", BOOLEAN),
	MOST("erased", 0xFF),
	KEY("program_once", BOOLEAN),
	OF("flash", TABLE, &flash),
	OF("peripherals", TABLES, &peripheral),
	END,
};
static const struct schema region = {"a region", region_keys};

static const struct key space_keys[] = {
	KEY("name", STRING),
	KEY("description", STRING),
	KEY("offset", NUMBER),
	KEY("remove", BOOLEAN),
	END,
};
static const struct schema space = {"an address space", space_keys};

static const struct key memory_keys[] = {
	KEY("allocate_at_once", BOOLEAN),
	KEY("page_size", PAGE_SIZE),
	MOST("address_spaces", SPACES_MOST),
	END,
};
static const struct schema memory = {"[memory]", memory_keys};

static const struct key device_keys[] = {
	KEY("name", STRING),
	KEY("description", STRING),
	KEY("max_memory", SIZE),
	KEY("vendor", STRING),
	KEY("cpu", STRING),
	KEY("license", STRING),
	END,
};
static const struct schema device = {"[device]", device_keys};

static const struct key root_keys[] = {
	KEY("$schema", STRING), /* for editors */
	KEY("schema", NUMBER),
	KEY("include", STRINGS),
	KEY("overlay", BOOLEAN),
	OF("device", TABLE, &device),
	OF("memory", TABLE, &memory),
	OF("address_spaces", TABLES, &space),
	OF("regions", TABLES, &region),
	OF("peripherals", TABLES, &peripheral),
	OF("registers", TABLES, &reg),
	KEY("rules", RULES),
	END,
};
static const struct schema root = {"a description", root_keys};

/* What others call it. */
static const char *const other_names[][2] = {
	{"base", "guest_address"},
	{"base", "address"},
	{"address", "guest_address"},
	{"start", "guest_address"},
	{"start", "address"},
	{"guest_address", "address"},
	{"base_address", "address"},
	{"baseAddress", "address"},
	{"length", "size"},
	{"perm", "permissions"},
	{"perms", "permissions"},
	{"kind", "type"},
	{"address", "offset"},
	{"addressOffset", "offset"},
	{"size", "width"},
	{"reset_value", "reset"},
	{"resetValue", "reset"},
	{"resetMask", "reset_mask"},
	{"readAction", "read"},
	{"modifiedWriteValues", "write"},
	{"dimIncrement", "dim_increment"},
	{"derivedFrom", "derived_from"},
	{"includes", "include"},
	{"enum", "values"},
	{"enumeratedValues", "values"},
	{"space", "address_space"},
	{"version", "schema"},
};

/* ---- keys --------------------------------------------------------------------------------------- */

static const struct key *find_key(const struct schema *schema, const char *name)
{
	for (const struct key *k = schema->keys; k->key; k++)
		if (strcmp(k->key, name) == 0)
			return k;
	return NULL;
}

static const char *next_key(void *ctx)
{
	const struct key **at = ctx;

	return (*at)->key ? (*at)++->key : NULL;
}

static const char *likely(const struct schema *schema, const char *name)
{
	const struct key *at = schema->keys;

	for (size_t i = 0; i < sizeof(other_names) / sizeof(other_names[0]); i++)
		if (strcmp(other_names[i][0], name) == 0 && find_key(schema, other_names[i][1]))
			return other_names[i][1];
	return regmap__nearest(name, next_key, &at);
}

static void unknown_key(struct notes *n, const struct tree *node, const struct schema *schema)
{
	const char *near = likely(schema, node->key);
	char all[400] = "";
	size_t used = 0;

	if (near) {
		regmap__note_key(n, -EINVAL, node,
		                 "unknown key \"%.60s\" in %s: did you mean \"%s\"?", node->key,
		                 schema->what, near);
		return;
	}
	for (const struct key *k = schema->keys; k->key && used < sizeof(all); k++)
		used += snprintf(all + used, sizeof(all) - used, "%s%s",
		                 k == schema->keys ? "" : ", ", k->key);
	regmap__note_key(n, -EINVAL, node, "unknown key \"%.60s\" in %s: known are %s", node->key,
	                 schema->what, all);
}

/* ---- forms --------------------------------------------------------------------------------------- */

static void check_tables(struct notes *n, const struct tree *node, const struct schema *schema)
{
	if (node->kind != TREE_LIST) {
		regmap__note(n, -EINVAL, node, "%s: expected a list of tables, not %s", node->key,
		             regmap__tree_kind_name(node));
		return;
	}
	for (const struct tree *item = node->first; item && !regmap__notes_stop(n);
	     item = item->next)
		check_table(n, item, schema);
}

static void check_values(struct notes *n, const struct tree *node)
{
	uint64_t number;

	if (node->kind != TREE_TABLE) {
		check_tables(n, node, &value);
		return;
	}
	for (const struct tree *item = node->first; item && !regmap__notes_stop(n);
	     item = item->next)
		regmap__value_number(n, item, &number);
}

static void check_strings(struct notes *n, const struct tree *node)
{
	const char *text;

	if (node->kind != TREE_LIST) {
		regmap__value_string(n, node, &text);
		return;
	}
	for (const struct tree *item = node->first; item && !regmap__notes_stop(n);
	     item = item->next)
		regmap__value_string(n, item, &text);
}

static void check_numbers(struct notes *n, const struct tree *node)
{
	uint64_t number;

	if (node->kind != TREE_LIST) {
		regmap__note(n, -EINVAL, node, "%s: expected a list of numbers, not %s", node->key,
		             regmap__tree_kind_name(node));
		return;
	}
	for (const struct tree *item = node->first; item && !regmap__notes_stop(n);
	     item = item->next)
		regmap__value_number(n, item, &number);
}

static void check_rules(struct notes *n, const struct tree *node)
{
	const char *text;

	if (node->kind != TREE_LIST) {
		regmap__value_string(n, node, &text);
		return;
	}
	for (const struct tree *item = node->first; item && !regmap__notes_stop(n);
	     item = item->next)
		if (item->kind == TREE_TABLE)
			check_table(n, item, &rule);
		else
			regmap__value_string(n, item, &text);
}

static void check_page_size(struct notes *n, const struct tree *node)
{
	uint64_t number = 1;

	if (node->kind == TREE_STRING && strcmp(node->string, "region") == 0)
		return;
	if (regmap__value_size(n, node, &number) && (number & (number - 1) || !number))
		regmap__note(n, -EINVAL, node,
		             "page_size: expected a power of two, or \"region\", not %" PRIu64,
		             number);
}

static void check_form(struct notes *n, const struct tree *node, const struct key *key)
{
	const char *text;
	uint64_t number;
	unsigned small, other;
	int sign;
	bool truth;

	switch (key->form) {
	case STRING: regmap__value_string(n, node, &text); break;
	case STRINGS: check_strings(n, node); break;
	case NUMBER:
		regmap__value_most(n, node, key->most ? key->most : UINT64_MAX, &number);
		break;
	case NUMBERS: check_numbers(n, node); break;
	case SIGNED: regmap__value_signed(n, node, &sign); break;
	case SIZE: regmap__value_size(n, node, &number); break;
	case PAGE_SIZE: check_page_size(n, node); break;
	case BOOLEAN: regmap__value_boolean(n, node, &truth); break;
	case WORD: regmap__value_word(n, node, key->more, &small); break;
	case PERMISSIONS: regmap__value_permissions(n, node, &small); break;
	case WIDTH: regmap__value_width(n, node, &small); break;
	case WIDTHS: regmap__value_widths(n, node, &small); break;
	case BITS: regmap__value_bits(n, node, &small, &other); break;
	case TABLE: check_table(n, node, key->more); break;
	case TABLES: check_tables(n, node, key->more); break;
	case VALUES: check_values(n, node); break;
	case RULES: check_rules(n, node); break;
	}
}

/* "GPIO?.CRL" among the peripherals is about a register, "GPIO?.CRL.MODE" about a field. */
static const struct schema *really(const struct tree *table, const struct schema *schema)
{
	const struct tree *name = regmap__tree_get(table, "name");
	const char *dot = name && name->kind == TREE_STRING ? strchr(name->string, '.') : NULL;

	if (!dot || schema == &region)
		return schema;
	if (schema == &peripheral)
		return strchr(dot + 1, '.') ? &field : &reg;
	return schema;
}

static void check_table(struct notes *n, const struct tree *table, const struct schema *schema)
{
	if (table->kind != TREE_TABLE) {
		regmap__note(n, -EINVAL, table, "%s: expected a table, not %s",
		             table->key ? table->key : schema->what, regmap__tree_kind_name(table));
		return;
	}
	schema = really(table, schema);
	for (const struct tree *node = table->first; node && !regmap__notes_stop(n);
	     node = node->next) {
		const struct key *key = find_key(schema, node->key);

		if (key)
			check_form(n, node, key);
		else
			unknown_key(n, node, schema);
	}
}

void regmap__schema_check(struct notes *notes, const struct tree *tree)
{
	const struct tree *version = regmap__tree_get(tree, "schema");
	uint64_t number = SCHEMA_VERSION;

	if (version && regmap__value_number(notes, version, &number) && number != SCHEMA_VERSION) {
		regmap__note(notes, -EINVAL, version,
		             "schema: version %" PRIu64
		             " is not known here: this library reads version %d",
		             number, SCHEMA_VERSION);
		return;
	}
	check_table(notes, tree, &root);
}
