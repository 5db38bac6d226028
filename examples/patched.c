/* SPDX-License-Identifier: MIT */
/* A driver that polls a status register: what it costs, and what once its sites are patched. */
#include <regmap/regmap.h>
#include <stdio.h>
#include <time.h>

#define STATUS (*(volatile uint32_t *)0x40011000)
#define READY 0x80u

enum { POLLS = 20000 };

static unsigned polls;

/* Ready once in a hundred. */
static int status_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = ++polls % 100 ? 0 : READY;
	return 0;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Nanoseconds for a poll. */
__attribute__((noinline)) static double poll_often(unsigned *ready)
{
	double start = now();

	*ready = 0;
	for (unsigned n = 0; n < POLLS; n++)
		*ready += (STATUS & READY) != 0;
	return (now() - start) / POLLS;
}

int main(void)
{
	static const struct regmap_device_ops ops = {.read = status_read};
	struct regmap_config c = {
		.size = sizeof(c),
		.guest = 0x40011000,
		.length = 4,
		.access = REGMAP_READ,
		.backing = REGMAP_DEVICE,
		.name = "status",
		.ops = &ops,
	};
	struct regmap_patch_stats stats = {.size = sizeof(stats)};
	unsigned ready[2];
	double before, after;

	if (regmap_map(&c, NULL))
		return 1;
	before = poll_often(&ready[0]);
	if (regmap_patch(4)) {
		fprintf(stderr, "this system doesn't let code be patched\n");
		return 77;
	}
	after = poll_often(&ready[1]);
	if (regmap_patch_stats(&stats))
		return 1;
	fprintf(stderr, "%.0f ns for a poll by faults, %.0f ns patched: %.0f times as fast\n",
	        before, after, before / after);
	printf("ready %u times, then %u times; %s\n", ready[0], ready[1],
	       stats.patched ? "patched" : "not patched");
	return regmap_patch(0) != 0;
}
