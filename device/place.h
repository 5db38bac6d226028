/* SPDX-License-Identifier: MIT */
/* Names of places in code, remembered: looking one up reads files. */
#ifndef DEVICE_PLACE_H
#define DEVICE_PLACE_H

#include <stdint.h>

enum { PLACE_NAME = 64 };

struct code_place {
	char function[PLACE_NAME]; /* "": unknown */
	uint64_t offset;           /* in it */
	char file[PLACE_NAME];     /* its base name; "": none */
	uint64_t file_offset;
};

/* AS-Safe. */
void regmap__place_find(uint64_t ip, struct code_place *place);

#endif
