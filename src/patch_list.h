/* SPDX-License-Identifier: MIT */
#ifndef SRC_PATCH_LIST_H
#define SRC_PATCH_LIST_H

/* To stderr, a line for each of the sites with the most faults. Not in a handler. */
void regmap__patch_list(void);

#endif
