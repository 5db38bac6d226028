/* SPDX-License-Identifier: MIT */
/* Memory as the hardware inside of a chip has it: EEPROM and DMA controllers, said by rules. */
#include "bytes.h"
#include "memory.h"

uint8_t regmap__memory_get_byte(const struct memory *m, uint64_t address)
{
	struct part *part;
	uint64_t run;
	uint8_t *host;

	if (regmap__memory_look(m, address, &host, &run, &part))
		return 0;
	return host ? (uint8_t)bytes_load(host, 1) : regmap__part_fill(part);
}

void regmap__memory_set_byte(const struct memory *m, uint64_t address, uint8_t value)
{
	uint64_t run;
	uint8_t *host;

	if (regmap__memory_host(m, address, &host, &run, NULL) == 0)
		bytes_store(host, 1, value);
}

/* Both ends may go from one region to the next. */
void regmap__memory_copy(const struct memory *m, uint64_t to, uint64_t from, uint64_t length)
{
	if (length > REGMAP__COPY_MOST)
		length = REGMAP__COPY_MOST;
	for (uint64_t i = 0; i < length; i++)
		regmap__memory_set_byte(m, to + i, regmap__memory_get_byte(m, from + i));
}
