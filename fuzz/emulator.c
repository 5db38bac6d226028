/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as an instruction, any registers: the emulator touches nothing but what its footprint
 * says, and where it does not succeed it has changed nothing (strings and gathers keep progress).
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "arch/x86_64/guard.h"
#include "emulator/plan.h"

enum { MEMORY = 4096, CODE = 16, BUDGET = 64, FX_MXCSR_MASK = 28 };

#define MEMORY_AT 0x10000ull

static uint8_t memory[MEMORY];
static uint8_t image[4096] __attribute__((aligned(64)));
static const struct em_footprint *allowed; /* NULL: a string moves on */
static bool pins;

static bool in_memory(uint64_t address, size_t length)
{
	return address - MEMORY_AT < MEMORY && length <= MEMORY - (address - MEMORY_AT);
}

static bool in_footprint(uint64_t address, unsigned access)
{
	for (unsigned i = 0; i < allowed->count; i++)
		if (address - allowed->range[i].address < allowed->range[i].length &&
		    (allowed->range[i].access & access) == access)
			return true;
	return false;
}

static void check(uint64_t address, size_t length, unsigned access)
{
	for (size_t i = 0; allowed && i < length; i++)
		if (!in_footprint(address + i, access))
			abort();
}

static enum em_status probe(struct bus *bus, uint64_t address, size_t length, unsigned access,
                            struct em_fault *fault)
{
	(void)bus, (void)access;
	if (in_memory(address, length))
		return EM_OK;
	fault->trap = (struct cpu_trap){SIGSEGV, SEGV_MAPERR, address, 14, 4};
	return EM_FAULT;
}

static void *pin(struct bus *bus, uint64_t address, size_t length, unsigned access)
{
	(void)bus, (void)access;
	return pins && in_memory(address, length) ? memory + (address - MEMORY_AT) : NULL;
}

static void nothing(struct bus *bus)
{
	(void)bus;
}

static enum em_status read_bytes(struct bus *bus, uint64_t address, void *to, size_t length,
                                 struct em_fault *fault)
{
	enum em_status st = probe(bus, address, length, EM_READ, fault);

	check(address, length, EM_READ);
	if (!st)
		memcpy(to, memory + (address - MEMORY_AT), length);
	return st;
}

static enum em_status write_bytes(struct bus *bus, uint64_t address, const void *from,
                                  size_t length, struct em_fault *fault)
{
	enum em_status st = probe(bus, address, length, EM_WRITE, fault);

	check(address, length, EM_WRITE);
	if (!st)
		memcpy(memory + (address - MEMORY_AT), from, length);
	return st;
}

static void lock(struct bus *bus, uint64_t address)
{
	(void)bus, (void)address;
}

static const struct bus_ops ops = {probe, pin,  nothing, read_bytes, write_bytes,
                                   lock,  lock, NULL,    NULL};

static void on_signal(int signo, siginfo_t *info, void *uc)
{
	if (!regmap__guard_fixup(signo, info, uc))
		abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};

	(void)argc, (void)argv;
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGFPE, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
	return regmap__em_init(EM_TIER_BOTH);
}

static void fill(void *to, size_t length, const uint8_t *data, size_t size, size_t *at)
{
	uint8_t *bytes = to;

	for (size_t i = 0; i < length && size; i++)
		bytes[i] = data[(*at)++ % size];
}

/* Most registers point into the memory, or operands would hardly ever be there. */
static void make_cpu(struct cpu *cpu, const uint8_t *data, size_t size, size_t *at)
{
	uint32_t mxcsr_mask = 0xffff;

	memset(cpu, 0, sizeof(*cpu));
	memset(image, 0, sizeof(image));
	fill(image, 464, data, size, at);
	memcpy(image + FX_MXCSR_MASK, &mxcsr_mask, 4);
	image[24] = 0x80, image[25] = 0x1f, image[26] = image[27] = 0; /* MXCSR */
	cpu->xsave = image;
	cpu->xfeatures = regmap__xstate.xcr0 & (XSTATE_X87 | XSTATE_VECTOR);
	*xsave_bv(image) = cpu->xfeatures;
	if (regmap__xstate.offset[5])
		fill(image + regmap__xstate.offset[5], 64, data, size, at);
	for (unsigned i = 0; i < 16; i++) {
		uint16_t low = 0;

		fill(&low, 2, data, size, at);
		cpu->gpr[i] = MEMORY_AT + low % MEMORY;
	}
	fill(&cpu->gpr[CPU_RAX], 8, data, size, at);
	fill(&cpu->gpr[CPU_RCX], 1, data, size, at);
	fill(&cpu->rflags, 2, data, size, at);
	cpu->rflags = (cpu->rflags & (CPU_STATUS | CPU_DF)) | 0x202;
	cpu->rip = 0x5000;
	cpu->cs = 0x33;
}

static bool keeps_progress(const struct plan *p)
{
	return p->kind == EM_GATHER || p->kind == EM_SCATTER || (p->kind == EM_STRING && p->rep);
}

/* These really load FS, and sanitizers' instrumentation needs it. */
static bool loads_fs(const struct plan *p)
{
	if (p->kind == EM_POP)
		return p->bytes[p->length - 1] == 0xa1;
	return p->mnemonic == ZYDIS_MNEMONIC_LFS ||
	       (p->kind == EM_NATIVE && p->mnemonic == ZYDIS_MNEMONIC_MOV);
}

static void run(const struct plan *plan, struct cpu *cpu)
{
	struct em_footprint footprint;
	struct bus bus = {.ops = &ops};
	struct cpu before = *cpu;
	struct em_fault fault;

	if (regmap__em_footprint(plan, cpu, &footprint))
		abort();
	allowed = keeps_progress(plan) || plan->kind == EM_ENTER ? NULL : &footprint;
	if (regmap__em_execute(plan, cpu, &bus, BUDGET, &fault) == EM_OK || keeps_progress(plan))
		return;
	if (memcmp(cpu->gpr, before.gpr, sizeof(before.gpr)) || cpu->rip != before.rip ||
	    cpu->rflags != before.rflags)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t code[CODE] = {0};
	struct plan plan;
	struct cpu cpu;
	size_t at = 0;

	if (size < CODE + 1)
		return 0;
	memcpy(code, data, EM_MAX_LENGTH);
	pins = data[CODE] & 1;
	at = CODE + 1;
	make_cpu(&cpu, data, size, &at);
	if (regmap__em_plan(&plan, code, EM_MAX_LENGTH, EM_TIER_BOTH) == EM_OK && !loads_fs(&plan))
		run(&plan, &cpu);
	return 0;
}
