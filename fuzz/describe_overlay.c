/* SPDX-License-Identifier: MIT */
/* LDLIBS: -Wl,--wrap=open */
/* A text in any format laid over a chip: it can be saved and loaded then, or it is as it was. */
#include "describe.h"

static const char chip[] =
	"[device]\nname = \"C\"\n[[regions]]\nname = \"R\"\nguest_address = 0\nsize = 16\ntype = \"ram\"\n"
	"[[peripherals]]\nname = \"P%s\"\naddress = 32\nsize = 16\ndim = 2\ndim_increment = 16\nrules = [\"on read A: B = 1\"]\n"
	"registers = [{ name = \"A\", offset = 0, fields = [{ name = \"F\", bits = \"3:1\" }] }, { name = \"B\", offset = 4 }]\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct regmap_layout *l;
	struct regmap_error error = {0};
	size_t before_length, after_length;
	char *before, *after;
	int err;

	if (regmap_layout_from_string(chip, sizeof(chip) - 1, REGMAP_FORMAT_TOML, "chip", &l,
	                              &error))
		die("the chip doesn't load", error.text);
	before = saved(l, REGMAP_FORMAT_TOML, &before_length);
	err = regmap_layout_overlay_string(l, (const char *)data, size, REGMAP_FORMAT_AUTO, "fuzz",
	                                   &error);
	after = saved(l, REGMAP_FORMAT_TOML, &after_length);
	if (err && strcmp(before, after) != 0)
		die("it failed, and the layout has changed", error.text);
	if (err)
		check_error(err, NULL, &error);
	else
		goes_round(l, REGMAP_FORMAT_JSON);
	free(before);
	free(after);
	regmap_layout_free(l);
	return 0;
}
