/* SPDX-License-Identifier: MIT */
/* A chip that no file describes: memory, a timer with a rule, and a driver that runs on it. */
#include <regmap/device.h>
#include <stdio.h>

enum { SRAM = 0x20000000, TIMER = 0x40000000, BITS = 0x42000000, RW = 3 };

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* The driver: nothing but addresses. */
static unsigned run_timer(void)
{
	unsigned polls = 0;

	REGISTER(TIMER) = 1;
	while (!(REGISTER(TIMER + 4) & 1))
		polls++;
	return polls;
}

static const struct regmap_region sram = {"SRAM", "", "", SRAM, 20480, RW, REGMAP_REGION_RAM};
static const struct regmap_region apb = {"APB", "", "", TIMER, 4096, RW, REGMAP_REGION_MMIO};
static const struct regmap_region bits = {"Bits", "", "",   BITS, 131072, RW, REGMAP_REGION_BITBAND,
                                          "",     "", TIMER};
static const struct regmap_peripheral timer = {"TIM", "A timer", "", TIMER, 1024};
static const struct regmap_register cr = {"CR", "Control", 0, 4}, sr = {"SR", "Status", 4, 4};

static int describe(struct regmap_layout *chip, struct regmap_error *e)
{
	return regmap_layout_add_region(chip, &sram, e) ||
	       regmap_layout_add_region(chip, &apb, e) ||
	       regmap_layout_add_region(chip, &bits, e) ||
	       regmap_layout_add_peripheral(chip, &timer, e) ||
	       regmap_layout_add_register(chip, "TIM", &cr, e) ||
	       regmap_layout_add_register(chip, "TIM", &sr, e) ||
	       regmap_layout_add_rule(chip, "TIM", "on write CR: after 3: SR = CR", e);
}

int main(void)
{
	struct regmap_error e = {.text = "out of memory"};
	struct regmap_device *device;
	struct regmap_layout *chip;
	uint32_t word;

	if (regmap_layout_new("Timer chip", &chip) || describe(chip, &e) ||
	    regmap_device_from_layout(chip, &device, &e) || regmap_device_map(device, 0, &e))
		return fprintf(stderr, "%s\n", e.text), 1;
	printf("ready after %u polls\n", run_timer());
	printf("its ready bit is %u\n", REGISTER(BITS + 4 * 32));
	REGISTER(SRAM) = 42; /* ordinary memory: no fault */
	if (!regmap_device_read(device, SRAM, &word, sizeof(word)))
		printf("by a call: %u\n", word);
	REGISTER(regmap_device_base(device) + SRAM) = 43;
	printf("in its own address space, too: %u\n", REGISTER(SRAM));
	regmap_device_free(device);
	regmap_layout_free(chip);
	return 0;
}
