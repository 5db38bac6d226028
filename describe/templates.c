/* SPDX-License-Identifier: MIT */
/* The descriptions that are built in. Their texts are in devices/templates.S. */
#include <regmap/device.h>

#include <stddef.h>

extern const char regmap__template_stm32f103[] __attribute__((visibility("hidden")));
extern const char regmap__template_stm32f407[] __attribute__((visibility("hidden")));
extern const char regmap__template_stm32f429[] __attribute__((visibility("hidden")));
extern const char regmap__template_esp32[] __attribute__((visibility("hidden")));
extern const char regmap__template_esp8266[] __attribute__((visibility("hidden")));
extern const char regmap__template_atmega328[] __attribute__((visibility("hidden")));
extern const char regmap__template_atmega2560[] __attribute__((visibility("hidden")));
extern const char regmap__template_rv32[] __attribute__((visibility("hidden")));
extern const char regmap__template_rv64[] __attribute__((visibility("hidden")));
extern const char regmap__template_cortexa53[] __attribute__((visibility("hidden")));
extern const char regmap__template_cortex_m[] __attribute__((visibility("hidden")));
extern const char regmap__template_cortex_m_core[] __attribute__((visibility("hidden")));
extern const char regmap__template_stm32[] __attribute__((visibility("hidden")));
extern const char regmap__template_stm32f4[] __attribute__((visibility("hidden")));

struct template
{
	const char *name;
	const char *text;
};

/* Parts are no devices: found by name, as includes need them, but not listed. They come last. */
static const struct template templates[] = {
	{"STM32F103", regmap__template_stm32f103},
	{"STM32F407", regmap__template_stm32f407},
	{"STM32F429", regmap__template_stm32f429},
	{"ESP32", regmap__template_esp32},
	{"ESP8266", regmap__template_esp8266},
	{"ATmega328", regmap__template_atmega328},
	{"ATmega2560", regmap__template_atmega2560},
	{"RV32", regmap__template_rv32},
	{"RV64", regmap__template_rv64},
	{"CortexA53", regmap__template_cortexa53},
	{"_cortex_m", regmap__template_cortex_m},
	{"_cortex_m_core", regmap__template_cortex_m_core},
	{"_stm32", regmap__template_stm32},
	{"_stm32f4", regmap__template_stm32f4},
};
enum { TEMPLATES = sizeof(templates) / sizeof(templates[0]) };

const char *regmap_template_name(unsigned index)
{
	return index < TEMPLATES && templates[index].name[0] != '_' ? templates[index].name : NULL;
}

/* strcasecmp() goes by the locale, and these names don't. */
static bool is_same(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if ((*a | (*a >= 'A' && *a <= 'Z') << 5) != (*b | (*b >= 'A' && *b <= 'Z') << 5))
			return false;
	return *a == *b;
}

const char *regmap_template_text(const char *name)
{
	for (unsigned i = 0; i < TEMPLATES; i++)
		if (is_same(templates[i].name, name))
			return templates[i].text;
	return NULL;
}
