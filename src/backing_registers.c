/* SPDX-License-Identifier: MIT */
/* The register file of the thread that accesses it: page 0. */
#include <errno.h>
#include <signal.h>

#include "access.h"
#include "bus.h"
#include "../arch/x86_64/regfile.h"
#include "sigsafe.h"

static int registers_create(struct regmap_window *w, const struct regmap_config *config)
{
	(void)w, (void)config;
	return regmap__xstate.xcr0 ? 0 : -ENOSYS;
}

static bool registers_claims(uint64_t offset, uint64_t *length)
{
	*length = regmap__regfile_extent(offset);
	if (*length)
		return true;
	*length = regmap__regfile_gap(offset);
	return false;
}

static int registers_read(const struct access *at, struct window_bus *bus, void *to)
{
	regmap__regfile_read(bus->bus.cpu, bus->bus.next, at->address, to, at->length);
	return 0;
}

/* What WRFSBASE and WRGSBASE do. */
static const struct refusal protection_fault = {-EINVAL, SIGSEGV, SI_KERNEL,
                                                "a segment base must be a canonical address"};

static int registers_write(const struct access *at, struct window_bus *bus, const void *from)
{
	if (!regmap__regfile_accepts(bus->bus.cpu, at->address, from, at->length))
		return protection_fault.error;
	regmap__window_bus_keep(bus, at->address, from, at->length);
	return 0;
}

const struct backing_ops regmap__backing_registers = {
	.name = "registers",
	.needs_cpu = true,
	.create = registers_create,
	.claims = registers_claims,
	.read = registers_read,
	.write = registers_write,
	.failure = &protection_fault,
};
