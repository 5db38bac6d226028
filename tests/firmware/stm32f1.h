/* SPDX-License-Identifier: MIT */
/* The registers that the drivers in this folder use, as a vendor's device header has them. */
#ifndef FIRMWARE_STM32F1_H
#define FIRMWARE_STM32F1_H

#include <stdint.h>

#include "core.h"

typedef struct {
	__IO uint32_t CR, CFGR, CIR, APB2RSTR, APB1RSTR, AHBENR, APB2ENR, APB1ENR, BDCR, CSR;
} RCC_TypeDef;

typedef struct {
	__IO uint32_t ACR, KEYR, OPTKEYR, SR, CR, AR, RESERVED, OBR, WRPR;
} FLASH_TypeDef;

typedef struct {
	__IO uint32_t CRL, CRH, IDR, ODR, BSRR, BRR, LCKR;
} GPIO_TypeDef;

typedef struct {
	__IO uint16_t SR;
	uint16_t RESERVED0;
	__IO uint16_t DR;
	uint16_t RESERVED1;
	__IO uint16_t BRR;
	uint16_t RESERVED2;
	__IO uint16_t CR1;
	uint16_t RESERVED3;
	__IO uint16_t CR2;
	uint16_t RESERVED4;
	__IO uint16_t CR3;
	uint16_t RESERVED5;
} USART_TypeDef;

typedef struct {
	__IO uint16_t CR1;
	uint16_t RESERVED0;
	__IO uint16_t CR2;
	uint16_t RESERVED1;
	__IO uint16_t SR;
	uint16_t RESERVED2;
	__IO uint16_t DR;
	uint16_t RESERVED3;
} SPI_TypeDef;

typedef struct {
	__IO uint32_t SR, CR1, CR2, SMPR1, SMPR2, JOFR1, JOFR2, JOFR3, JOFR4, HTR, LTR, SQR1, SQR2,
		SQR3, JSQR, JDR1, JDR2, JDR3, JDR4, DR;
} ADC_TypeDef;

typedef struct {
	__IO uint32_t CCR, CNDTR, CPAR, CMAR;
} DMA_Channel_TypeDef;

typedef struct {
	__IO uint32_t ISR, IFCR;
} DMA_TypeDef;

typedef struct {
	__IO uint32_t CTRL, LOAD, VAL;
	__I uint32_t CALIB;
} SysTick_Type;

#define FLASH_BASE 0x08000000u
#define SRAM_BASE 0x20000000u
#define PERIPH_BASE 0x40000000u
#define PERIPH_BB_BASE 0x42000000u
#define BITBAND(address, bit) \
	(*(__IO uint32_t *)(PERIPH_BB_BASE + ((address)-PERIPH_BASE) * 32 + (bit)*4))

#define RCC_BASE (PERIPH_BASE + 0x21000)
#define RCC ((RCC_TypeDef *)RCC_BASE)
#define FLASH ((FLASH_TypeDef *)(PERIPH_BASE + 0x22000))
#define DMA1 ((DMA_TypeDef *)(PERIPH_BASE + 0x20000))
#define DMA1_Channel1 ((DMA_Channel_TypeDef *)(PERIPH_BASE + 0x20008))
#define GPIOA ((GPIO_TypeDef *)(PERIPH_BASE + 0x10800))
#define GPIOC ((GPIO_TypeDef *)(PERIPH_BASE + 0x11000))
#define ADC1 ((ADC_TypeDef *)(PERIPH_BASE + 0x12400))
#define SPI1 ((SPI_TypeDef *)(PERIPH_BASE + 0x13000))
#define USART1 ((USART_TypeDef *)(PERIPH_BASE + 0x13800))
#define SysTick ((SysTick_Type *)0xE000E010u)

#define RCC_CR_HSEON (1u << 16)
#define RCC_CR_HSERDY (1u << 17)
#define RCC_CR_PLLRDY (1u << 25)
#define RCC_CFGR_SW (3u << 0)
#define RCC_CFGR_SW_PLL (2u << 0)
#define RCC_CFGR_SWS (3u << 2)
#define RCC_CFGR_SWS_PLL (2u << 2)
#define RCC_CFGR_PPRE1_DIV2 (4u << 8)
#define RCC_CFGR_ADCPRE_DIV6 (2u << 14)
#define RCC_CFGR_PLLSRC_HSE (1u << 16)
#define RCC_CFGR_PLLMULL (15u << 18)
#define RCC_CFGR_PLLMULL9 (7u << 18)
#define RCC_AHBENR_DMA1EN (1u << 0)
#define RCC_APB2ENR_IOPAEN (1u << 2)
#define RCC_APB2ENR_IOPCEN (1u << 4)
#define RCC_APB2ENR_ADC1EN (1u << 9)
#define RCC_APB2ENR_SPI1EN (1u << 12)
#define RCC_APB2ENR_USART1EN (1u << 14)
#define RCC_CSR_LSIRDY (1u << 1)

#define FLASH_ACR_LATENCY 7u
#define FLASH_ACR_LATENCY_2 2u
#define FLASH_ACR_PRFTBE (1u << 4)
#define FLASH_SR_BSY (1u << 0)
#define FLASH_SR_PGERR (1u << 2)
#define FLASH_SR_WRPRTERR (1u << 4)
#define FLASH_SR_EOP (1u << 5)
#define FLASH_CR_PG (1u << 0)
#define FLASH_CR_PER (1u << 1)
#define FLASH_CR_STRT (1u << 6)
#define FLASH_CR_LOCK (1u << 7)
#define FLASH_KEY1 0x45670123u
#define FLASH_KEY2 0xCDEF89ABu

#define USART_SR_RXNE (1u << 5)
#define USART_SR_TC (1u << 6)
#define USART_SR_TXE (1u << 7)
#define USART_CR1_RE (1u << 2)
#define USART_CR1_TE (1u << 3)
#define USART_CR1_UE (1u << 13)

#define SPI_CR1_MSTR (1u << 2)
#define SPI_CR1_BR_DIV8 (2u << 3)
#define SPI_CR1_SPE (1u << 6)
#define SPI_CR1_SSI (1u << 8)
#define SPI_CR1_SSM (1u << 9)
#define SPI_SR_RXNE (1u << 0)
#define SPI_SR_TXE (1u << 1)
#define SPI_SR_BSY (1u << 7)

#define ADC_SR_EOC (1u << 1)
#define ADC_CR2_ADON (1u << 0)
#define ADC_CR2_CAL (1u << 2)
#define ADC_CR2_RSTCAL (1u << 3)
#define ADC_CR2_EXTSEL_SW (7u << 17)
#define ADC_CR2_EXTTRIG (1u << 20)
#define ADC_CR2_SWSTART (1u << 22)

#define DMA_CCR_EN (1u << 0)
#define DMA_CCR_DIR (1u << 4)
#define DMA_CCR_PINC (1u << 6)
#define DMA_CCR_MINC (1u << 7)
#define DMA_CCR_MEM2MEM (1u << 14)
#define DMA_ISR_TCIF1 (1u << 1)

#define SysTick_CTRL_ENABLE (1u << 0)
#define SysTick_CTRL_CLKSOURCE (1u << 2)
#define SysTick_CTRL_COUNTFLAG (1u << 16)

#endif
