# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab of an initramfs and a serial line, without this machine's root: the common part of EPT on
Bochs, POWER and the simulated host.

scripts/lab/init.c is process 1 of the lab, and describes what it sends over the line."""

import os
import pty
import re
import secrets
import select
import shlex
import shutil
import struct
import subprocess
import threading
import time
from pathlib import Path

from spf import ui
from spf.build import meson
from spf.lab import image, outcome

PT_INTERP = 3
# Seconds for a run.  Emulated time is not real time, so a silent machine need not have stalled.
TIMEOUT = 900


class Serial:
    """A subclass adds words(), and init and machine (its number in ELF) if it is not x86."""

    init = staticmethod(meson.lab_init)
    machine = 62

    def __init__(self, kernel, memory, cpus=1, append="", timeout=0, files=None):
        """files: the lab's files besides the command: path in the lab, without the first slash ->
        path here (a Path), or the target of a symbolic link (a str)."""
        self.kernel, self.cpus, self.memory = kernel, cpus, memory
        self.append, self.timeout, self.files = append, timeout or TIMEOUT, files or {}
        # A caller that runs several labs at once sets this to end them.
        self.stop = threading.Event()

    def words(self, directory, initramfs):
        """The emulator's command line.  It writes the serial line to `console` in the directory."""
        raise NotImplementedError

    def command_line(self, console):
        # Of the kernel's messages only an oops may interrupt the command's output; the init prints
        # the rest afterwards.
        return f"console={console} loglevel=1 panic=-1 oops=panic " + self.append

    def token(self, _argv):
        """The mark of the init's own lines, which no command prints."""
        return secrets.token_hex(16)

    def needs(self, path, machine):
        """The files that a program needs to run, as `files`.  Refuse a program that does not run in
        the lab."""
        return check_program(path, machine)

    def run(self, argv, stdout=None, _stderr=None, _out_dir=None):
        """Run argv.  Its output and errors go to stdout, or into the result."""
        if not argv:
            raise ui.Fail("this lab has no shell", "give it a COMMAND", 2)
        directory = outcome.run_directory()
        try:
            return self._run(directory, [str(a) for a in argv], stdout)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _run(self, directory, argv, stdout):
        token = self.token(argv)
        archive = directory / "initramfs"
        archive.write_bytes(initramfs(argv, token, self.init(), self.machine,
                                      self.files, self.needs))
        words = [str(w) for w in self.words(directory, archive)]
        if ui.verbose:
            ui.say("+ " + shlex.join(words))
        result, stream = outcome.Result("emulator"), outcome.Stream(f"\n{token} dmesg\n", stdout)
        start = time.monotonic()
        # Bochs's text display needs a terminal, which is not shown.
        master, slave = pty.openpty()
        with open(directory / "qemu.log", "wb") as log:
            child = subprocess.Popen(words, cwd=directory, stdin=slave, stdout=slave, stderr=log,
                                     env={**os.environ, "TERM": "xterm"},
                                     preexec_fn=ui.die_with_parent,
                                     start_new_session=True)
        os.close(slave)
        try:
            self.follow(child, master, directory / "console", token, stream, result, start)
        finally:
            child.kill()
            child.wait()
            os.close(master)
        result.seconds = time.monotonic() - start
        stream.finish()
        result.out = bytes(stream.kept)
        outcome.keep(directory, result)
        # The command's output may have any bytes.
        before, _, rest = result.console.read_text(errors="replace").partition(f"\n{token} up ")
        result.trouble = outcome.trouble(before + rest.partition(f"\n{token} dmesg\n")[2])
        return result

    def follow(self, child, master, console, token, stream, result, start):
        """Pass on the command's output until the init reports its end, or until it is clear that it
        never will."""
        up = re.compile(rf"\n{token} up (\d+)\n".encode())
        end = re.compile(rf"\n{token} end (\d+) (\d+)\n".encode())
        console.touch()
        seen, began = b"", None
        with open(console, "rb") as line:
            while True:
                dead = child.poll() is not None
                drain(master)
                data = line.read()
                seen += data
                if began:
                    stream.feed(data)
                elif began := up.search(seen):
                    result.boot_seconds = time.monotonic() - start
                    stream.feed(seen[began.end():])
                found = end.search(seen)
                if found:
                    result.kind, result.status = "exit", int(found[1])
                    result.inside = int(began[1]) / 1e9, int(found[2]) / 1e9
                    return
                if dead:
                    panic = re.search(rb"Kernel panic[^\n]*", seen)
                    said = console.with_name("qemu.log").read_text(errors="replace")
                    result.kind = "panic" if panic else "emulator"
                    result.what = panic[0].decode() if panic else \
                        f"the emulator ended with status {child.returncode}: {ui.last_line(said)}"
                    return
                if self.stop.is_set():
                    result.kind, result.what = "stopped", "the caller stopped it"
                    return
                if time.monotonic() - start > self.timeout:
                    result.kind = "timeout"
                    result.what = f"the command did not end within {self.timeout:g} s"
                    return


def drain(master):
    """Wait a little for output of the emulator's display, and throw it away."""
    if select.select([master], [], [], 0.1)[0]:
        try:
            os.read(master, 1 << 16)
        except OSError:
            time.sleep(0.1)


def check_program(path, machine):
    """Refuse a program of another machine, or one that needs shared libraries, which this lab does
    not have.  Any other program needs no further files."""
    data = path.read_bytes()
    if data[:4] != b"\x7fELF":
        return {}
    offset, size, count = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
    if struct.unpack_from("<H", data, 18)[0] != machine:
        raise ui.Fail(f"{ui.shown(path)} is not a program for this lab's machine",
                      "compile it for that", 2)
    if any(struct.unpack_from("<I", data, offset + i * size)[0] == PT_INTERP for i in range(count)):
        raise ui.Fail(f"{ui.shown(path)} needs shared libraries, which this lab does not have",
                      "link it statically", 2)
    return {}


def initramfs(argv, token, init, machine, files=(), needs=check_program):
    """Pack the init, the files, the command, and each file that the command names at its own path,
    with the files that it needs."""
    cpio = image.Cpio()
    for name in ("dev", "proc", "sys", "tmp"):
        cpio.directory(name)
    cpio.device("dev/console", 5, 1)
    for name, path in {"init": init, **dict(files)}.items():
        if isinstance(path, str):
            cpio.link(name, path)
        else:
            cpio.file(name, path.read_bytes(), path.stat().st_mode & 0o777)
    words, packed = list(argv), set(files)

    def pack(path):
        """Pack a file under the name that the command uses, even if it is a link, and the files
        that it needs under the names by which it needs them."""
        for name, file in {str(path).lstrip("/"): path, **needs(path, machine)}.items():
            if name not in packed:
                cpio.file(name, file.read_bytes(), file.stat().st_mode & 0o777)
                packed.add(name)

    if words[0].lstrip("/") not in files:
        words[0] = shutil.which(words[0]) or words[0]
    for i, word in enumerate(words):
        path = Path(os.path.abspath(word))
        if str(path).lstrip("/") in packed:
            words[i] = str(path)
        elif path.is_file():
            pack(path)
            words[i] = str(path)
        elif not i:
            raise ui.Fail(f"there is no program '{word}'", "give the path of a static one", 2)
    cpio.file("command", "".join(w + "\0" for w in [token, *words]).encode())
    return cpio.finish()
