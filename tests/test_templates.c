/* SPDX-License-Identifier: MIT */
/*
 * The ten templates against a table of what is where on silicon. It was made from reference manuals and
 * vendors' headers, not from the templates.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <regmap/device.h>

#define KB(n) ((n)*1024ull)
#define MB(n) ((n)*1048576ull)

enum {
	R = REGMAP_PERMIT_READ,
	RW = R | REGMAP_PERMIT_WRITE,
	RX = R | REGMAP_PERMIT_EXECUTE,
	RWX = RW | REGMAP_PERMIT_EXECUTE,
};

/* ---- regions: device, guest address, length, permissions, type --------------------------------------- */

struct region_row {
	const char *device;
	uint64_t address, length;
	unsigned permissions;
	enum regmap_region_type type;
};

#define TYPE(t) REGMAP_REGION_##t
#define CORTEX_M(device) \
	{device, 0x22000000, MB(32), RW, TYPE(BITBAND)}, \
		{device, 0x42000000, MB(32), RW, TYPE(BITBAND)}, \
		{device, 0xe0000000, MB(1), RW, TYPE(MMIO)}, \
		{device, 0xe000e000, KB(4), RW, TYPE(MMIO)}, \
	{ \
		device, 0xe00ff000, KB(4), R, TYPE(MMIO) \
	}
#define STM32F4(device) \
	CORTEX_M(device), {device, 0x10000000, KB(64), RW, TYPE(RAM)}, \
		{device, 0x1fff0000, KB(30), RX, TYPE(ROM)}, \
		{device, 0x1fff7800, 528, RW, TYPE(STORAGE)}, \
		{device, 0x1fffc000, 16, R, TYPE(STORAGE)}, \
		{device, 0x20000000, KB(112), RWX, TYPE(RAM)}, \
		{device, 0x2001c000, KB(16), RWX, TYPE(RAM)}, \
		{device, 0x40020000, 0x60000, RW, TYPE(MMIO)}, \
		{device, 0x40024000, KB(4), RW, TYPE(RAM)}, \
		{device, 0x50000000, 0x60c00, RW, TYPE(MMIO)}, \
		{device, 0x60000000, MB(256), RWX, TYPE(EXTERNAL)}, \
		{device, 0x70000000, MB(256), RW, TYPE(EXTERNAL)}, \
		{device, 0x80000000, MB(256), RW, TYPE(EXTERNAL)}, \
		{device, 0x90000000, MB(256), RW, TYPE(EXTERNAL)}, \
	{ \
		device, 0xa0000000, KB(4), RW, TYPE(MMIO) \
	}

static const struct region_row regions[] = {
	CORTEX_M("STM32F103"),
	{"STM32F103", 0x00000000, KB(128), RX, TYPE(ALIAS)},
	{"STM32F103", 0x08000000, KB(128), RX, TYPE(FLASH)},
	{"STM32F103", 0x1ffff000, KB(2), RX, TYPE(ROM)},
	{"STM32F103", 0x1ffff800, 16, RW, TYPE(STORAGE)},
	{"STM32F103", 0x20000000, KB(20), RWX, TYPE(RAM)},
	{"STM32F103", 0x40000000, 0x7400, RW, TYPE(MMIO)},
	{"STM32F103", 0x40010000, 0x3c00, RW, TYPE(MMIO)},
	{"STM32F103", 0x40020000, 0x3400, RW, TYPE(MMIO)},

	STM32F4("STM32F407"),
	{"STM32F407", 0x00000000, MB(1), RX, TYPE(ALIAS)},
	{"STM32F407", 0x08000000, MB(1), RX, TYPE(FLASH)},
	{"STM32F407", 0x40000000, 0x7800, RW, TYPE(MMIO)},
	{"STM32F407", 0x40010000, 0x4c00, RW, TYPE(MMIO)},

	STM32F4("STM32F429"),
	{"STM32F429", 0x00000000, MB(2), RX, TYPE(ALIAS)},
	{"STM32F429", 0x08000000, MB(2), RX, TYPE(FLASH)},
	{"STM32F429", 0x1ffec000, 16, R, TYPE(STORAGE)},
	{"STM32F429", 0x20020000, KB(64), RWX, TYPE(RAM)},
	{"STM32F429", 0x40000000, 0x8000, RW, TYPE(MMIO)},
	{"STM32F429", 0x40010000, 0x6c00, RW, TYPE(MMIO)},
	{"STM32F429", 0xc0000000, MB(256), RW, TYPE(EXTERNAL)},
	{"STM32F429", 0xd0000000, MB(256), RW, TYPE(EXTERNAL)},

	{"ESP32", 0x3f400000, MB(4), R, TYPE(FLASH)},
	{"ESP32", 0x3f800000, MB(4), RW, TYPE(RAM)},
	{"ESP32", 0x3ff00000, 0x14000, RW, TYPE(MMIO)},
	{"ESP32", 0x3ff40000, 0x40000, RW, TYPE(MMIO)},
	{"ESP32", 0x3ff80000, KB(8), RW, TYPE(RAM)},
	{"ESP32", 0x3ff90000, KB(64), R, TYPE(ROM)},
	{"ESP32", 0x3ffae000, KB(200), RW, TYPE(RAM)},
	{"ESP32", 0x3ffe0000, KB(128), RW, TYPE(RAM)},
	{"ESP32", 0x40000000, KB(384), RX, TYPE(ROM)},
	{"ESP32", 0x40070000, KB(64), RWX, TYPE(RAM)},
	{"ESP32", 0x40080000, KB(128), RWX, TYPE(RAM)},
	{"ESP32", 0x400a0000, KB(128), RWX, TYPE(REVERSED)},
	{"ESP32", 0x400c0000, KB(8), RWX, TYPE(ALIAS)},
	{"ESP32", 0x400c2000, MB(11) + KB(248), RX, TYPE(FLASH)},
	{"ESP32", 0x50000000, KB(8), RWX, TYPE(RAM)},

	{"ESP8266", 0x3ff00000, KB(4), RW, TYPE(MMIO)},
	{"ESP8266", 0x3ffe8000, KB(96), RW, TYPE(RAM)},
	{"ESP8266", 0x40000000, KB(64), RX, TYPE(ROM)},
	{"ESP8266", 0x40100000, KB(48), RWX, TYPE(RAM)},
	{"ESP8266", 0x40200000, MB(1), RX, TYPE(FLASH)},
	{"ESP8266", 0x60000000, KB(8), RW, TYPE(MMIO)},

	{"ATmega328", 0x800000, 32, RW, TYPE(MMIO)},
	{"ATmega328", 0x800020, 64, RW, TYPE(MMIO)},
	{"ATmega328", 0x800060, 160, RW, TYPE(MMIO)},
	{"ATmega328", 0x800100, KB(2), RW, TYPE(RAM)},
	{"ATmega328", 0x000000, KB(32), RX, TYPE(FLASH)},
	{"ATmega328", 0x810000, KB(1), RW, TYPE(STORAGE)},
	{"ATmega328", 0x820000, 3, RW, TYPE(STORAGE)},
	{"ATmega328", 0x830000, 1, RW, TYPE(STORAGE)},
	{"ATmega328", 0x840000, 3, R, TYPE(MMIO)},

	{"ATmega2560", 0x800000, 32, RW, TYPE(MMIO)},
	{"ATmega2560", 0x800020, 64, RW, TYPE(MMIO)},
	{"ATmega2560", 0x800060, 416, RW, TYPE(MMIO)},
	{"ATmega2560", 0x800200, KB(8), RW, TYPE(RAM)},
	{"ATmega2560", 0x802200, 0xde00, RW, TYPE(EXTERNAL)},
	{"ATmega2560", 0x000000, KB(256), RX, TYPE(FLASH)},
	{"ATmega2560", 0x810000, KB(4), RW, TYPE(STORAGE)},
	{"ATmega2560", 0x820000, 3, RW, TYPE(STORAGE)},
	{"ATmega2560", 0x830000, 1, RW, TYPE(STORAGE)},
	{"ATmega2560", 0x840000, 3, R, TYPE(MMIO)},

	{"RV32", 0x00001000, KB(8), RX, TYPE(ROM)},
	{"RV32", 0x00020000, KB(8), RX, TYPE(STORAGE)},
	{"RV32", 0x20000000, MB(512), RX, TYPE(FLASH)},
	{"RV32", 0x80000000, KB(16), RWX, TYPE(RAM)},

	{"RV64", 0x00001000, 0xf000, RX, TYPE(ROM)},
	{"RV64", 0x03000000, KB(64), RW, TYPE(MMIO)},
	{"RV64", 0x04000000, MB(32), RW, TYPE(MMIO)},
	{"RV64", 0x20000000, MB(64), RX, TYPE(FLASH)},
	{"RV64", 0x24000000, MB(64), RW, TYPE(MMIO)},
	{"RV64", 0x28000000, MB(64), RW, TYPE(MMIO)},
	{"RV64", 0x30000000, MB(256), RW, TYPE(MMIO)},
	{"RV64", 0x40000000, MB(1024), RW, TYPE(MMIO)},
	{"RV64", 0x80000000, MB(1024), RWX, TYPE(RAM)},

	{"CortexA53", 0x00000000, MB(128), RX, TYPE(FLASH)},
	{"CortexA53", 0x0c000000, MB(32), RW, TYPE(MMIO)},
	{"CortexA53", 0x0e000000, MB(16), RW, TYPE(RAM)},
	{"CortexA53", 0x10000000, 0x2eff0000, RW, TYPE(MMIO)},
	{"CortexA53", 0x3eff0000, KB(64), RW, TYPE(MMIO)},
	{"CortexA53", 0x3f000000, MB(16), RW, TYPE(MMIO)},
	{"CortexA53", 0x40000000, MB(1024), RWX, TYPE(RAM)},
};

/* ---- peripherals: device, base that offsets count from, and NAME offset ... ------------------------------ */

struct block_row {
	const char *device;
	uint64_t base;
	const char *blocks;
};

#define CORTEX_M_BLOCKS \
	"ITM 0 DWT 1000 FPB 2000 SysTick E010 NVIC E100 SCB ED00 MPU ED90 CoreDebug EDF0 " \
	"TPIU 40000 ETM 41000 DBGMCU 42000 ROM_TABLE FF000"
#define STM32F4_BLOCKS(device) \
	{device, 0xe0000000, CORTEX_M_BLOCKS " FPU EF30"}, \
		{device, 0x40000000, \
	         "TIM2 0 TIM3 400 TIM4 800 TIM5 C00 TIM6 1000 TIM7 1400 TIM12 1800 TIM13 1C00 " \
	         "TIM14 2000 RTC 2800 WWDG 2C00 IWDG 3000 I2S2ext 3400 SPI2 3800 SPI3 3C00 " \
	         "I2S3ext 4000 USART2 4400 USART3 4800 UART4 4C00 UART5 5000 I2C1 5400 I2C2 5800 " \
	         "I2C3 5C00 CAN1 6400 CAN2 6800 PWR 7000 DAC 7400"}, \
		{device, 0x40010000, \
	         "TIM1 0 TIM8 400 USART1 1000 USART6 1400 ADC1 2000 ADC2 2100 ADC3 2200 " \
	         "ADC123_COMMON 2300 SDIO 2C00 SPI1 3000 SYSCFG 3800 EXTI 3C00 TIM9 4000 TIM10 4400 " \
	         "TIM11 4800"}, \
		{device, 0x40020000, \
	         "GPIOA 0 GPIOB 400 GPIOC 800 GPIOD C00 GPIOE 1000 GPIOF 1400 GPIOG 1800 GPIOH 1C00 " \
	         "GPIOI 2000 CRC 3000 RCC 3800 FLASH 3C00 DMA1 6000 DMA2 6400 ETH 8000 OTG_HS 20000"}, \
	{ \
		device, 0x50000000, "OTG_FS 0 DCMI 50000 RNG 60800" \
	}

static const struct block_row blocks[] = {
	{"STM32F103", 0xe0000000, CORTEX_M_BLOCKS},
	{"STM32F103", 0x40000000,
         "TIM2 0 TIM3 400 TIM4 800 RTC 2800 WWDG 2C00 IWDG 3000 SPI2 3800 USART2 4400 "
         "USART3 4800 I2C1 5400 I2C2 5800 USB 5C00 USB_SRAM 6000 CAN1 6400 BKP 6C00 PWR 7000"},
	{"STM32F103", 0x40010000,
         "AFIO 0 EXTI 400 GPIOA 800 GPIOB C00 GPIOC 1000 GPIOD 1400 GPIOE 1800 ADC1 2400 ADC2 2800 "
         "TIM1 2C00 SPI1 3000 USART1 3800"},
	{"STM32F103", 0x40020000, "DMA1 0 RCC 1000 FLASH 2000 CRC 3000"},
	{"STM32F103", 0x1ffff000, "ESIG 7E0"},
	STM32F4_BLOCKS("STM32F407"),
	{"STM32F407", 0xa0000000, "FSMC 0"},
	{"STM32F407", 0x1fff7a00, "ESIG 10"},
	STM32F4_BLOCKS("STM32F429"),
	{"STM32F429", 0x40000000,
         "UART7 7800 UART8 7C00 SPI4 13400 SPI5 15000 SPI6 15400 SAI1 15800 LTDC 16800 "
         "GPIOJ 22400 GPIOK 22800 DMA2D 2B000"},
	{"STM32F429", 0xa0000000, "FMC 0"},
	{"ESP32", 0x3ff00000,
         "DPORT 0 AES 1000 RSA 2000 SHA 3000 FLASH_MMU_PRO 10000 FLASH_MMU_APP 12000 UART0 40000 "
         "SPI1 42000 SPI0 43000 GPIO 44000 RTCCNTL 48000 IO_MUX 49000 I2S0 4F000 UART1 50000 "
         "I2C0 53000 RMT 56000 LEDC 59000 EFUSE 5A000 TIMG0 5F000 TIMG1 60000 SPI2 64000 SPI3 65000 "
         "I2C1 67000 SDMMC 68000 EMAC 69000 CAN 6B000 I2S1 6D000 UART2 6E000"},
	{"ESP8266", 0x60000000,
         "UART0 0 SPI1 100 SPI0 200 GPIO 300 TIMER 600 RTC 700 IOMUX 800 WDT 900 UART1 F00"},
	{"ESP8266", 0x3ff00000, "DPORT 0"},
	{"ATmega328", 0x800000,
         "PORTB 23 PORTC 26 PORTD 29 TIFR 35 EXINT 3B EEPROM_CONTROL 3F TC0 44 SPI 4C AC 50 CPU 53 "
         "PCINT 68 TIMSK 6E ADC 78 TC1 80 TC2 B0 TWI B8 USART0 C0"},
	{"ATmega2560", 0x800000,
         "PORTA 20 PORTB 23 PORTC 26 PORTD 29 PORTE 2C PORTF 2F PORTG 32 TIFR 35 EXINT 3B "
         "EEPROM_CONTROL 3F TC0 44 SPI 4C AC 50 CPU 53 PCINT 68 TIMSK 6E XMEM 74 ADC 78 TC1 80 TC3 90 "
         "TC4 A0 TC2 B0 TWI B8 USART0 C0 USART1 C8 USART2 D0 PORTH 100 PORTJ 103 PORTK 106 PORTL 109 "
         "TC5 120 USART3 130"},
	{"RV32", 0,
         "DEBUG 0 CLINT 2000000 PLIC C000000 AON 10000000 PRCI 10008000 OTPCTL 10010000 "
         "GPIO0 10012000 UART0 10013000 QSPI0 10014000 PWM0 10015000 UART1 10023000 SPI1 10024000 "
         "PWM1 10025000 SPI2 10034000 PWM2 10035000"},
	{"RV64", 0,
         "DEBUG 0 TEST 100000 RTC 101000 CLINT 2000000 ACLINT_SSWI 2F00000 PLIC C000000 "
         "UART0 10000000 VIRTIO0 10001000 VIRTIO7 10008000 FW_CFG 10100000"},
	{"CortexA53", 0,
         "GICD 8000000 GICC 8010000 GICV2M 8020000 GICH 8030000 GICV 8040000 GIC_ITS 8080000 "
         "GICR 80A0000 UART0 9000000 RTC 9010000 FW_CFG 9020000 GPIO 9030000 SECURE_UART 9040000 "
         "SMMU 9050000 VIRTIO0 A000000 VIRTIO31 A003E00"},
};

/* Lengths of blocks that are regions, too: device, address, length. */
static const struct {
	const char *device;
	uint64_t address, length;
} lengths[] = {
	{"RV32", 0x00000000, KB(4)},        {"RV32", 0x02000000, KB(64)},
	{"RV32", 0x0c000000, MB(64)},       {"RV32", 0x10000000, KB(32)},
	{"RV32", 0x10008000, KB(32)},       {"RV32", 0x10012000, KB(4)},
	{"RV64", 0x00000000, 0x100},        {"RV64", 0x00100000, KB(4)},
	{"RV64", 0x02000000, KB(64)},       {"RV64", 0x02f00000, KB(16)},
	{"RV64", 0x0c000000, 0x600000},     {"RV64", 0x10000000, 0x100},
	{"RV64", 0x10001000, KB(4)},        {"RV64", 0x10100000, 0x18},
	{"CortexA53", 0x08000000, KB(64)},  {"CortexA53", 0x08020000, KB(4)},
	{"CortexA53", 0x08080000, KB(128)}, {"CortexA53", 0x080a0000, 0xf60000},
	{"CortexA53", 0x09000000, KB(4)},   {"CortexA53", 0x09020000, 0x18},
	{"CortexA53", 0x09050000, KB(128)}, {"CortexA53", 0x0a000000, 0x200},
	{"STM32F103", 0x1ffff7e0, 20},
};

static const char *const names[] = {"STM32F103", "STM32F407",  "STM32F429", "ESP32", "ESP8266",
                                    "ATmega328", "ATmega2560", "RV32",      "RV64",  "CortexA53"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct regmap_layout *load(const char *name)
{
	struct regmap_error error = {.text = ""};
	struct regmap_layout *layout;

	if (regmap_layout_from_template(name, &layout, &error))
		fail_msg("%s: %s", name, error.text);
	return layout;
}

static struct regmap_layout *layouts[COUNT(names)];

static int load_all(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COUNT(names); i++)
		layouts[i] = load(names[i]);
	return 0;
}

static int free_all(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COUNT(names); i++)
		regmap_layout_free(layouts[i]);
	return 0;
}

static const struct regmap_layout *layout_of(const char *name)
{
	unsigned i = 0;

	while (strcmp(names[i], name))
		i++;
	return layouts[i];
}

static struct regmap_device *device_of(const char *name)
{
	struct regmap_error error = {.text = ""};
	struct regmap_device *device;

	if (regmap_device_from_layout(layout_of(name), &device, &error))
		fail_msg("%s: %s", name, error.text);
	return device;
}

static uint32_t word(struct regmap_device *device, uint64_t at)
{
	uint32_t value;

	if (regmap_device_read(device, at, &value, 4))
		fail_msg("can't read %s at 0x%llx", regmap_device_layout(device)->name,
		         (unsigned long long)at);
	return value;
}

static void put(struct regmap_device *device, uint64_t at, uint32_t value)
{
	assert_int_equal(regmap_device_write(device, at, &value, 4), 0);
}

/* ---- names ------------------------------------------------------------------------------------------ */

static void test_templates_are_these_ten(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COUNT(names); i++)
		assert_string_equal(regmap_template_name(i), names[i]);
	assert_null(regmap_template_name(COUNT(names)));
	assert_null(regmap_template_name(COUNT(names) + 1));
	assert_null(regmap_template_name(~0u));
}

static void spell(char *to, const char *name, int (*by)(int))
{
	while ((*to++ = (char)by((unsigned char)*name++)))
		;
}

static void test_templates_are_found_without_regard_to_case(void **state)
{
	char upper[32], lower[32];

	(void)state;
	for (unsigned i = 0; i < COUNT(names); i++) {
		spell(upper, names[i], toupper);
		spell(lower, names[i], tolower);
		assert_non_null(regmap_template_text(names[i]));
		assert_ptr_equal(regmap_template_text(upper), regmap_template_text(names[i]));
		assert_ptr_equal(regmap_template_text(lower), regmap_template_text(names[i]));
		regmap_layout_free(load(upper));
		regmap_layout_free(load(lower));
	}
	assert_null(regmap_template_text("STM32F10"));
	assert_null(regmap_template_text("STM32F1033"));
	assert_null(regmap_template_text(""));
}

static void test_templates_unknown_name_lists_them(void **state)
{
	struct regmap_error error = {.text = ""};
	struct regmap_layout *layout;

	(void)state;
	assert_int_equal(regmap_layout_from_template("STM32F999", &layout, &error), -ENOENT);
	for (unsigned i = 0; i < COUNT(names); i++)
		assert_non_null(strstr(error.text, names[i]));
}

static void test_templates_say_who_they_are(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COUNT(names); i++) {
		const struct regmap_layout *layout = layout_of(names[i]);

		assert_string_equal(layout->name, names[i]);
		assert_true(strlen(layout->description) > 10);
		assert_true(layout->max_memory > 0);
	}
}

/* ---- what is where ----------------------------------------------------------------------------------- */

static const struct regmap_region *region_of(const struct regmap_layout *layout, uint64_t address,
                                             uint64_t length)
{
	for (size_t i = 0; i < layout->region_count; i++)
		if (layout->regions[i]->address == address && layout->regions[i]->length == length)
			return layout->regions[i];
	fail_msg("%s has no region of 0x%llx bytes at 0x%llx", layout->name,
	         (unsigned long long)length, (unsigned long long)address);
	return NULL;
}

static void test_templates_have_the_regions_of_silicon(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(regions); i++) {
		const struct regmap_layout *layout = layout_of(regions[i].device);
		const struct regmap_region *r = region_of(layout, regions[i].address,
		                                          regions[i].length);

		if (r->type != regions[i].type || r->permissions != regions[i].permissions)
			fail_msg("%s: region \"%s\" has type %d and permissions %u, not %d and %u",
			         layout->name, r->name, r->type, r->permissions, regions[i].type,
			         regions[i].permissions);
	}
	for (size_t i = 0; i < COUNT(lengths); i++) {
		const struct regmap_layout *layout = layout_of(lengths[i].device);

		assert_int_equal(region_of(layout, lengths[i].address, lengths[i].length)->type,
		                 TYPE(MMIO));
	}
}

static void check_block(const struct regmap_layout *layout, const char *name, uint64_t address)
{
	struct regmap_place place;

	if (regmap_layout_find(layout, name, &place) || !place.peripheral)
		fail_msg("%s has no peripheral \"%s\"", layout->name, name);
	if (place.peripheral->address != address)
		fail_msg("%s: \"%s\" is at 0x%llx, not at 0x%llx", layout->name, name,
		         (unsigned long long)place.peripheral->address,
		         (unsigned long long)address);
	assert_int_equal(regmap_layout_find_at(layout, address, &place), 0);
	assert_string_equal(place.peripheral->name, name);
	assert_int_equal(place.region->type, TYPE(MMIO));
}

static void test_templates_have_the_peripherals_of_silicon(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(blocks); i++) {
		const struct regmap_layout *layout = layout_of(blocks[i].device);
		unsigned long long offset;
		char name[32];
		int used;

		for (const char *at = blocks[i].blocks;
		     sscanf(at, "%31s %llx%n", name, &offset, &used) == 2; at += used)
			check_block(layout, name, blocks[i].base + offset);
	}
}

/* Nothing that only a predecessor's table had: what isn't there on silicon isn't there. */
static void test_templates_have_nothing_where_nothing_is(void **state)
{
	static const struct {
		const char *device;
		uint64_t address;
	} holes[] = {
		{"STM32F103", 0x20005000}, {"STM32F103", 0x08020000},
		{"STM32F103", 0x40007400}, {"STM32F103", 0x60000000},
		{"STM32F407", 0x20020000}, {"STM32F407", 0x08100000},
		{"STM32F407", 0xc0000000}, {"STM32F429", 0x20030000},
		{"STM32F429", 0x08200000}, {"ESP32", 0x00000000},
		{"ESP32", 0x3ff82000},     {"ESP32", 0x400c3000 + MB(12)},
		{"ESP8266", 0x60002000},   {"ATmega328", 0x200000},
		{"ATmega328", 0x800900},   {"ATmega2560", 0x200000},
		{"ATmega2560", 0x820003},  {"RV32", 0x80004000},
		{"RV64", 0x10000100},      {"CortexA53", 0x80000000},
		{"CortexA53", 0xc0000000},
	};
	struct regmap_place place;

	(void)state;
	for (size_t i = 0; i < COUNT(holes); i++) {
		const struct regmap_layout *layout = layout_of(holes[i].device);

		if (regmap_layout_find_at(layout, holes[i].address, &place) == 0)
			fail_msg("%s has \"%s\" at 0x%llx", layout->name, place.region->name,
			         (unsigned long long)holes[i].address);
	}
}

static void test_templates_regions_lie_inside_their_memory(void **state)
{
	(void)state;
	for (unsigned n = 0; n < COUNT(names); n++) {
		const struct regmap_layout *layout = layout_of(names[n]);
		uint64_t sum = 0;

		for (size_t i = 0; i < layout->region_count; i++) {
			const struct regmap_region *r = layout->regions[i];

			assert_true(r->length > 0);
			assert_true(r->address + r->length > r->address);
			assert_true(r->address + r->length <= layout->max_memory);
			sum += r->length;
		}
		assert_true(sum <= layout->max_memory);
	}
}

static void test_templates_registers_lie_inside_their_peripherals(void **state)
{
	(void)state;
	for (unsigned n = 0; n < COUNT(names); n++) {
		const struct regmap_layout *layout = layout_of(names[n]);

		for (size_t i = 0; i < layout->peripheral_count; i++) {
			const struct regmap_peripheral *p = layout->peripherals[i];

			for (size_t j = 0; j < p->register_count; j++) {
				const struct regmap_register *r = p->registers[j];

				assert_true(r->offset + r->width <= p->length);
				assert_int_equal(r->offset % r->width, 0);
				if (j && p->registers[j - 1]->offset + p->registers[j - 1]->width >
				                 r->offset)
					fail_msg("%s: %s.%s overlaps %s", names[n], p->name,
					         r->name, p->registers[j - 1]->name);
			}
		}
	}
}

/* ---- what is there works ------------------------------------------------------------------------------ */

static bool is_writable_memory(const struct regmap_region *r)
{
	return (r->type == TYPE(RAM) || r->type == TYPE(EXTERNAL) || r->type == TYPE(STORAGE)) &&
	       r->permissions & REGMAP_PERMIT_WRITE && !r->program_once;
}

/* First and last word, or byte where it isn't as long as that. */
static void write_and_read_back(struct regmap_device *device, const struct regmap_region *r)
{
	unsigned width = r->length < 4 ? 1 : 4;
	uint64_t last = r->address + r->length - width;

	for (unsigned i = 0; i < 2; i++) {
		uint64_t at = i ? last : r->address;
		uint32_t value = 0x12345678 + i, back = 0;

		assert_int_equal(regmap_device_write(device, at, &value, width), 0);
		assert_int_equal(regmap_device_read(device, at, &back, width), 0);
		assert_memory_equal(&value, &back, width);
	}
}

static void test_templates_allocate_and_read_back(void **state)
{
	(void)state;
	for (unsigned n = 0; n < COUNT(names); n++) {
		struct regmap_device *device = device_of(names[n]);
		struct regmap_device_stats stats = {.size = sizeof(stats)};
		struct regmap_error error = {.text = ""};
		unsigned written = 0;

		if (regmap_device_allocate(device, &error))
			fail_msg("%s: %s", names[n], error.text);
		assert_int_equal(regmap_device_stats(device, &stats), 0);
		assert_true(stats.is_allocated);
		for (size_t i = 0; i < regmap_device_region_count(device); i++) {
			const struct regmap_region *r = regmap_device_region(device, i);
			uint8_t bytes[8];

			if (is_writable_memory(r) && ++written)
				write_and_read_back(device, r);
			assert_int_equal(regmap_device_read(device, r->address, bytes,
			                                    r->length < 8 ? 1 : 8),
			                 0);
		}
		assert_true(written > 0);
		regmap_device_free(device);
	}
}

/* All of them live at the same time, each in its own address space. */
static void test_templates_live_together(void **state)
{
	struct regmap_device *devices[COUNT(names)];

	(void)state;
	for (unsigned n = 0; n < COUNT(names); n++)
		devices[n] = device_of(names[n]);
	for (unsigned n = 0; n < 3; n++)
		put(devices[n], 0x20000000, 100 + n);
	for (unsigned n = 0; n < 3; n++)
		assert_int_equal(word(devices[n], 0x20000000), 100 + n);
	for (unsigned n = 0; n < COUNT(names); n++)
		regmap_device_free(devices[n]);
}

/* The program's own pointers reach all that can be read and written. */
static void test_templates_are_dereferenced_where_they_are_mapped(void **state)
{
	const uint64_t far = 0x400000000000;

	(void)state;
	for (unsigned n = 0; n < COUNT(names); n++) {
		struct regmap_device *device = device_of(names[n]);
		struct regmap_error error = {.text = ""};

		if (regmap_device_map(device, far, &error))
			fail_msg("%s: %s", names[n], error.text);
		for (size_t i = 0; i < regmap_device_region_count(device); i++) {
			const struct regmap_region *r = regmap_device_region(device, i);
			volatile uint32_t *first = (volatile uint32_t *)(far + r->address);

			if (r->length < 4 || r->address % 4)
				continue;
			if (is_writable_memory(r)) {
				*first = (uint32_t)(0x1000 * n + i);
				assert_int_equal(word(device, r->address), 0x1000 * n + i);
			} else if (r->type == TYPE(FLASH)) {
				assert_int_equal(*first, 0xffffffff);
			} else if (r->type == TYPE(ROM)) {
				assert_int_equal(*first, 0);
			}
		}
		assert_int_equal(regmap_device_unmap(device), 0);
		regmap_device_free(device);
	}
}

static void load_word(struct regmap_device *device, uint64_t at, uint32_t value)
{
	void *host;

	assert_int_equal(regmap_device_translate(device, at, &host), 0);
	memcpy(host, &value, sizeof(value));
}

static void test_templates_boot_alias_shows_the_flash(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 3; n++) {
		struct regmap_device *device = device_of(names[n]);

		assert_int_equal(word(device, 0), 0xffffffff);
		load_word(device, 0x08000000, 0x20005000);
		load_word(device, 0x0801fffc, 0xcafe);
		assert_int_equal(word(device, 0), 0x20005000);
		assert_int_equal(word(device, 0x1fffc), 0xcafe);
		regmap_device_free(device);
	}
}

/* The reference manual's example: byte 0x20000300 bit 2 is the word at 0x22006008. */
static void test_templates_bit_band(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 3; n++) {
		struct regmap_device *device = device_of(names[n]);

		put(device, 0x20000300, 0xf0);
		assert_int_equal(word(device, 0x22006008), 0);
		put(device, 0x22006008, 1);
		assert_int_equal(word(device, 0x20000300), 0xf4);
		assert_int_equal(word(device, 0x22006008), 1);
		assert_int_equal(word(device, 0x2200600c), 0);
		assert_int_equal(word(device, 0x22006010), 1);
		put(device, 0x22006010, 0xfffffffe); /* bit 0 alone counts */
		assert_int_equal(word(device, 0x20000300), 0xe4);
		put(device, 0x42000000 + 0x28 * 32 + 3 * 4, 1);
		assert_int_equal(word(device, 0x40000028), 8);
		regmap_device_free(device);
	}
}

/* ESP-IDF's SOC_DIRAM_INVERTED: the word at 0x3FFE0000 is the last one of the view at 0x400A0000. */
static void test_templates_esp32_sram1_is_reversed(void **state)
{
	struct regmap_device *device = device_of("ESP32");

	(void)state;
	for (uint32_t i = 0; i < KB(128); i += 4 * 37) {
		put(device, 0x3ffe0000 + i, 0xabcd0000 + i);
		assert_int_equal(word(device, 0x400bfffc - i), 0xabcd0000 + i);
		put(device, 0x400bfffc - i, i);
		assert_int_equal(word(device, 0x3ffe0000 + i), i);
	}
	regmap_device_free(device);
}

static void test_templates_esp32_rtc_alias(void **state)
{
	struct regmap_device *device = device_of("ESP32");

	(void)state;
	put(device, 0x3ff80010, 0x11223344);
	assert_int_equal(word(device, 0x400c0010), 0x11223344);
	put(device, 0x400c1ffc, 0x55667788);
	assert_int_equal(word(device, 0x3ff81ffc), 0x55667788);
	regmap_device_free(device);
}

/* The instruction bus does 32-bit accesses alone. */
static void test_templates_esp_instruction_memory_is_of_words(void **state)
{
	static const struct {
		const char *device;
		uint64_t address;
	} rows[] = {{"ESP32", 0x40080000}, {"ESP32", 0x40070000},   {"ESP32", 0x400a0000},
	            {"ESP32", 0x400c0000}, {"ESP8266", 0x40100000}, {"ESP8266", 0x40200000}};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct regmap_device *device = device_of(rows[i].device);
		const struct regmap_region *r = regmap_device_region_at(device, rows[i].address);
		uint16_t half = 0;

		assert_int_equal(r->widths, 4);
		if (regmap_device_read(device, rows[i].address, &half, 2) >= 0)
			fail_msg("%s: half a word at 0x%llx", rows[i].device,
			         (unsigned long long)rows[i].address);
		word(device, rows[i].address);
		regmap_device_free(device);
	}
	for (unsigned n = 3; n < 5; n++) {
		const struct regmap_layout *layout = layout_of(names[n]);
		struct regmap_place place;

		assert_int_equal(regmap_layout_find_at(layout, 0x3ffe8000, &place), 0);
		assert_int_equal(place.region->widths, 0);
	}
}

/* ---- AVR --------------------------------------------------------------------------------------------- */

static void test_templates_avr_data_space_begins_with_registers(void **state)
{
	(void)state;
	for (unsigned n = 5; n < 7; n++) {
		struct regmap_device *device = device_of(names[n]);
		char name[32];
		uint64_t value;

		for (unsigned i = 0; i < 32; i++) {
			uint8_t byte = (uint8_t)(i * 7 + 1);

			assert_int_equal(regmap_device_write(device, 0x800000 + i, &byte, 1), 0);
			snprintf(name, sizeof(name), "CPU_REGISTERS.R%u", i);
			assert_int_equal(regmap_device_get(device, name, &value), 0);
			assert_int_equal(value, byte);
		}
		regmap_device_free(device);
	}
}

static void test_templates_avr_registers_have_their_addresses(void **state)
{
	static const struct {
		const char *device, *name;
		uint64_t address;
	} rows[] = {
		{"ATmega328", "PORTB.PORTB", 0x25},
		{"ATmega328", "CPU.SP.SPL", 0x5d},
		{"ATmega328", "CPU.SREG", 0x5f},
		{"ATmega328", "USART0.UDR0", 0xc6},
		{"ATmega328", "USART0.UCSR0A", 0xc0},
		{"ATmega328", "TC1.TCNT1", 0x84},
		{"ATmega328", "ADC.ADC", 0x78},
		{"ATmega328", "EEPROM_CONTROL.EECR", 0x3f},
		{"ATmega328", "EEPROM_CONTROL.EEAR", 0x41},
		{"ATmega2560", "CPU.RAMPZ", 0x5b},
		{"ATmega2560", "CPU.EIND", 0x5c},
		{"ATmega2560", "CPU.SP", 0x5d},
		{"ATmega2560", "CPU.SREG", 0x5f},
		{"ATmega2560", "USART3.UDR3", 0x136},
		{"ATmega2560", "PORTL.PORTL", 0x10b},
	};
	struct regmap_place place;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct regmap_layout *layout = layout_of(rows[i].device);

		if (regmap_layout_find(layout, rows[i].name, &place))
			fail_msg("%s has no %s", rows[i].device, rows[i].name);
		assert_int_equal(place.address, 0x800000 + rows[i].address);
	}
}

static void test_templates_avr_spaces(void **state)
{
	static const struct {
		const char *name;
		uint64_t offset;
	} spaces[] = {{"data", 0x800000}, {"program", 0},     {"eeprom", 0x810000},
	              {"fuse", 0x820000}, {"lock", 0x830000}, {"signature", 0x840000}};

	(void)state;
	for (unsigned n = 5; n < 7; n++) {
		const struct regmap_layout *layout = layout_of(names[n]);

		assert_int_equal(layout->space_count, COUNT(spaces));
		for (size_t i = 0; i < COUNT(spaces); i++) {
			assert_string_equal(layout->spaces[i]->name, spaces[i].name);
			assert_int_equal(layout->spaces[i]->offset, spaces[i].offset);
		}
	}
}

/* ---- values after a reset, as in reference manuals ------------------------------------------------------- */

static const struct {
	const char *device;
	uint64_t address;
	uint32_t value;
} resets[] = {
	{"STM32F103", 0x40021000, 0x83},       {"STM32F103", 0x40021014, 0x14},
	{"STM32F103", 0x40021024, 0x0c000000}, {"STM32F103", 0x40022000, 0x30},
	{"STM32F103", 0x40022010, 0x80},       {"STM32F103", 0x4002201c, 0x03fffffc},
	{"STM32F103", 0x40022020, 0xffffffff}, {"STM32F103", 0x40010800, 0x44444444},
	{"STM32F103", 0x40013800, 0xc0},       {"STM32F103", 0x40013008, 2},
	{"STM32F103", 0x40013010, 7},          {"STM32F103", 0x40005420, 2},
	{"STM32F103", 0x40012424, 0xfff},      {"STM32F103", 0x40002804, 0x20},
	{"STM32F103", 0x40002c00, 0x7f},       {"STM32F103", 0x40003008, 0xfff},
	{"STM32F103", 0x40006400, 0x00010002}, {"STM32F103", 0x4000641c, 0x01230000},
	{"STM32F103", 0x40023000, 0xffffffff}, {"STM32F103", 0xe000ed00, 0x411fc231},
	{"STM32F103", 0xe000ed0c, 0xfa050000}, {"STM32F103", 0xe000ed14, 0x200},
	{"STM32F103", 0xe000e01c, 0x40002328}, {"STM32F103", 0xe0042000, 0x20036410},
	{"STM32F407", 0x40023800, 0x83},       {"STM32F407", 0x40023804, 0x24003010},
	{"STM32F407", 0x40023830, 0x00100000}, {"STM32F407", 0x40023850, 0x7e6791ff},
	{"STM32F407", 0x40023874, 0x0e000000}, {"STM32F407", 0x40023884, 0x20003000},
	{"STM32F407", 0x40023c10, 0x80000000}, {"STM32F407", 0x40023c14, 0x0fffaaed},
	{"STM32F407", 0x40020000, 0xa8000000}, {"STM32F407", 0x4002000c, 0x64000000},
	{"STM32F407", 0x40020400, 0x280},      {"STM32F407", 0x40007000, 0x4000},
	{"STM32F407", 0x40002804, 0x2101},     {"STM32F407", 0x4000280c, 7},
	{"STM32F407", 0x40002810, 0x007f00ff}, {"STM32F407", 0x4000002c, 0xffffffff},
	{"STM32F407", 0x40026024, 0x21},       {"STM32F407", 0xe000ed00, 0x410fc241},
	{"STM32F407", 0xe000ef34, 0xc0000000}, {"STM32F407", 0xe0042000, 0x10076413},
	{"STM32F407", 0xa0000000, 0x30db},     {"STM32F429", 0x40007000, 0xc000},
	{"STM32F429", 0x40023850, 0x7eef97ff}, {"STM32F429", 0x40023888, 0x24003000},
	{"STM32F429", 0x40023c18, 0x0fff0000}, {"STM32F429", 0xa0000140, 0x2d0},
	{"STM32F429", 0x40016818, 0x2220},     {"STM32F429", 0xe0042000, 0x20036419},
	{"ESP32", 0x3ff40014, 0x2b6},          {"ESP32", 0x3ff480a4, 0x50d83aa1},
	{"RV32", 0x10008008, 0x00060df1},      {"RV64", 0x10001000, 0x74726976},
	{"CortexA53", 0x09000018, 0x90},       {"CortexA53", 0x09000fe0, 0x11},
};

static void test_templates_have_true_reset_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(resets); i++) {
		struct regmap_device *device = device_of(resets[i].device);
		uint32_t value = word(device, resets[i].address);

		if (value != resets[i].value)
			fail_msg("%s: 0x%llx is 0x%x after a reset, not 0x%x", resets[i].device,
			         (unsigned long long)resets[i].address, value, resets[i].value);
		regmap_device_free(device);
	}
}

static uint16_t half(struct regmap_device *device, uint64_t at)
{
	uint16_t value;

	assert_int_equal(regmap_device_read(device, at, &value, 2), 0);
	return value;
}

static void test_templates_stm32_signatures(void **state)
{
	static const struct {
		uint64_t address;
		unsigned size;
	} sizes[] = {{0x1ffff7e0, 128}, {0x1fff7a22, 1024}, {0x1fff7a22, 2048}};

	(void)state;
	for (unsigned n = 0; n < 3; n++) {
		struct regmap_device *device = device_of(names[n]);
		uint32_t none = 0;

		assert_int_equal(half(device, sizes[n].address), sizes[n].size);
		assert_int_equal(regmap_device_write(device, n ? 0x1fff7a10 : 0x1ffff7e8, &none, 4),
		                 -EACCES);
		assert_int_not_equal(word(device, n ? 0x1fff7a10 : 0x1ffff7e8), 0);
		regmap_device_free(device);
	}
}

/* Programmed bits of the F4's one-time memory never come back. */
static void test_templates_stm32_otp(void **state)
{
	struct regmap_device *device = device_of("STM32F407");

	(void)state;
	assert_int_equal(word(device, 0x1fff7800), 0xffffffff);
	put(device, 0x1fff7800, 0xffff1234);
	put(device, 0x1fff7800, 0xffffffff);
	assert_int_equal(word(device, 0x1fff7800), 0xffff1234);
	regmap_device_free(device);
}

/* ---- boards, and other formats --------------------------------------------------------------------------- */

static void test_templates_are_included_by_boards(void **state)
{
	static const char text[] = "include = ['template:stm32f407']\n"
				   "[device]\n"
				   "name = 'Board'\n"
				   "[[regions]]\n"
				   "name = 'FSMC bank 4'\n"
				   "attached = false\n"
				   "[[peripherals]]\n"
				   "name = 'DISPLAY'\n"
				   "address = 0x60000000\n"
				   "size = 4\n"
				   "[[peripherals]]\n"
				   "name = 'GPIO?'\n"
				   "[[peripherals.registers]]\n"
				   "name = 'IDR'\n"
				   "reset = 0x8000\n";
	struct regmap_error error = {.text = ""};
	struct regmap_device *device = NULL;
	struct regmap_layout *layout;
	uint32_t value = 0;

	(void)state;
	if (regmap_layout_from_string(text, sizeof(text) - 1, REGMAP_FORMAT_TOML, NULL, &layout,
	                              &error) ||
	    regmap_device_from_layout(layout, &device, &error))
		fail_msg("%s", error.text);
	assert_string_equal(layout->name, "Board");
	assert_int_equal(regmap_device_write(device, 0x90000000, &value, 4), -EIO);
	assert_int_equal(regmap_device_write(device, 0x70000000, &value, 4), 0);
	assert_string_equal(regmap_device_region_at(device, 0x60000000)->name, "DISPLAY");
	for (uint64_t port = 0x40020010; port < 0x40022400; port += 0x400)
		assert_int_equal(word(device, port), 0x8000);
	regmap_device_free(device);
	regmap_layout_free(layout);
}

static void check_same(const struct regmap_layout *a, const struct regmap_layout *b)
{
	assert_string_equal(a->name, b->name);
	assert_int_equal(a->max_memory, b->max_memory);
	assert_int_equal(a->space_count, b->space_count);
	assert_int_equal(a->region_count, b->region_count);
	assert_int_equal(a->peripheral_count, b->peripheral_count);
	assert_int_equal(a->rule_count, b->rule_count);
	for (size_t i = 0; i < a->region_count; i++) {
		assert_string_equal(a->regions[i]->name, b->regions[i]->name);
		assert_int_equal(a->regions[i]->address, b->regions[i]->address);
		assert_int_equal(a->regions[i]->length, b->regions[i]->length);
		assert_int_equal(a->regions[i]->type, b->regions[i]->type);
		assert_int_equal(a->regions[i]->target, b->regions[i]->target);
		assert_int_equal(a->regions[i]->sector_count, b->regions[i]->sector_count);
	}
	for (size_t i = 0; i < a->peripheral_count; i++) {
		const struct regmap_peripheral *p = a->peripherals[i], *q = b->peripherals[i];

		assert_string_equal(p->name, q->name);
		assert_int_equal(p->address, q->address);
		assert_int_equal(p->register_count, q->register_count);
		for (size_t j = 0; j < p->register_count; j++) {
			assert_string_equal(p->registers[j]->name, q->registers[j]->name);
			assert_int_equal(p->registers[j]->reset_value,
			                 q->registers[j]->reset_value);
			assert_int_equal(p->registers[j]->field_count,
			                 q->registers[j]->field_count);
		}
	}
	for (size_t i = 0; i < a->rule_count; i++) {
		assert_string_equal(a->rules[i]->text, b->rules[i]->text);
		assert_string_equal(a->rules[i]->scope, b->rules[i]->scope);
	}
}

static void test_templates_are_the_same_in_every_format(void **state)
{
	static const enum regmap_format formats[] = {REGMAP_FORMAT_TOML, REGMAP_FORMAT_YAML,
	                                             REGMAP_FORMAT_JSON};

	(void)state;
	for (unsigned n = 0; n < COUNT(names); n++)
		for (unsigned f = 0; f < COUNT(formats); f++) {
			struct regmap_error error = {.text = ""};
			struct regmap_layout *again = NULL;
			size_t length;
			char *text;

			if (regmap_layout_save(layout_of(names[n]), formats[f], &text, &length,
			                       &error) ||
			    regmap_layout_from_string(text, length, formats[f], NULL, &again,
			                              &error))
				fail_msg("%s: %s", names[n], error.text);
			check_same(layout_of(names[n]), again);
			regmap_layout_free(again);
			free(text);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_templates_are_these_ten),
		cmocka_unit_test(test_templates_are_found_without_regard_to_case),
		cmocka_unit_test(test_templates_unknown_name_lists_them),
		cmocka_unit_test(test_templates_say_who_they_are),
		cmocka_unit_test(test_templates_have_the_regions_of_silicon),
		cmocka_unit_test(test_templates_have_the_peripherals_of_silicon),
		cmocka_unit_test(test_templates_have_nothing_where_nothing_is),
		cmocka_unit_test(test_templates_regions_lie_inside_their_memory),
		cmocka_unit_test(test_templates_registers_lie_inside_their_peripherals),
		cmocka_unit_test(test_templates_allocate_and_read_back),
		cmocka_unit_test(test_templates_live_together),
		cmocka_unit_test(test_templates_are_dereferenced_where_they_are_mapped),
		cmocka_unit_test(test_templates_boot_alias_shows_the_flash),
		cmocka_unit_test(test_templates_bit_band),
		cmocka_unit_test(test_templates_esp32_sram1_is_reversed),
		cmocka_unit_test(test_templates_esp32_rtc_alias),
		cmocka_unit_test(test_templates_esp_instruction_memory_is_of_words),
		cmocka_unit_test(test_templates_avr_data_space_begins_with_registers),
		cmocka_unit_test(test_templates_avr_registers_have_their_addresses),
		cmocka_unit_test(test_templates_avr_spaces),
		cmocka_unit_test(test_templates_have_true_reset_values),
		cmocka_unit_test(test_templates_stm32_signatures),
		cmocka_unit_test(test_templates_stm32_otp),
		cmocka_unit_test(test_templates_are_included_by_boards),
		cmocka_unit_test(test_templates_are_the_same_in_every_format),
	};

	return cmocka_run_group_tests_name("templates", tests, load_all, free_all);
}
