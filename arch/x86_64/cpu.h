/* SPDX-License-Identifier: MIT */
/*
 * The state of one interrupted thread, as the emulator sees it.
 *
 * General registers are kept by value, in encoding order. Vector, x87 and mask state stays where
 * the kernel put it: an XSAVE image in the standard (non-compacted) format, SDM vol. 1, 13.4. A
 * clear XSTATE_BV bit means that the component is in its initial state and its bytes are not valid.
 */
#ifndef ARCH_X86_64_CPU_H
#define ARCH_X86_64_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cpu_gpr {
	CPU_RAX,
	CPU_RCX,
	CPU_RDX,
	CPU_RBX,
	CPU_RSP,
	CPU_RBP,
	CPU_RSI,
	CPU_RDI,
	CPU_R8,
	CPU_R15 = 15,
};

enum {
	CPU_CF = 1 << 0,
	CPU_PF = 1 << 2,
	CPU_AF = 1 << 4,
	CPU_ZF = 1 << 6,
	CPU_SF = 1 << 7,
	CPU_TF = 1 << 8,
	CPU_IF = 1 << 9,
	CPU_DF = 1 << 10,
	CPU_OF = 1 << 11,
	CPU_NT = 1 << 14,
	CPU_RF = 1 << 16,
	CPU_AC = 1 << 18,
	CPU_ID = 1 << 21,
	CPU_STATUS = CPU_CF | CPU_PF | CPU_AF | CPU_ZF | CPU_SF | CPU_OF,
	/* what POPFQ changes at CPL 3 with IOPL 0; and what sigreturn puts back */
	CPU_USER_FLAGS = CPU_STATUS | CPU_TF | CPU_DF | CPU_NT | CPU_AC | CPU_ID,
	/* what sigreturn leaves as it is when it is called: whoever sets flags in a handler keeps these */
	CPU_STICKY = CPU_NT | CPU_ID,
};

/* What commit must put back beyond the general registers: struct cpu.dirty. */
enum cpu_dirty {
	CPU_DIRTY_FS_BASE = 1 << 0,
	CPU_DIRTY_GS_BASE = 1 << 1,
	CPU_DIRTY_FS = 1 << 2,
	CPU_DIRTY_GS = 1 << 3,
};

struct cpu {
	uint64_t gpr[16];
	uint64_t rip;    /* of the instruction; after EM_OK of the next one to run */
	uint64_t rflags; /* RF and VM clear */
	uint64_t fs_base, gs_base;
	uint8_t *xsave;     /* 64-byte aligned */
	uint64_t xfeatures; /* components that the image has room for; PKRU never */
	uint16_t cs, ss, fs, gs;
	unsigned dirty; /* enum cpu_dirty */
};

/* The registers where they are: register i, in encoding order, is value[at[i]]. */
struct cpu_regs {
	uint64_t *value;
	const uint8_t *at;
	uint64_t *flags; /* in a signal frame RF may be set */
};

/* A processor exception that one of the guarded routines ran into. */
struct cpu_trap {
	int signo;        /* 0: none */
	int code;         /* si_code */
	uint64_t address; /* si_addr */
	uint64_t number;  /* vector: gregs[REG_TRAPNO] */
	uint64_t error;   /* gregs[REG_ERR] */
};

/* SDM vol. 1, 13.1: XSAVE-managed state components. */
enum {
	XSTATE_X87 = 1 << 0,
	XSTATE_SSE = 1 << 1,
	XSTATE_AVX = 1 << 2,
	XSTATE_OPMASK = 1 << 5,
	XSTATE_ZMM_HI256 = 1 << 6,
	XSTATE_HI16_ZMM = 1 << 7,
	XSTATE_VECTOR = XSTATE_SSE | XSTATE_AVX | XSTATE_OPMASK | XSTATE_ZMM_HI256 |
	                XSTATE_HI16_ZMM,
};

enum { XSAVE_MXCSR = 24, XSAVE_ST = 32, XSAVE_XMM = 160, XSAVE_HEADER = 512, XSAVE_LEGACY = 576 };

/* What this processor and kernel have; filled once by regmap__xstate_init(), constant after it. */
struct xstate {
	uint64_t xcr0;       /* 0: no XSAVE */
	uint32_t size;       /* bytes of an image that holds xcr0 */
	uint32_t offset[64]; /* of each component in a standard image; 0: none */
	uint32_t length[64];
	uint64_t aligned; /* bit per component: begins at a multiple of 64 in a compacted image */
	bool fsgsbase;    /* RDFSBASE and kin work in user mode */
	bool lahf;        /* LAHF and SAHF, which the first processors with 64 bits lacked */
};

extern struct xstate regmap__xstate;
void regmap__xstate_init(void);

static inline uint64_t *xsave_bv(uint8_t *image)
{
	return (uint64_t *)(image + XSAVE_HEADER);
}

/*
 * Make the bytes of the given components valid: those in their initial state are written out and
 * their XSTATE_BV bits set.
 */
void regmap__xsave_materialize(uint8_t *image, uint64_t components);

/*
 * Copy bytes [at, at + length) of vector register i (16, 32 or 64 bytes wide, whatever the CPU
 * has).
 */
void regmap__vector_get(const struct cpu *cpu, unsigned i, unsigned at, void *to, unsigned length);
void regmap__vector_set(struct cpu *cpu, unsigned i, unsigned at, const void *from,
                        unsigned length);
uint64_t regmap__opmask_get(const struct cpu *cpu, unsigned i);
void regmap__opmask_set(struct cpu *cpu, unsigned i, uint64_t value);
unsigned regmap__vector_count(void); /* 16 or 32 */
unsigned regmap__vector_bytes(void); /* 16, 32 or 64 */

#endif
