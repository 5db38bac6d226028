/* SPDX-License-Identifier: MIT */
/* The address space in a terminal: a box for each region, as high as the logarithm of its size. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

struct glyphs {
	const char *across, *down, *top_left, *top_right, *bottom_left, *bottom_right, *left,
		*right;
	const char *branch, *last_branch, *trunk, *gap, *arrow, *cut;
};

static const struct glyphs lines = {"─", "│",  "┌",  "┐",  "└", "┘", "├",
                                    "┤", "├─", "└─", "│ ", "┊", "→", "…"};
static const struct glyphs ascii = {"-", "|",  "+",  "+",  "+", "+",  "+",
                                    "+", "|-", "`-", "| ", ":", "->", "~"};

struct picture {
	const struct cli *cli;
	const struct regmap_layout *layout;
	const struct glyphs *g;
	unsigned digits;
	unsigned inner; /* columns between the borders of a box */
	const char *space;
};

enum { TEXT = 512 };

/* Columns of UTF-8 text. */
static unsigned width_of(const char *s)
{
	unsigned n = 0;

	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

static void cut_to(const struct picture *p, char *s, unsigned width)
{
	unsigned n = 0, cut = width_of(p->g->cut);

	if (width_of(s) <= width)
		return;
	for (; *s && n + cut <= width; s++) {
		n += (*s & 0xc0) != 0x80;
		if (n + cut > width)
			break;
	}
	strcpy(s, p->g->cut);
}

static void repeat(const char *s, unsigned n)
{
	while (n--)
		fputs(s, stdout);
}

static void put_address(const struct picture *p, const uint64_t *address)
{
	if (address)
		printf("%s0x%0*" PRIx64 "%s ", cli_style(p->cli, CLI_ADDRESS), (int)p->digits,
		       *address + p->cli->offset, cli_style(p->cli, CLI_PLAIN));
	else
		printf("%*s ", (int)p->digits + 2, "");
}

static void put_edge(const struct picture *p, const uint64_t *address, const char *left,
                     const char *right)
{
	put_address(p, address);
	fputs(left, stdout);
	repeat(p->g->across, p->inner);
	fputs(right, stdout);
	putchar('\n');
}

/* @lead: the branches of the tree before the name. */
static void put_row(const struct picture *p, const uint64_t *address, const char *lead,
                    enum cli_style style, const char *name, const char *right)
{
	unsigned taken = 2 + width_of(lead) + width_of(right);
	char text[TEXT];

	snprintf(text, sizeof(text), "%s", name);
	cut_to(p, text, p->inner > taken + 1 ? p->inner - taken - 1 : 1);
	put_address(p, address);
	printf("%s %s%s%s%s%*s%s %s\n", p->g->down, lead, cli_style(p->cli, style), text,
	       cli_style(p->cli, CLI_PLAIN), (int)(p->inner - taken - width_of(text)), "", right,
	       p->g->down);
}

/* Rows for a length: each is worth a factor of 64. */
static unsigned rows_for(uint64_t length, unsigned from, unsigned most)
{
	unsigned bits = 63 - __builtin_clzll(length | 1);
	unsigned rows = bits < from ? 0 : (bits - from) / 6 + 1;

	return rows < most ? rows : most;
}

/* ---- words ----------------------------------------------------------------------------------------- */

static enum cli_style style_of(const struct map_node *node)
{
	if (node->kind == MAP_REGISTER)
		return CLI_PLAIN;
	return node->kind == MAP_PERIPHERAL ? CLI_GOOD : CLI_NAME;
}

/* "Boot → Flash" */
static void name_of(const struct picture *p, const struct map_node *node, char to[static TEXT])
{
	char target[200];

	if (cli_map_target(p->layout, node, target))
		snprintf(to, TEXT, "%s %s %s", cli_map_name(node), p->g->arrow, target);
	else
		snprintf(to, TEXT, "%s", cli_map_name(node));
}

static void about(const struct map_node *node, char to[static 80])
{
	char size[24], permissions[4];
	const struct regmap_register *r = node->reg;

	cli_size(cli_map_length(node), size);
	if (r)
		snprintf(to, 80, "%s", cli_access(r->access));
	else if (node->region)
		snprintf(to, 80, "%-14s %s %8s", cli_region_type(node->region->type),
		         cli_permissions(node->region->permissions, permissions), size);
	else
		snprintf(to, 80, "%8s", size);
}

/* ---- what lies inside ------------------------------------------------------------------------------ */

static void put_inside(const struct picture *p, const struct map_node *node, const char *lead);

static void put_inner_gap(const struct picture *p, const struct map_node *node, const char *lead)
{
	char text[TEXT], size[24];

	snprintf(text, sizeof(text), "%s%s  ", lead, p->g->gap);
	put_row(p, NULL, text, CLI_DIM, "", cli_size(cli_map_length(node), size));
}

static void put_child(const struct picture *p, const struct map_node *node, const char *lead,
                      bool is_last)
{
	char branch[TEXT], below[TEXT], name[TEXT], right[80];

	name_of(p, node, name);
	about(node, right);
	snprintf(branch, sizeof(branch), "%s%s ", lead, is_last ? p->g->last_branch : p->g->branch);
	snprintf(below, sizeof(below), "%s%s ", lead, is_last ? "  " : p->g->trunk);
	put_row(p, &node->address, branch, style_of(node), name, right);
	/* As deep as this, lines have room for nothing else. */
	if (width_of(below) + 30 < p->inner)
		put_inside(p, node, below);
}

static void put_inside(const struct picture *p, const struct map_node *node, const char *lead)
{
	for (size_t i = 0; i < node->child_count; i++) {
		const struct map_node *child = &node->children[i];

		if (child->kind == MAP_GAP)
			put_inner_gap(p, child, lead);
		else
			put_child(p, child, lead, i + 1 == node->child_count);
	}
}

/* ---- boxes ----------------------------------------------------------------------------------------- */

static void put_gap(const struct picture *p, const struct map_node *node)
{
	unsigned rows = rows_for(cli_map_length(node), 18, 3);
	char size[24];

	cli_size(cli_map_length(node), size);
	for (unsigned i = 0; i < (rows ? rows : 1); i++) {
		put_address(p, NULL);
		printf("%s%s%s%s%s\n", cli_style(p->cli, CLI_DIM), p->g->gap,
		       i == rows / 2 ? " " : "", i == rows / 2 ? size : "",
		       cli_style(p->cli, CLI_PLAIN));
	}
}

static void put_box(const struct picture *p, const struct map_node *node, bool joins_above,
                    bool joins_below)
{
	unsigned rows = node->child_count ? 0 : rows_for(cli_map_length(node), 17, 4);
	char name[TEXT], right[80];

	name_of(p, node, name);
	about(node, right);
	put_edge(p, &node->address, joins_above ? p->g->left : p->g->top_left,
	         joins_above ? p->g->right : p->g->top_right);
	put_row(p, NULL, "", style_of(node), name, right);
	put_inside(p, node, "");
	while (rows--)
		put_row(p, NULL, "", CLI_PLAIN, "", "");
	if (!joins_below)
		put_edge(p, &node->last, p->g->bottom_left, p->g->bottom_right);
}

/* A device with several address spaces shows each under its name. */
static bool put_space(struct picture *p, const struct map_node *node)
{
	const char *space = node->region ? node->region->space : p->space;

	if (!*space || (p->space && !strcmp(space, p->space)))
		return false;
	p->space = space;
	printf("%s%s%s\n", cli_style(p->cli, CLI_BOLD), space, cli_style(p->cli, CLI_PLAIN));
	return true;
}

static bool starts_space(const struct picture *p, const struct map_node *node)
{
	return node->region && *node->region->space && p->space &&
	       strcmp(node->region->space, p->space);
}

void cli_map_print(const struct cli *cli, const struct regmap_layout *layout,
                   const struct map_node *root)
{
	struct picture p = {.cli = cli, .layout = layout, .space = ""};
	const struct map_node *node = root->children, *end = node + root->child_count;
	bool joins = false;

	p.g = cli_has_utf8() ? &lines : &ascii;
	p.digits = cli_digits(layout, cli->offset);
	p.inner = cli_columns(cli) - p.digits - 5;
	printf("%s%s%s", cli_style(cli, CLI_BOLD), cli_layout_name(layout),
	       cli_style(cli, CLI_PLAIN));
	fputs(*layout->description ? "  " : "", stdout);
	cli_put_text(stdout, layout->description);
	putchar('\n');
	for (; node < end; node++) {
		bool is_next = node + 1 < end && node[1].kind != MAP_GAP &&
		               node[1].address == node->last + 1;

		if (node->kind == MAP_GAP) {
			if (node + 1 == end || !starts_space(&p, node + 1))
				put_gap(&p, node);
			continue;
		}
		put_space(&p, node);
		is_next = is_next && !starts_space(&p, node + 1);
		put_box(&p, node, joins, is_next);
		joins = is_next;
	}
}
