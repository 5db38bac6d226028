/* SPDX-License-Identifier: MIT */
/* Drivers for an STM32F103. They return 0, or a negative number when the hardware doesn't answer. */
#ifndef FIRMWARE_DRIVERS_H
#define FIRMWARE_DRIVERS_H

#include "stm32f1.h"

/* clock.c: 72 MHz from a crystal of 8 MHz. */
int clock_init(void);
int clock_start_lsi(void);
uint32_t clock_frequency(void);

/* gpio.c */
enum gpio_mode {
	GPIO_ANALOG = 0x0,
	GPIO_FLOATING = 0x4,
	GPIO_PULLED = 0x8,
	GPIO_OUTPUT = 0x3,
	GPIO_ALTERNATE = 0xB
};
void gpio_configure(GPIO_TypeDef *port, unsigned pin, enum gpio_mode mode);
void gpio_write(GPIO_TypeDef *port, unsigned pin, int level);
void gpio_toggle(GPIO_TypeDef *port, unsigned pin);
int gpio_read(GPIO_TypeDef *port, unsigned pin);
int gpio_lock(GPIO_TypeDef *port, uint16_t pins);

/* uart.c */
int uart_init(USART_TypeDef *uart, uint32_t clock, uint32_t baud);
int uart_send(USART_TypeDef *uart, const char *text);
int uart_receive(USART_TypeDef *uart);

/* spi.c */
void spi_init(SPI_TypeDef *spi);
int spi_transfer(SPI_TypeDef *spi, const uint8_t *out, uint8_t *in, unsigned count);

/* adc.c */
int adc_init(ADC_TypeDef *adc);
int adc_read(ADC_TypeDef *adc, unsigned channel);

/* systick.c */
int systick_init(uint32_t ticks);
int systick_delay(unsigned periods);

/* flash.c */
int flash_unlock(void);
int flash_lock(void);
int flash_erase_page(uint32_t address);
int flash_program(uint32_t address, const void *data, unsigned length);

/* dma.c: memory to memory, by addresses of 32 bits. */
int dma_copy(uint32_t to, uint32_t from, uint16_t bytes);

/* critical.c */
uint32_t critical_enter(void);
void critical_leave(uint32_t before);
uint32_t counter_add(volatile uint32_t *counter, uint32_t n);
void sleep_until_interrupt(void);

#endif
