#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# terminal.py REGMAP BOARD FIRMWARE: in a terminal of its own, the program is in the foreground, and a Ctrl-C ends it
# with its statistics said.
import os, pty, select, sys

regmap, board, firmware = sys.argv[1:]


def start(*arguments):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(regmap, [regmap, "run", board, *arguments])
    return pid, terminal


def read(terminal, until=None):
    """All that comes, or up to some words; the other end says EIO when nobody is there any more."""
    text = b""
    while until is None or until not in text:
        if not select.select([terminal], [], [], 20)[0]:
            sys.exit(f"terminal.py: nothing came after {text!r}")
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        text += piece
    return text


def expect(condition, text):
    if not condition:
        sys.exit(f"terminal.py: {text!r}")


pid, terminal = start("--", firmware, "terminal")
text = read(terminal)
expect(os.waitpid(pid, 0)[1] == 0, text)
expect(text == b"1 1 1\r\nfine\r\n", text)

pid, terminal = start("--stats", "--", firmware, "loop")
text = read(terminal, b"looping")
os.write(terminal, b"\x03")
text += read(terminal)
status = os.waitpid(pid, 0)[1]
expect(os.WIFSIGNALED(status) and os.WTERMSIG(status) == 2, (status, text))
expect(b"registers touched that no description has" in text, text)
expect(b"0x40021100  RCC+0x100" in text, text)
print("terminal: all right")
