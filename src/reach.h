/* SPDX-License-Identifier: MIT */
/*
 * Ranges that the program hands to the kernel: windows, ordinary memory, or some of each. What the
 * kernel reaches by itself is ordinary here: direct windows, and the register page, which it finds
 * to be no memory.
 */
#ifndef SRC_REACH_H
#define SRC_REACH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Does any byte lie where the kernel can't reach and we can? AS-Safe, as is all of this. */
bool regmap__reach_needed(uint64_t at, size_t length);
/* Can all of it be read or written (@access: one bit of enum regmap_access)? */
bool regmap__reach_allowed(uint64_t at, size_t length, unsigned access);
/* 0 or -errno. */
int regmap__reach_read(uint64_t at, void *to, size_t length);
/* How many bytes got there before one failed. */
size_t regmap__reach_write(uint64_t at, const void *from, size_t length);
/* Length with the NUL; -ENAMETOOLONG; -EFAULT. */
long regmap__reach_string(uint64_t at, char *to, size_t size);
/*
 * Memory for one system call. A signal handler of the program's may leave that call by longjmp();
 * what it leaves behind is noticed like a lost pin (access.h) and given back at the next call.
 */
enum { LOAN_SMALL = 768, LOANS = 4 };

struct loan {
	_Alignas(16) uint8_t small[LOAN_SMALL];
	size_t used;
	unsigned count;
	struct {
		void *base;
		size_t size;
		_Atomic uint64_t nonce;
		unsigned slot; /* + 1; 0: nobody remembers it */
	} large[LOANS];
};

void regmap__loan_init(struct loan *loan);
/* Aligned to 16 bytes; NULL: no memory. */
void *regmap__loan_take(struct loan *loan, size_t size);
void regmap__loan_return(struct loan *loan);
/* The thread ends: all of its loans are lost. */
void regmap__loan_forget(void);

#endif
