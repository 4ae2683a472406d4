# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs of the lab's tests, the matrix, the injection and the torture, on bench/vmm; they need nothing but a compiler."""

from collections import namedtuple

from spf import meson, paths, setup, ui

VMM = ["bench/vmm/vmm.c", "bench/vmm/stats.c"]
PROGRAMS = {
    "matrix": [*VMM, "bench/backing.c", *[f"tests/matrix/{name}.c" for name in ("matrix", "states", "waits", "memory", "footprint", "locks", "number")]],
    "rounds": [*VMM, "bench/backing.c", "tests/matrix/memory.c", "tests/injection/rounds.c"],
    "failures": [*VMM, "tests/injection/failures.c", "tests/injection/kinds.c", "tests/matrix/number.c"],
    "torture": [*VMM, *[f"tests/torture/{name}.c" for name in ("torture", "mutations", "late", "userfaultfd", "host")]],
    "two_guests": [*VMM, "tests/lab/two_guests.c"],
}
# What runs in the guest: as in bench/meson.build.
GUEST = {**dict.fromkeys(("matrix", "rounds", "failures"), "tests/matrix/pages.c"), "torture": "tests/torture/storm.c",
         "two_guests": "tests/lab/sum.c"}
GUEST_FLAGS = "-O2 -fno-stack-protector -fno-tree-loop-distribute-patterns -fno-pic".split()
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-g", "-Wall", "-Wextra", "-Werror", "-Ibench", "-Ibench/vmm",
         "-Itests/matrix"]

# The lab for POWER has no libraries.
Arch = namedtuple("Arch", "compiler packages source guest_flags link_flags")
ARCHES = {
    "x86": Arch("cc", ["build-essential"], "bench/vmm/x86.c",
                ["-mgeneral-regs-only", "-fcf-protection=none", "-mno-red-zone"], []),
    "power": Arch("powerpc64le-linux-gnu-gcc", meson.POWER_PACKAGES, "bench/vmm/ppc.c",
                  ["-mno-altivec", "-mno-vsx"], ["-static"]),
}


def program(name, arch="x86"):
    """Compile it if it is not up to date; where it is."""
    machine = ARCHES[arch]
    setup.packages(machine.packages)
    target = paths.OUT / "tests" / (name if arch == "x86" else f"{name}-{arch}")
    named = [*PROGRAMS[name], machine.source]
    sources = [paths.ROOT / s for s in (*named, GUEST[name])]
    looked_at = sources + [h for s in sources for h in s.parent.glob("*.h")]
    with ui.locked(f".tests-{target.name}"):
        if target.exists() and target.stat().st_mtime > max(s.stat().st_mtime for s in looked_at):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        guest = target.with_suffix(".guest.o")
        compile_c(machine, ["-c", *GUEST_FLAGS, *machine.guest_flags, GUEST[name], "-o", guest])
        compile_c(machine, ["-O2", "-pthread", *machine.link_flags, *named, guest, "-o", target])
    return target


def compile_c(machine, words):
    ui.run([machine.compiler, *FLAGS, *words], cwd=paths.ROOT, log=paths.LOG / "tests.log")
