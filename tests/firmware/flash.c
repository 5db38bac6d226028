/* SPDX-License-Identifier: MIT */
#include "drivers.h"

#define TIMEOUT 0xB0000

static int wait(void)
{
	unsigned n = 0;
	uint32_t status;

	do {
		status = FLASH->SR;
		if (++n == TIMEOUT)
			return -1;
	} while (status & FLASH_SR_BSY);
	if (status & (FLASH_SR_PGERR | FLASH_SR_WRPRTERR))
		return -2;
	FLASH->SR = FLASH_SR_EOP;
	return 0;
}

int flash_unlock(void)
{
	if (FLASH->CR & FLASH_CR_LOCK) {
		FLASH->KEYR = FLASH_KEY1;
		FLASH->KEYR = FLASH_KEY2;
	}
	return FLASH->CR & FLASH_CR_LOCK ? -1 : 0;
}

int flash_lock(void)
{
	FLASH->CR |= FLASH_CR_LOCK;
	return FLASH->CR & FLASH_CR_LOCK ? 0 : -1;
}

int flash_erase_page(uint32_t address)
{
	int err;

	if ((err = wait()))
		return err;
	FLASH->CR |= FLASH_CR_PER;
	FLASH->AR = address;
	FLASH->CR |= FLASH_CR_STRT;
	err = wait();
	FLASH->CR &= ~FLASH_CR_PER;
	return err;
}

int flash_program(uint32_t address, const void *data, unsigned length)
{
	const uint8_t *bytes = data;
	int err = wait();

	FLASH->CR |= FLASH_CR_PG;
	for (unsigned i = 0; i < length && !err; i += 2) {
		uint8_t second = i + 1 < length ? bytes[i + 1] : 0xFF;
		uint16_t half = (uint16_t)(bytes[i] | second << 8);

		*(volatile uint16_t *)(uintptr_t)(address + i) = half;
		err = wait();
		if (!err && *(volatile uint16_t *)(uintptr_t)(address + i) != half)
			err = -3;
	}
	FLASH->CR &= ~FLASH_CR_PG;
	return err;
}
