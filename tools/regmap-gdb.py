# SPDX-License-Identifier: MIT
"""GDB and libregmap: source this file (gdb -x, or "source" in ~/.gdbinit).

A trapped access is a SIGSEGV, which GDB now passes on without a word. Commands:

  regmap x ADDRESS [COUNT [WIDTH]]     show guest memory; GDB's own x can't read it
  regmap set ADDRESS VALUE [WIDTH]     write guest memory
  regmap stepi, nexti, step, next      like those of GDB, over accesses, too
  regmap continue                      stops each time at breakpoints on accessing instructions

GDB expects a handler to return to the instruction that faulted. Ours returns behind it: a plain step over
an access runs away, and a breakpoint on one stops once.
"""
import gdb

FAULTS = ("SIGSEGV", "SIGBUS")
gdb.execute("handle SIGSEGV SIGBUS nostop noprint pass", to_string=True)


def call(expression):
    return int(gdb.parse_and_eval(expression))


class Buffer:
    """A page of the program's, which takes no lock of the program's to get."""

    at = {}

    @classmethod
    def address(cls):
        pid = gdb.selected_inferior().pid
        if pid not in cls.at:
            cls.at[pid] = call(
                "((unsigned long (*)(unsigned long, unsigned long, int, int, int, long)) mmap)"
                "(0, 4096, 3, 0x22, -1, 0)"
            )
        return cls.at[pid]


def transfer(function, address, width):
    error = call(
        f"((int (*)(unsigned long, void *, unsigned long)) {function})"
        f"({address:#x}ul, (void *) {Buffer.address():#x}, {width})"
    )
    if error:
        words = gdb.parse_and_eval(f"((char *(*)(int)) regmap_strerror)({error})")
        raise gdb.GdbError(f"{address:#x}: {words.string()}")


def numbers(arg, least, most, usage):
    words = gdb.string_to_argv(arg)
    if not least <= len(words) <= most:
        raise gdb.GdbError(usage)
    return [int(gdb.parse_and_eval(f"(unsigned long) ({w})")) for w in words]


def check_width(width):
    if width not in (1, 2, 4, 8):
        raise gdb.GdbError("WIDTH is 1, 2, 4 or 8")


class Regmap(gdb.Command):
    """Windows of libregmap."""

    def __init__(self):
        super().__init__("regmap", gdb.COMMAND_DATA, prefix=True)


class Examine(gdb.Command):
    """regmap x ADDRESS [COUNT [WIDTH]]: show COUNT (4) words of WIDTH (4) bytes at a guest address.

A device sees one read of WIDTH bytes for each."""

    def __init__(self):
        super().__init__("regmap x", gdb.COMMAND_DATA)

    def invoke(self, arg, from_tty):
        got = numbers(arg, 1, 3, "regmap x ADDRESS [COUNT [WIDTH]]")
        address, count, width = got + [4, 4][len(got) - 1 :]
        check_width(width)
        memory = gdb.selected_inferior()
        for i in range(count):
            at = address + i * width
            transfer("regmap_read", at, width)
            value = int.from_bytes(bytes(memory.read_memory(Buffer.address(), width)), "little")
            first, last = i * width % 16 == 0, (i + 1) * width % 16 == 0 or i + 1 == count
            start = f"{at:#x}:\t" if first else "\t"
            gdb.write(f"{start}{value:#0{2 * width + 2}x}" + ("\n" if last else ""))


class Set(gdb.Command):
    """regmap set ADDRESS VALUE [WIDTH]: write a word of WIDTH (4) bytes to a guest address."""

    def __init__(self):
        super().__init__("regmap set", gdb.COMMAND_DATA)

    def invoke(self, arg, from_tty):
        address, value, width = (numbers(arg, 2, 3, "regmap set ADDRESS VALUE [WIDTH]") + [4])[:3]
        check_width(width)
        word = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
        gdb.selected_inferior().write_memory(Buffer.address(), word)
        transfer("regmap_write", address, width)


class Watch:
    """What ended the last command."""

    def __init__(self):
        gdb.events.stop.connect(self.stopped)
        gdb.events.exited.connect(self.exited)
        self.event = None
        self.alive = False

    def stopped(self, event):
        self.event, self.alive = event, True

    def exited(self, event):
        self.event, self.alive = None, False

    def run(self, command):
        self.event = None
        gdb.execute(command, to_string=True)

    def fault(self):
        return isinstance(self.event, gdb.SignalEvent) and self.event.stop_signal in FAULTS

    def plain(self):
        """Neither a signal nor a breakpoint of the user's."""
        return self.event is not None and not isinstance(
            self.event, (gdb.SignalEvent, gdb.BreakpointEvent)
        )


watch = Watch()


def place():
    frame = gdb.newest_frame()
    sal = frame.find_sal()
    return frame, sal.symtab.filename if sal.symtab else None, sal.line


def carry_out():
    """From the SIGSEGV of an access to the instruction behind it. False: something else came up."""
    handler_returns = gdb.Breakpoint("*(void *) &regmap__restore_rt", internal=True)
    handler_returns.thread = gdb.selected_thread().num
    handler_returns.silent = True
    try:
        watch.run("continue")
        if not isinstance(watch.event, gdb.BreakpointEvent):
            return False
        if any(b != handler_returns for b in watch.event.breakpoints):
            return False
    finally:
        handler_returns.delete()
    # MOV and SYSCALL of the restorer: the second stops where sigreturn leads.
    watch.run("stepi")
    watch.run("stepi")
    return watch.plain()


def breakpoint_here():
    """A breakpoint of the user's on the instruction that is next; continue would step over it."""
    for breakpoint in gdb.breakpoints():
        if breakpoint.enabled and breakpoint.type == gdb.BP_BREAKPOINT:
            for location in breakpoint.locations:
                if location.enabled and location.address == gdb.newest_frame().pc():
                    condition = breakpoint.condition
                    if not condition or gdb.parse_and_eval(condition):
                        return breakpoint
    return None


def quiet(yes):
    """What GDB says at each stop in between; older ones say it all the same."""
    try:
        gdb.execute("set suppress-cli-notifications " + ("on" if yes else "off"), to_string=True)
    except gdb.error:
        pass


def stopping(run):
    """With each access a stop, of which only the last is shown."""
    gdb.execute("handle SIGSEGV SIGBUS stop print pass", to_string=True)
    quiet(True)
    watch.alive = True
    try:
        run()
    finally:
        quiet(False)
        gdb.execute("handle SIGSEGV SIGBUS nostop noprint pass", to_string=True)
    if not watch.alive:
        gdb.write("The program has ended.\n")
        return
    if isinstance(watch.event, gdb.BreakpointEvent):
        gdb.write(f"\nBreakpoint {watch.event.breakpoint.number}\n")
    elif isinstance(watch.event, gdb.SignalEvent):
        gdb.write(f"\nSignal {watch.event.stop_signal}\n")
    gdb.execute("frame")
    gdb.execute("x/i $pc")


class Continue(gdb.Command):
    """Like continue, but each access is waited for. Many times slower."""

    def __init__(self):
        super().__init__("regmap continue", gdb.COMMAND_RUNNING)

    def run(self):
        while True:
            watch.run("continue")
            if not watch.alive or not watch.fault() or not carry_out():
                return
            found = breakpoint_here()
            if found:
                gdb.write(f"\nBreakpoint {found.number} comes next.\n")
                return

    def invoke(self, arg, from_tty):
        stopping(self.run)


class Step(gdb.Command):
    """Like GDB's own, over accesses to windows, too."""

    def __init__(self, name):
        self.name = name
        super().__init__("regmap " + name, gdb.COMMAND_RUNNING)

    def once(self):
        """One of GDB's commands, and the access if one got into its way. True: go on."""
        before = place()
        watch.run(self.name)
        if not watch.alive or not watch.fault():
            return False
        return carry_out() and self.name in ("step", "next") and place() == before

    def invoke(self, arg, from_tty):
        def run():
            for _ in range(int(arg) if arg else 1):
                while self.once():
                    pass

        stopping(run)


Regmap()
Examine()
Set()
Continue()
for command in ("stepi", "nexti", "step", "next"):
    Step(command)
