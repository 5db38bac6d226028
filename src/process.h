/* SPDX-License-Identifier: MIT */
/* Whose memory is this? */
#ifndef SRC_PROCESS_H
#define SRC_PROCESS_H

#include <stdbool.h>

/*
 * In a child made by vfork(): its dispositions and mask are its own, its memory is its parent's,
 * which must find there what it left. For the handler, too.
 */
bool regmap__in_vfork_child(void);

#endif
