/* SPDX-License-Identifier: MIT */
/*
 * The files that define names of libc's, beside chain.c and sigmask.c. A program that uses none of
 * these names must have them all the same, for its libraries do.
 */
#ifndef SRC_FRONT_H
#define SRC_FRONT_H

extern const char regmap__front_kin, regmap__front_wait, regmap__front_exec, regmap__front_jump,
	regmap__front_map;

#endif
