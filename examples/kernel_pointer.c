/* SPDX-License-Identifier: MIT */
/* Pointers that no process can have: the kernel's half, and the addresses between the halves. */
#include <inttypes.h>
#include <regmap/regmap.h>
#include <stdio.h>
#include <string.h>

struct task { /* as somebody may have found it in a dump */
	struct task *next;
	char name[16];
	uint32_t pid;
};

/* Whole pages, as memory comes: strlen() and its kin read beyond a string, up to the page's end. */
static union {
	struct task task[2];
	char bytes[4096];
} image, note;

static int lay(uint64_t guest, void *host)
{
	struct regmap_config c = {.size = sizeof(c), .guest = guest, .host = host};

	c.length = sizeof(image), c.access = REGMAP_READ | REGMAP_WRITE, c.backing = REGMAP_HOST;
	return regmap_map(&c, NULL);
}

int main(void)
{
	const uint64_t kernel = 0xffff888000001000, hole = 0x1234567890abc000;
	struct task *first = (struct task *)kernel;
	char *text = (char *)hole;

	if (lay(kernel, &image) || lay(hole, &note))
		return 1;

	/* The dump's own pointers are C pointers. */
	image.task[0] = (struct task){first + 1, "swapper/0", 0};
	image.task[1] = (struct task){NULL, "init", 1};
	first->next->pid = 42;
	for (struct task *t = first; t; t = t->next)
		printf("%p: %" PRIu32 " %s\n", (void *)t, t->pid, t->name);

	/* Not canonical: a general protection fault, which tells nobody the address. */
	strcpy(text, "nobody lives here");
	memcpy(text + 7, "works", 5);
	printf("%p: %zu characters: %s\n", (void *)text, strlen(text), text);
	printf("behind it: %s\n", note.bytes);
	return 0;
}
