/* SPDX-License-Identifier: MIT */
/*
 * The address space as SVG, without scripts and fonts of its own: a bar for each region, as high as
 * the logarithm of its size, what lies inside of it at its right. Colours follow the viewer's light or
 * dark scheme; each thing's title says all about it.
 */
#include <inttypes.h>
#include <string.h>

#include "cli.h"

enum {
	WIDTH = 960,
	MARGIN = 24,
	LEFT = 150, /* of the bars: addresses come before */
	ROW = 20,   /* a thing inside of another */
	INNER_GAP = 9,
	LEAST = 30,       /* a region */
	LEAST_FULL = 66,  /* one with something inside: room for its name, type and size */
	MOST_DEPTH = 5,   /* of bars; what lies inside deeper is left out, but for its rows */
	LEAST_INNER = 44, /* the same inside of another: name and address */
	STRIP = 190,      /* a region's own name beside what lies inside of it */
	LETTER = 7,       /* width of one, on the average */
	SMALL_LETTER = 6,
	NAMES = 150, /* what rows have for a name */
};

static const char style[] =
	"svg{color-scheme:light dark}\n"
	"text{font:13px ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1b1f24}\n"
	".h{font-size:20px;font-weight:600}.d{fill:#57606a}\n"
	".a{font:11.5px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
	"fill:#57606a}\n"
	".n{font-weight:600}.s{font-size:11.5px;fill:#57606a}.r{text-anchor:end}.m{text-anchor:middle}\n"
	"rect{stroke-width:1}.bg{fill:#fff}\n"
	".ram{fill:#dbeafe;stroke:#3b82f6}.flash{fill:#ffedd5;stroke:#ea8a2f}"
	".rom{fill:#fef3c7;stroke:#ca9a04}.mmio{fill:#dcfce7;stroke:#22a355}\n"
	".storage{fill:#f3e8ff;stroke:#a855f7}.external{fill:#cffafe;stroke:#0e9ab5}"
	".alias{fill:#f1f3f5;stroke:#868e96;stroke-dasharray:5 3}\n"
	".peripheral{fill:#fff;fill-opacity:.65;stroke:#22a355;stroke-opacity:.55}"
	".register{fill:#fff;fill-opacity:.4;stroke:#22a355;stroke-opacity:.25}\n"
	".gap{fill:none;stroke:none}.hole{stroke:#adb5bd;stroke-dasharray:1 5;stroke-linecap:round;"
	"stroke-width:2}\n"
	"@media(prefers-color-scheme:dark){\n"
	"text{fill:#e6edf3}.d,.a,.s{fill:#9aa4af}.bg{fill:#0d1117}\n"
	".ram{fill:#12294d}.flash{fill:#452a0e}.rom{fill:#3b3109}.mmio{fill:#0f3320}"
	".storage{fill:#321a4b}.external{fill:#0b343d}.alias{fill:#1c2128}\n"
	".peripheral,.register{fill:#0d1117}.hole{stroke:#57606a}\n"
	"}\n";

struct drawing {
	FILE *to;
	const struct cli *cli;
	const struct regmap_layout *layout;
	unsigned digits;
	const char *space;
};

/* ---- text ------------------------------------------------------------------------------------------ */

/* Up to @most letters; bytes that XML or UTF-8 doesn't allow become a blank. */
static void put_letter(FILE *to, unsigned char c)
{
	switch (c) {
	case '<': fputs("&lt;", to); break;
	case '>': fputs("&gt;", to); break;
	case '&': fputs("&amp;", to); break;
	case '"': fputs("&quot;", to); break;
	default: fputc(c < ' ' || c > '~' ? ' ' : c, to);
	}
}

static unsigned utf8(const char *s)
{
	const unsigned char *c = (const unsigned char *)s;

	if (c[0] >= 0xc3 && c[0] < 0xe0 && (c[1] & 0xc0) == 0x80)
		return 2;
	if (c[0] > 0xe0 && c[0] < 0xed && (c[1] & 0xc0) == 0x80 && (c[2] & 0xc0) == 0x80)
		return 3;
	return 0;
}

static void put_text(FILE *to, const char *s, unsigned most)
{
	unsigned letters = 0, n;

	for (const char *c = s; *c; c++)
		letters += (*c & 0xc0) != 0x80;
	for (unsigned i = 0; *s && (letters <= most || i + 1 < most); i++, s += n) {
		n = utf8(s);
		if (n)
			fwrite(s, 1, n, to);
		else
			put_letter(to, *s);
		n = n ? n : 1;
	}
	if (*s)
		fputs("…", to);
}

/* A text element, with a baseline for a row of @height that begins at @y. */
static void label(const struct drawing *d, const char *classes, unsigned x, unsigned y,
                  unsigned height, const char *text, unsigned room)
{
	unsigned most = room / (classes[0] == 's' ? SMALL_LETTER : LETTER);

	fprintf(d->to, "<text class=\"%s\" x=\"%u\" y=\"%u\">", classes, x, y + height / 2 + 4);
	put_text(d->to, text, most > 1 ? most : 1);
	fputs("</text>\n", d->to);
}

static void address_label(const struct drawing *d, const char *classes, unsigned x, unsigned y,
                          unsigned height, uint64_t address)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%0*" PRIx64, (int)d->digits, address + d->cli->offset);
	label(d, classes, x, y, height, text, 24 * LETTER);
}

static const char *description_of(const struct map_node *node)
{
	if (node->reg)
		return node->reg->description;
	if (node->region && *node->region->description)
		return node->region->description;
	return node->peripheral ? node->peripheral->description : "";
}

/* What a tooltip says. */
static void put_title(const struct drawing *d, const struct map_node *node)
{
	char size[24], permissions[4], target[200];

	fputs("<title>", d->to);
	put_text(d->to, node->kind == MAP_GAP ? "nothing" : cli_map_name(node), 200);
	fprintf(d->to, "&#10;0x%0*" PRIx64 " to 0x%0*" PRIx64 ", %s", (int)d->digits,
	        node->address + d->cli->offset, (int)d->digits, node->last + d->cli->offset,
	        cli_size(cli_map_length(node), size));
	if (node->region)
		fprintf(d->to, "&#10;%s, %s", cli_region_type(node->region->type),
		        cli_permissions(node->region->permissions, permissions));
	if (node->reg)
		fprintf(d->to, "&#10;%s, reset 0x%0*" PRIx64, cli_access(node->reg->access),
		        (int)(2 * node->reg->width), node->reg->reset_value);
	if (cli_map_target(d->layout, node, target)) {
		fputs("&#10;the same as ", d->to);
		put_text(d->to, target, 200);
	}
	if (*description_of(node)) {
		fputs("&#10;", d->to);
		put_text(d->to, description_of(node), 400);
	}
	fputs("</title>", d->to);
}

/* ---- sizes ----------------------------------------------------------------------------------------- */

static unsigned bits_of(uint64_t length)
{
	return 63 - __builtin_clzll(length | 1);
}

static bool is_row(const struct map_node *node, unsigned depth)
{
	return !node->child_count || depth >= MOST_DEPTH;
}

static unsigned inner_height(const struct map_node *node, unsigned depth);

/* @depth: that of what lies inside. */
static unsigned height_inside(const struct map_node *node, unsigned depth)
{
	unsigned height = 0;

	for (size_t i = 0; i < node->child_count; i++) {
		const struct map_node *child = &node->children[i];

		if (child->kind == MAP_GAP)
			height += INNER_GAP;
		else if (is_row(child, depth))
			height += ROW;
		else
			height += inner_height(child, depth + 1);
	}
	return height + (node->child_count ? 8 : 0);
}

static unsigned inner_height(const struct map_node *node, unsigned depth)
{
	unsigned inside = height_inside(node, depth);

	return inside > LEAST_INNER ? inside : LEAST_INNER;
}

static unsigned height_of(const struct map_node *node)
{
	unsigned bits = bits_of(cli_map_length(node)), inside = height_inside(node, 1);
	unsigned own = node->kind == MAP_GAP ? 24 + (bits > 20 ? bits - 20 : 0) :
	                                       LEAST + (bits > 12 ? 2 * (bits - 12) : 0);

	if (node->kind == MAP_GAP || !inside)
		return own;
	return inside > LEAST_FULL ? inside : LEAST_FULL;
}

/* ---- drawing --------------------------------------------------------------------------------------- */

static const char *class_of(const struct map_node *node)
{
	static const char *const classes[] = {"ram",   "flash", "rom",   "mmio",    "storage",
	                                      "alias", "alias", "alias", "external"};

	if (node->kind == MAP_REGISTER)
		return "register";
	if (node->kind == MAP_PERIPHERAL)
		return "peripheral";
	return classes[node->region->type];
}

static void rect(const struct drawing *d, const char *class, unsigned x, unsigned y, unsigned width,
                 unsigned height)
{
	fprintf(d->to,
	        "<rect class=\"%s\" x=\"%u.5\" y=\"%u.5\" width=\"%u\" height=\"%u\" rx=\"3\"/>\n",
	        class, x, y, width, height - 1);
}

static void draw_row(const struct drawing *d, const struct map_node *node, unsigned x, unsigned y,
                     unsigned right)
{
	unsigned name = x + 8 + 8 * (d->digits + 4);
	unsigned about = name + NAMES, end = right - 90;
	char size[24];

	fputs("<g>", d->to);
	put_title(d, node);
	rect(d, class_of(node), x, y, right - x, ROW - 1);
	address_label(d, "a", x + 8, y, ROW - 1, node->address);
	label(d, node->kind == MAP_REGISTER ? "" : "n", name, y, ROW - 1, cli_map_name(node),
	      NAMES + 10);
	if (about + 60 < end)
		label(d, "s", about, y, ROW - 1, description_of(node), end - about);
	label(d, "s r", right - 10, y, ROW - 1,
	      node->reg ? cli_access(node->reg->access) : cli_size(cli_map_length(node), size),
	      200);
	fputs("</g>\n", d->to);
}

static void draw_inner_gap(const struct drawing *d, const struct map_node *node, unsigned x,
                           unsigned y, unsigned right)
{
	fputs("<g>", d->to);
	put_title(d, node);
	rect(d, "gap", x, y, right - x, INNER_GAP);
	fprintf(d->to, "<path class=\"hole\" d=\"M%u %uH%u\"/></g>\n", x + 8, y + INNER_GAP / 2,
	        right - 8);
}

static void draw_bar(const struct drawing *d, const struct map_node *node, unsigned x, unsigned y,
                     unsigned height, unsigned right, unsigned depth);

static void draw_inside(const struct drawing *d, const struct map_node *node, unsigned x,
                        unsigned y, unsigned right, unsigned depth)
{
	y += 4;
	for (size_t i = 0; i < node->child_count; i++) {
		const struct map_node *child = &node->children[i];

		if (child->kind == MAP_GAP) {
			draw_inner_gap(d, child, x, y, right);
			y += INNER_GAP;
		} else if (is_row(child, depth)) {
			draw_row(d, child, x, y, right);
			y += ROW;
		} else {
			unsigned height = inner_height(child, depth + 1);

			draw_bar(d, child, x, y, height - 1, right, depth);
			y += height;
		}
	}
}

/* The strip with the name is narrower the deeper it lies; beyond that, there is room for rows alone. */
static unsigned strip_at(unsigned x)
{
	return x < LEFT + STRIP ? STRIP : x < LEFT + 2 * STRIP ? STRIP - 60 : 24;
}

/* Beside what lies inside: the name, and as many lines of the rest as there is room for. */
static void label_strip(const struct drawing *d, const struct map_node *node, unsigned x,
                        unsigned y, unsigned height, const char *name, const char *kind)
{
	unsigned line = y + 22, room = strip_at(x) - 16;
	char size[24];

	label(d, "n", x + 10, y + 5, 18, name, room);
	if (room < 60)
		return;
	if (x > LEFT) {
		address_label(d, "a", x + 10, line, 18, node->address);
		line += 16;
	}
	if (*kind && line + 20 < y + height) {
		label(d, "s", x + 10, line, 18, kind, room);
		line += 16;
	}
	if (line + 20 < y + height)
		label(d, "s", x + 10, line, 18, cli_size(cli_map_length(node), size), room);
}

static void draw_bar(const struct drawing *d, const struct map_node *node, unsigned x, unsigned y,
                     unsigned height, unsigned right, unsigned depth)
{
	char size[24], permissions[4], target[200], name[512], kind[64] = "";
	const struct regmap_region *r = node->region;

	fputs("<g>", d->to);
	put_title(d, node);
	rect(d, class_of(node), x, y, right - x, height);
	snprintf(name, sizeof(name), "%s", cli_map_name(node));
	if (cli_map_target(d->layout, node, target))
		snprintf(name, sizeof(name), "%s → %s", cli_map_name(node), target);
	if (r)
		snprintf(kind, sizeof(kind), "%s, %s", cli_region_type(r->type),
		         cli_permissions(r->permissions, permissions));
	if (node->child_count) {
		label_strip(d, node, x, y, height, name, kind);
	} else {
		label(d, "n", x + 10, y, height, name, right - x - 320);
		label(d, "s r", right - 120, y, height, kind, 300);
		label(d, "s r", right - 14, y, height, cli_size(cli_map_length(node), size), 200);
	}
	fputs("</g>\n", d->to);
	if (node->child_count)
		draw_inside(d, node, x + strip_at(x), y, right - 4, depth + 1);
}

static void draw_gap(const struct drawing *d, const struct map_node *node, unsigned y,
                     unsigned height)
{
	char size[24], text[64];

	snprintf(text, sizeof(text), "%s", cli_size(cli_map_length(node), size));
	fputs("<g>", d->to);
	put_title(d, node);
	rect(d, "gap", LEFT, y, WIDTH - MARGIN - LEFT, height);
	fprintf(d->to, "<path class=\"hole\" d=\"M%u %uV%u M%u %uV%u\"/>", LEFT + 1, y + 5,
	        y + height - 4, WIDTH - MARGIN - 1, y + 5, y + height - 4);
	label(d, "s m", (LEFT + WIDTH - MARGIN) / 2, y, height, text, 200);
	fputs("</g>\n", d->to);
}

/* ---- all of it ------------------------------------------------------------------------------------- */

static bool new_space(const struct drawing *d, const struct map_node *node)
{
	return node->region && *node->region->space && strcmp(node->region->space, d->space);
}

/* The gap before another address space is none. */
static bool is_left_out(const struct drawing *d, const struct map_node *node,
                        const struct map_node *end)
{
	return node->kind == MAP_GAP && node + 1 < end && new_space(d, node + 1);
}

static unsigned draw_all(struct drawing *d, const struct map_node *root, unsigned y, bool really)
{
	const struct map_node *end = root->children + root->child_count;

	d->space = "";
	for (const struct map_node *node = root->children; node < end; node++) {
		unsigned height = height_of(node);

		if (is_left_out(d, node, end))
			continue;
		if (new_space(d, node)) {
			d->space = node->region->space;
			if (really)
				label(d, "n", LEFT, y + 6, 24, d->space, 800);
			y += 34;
		}
		if (really && node->kind == MAP_GAP) {
			draw_gap(d, node, y, height);
		} else if (really) {
			address_label(d, "a r", LEFT - 10, y, 22, node->address);
			if (height > 44)
				address_label(d, "a r", LEFT - 10, y + height - 22, 22, node->last);
			draw_bar(d, node, LEFT, y, height, WIDTH - MARGIN, 0);
		}
		y += height;
	}
	return y;
}

static bool has_type(const struct regmap_layout *layout, unsigned first, unsigned last)
{
	for (size_t i = 0; i < layout->region_count; i++) {
		if (layout->regions[i]->type >= first && layout->regions[i]->type <= last)
			return true;
	}
	return false;
}

static void legend(const struct drawing *d, unsigned y)
{
	static const struct {
		const char *class, *name;
		unsigned first, last;
	} entries[] = {
		{"ram", "RAM", REGMAP_REGION_RAM, REGMAP_REGION_RAM},
		{"flash", "flash", REGMAP_REGION_FLASH, REGMAP_REGION_FLASH},
		{"rom", "ROM", REGMAP_REGION_ROM, REGMAP_REGION_ROM},
		{"storage", "storage", REGMAP_REGION_STORAGE, REGMAP_REGION_STORAGE},
		{"mmio", "registers", REGMAP_REGION_MMIO, REGMAP_REGION_MMIO},
		{"alias", "alias", REGMAP_REGION_ALIAS, REGMAP_REGION_REVERSED},
		{"external", "external bus", REGMAP_REGION_EXTERNAL, REGMAP_REGION_EXTERNAL},
	};
	unsigned x = MARGIN;

	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		if (!has_type(d->layout, entries[i].first, entries[i].last))
			continue;
		rect(d, entries[i].class, x, y + 4, 16, 13);
		label(d, "s", x + 22, y, 20, entries[i].name, 200);
		x += 44 + LETTER * strlen(entries[i].name);
	}
}

void cli_map_svg(FILE *to, const struct cli *cli, const struct regmap_layout *layout,
                 const struct map_node *root)
{
	struct drawing d = {.to = to, .cli = cli, .layout = layout};
	unsigned top = 104, height;

	d.digits = cli_digits(layout, cli->offset);
	height = draw_all(&d, root, top, false) + MARGIN;
	fprintf(to,
	        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" "
	        "viewBox=\"0 0 %u %u\" role=\"img\">\n<title>",
	        WIDTH, height, WIDTH, height);
	put_text(to, cli_layout_name(layout), 200);
	fprintf(to, ": address space</title>\n<style>\n%s</style>\n", style);
	fprintf(to, "<rect class=\"bg\" width=\"%u\" height=\"%u\"/>\n", WIDTH, height);
	label(&d, "h", MARGIN, 20, 24, cli_layout_name(layout), 900);
	label(&d, "d", MARGIN, 44, 20, layout->description, 1000);
	legend(&d, 70);
	draw_all(&d, root, top, true);
	fputs("</svg>\n", to);
}
