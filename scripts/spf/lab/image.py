# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's initramfs: Debian's busybox-static, a load's programs with their libraries, and
scripts/guest/init.

This module writes the newc cpio archive itself.  That needs no root and no device nodes on this
machine's file system, and gives the same bytes for the same packages.
"""

import hashlib
import os
import stat
from pathlib import Path

from spf import paths
from spf.source import debroot

# The applets that init and scripts/guest/load-* call.
APPLETS = ("chroot grep head ip md5sum mkfifo mount nc poweroff sed sh sleep stty sysctl tr "
           "xargs").split()
PACKAGES = ("busybox-static", "e2fsprogs")


class Cpio:
    """A newc archive in memory.  It makes parent directories as they are needed."""

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


def build_initramfs(files, agent=None, root=None):
    """The archive's bytes; files: the load's, name -> path; agent: the path of a static spf-agent,
    if it is to be there; root: where the programs of another architecture are
    (spf.source.debroot)."""
    cpio = Cpio()
    for name in ("bin", "data", "dev", "proc", "run", "sys", "tmp"):
        cpio.directory(name)
    cpio.device("dev/console", 5, 1)
    for applet in APPLETS:
        cpio.link(f"bin/{applet}", "busybox")
    files = {"init": paths.SCRIPTS / "guest/init",
             "bin/busybox": debroot.resolve(root, "/bin/busybox"), **files}
    if agent:
        files["bin/spf-agent"] = Path(agent)
    for name, path in files.items():
        cpio.file(name, path.read_bytes(), 0o755)
    return cpio.finish()


def ensure_initramfs(path, files, agent=None, root=None):
    """Write the initramfs if it is not there or would differ; return its SHA-256."""
    data = build_initramfs(files, agent, root)
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
