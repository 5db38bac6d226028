/* SPDX-License-Identifier: MIT */
/**
 * Described devices: a chip's address space from a file or a template.
 *
 * A *layout* says what a device is: regions of memory, peripherals, registers, fields, and rules
 * that say how they behave. It comes from a template that is built in, a TOML, YAML or JSON file, a
 * CMSIS-SVD file, or from calls. docs/devices.md is the reference of what files may say.
 *
 * A *device* is one that lives: it has memory and register values. regmap_device_read() and its kin
 * reach them without a fault; regmap_device_map() lays windows, and then the program's own pointers
 * do.
 *
 * Addresses are *guest* addresses: what the firmware uses. A device with several address spaces (an
 * AVR) has each at an offset, so that one 64-bit number still names one byte.
 *
 * Functions return 0 or a negative errno value and leave errno as it was. Those that can fail in more
 * ways than a number tells take a struct regmap_error, which may be NULL.
 *
 * Unless it says otherwise, a function is MT-Safe as long as no other thread changes or frees the
 * same object, AS-Unsafe (it allocates), and not to be called from a model's callback.
 */
#ifndef REGMAP_DEVICE_H
#define REGMAP_DEVICE_H

#include <stdbool.h>
#include <stdio.h>

#include <regmap/regmap.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct regmap_error - What is wrong, where, and what to do.
 *
 * @text is complete: "board.toml:12:8: region \"SRAM\" ...: ...", one line without a newline. @file,
 * @line and @column say the place again for programs, if there is one; lines and columns count from
 * 1, columns in bytes.
 */
struct regmap_error {
	char text[512];
	char file[256];
	unsigned line, column;
};

/* ---- what a layout is made of ---------------------------------------------------------------- */

/* These structs belong to their layout. Later versions may add members at their ends: they are
 * reached by pointers, never copied. No string is NULL; what was not said is "". */

enum regmap_permission {
	REGMAP_PERMIT_READ = 1,
	REGMAP_PERMIT_WRITE = 2,
	REGMAP_PERMIT_EXECUTE = 4, /* shown, and kept in files: windows are data */
};

enum regmap_region_type {
	REGMAP_REGION_RAM,
	REGMAP_REGION_FLASH,   /* reads are free; writes as its flash rules say */
	REGMAP_REGION_ROM,     /* refuses writes; images can be loaded */
	REGMAP_REGION_MMIO,    /* registers */
	REGMAP_REGION_STORAGE, /* EEPROM, OTP, option bytes: RAM to the bus, kept apart in listings */
	REGMAP_REGION_ALIAS,   /* the same bytes as at target */
	REGMAP_REGION_BITBAND,  /* a word for each bit at target */
	REGMAP_REGION_REVERSED, /* target's 32-bit words, the last one first */
	REGMAP_REGION_EXTERNAL, /* a bus to outside: memory like RAM, if attached */
};

/** What a read or write of a register or field does beside it: the words of CMSIS-SVD. */
enum regmap_read_action {
	REGMAP_READ_PLAIN,
	REGMAP_READ_CLEAR,
	REGMAP_READ_SET,
	REGMAP_READ_MODIFY,          /* a rule or a model says how */
	REGMAP_READ_MODIFY_EXTERNAL, /* likewise, of something else */
};
enum regmap_write_action {
	REGMAP_WRITE_MODIFY, /* the bits become those written */
	REGMAP_WRITE_ONE_TO_CLEAR,
	REGMAP_WRITE_ONE_TO_SET,
	REGMAP_WRITE_ONE_TO_TOGGLE,
	REGMAP_WRITE_ZERO_TO_CLEAR,
	REGMAP_WRITE_ZERO_TO_SET,
	REGMAP_WRITE_ZERO_TO_TOGGLE,
	REGMAP_WRITE_CLEAR, /* any write clears all */
	REGMAP_WRITE_SET,   /* any write sets all */
};

/** CMSIS-SVD accessType. Reads of what is write-only give 0; writes of what is read-only do nothing. */
enum regmap_register_access {
	REGMAP_READ_WRITE,
	REGMAP_READ_ONLY,
	REGMAP_WRITE_ONLY,
	REGMAP_WRITE_ONCE,      /* write-only, the first write after a reset counts */
	REGMAP_READ_WRITE_ONCE, /* can be read; the first write after a reset counts */
};

/** What becomes of an access of a width that isn't allowed. Either way it is reported once per site. */
enum regmap_width_policy {
	REGMAP_WIDTH_DEFAULT, /* memory: FAULT, registers: WARN */
	REGMAP_WIDTH_WARN,    /* carried out in bytes of the registers that it meets */
	REGMAP_WIDTH_FAULT,   /* a bus error */
	REGMAP_WIDTH_ALLOW,   /* as WARN, but not reported */
};

/** Where something was described; line 0: in code. */
struct regmap_source {
	const char *file;
	unsigned line, column;
};

struct regmap_enum_value {
	const char *name, *description;
	uint64_t value;
	bool is_default; /* what every other value is called */
	unsigned usage;  /* enum regmap_access: for reads, writes, or both */
};

/** Access, read and write actions that are 0 (read-write, plain, modify) are those of the register. */
struct regmap_field {
	const char *name, *description;
	unsigned lsb, width; /* bits; within the register */
	enum regmap_register_access access;
	enum regmap_read_action read_action;
	enum regmap_write_action write_action;
	const struct regmap_enum_value *const *values;
	size_t value_count;
	struct regmap_source source;
};

struct regmap_register {
	const char *name, *description;
	uint64_t offset; /* bytes, from its peripheral's address */
	unsigned width;  /* bytes: 1, 2, 4 or 8 */
	enum regmap_register_access access;
	enum regmap_read_action read_action;
	enum regmap_write_action write_action;
	uint64_t reset_value;
	uint64_t reset_mask; /* other bits are 0 after a reset; 0 with a value: all are in it */
	unsigned widths;     /* allowed, 1|2|4|8 in bytes; 0: as the peripheral */
	enum regmap_width_policy width_policy;
	const char
		*alternate; /* another register at the same offset that this is a second view of */
	const struct regmap_field *const *fields;
	size_t field_count;
	struct regmap_source source;
};

struct regmap_interrupt {
	const char *name, *description;
	int number;
};

struct regmap_peripheral {
	const char *name, *description, *group;
	uint64_t address; /* guest address */
	uint64_t length;  /* bytes */
	unsigned widths;  /* allowed, 1|2|4|8; 0: any up to its registers' */
	enum regmap_width_policy width_policy;
	const struct regmap_register *const *registers; /* by offset */
	size_t register_count;
	const struct regmap_interrupt *const *interrupts;
	size_t interrupt_count;
	struct regmap_source source;
};

/** How a flash takes writes. */
enum regmap_flash_policy {
	REGMAP_FLASH_CONTROLLER, /* programming clears bits while program_if holds, else a bus error */
	REGMAP_FLASH_FAULT,      /* every write is a bus error */
	REGMAP_FLASH_IGNORE,     /* every write does nothing */
	REGMAP_FLASH_PROGRAM,    /* every write clears bits */
	REGMAP_FLASH_WRITE,      /* every write writes, as on RAM */
};

struct regmap_flash_sector {
	uint64_t length; /* bytes */
	uint64_t count;  /* sectors of that length, one after the other */
};

struct regmap_region {
	const char *name, *description;
	const char *space;    /* name of its address space; "" if the device has one only */
	uint64_t address;     /* guest address: that of the space and the one in it together */
	uint64_t length;      /* bytes, at least 1 */
	unsigned permissions; /* enum regmap_permission */
	enum regmap_region_type type;
	const char *device;  /* the name that a description gave to what is there */
	const char *content; /* a file with its first content; relative to the description's */
	uint64_t target;     /* alias, bit-band, reversed: guest address of the original */
	unsigned widths;     /* allowed, 1|2|4|8 in bytes; 0: any */
	enum regmap_width_policy width_policy;
	bool detached;     /* external: nothing is connected, an access is a bus error */
	bool program_once; /* storage: bits can only be programmed once (OTP) */
	uint8_t erased;    /* flash, storage: the byte that erased memory has */
	enum regmap_flash_policy flash_policy;
	const char *program_if; /* flash: an expression of the rule language; "" always */
	unsigned program_width; /* flash: bytes that can be programmed at once; 0 any */
	const struct regmap_flash_sector *sectors;
	size_t sector_count;
	struct regmap_source source;
};

struct regmap_space {
	const char *name, *description;
	uint64_t offset; /* guest address of its byte 0 */
};

struct regmap_rule {
	const char *text; /* the rule language: docs/devices.md */
	const char *
		scope; /* "", "PERIPHERAL", "PERIPHERAL.REGISTER" or with a field: where names are looked up first */
	struct regmap_source source;
};

/** struct regmap_layout - What a device is. Not changed once a device has been made of it. */
struct regmap_layout {
	const char *name, *description, *vendor, *cpu, *license;
	uint64_t max_memory; /* bytes that its regions may have together; 0: no limit */
	bool allocate_at_once;
	uint64_t page_size; /* bytes; 0: a page for each region ("region") */
	const struct regmap_space *const *spaces;
	size_t space_count;
	const struct regmap_region *const
		*regions; /* by address; of two with the same one, the longer first */
	size_t region_count;
	const struct regmap_peripheral *const *peripherals; /* by address */
	size_t peripheral_count;
	const struct regmap_rule *const *rules; /* in the order in which they were given */
	size_t rule_count;
};

/* ---- layouts ----------------------------------------------------------------------------------- */

enum regmap_format {
	REGMAP_FORMAT_AUTO, /* by the name's ending, and by the content where that says otherwise */
	REGMAP_FORMAT_TOML,
	REGMAP_FORMAT_YAML,
	REGMAP_FORMAT_JSON,
	REGMAP_FORMAT_SVD, /* can't be written */
};

/** regmap_template_name() - Name of a template: 0, 1, ...; NULL behind the last. AS-Safe. */
REGMAP_API const char *regmap_template_name(unsigned index);
/** regmap_template_text() - The TOML text of a template, by its name without regard to case; NULL: none. AS-Safe. */
REGMAP_API const char *regmap_template_text(const char *name);

/**
 * regmap_layout_from_template() - One of the built-in devices.
 * @name: without regard to case.
 * Return: 0; -ENOENT no such template (@error lists those there are); -ENOMEM.
 */
REGMAP_API int regmap_layout_from_template(const char *name, struct regmap_layout **out,
                                           struct regmap_error *error) REGMAP_MUST_CHECK;

/**
 * regmap_layout_from_file() - A description or an SVD file.
 *
 * Return: 0; -EINVAL it is wrong; -ELOOP includes go in a circle; -E2BIG a limit of docs/devices.md; -ENOMEM;
 *         what open() or read() say. @error has the place and what to do; nothing is left behind.
 */
REGMAP_API int regmap_layout_from_file(const char *path, enum regmap_format format,
                                       struct regmap_layout **out,
                                       struct regmap_error *error) REGMAP_MUST_CHECK;

/**
 * regmap_layout_from_string() - The same from memory.
 * @name: for messages, and includes are looked up beside it; NULL: "<string>", and the working directory.
 */
REGMAP_API int regmap_layout_from_string(const char *text, size_t length, enum regmap_format format,
                                         const char *name, struct regmap_layout **out,
                                         struct regmap_error *error) REGMAP_MUST_CHECK;

/**
 * regmap_layout_overlay_file() - Add to and correct a layout by names.
 *
 * @layout is as before if that fails. Return: as regmap_layout_from_file(); -ENOENT what is named isn't there.
 */
REGMAP_API int regmap_layout_overlay_file(struct regmap_layout *layout, const char *path,
                                          struct regmap_error *error) REGMAP_MUST_CHECK;
REGMAP_API int regmap_layout_overlay_string(struct regmap_layout *layout, const char *text,
                                            size_t length, enum regmap_format format,
                                            const char *name,
                                            struct regmap_error *error) REGMAP_MUST_CHECK;

/* Layouts built in code. What is handed over is copied, strings and lists with it; NULL strings are
 * "". Each checks what it adds, and adds nothing if that is wrong: -EINVAL, -EEXIST, -ENOENT, -ENOMEM. */
REGMAP_API int regmap_layout_new(const char *name, struct regmap_layout **out) REGMAP_MUST_CHECK;
REGMAP_API int regmap_layout_add_space(struct regmap_layout *layout,
                                       const struct regmap_space *space,
                                       struct regmap_error *error) REGMAP_MUST_CHECK;
REGMAP_API int regmap_layout_add_region(struct regmap_layout *layout,
                                        const struct regmap_region *region,
                                        struct regmap_error *error) REGMAP_MUST_CHECK;
/** With its registers and fields, if it has some. */
REGMAP_API int regmap_layout_add_peripheral(struct regmap_layout *layout,
                                            const struct regmap_peripheral *peripheral,
                                            struct regmap_error *error) REGMAP_MUST_CHECK;
REGMAP_API int regmap_layout_add_register(struct regmap_layout *layout, const char *peripheral,
                                          const struct regmap_register *reg,
                                          struct regmap_error *error) REGMAP_MUST_CHECK;
/** @scope: see struct regmap_rule. */
REGMAP_API int regmap_layout_add_rule(struct regmap_layout *layout, const char *scope,
                                      const char *rule,
                                      struct regmap_error *error) REGMAP_MUST_CHECK;

REGMAP_API void regmap_layout_free(struct regmap_layout *layout);

/**
 * regmap_layout_save() - Write a layout as a description.
 * @text: malloc()ed, terminated; the caller frees it. Loading it gives an equal layout.
 */
REGMAP_API int regmap_layout_save(const struct regmap_layout *layout, enum regmap_format format,
                                  char **text, size_t *length,
                                  struct regmap_error *error) REGMAP_MUST_CHECK;

/** Called for each thing that regmap_layout_check() finds. */
typedef void (*regmap_check_fn)(void *ctx, bool is_error, const struct regmap_error *found);

/**
 * regmap_layout_check_file() - All that is wrong with a description, not only the first thing.
 *
 * Beside the errors that loading would give, warnings: gaps between adjoining regions, peripherals
 * outside of any region, registers that overlap, names that occur twice, rules that never apply.
 *
 * Return: the number of errors; negative: it couldn't be read.
 */
REGMAP_API int regmap_layout_check_file(const char *path, enum regmap_format format,
                                        regmap_check_fn found, void *ctx);

/* ---- names and addresses ------------------------------------------------------------------------ */

/** What a name or an address is: the innermost is the last that isn't NULL. */
struct regmap_place {
	const struct regmap_region *region;
	const struct regmap_peripheral *peripheral;
	const struct regmap_register *reg;
	const struct regmap_field *field;
	uint64_t address; /* guest address of its first byte */
	uint64_t length;  /* bytes */
};

/**
 * regmap_layout_find() - By name: "SRAM", "RCC", "RCC.APB2ENR", "RCC.APB2ENR.USART1EN".
 *
 * If nothing is spelt just so, case doesn't count; registers of clusters and arrays are found as C has them,
 * too ("TIM.CH[1].CR" is TIM's CH1_CR), and those that begin with their peripheral's name without that
 * ("ADC.CR" is ADC's ADC_CR). Return: 0; -ENOENT. AS-Safe.
 */
REGMAP_API int regmap_layout_find(const struct regmap_layout *layout, const char *name,
                                  struct regmap_place *place) REGMAP_MUST_CHECK;

/**
 * regmap_layout_find_at() - By address: the innermost region, the peripheral and the register there.
 * Return: 0; -ENOENT nothing is there. AS-Safe.
 */
REGMAP_API int regmap_layout_find_at(const struct regmap_layout *layout, uint64_t address,
                                     struct regmap_place *place) REGMAP_MUST_CHECK;

/**
 * regmap_layout_describe() - Name an address: "RCC.CR", "RCC.CR+1", "SRAM+0x10", or where nothing is, "0x150 behind SRAM".
 * Return: @to, terminated. AS-Safe.
 */
REGMAP_API const char *regmap_layout_describe(const struct regmap_layout *layout, uint64_t address,
                                              char *to, size_t size);

/** regmap_layout_print_map() - The regions and peripherals as a table. */
REGMAP_API int regmap_layout_print_map(const struct regmap_layout *layout, FILE *to);

/* ---- devices ------------------------------------------------------------------------------------ */

struct regmap_device;

/** How many can live at once. */
enum { REGMAP_DEVICES = 64 };

/**
 * regmap_device_from_layout() - Make a device: memory and registers as after a reset.
 * @layout: copied.
 *
 * Memory is there when it is touched, so that size costs nothing; with allocate_at_once it is all
 * taken by regmap_device_allocate(), unless nobody asked for that and there isn't so much.
 *
 * Addresses are those below 2^56. Memory that isn't zero at first (erased flash, storage) comes in
 * blocks of 256 KB where a region has more than 4 MB, each filled when it is first touched.
 *
 * Memory is shared with child processes, as that of windows is (REGMAP_RAM): both see what either
 * writes, but for blocks that neither had touched before the fork. Registers are each one's own.
 *
 * Return: 0; -EINVAL a wrong layout (rules are compiled here), or an address of 2^56 and more;
 *         -EMFILE there are REGMAP_DEVICES; -ENOMEM; what regmap_device_load_file() says of a region's content.
 */
REGMAP_API int regmap_device_from_layout(const struct regmap_layout *layout,
                                         struct regmap_device **out,
                                         struct regmap_error *error) REGMAP_MUST_CHECK;
REGMAP_API int regmap_device_from_template(const char *name, struct regmap_device **out,
                                           struct regmap_error *error) REGMAP_MUST_CHECK;
REGMAP_API int regmap_device_from_config(const char *path, struct regmap_device **out,
                                         struct regmap_error *error) REGMAP_MUST_CHECK;
/** Unmaps it, and waits for accesses under way in other threads. NULL does nothing. */
REGMAP_API void regmap_device_free(struct regmap_device *device);

/**
 * regmap_device_allocate() - Take all memory now: -ENOMEM comes here rather than later.
 *
 * Where the layout's allocate_at_once is false, all stay lazy, and this does nothing. So it does where that is
 * true by default, and the system has less free than the regions take. Idempotent. regmap_device_read()
 * and its kin work without it.
 *
 * Return: 0; -ENOMEM a description says allocate_at_once = true, and the system has less than that free: the
 *         device works as before.
 */
REGMAP_API int regmap_device_allocate(struct regmap_device *device,
                                      struct regmap_error *error) REGMAP_MUST_CHECK;

/**
 * regmap_device_map() - Lay windows: guest address + @offset becomes dereferenceable in this process.
 *
 * RAM is mapped there where that can be, and costs nothing; flash and ROM are free to read; registers fault,
 * and are answered by the device. May be called again with another offset. Guest address + @offset is
 * taken modulo 2^64, so that an address space of the device can be moved down, too. Page 0 can be mapped.
 *
 * Return: 0; -EADDRINUSE, -EEXIST a range is taken: @error says which and by what; nothing is left mapped; -ENOMEM.
 */
REGMAP_API int regmap_device_map(struct regmap_device *device, uint64_t offset,
                                 struct regmap_error *error) REGMAP_MUST_CHECK;
/** One region with those inside of it, or (@name a space's) one address space, alone. -ENOENT no such name. */
REGMAP_API int regmap_device_map_one(struct regmap_device *device, const char *name,
                                     uint64_t offset, struct regmap_error *error) REGMAP_MUST_CHECK;
/** Takes all of its windows away again. */
REGMAP_API int regmap_device_unmap(struct regmap_device *device);

/**
 * regmap_device_base() - The address space of its own: guest address + base is dereferenceable from the start.
 *
 * That is a non-canonical address, so every access faults. Return: the base. AS-Safe.
 */
REGMAP_API uint64_t regmap_device_base(const struct regmap_device *device);

REGMAP_API const struct regmap_layout *regmap_device_layout(const struct regmap_device *device);

/**
 * regmap_device_read(), regmap_device_write() - Copy from and to guest addresses, as the bus would see it.
 *
 * A range may cross adjoining regions. Registers see naturally aligned pieces, and their effects happen.
 *
 * Return: 0; -EFAULT a byte lies in nothing, -EACCES a permission: then nothing was done; -EIO what a
 *         region's rules refuse; else what a model returned. MT-Safe. From a callback, too.
 */
REGMAP_API int regmap_device_read(struct regmap_device *device, uint64_t guest, void *to,
                                  size_t length) REGMAP_MUST_CHECK;
REGMAP_API int regmap_device_write(struct regmap_device *device, uint64_t guest, const void *from,
                                   size_t length) REGMAP_MUST_CHECK;

/**
 * regmap_device_get(), regmap_device_set() - A register or field by name, as the bus would see it.
 *
 * "RCC.CR", "RCC.CR.HSEON". To set a field is to read its register and write it back. Return: as
 * regmap_device_read(); -ENOENT no such name; -ERANGE @value doesn't fit. MT-Safe. From a callback, too.
 */
REGMAP_API int regmap_device_get(struct regmap_device *device, const char *name,
                                 uint64_t *value) REGMAP_MUST_CHECK;
REGMAP_API int regmap_device_set(struct regmap_device *device, const char *name,
                                 uint64_t value) REGMAP_MUST_CHECK;

/**
 * regmap_device_peek(), regmap_device_poke() - The stored value, from inside: no effects, no
 * permissions, no rules but those that make one value follow another.
 *
 * How a model, or a test, plays the hardware. MT-Safe. From a callback, too.
 */
REGMAP_API int regmap_device_peek(struct regmap_device *device, const char *name,
                                  uint64_t *value) REGMAP_MUST_CHECK;
REGMAP_API int regmap_device_poke(struct regmap_device *device, const char *name,
                                  uint64_t value) REGMAP_MUST_CHECK;

/**
 * regmap_device_translate() - Host memory behind a guest address, good up to the end of its region, or a region inside of that.
 *
 * Of flash and storage of more than 4 MB that is erased to another byte than 0, up to the next multiple of
 * 256 KB. What is written there goes past permissions, flash rules and widths.
 *
 * Return: 0; -EFAULT nothing there; -ENODEV registers, a bit-band, words that are reversed, or nothing
 *         connected; -ENOMEM. AS-Safe.
 */
REGMAP_API int regmap_device_translate(struct regmap_device *device, uint64_t guest,
                                       void **host) REGMAP_MUST_CHECK;
/** The way back, also from where it is mapped: -EFAULT not memory of this device. AS-Safe. */
REGMAP_API int regmap_device_translate_back(struct regmap_device *device, const void *host,
                                            uint64_t *guest) REGMAP_MUST_CHECK;

/** Regions by number, name and address: NULL: none. AS-Safe. */
REGMAP_API size_t regmap_device_region_count(const struct regmap_device *device);
REGMAP_API const struct regmap_region *regmap_device_region(const struct regmap_device *device,
                                                            size_t index);
REGMAP_API const struct regmap_region *regmap_device_region_named(
	const struct regmap_device *device, const char *name);
REGMAP_API const struct regmap_region *regmap_device_region_at(const struct regmap_device *device,
                                                               uint64_t guest);
/** The map, with where each region is mapped and how much memory it has taken. -EINVAL. */
REGMAP_API int regmap_device_print_map(const struct regmap_device *device, FILE *to);

/**
 * regmap_device_reset() - Registers as after a reset; RAM and flash keep what they have.
 *
 * With @memory, they are as when the device was made: first content is read from its file again.
 * Pointers to memory stay good. Not while other threads write to it.
 *
 * Return: 0; what regmap_device_load_file() says.
 */
REGMAP_API int regmap_device_reset(struct regmap_device *device, bool memory);

/* ---- models --------------------------------------------------------------------------------------- */

/**
 * struct regmap_model - C in place of, or beside, the rules of a register or peripheral.
 *
 * @read: *@value is what the rules and the stored value would give; change it at will.
 * @write: *@value is what was written; it is stored as described, and rules run, when this returns 0.
 * @written: after that. @reset: after a reset; @reg is NULL.
 * @reg is NULL where the peripheral has no register; @offset counts from the peripheral, @width is bytes.
 *
 * They run as device callbacks do (struct regmap_device_ops): on the accessing thread, under no lock of
 * the library's. They may call regmap_device_peek(), _poke(), _read(), _write() and so on.
 *
 * Return: 0; -errno: a bus error, and nothing is stored. Any may be NULL.
 */
struct regmap_model {
	size_t size; /* sizeof(struct regmap_model) */
	int (*read)(void *ctx, struct regmap_device *device, const struct regmap_register *reg,
	            uint64_t offset, unsigned width, uint64_t *value);
	int (*write)(void *ctx, struct regmap_device *device, const struct regmap_register *reg,
	             uint64_t offset, unsigned width, uint64_t *value);
	void (*written)(void *ctx, struct regmap_device *device, const struct regmap_register *reg,
	                uint64_t offset, unsigned width, uint64_t value);
	void (*reset)(void *ctx, struct regmap_device *device);
};

/**
 * regmap_device_attach() - Give a peripheral ("USART1") or a register ("USART1.DR") a model.
 * @model: copied. NULL takes it away. The register's comes before the peripheral's.
 * Return: 0; -ENOENT no such name; -EINVAL; -ENOMEM.
 */
REGMAP_API int regmap_device_attach(struct regmap_device *device, const char *name,
                                    const struct regmap_model *model, void *ctx) REGMAP_MUST_CHECK;

/** struct regmap_device_access - One access to a region that is not mapped directly. */
struct regmap_device_access {
	uint64_t address; /* guest address */
	uint64_t value;
	unsigned width; /* bytes */
	bool is_write;
	int error;   /* 0 or -errno */
	uint64_t ip; /* of the instruction; 0: by a call */
	const struct regmap_region *region;
	const struct regmap_peripheral *peripheral;
	const struct regmap_register *reg;
};
typedef void (*regmap_watch_fn)(void *ctx, struct regmap_device *device,
                                const struct regmap_device_access *access);

/** regmap_device_watch() - See every access to registers and other trapped regions after it was made. NULL: no more. */
REGMAP_API int regmap_device_watch(struct regmap_device *device, regmap_watch_fn watch, void *ctx);

/* ---- images ---------------------------------------------------------------------------------------- */

enum regmap_image_format {
	REGMAP_IMAGE_AUTO, /* by its content; what is none of the others is raw. To save: by the name's ending */
	REGMAP_IMAGE_RAW,
	REGMAP_IMAGE_HEX,  /* Intel HEX */
	REGMAP_IMAGE_SREC, /* Motorola S-record */
	REGMAP_IMAGE_ELF,  /* by its segments, at their physical addresses; can't be saved */
};

/**
 * regmap_device_load_file() - Put an image into memory: flash, ROM and storage too, whatever their rules.
 * @guest: where a raw image goes; is added to the addresses of the others.
 * @entry: its entry point, if it has one; may be NULL.
 *
 * Return: 0; -EINVAL a wrong file; -EFAULT a byte of it would lie in nothing: @error says which; then
 *         nothing is loaded; -ENOMEM; what open() or read() say.
 */
REGMAP_API int regmap_device_load_file(struct regmap_device *device, uint64_t guest,
                                       const char *path, enum regmap_image_format format,
                                       uint64_t *entry,
                                       struct regmap_error *error) REGMAP_MUST_CHECK;
/**
 * regmap_device_save_file() - Write @length bytes of memory at @guest to a file.
 *
 * Return: 0; -EFAULT a byte lies in no memory; -EINVAL an ELF file; what open() and write() say: then a
 *         regular file is removed.
 */
REGMAP_API int regmap_device_save_file(struct regmap_device *device, uint64_t guest,
                                       uint64_t length, const char *path,
                                       enum regmap_image_format format,
                                       struct regmap_error *error) REGMAP_MUST_CHECK;

/* ---- statistics -------------------------------------------------------------------------------------- */

/** Accesses to what is not mapped directly; those of models' own are not counted. */
struct regmap_device_stats {
	size_t size; /* sizeof(struct regmap_device_stats) */
	uint64_t reads, writes;
	uint64_t refused; /* ended as a bus error */
	uint64_t regions;
	uint64_t length;    /* bytes of all regions that have memory */
	uint64_t allocated; /* bytes of these that have been touched */
	bool is_allocated;  /* by regmap_device_allocate() */
};
REGMAP_API int regmap_device_stats(struct regmap_device *device, struct regmap_device_stats *stats);
/** Of one region, peripheral or register by name; @reads and @writes may be NULL. */
REGMAP_API int regmap_device_stats_of(struct regmap_device *device, const char *name,
                                      uint64_t *reads, uint64_t *writes) REGMAP_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
