/* SPDX-License-Identifier: MIT */
/* How much memory a device has taken: all of it on demand, and none again after a reset. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../describe/layout.h"
#include "memory.h"
#include "registers_inside.h"

enum { PAGE = 4096, LOOK_PAGES = 4096 };

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* A stretch of a region's own memory: what lies in regions inside of it is theirs. */
typedef int run_fn(void *arg, const struct part *part, uint8_t *host, uint64_t length);

/* @lay: untouched blocks, too. Ends at the first that doesn't go well. */
static int each_run(struct part *part, bool lay, run_fn *act, void *arg)
{
	const struct memory *m = part->device->memory;
	uint64_t address = part->region->address, last = part_last(part), end, run;
	struct part *at;
	uint8_t *host;
	int err = 0;

	if (!part_has_memory(part))
		return 0;
	for (;;) {
		at = regmap__part_at(m, address, &end);
		end = end < last ? end : last;
		if (at == part) {
			err = lay ? regmap__memory_host(m, address, &host, &run, NULL) :
			            regmap__memory_look(m, address, &host, &run, NULL);
			end = !err && run - 1 < end - address ? address + (run - 1) : end;
			if (!err && host)
				err = act(arg, part, host, end - address + 1);
		}
		if (err || end == last)
			return err;
		address = end + 1;
	}
}

static uint64_t page_of(const uint8_t *host)
{
	return (uintptr_t)host & -(uint64_t)PAGE;
}

/* ---- what there is ---- */

/* What mincore() takes half a second for. */
#define LARGE (32ULL << 30)

/* Pages in memory, whoever touched them. */
static uint64_t count_pages(uint64_t first, uint64_t end)
{
	unsigned char present[LOOK_PAGES];
	uint64_t taken = 0;

	for (uint64_t n; first < end; first += n) {
		n = end - first < (uint64_t)LOOK_PAGES * PAGE ? end - first :
		                                                (uint64_t)LOOK_PAGES * PAGE;
		if (mincore((void *)first, n, present))
			continue;
		for (uint64_t i = 0; i < n / PAGE; i++)
			taken += (present[i] & 1) * (uint64_t)PAGE;
	}
	return taken;
}

/* As <linux/fs.h> has it since Linux 6.7. */
struct scanned {
	uint64_t start, end, categories;
};

struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t inverted, mask, anyof_mask, return_mask;
};

#define SCAN _IOWR('f', 16, struct scan)
enum { SCAN_PRESENT = 1 << 3, SCAN_SWAPPED = 1 << 4, SCANNED = 256 };

typedef void scan_fn(void *arg, uint64_t first, uint64_t end);

/* The pages that this process has seen in a stretch. False: the kernel can't tell. */
static bool scan(int fd, uint64_t first, uint64_t end, scan_fn *act, void *arg)
{
	struct scanned found[SCANNED];

	while (first < end) {
		struct scan s = {
			.size = sizeof(s),
			.start = first,
			.end = end,
			.vec = (uintptr_t)found,
			.vec_len = SCANNED,
			.anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
			.return_mask = SCAN_PRESENT,
		};
		int n = ioctl(fd, SCAN, &s);

		if (n < 0 || s.walk_end <= first)
			return false;
		for (int i = 0; i < n; i++)
			act(arg, found[i].start, found[i].end);
		first = s.walk_end;
	}
	return true;
}

static void add_pages(void *arg, uint64_t first, uint64_t end)
{
	*(uint64_t *)arg += end - first;
}

/* Memory that is there already: looking at it takes none. */
static void look_at_pages(void *arg, uint64_t first, uint64_t end)
{
	uint64_t to_host = *(const uint64_t *)arg;

	for (; first < end; first += PAGE)
		(void)*(volatile uint8_t *)(first + to_host);
}

static uint64_t round_up(uint64_t at)
{
	return (at + (PAGE - 1)) & -(uint64_t)PAGE;
}

/*
 * Of very large memory, what this process has seen of it: where it is mapped directly, and where calls
 * and traps go. What was seen there alone is looked at here, and then counted once. False: ask mincore().
 */
static bool scan_part(int fd, const struct part *part, uint64_t *taken)
{
	const struct memory *m = part->device->memory;
	const struct regmap_region *r = part->region;
	uint64_t host = (uintptr_t)part->host, end = round_up(host + r->length);

	for (size_t i = 0; i < m->mapped_count; i++) {
		uint64_t at = r->address + m->mapped[i].offset, to_host = host - at;

		if (m->mapped[i].part == part && !(to_host % PAGE) &&
		    !scan(fd, round_up(at), (at + r->length) & -(uint64_t)PAGE, look_at_pages,
		          &to_host))
			return false;
	}
	*taken = 0;
	return scan(fd, host & -(uint64_t)PAGE, end, add_pages, taken);
}

static bool taken_by_large(const struct part *part, uint64_t *taken)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool known = fd >= 0 && scan_part(fd, part, taken);

	if (fd >= 0)
		close(fd);
	return known;
}

static uint64_t taken_by_blocks(struct part *part)
{
	uint64_t taken = 0;

	for (struct block *b = atomic_load(&part->touched); b; b = b->before)
		taken += atomic_load(&b->length);
	return taken;
}

/* In whole pages, but never more than the region has. */
static uint64_t taken_by(struct part *part)
{
	uint64_t host = (uintptr_t)part->host, length = part->region->length, taken;

	if (part->blocks)
		return taken_by_blocks(part);
	if (!host)
		return 0;
	if (length < LARGE || !taken_by_large(part, &taken))
		taken = count_pages(host & -(uint64_t)PAGE, round_up(host + length));
	return taken < length ? taken : length;
}

static int add_length(void *arg, const struct part *part, uint8_t *host, uint64_t length)
{
	(void)part;
	(void)host;
	*(uint64_t *)arg += length;
	return 0;
}

static void add_counts(const struct regs *regs, struct regmap_device_stats *s)
{
	s->refused = atomic_load(&regs->refused);
	for (size_t i = 0; i < regs->area_count; i++) {
		s->reads += atomic_load(&regs->areas[i].counts.reads);
		s->writes += atomic_load(&regs->areas[i].counts.writes);
	}
}

int regmap_device_stats(struct regmap_device *device, struct regmap_device_stats *stats)
{
	struct memory *m = device->memory;
	struct regmap_device_stats s = {.size = sizeof(s)};
	size_t size;

	if (!stats || stats->size < sizeof(size_t))
		return -EINVAL;
	size = stats->size < sizeof(s) ? stats->size : sizeof(s);
	s.size = stats->size;
	add_counts(device->regs, &s);
	s.regions = m->count;
	for (size_t i = 0; i < m->count; i++) {
		struct part *part = &m->parts[i];

		if (part_has_memory(part)) {
			s.length += part->region->length;
			s.allocated += taken_by(part);
		}
	}
	s.is_allocated = m->allocated;
	memcpy(stats, &s, size);
	return 0;
}

static void put_size(FILE *to, uint64_t bytes)
{
	if (bytes % 1024)
		fprintf(to, "%llu B", (unsigned long long)bytes);
	else
		fprintf(to, "%llu KB", (unsigned long long)bytes / 1024);
}

static struct part *part_of(const struct memory *m, const struct regmap_region *region)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->parts[i].region == region)
			return &m->parts[i];
	return NULL;
}

static bool is_around(const struct part *outer, const struct part *part)
{
	while (part && part != outer)
		part = part->parent;
	return part;
}

static void put_more(void *ctx, const struct regmap_region *region, FILE *to)
{
	const struct memory *m = ctx;
	struct part *part = part_of(m, region);

	if (!part)
		return;
	if (part_has_memory(part)) {
		fputs("  ", to);
		put_size(to, taken_by(part));
		fputs(" taken", to);
	}
	for (size_t i = 0; i < m->mapped_count; i++)
		if (is_around(m->mapped[i].part, part))
			fprintf(to, "  at 0x%llx",
			        (unsigned long long)(region->address + m->mapped[i].offset));
}

int regmap_device_print_map(const struct regmap_device *device, FILE *to)
{
	if (!device || !to)
		return -EINVAL;
	return regmap__layout_print(device->layout, to, put_more, device->memory);
}

/* ---- all of it ---- */

/* What the system has, and can give without ending somebody for it. */
static void find_limits(uint64_t *has, uint64_t *free_bytes)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long kb;
	char line[128];

	*has = *free_bytes = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemAvailable: %lu", &kb) == 1 ||
		    sscanf(line, "SwapFree: %lu", &kb) == 1)
			*free_bytes += kb * 1024ULL;
		if (sscanf(line, "MemTotal: %lu", &kb) == 1 ||
		    sscanf(line, "SwapTotal: %lu", &kb) == 1)
			*has += kb * 1024ULL;
	}
	if (f)
		fclose(f);
	if (!*free_bytes)
		*has = *free_bytes = UINT64_MAX / 4; /* it doesn't tell */
}

/* Before Linux 5.14: written to, as it is. */
static void touch(uint8_t *first, uint8_t *end)
{
	for (; first < end; first += PAGE)
		__atomic_fetch_or(first, 0, __ATOMIC_RELAXED);
}

static int populate_run(void *arg, const struct part *part, uint8_t *host, uint64_t length)
{
	uint8_t *first = (uint8_t *)page_of(host), *end = host + length;
	uint64_t bytes = (uint64_t)(end - first);

	(void)arg;
	(void)part;
	if (!madvise(first, bytes, MADV_POPULATE_WRITE))
		return 0;
	if (errno != EINVAL)
		return -ENOMEM;
	touch(first, end);
	return 0;
}

/* Blocks have all of their memory from the start. */
static int allocate(struct memory *m, struct regmap_error *error)
{
	for (size_t i = 0; i < m->count; i++) {
		struct part *part = &m->parts[i];
		int err = each_run(part, true, part->host ? populate_run : add_length,
		                   &(uint64_t){0});

		if (err)
			return regmap__layout_wrong(error, -ENOMEM, &part->region->source,
			                            "no memory for region \"%s\"",
			                            part->region->name);
	}
	return 0;
}

static uint64_t all_lengths(const struct memory *m)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < m->count; i++)
		if (part_has_memory(&m->parts[i]))
			sum += m->parts[i].region->length;
	return sum;
}

static uint64_t all_taken(const struct memory *m)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < m->count; i++)
		sum += taken_by(&m->parts[i]);
	return sum;
}

/* The kernel promises memory that it doesn't have, and kills whoever takes it at its word. */
static bool is_available(const struct memory *m, uint64_t *needed, uint64_t *most)
{
	uint64_t has;

	find_limits(&has, most);
	*needed = all_lengths(m);
	if (*needed > *most && *needed <= *most + has)
		*needed -= all_taken(m);
	return *needed <= *most;
}

/* What only the default says is no reason to fail. */
static int allocate_all(const struct regmap_device *d, struct regmap_error *error)
{
	uint64_t needed, most;
	int err;

	if (!d->layout->allocate_at_once)
		return 0;
	if (is_available(d->memory, &needed, &most)) {
		err = allocate(d->memory, error);
		d->memory->populated = !err;
		return err;
	}
	if (!layout_of(d->layout)->insists)
		return 0;
	return regmap__layout_wrong(error, -ENOMEM, NULL,
	                            "the regions take %llu MB, and %llu MB are free: leave memory "
	                            "to be taken as it is touched (allocate_at_once = false)",
	                            (unsigned long long)(needed >> 20),
	                            (unsigned long long)(most >> 20));
}

int regmap_device_allocate(struct regmap_device *device, struct regmap_error *error)
{
	struct memory *m = device->memory;
	int saved = errno, err = 0;

	if (!m->allocated)
		err = allocate_all(device, error);
	if (!err)
		m->allocated = true;
	errno = saved;
	return err;
}

/* ---- as at first ---- */

static int reset_memory(struct regmap_device *d)
{
	struct memory *m = d->memory;

	for (size_t i = 0; i < m->count; i++)
		regmap__part_clear(&m->parts[i], m->populated);
	return regmap__content_load(d, NULL);
}

int regmap_device_reset(struct regmap_device *device, bool memory)
{
	int saved = errno, err = memory ? reset_memory(device) : 0;

	regmap__regs_reset(device->regs);
	errno = saved;
	return err;
}
