/* SPDX-License-Identifier: MIT */
/*
 * Names of functions, for backtraces: from the symbol tables of the files that are mapped, by system
 * calls alone. (libunwind's unw_get_proc_name() allocates.)
 */
#ifndef SRC_SYMBOLS_H
#define SRC_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The function around @address, cut to @size with its end, and where in it. A file that shrinks
 * meanwhile raises SIGBUS. AS-Safe.
 */
bool regmap__symbol_find(uint64_t address, char *name, size_t size, uint64_t *offset);

#endif
