/* SPDX-License-Identifier: MIT */
/* Patched sites and registers: with rules alone no vector register is kept, with a model all are. */
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
#include <stdbool.h>
#include <string.h>

#include "../src/table.h"
#include "../device/memory.h"
#include "chip.h"

enum { KB = 1024, VECTORS = 8 };

#define APB 0x40000000
#define FAR 0x400000000000ULL

/* A load from @at with vector registers in use; false: they were lost. */
extern const uint8_t t_vector_load_site[];
uint32_t t_vector_load(uint64_t at, const void *vectors, void *after);
__asm__(".text\n"
        "t_vector_load:\n"
        "	movdqu 0(%rsi), %xmm0\n	movdqu 16(%rsi), %xmm1\n"
        "	movdqu 32(%rsi), %xmm2\n	movdqu 48(%rsi), %xmm3\n"
        "	movdqu 64(%rsi), %xmm7\n	movdqu 80(%rsi), %xmm8\n"
        "	movdqu 96(%rsi), %xmm14\n	movdqu 112(%rsi), %xmm15\n"
        "t_vector_load_site:\n"
        "	mov 0x10(%rdi), %eax\n"
        "	nop\n	nop\n	nop\n	nop\n	nop\n"
        "	movdqu %xmm0, 0(%rdx)\n	movdqu %xmm1, 16(%rdx)\n"
        "	movdqu %xmm2, 32(%rdx)\n	movdqu %xmm3, 48(%rdx)\n"
        "	movdqu %xmm7, 64(%rdx)\n	movdqu %xmm8, 80(%rdx)\n"
        "	movdqu %xmm14, 96(%rdx)\n	movdqu %xmm15, 112(%rdx)\n"
        "	ret\n");

static void lose_vectors(void)
{
	__asm__ volatile("pcmpeqd %%xmm0, %%xmm0\n\tpcmpeqd %%xmm1, %%xmm1\n\t"
	                 "pcmpeqd %%xmm2, %%xmm2\n\tpcmpeqd %%xmm3, %%xmm3\n\t"
	                 "pcmpeqd %%xmm7, %%xmm7\n\tpcmpeqd %%xmm8, %%xmm8\n\t"
	                 "pcmpeqd %%xmm14, %%xmm14\n\tpcmpeqd %%xmm15, %%xmm15\n\t" ::
	                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm7", "xmm8", "xmm14",
	                           "xmm15");
}

static _Atomic unsigned calls;

static int model_read(void *ctx, struct regmap_device *device, const struct regmap_register *reg,
                      uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	(void)device;
	(void)reg;
	(void)offset;
	(void)width;
	atomic_fetch_add(&calls, 1);
	lose_vectors();
	*value = 77;
	return 0;
}

static void on_access(void *ctx, struct regmap_device *device,
                      const struct regmap_device_access *access)
{
	(void)ctx;
	(void)device;
	(void)access;
	atomic_fetch_add(&calls, 1);
	lose_vectors();
}

static const struct regmap_model model = {.size = sizeof(model), .read = model_read};

static bool load(uint32_t *value)
{
	uint8_t vectors[16 * VECTORS], after[16 * VECTORS];

	for (unsigned i = 0; i < sizeof(vectors); i++)
		vectors[i] = (uint8_t)(i + 1);
	*value = t_vector_load(FAR + APB, vectors, after);
	return !memcmp(vectors, after, sizeof(after));
}

static struct regmap_device *chip(void)
{
	static const struct regmap_register cr = {.name = "CR", .offset = 0x10, .width = 4};
	static const struct regmap_register *const registers[] = {&cr};
	static const struct regmap_peripheral p = {.name = "P",
	                                           .address = APB,
	                                           .length = KB,
	                                           .registers = registers,
	                                           .register_count = 1};
	struct regmap_layout *layout = t_chip_layout();
	struct regmap_device *d;

	t_region(layout, &(struct regmap_region)T_REGION(MMIO, "APB", APB, 4 * KB, T_RW));
	assert_int_equal(regmap_layout_add_peripheral(layout, &p, NULL), 0);
	d = t_device(layout);
	assert_int_equal(regmap_device_map(d, FAR, NULL), 0);
	assert_int_equal(t_chip_put(d, APB + 0x10, 5), 0);
	return d;
}

static bool is_general(const struct regmap_device *d)
{
	return d->memory->parts[0].window->flags & REGMAP_GENERAL;
}

static void load_until_patched(void)
{
	uint32_t value;

	for (unsigned i = 0; i < 10; i++) {
		assert_true(load(&value));
		assert_int_equal(value, 5);
	}
	assert_int_equal(regmap_patch_site(t_vector_load_site), 1);
}

static void test_patched_models_may_use_vector_registers(void **state)
{
	struct regmap_device *d = chip();
	uint32_t value;

	(void)state;
	if (regmap_patch(1))
		skip();
	assert_true(is_general(d));
	load_until_patched();
	assert_int_equal(regmap_device_attach(d, "P.CR", &model, NULL), 0);
	assert_false(is_general(d));
	assert_true(load(&value));
	assert_int_equal(value, 77);
	assert_int_equal(regmap_device_attach(d, "P.CR", NULL, NULL), 0);
	assert_true(is_general(d));
	assert_true(load(&value));
	assert_int_equal(value, 5);
	regmap_device_free(d);
}

static void test_patched_watches_may_use_vector_registers(void **state)
{
	struct regmap_device *d = chip();
	unsigned before;
	uint32_t value;

	(void)state;
	if (regmap_patch(1))
		skip();
	load_until_patched();
	before = calls;
	assert_int_equal(regmap_device_watch(d, on_access, NULL), 0);
	assert_false(is_general(d));
	assert_true(load(&value));
	assert_int_equal(calls, before + 1);
	assert_int_equal(regmap_device_watch(d, NULL, NULL), 0);
	assert_true(is_general(d));
	assert_true(load(&value));
	assert_int_equal(calls, before + 1);
	regmap_device_free(d);
}

/* ---- through the alias that mapping lays ---- */

static sigjmp_buf back;
static void *volatile fault_at;
static volatile int fault_signal;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)context;
	fault_signal = signo;
	fault_at = info->si_addr;
	siglongjmp(back, 1);
}

/* What the program sees of a load that fails. */
static void load_to_fail(int signo)
{
	struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old[2];
	uint32_t value;

	sigaction(SIGBUS, &act, &old[0]);
	sigaction(SIGSEGV, &act, &old[1]);
	fault_signal = 0;
	if (!sigsetjmp(back, 1))
		load(&value);
	sigaction(SIGBUS, &old[0], NULL);
	sigaction(SIGSEGV, &old[1], NULL);
	assert_int_equal(fault_signal, signo);
	assert_ptr_equal(fault_at, (void *)(FAR + APB + 0x10));
}

static int refuse_read(void *ctx, struct regmap_device *device, const struct regmap_register *reg,
                       uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	(void)device;
	(void)reg;
	(void)offset;
	(void)width;
	(void)value;
	return -EIO;
}

static void test_patched_bus_errors_name_the_address_that_was_accessed(void **state)
{
	static const struct regmap_model refuses = {.size = sizeof(refuses), .read = refuse_read};
	struct regmap_device *d = chip();
	uint32_t value;

	(void)state;
	if (regmap_patch(1))
		skip();
	load_until_patched();
	assert_int_equal(regmap_device_attach(d, "P.CR", &refuses, NULL), 0);
	load_to_fail(SIGBUS);
	assert_int_equal(regmap_device_attach(d, "P.CR", NULL, NULL), 0);
	assert_true(load(&value));
	assert_int_equal(value, 5);
	regmap_device_free(d);
}

static void test_patched_sites_see_what_is_mapped_now(void **state)
{
	struct regmap_device *d = chip(), *e;
	uint32_t value;

	(void)state;
	if (regmap_patch(1))
		skip();
	load_until_patched();
	assert_int_equal(regmap_device_unmap(d), 0);
	load_to_fail(SIGSEGV);
	e = chip();
	assert_int_equal(t_chip_put(e, APB + 0x10, 6), 0);
	assert_true(load(&value));
	assert_int_equal(value, 6);
	regmap_device_free(e);
	load_to_fail(SIGSEGV);
	assert_int_equal(regmap_device_map(d, FAR, NULL), 0);
	assert_true(load(&value));
	assert_int_equal(value, 5);
	regmap_device_free(d);
}

/* A window of the program's between the alias's beginning and its end. */
static void test_patched_sites_see_windows_inside(void **state)
{
	static uint32_t own[4] = {41, 42, 43, 44};
	struct regmap_config c = {.size = sizeof(c),
	                          .guest = FAR + APB + 0xc,
	                          .length = sizeof(own),
	                          .access = REGMAP_READ,
	                          .backing = REGMAP_HOST,
	                          .host = own};
	struct regmap_device *d = chip();
	struct regmap_window *w;
	uint32_t value;

	(void)state;
	if (regmap_patch(1))
		skip();
	load_until_patched();
	assert_int_equal(regmap_map(&c, &w), 0);
	assert_true(load(&value));
	assert_int_equal(value, 42);
	assert_int_equal(regmap_unmap(w), 0);
	assert_true(load(&value));
	assert_int_equal(value, 5);
	regmap_device_free(d);
}

/* ---- while others access it ---- */

static atomic_bool stop;
static _Atomic unsigned loads, lost;

static void *load_all_the_time(void *arg)
{
	uint32_t value;

	(void)arg;
	while (!atomic_load(&stop)) {
		atomic_fetch_add(&lost, !load(&value));
		atomic_fetch_add(&loads, 1);
	}
	return NULL;
}

static void test_patched_models_come_and_go_while_others_access(void **state)
{
	struct regmap_device *d = chip();
	pthread_t thread[2];

	(void)state;
	if (regmap_patch(1))
		skip();
	load_until_patched();
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, load_all_the_time, NULL), 0);
	for (unsigned i = 0; i < 500; i++) {
		unsigned before = atomic_load(&loads);

		assert_int_equal(regmap_device_attach(d, "P", i % 2 ? NULL : &model, NULL), 0);
		while (atomic_load(&loads) == before)
			sched_yield();
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(lost, 0);
	regmap_device_free(d);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patched_models_may_use_vector_registers),
		cmocka_unit_test(test_patched_watches_may_use_vector_registers),
		cmocka_unit_test(test_patched_bus_errors_name_the_address_that_was_accessed),
		cmocka_unit_test(test_patched_sites_see_what_is_mapped_now),
		cmocka_unit_test(test_patched_sites_see_windows_inside),
		cmocka_unit_test(test_patched_models_come_and_go_while_others_access),
	};

	return cmocka_run_group_tests_name("device_patched", tests, NULL, NULL);
}
