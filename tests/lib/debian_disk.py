# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk with Debian as debootstrap makes it, with systemd and udev.  It is made once, and guests
do not write to it."""

import subprocess
import tempfile
from pathlib import Path

from spf import paths, ui
from spf.source import apt


def made(suite="bookworm"):
    target = paths.BUILD / "debian" / f"{suite}.ext4"
    if not target.exists():
        apt.packages(["debootstrap", "e2fsprogs"])
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            root, disk = Path(scratch) / "root", Path(scratch) / "disk"
            run(suite, "debootstrap", "--variant=minbase", "--include=systemd-sysv,udev", suite,
                root, apt.mirror())
            run(suite, "mke2fs", "-q", "-t", "ext4", "-d", root, disk, "1G")
            disk.rename(target)
    return target


def run(suite, *words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise ui.Fail(f"cannot make a disk of {suite}: {words[0]}: "
                      f"{done.stdout[-2000:]}{done.stderr}", "see the lines before")
