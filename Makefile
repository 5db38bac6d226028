# SPDX-License-Identifier: MIT
# libregmap: one Makefile, no configure. `make help` lists the targets.
#
#   CC CXX CFLAGS CXXFLAGS CPPFLAGS LDFLAGS    as everywhere
#   MODE=rel|asan|tsan|cov|fuzz                what is built; objects are in build/$(MODE)
#   BUILD=build                                another build directory, for a second compiler
#   V=1 WERROR=1                               show commands; warnings are errors
#   DESTDIR PREFIX BINDIR LIBDIR INCLUDEDIR MANDIR DATADIR    where install puts things
#   BASHCOMPDIR ZSHCOMPDIR FISHCOMPDIR                        and completions for shells
#   SANITIZE_SKIP="test_a so_b"                tests that can't run under sanitizers
#                        (a test sees the mode in TEST_MODE and may skip cases of its own)
#   TEST_TIMEOUT FUZZ_TIME SECONDS             seconds, of one test, of a fuzzer, of the soak
#   DEVICES=0                                  without described devices, their parsers and the command

VERSION := 0.1.0
SOVERSION := $(firstword $(subst ., ,$(VERSION)))

# What `make deps` installs on Debian 12, each with its reason.
DEPS :=
DEPS += gcc                  # the compiler, gcov and the sanitizers' run-time libraries
DEPS += g++                  # headers, callbacks and examples are tried from C++, too
DEPS += binutils             # nm and readelf, for check-abi and check-sigsafe
DEPS += libc6-dev            # the C library's headers
DEPS += libzydis-dev         # the instruction decoder (check, joy)
DEPS += libunwind-dev        # stack walks
DEPS += libtomlplusplus-dev  # device descriptions in TOML
DEPS += libyaml-dev          # the same in YAML
DEPS += rapidjson-dev        # the same in JSON: it tells where in the text each value stands
DEPS += libexpat1-dev        # CMSIS-SVD files
DEPS += libelf-dev           # images in ELF files
DEPS += libcmocka-dev        # the tests' framework
DEPS += pkg-config           # check-install builds a program against regmap.pc
DEPS += zlib1g-dev           # tests: a real library's code working on windows
DEPS += libsqlite3-dev       # tests: the same, with a database in a window
DEPS += libssl-dev           # tests: the same, with hand-written vector code
DEPS += libgtest-dev         # tests: frameworks and libraries that handle signals themselves
DEPS += libglib2.0-dev       # tests: the same, and child processes and main loops
DEPS += libsigsegv-dev       # tests: the same, and page faults and stack overflows
DEPS += gdb                  # tests: a debugger sees the fault and the program as they are
DEPS += clang                # CI builds and checks with a second compiler
DEPS += libclang-rt-14-dev   # its sanitizers, and libFuzzer
DEPS += clang-format         # format, format-check
DEPS += clang-tidy           # tidy
DEPS += mandoc               # docs: lints the man pages
DEPS += python3              # check-cli, bench-compare, plots
DEPS += python3-jsonschema   # tests: devices/regmap.schema.json against the templates
DEPS += jq                   # test-bench reads the benchmark's JSON with it
DEPS += libunicorn-dev       # bench: another way to the same end, measured beside ours (so are
                             # libsigsegv-dev's and ptrace()'s)
DEPS += gnuplot-nox          # plots
DEPS += git                  # bench: the commit that was measured; dist

# ---- choices ---------------------------------------------------------------------------------

MODE ?= rel
BUILD ?= build
ifeq ($(filter $(MODE),rel asan tsan cov fuzz),)
$(error MODE=$(MODE): choose one of rel asan tsan cov fuzz)
endif
B := $(BUILD)/$(MODE)
OUT := $(if $(filter rel,$(MODE)),$(BUILD),$(B))

ifeq ($(origin CC),default)
CC := $(if $(filter fuzz,$(MODE)),clang,gcc)
endif
ifeq ($(origin CXX),default)
CXX := $(if $(findstring clang,$(CC)),$(subst clang,clang++,$(CC)),$(subst gcc,g++,$(CC)))
endif
ifeq ($(origin AR),default)
AR := ar
endif
CFLAGS ?= -O2 -g
CXXFLAGS ?= $(CFLAGS)
CLANG_FORMAT ?= clang-format
CLANG_TIDY ?= clang-tidy
GCOV ?= gcov
TEST_TIMEOUT ?= 300
FUZZ_TIME ?= 60
SECONDS ?= 60
# ThreadSanitizer calls a shared library's sigaction() before code that it instruments may run.
SANITIZE_SKIP ?= $(if $(filter tsan,$(MODE)),so_stacks)

DEVICES ?= 1

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DATADIR ?= $(PREFIX)/share/libregmap
BASHCOMPDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHCOMPDIR ?= $(PREFIX)/share/zsh/site-functions
FISHCOMPDIR ?= $(PREFIX)/share/fish/vendor_completions.d

# ---- flags -----------------------------------------------------------------------------------

WARN := -Wall -Wextra $(if $(filter 1,$(WERROR)),-Werror)
DEP = -MMD -MP

# Frames of the handler are left by longjmp() from a device callback. The sanitizer would take the red
# zones that they leave on the signal stack for a bug of the next handler: no red zones on stacks.
# The frame of a patched site lies on the program's stack, and is as aligned as that is.
MODE_CFLAGS_asan := -fsanitize=address,undefined -fno-sanitize=alignment -fno-sanitize-recover=all \
	-fno-omit-frame-pointer \
	$(if $(findstring clang,$(CC)),-mllvm -asan-stack=0,--param=asan-stack=0)
MODE_CFLAGS_tsan := -fsanitize=thread
MODE_CFLAGS_cov := -O0 --coverage -fprofile-update=atomic
MODE_CFLAGS_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
MODE_LDFLAGS_asan := -fsanitize=address,undefined
MODE_LDFLAGS_tsan := -fsanitize=thread
MODE_LDFLAGS_cov := --coverage
MODE_LDFLAGS_fuzz := -fsanitize=fuzzer,address,undefined

# The handler may run with a foreign FS base, so no stack protector. A device callback may throw, so
# tables that are right at every instruction. Thread-local variables must not be allocated inside
# the handler, so initial-exec. These come last: whatever CFLAGS say, the library needs them.
LIB_FLAGS := -Iinclude -fvisibility=hidden -fno-plt $(WARN)
# A libgcc_eh.a for another C library can't be linked (check-musl): EXCEPTIONS=-fno-exceptions does without.
# Exceptions that leave a device callback are then noticed late, as src/pin.h says.
EXCEPTIONS := -fexceptions
LIB_NEEDS := -fno-stack-protector -fasynchronous-unwind-tables $(EXCEPTIONS) -ftls-model=initial-exec
LIB_CFLAGS = -std=gnu11 $(LIB_FLAGS) $(CPPFLAGS) $(CFLAGS) $(MODE_CFLAGS_$(MODE)) $(LIB_NEEDS)
# Programs in C that have parsers in C++ are linked by the C compiler, which has no C++ run-time library of Clang's sanitizers.
LIB_CXXFLAGS = -std=gnu++17 -fno-rtti -fno-exceptions $(LIB_FLAGS) $(CPPFLAGS) $(CXXFLAGS) $(MODE_CFLAGS_$(MODE)) -fno-stack-protector \
	$(if $(findstring clang,$(CXX)),-fno-sanitize=function)
LIB_ASFLAGS = -Iinclude -Wa,--noexecstack $(CPPFLAGS) -g

# Sanitizers watch the library, not the programs: those do what sanitizers dislike on purpose. With
# page 0 in use, the compiler must not take a null pointer for impossible (GCC adds an UD2), nor warn
# of constant addresses.
PROG_FLAGS := -Iinclude -I. -Itests/lib -fno-delete-null-pointer-checks $(WARN) -Wno-array-bounds \
	-Wno-missing-field-initializers $(if $(findstring clang,$(CC)),,-Wno-stringop-overflow -Wno-stringop-overread)
PROG_CFLAGS = -std=gnu11 $(PROG_FLAGS) $(CPPFLAGS) $(CFLAGS)
PROG_CXXFLAGS = -std=gnu++17 $(PROG_FLAGS) $(CPPFLAGS) $(CXXFLAGS)
PROG_LDFLAGS = -Wl,-z,noexecstack -Wl,--as-needed $(LDFLAGS) $(MODE_LDFLAGS_$(MODE))

# libregmap.a serves PIE and -no-pie programs. -static works only where there is a libZydis.a, which
# Debian 12 doesn't have (check-static). libunwind.so alone has all that a walk of the own stack (UNW_LOCAL_ONLY)
# needs; libunwind-x86_64.so is for other processes. It defines _Unwind_RaiseException and kin, too:
# libgcc_s comes before it, so that C++ exceptions stay with the compiler's own unwinder.
LIBS := -lZydis -lgcc_s -lunwind -pthread
# What describe/ needs. Programs that use nothing of it don't get these, where the linker drops what isn't needed.
DEVICE_LIBS := -lyaml -lexpat -lelf
# The C++ of two parsers stays inside of the shared library: no program gets a C++ run-time library by it.
SO_DEVICE_LIBS := $(DEVICE_LIBS) -Wl,-Bstatic -lstdc++ -Wl,-Bdynamic -lm
ifeq ($(DEVICES),1)
SO_LIBS := $(LIBS) $(SO_DEVICE_LIBS)
LIBS += $(DEVICE_LIBS) -lstdc++ -lm
else
SO_LIBS := $(LIBS)
endif
# nodelete: the kernel goes on calling our handler whatever dlclose() says.
# A sanitizer's run-time library is linked into the program only, by clang.
SO_LDFLAGS = -shared -Wl,--exclude-libs,ALL -Wl,-z,nodelete -Wl,-soname,libregmap.so.$(SOVERSION) -Wl,--version-script=src/regmap.map \
	$(if $(filter rel cov,$(MODE)),-Wl$(comma)-z$(comma)defs) -Wl,-z,now -Wl,-z,relro \
	-Wl,-z,noexecstack $(LDFLAGS) \
	$(if $(filter fuzz,$(MODE)),,$(MODE_LDFLAGS_$(MODE)))

comma := ,
Q := $(if $(filter 1,$(V)),,@)
tell = $(if $(filter 1,$(V)),@:,@printf '  %-7s %s\n' $(1) '$(2)')

# ---- files: wildcards, so that a new file is picked up ------------------------------------------

LIB_DIRS := arch/x86_64 emulator src $(if $(filter 1,$(DEVICES)),describe device devices)
LIB_C := $(sort $(wildcard $(LIB_DIRS:%=%/*.c)))
LIB_CC := $(sort $(wildcard $(LIB_DIRS:%=%/*.cc)))
LIB_S := $(sort $(wildcard $(LIB_DIRS:%=%/*.S)))
LIB_OBJ := $(LIB_C:%.c=$(B)/obj/%.o) $(LIB_S:%.S=$(B)/obj/%.S.o) $(LIB_CC:%.cc=$(B)/obj/%.cc.o)
PIC_OBJ := $(LIB_OBJ:$(B)/obj/%=$(B)/pic/%)
# What the environment asks for before main() is the shared library's alone, and needs all of it: its
# constructor is the last one.
PRELOAD := $(filter %/device/preload.o,$(PIC_OBJ))
LIB_OBJ := $(filter-out %/device/preload.o,$(LIB_OBJ))
LIB_A := $(OUT)/libregmap.a
LIB_SO := $(OUT)/libregmap.so
LIB_PC := $(OUT)/regmap.pc

HEADERS := $(sort $(wildcard include/regmap/*.h))
ARM_HEADERS := $(sort $(wildcard include/regmap/arm/*.h))
MAN := $(sort $(wildcard docs/*.[1357]))
TEMPLATES := $(sort $(wildcard devices/*.toml))

sources = $(sort $(foreach p,$(1),$(wildcard $(p).c $(p).cc $(p).cpp)))
names = $(basename $(notdir $(1)))
source = $(firstword $(wildcard $(1).c $(1).cc $(1).cpp))
# A program's source may say what it needs beyond the usual, on a line of its own:
#   /* LDLIBS: -lz */   or   // CFLAGS: -mavx2   or   /* LDLIBS_FIRST: -lc */ (before libregmap)
wish = $$(sed -n 's,^ *[/*][/*]* *$(1): *\([^*]*\).*$$,\1,p' $(2))
# C++ sources are linked by the C++ compiler.
linker = $(if $(filter %.c,$(1)),$(CC),$(CXX))

TEST_SRC := $(call sources,tests/test_* tests/regress_*)
SO_TEST_SRC := $(call sources,tests/so_*)
EXAMPLE_SRC := $(call sources,examples/*)
BENCH_SRC := $(filter-out $(if $(filter 1,$(DEVICES)),,bench/devices.c),$(call sources,bench/*))
FUZZ_SRC := $(call sources,fuzz/*)
SOAK_SRC := $(call sources,soak/*)
CLI_SRC := $(if $(filter 1,$(DEVICES)),$(call sources,cli/*))
DEMO_SRC := $(sort $(wildcard asm-demos/*.S))
TESTLIB_OBJ := $(patsubst %.c,$(B)/obj/%.o,$(sort $(wildcard tests/lib/*.c))) \
	$(patsubst %.S,$(B)/obj/%.S.o,$(sort $(wildcard tests/lib/*.S)))

TEST_BIN := $(addprefix $(B)/tests/,$(call names,$(TEST_SRC)))
SO_TEST_BIN := $(addprefix $(B)/tests/,$(call names,$(SO_TEST_SRC)))
PLUGIN_SO := $(patsubst tests/%.c,$(B)/tests/%.so,$(sort $(wildcard tests/plugin_*.c)))
EXAMPLE_BIN := $(addprefix $(B)/examples/,$(call names,$(EXAMPLE_SRC)))
BENCH_BIN := $(B)/bench/bench
SOAK_BIN := $(B)/soak/soak
FUZZ_BIN := $(addprefix $(B)/fuzz/,$(call names,$(FUZZ_SRC)))
CLI_BIN := $(if $(CLI_SRC),$(OUT)/regmap)
DEMO_BIN := $(addprefix $(OUT)/joy/,$(call names,$(DEMO_SRC)))

# `make deps check` is one make, perhaps with -j: nothing may be built before the packages are there.
READY := $(if $(filter deps,$(MAKECMDGOALS)),deps)

.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-print-directory

.PHONY: all lib programs check test check-run joy bench bench-compare plots sanitize soak fuzz fuzz-keep coverage format format-check \
	tidy docs install uninstall dist clean help deps check-abi check-headers check-install \
	check-sigsafe check-stack check-cli check-firmware check-readme check-run sigsafe-list check-static check-musl \
	check-asan check-threads matrix matrix-quick \
	results FORCE

## all: the library and the regmap command (default); lib: the library alone
all: lib $(CLI_BIN)
lib: $(LIB_A) $(LIB_SO) $(LIB_PC)
## programs: everything that check, joy and bench run, without running it
programs: all $(TEST_BIN) $(SO_TEST_BIN) $(EXAMPLE_BIN) $(DEMO_BIN) $(BENCH_BIN) $(SOAK_BIN)

# ---- the library -------------------------------------------------------------------------------

# Objects are made anew when the compiler or a flag changes.
FLAGS := $(subst ','\'',$(CC) $(CXX) $(CPPFLAGS) | $(LIB_CFLAGS) | $(LIB_CXXFLAGS) | $(PROG_CFLAGS) | $(PROG_CXXFLAGS))
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(FLAGS)' | cmp -s - $@ || printf '%s\n' '$(FLAGS)' >$@

# Memory functions of the library's own: arch/x86_64/mem.S says why. Sanitizers stand in front of libc's.
OBJCOPY ?= objcopy
MEM_SYMS := arch/x86_64/mem.syms
own_mem = $(if $(filter rel cov,$(MODE)),$(Q)$(OBJCOPY) --redefine-syms=$(MEM_SYMS) $@)

$(B)/obj/%.o: %.c $(B)/flags $(MEM_SYMS) | $(READY)
	@mkdir -p $(@D)
	$(call tell,CC,$<)
	$(Q)$(CC) -fPIE $(LIB_CFLAGS) $(DEP) -c -o $@ $<
	$(own_mem)

# Runs in threads that ThreadSanitizer does not know yet, or no longer; or makes slots and their data,
# which others come to know of by the code that leads there.
UNKNOWN := src/others src/patch_map src/patch_make src/fragments arch/x86_64/slot arch/x86_64/slotroll
$(foreach o,$(UNKNOWN),$(B)/obj/$(o).o $(B)/pic/$(o).o): MODE_CFLAGS_tsan :=

# What slots call before the vector state is saved. Sanitizers don't know of that: there it is saved
# always.
GENERAL := src/hot src/move src/armed src/hot_signal src/quick src/access src/pin src/gate src/table src/view src/lane src/fork src/maplock \
	src/backing_alias src/backing_readable \
	src/backing_device src/backing_host src/backing_ram src/backing_registers src/symbols src/maps \
	describe/find device/mmio device/place device/tally device/trace device/witness device/registers device/registers_slow device/registers_width device/registers_rules arch/x86_64/context \
	arch/x86_64/scratch emulator/operand emulator/integer src/bus src/others
$(foreach o,$(GENERAL),$(B)/obj/$(o).o $(B)/pic/$(o).o $(B)/graph/$(o).o): LIB_NEEDS += -mgeneral-regs-only
ifneq ($(MODE),rel)
LIB_ASFLAGS += -DREGMAP_SLOT_SAVES_ALL
endif

$(B)/obj/%.S.o: %.S $(B)/flags | $(READY)
	@mkdir -p $(@D)
	$(call tell,AS,$<)
	$(Q)$(CC) -fPIE $(LIB_ASFLAGS) $(DEP) -c -o $@ $<

# Templates are taken in as they are.
$(B)/obj/devices/templates.S.o $(B)/pic/devices/templates.S.o $(B)/graph/devices/templates.S.o: $(wildcard devices/*.toml)

$(B)/pic/%.o: %.c $(B)/flags $(MEM_SYMS) | $(READY)
	@mkdir -p $(@D)
	$(call tell,CC,$< (PIC))
	$(Q)$(CC) -fPIC $(LIB_CFLAGS) $(DEP) -c -o $@ $<
	$(own_mem)

$(B)/pic/%.S.o: %.S $(B)/flags | $(READY)
	@mkdir -p $(@D)
	$(call tell,AS,$< (PIC))
	$(Q)$(CC) -fPIC $(LIB_ASFLAGS) $(DEP) -c -o $@ $<

$(B)/obj/%.cc.o: %.cc $(B)/flags | $(READY)
	@mkdir -p $(@D)
	$(call tell,CXX,$<)
	$(Q)$(CXX) -fPIE $(LIB_CXXFLAGS) $(DEP) -c -o $@ $<

$(B)/pic/%.cc.o: %.cc $(B)/flags | $(READY)
	@mkdir -p $(@D)
	$(call tell,CXX,$< (PIC))
	$(Q)$(CXX) -fPIC $(LIB_CXXFLAGS) $(DEP) -c -o $@ $<

# The lists change when a source file comes or goes.
$(B)/objects: FORCE
	@mkdir -p $(@D)
	@echo $(LIB_OBJ) | cmp -s - $@ || echo $(LIB_OBJ) >$@

$(LIB_A): $(LIB_OBJ) $(B)/objects
	$(call tell,AR,$@)
	$(Q)rm -f $@
	$(Q)$(AR) qcs $@ $(LIB_OBJ)

$(OUT)/libregmap.so.$(VERSION): $(PIC_OBJ) $(B)/objects src/regmap.map
	$(call tell,LINK,$@)
	$(Q)$(CC) $(SO_LDFLAGS) -o $@ $(filter-out $(PRELOAD),$(PIC_OBJ)) $(SO_LIBS) $(PRELOAD)

$(OUT)/libregmap.so.$(SOVERSION): $(OUT)/libregmap.so.$(VERSION)
	$(Q)ln -sf $(<F) $@

$(LIB_SO): $(OUT)/libregmap.so.$(SOVERSION)
	$(Q)ln -sf $(<F) $@

# Objects with a section for each function and object: who refers to whom, for check-sigsafe and
# check-stack. The two graphs of the objects that are shipped show what no object may have.
GRAPH_OBJ := $(patsubst $(B)/obj/%,$(B)/graph/%,$(filter-out %.cc.o,$(LIB_OBJ))) $(PRELOAD:$(B)/pic/%=$(B)/graph/%)
GRAPHS := $(B)/graph.handler $(B)/graph.obj $(B)/graph.pic
GRAPH_CFLAGS = -ffunction-sections -fdata-sections $(if $(findstring clang,$(CC)),,-fstack-usage)

$(B)/graph/%.o: %.c $(B)/flags $(MEM_SYMS) | $(READY)
	@mkdir -p $(@D)
	$(Q)$(CC) -fPIE $(LIB_CFLAGS) $(GRAPH_CFLAGS) $(DEP) -c -o $@ $<
	$(own_mem)

$(B)/graph/%.S.o: %.S $(B)/flags | $(READY)
	@mkdir -p $(@D)
	$(Q)$(CC) -fPIE $(LIB_ASFLAGS) $(DEP) -c -o $@ $<

graph_of = bash scripts/callgraph $(1) $(2) >$@
$(B)/graph.handler: $(GRAPH_OBJ) $(B)/objects scripts/callgraph
	$(Q)$(call graph_of,$(B)/graph,$(GRAPH_OBJ))
$(B)/graph.obj: $(LIB_OBJ) $(B)/objects scripts/callgraph
	$(Q)$(call graph_of,$(B)/obj,$(filter-out %.cc.o,$(LIB_OBJ)))
$(B)/graph.pic: $(PIC_OBJ) $(B)/objects scripts/callgraph
	$(Q)$(call graph_of,$(B)/pic,$(filter-out %.cc.o,$(PIC_OBJ)))

# Two regmap.pc: one for the build tree here, one written by install.
pc = sed -e 's|@PREFIX@|$(1)|' -e 's|@LIBDIR@|$(2)|' -e 's|@INCLUDEDIR@|$(3)|' \
	-e 's|@RPATH@|$(4)|' \
	-e 's|@DATADIR@|$(5)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@PRIVATE@|$(LIBS)|' regmap.pc.in
$(LIB_PC): regmap.pc.in FORCE
	@mkdir -p $(@D)
	@$(call pc,$(CURDIR),$(abspath $(OUT)),$${prefix}/include,-Wl$(comma)-rpath$(comma)$${libdir} ,$(CURDIR)/share/regmap) >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# ---- programs ----------------------------------------------------------------------------------

define program_rules
$(B)/obj/$(1)/%.o: $(1)/%.c $(B)/flags | $(READY)
	@mkdir -p $$(@D)
	$$(call tell,CC,$$<)
	$(Q)$(CC) -fPIE $$(PROG_CFLAGS) $(2) $$(call wish,CFLAGS,$$<) $$(DEP) -c -o $$@ $$<
$(B)/obj/$(1)/%.o: $(1)/%.cc $(B)/flags | $(READY)
	@mkdir -p $$(@D)
	$$(call tell,CXX,$$<)
	$(Q)$(CXX) -fPIE $$(PROG_CXXFLAGS) $$(call wish,CFLAGS,$$<) $$(DEP) -c -o $$@ $$<
$(B)/obj/$(1)/%.o: $(1)/%.cpp $(B)/flags | $(READY)
	@mkdir -p $$(@D)
	$$(call tell,CXX,$$<)
	$(Q)$(CXX) -fPIE $$(PROG_CXXFLAGS) $$(call wish,CFLAGS,$$<) $$(DEP) -c -o $$@ $$<
endef
$(foreach d,tests examples bench cli,$(eval $(call program_rules,$(d))))
# Some of its threads have no canary.
$(eval $(call program_rules,soak,-fno-stack-protector))
# The library's edges alone say whether an input is new.
$(eval $(call program_rules,fuzz,-fsanitize=address$(comma)undefined -fno-sanitize-recover=all))

# $(1) folder of the sources, $(2) libraries
link = $(call linker,$(call source,$(1)/$(@F))) -o $@ $(filter %.o,$^) $(PROG_LDFLAGS) \
	$(call wish,LDLIBS_FIRST,$(call source,$(1)/$(@F))) $(2) \
	$(call wish,LDLIBS,$(call source,$(1)/$(@F)))

# An archive: a test that names nothing of libregmap's is not linked with it.
TESTLIB := $(B)/obj/tests/lib.a
$(TESTLIB): $(TESTLIB_OBJ)
	$(Q)rm -f $@
	$(Q)$(AR) qcs $@ $(TESTLIB_OBJ)

# SHARED=1: those that use nothing but the public interface, against the shared library.
LINK_SO = -L$(OUT) -Wl$(comma)-rpath$(comma)$(abspath $(OUT)) -lregmap
$(TEST_BIN): $(B)/tests/%: $(B)/obj/tests/%.o $(TESTLIB) $(if $(SHARED),$(LIB_SO),$(LIB_A))
	@mkdir -p $(@D)
	$(call tell,LINK,$@)
	$(Q)$(call link,tests,$(TESTLIB) $(if $(SHARED),$(LINK_SO),$(LIB_A)) $(LIBS) -lcmocka)

# What tests load themselves, beside them: tests/plugin_*.c
$(PLUGIN_SO): $(B)/tests/%.so: tests/%.c $(B)/flags $(LIB_SO)
	@mkdir -p $(@D)
	$(call tell,LINK,$@)
	$(Q)$(CC) -shared -fPIC $(PROG_CFLAGS) -o $@ $< $(PROG_LDFLAGS) $(LINK_SO) $(call wish,LDLIBS,$<)

$(SO_TEST_BIN): $(B)/tests/%: $(B)/obj/tests/%.o $(TESTLIB) $(LIB_SO) $(PLUGIN_SO)
	@mkdir -p $(@D)
	$(call tell,LINK,$@)
	$(Q)$(call link,tests,$(TESTLIB) $(LINK_SO) -pthread -lcmocka)

$(EXAMPLE_BIN): $(B)/examples/%: $(B)/obj/examples/%.o $(LIB_A)
	@mkdir -p $(@D)
	$(call tell,LINK,$@)
	$(Q)$(call link,examples,$(LIB_A) $(LIBS))

# A source that does without a library says so: /* OPTIONAL: header.h -lname */
BENCH_OBJ := $(patsubst %,$(B)/obj/%.o,$(basename $(BENCH_SRC)))
bench_libs = $(shell sed -n 's,^/\* OPTIONAL: \(.*\) \*/$$,\1,p' $(BENCH_SRC) | while read -r header libs; do \
	echo "\#include <$$header>" | $(CC) $(CPPFLAGS) -x c -E -o /dev/null - 2>/dev/null && echo "$$libs"; done)
$(B)/bench/libs: FORCE | $(READY)
	@mkdir -p $(@D)
	@echo $(bench_libs) | cmp -s - $@ || echo $(bench_libs) >$@
$(BENCH_OBJ): $(B)/bench/libs
$(BENCH_BIN): $(BENCH_OBJ) $(TESTLIB) $(LIB_A)
	$(call tell,LINK,$@)
	$(Q)$(CC) -o $@ $(BENCH_OBJ) $(TESTLIB) $(PROG_LDFLAGS) $(LIB_A) $(LIBS) $$(cat $(B)/bench/libs) -lm

$(FUZZ_BIN): $(B)/fuzz/%: $(B)/obj/fuzz/%.o $(B)/obj/tests/lib/bytes.o $(LIB_A)
	@mkdir -p $(@D)
	$(call tell,LINK,$@)
	$(Q)$(call link,fuzz,$(LIB_A) $(LIBS))

SOAK_OBJ := $(patsubst %,$(B)/obj/%.o,$(basename $(SOAK_SRC))) $(B)/obj/soak/shot.S.o
$(SOAK_BIN): $(SOAK_OBJ) $(LIB_A)
	@mkdir -p $(@D)
	$(call tell,LINK,$@)
	$(Q)$(CC) -o $@ $(SOAK_OBJ) $(PROG_LDFLAGS) $(LIB_A) $(LIBS)

# The command. It looks for the shared library beside itself, then in LIBDIR, for `regmap run`.
CLI_OBJ := $(patsubst %,$(B)/obj/%.o,$(basename $(CLI_SRC)))
$(CLI_OBJ): PROG_CFLAGS += -DREGMAP_LIBDIR='"$(LIBDIR)"'
$(CLI_BIN): $(CLI_OBJ) $(LIB_A)
	@mkdir -p $(@D)
	$(call tell,LINK,$@)
	$(Q)$(CC) -o $@ $(CLI_OBJ) $(PROG_LDFLAGS) $(LIB_A) $(LIBS)

# A demo has main or _start.
$(DEMO_BIN): $(OUT)/joy/%: asm-demos/%.S $(LIB_A)
	@mkdir -p $(@D)
	$(call tell,DEMO,$<)
	$(Q)$(CC) -no-pie $(LIB_ASFLAGS) -MMD -MP -MF $@.d -MT $@ \
		$$(grep -q '^_start:' $< && echo -nostartfiles) -o $@ $< $(PROG_LDFLAGS) $(LIB_A) $(LIBS)

-include $(LIB_OBJ:.o=.d) $(PIC_OBJ:.o=.d) $(GRAPH_OBJ:.o=.d) $(TESTLIB_OBJ:.o=.d) $(DEMO_BIN:=.d) $(SOAK_OBJ:.o=.d) \
	$(CLI_OBJ:.o=.d) \
	$(BENCH_OBJ:.o=.d) \
	$(patsubst $(B)/%,$(B)/obj/%.d,$(TEST_BIN) $(SO_TEST_BIN) $(EXAMPLE_BIN) $(FUZZ_BIN))

# ---- check and joy -------------------------------------------------------------------------------

# Every run/NAME leaves a count in $(R); the tally adds them up and decides.
R := $(B)/results
CASE = TEST_MODE=$(MODE) TEST_TIMEOUT=$(TEST_TIMEOUT) bash scripts/case $(if $(filter asan tsan,$(MODE)),$(if \
	$(filter $(*F),$(SANITIZE_SKIP)),-k 'SANITIZE_SKIP')) $(R)
golden = -o $(1).out -s $(1).status

RUN_TESTS := $(addprefix run/tests/,$(call names,$(TEST_SRC) $(SO_TEST_SRC)))
RUN_EXAMPLES := $(addprefix run/examples/,$(call names,$(EXAMPLE_SRC)))
RUN_DEMOS := $(addprefix run/asm-demos/,$(call names,$(DEMO_SRC)))
RUN_CHECKS := run/check-abi run/check-headers run/check-install run/check-sigsafe run/check-objects \
	run/check-general run/check-binding run/check-stack run/test-hygiene run/test-bench run/preload run/check-static \
	run/check-musl run/check-asan
ifeq ($(DEVICES),1)
RUN_CHECKS += run/check-cli run/check-firmware run/check-readme run/check-run
endif
.PHONY: $(RUN_TESTS) $(RUN_EXAMPLES) $(RUN_DEMOS) $(RUN_CHECKS)

# The sanitizers' own alternate signal stacks are too small for accesses nested in callbacks.
export ASAN_OPTIONS ?= allow_user_segv_handler=1:detect_stack_use_after_return=0:use_sigaltstack=0
export TSAN_OPTIONS ?= use_sigaltstack=0
export UBSAN_OPTIONS ?= print_stacktrace=1

results: | $(READY)
	@rm -rf $(R)
	@mkdir -p $(R)

$(RUN_TESTS): run/tests/%: $(B)/tests/% | results
	@$(CASE) tests/$* -- $<

$(RUN_EXAMPLES): run/examples/%: $(B)/examples/% | results
	@$(CASE) examples/$* $(if $(wildcard examples/$*.out),-o examples/$*.out) -s examples/$*.status -- $<

# A shim, a program that knows nothing of it, and LD_PRELOAD: needs the shared library.
run/preload: lib | results
	@CC='$(CC)' $(CASE) examples/preload -o examples/preload/run.out -- sh examples/preload/run.sh \
		$(abspath $(OUT))

# Their output is shown when somebody asked for joy.
$(RUN_DEMOS): run/asm-demos/%: $(OUT)/joy/% | results
	@$(CASE) asm-demos/$* $(if $(filter joy,$(MAKECMDGOALS)),-t asm-demos/$*.S) \
		$(call golden,asm-demos/$*) -- $<

## check, test: every test, demo and example, and check-abi, -headers, -install, -sigsafe, -stack
test: check
ifeq ($(MODE),rel)
check: $(RUN_TESTS) $(RUN_EXAMPLES) $(RUN_DEMOS) $(RUN_CHECKS)
else
check: $(RUN_TESTS)
endif
	@bash scripts/tally $(R)

## joy: the assembly demos, with their output
joy: $(RUN_DEMOS)
	@cat $(RUN_DEMOS:run/%=$(R)/%.shown)
	@bash scripts/tally $(R) asm-demos

CHECK_ABI = bash scripts/check-abi $(VERSION) $(LIB_A) $(LIB_SO) src/regmap.map src/interposed.list \
	include/regmap/regmap.h $(filter-out %/regmap.h,$(HEADERS))
CHECK_HEADERS = bash scripts/check-headers include $(HEADERS:include/%=%) $(ARM_HEADERS:include/%=%)
CHECK_SIGSAFE = bash scripts/check-sigsafe $(B)/graph.handler src/interposed.list src/sigsafe.allow
CHECK_OBJECTS = bash scripts/check-objects $(B)/graph.obj $(B)/graph.pic
CHECK_GENERAL = bash scripts/check-general $(B)/graph.handler $(B)/graph
CHECK_BINDING = bash scripts/check-binding '$(CC)' $(LIB_A) $(LIB_SO) $(LIBS)
CHECK_STACK = bash scripts/check-stack $(B)/graph.handler $(B)/graph src/sigsafe.allow src/stack.budget \
	docs/limits.md
CHECK_INSTALL = MAKE='$(MAKE)' CC='$(CC)' CFLAGS='$(CFLAGS)' bash scripts/check-install $(OUT)

## check-abi: exported symbols, archive symbols, soname and version are what they should be
check-abi: lib
	@$(CHECK_ABI)
run/check-abi: lib | results
	@$(CASE) check-abi -- $(CHECK_ABI)
## check-headers: every public header compiles alone, as C11, C++11 and C++17
check-headers: | $(READY)
	@$(CHECK_HEADERS)
run/check-headers: | results $(READY)
	@$(CASE) check-headers -- $(CHECK_HEADERS)
## check-sigsafe: what the handler can reach does nothing but what src/sigsafe.allow allows
check-sigsafe: $(GRAPHS) lib
	@$(CHECK_SIGSAFE)
	@$(CHECK_OBJECTS)
	@$(CHECK_GENERAL)
	@$(CHECK_BINDING)
run/check-sigsafe: $(B)/graph.handler | results
	@$(CASE) check-sigsafe -- $(CHECK_SIGSAFE)
run/check-objects: $(GRAPHS) | results
	@$(CASE) check-objects -- $(CHECK_OBJECTS)
run/check-general: $(B)/graph.handler | results
	@$(CASE) check-general -- $(CHECK_GENERAL)
run/check-binding: lib | results
	@$(CASE) check-binding -- $(CHECK_BINDING)
# The checks themselves: they find what is planted.
run/test-hygiene: | results $(READY)
	@$(CASE) test-hygiene -- bash scripts/test-hygiene '$(CC)'
run/test-bench: $(BENCH_BIN) | results
	@$(CASE) test-bench -- bash scripts/test-bench $<
## sigsafe-list: what the handler can reach, and by whom
sigsafe-list: $(B)/graph.handler
	@$(CHECK_SIGSAFE:scripts/check-sigsafe=scripts/check-sigsafe -l)
## check-stack: how much of a stack the handler takes, against what docs/limits.md promises (gcc)
check-stack: $(B)/graph.handler
	@$(CHECK_STACK) || [ $$? = 77 ]
run/check-stack: $(B)/graph.handler | results
	@$(CASE) check-stack -- $(CHECK_STACK)
## check-install: install, use and uninstall in a temporary place
check-install: lib
	+@$(CHECK_INSTALL)
run/check-install: lib | results
	+@$(CASE) check-install -- env $(CHECK_INSTALL)

## check-cli: the regmap command end to end, in a pipe and in a pseudo-terminal; golden outputs are tests/cli/*.out
CHECK_CLI = python3 scripts/check-cli $(OUT)
check-cli: all
	@$(CHECK_CLI)
run/check-cli: all | results
	@$(CASE) check-cli -- $(CHECK_CLI)
## check-firmware: Arm sources by each compiler, standard and level of optimisation; check-readme: its commands
CHECK_FIRMWARE = MAKE='$(MAKE)' CPPFLAGS='$(CPPFLAGS)' bash scripts/check-firmware $(OUT)
CHECK_README = bash scripts/check-readme $(OUT) README.md
check-firmware: all
	+@$(CHECK_FIRMWARE)
run/check-firmware: all | results
	+@$(CASE) check-firmware -- env $(CHECK_FIRMWARE)
check-readme: all
	@$(CHECK_README)
run/check-readme: all | results
	@$(CASE) check-readme -- $(CHECK_README)

## check-static, check-musl: tests/alone linked statically, and against musl (ZYDIS_A=, ZYDIS_SRC=)
CHECK_STATIC = CC='$(CC)' bash scripts/check-static $(OUT)
CHECK_MUSL = bash scripts/check-musl
export ZYDIS_A ZYDIS_SRC
check-static: $(LIB_A)
	+@$(CHECK_STATIC)
run/check-static: $(LIB_A) | results
	+@$(CASE) check-static -- env $(CHECK_STATIC)
check-musl: | $(READY)
	+@$(CHECK_MUSL)
run/check-musl: | results $(READY)
	+@$(CASE) check-musl -- $(CHECK_MUSL)

## check-asan: windows in AddressSanitizer's shadow gap, in programs that it watches
CHECK_ASAN = bash scripts/check-asan $(OUT) $(LIBS)
check-asan: lib
	@$(CHECK_ASAN)
run/check-asan: lib | results
	@$(CASE) check-asan -- $(CHECK_ASAN)

## check-run: regmap run from end to end
CHECK_RUN = CC='$(CC)' bash tests/run/check $(OUT)
check-run: all
	@$(CHECK_RUN)
run/check-run: all | results
	@$(CASE) check-run -- env $(CHECK_RUN)

## sanitize: the tests with address and undefined behaviour sanitizers in the library
sanitize: | $(READY)
	$(Q)$(MAKE) MODE=asan check

## check-threads: the tests that have threads in them, or are about what threads share, and run soon
THREADED := test_threads test_move test_api test_bus test_code test_chain test_trap test_report \
	test_registers test_device_registers test_device_registers_rules \
	$(basename $(notdir $(wildcard tests/test_expert_*.c)))
check-threads: $(addprefix run/tests/,$(THREADED))
	@bash scripts/tally $(R)

## matrix, matrix-quick: some tests under each of many compilers' options; a table
matrix matrix-quick: | $(READY)
	$(Q)BUILD='$(BUILD)' bash scripts/matrix $(if $(filter %quick,$@),quick)

## coverage: the tests with gcov; summary in build/coverage
coverage: | $(READY)
	$(Q)find $(BUILD)/cov -name '*.gcda' -delete 2>/dev/null || :
	$(Q)$(MAKE) MODE=cov check
	$(Q)GCOV='$(GCOV)' bash scripts/coverage $(BUILD)/cov/obj $(BUILD)/coverage $(LIB_C)

## bench: what libregmap costs, and what others would: docs/performance.md (BENCH_ARGS are handed on)
bench: $(BENCH_BIN)
	$(Q)$(BENCH) $(BENCH_ARGS)
BENCH = BENCH_COMMIT="$$(git describe --always --dirty 2>/dev/null)" $(BENCH_BIN)

## bench-compare: BASE=file.json against NEW=file.json, or against what `make bench` measures now
# COMPARE_ARGS: --strict, --margin PERCENT
bench-compare: $(if $(NEW),,$(BENCH_BIN))
	@[ -n '$(BASE)' ] || { echo "bench-compare: which BASE=file.json? make bench BENCH_ARGS='--json file.json' writes one" >&2; exit 2; }
	$(Q)scripts/bench-compare --check '$(BASE)'
	$(Q)$(if $(NEW),,$(BENCH) $(BENCH_ARGS) --json $(B)/bench/new.json)
	$(Q)scripts/bench-compare $(COMPARE_ARGS) '$(BASE)' '$(or $(NEW),$(B)/bench/new.json)'

## plots: docs/performance/*.svg and the tables of docs/performance.md, from JSON=FILE (docs/performance/bench.json)
# Those of another machine's, too, in docs/performance/xeon.md.
JSON ?= docs/performance/bench.json
PLOTS ?= docs/performance
plots: $(patsubst bench/plots/%.gp,plot/%,$(sort $(wildcard bench/plots/*.gp)))
	$(Q)scripts/bench-figures '$(JSON)' '$(PLOTS).md'
	$(Q)scripts/bench-figures docs/performance/xeon.json docs/performance/xeon.md
plot/%: bench/plots/%.gp
	@mkdir -p '$(PLOTS)'
	$(call tell,PLOT,$(PLOTS)/$*.svg)
	$(Q)command -v gnuplot >/dev/null || { echo "plots: gnuplot is missing: make deps" >&2; exit 1; }
	$(Q)gnuplot -e "json='$(JSON)'; out='$(PLOTS)/$*.svg'" $<

## soak: threads, windows, timers and children at once for SECONDS, half of them patched; SEED=n repeats one
# REGMAP_PATCH=n in the environment holds for both halves.
soak: $(SOAK_BIN)
	$(Q)REGMAP_PATCH=$${REGMAP_PATCH:-0} TEST_MODE=$(MODE) $(SOAK_BIN) $$((($(SECONDS) + 1) / 2))
	$(Q)REGMAP_PATCH=$${REGMAP_PATCH:-2} TEST_MODE=$(MODE) $(SOAK_BIN) $$((($(SECONDS) + 1) / 2))

## fuzz: run each fuzz/*.c for FUZZ_TIME seconds (clang); fuzz-keep: its finds become the seeds
ifeq ($(MODE),fuzz)
fuzz: $(FUZZ_BIN)
	$(Q)bash scripts/fuzz run $(FUZZ_TIME) $(FUZZ_BIN)
fuzz-keep: $(FUZZ_BIN)
	$(Q)bash scripts/fuzz keep $(FUZZ_BIN)
else
fuzz fuzz-keep: | $(READY)
	$(Q)$(MAKE) MODE=fuzz CC=clang CXX=clang++ $@
endif

# ---- tools ---------------------------------------------------------------------------------------

FORMATTED := $(sort $(HEADERS) $(ARM_HEADERS) $(wildcard $(foreach d,arch/x86_64 emulator src describe device cli tests \
	tests/lib tests/firmware tests/alone examples bench fuzz soak,$(d)/*.c $(d)/*.h $(d)/*.cc $(d)/*.cpp)))

## format, format-check: clang-format over all C and C++
format: | $(READY)
	$(Q)$(CLANG_FORMAT) -i $(FORMATTED)
format-check: | $(READY)
	$(Q)$(CLANG_FORMAT) --dry-run -Werror $(FORMATTED)

## tidy: clang-tidy over the library
tidy: | $(READY)
	$(Q)$(CLANG_TIDY) --quiet $(LIB_C) -- $(LIB_CFLAGS)

## docs: lint the man pages
docs: | $(READY)
	$(Q)bash scripts/check-docs $(MAN)

## install, uninstall: DESTDIR, PREFIX, BINDIR, LIBDIR, INCLUDEDIR, MANDIR, DATADIR are honoured
rel = $(patsubst $(PREFIX)/%,$${prefix}/%,$(1))
install: lib $(CLI_BIN)
	install -d '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(INCLUDEDIR)/regmap/arm'
	install -m 644 $(HEADERS) '$(DESTDIR)$(INCLUDEDIR)/regmap'
	install -m 644 $(ARM_HEADERS) '$(DESTDIR)$(INCLUDEDIR)/regmap/arm'
	install -m 644 $(LIB_A) '$(DESTDIR)$(LIBDIR)'
	install -m 755 $(OUT)/libregmap.so.$(VERSION) '$(DESTDIR)$(LIBDIR)'
	ln -sf libregmap.so.$(VERSION) '$(DESTDIR)$(LIBDIR)/libregmap.so.$(SOVERSION)'
	ln -sf libregmap.so.$(SOVERSION) '$(DESTDIR)$(LIBDIR)/libregmap.so'
	$(call pc,$(PREFIX),$(call rel,$(LIBDIR)),$(call rel,$(INCLUDEDIR)),,$(call rel,$(DATADIR))) \
		>'$(DESTDIR)$(LIBDIR)/pkgconfig/regmap.pc'
	bash scripts/man install '$(DESTDIR)$(MANDIR)' $(MAN)
	install -D -m 644 tools/regmap-gdb.py '$(DESTDIR)$(DATADIR)/regmap-gdb.py'
	install -m 644 share/regmap/regmap-firmware.mk '$(DESTDIR)$(DATADIR)'
ifneq ($(CLI_BIN),)
	install -D -m 755 $(CLI_BIN) '$(DESTDIR)$(BINDIR)/regmap'
	install -D -m 644 completions/regmap.bash '$(DESTDIR)$(BASHCOMPDIR)/regmap'
	install -D -m 644 completions/_regmap '$(DESTDIR)$(ZSHCOMPDIR)/_regmap'
	install -D -m 644 completions/regmap.fish '$(DESTDIR)$(FISHCOMPDIR)/regmap.fish'
	install -d '$(DESTDIR)$(DATADIR)/devices'
	install -m 644 $(TEMPLATES) '$(DESTDIR)$(DATADIR)/devices'
	install -m 644 devices/regmap.schema.json '$(DESTDIR)$(DATADIR)'
endif
	if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

uninstall:
	rm -f $(patsubst %,'$(DESTDIR)$(INCLUDEDIR)/regmap/%',$(notdir $(HEADERS)) $(addprefix arm/,$(notdir $(ARM_HEADERS))))
	rm -f $(patsubst %,'$(DESTDIR)$(LIBDIR)/%',libregmap.a libregmap.so libregmap.so.$(SOVERSION) \
		libregmap.so.$(VERSION) pkgconfig/regmap.pc)
	bash scripts/man uninstall '$(DESTDIR)$(MANDIR)' $(MAN)
	rm -f $(patsubst %,'$(DESTDIR)$(DATADIR)/%',regmap-gdb.py regmap-firmware.mk regmap.schema.json)
	rm -f '$(DESTDIR)$(BINDIR)/regmap' '$(DESTDIR)$(BASHCOMPDIR)/regmap' \
		'$(DESTDIR)$(ZSHCOMPDIR)/_regmap' '$(DESTDIR)$(FISHCOMPDIR)/regmap.fish'
	rm -f $(patsubst %,'$(DESTDIR)$(DATADIR)/%',$(TEMPLATES))
	-rmdir '$(DESTDIR)$(INCLUDEDIR)/regmap/arm' '$(DESTDIR)$(INCLUDEDIR)/regmap' \
		'$(DESTDIR)$(DATADIR)/devices' '$(DESTDIR)$(DATADIR)' 2>/dev/null
	if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

## dist: build/libregmap-VERSION.tar.gz of the last commit
dist:
	$(Q)mkdir -p $(BUILD)
	$(Q)git archive --prefix=libregmap-$(VERSION)/ -o $(BUILD)/libregmap-$(VERSION).tar.gz HEAD
	$(call tell,DIST,$(BUILD)/libregmap-$(VERSION).tar.gz)

## deps: install the packages that all of this needs (Debian 12, root)
deps:
	@bash scripts/deps $(DEPS)

## clean: remove the build directory
clean:
	$(Q)rm -rf $(BUILD)

help:
	@sed -n 's/^## /  /p' Makefile
	@sed -n '4,12s/^# //p' Makefile
