# SPDX-License-Identifier: MIT
# Flags for firmware that is compiled for the host, to be included by a makefile:
#
#   include $(shell pkg-config --variable=datadir regmap)/regmap-firmware.mk
#   driver.o: driver.c ; $(CC) $(CFLAGS) $(REGMAP_FIRMWARE_CFLAGS) -c -o $@ $<     (C++: ..._CXXFLAGS)
#   test: test.o driver.o ; $(CC) -o $@ $^ $(REGMAP_FIRMWARE_LDFLAGS) $(REGMAP_FIRMWARE_LIBS)
#
# Set before that, if the defaults don't fit:
#
#   REGMAP_ARM_ARCH   6M, 7M, 7EM, 8M_BASE, 8M_MAIN                                (7M)
#   REGMAP_SECTIONS   sections and the guest addresses where they are to lie       (.sram=0x20000000)
#   REGMAP_FAR        where the program ends and its heap begins                    (0x7e9000000000)
#   REGMAP_STANDALONE 1: the program doesn't call the library; for `regmap run`    (0)
#
# A variable goes there by __attribute__((section(".sram"))). docs/firmware.md has the rest.

REGMAP_ARM_ARCH ?= 7M
REGMAP_SECTIONS ?= .sram=0x20000000
REGMAP_STANDALONE ?= 0
REGMAP_FAR ?= 0x7e9000000000
REGMAP_PKG_CONFIG ?= pkg-config
REGMAP_INCLUDEDIR ?= $(shell $(REGMAP_PKG_CONFIG) --variable=includedir regmap)

# Addresses are kept in 32 bits: no position-independent code, no warnings of that. A volatile bit-field is accessed by
# its own width, which Clang does anyway. A null pointer is the boot alias.
REGMAP_FIRMWARE_CXXFLAGS := -I$(REGMAP_INCLUDEDIR) -I$(REGMAP_INCLUDEDIR)/regmap/arm -include regmap/arm_host.h \
	-DREGMAP_ARM_ARCH=$(REGMAP_ARM_ARCH) -fno-pie -fno-lto -fno-delete-null-pointer-checks \
	-Wno-int-to-pointer-cast \
	$(if $(findstring clang,$(CC)),,-fstrict-volatile-bitfields)
REGMAP_FIRMWARE_CFLAGS := $(REGMAP_FIRMWARE_CXXFLAGS) -Wno-pointer-to-int-cast

# The program ends where its last section does, and there the heap begins: far behind all peripherals.
REGMAP_FIRMWARE_LDFLAGS := -no-pie $(REGMAP_SECTIONS:%=-Wl,--section-start=%) \
	-Wl,--section-start=.regmap_far=$(REGMAP_FAR)

REGMAP_FIRMWARE_LIBS := $(if $(filter 1,$(REGMAP_STANDALONE)),,$(shell $(REGMAP_PKG_CONFIG) --libs regmap))
