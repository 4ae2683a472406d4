# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things are.  Everything that is made lies under one directory, build/ or $KVMSPF_BUILD."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
BUILD = Path(os.environ.get("KVMSPF_BUILD") or ROOT / "build").resolve()

SRC = BUILD / "src"          # Debian's sources, one commit each, tag "base"
TREE = BUILD / "tree"        # the same with our series applied
EDIT = BUILD / "edit"        # the same for editing the series
OBJ = BUILD / "obj"          # where compilers work
OUT = BUILD / "out"          # finished programs and kernels, replaced whole
STAMP = BUILD / "stamp"
LOG = BUILD / "log"
RUN = BUILD / "run"          # one directory a running lab
TOOLS = BUILD / "tools"

SERIES = {
    "linux": ROOT / "kvm-patches" / "linux-6.12",
    "qemu": ROOT / "qemu-patches" / "qemu-10.0",
}


def kernel(flavour, name="bzImage"):
    return OUT / f"linux-{flavour}" / name


def qemu(flavour="patched", name="qemu-system-x86_64"):
    return OUT / f"qemu-{flavour}" / "bin" / name
