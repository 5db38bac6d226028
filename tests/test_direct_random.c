/* SPDX-License-Identifier: MIT */
/*
 * Random windows of all kinds, nested, in each other's pages, aliases of each other, come and go.
 * After each change the kernel's mappings are those that a model computes byte by byte from the list
 * of windows, and loads and stores meet what it says, or fault where it says.
 *
 * T_SEED=n and T_STEPS=n in the environment repeat a run, or make it longer.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <regmap/regmap.h>

#include "arena.h"
#include "child.h"

enum {
	PAGE = 4096,
	RW = REGMAP_READ | REGMAP_WRITE,
	PAGES = 24,
	SPACES = 3,
	WINDOWS = 40,
	MOST = 10 * PAGE, /* bytes of a window */
	CHAIN = 8,
	PROBES = 24,
};

static const uint64_t space_at[SPACES] = {0x551000000000, 0x552000000000, 0xffff900000000000};

static struct model {
	struct regmap_window *window; /* NULL: not laid */
	struct regmap_config config;
	bool moved_in; /* private, and at its guest address */
	uint8_t *
		bytes; /* what it holds, the model's own copy; of a host window, the memory itself */
	uint8_t *memory; /* of a device that is read as memory, the library's */
} model[WINDOWS];

static uint64_t seed;
static unsigned step;

static uint32_t below(uint32_t n)
{
	return t_random(&seed) % n;
}

static void die(const char *what, uint64_t at)
{
	fprintf(stderr, "step %u: %s at %#llx\n", step, what, (unsigned long long)at);
	for (unsigned i = 0; i < WINDOWS; i++)
		if (model[i].window)
			fprintf(stderr,
			        "  %#llx+%#llx access %u backing %u flags %u target %#llx\n",
			        (unsigned long long)model[i].config.guest,
			        (unsigned long long)model[i].config.length, model[i].config.access,
			        model[i].config.backing, model[i].config.flags,
			        (unsigned long long)model[i].config.target);
	abort();
}

/* --- the model --- */

static bool holds(const struct model *m, uint64_t at)
{
	return m->window && at - m->config.guest < m->config.length;
}

static struct model *owner_of(uint64_t at)
{
	struct model *best = NULL;

	for (struct model *m = model; m < model + WINDOWS; m++)
		if (holds(m, at) && (!best || m->config.length < best->config.length))
			best = m;
	return best;
}

/* What an access of these rights ends at. 0 or the error. */
static int resolve(uint64_t at, unsigned access, struct model **m, uint64_t *offset)
{
	for (unsigned depth = 0;; depth++) {
		*m = owner_of(at);
		if (!*m)
			return -EFAULT;
		if (access & ~(*m)->config.access)
			return -EACCES;
		*offset = at - (*m)->config.guest;
		if ((*m)->config.backing != REGMAP_ALIAS)
			return 0;
		if (depth == CHAIN)
			return -ELOOP;
		at = (*m)->config.target + *offset;
	}
}

/* Does a window begin or end within the page? */
static bool is_mixed(uint64_t page)
{
	for (struct model *m = model; m < model + WINDOWS; m++) {
		uint64_t last = m->config.guest + m->config.length - 1;

		if (m->window && ((m->config.guest > page && m->config.guest - page < PAGE) ||
		                  (last >= page && last - page < PAGE - 1)))
			return true;
	}
	return false;
}

static bool is_touched(uint64_t page)
{
	for (unsigned i = 0; i < PAGE; i += PAGE - 1)
		if (owner_of(page + i))
			return true;
	return is_mixed(page);
}

static const char *mode_of_memory(const struct model *m, unsigned access, unsigned depth)
{
	if (m->config.backing == REGMAP_DEVICE)
		return m->config.flags & REGMAP_READ_DIRECT ? "r--s" : "---p";
	if (m->config.backing != REGMAP_RAM)
		return "---p";
	if (m->config.flags & REGMAP_PRIVATE)
		return depth == 0 && m->moved_in ? "rw-p" : "---p";
	return access & REGMAP_WRITE ? "rw-s" : "r--s";
}

/* What the kernel should have there. */
static const char *mode_of(uint64_t page)
{
	unsigned access = RW;

	if (!is_touched(page))
		return "";
	for (unsigned depth = 0;; depth++) {
		const struct model *m = owner_of(page);

		if (!m || is_mixed(page) || m->config.flags & REGMAP_TRAP ||
		    !(m->config.access & REGMAP_READ))
			return "---p";
		access &= m->config.access;
		if (m->config.backing != REGMAP_ALIAS)
			return mode_of_memory(m, access, depth);
		if ((m->config.target - m->config.guest) % PAGE || depth == CHAIN)
			return "---p";
		page = m->config.target + (page - m->config.guest);
	}
}

/* --- the library's windows --- */

static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	struct model *m = ctx;

	if (m->config.flags & REGMAP_READ_DIRECT)
		die("a read reached the model", m->config.guest + offset);
	*value = 0;
	memcpy(value, m->bytes + offset, width);
	return 0;
}

/* What is stored comes back in another form, so that it is known to have come this way. */
static int device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	struct model *m = ctx;

	value ^= 0x5555555555555555;
	memcpy((m->memory ? m->memory : m->bytes) + offset, &value, width);
	return 0;
}

static const struct regmap_device_ops ops = {device_read, device_write};

static uint64_t random_address(void)
{
	return space_at[below(SPACES)] + below(PAGES * PAGE);
}

static struct regmap_config random_config(struct model *m)
{
	struct regmap_config c = {
		.size = sizeof(c),
		.guest = random_address(),
		.length = 1 + below(MOST),
		.access = below(4) ? RW : 1 + below(3),
		.backing = below(3) ? (below(2) ? REGMAP_RAM : REGMAP_ALIAS) : below(4),
		.flags = below(8) ? 0 : REGMAP_TRAP,
		.host = m->bytes,
		.ops = &ops,
		.ctx = m,
		.target = random_address(),
	};

	if (below(4)) {
		c.guest &= -(uint64_t)PAGE;
		c.length = (c.length + PAGE - 1) & -(uint64_t)PAGE;
	} else if (below(2)) {
		c.length = 1 + c.length % 512;
	}
	if (below(5))
		c.target = (c.target & -(uint64_t)PAGE) + c.guest % PAGE;
	if (c.backing == REGMAP_RAM && !below(6))
		c.flags |= REGMAP_PRIVATE;
	if (c.backing == REGMAP_DEVICE && below(2) && c.access & REGMAP_READ)
		c.flags |= REGMAP_READ_DIRECT;
	return c;
}

static struct model *parent_of(const struct model *of)
{
	struct model *best = NULL;

	for (struct model *m = model; m < model + WINDOWS; m++)
		if (m != of && m->window && m->config.guest <= of->config.guest &&
		    of->config.guest - m->config.guest + of->config.length <= m->config.length &&
		    (!best || m->config.length < best->config.length))
			best = m;
	return best;
}

static bool has_inside(const struct model *of)
{
	for (struct model *m = model; m < model + WINDOWS; m++)
		if (m != of && holds(of, m->config.guest) && m->window &&
		    m->config.length <= of->config.length &&
		    m->config.guest - of->config.guest + m->config.length <= of->config.length)
			return true;
	return false;
}

static void note_laid(struct model *m)
{
	const struct regmap_config *c = &m->config;
	struct model *parent = parent_of(m);
	void *host;

	memset(m->bytes, 0,
	       c->backing == REGMAP_RAM || c->backing == REGMAP_DEVICE ? c->length : 0);
	if (parent)
		parent->moved_in = false;
	m->moved_in = c->flags == REGMAP_PRIVATE && c->access == RW && c->guest % PAGE == 0 &&
	              c->length % PAGE == 0 && c->guest < space_at[2] && !has_inside(m);
	m->memory = NULL;
	if (c->flags & REGMAP_READ_DIRECT) {
		if (regmap_translate(c->guest, &host) && owner_of(c->guest) == m)
			die("no memory", c->guest);
		m->memory = owner_of(c->guest) == m ? host : NULL;
	}
}

/* Its first byte must be its own for a while, so that the memory can be asked for. */
static void map_one(struct model *m)
{
	struct regmap_config c = random_config(m);
	struct regmap_window *w;
	int err;

	if (c.flags & REGMAP_READ_DIRECT) {
		struct model *first = owner_of(c.guest);

		if (first && first->config.guest == c.guest)
			return;
	}
	err = regmap_map(&c, &w);
	if (err && err != -EEXIST && err != -ELOOP)
		die(regmap_strerror(err), c.guest);
	if (err)
		return;
	m->config = c;
	m->window = w;
	note_laid(m);
}

static void unmap_one(struct model *m)
{
	if (regmap_unmap(m->window))
		die("can't be unmapped", m->config.guest);
	m->window = NULL;
	m->moved_in = false;
}

/* --- the two compared --- */

static void check_mappings(void)
{
	static char seen[2][PAGES + 10][8];
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long from, past;
	char line[512], mode[8];

	memset(seen, 0, sizeof(seen));
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %4s", &from, &past, mode) != 3)
			continue;
		for (unsigned s = 0; s < 2; s++)
			for (unsigned i = 0; i < PAGES + 10; i++)
				if (from <= space_at[s] + i * PAGE && past > space_at[s] + i * PAGE)
					strcpy(seen[s][i], mode);
	}
	if (!f)
		die("no /proc", 0);
	fclose(f);
	for (unsigned s = 0; s < 2; s++)
		for (unsigned i = 0; i < PAGES + 10; i++) {
			const char *expected = mode_of(space_at[s] + i * PAGE);

			if (strcmp(seen[s][i], expected)) {
				fprintf(stderr, "\"%s\", not \"%s\"\n", seen[s][i], expected);
				die("wrong mapping", space_at[s] + i * PAGE);
			}
		}
}

static sigjmp_buf after;
static volatile uint64_t fault_at;

static void on_fault(int signo, siginfo_t *info, void *uc)
{
	(void)uc;
	fault_at = (uintptr_t)info->si_addr;
	siglongjmp(after, signo);
}

static void catch_faults(void)
{
	struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

	sigaction(SIGSEGV, &act, NULL);
	sigaction(SIGBUS, &act, NULL);
}

static int load(uint64_t at, uint8_t *value)
{
	int signo = sigsetjmp(after, 1);

	if (!signo)
		*value = *(volatile uint8_t *)(uintptr_t)at;
	return signo;
}

static int store(uint64_t at, uint8_t value)
{
	int signo = sigsetjmp(after, 1);

	if (!signo)
		*(volatile uint8_t *)(uintptr_t)at = value;
	return signo;
}

/* A non-canonical address or one of the kernel's has none in the signal. */
static void check_fault(uint64_t at, int err, int signo)
{
	int expected = err == -ELOOP ? SIGBUS : err ? SIGSEGV : 0;

	if (signo != expected)
		die(signo ? "an unexpected fault" : "no fault", at);
	if (signo && fault_at != at && (at < space_at[2] || fault_at))
		die("a fault elsewhere", at);
}

static void check_load(uint64_t at)
{
	uint64_t offset = 0;
	uint8_t value = 0;
	struct model *m;
	int err = resolve(at, REGMAP_READ, &m, &offset);

	check_fault(at, err, load(at, &value));
	if (!err && value != m->bytes[offset])
		die("a wrong byte", at);
}

static void check_store(uint64_t at)
{
	uint8_t value = (uint8_t)t_random(&seed);
	uint64_t offset = 0;
	struct model *m;
	int err = resolve(at, REGMAP_WRITE, &m, &offset);

	if (!err && m->config.flags & REGMAP_READ_DIRECT && !m->memory)
		return;
	check_fault(at, err, store(at, value));
	if (err)
		return;
	if (m->config.backing == REGMAP_DEVICE)
		value ^= 0x55;
	if (m->config.backing == REGMAP_HOST && m->bytes[offset] != value)
		die("a lost store", at);
	m->bytes[offset] = value;
	check_load(at);
}

static void probe(void)
{
	for (unsigned i = 0; i < PROBES; i++) {
		uint64_t at = random_address();

		if (below(2))
			check_load(at);
		else
			check_store(at);
	}
}

static void change(void)
{
	struct model *m = &model[below(WINDOWS)];

	if (m->window)
		unmap_one(m);
	else
		map_one(m);
}

/* Its windows are its own now, and what it stores to memory that isn't private is the parent's as well. */
static int go_on_in_child(void *arg)
{
	(void)arg;
	check_mappings();
	for (unsigned i = 0; i < 10; i++) {
		change();
		check_mappings();
		for (unsigned j = 0; j < PROBES; j++)
			check_load(random_address());
	}
	return 0;
}

static void run(unsigned steps)
{
	static struct t_child child;

	for (step = 0; step < steps; step++) {
		change();
		check_mappings();
		probe();
		if (step % 256 != 255)
			continue;
		t_child_run(&child, go_on_in_child, NULL);
		if (t_fate(child.status)) {
			fprintf(stderr, "%s", child.text);
			die("the child failed", 0);
		}
	}
	for (struct model *m = model; m < model + WINDOWS; m++)
		if (m->window)
			unmap_one(m);
	check_mappings();
}

static void test_direct_random_windows(void **state)
{
	const char *wish = getenv("T_SEED"), *steps = getenv("T_STEPS");

	(void)state;
	catch_faults();
	for (unsigned i = 0; i < WINDOWS; i++)
		model[i].bytes = calloc(1, MOST + PAGE);
	for (uint64_t s = wish ? strtoull(wish, NULL, 0) : 1, end = wish ? s + 1 : 5; s < end;
	     s++) {
		seed = s;
		fprintf(stderr, "T_SEED=%llu\n", (unsigned long long)s);
		run(steps ? (unsigned)atoi(steps) : 1500);
	}
	for (unsigned i = 0; i < WINDOWS; i++)
		free(model[i].bytes);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {cmocka_unit_test(test_direct_random_windows)};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("direct_random", tests, NULL, NULL);
}
