// SPDX-License-Identifier: MIT
// GoogleTest with windows: death tests of both styles, exceptions and failures out of callbacks.
// LDLIBS: -lgtest
// CFLAGS: -fnon-call-exceptions
#include <gtest/gtest.h>

#include <csignal>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <unistd.h>

#include <regmap/regmap.h>

namespace
{

constexpr uint64_t window = 0xffff900000000000;
constexpr uint64_t device = 0xffff900000100000;
constexpr uint64_t wild = 0x7ffffffff000;

volatile uint32_t &at(uint64_t address)
{
	return *reinterpret_cast<volatile uint32_t *>(address);
}

uint32_t load_it(uint64_t address)
{
	return at(address);
}

// Clang doesn't think that an access can throw, but that a call can.
uint32_t (*volatile load)(uint64_t) = load_it;

struct model {
	uint32_t value = 0;
	int reads = 0;

	static int read(void *ctx, uint64_t offset, unsigned, uint64_t *value)
	{
		auto *self = static_cast<model *>(ctx);

		self->reads++;
		if (offset == 8)
			throw std::runtime_error("register 8");
		if (offset == 12)
			return -5;
		*value = self->value;
		return 0;
	}

	static int write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
	{
		EXPECT_EQ(width, 4u);
		EXPECT_EQ(offset, 0u) << "of a write";
		static_cast<model *>(ctx)->value = static_cast<uint32_t>(value);
		return 0;
	}
};

const regmap_device_ops ops = {model::read, model::write};

class Windows : public testing::Test
{
      protected:
	void SetUp() override
	{
		regmap_config config = {};

		config.size = sizeof(config);
		config.guest = window;
		config.length = sizeof(memory);
		config.access = REGMAP_READ | REGMAP_WRITE;
		config.backing = REGMAP_HOST;
		config.host = memory;
		ASSERT_EQ(regmap_map(&config, &memory_window), 0);
		config.guest = device;
		config.length = 4096;
		config.backing = REGMAP_DEVICE;
		config.ops = &ops;
		config.ctx = &dut;
		ASSERT_EQ(regmap_map(&config, &device_window), 0);
	}

	void TearDown() override
	{
		at(window) = 1;
		EXPECT_EQ(regmap_unmap(device_window), 0);
		EXPECT_EQ(regmap_unmap(memory_window), 0);
	}

	void works()
	{
		at(window + 8)++;
		EXPECT_EQ(at(window + 8), memory[2]);
		at(device) = 77;
		EXPECT_EQ(at(device), 77u);
	}

	uint32_t memory[1024] = {};
	model dut;
	regmap_window *memory_window = nullptr, *device_window = nullptr;
};

using WindowsDeathTest = Windows;

TEST_F(Windows, Work)
{
	works();
	EXPECT_EQ(dut.reads, 1);
}

TEST_F(Windows, ThrowOutOfCallbacks)
{
	for (int i = 0; i < 10; i++)
		EXPECT_THROW(load(device + 8), std::runtime_error);
	EXPECT_EQ(dut.reads, 10);
	works();
}

class WindowsIn : public WindowsDeathTest, public testing::WithParamInterface<const char *>
{
	void SetUp() override
	{
		GTEST_FLAG_SET(death_test_style, GetParam());
		Windows::SetUp();
	}
};

TEST_P(WindowsIn, DeathOfAWildAccess)
{
	EXPECT_EXIT(at(wild) = 1, testing::KilledBySignal(SIGSEGV), "");
	works();
}

TEST_P(WindowsIn, DeathAfterAccesses)
{
	EXPECT_EXIT(
		{
			at(device) = 5;
			if (at(device) == 5 && memory[0] == 0)
				at(wild) = 1;
			_exit(1);
		},
		testing::KilledBySignal(SIGSEGV), "");
	EXPECT_EQ(dut.value, 0u);
	works();
}

TEST_P(WindowsIn, DeathOfARefusedAccess)
{
	EXPECT_EXIT(load(device + 12), testing::KilledBySignal(SIGBUS), "regmap");
	works();
}

TEST_P(WindowsIn, ExitWithWorkingWindows)
{
	EXPECT_EXIT(
		{
			at(window) = 42;
			_exit(static_cast<int>(at(window)));
		},
		testing::ExitedWithCode(42), "");
	works();
}

void die_with_message(int)
{
	static const char text[] = "caught it\n";

	(void)!write(2, text, sizeof(text) - 1);
	at(window) = 3;
	_exit(static_cast<int>(at(window)));
}

TEST_P(WindowsIn, HandlersOfTheChild)
{
	EXPECT_EXIT(
		{
			signal(SIGSEGV, die_with_message);
			at(window) = 1;
			at(wild) = 1;
		},
		testing::ExitedWithCode(3), "caught it");
	works();
}

INSTANTIATE_TEST_SUITE_P(Style, WindowsIn, testing::Values("fast", "threadsafe"));

} // namespace

int main(int argc, char **argv)
{
	// A sanitizer's handlers report and exit, which is no death by a signal.
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	testing::InitGoogleTest(&argc, argv);
	return RUN_ALL_TESTS();
}
