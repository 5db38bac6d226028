/* SPDX-License-Identifier: MIT */
#include "../arch/x86_64/sigsafe.h"
