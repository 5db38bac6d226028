/* SPDX-License-Identifier: MIT */
/* The descriptions of devices/, as they are, each with a zero behind it: describe/templates.c names them. */
	.section .rodata.regmap_templates, "a", @progbits

	.macro	template name
	.globl	regmap__template_\name
	.hidden	regmap__template_\name
	.type	regmap__template_\name, @object
regmap__template_\name:
	.incbin	"devices/\name\().toml"
	.byte	0
	.size	regmap__template_\name, . - regmap__template_\name
	.endm

	template stm32f103
	template stm32f407
	template stm32f429
	template esp32
	template esp8266
	template atmega328
	template atmega2560
	template rv32
	template rv64
	template cortexa53

	/* Parts that several of them include. */
	template cortex_m
	template cortex_m_core
	template stm32
	template stm32f4

	.section .note.GNU-stack, "", @progbits
