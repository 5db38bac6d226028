/* SPDX-License-Identifier: MIT */
#include "drivers.h"

#define TIMEOUT 100000

int dma_copy(uint32_t to, uint32_t from, uint16_t bytes)
{
	RCC->AHBENR |= RCC_AHBENR_DMA1EN;
	DMA1->IFCR = 0xF;
	DMA1_Channel1->CCR = 0;
	DMA1_Channel1->CPAR = to;
	DMA1_Channel1->CMAR = from;
	DMA1_Channel1->CNDTR = bytes;
	DMA1_Channel1->CCR = DMA_CCR_MEM2MEM | DMA_CCR_DIR | DMA_CCR_PINC | DMA_CCR_MINC |
	                     DMA_CCR_EN;
	for (unsigned n = 0; n < TIMEOUT; n++)
		if (DMA1->ISR & DMA_ISR_TCIF1) {
			DMA1->IFCR = 0xF;
			DMA1_Channel1->CCR = 0;
			return 0;
		}
	return -1;
}
