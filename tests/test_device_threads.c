/* SPDX-License-Identifier: MIT */
/* Several threads at one device, and devices that come and go meanwhile. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "chip.h"

enum { KB = 1024, MB = 1024 * KB, THREADS = 4 };

#define FLASH 0x08000000
#define SRAM 0x20000000
#define FAR 0x400000000000ULL

static void run(void *(*body)(void *), void *args, size_t size)
{
	pthread_t thread[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, body, (char *)args + i * size),
		                 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

/* ---- first touches ---- */

struct reader {
	uint64_t at;
	unsigned wrong;
};

/* The same blocks in the same order, so that several lay one at once. */
static void *read_all(void *arg)
{
	struct reader *r = arg;

	for (uint64_t i = 0; i < 64 * MB; i += 32 * KB) {
		r->wrong += *(volatile uint32_t *)(r->at + i) != 0xffffffff;
		r->wrong += *(volatile uint32_t *)(r->at + i + 32 * KB - 4) != 0xffffffff;
	}
	return NULL;
}

static void test_threads_find_flash_erased(void **state)
{
	struct regmap_device *d = T_CHIP(T_REGION(FLASH, "Flash", FLASH, 64 * MB, T_R));
	struct reader r[THREADS];

	(void)state;
	assert_int_equal(regmap_device_map(d, FAR, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		r[i] = (struct reader){i % 2 ? FAR + FLASH : regmap_device_base(d) + FLASH, 0};
	run(read_all, r, sizeof(r[0]));
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(r[i].wrong, 0);
	regmap_device_free(d);
}

struct writer {
	struct regmap_device *d;
	unsigned number, wrong;
};

/* Words of the threads' own in blocks that they share. */
static void *write_all(void *arg)
{
	struct writer *w = arg;
	uint32_t got;

	for (uint64_t i = 0; i < 16 * MB; i += 64 * KB) {
		uint64_t at = FLASH + i + 4 * w->number;

		*(volatile uint32_t *)(FAR + at) = w->number;
		w->wrong += regmap_device_read(w->d, at, &got, 4) || got != w->number;
	}
	return NULL;
}

static void write_together(struct regmap_device *d)
{
	struct writer w[THREADS];

	assert_int_equal(regmap_device_map(d, FAR, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		w[i] = (struct writer){d, i, 0};
	run(write_all, w, sizeof(w[0]));
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(w[i].wrong, 0);
	for (uint64_t i = 0; i < 16 * MB; i += 64 * KB)
		for (unsigned n = 0; n < THREADS; n++)
			assert_int_equal(t_get(d, FLASH + i + 4 * n), n);
	regmap_device_free(d);
}

static void test_threads_lose_no_write_to_flash(void **state)
{
	(void)state;
	write_together(T_CHIP(T_REGION(FLASH, "Flash", FLASH, 16 * MB, T_R,
	                               .flash_policy = REGMAP_FLASH_PROGRAM)));
}

static void test_threads_lose_no_write_to_storage(void **state)
{
	(void)state;
	write_together(T_CHIP(T_REGION(STORAGE, "disk", FLASH, 16 * MB, T_RW)));
}

/* ---- devices come and go ---- */

static void *make_and_free(void *arg)
{
	unsigned *wrong = arg;

	for (unsigned i = 0; i < 50; i++) {
		struct regmap_device *d = T_CHIP(T_RAM("SRAM", SRAM, 64 * KB),
		                                 T_REGION(FLASH, "Flash", FLASH, 8 * MB, T_R));
		uint64_t base = regmap_device_base(d);

		*wrong += *(volatile uint32_t *)(base + FLASH + 5 * MB) != 0xffffffff;
		*(volatile uint32_t *)(base + SRAM) = i;
		*wrong += t_get(d, SRAM) != i;
		regmap_device_free(d);
	}
	return NULL;
}

static void test_threads_make_devices_of_their_own(void **state)
{
	unsigned wrong[THREADS] = {0};

	(void)state;
	run(make_and_free, wrong, sizeof(wrong[0]));
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(wrong[i], 0);
}

/* ---- freeing waits ---- */

static atomic_bool go, stop;
static _Atomic unsigned accesses;

static void *access_until_it_goes(void *arg)
{
	struct regmap_device *d = arg;
	uint32_t value;

	atomic_store(&go, true);
	while (!atomic_load(&stop))
		if (!regmap_read(regmap_device_base(d) + FLASH, &value, sizeof(value)))
			atomic_fetch_add(&accesses, 1);
	return NULL;
}

/* Addresses are compared, not followed: none of the device's memory is touched once it is free. */
static void test_threads_are_waited_for(void **state)
{
	pthread_t thread;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		struct regmap_device *d = T_CHIP(T_REGION(MMIO, "APB", FLASH, 4 * KB, T_RW),
		                                 T_REGION(FLASH, "Flash", FLASH + MB, 8 * MB, T_R));
		uint64_t base = regmap_device_base(d);
		unsigned before = atomic_load(&accesses);
		uint32_t value;

		atomic_store(&go, false);
		atomic_store(&stop, false);
		assert_int_equal(pthread_create(&thread, NULL, access_until_it_goes, d), 0);
		while (!atomic_load(&go) || atomic_load(&accesses) < before + 100)
			;
		assert_int_equal(regmap_device_unmap(d), 0);
		atomic_store(&stop, true);
		pthread_join(thread, NULL);
		regmap_device_free(d);
		assert_int_equal(regmap_read(base + FLASH, &value, sizeof(value)), -EFAULT);
	}
}

/* ---- signal handlers ---- */

static uint64_t handler_at;
static volatile unsigned handler_wrong, handled;

static void on_signal(int signo)
{
	(void)signo;
	for (unsigned i = 0; i < 4 && handled < 100; i++, handler_at += 256 * KB)
		handler_wrong += *(volatile uint32_t *)handler_at != 0xffffffff;
	handled++;
}

/* Blocks are laid in a handler, in the middle of whatever its thread was doing. */
static void test_threads_lay_blocks_in_signal_handlers(void **state)
{
	struct regmap_device *d = T_CHIP(T_REGION(FLASH, "Flash", FLASH, 512 * MB, T_R));
	struct sigaction act = {.sa_handler = on_signal}, old;
	timer_t timer;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec often = {{0, 1000000}, {0, 1000000}};
	unsigned wrong = 0;

	(void)state;
	assert_int_equal(regmap_device_map(d, FAR, NULL), 0);
	handler_at = FAR + FLASH + 256 * MB;
	assert_int_equal(sigaction(SIGUSR1, &act, &old), 0);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
	for (uint64_t i = 0; handled < 100; i += 256 * KB)
		wrong += *(volatile uint32_t *)(FAR + FLASH + i % (256 * MB)) != 0xffffffff;
	timer_delete(timer);
	sigaction(SIGUSR1, &old, NULL);
	assert_int_equal(wrong, 0);
	assert_int_equal(handler_wrong, 0);
	regmap_device_free(d);
}

int main(void)
{
#define T(name) cmocka_unit_test(test_threads_##name)
	static const struct CMUnitTest tests[] = {
		T(find_flash_erased),        T(lose_no_write_to_flash),
		T(lose_no_write_to_storage), T(make_devices_of_their_own),
		T(are_waited_for),           T(lay_blocks_in_signal_handlers),
	};

	return cmocka_run_group_tests_name("device_threads", tests, NULL, NULL);
}
