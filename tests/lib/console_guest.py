# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest of busybox and a shell that runs the commands that its console gets."""

import json
import os
import select
import subprocess
import time
from pathlib import Path

from spf.lab import image
from spf.compare.guest import child_setup
from spf.lab.qmp import QMP

HERE = Path(__file__).resolve().parent

LIMIT = 180
# A kernel message in the middle of an "@end" line would hide it.
COMMAND_LINE = "console=ttyS0 loglevel=1 panic=-1"


def initramfs(applets, programs=(), init=HERE / "console-init"):
    """The archive's bytes: applets of busybox, programs, static ones, in /bin, and process 1."""
    cpio = image.Cpio()
    for name in ("bin", "dev", "proc", "run", "sys", "tmp"):
        cpio.directory(name)
    cpio.device("dev/console", 5, 1)
    for name, source in (("init", init), ("bin/busybox", Path("/bin/busybox")),
                         *((f"bin/{p.name}", p) for p in programs)):
        cpio.file(name, source.read_bytes(), 0o755)
    for applet in sorted({"mount", "sh", "stty", *applets}):
        cpio.link(f"bin/{applet}", "busybox")
    return cpio.finish()


class Lines:
    """Lines from a file descriptor."""

    def __init__(self, descriptor):
        self.descriptor, self.buffer = descriptor, b""

    def line(self, limit=LIMIT):
        end = time.monotonic() + limit
        while b"\n" not in self.buffer:
            if not select.select([self.descriptor], [], [], max(0, end - time.monotonic()))[0]:
                raise SystemExit(f"nothing came within {limit} s; there is {self.buffer!r}")
            data = os.read(self.descriptor, 65536)
            if not data:
                raise SystemExit(f"the other end is gone; there is {self.buffer!r}")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line


class Guest:
    """A guest in the lab.  Its memory has 4 KiB pages: with huge pages of the host, a fault would
    bring 512 pages."""

    def __init__(self, archive, directory, *more, vcpus=1, memory="768M"):
        qmp = directory + "/qmp"
        words = [os.environ["KVMSPF_QEMU"], "-name", "guest,debug-threads=on", "-nodefaults",
                 "-no-user-config", "-display", "none", "-no-reboot",
                 "-M", "q35,usb=off,smbus=off,sata=off", "-accel", "kvm", "-cpu", "host", "-m",
                 memory, "-smp", str(vcpus),
                 "-chardev", "stdio,id=con,signal=off", "-serial", "chardev:con", "-qmp",
                 f"unix:{qmp},server=on,wait=off",
                 "-kernel", os.environ["KVMSPF_GUEST_KERNEL"], "-initrd", archive,
                 "-append", COMMAND_LINE, *more]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        preexec_fn=child_setup("4k"))
        self.lines = Lines(self.process.stdout.fileno())
        self.qmp = QMP(qmp)
        self.result()

    def result(self):
        """The output of the last command, and its status."""
        said = []
        while not (line := self.lines.line().strip(b"\r\0 ")).startswith(b"@end "):
            said.append(line.decode(errors="replace"))
        return said, int(line.split()[1])

    def run(self, command):
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return self.result()

    def text(self, command):
        """Run a command, which must succeed; return its output."""
        said, status = self.run(command)
        if status:
            raise SystemExit(f"{command}: status {status}: {said}")
        return "\n".join(said)

    def json(self, command):
        return json.loads(self.text(command).splitlines()[-1])

    def end(self):
        self.process.kill()
        self.process.wait()
