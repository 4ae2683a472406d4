# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that tests run on bench/lib/vmm; tests/meson.build lists their sources."""

import subprocess
import threading

from spf import paths, series, ui
from spf.source import apt
from spf.build import meson

PROGRAMS = ("matrix", "rounds", "failures", "torture", "same_pages", "two_guests")
PACKAGES = ["build-essential", "meson", "ninja-build", "pkg-config"]
# For an emulated machine without an operating system.
BARE = """-std=gnu11 -Wall -Wextra -Werror -O2 -fno-stack-protector
-fno-tree-loop-distribute-patterns -fno-pic -mgeneral-regs-only -fcf-protection=none
-mno-red-zone -ffreestanding -nostdlib -static -no-pie
-Wl,-N,-Ttext=0x100000,--build-id=none""".split()


def program(name, arch="x86"):
    """Bring all programs up to date; return the path of this one.  They need no library but C's
    own."""
    if name not in PROGRAMS:
        raise ValueError(f"tests/meson.build has no program {name}")
    if arch == "x86":
        apt.packages(PACKAGES)
        return meson.build("tests", "tests") / "tests" / name
    apt.packages([*PACKAGES, *meson.POWER_PACKAGES])
    # The lab for POWER has no libraries.
    return meson.build("tests-ppc64le", "tests", *meson.STATIC, *cross()) / "tests" / name


def cross():
    """As meson.cross_power(), but without ppc64el libraries."""
    file = paths.TOOLS / "ppc64el-bare.ini"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(meson.POWER.format(root="/nonexistent"))
    return "--cross-file", str(file)


def kernel(name):
    """Compile tests/lab/NAME.c, a kernel that the emulator boots with -kernel; return its path."""
    apt.packages(PACKAGES)
    target = paths.OUT / "tests" / name
    with ui.locked(f".tests-{name}"):
        long = target.with_suffix(".elf64")
        compile_c([*BARE, f"tests/lab/{name}.c", "-o", long])
        # Multiboot loads a program of 64 bits in a file of 32.
        ui.run(["objcopy", "-O", "elf32-i386", long, target], cwd=paths.ROOT,
               log=paths.LOG / "tests.log")
    return target


def static(source):
    """Compile a file of tests/ to a static program; return its path."""
    apt.packages(PACKAGES)
    target = paths.OUT / "tests" / source.rpartition("/")[2].removesuffix(".c")
    # A program cannot be executed while the compiler writes it, and another thread may use this
    # one.
    new = target.with_name(f".{target.name}.{threading.get_ident()}")
    compile_c(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-static", "-pthread",
               f"tests/{source}", "-o", new])
    new.replace(target)
    return target


def plugin(name):
    """Compile tests/lab/NAME.c, a plugin for the emulator; return its path."""
    apt.packages(meson.BENCH_PACKAGES)
    target = paths.OUT / "tests" / f"{name}.so"
    header = series.src("qemu") / "include" / "qemu"
    glib = subprocess.run(["pkg-config", "--cflags", "glib-2.0"], capture_output=True, text=True,
                          check=True).stdout.split()
    with ui.locked(f".tests-{name}"):
        compile_c(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", *glib,
                   f"-I{header}", f"tests/lab/{name}.c", "-o", target])
    return target


def compile_c(words):
    (paths.OUT / "tests").mkdir(parents=True, exist_ok=True)
    ui.run(["cc", *words], cwd=paths.ROOT, log=paths.LOG / "tests.log")
