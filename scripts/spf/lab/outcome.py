# SPDX-License-Identifier: GPL-2.0-or-later
"""How a run in a lab ended, its output, and the files that it leaves."""

import os
import re
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from spf import paths

# The lab's own failures; a command's status is passed on as it is.
LAB_FAILED = 125
TROUBLE = re.compile(r"Kernel panic|\bBUG(: | \S+ \()|\bOops\b|WARNING: |"
                     r"INFO: (possible|task|rcu)|rcu: INFO|soft lockup|general protection fault|"
                     r"double fault|kernel BUG at|Call Trace:.*TASK|KASAN")
# Harmless messages about emulated processors and nested guests; the last two are about Bochs.
HARMLESS = re.compile(r"XSAVE consistency problem|topology_common\.c.*parse_legacy|"
                      r"xstate\.c.*fpu__init_system_xstate")


@dataclass
class Result:
    """How a run ended.  kind: exit (status is the command's), panic, stall, timeout, emulator,
    boot."""
    kind: str
    status: int = LAB_FAILED
    what: str = ""
    out: bytes = b""
    err: bytes = b""
    boot_seconds: float = 0.0
    seconds: float = 0.0
    # The command's start and end by the lab's own clock, if the lab reports them.
    inside: tuple = ()
    trouble: list = field(default_factory=list)
    console: Path = None

    @property
    def ok(self):
        return self.kind == "exit" and self.status == 0 and not self.trouble


class Stream:
    """The bytes up to the token.  Hold back bytes that may begin the token until more have come."""

    def __init__(self, token, sink=None):
        self.token, self.sink = token.encode(), sink
        self.kept, self.held, self.ended = bytearray(), b"", False

    def feed(self, data):
        if self.ended:
            return
        data = self.held + data
        at = data.find(self.token)
        if at >= 0:
            self.ended, data, self.held = True, data[:at], b""
        else:
            hold = next((n for n in range(min(len(data), len(self.token) - 1), 0, -1)
                         if self.token.startswith(data[-n:])), 0)
            data, self.held = data[:len(data) - hold], data[len(data) - hold:]
        self.give(data)

    def give(self, data):
        if self.sink:
            self.sink(data)
        else:
            self.kept += data

    def finish(self):
        if self.held:
            self.give(self.held)
            self.held = b""


def keep(directory, result, out_dir=None):
    """Keep the console log, and, if --out names a directory, the files that the command left in
    $KVMSPF_OUT."""
    paths.LOG.mkdir(parents=True, exist_ok=True)
    for old in sorted(paths.LOG.glob("lab-*.console"))[:-100]:
        for part in paths.LOG.glob(old.stem + ".*"):
            part.unlink(missing_ok=True)
    stem = f"lab-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{secrets.token_hex(2)}"
    result.console = paths.LOG / f"{stem}.console"
    for name, suffix in (("console", "console"), ("qemu.log", "qemu"), ("registers", "registers"),
                         ("share/dmesg", "dmesg")):
        source = directory / name
        if source.exists() and (suffix == "console" or source.stat().st_size):
            shutil.copyfile(source, paths.LOG / f"{stem}.{suffix}")
    if result.console.exists():
        result.trouble = trouble(result.console.read_text(errors="replace"))
    if out_dir:
        shutil.copytree(directory / "share" / "out", out_dir, dirs_exist_ok=True)


def trouble(text):
    return [line.strip() for line in text.splitlines() if TROUBLE.search(line)
            and not HARMLESS.search(line)]


def run_directory():
    """Make a directory for this run, and remove those of runs that were killed."""
    paths.RUN.mkdir(parents=True, exist_ok=True)
    for old in paths.RUN.iterdir():
        number = old.name.split("-")[0]
        if number.isdigit() and not Path(f"/proc/{number}").exists():
            shutil.rmtree(old, ignore_errors=True)
    directory = paths.RUN / f"{os.getpid()}-{secrets.token_hex(3)}"
    directory.mkdir()
    return directory
