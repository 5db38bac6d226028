/* SPDX-License-Identifier: MIT */
/**
 * libregmap - make any address dereferenceable (Linux, x86-64).
 *
 * A *window* is a byte range of guest addresses that libregmap owns. The program reads and writes
 * it with ordinary instructions; an access that faults is decoded and carried out on what stands
 * behind the window, its *backing*: host memory, a device model, another window, or the CPU's own
 * register file. See regmap(7).
 *
 * Every function returns 0 or a negative errno value and leaves errno as it was. The words behind
 * "Context:" are those of attributes(7). Linking the library defines sigaction(), signal() and
 * their kin (see regmap(7), "SIGNALS"): a handler that the program installs for SIGSEGV or SIGBUS
 * goes on receiving every fault that is not an access to a window.
 */
#ifndef REGMAP_REGMAP_H
#define REGMAP_REGMAP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define REGMAP_VERSION_MAJOR 0
#define REGMAP_VERSION_MINOR 1
#define REGMAP_VERSION_PATCH 0
#define REGMAP_VERSION "0.1.0"

#ifndef REGMAP_API
#define REGMAP_API __attribute__((visibility("default")))
#endif
#define REGMAP_MUST_CHECK __attribute__((warn_unused_result))

#ifdef __cplusplus
extern "C" {
#endif

/** What a window allows. Both bits may be set. */
enum regmap_access {
	REGMAP_READ = 1,
	REGMAP_WRITE = 2,
};

/** What stands behind a window. */
enum regmap_backing {
	REGMAP_RAM,  /* zeroed memory of the window's own, at the guest address where that can be */
	REGMAP_HOST, /* memory of the program's, at config.host */
	REGMAP_DEVICE, /* callbacks, config.ops */
	REGMAP_ALIAS,  /* the same bytes as the windows at config.target */
};

enum regmap_flags {
	REGMAP_TRAP = 1,    /* never map directly, even where it is possible */
	REGMAP_PRIVATE = 2, /* REGMAP_RAM: a child process gets a copy of its own */
	/*
	 * REGMAP_DEVICE: the callbacks, and all that they call, use general registers only. A patched
	 * site then calls them without keeping vector state: see regmap_patch(). A promise that nobody
	 * checks: compile them with -mgeneral-regs-only, and call nothing that wasn't, libc included.
	 */
	REGMAP_GENERAL = 4,
	REGMAP_READ_DIRECT = 8, /* REGMAP_DEVICE: reads are those of memory, see regmap_map() */
};

/**
 * struct regmap_device_ops - A device model.
 *
 * @read and @write see the accesses that the architecture makes, one call each, in program order:
 * @offset bytes from the start of the window, @width 1, 2, 4 or 8 bytes, naturally aligned at the
 * guest address, @value in host (little-endian) order, zero above @width. A misaligned access comes
 * as its naturally aligned pieces from low to high, one wider than 8 bytes as 8-byte pieces from
 * low to high; elements of a vector that a mask switches off don't come at all. A read-modify-write
 * is one read and one write, and that of a LOCKed instruction keeps other threads' LOCKed
 * instructions and stores on the window waiting; plain reads go on beside it.
 *
 * They run on the thread that made the access, in the middle of that instruction, on the stack (the
 * alternate one, if the thread has one) of a signal handler whose signal mask is the program's own:
 * as if the instruction called them. Only in the two callbacks of a read-modify-write, handlers of
 * signals that are sent (other than SIGINT, SIGQUIT, SIGTERM, SIGABRT) wait until it is done; a system
 * call that such a signal interrupts may say EINTR, and from then on the signals are blocked. They may lock,
 * allocate, print, access other windows, fork, and leave by longjmp() or a C++ exception; the
 * instruction then never happened as far as registers and memory are concerned. Whatever they lock,
 * the accessing code must not hold. What they make of errno the accessing code does not see, as it
 * makes no call.
 *
 * Return: 0, or -errno, which makes the access a bus error: SIGBUS with si_addr the guest address.
 *         A null callback refuses that direction like -EACCES.
 */
struct regmap_device_ops {
	int (*read)(void *ctx, uint64_t offset, unsigned width, uint64_t *value);
	int (*write)(void *ctx, uint64_t offset, unsigned width, uint64_t value);
};

/** A window, from regmap_map() to regmap_unmap(). */
struct regmap_window;

/**
 * struct regmap_config - What regmap_map() is to lay.
 *
 * Set all that is not named to zero. @size lets later versions add members.
 */
struct regmap_config {
	size_t size;      /* sizeof(struct regmap_config) */
	const char *name; /* shown in reports; copied; NULL: the backing's name */
	uint64_t guest;   /* first guest address; any of the 2^64, any alignment */
	uint64_t length;  /* bytes, at least 1; guest + length - 1 must not wrap */
	unsigned access;  /* enum regmap_access */
	enum regmap_backing backing;
	unsigned flags;                      /* enum regmap_flags */
	void *host;                          /* REGMAP_HOST: at least length bytes */
	const struct regmap_device_ops *ops; /* REGMAP_DEVICE */
	void *ctx;                           /* REGMAP_DEVICE: handed to the callbacks */
	uint64_t target;                     /* REGMAP_ALIAS: guest address of the original */
	uint64_t fill; /* the byte that memory of the window's own has at first: see regmap_map() */
};

/**
 * regmap_map_registers() - Make page 0 the register file of each thread.
 *
 * Guest addresses 0x000-0xFFF then hold the registers of the thread that accesses them, as
 * <regmap/registers.h> lists. What is not in that list stays a null-pointer fault. Idempotent.
 *
 * Return: 0; -EEXIST a window lies in page 0; -EADDRINUSE the program has something mapped there;
 *         -ENOSYS no XSAVE; -ENOMEM.
 * Context: MT-Safe (map lock). AS-Unsafe (allocates). From a callback, too.
 * Since: 0.1
 */
REGMAP_API int regmap_map_registers(void) REGMAP_MUST_CHECK;

/** map_registers() - A weak alias of regmap_map_registers(). */
REGMAP_API int map_registers(void);

/**
 * regmap_map() - Lay one window over guest addresses.
 * @config: copied; @config->host and @config->ctx are borrowed until regmap_unmap() returns.
 * @out:    the window; NULL if the caller never unmaps.
 *
 * The window is there for every thread when the call returns. Several windows may share a page. A
 * window laid inside a larger one wins there, whichever came first; equal or crossing ranges are an
 * error. Pages that the program can't have mapped (below vm.mmap_min_addr, the kernel half,
 * non-canonical addresses) need no room; all others are reserved, so that neither the heap nor a
 * later mmap() lands in a window.
 *
 * REGMAP_RAM: whole pages of the window are mapped at the guest address and cost nothing to access,
 * unless REGMAP_TRAP is set, another window lies in the page, the window is write-only, the kernel
 * has no such address or no more mappings (vm.max_map_count); of a read-only window the reads are
 * free, and regmap_translate() finds the memory to fill it. It is shared with child processes.
 *
 * REGMAP_PRIVATE: a child process, by fork() or any other way that gives it a memory of its own,
 * finds the bytes as they were and then has them for itself, as its parent has. Such a window is
 * direct only as a whole: if it is whole pages, may be both read and written, and no window lies
 * inside. One laid inside later makes all of it trap, for good.
 *
 * REGMAP_ALIAS: an access at guest + n is an access at target + n, whatever window lies there at
 * that moment, and must be allowed by both. Where none lies, it is a SIGSEGV at the alias's own
 * address. Chains of aliases may be 8 long. Where a whole page of the alias shows a whole page that
 * could be direct (REGMAP_RAM that isn't private, REGMAP_READ_DIRECT), it is mapped at the alias,
 * too, with the rights that both give; REGMAP_TRAP on either prevents that. Whatever is mapped and
 * unmapped at the target, an access through the alias shows it at once.
 *
 * REGMAP_READ_DIRECT: of a device whose registers may be read without its model, as reads have no
 * effect (flash, ROM, configuration). The window has memory of its own, zeroed at first and shared with
 * child processes like REGMAP_RAM, and a read is one of that memory: ops->read is never called and
 * may be null. Writes go to ops->write alone, which puts into the memory what is to be read then;
 * regmap_translate() has the address where it can. A read-modify-write is a read of the memory and
 * a call of ops->write. Whole pages are mapped for reading, like those of read-only RAM, so that
 * reads are free; in a page that other windows share, reads trap and are answered from the memory. A
 * register whose reads do have effects is a REGMAP_DEVICE window laid inside. Without REGMAP_WRITE
 * the window is a ROM, and ops may be NULL.
 *
 * @config->fill, of REGMAP_RAM that isn't private and of REGMAP_READ_DIRECT: a byte other than zero
 * that each byte of the memory is at first, for every thread that sees the window. All of it is
 * taken at once then, where zeroed memory is taken as it is touched.
 *
 * @config, its name and its operations are read before anything else happens: where they can't be,
 * that is the caller's own fault, like that of strlen().
 *
 * Return: 0; -EINVAL a wrong @config (empty or wrapping range, unknown bits, a missing member);
 *         -EEXIST equals or crosses another window; -EADDRINUSE the program has something mapped
 *         there (one line on stderr names it); -ENOMEM; -ELOOP an alias of itself.
 * Context: MT-Safe (map lock). AS-Unsafe (allocates). From a callback, too.
 * Since: 0.1
 */
REGMAP_API int regmap_map(const struct regmap_config *config,
                          struct regmap_window **out) REGMAP_MUST_CHECK;

/**
 * regmap_unmap() - Take a window away.
 * @window: from regmap_map(); NULL does nothing.
 *
 * Accesses under way in other threads are waited for: when it returns, nobody uses the window's
 * host memory, callbacks or context any more, but for callbacks of the calling thread that have not
 * returned. What lay under the window shows again.
 *
 * Threads that are in callbacks of windows which they unmap for each other would wait for ever: the
 * one that comes last gets -EDEADLK, and its window stays. Let it try again after its callback.
 *
 * Return: 0; -EINVAL not a window; -EDEADLK see above. @window is compared, never followed, so any
 *         pointer will do; that of a window which has gone is not one, until the memory becomes
 *         that of a later window.
 * Context: MT-Safe (map lock; waits for other threads' callbacks). AS-Unsafe. From a callback, too,
 *          that of this very window included.
 * Since: 0.1
 */
REGMAP_API int regmap_unmap(struct regmap_window *window);

/**
 * regmap_read() - Copy from guest addresses, through windows, without a fault.
 * @guest:  first guest address; the range may cross windows, but every byte must lie in one.
 * @to:     @length bytes of the program's.
 *
 * A device sees what an access by the CPU would show it: naturally aligned pieces of at most 8
 * bytes.
 *
 * Return: 0; -EFAULT a byte lies in no window; -EACCES a write-only window; -ELOOP a chain of
 *         aliases that is too long; -EOPNOTSUPP the register page: then nothing was read. Else what
 *         the device returned, which may have seen the accesses before that.
 * Context: MT-Safe. AS-Safe, as far as the device is. From a callback, too.
 * Since: 0.1
 */
REGMAP_API int regmap_read(uint64_t guest, void *to, size_t length) REGMAP_MUST_CHECK;

/**
 * regmap_write() - Copy to guest addresses, through windows, without a fault.
 *
 * The mirror of regmap_read(). Nothing is written where any byte can't be.
 */
REGMAP_API int regmap_write(uint64_t guest, const void *from, size_t length) REGMAP_MUST_CHECK;

/**
 * regmap_readv() - Copy from several guest ranges to several pieces of memory, without a fault.
 * @to:    memory of the program's, filled in this order.
 * @from:  guest ranges: iov_base is the first guest address, iov_len the bytes.
 *
 * What process_vm_readv() is to read(): the bytes of @from, one range after the other, become the
 * bytes of @to. Both lists must hold the same number of bytes; entries may be empty. A device sees
 * what regmap_read() of each guest range would show it, however @to is cut.
 *
 * Return: 0; -EINVAL the lists differ in bytes, or one overflows; -EFAULT, -EACCES, -ELOOP,
 *         -EOPNOTSUPP as regmap_read(), for any of the ranges: then nothing was read. Else what
 *         the device returned, which may have seen the accesses before that.
 * Context: MT-Safe. AS-Safe, as far as the devices are. From a callback, too.
 * Since: 0.1
 */
REGMAP_API int regmap_readv(const struct iovec *to, size_t to_count, const struct iovec *from,
                            size_t from_count) REGMAP_MUST_CHECK;

/**
 * regmap_writev() - Copy from several pieces of memory to several guest ranges, without a fault.
 *
 * The mirror of regmap_readv(). Nothing is written where any byte can't be.
 */
REGMAP_API int regmap_writev(const struct iovec *to, size_t to_count, const struct iovec *from,
                             size_t from_count) REGMAP_MUST_CHECK;

/**
 * regmap_read_string() - Copy a string from guest addresses, without a fault.
 * @to:     @size bytes of the program's; a terminated string whenever the call returns anything
 *          but -EINVAL. Bytes behind its end keep their values.
 * @length: what strlen(@to) would say; may be NULL.
 *
 * A device sees reads of one byte each, from the first to the NUL and none behind that, and never
 * more than @size.
 *
 * Return: 0; -EINVAL @size is 0 or @to is NULL; -E2BIG no NUL among the first @size bytes: @to has
 *         the first @size - 1; -EFAULT, -EACCES, -ELOOP, -EOPNOTSUPP as regmap_read(), for the byte
 *         behind those that @to has; else what the device returned for that byte.
 * Context: MT-Safe. AS-Safe, as far as the devices are. From a callback, too.
 * Since: 0.1
 */
REGMAP_API int regmap_read_string(uint64_t guest, char *to, size_t size,
                                  size_t *length) REGMAP_MUST_CHECK;

/**
 * regmap_translate() - Find the host memory behind a guest address.
 * @host: where the byte lies; good for the rest of its window, up to a window laid inside, as long
 *        as that window stays mapped. Alignment and access rights are the caller's to keep.
 *
 * Of a window that is read-only or REGMAP_READ_DIRECT, the memory can be written there all the same.
 *
 * Return: 0; -EFAULT no window there, or @host is NULL; -ENODEV what has no host memory (device, register page).
 * Context: MT-Safe. AS-Safe. From a callback, too.
 * Since: 0.1
 */
REGMAP_API int regmap_translate(uint64_t guest, void **host) REGMAP_MUST_CHECK;

/**
 * regmap_signal_stacks() - Give every thread an alternate signal stack that has none of its own.
 * @bytes: of each stack; 0: a default (128 KB and what the kernel's frame takes).
 *
 * An access by a thread whose own stack lies in a trapped window, or is too small for the kernel's
 * frame, needs a stack to be carried out on: see sigaltstack(2). From this call on, each thread has
 * one, above a guard page, from its start routine's first instruction to its last: the calling
 * thread and the others that exist at once, new ones by pthread_create() and thrd_create(), which
 * libregmap defines. A thread that came by otherwise (clone(), SIGEV_THREAD) gets its one at its
 * first access to a window. Memory is taken when a stack is used; those of dead threads are used
 * again.
 *
 * The program doesn't see these stacks: sigaltstack() says SS_DISABLE, installs a stack of the
 * program's own all the same, and brings back libregmap's when that is disabled. Faults that are
 * the program's arrive at its handlers on the interrupted stack, as if there were none. Only
 * handlers of other signals than SIGSEGV, SIGBUS, SIGSYS, SIGFPE and SIGILL that have SA_ONSTACK do run on
 * them.
 *
 * Threads that exist already are reached by a signal, which may end a wait of theirs with EINTR (as
 * a stop and SIGCONT would): call it early. Called again, it gives stacks to those without, and
 * larger ones if @bytes is more; they never get smaller. REGMAP_SIGNAL_STACKS=bytes in the
 * environment does the same for a program that doesn't call it.
 *
 * Return: 0; -EINVAL @bytes is not 0 and less than AT_MINSIGSTKSZ + 8192 or more than 1 GB; -ENOMEM;
 *         -ENOENT there is no /proc to find existing threads in: only the others are served.
 * Context: MT-Safe (map lock). AS-Unsafe (allocates). From a callback, too.
 * Since: 0.1
 */
REGMAP_API int regmap_signal_stacks(size_t bytes) REGMAP_MUST_CHECK;

/**
 * regmap_syscalls() - Let the calling thread's system calls reach trapped windows, or no longer.
 * @on: 1 or 0.
 *
 * From then on each system call of the thread arrives as a SIGSYS first. A call with no buffer in a
 * trapped window is made as ever, by the program's own registers. Buffers in windows are copied:
 * what the call reads before, what it has written after, as far as its result says it wrote. Devices
 * see these as regmap_read() and regmap_write() would show them. Which calls know windows is listed
 * in regmap_syscalls(3); to the others, and where a byte of a buffer can't be accessed, the kernel
 * says what it says to a bad pointer.
 *
 * Threads and processes that the thread creates by pthread_create(), fork() or clone() inherit it;
 * a program that is executed does not, nor does the child of posix_spawn().
 *
 * Each system call then costs two signals: see "make bench".
 *
 * Return: 0; -ENOSYS the kernel (or what plays it, such as Valgrind) has no syscall user dispatch;
 *         what regmap_map() returns where the first window can't be mapped.
 * Context: MT-Safe. AS-Unsafe. Not from a callback.
 * Since: 0.1
 */
REGMAP_API int regmap_syscalls(int on) REGMAP_MUST_CHECK;

/**
 * regmap_patch() - Let sites that keep faulting go without the fault.
 * @threshold: patch an instruction when it has faulted so often, at least 1; 0: take all patches
 *             back, and make no more.
 *
 * A *site*, an instruction that accesses trapped windows, costs a signal each time. A patched one is
 * a jump to generated code, which finds the window and makes the access, or calls the device; or, if
 * it accesses the register page by an absolute address, another instruction. What the program
 * computes and what devices see is the same. Sites are patched from within the handler, while other
 * threads run them, in the executable, in shared libraries and in generated code that isn't
 * writable. Those that can't be go on faulting: see regmap_patch_stats(). Code around a hot site is
 * taken for hot as well: there a site may be patched before it has faulted @threshold times.
 *
 * No memory is ever writable and executable for it. The program's instructions are changed in
 * memory: what reads code sees jumps. Before code becomes writable or goes (mprotect(),
 * pkey_mprotect(), munmap(), mmap() with MAP_FIXED and mremap(), which libregmap defines) the bytes
 * of the program's are put back. A child process inherits the patches that there are, and then has
 * its own.
 *
 * REGMAP_PATCH=1 in the environment, read at the first mapping, is regmap_patch(4); any other
 * number is the threshold.
 *
 * Return: 0; -ENOSYS the kernel lets code not be changed that way (no membarrier(), no writing by
 *         /proc/self/mem), or the thread has a shadow stack; what regmap_map() returns where the
 *         first window can't be mapped.
 * Context: MT-Safe. AS-Unsafe. From a callback, too.
 * Since: 0.1
 */
REGMAP_API int regmap_patch(unsigned threshold) REGMAP_MUST_CHECK;

enum { REGMAP_PATCH_REASONS = 32 };

/**
 * struct regmap_patch_stats - What became of the sites.
 *
 * @size is the caller's; of later, longer ones only the first @size bytes are written.
 */
struct regmap_patch_stats {
	size_t size;         /* sizeof(struct regmap_patch_stats) */
	uint64_t sites;      /* that have faulted since regmap_patch() was on */
	uint64_t patched;    /* now, whatever way */
	uint64_t in_place;   /* of these: by an instruction on registers */
	uint64_t punned;     /* of these: by a jump whose displacement takes in bytes behind it */
	uint64_t taken_back; /* times that a site got its own bytes back */
	uint64_t refused;    /* sites that go on faulting */
	uint64_t reason[REGMAP_PATCH_REASONS]; /* of these, by the reason: regmap_patch_reason() */
};

/**
 * regmap_patch_stats() - Count what is patched and what isn't.
 * @stats: its size member is to be set.
 *
 * REGMAP_PATCH_STATS=1 in the environment prints the same on stderr when the program exits; 2 lists
 * the sites that faulted most, too.
 *
 * Return: 0; -EINVAL @stats is NULL or too small.
 * Context: MT-Safe. AS-Safe.
 * Since: 0.1
 */
REGMAP_API int regmap_patch_stats(struct regmap_patch_stats *stats) REGMAP_MUST_CHECK;

/**
 * regmap_patch_reason() - Why a site can't be patched: one clause for an index of reason[].
 *
 * Return: a static string; NULL: nothing is counted there.
 * Context: MT-Safe. AS-Safe.
 * Since: 0.1
 */
REGMAP_API const char *regmap_patch_reason(unsigned index);

/**
 * regmap_patch_site() - Is the instruction at an address patched?
 * @code: its first byte.
 *
 * Return: 1 it is, or it runs along with one that is; 0 not (yet); -EPERM it can't be.
 * Context: MT-Safe. AS-Safe.
 * Since: 0.1
 */
REGMAP_API int regmap_patch_site(const void *code);

/**
 * regmap_strerror() - One sentence for a return value of this library: what is wrong, what to do.
 * @err: as returned, negative; positive is taken the same.
 *
 * Return: a string that is never NULL and never freed.
 * Context: MT-Safe. AS-Safe.
 * Since: 0.1
 */
REGMAP_API const char *regmap_strerror(int err);

#ifdef __cplusplus
}
#endif

#endif
