# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk with Debian 12 as debootstrap makes it, with systemd and udev.  It is made once, and
guests do not write to it."""

import subprocess
import tempfile
from pathlib import Path

from spf import paths, ui
from spf.source import apt

SUITE = "bookworm"


def made():
    target = paths.BUILD / "debian" / f"{SUITE}.ext4"
    if not target.exists():
        apt.packages(["debootstrap", "e2fsprogs"])
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            root, disk = Path(scratch) / "root", Path(scratch) / "disk"
            run("debootstrap", "--variant=minbase", "--include=systemd-sysv,udev", SUITE, root,
                apt.mirror())
            run("mke2fs", "-q", "-t", "ext4", "-d", root, disk, "1G")
            disk.rename(target)
    return target


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise ui.Fail(f"cannot make a disk of {SUITE}: {words[0]}: "
                      f"{done.stdout[-2000:]}{done.stderr}", "see the lines before")
