# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that tests run on bench/lib/vmm; tests/meson.build has what they are made of."""

from spf import meson, paths, setup

PROGRAMS = ("matrix", "rounds", "failures", "torture", "two_guests")
PACKAGES = ["build-essential", "meson", "ninja-build", "pkg-config"]


def program(name, arch="x86"):
    """Bring all of them up to date; where this one is.  They need no library but C's own."""
    if name not in PROGRAMS:
        raise ValueError(f"tests/meson.build has no program {name}")
    if arch == "x86":
        setup.packages(PACKAGES)
        return meson.build("tests", "tests") / "tests" / name
    setup.packages([*PACKAGES, *meson.POWER_PACKAGES])
    # The lab for POWER has no libraries.
    return meson.build("tests-ppc64le", "tests", *meson.STATIC, *cross()) / "tests" / name


def cross():
    """As meson.cross_power(), but with no ppc64el library to be found."""
    file = paths.TOOLS / "ppc64el-bare.ini"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(meson.POWER.format(root="/nonexistent"))
    return "--cross-file", str(file)
