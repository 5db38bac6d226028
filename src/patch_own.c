/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "patch_own.h"

#include <link.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

enum { VDSO = 8192 };

#define MIB (1ULL << 20)
#define HEAP_GROWTH (256 * MIB)
#define STACK_GROWTH (128 * MIB) /* what the kernel leaves at least */
#define STACK_MOST (4096 * MIB)

static struct range {
	uint64_t start, length;
} vdso, own, heap, stack;

struct search {
	bool first; /* the program itself: libregmap is linked into it, and can't be told apart */
};

static bool is_within(uint64_t at, const struct range *range)
{
	return at - range->start < range->length;
}

static int find_own(struct dl_phdr_info *object, size_t size, void *arg)
{
	struct search *search = arg;
	bool first = search->first;

	(void)size;
	search->first = false;
	for (unsigned i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &object->dlpi_phdr[i];
		struct range range = {object->dlpi_addr + h->p_vaddr, h->p_memsz};

		if (h->p_type != PT_LOAD || !is_within((uintptr_t)regmap__patch_own_init, &range))
			continue;
		if (!first)
			own = range;
		return 1;
	}
	return 0;
}

static void find_growth(void)
{
	uint64_t room = STACK_GROWTH, top = getauxval(AT_EXECFN);
	struct rlimit limit;

	if (!getrlimit(RLIMIT_STACK, &limit) && limit.rlim_cur > room)
		room = limit.rlim_cur < STACK_MOST ? limit.rlim_cur : STACK_MOST;
	stack = (struct range){top - room, room};
	heap = (struct range){(uintptr_t)sbrk(0), HEAP_GROWTH};
}

void regmap__patch_own_init(void)
{
	struct search search = {true};

	vdso = (struct range){getauxval(AT_SYSINFO_EHDR), VDSO};
	dl_iterate_phdr(find_own, &search);
	find_growth();
}

bool regmap__patch_is_foreign(uint64_t code)
{
	return is_within(code, &vdso) || is_within(code, &own);
}

static bool meets(const struct range *range, uint64_t at, uint64_t size)
{
	return at < range->start + range->length && range->start < at + size;
}

bool regmap__patch_is_in_the_way(uint64_t at, uint64_t size)
{
	return meets(&heap, at, size) || meets(&stack, at, size);
}
