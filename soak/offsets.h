/* SPDX-License-Identifier: MIT */
/* Where the members of struct shot lie, for shot.S; shot.c compares them with the compiler's. */
#ifndef SOAK_OFFSETS_H
#define SOAK_OFFSETS_H

#define SHOT_CODE 0
#define SHOT_IN_IMAGE 8
#define SHOT_OUT_IMAGE 16
#define SHOT_IN_GPR 24
#define SHOT_IN_FLAGS 152
#define SHOT_OUT_GPR 160
#define SHOT_OUT_FLAGS 288

#endif
