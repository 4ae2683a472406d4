# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs of tests/meson.build, and the emulator's plugin of tests/lab."""

from spf.build import meson
from spf.source import apt


def program(name, arch="x86"):
    """Bring all programs up to date; return the path of this one."""
    apt.packages(meson.PACKAGES)
    if arch == "x86":
        where = meson.build("tests", "tests")
    else:
        apt.packages(meson.POWER_PACKAGES)
        # The lab for POWER has no libraries.
        where = meson.build("tests-ppc64le", "tests", *meson.STATIC, *meson.cross_bare())
    found = where / "tests" / name
    if not found.exists():
        raise ValueError(f"tests/meson.build has no program {name} for {arch}")
    return found


def plugin(name):
    return meson.plugins(folder="tests/lab") / f"{name}.so"
