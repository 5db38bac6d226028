/* SPDX-License-Identifier: MIT */
/* The kernel reads and writes windows, too: a driver's buffers go straight to read(), write(), stat(). */
#include <fcntl.h>
#include <regmap/regmap.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char fifo[64]; /* of a serial port, byte by byte */
static unsigned reads, writes;

static int port_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	memcpy(value, fifo + offset, width);
	return reads++, 0;
}

static int port_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx;
	memcpy(fifo + offset, &value, width);
	return writes++, 0;
}

static const struct regmap_device_ops port_ops = {port_read, port_write};

int main(void)
{
	struct regmap_config c = {.size = sizeof(c), .guest = 0x40013800, .length = sizeof(fifo)};
	char *port = (char *)0x40013800;
	struct stat *about = (struct stat *)0xffff888000001000;
	static struct stat host;
	int ends[2];
	ssize_t n;

	c.access = REGMAP_READ | REGMAP_WRITE, c.backing = REGMAP_DEVICE, c.ops = &port_ops;
	if (regmap_map(&c, NULL) || pipe(ends))
		return 1;
	c.guest = (uintptr_t)about, c.length = sizeof(host);
	c.backing = REGMAP_HOST, c.host = &host;
	if (regmap_map(&c, NULL))
		return 1;

	strcpy(fifo, "from the port\n");
	printf("before: %zd\n", write(ends[1], port, 14));
	if (regmap_syscalls(1))
		return 77; /* this kernel has no syscall user dispatch */
	n = write(ends[1], port, 14);
	printf("then: %zd, in %u reads\n", n, reads);
	n = read(ends[0], port + 32, 32);
	printf("back: %zd, in %u writes\n", n, writes);
	printf("the port has: %s", fifo + 32);
	n = fstat(ends[0], about);
	printf("a pipe: %zd %d\n", n, S_ISFIFO(about->st_mode));
	fflush(stdout);
	return regmap_syscalls(0);
}
