/* SPDX-License-Identifier: MIT */
/*
 * A program that knows nothing of libregmap: plain pointers to where a device has its registers. What it
 * does is its first argument; tests/run/check says what must come of it.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FLASH ((volatile uint32_t *)0x08000000)
#define SRAM ((volatile uint32_t *)0x20000000)
#define RCC_CR (*(volatile uint32_t *)0x40021000)
#define RCC_CFGR (*(volatile uint32_t *)0x40021004)
#define RCC_UNKNOWN (*(volatile uint32_t *)0x40021100)
#define NOTHING (*(volatile uint32_t *)0x40021400)
#define FLASH_ACR (*(volatile uint32_t *)0x40022000)
#define SYSTICK_CTRL (*(volatile uint32_t *)0xE000E010)

__attribute__((noinline)) static int clock_init(void)
{
	RCC_CR |= 1u << 16;
	while (!(RCC_CR & 1u << 17))
		;
	RCC_CFGR = 1;
	while ((RCC_CFGR >> 2 & 3) != 1)
		;
	SYSTICK_CTRL = 1;
	return SYSTICK_CTRL == 1 ? 0 : 1;
}

static int use_all(void)
{
	int wrong = clock_init();

	SRAM[3] = 0x12345678;
	RCC_UNKNOWN = 5;
	wrong |= SRAM[3] != 0x12345678 || RCC_UNKNOWN != 5;
	puts(wrong ? "wrong" : "fine");
	return wrong;
}

static int show_images(void)
{
	printf("%08x %08x %08x\n", FLASH[0], FLASH[1], SRAM[0x100]);
	return 0;
}

__attribute__((noinline)) static int read_nothing(void)
{
	return (int)NOTHING;
}

static int write_refused(void)
{
	FLASH_ACR = 2;
	return 0;
}

static int write_flash(void)
{
	FLASH[1] = 2;
	return 0;
}

static sigjmp_buf back;

static void jump_back(int signo)
{
	siglongjmp(back, signo);
}

/* Its own handler gets what nobody answers. */
static int survive(void)
{
	volatile int survived = 0;

	signal(SIGSEGV, jump_back);
	for (volatile int i = 0; i < 3; i++)
		if (sigsetjmp(back, 1))
			survived++;
		else
			read_nothing();
	printf("survived %d\n", survived);
	return survived != 3;
}

static int in_child(void)
{
	int status;
	pid_t child = fork();

	if (!child) {
		RCC_CFGR = 2;
		SRAM[0] = 99;
		_exit(RCC_CFGR == 10 ? 3 : 4);
	}
	waitpid(child, &status, 0);
	printf("child %d, sram %u\n", WEXITSTATUS(status), SRAM[0]);
	return 0;
}

static void *count(void *arg)
{
	for (unsigned i = 0; i < 100; i++)
		RCC_UNKNOWN = i;
	return arg;
}

static int in_threads(void)
{
	pthread_t thread[4];

	for (unsigned i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, count, NULL);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	return 0;
}

static volatile int caught;

static void catch (int signo)
{
	caught = signo;
}

/* Until a signal comes. */
static int loop(void)
{
	RCC_UNKNOWN++;
	puts("looping");
	fflush(stdout);
	while (!caught)
		RCC_UNKNOWN++;
	printf("caught %d\n", caught);
	return 5;
}

static int loop_with_handler(void)
{
	signal(SIGTERM, catch);
	return loop();
}

static int heap(void)
{
	char *block = malloc(100000);
	volatile char *behind = block;

	printf("heap %s\n", (uintptr_t)block >> 16 == 0x2000 ? "in a window" : "fine");
	behind[100000 + (getenv("OVERFLOW") ? 1 : -1)] = 1;
	free(block);
	return use_all();
}

static int terminal(void)
{
	printf("%d %d %d\n", isatty(0), isatty(1), getpid() == tcgetpgrp(0));
	return use_all();
}

static int give_up(void)
{
	use_all();
	abort();
}

static int leave(void)
{
	use_all();
	_exit(9);
}

static int exec_again(char *self)
{
	RCC_CFGR = 2;
	execl(self, self, "all", (char *)NULL);
	return 99;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(void);
	} works[] = {
		{"all", use_all},
		{"images", show_images},
		{"nothing", read_nothing},
		{"refused", write_refused},
		{"flash", write_flash},
		{"survive", survive},
		{"child", in_child},
		{"threads", in_threads},
		{"loop", loop},
		{"handler", loop_with_handler},
		{"heap", heap},
		{"terminal", terminal},
		{"abort", give_up},
		{"leave", leave},
	};

	if (argc < 2)
		return 98;
	if (!strcmp(argv[1], "exec"))
		return exec_again(argv[0]);
	if (!strcmp(argv[1], "exit"))
		return atoi(argv[2]);
	for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++)
		if (!strcmp(argv[1], works[i].name))
			return works[i].run();
	return 97;
}
