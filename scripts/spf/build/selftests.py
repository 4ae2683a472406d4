# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own tests of KVM and of memory management."""

import os

from spf import series, ui
from spf.build import sandbox
from spf.source import apt

MM_PACKAGES = ["libcap-dev", "libnuma-dev"]


def make(src, obj, log, folder, *words, progress=None):
    """Build outside the source tree, into which the selftests' makefiles write by default.  The
    kernel's headers go beside the objects."""
    (obj / folder).mkdir(parents=True, exist_ok=True)
    sandbox.run(src, obj, ["make", "-C", f"{sandbox.MOUNT}/src", f"O={sandbox.MOUNT}/obj/headers",
                           "HOSTCC=ccache gcc",
                           f"INSTALL_HDR_PATH={sandbox.MOUNT}/obj/usr", "headers_install"], log)
    sandbox.run(src, obj, ["make", "-C", f"{sandbox.MOUNT}/src/tools/testing/selftests/{folder}",
                           "ARCH=x86_64",
                           f"OUTPUT={sandbox.MOUNT}/obj/{folder}",
                           f"KHDR_INCLUDES=-isystem {sandbox.MOUNT}/obj/usr/include", *words,
                           f"-j{sandbox.jobs()}"], log, progress=progress)


def build(target, src, _flavour):
    obj, log = series.obj(target), sandbox.fresh(target)
    with ui.Progress(f"building {series.label(target)}") as progress:
        make(src, obj, log, "kvm", "CC=ccache gcc", "LDFLAGS=-static -pthread",
             progress=sandbox.counted(progress))
    for program in (obj / "kvm").rglob("*"):
        if program.is_file() and os.access(program, os.X_OK) and program.suffix == "":
            sandbox.put(program, series.out(target) / program.relative_to(obj / "kvm"))


def build_mm(target, src, _flavour):
    """This makefile still writes some files into the source tree, but git ignores them.  One test
    lacks the definition of KSFT_SKIP."""
    obj, log, out = series.obj(target), sandbox.fresh(target), series.out(target)
    with ui.Progress(f"building {series.label(target)}") as progress:
        make(src, obj, log, "mm", "CC=gcc", "EXTRA_CFLAGS=-DKSFT_SKIP=4",
             progress=sandbox.counted(progress))
    for program in [*(obj / "mm").iterdir(), *(src / "tools/testing/selftests/mm").glob("*.sh")]:
        if program.is_file() and os.access(program, os.X_OK):
            sandbox.put(program, out / program.name)


def mm_inputs(_flavour):
    apt.packages(MM_PACKAGES)
    return MM_PACKAGES
