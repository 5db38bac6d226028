/* SPDX-License-Identifier: MIT */
/* regmap map: the address space as a tree, and as JSON. map_text.c and map_svg.c draw it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* ---- the tree -------------------------------------------------------------------------------------- */

static uint64_t last_of(uint64_t address, uint64_t length)
{
	return address + (length - 1);
}

/* Longer first: what lies inside comes behind. A region comes before a peripheral of its size. */
static int by_address(const void *a, const void *b)
{
	const struct map_node *x = a, *y = b;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	if (x->last != y->last)
		return x->last > y->last ? -1 : 1;
	return (int)x->kind - (int)y->kind;
}

/* A region and a peripheral of one name and range are one thing: the region was made for it. */
static bool is_same(const struct map_node *region, const struct map_node *peripheral)
{
	return region->kind == MAP_REGION && !region->peripheral &&
	       peripheral->kind == MAP_PERIPHERAL && region->address == peripheral->address &&
	       region->last == peripheral->last &&
	       !strcmp(region->region->name, peripheral->peripheral->name);
}

struct list {
	struct map_node *nodes;
	size_t count;
};

static struct list list_things(const struct regmap_layout *layout, bool with_registers)
{
	size_t most = layout->region_count + layout->peripheral_count, n = 0;
	struct map_node *nodes;

	for (size_t i = 0; i < layout->peripheral_count && with_registers; i++)
		most += layout->peripherals[i]->register_count;
	nodes = cli_alloc(most * sizeof(*nodes));
	for (size_t i = 0; i < layout->region_count; i++) {
		const struct regmap_region *r = layout->regions[i];

		nodes[n++] = (struct map_node){.kind = MAP_REGION,
		                               .address = r->address,
		                               .last = last_of(r->address, r->length),
		                               .region = r};
	}
	for (size_t i = 0; i < layout->peripheral_count; i++) {
		const struct regmap_peripheral *p = layout->peripherals[i];

		nodes[n++] = (struct map_node){.kind = MAP_PERIPHERAL,
		                               .address = p->address,
		                               .last = last_of(p->address, p->length),
		                               .peripheral = p};
		for (size_t k = 0; k < p->register_count && with_registers; k++) {
			const struct regmap_register *r = p->registers[k];
			uint64_t address = p->address + r->offset;

			nodes[n++] = (struct map_node){.kind = MAP_REGISTER,
			                               .address = address,
			                               .last = last_of(address, r->width),
			                               .peripheral = p,
			                               .reg = r};
		}
	}
	if (n)
		qsort(nodes, n, sizeof(*nodes), by_address);
	return (struct list){nodes, n};
}

/* Takes the next of the list in if it is the same thing. */
static size_t merge_same(struct map_node *node, const struct list *all, size_t i)
{
	if (i < all->count && is_same(node, &all->nodes[i])) {
		node->peripheral = all->nodes[i].peripheral;
		return i + 1;
	}
	return i;
}

static struct map_node *add_child(struct map_node *parent, size_t *room)
{
	if (parent->child_count == *room) {
		size_t more = *room ? 2 * *room : 8;
		struct map_node *children = cli_alloc(more * sizeof(*children));

		if (parent->child_count)
			memcpy(children, parent->children, parent->child_count * sizeof(*children));
		free(parent->children);
		parent->children = children;
		*room = more;
	}
	return &parent->children[parent->child_count++];
}

/* @next: the first address that nothing has had so far; from @parent's start on. */
static void add_gap(struct map_node *parent, size_t *room, uint64_t next, uint64_t last)
{
	*add_child(parent,
	           room) = (struct map_node){.kind = MAP_GAP, .address = next, .last = last};
}

/* What lies in @parent, from @i on; what lies between is a gap, but registers are close by nature. */
static size_t fill(struct map_node *parent, const struct list *all, size_t i)
{
	uint64_t next = parent->address;
	size_t room = 0;
	bool full = false; /* up to the last byte of all: next has wrapped */

	while (i < all->count && all->nodes[i].address <= parent->last &&
	       all->nodes[i].last <= parent->last) {
		struct map_node node = all->nodes[i];

		if (!full && node.address > next && node.kind != MAP_REGISTER)
			add_gap(parent, &room, next, node.address - 1);
		i = merge_same(&node, all, i + 1);
		if (node.kind != MAP_REGISTER)
			i = fill(&node, all, i);
		if (!full && node.last >= next) {
			full = node.last == UINT64_MAX;
			next = node.last + 1;
		}
		*add_child(parent, &room) = node;
	}
	if (parent->child_count && !full && next <= parent->last &&
	    parent->children[parent->child_count - 1].kind != MAP_REGISTER)
		add_gap(parent, &room, next, parent->last);
	return i;
}

/* The picture ends where addresses of that many bits do. */
static uint64_t last_of_all(const struct regmap_layout *layout)
{
	unsigned digits = cli_digits(layout, 0);

	return digits == 16 ? UINT64_MAX : (1ull << 4 * digits) - 1;
}

struct map_node *cli_map_tree(const struct regmap_layout *layout, bool with_registers)
{
	struct list all = list_things(layout, with_registers);
	struct map_node *root = cli_alloc(sizeof(*root));

	*root = (struct map_node){.kind = MAP_GAP, .last = last_of_all(layout)};
	fill(root, &all, 0);
	free(all.nodes);
	return root;
}

static void free_children(struct map_node *node)
{
	for (size_t i = 0; i < node->child_count; i++)
		free_children(&node->children[i]);
	free(node->children);
}

const char *cli_map_name(const struct map_node *node)
{
	if (node->reg)
		return node->reg->name;
	if (node->region)
		return node->region->name;
	return node->peripheral ? node->peripheral->name : "";
}

static bool is_alias(const struct regmap_region *r)
{
	return r->type == REGMAP_REGION_ALIAS || r->type == REGMAP_REGION_BITBAND ||
	       r->type == REGMAP_REGION_REVERSED;
}

/* The outermost region there: that of a whole bus, not of its first register. */
bool cli_map_target(const struct regmap_layout *layout, const struct map_node *node,
                    char to[static 200])
{
	const struct regmap_region *r = node->region;

	to[0] = 0;
	if (!r || !is_alias(r))
		return false;
	snprintf(to, 200, "0x%" PRIx64, r->target);
	for (size_t i = 0; i < layout->region_count; i++) {
		const struct regmap_region *target = layout->regions[i];
		uint64_t offset = r->target - target->address;

		if (!cli_region_has(target, r->target))
			continue;
		if (offset)
			snprintf(to, 200, "%s+0x%" PRIx64, target->name, offset);
		else
			snprintf(to, 200, "%s", target->name);
		break;
	}
	return true;
}

uint64_t cli_map_length(const struct map_node *node)
{
	uint64_t most = node->last - node->address;

	return most == UINT64_MAX ? most : most + 1;
}

/* ---- JSON ------------------------------------------------------------------------------------------ */

static void put_json(struct cli_json *j, const struct cli *cli, const struct map_node *node,
                     unsigned digits)
{
	static const char *const kinds[] = {"region", "peripheral", "register", "gap"};
	char permissions[4];

	cli_json_begin(j, NULL, '{');
	cli_json_string(j, "kind", kinds[node->kind]);
	if (node->kind != MAP_GAP)
		cli_json_string(j, "name", cli_map_name(node));
	cli_json_hex(j, "address", node->address + cli->offset, digits);
	cli_json_hex(j, "last", node->last + cli->offset, digits);
	cli_json_number(j, "size", cli_map_length(node));
	if (node->region) {
		cli_json_string(j, "type", cli_region_type(node->region->type));
		cli_json_string(j, "permissions",
		                cli_permissions(node->region->permissions, permissions));
	}
	if (node->child_count && j->depth < 28) {
		cli_json_begin(j, "children", '[');
		for (size_t i = 0; i < node->child_count; i++)
			put_json(j, cli, &node->children[i], digits);
		cli_json_end(j, ']');
	}
	cli_json_end(j, '}');
}

static void map_json(const struct cli *cli, const struct regmap_layout *layout,
                     const struct map_node *root)
{
	unsigned digits = cli_digits(layout, cli->offset);
	struct cli_json j = cli_json_open(stdout);

	cli_json_begin(&j, NULL, '{');
	cli_json_string(&j, "name", layout->name);
	cli_json_string(&j, "description", layout->description);
	cli_json_begin(&j, "map", '[');
	for (size_t i = 0; i < root->child_count; i++)
		put_json(&j, cli, &root->children[i], digits);
	cli_json_end(&j, ']');
	cli_json_end(&j, '}');
}

/* ---- the command ----------------------------------------------------------------------------------- */

static void draw_svg(const struct cli *cli, const struct regmap_layout *layout,
                     const struct map_node *root)
{
	char *text = NULL;
	size_t length = 0;
	FILE *to = open_memstream(&text, &length);

	if (!to)
		cli_die(cli, CLI_SYSTEM, "no memory for the picture");
	cli_map_svg(to, cli, layout, root);
	if (fclose(to))
		cli_die(cli, CLI_SYSTEM, "no memory for the picture");
	cli_put_file(cli, cli->svg, text, length);
	free(text);
}

int cli_map(int argc, char **argv)
{
	struct regmap_layout *layout;
	struct map_node *root;
	struct cli cli;

	cli_options(&cli, argc, argv);
	cli_want(&cli, 1, 1);
	if (cli.svg && cli.json)
		cli_usage(&cli, "--svg and --json are two pictures: choose one");
	layout = cli_layout(&cli, cli.arguments[0]);
	root = cli_map_tree(layout, cli.registers);
	if (cli.svg)
		draw_svg(&cli, layout, root);
	else if (cli.json)
		map_json(&cli, layout, root);
	else
		cli_map_print(&cli, layout, root);
	free_children(root);
	free(root);
	regmap_layout_free(layout);
	return CLI_FINE;
}
