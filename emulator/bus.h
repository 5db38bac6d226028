/* SPDX-License-Identifier: MIT */
/*
 * What the emulator asks of the world: bytes at 64-bit addresses. The runtime's bus looks
 * through windows at ordinary memory; tests and fuzzers bring buses of their own.
 *
 * Addresses wrap at 2^64. Every function returns EM_OK, or another status with em_fault filled in.
 * None has side effects when it does not return EM_OK, but for device reads that happened before a
 * later piece failed, and pieces of a write that a device had accepted before it refused one.
 */
#ifndef EMULATOR_BUS_H
#define EMULATOR_BUS_H

#include <stddef.h>
#include <stdint.h>

#include "../arch/x86_64/cpu.h"

enum em_status {
	EM_OK,
	EM_UNIMPLEMENTED, /* can't do this instruction */
	EM_DENIED,        /* a window or its device refused the access */
	EM_FAULT,         /* the instruction faults as silicon would: em_fault.trap */
	EM_RETRY,         /* nothing was done: let the instruction run again */
};

enum em_access { EM_READ = 1, EM_WRITE = 2, EM_LOCKED = 4 };

/* Why an instruction wasn't carried out. */
struct em_fault {
	struct cpu_trap trap; /* what the program is to see */
	int error;            /* EM_DENIED: -errno of the window or device */
	const char *reason;   /* a static string: one clause for the report; may be NULL */
};

struct bus;

enum { BUS_SCRATCH = 32768 };

struct bus_ops {
	/* Could all of these bytes be accessed that way? Has no effect on devices. */
	enum em_status (*probe)(struct bus *bus, uint64_t address, size_t length, unsigned access,
	                        struct em_fault *fault);
	/*
	 * Host memory behind all of the range, if one stretch of it stands there and @access is
	 * allowed; NULL otherwise. Where no window lies that is the address itself, checked by
	 * nobody: what uses it must be guarded. Up to two stay good at a time, until release()
	 * drops them all.
	 */
	void *(*pin)(struct bus *bus, uint64_t address, size_t length, unsigned access);
	void (*release)(struct bus *bus);

	enum em_status (*read)(struct bus *bus, uint64_t address, void *to, size_t length,
	                       struct em_fault *fault);
	/*
	 * Stores to the register page are kept until commit(): they take effect with, and after,
	 * the instruction's own results.
	 */
	enum em_status (*write)(struct bus *bus, uint64_t address, const void *from, size_t length,
	                        struct em_fault *fault);

	/* Around a LOCKed read and write that pin() had no host memory for. */
	void (*lock)(struct bus *bus, uint64_t address);
	void (*unlock)(struct bus *bus, uint64_t address);

	/*
	 * Around every read and write of one operand that pin() had no host memory for: no code of
	 * this thread's may come in between that an instruction would not let in. Both may be NULL.
	 */
	void (*hold)(struct bus *bus, uint64_t address);
	void (*let_go)(struct bus *bus);

	/*
	 * The registers have been committed to @cpu: apply stores to the register page. May be
	 * NULL.
	 */
	void (*commit)(struct bus *bus, struct cpu *cpu);
	/*
	 * BUS_SCRATCH bytes for one execution, which need not be given back when a callback leaves it.
	 * NULL: no memory. Both may be NULL.
	 */
	void *(*borrow)(struct bus *bus);
	void (*give_back)(struct bus *bus);
	/* The instruction is abandoned: forget stores kept for commit(). May be NULL. */
	void (*abandon)(struct bus *bus);
};

/* Embed as the first member. */
struct bus {
	const struct bus_ops *ops;
	const struct cpu *cpu; /* set by the emulator: values before the instruction */
	uint64_t next;         /* set by the emulator: the following instruction's address */
};

#endif
