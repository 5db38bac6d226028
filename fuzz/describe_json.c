/* SPDX-License-Identifier: MIT */
/* LDLIBS: -Wl,--wrap=open */
#include "describe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	describe(data, size, REGMAP_FORMAT_JSON);
	return 0;
}
