# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's initramfs: Debian's busybox-static, redis-server with its libraries, and scripts/guest/init.

Written as a newc cpio archive by hand: no root, no device nodes on this machine's file system, and the same
bytes from the same packages.
"""

import hashlib
import os
import re
import stat
import subprocess
from pathlib import Path

from spf import foreign

APPLETS = ("cat grep head ip mkdir mkfifo mount nc poweroff printf sh stty sysctl tr true").split()
# Debian's redis-tools holds the server's program too, under another name (its own name for it is a symlink in
# redis-server, a package that would also start a server on this machine).
PACKAGES = ("busybox-static", "redis-tools", "e2fsprogs")
REDIS = "/usr/bin/redis-check-rdb"
INIT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "guest", "init")


class Cpio:
    """A newc archive in memory; parents are made as they are needed."""

    def __init__(self):
        self._parts = []
        self._names = set()
        self._inode = 0

    def _entry(self, name, mode, data=b"", rdev=(0, 0)):
        parent = os.path.dirname(name)
        if parent and parent not in self._names:
            self.directory(parent)
        self._names.add(name)
        self._inode += 1
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        self._parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]

    def directory(self, name):
        self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o644):
        self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name, major, minor):
        self._entry(name, stat.S_IFCHR | 0o600, rdev=(major, minor))

    def finish(self):
        self._inode = -1
        self._entry("TRAILER!!!", 0)
        data = b"".join(self._parts)
        return data + b"\0" * (-len(data) % 512)


def libraries(program):
    """The shared objects a program needs, as the paths its loader looks for them under."""
    text = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return sorted(set(re.findall(r"(/\S+) \(0x", text)))


def build_initramfs(agent=None, root=None):
    """The archive's bytes; agent: the path of a static spf-agent, if it is to be there; root: where the programs of
    another architecture are (spf.foreign)."""
    cpio = Cpio()
    for name in ("bin", "data", "dev", "proc", "run", "sys", "tmp"):
        cpio.directory(name)
    cpio.device("dev/console", 5, 1)
    with open(INIT, "rb") as f:
        cpio.file("init", f.read(), 0o755)
    for applet in APPLETS:
        cpio.link(f"bin/{applet}", "busybox")
    if agent:
        with open(agent, "rb") as f:
            cpio.file("bin/spf-agent", f.read(), 0o755)
    files = {"bin/busybox": "/bin/busybox", "bin/redis-server": REDIS}
    files |= {path.lstrip("/"): path for path in (foreign.libraries(root, REDIS) if root else libraries(REDIS))}
    for name, path in files.items():
        cpio.file(name, (foreign.resolve(root, path) if root else Path(path)).read_bytes(), 0o755)
    return cpio.finish()


def ensure_initramfs(path, agent=None, root=None):
    """Write the initramfs if it is not there or would differ; returns its SHA-256."""
    data = build_initramfs(agent, root)
    digest = hashlib.sha256(data).hexdigest()
    try:
        with open(path, "rb") as f:
            if hashlib.sha256(f.read()).hexdigest() == digest:
                return digest
    except FileNotFoundError:
        pass
    with open(path + ".new", "wb") as f:
        f.write(data)
    os.replace(path + ".new", path)
    return digest
