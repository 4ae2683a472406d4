# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs of the matrix and the torture, on the VMM of bench/vmm; they need nothing but a compiler."""

from spf import paths, setup, ui

VMM = ["bench/vmm/vmm.c", "bench/vmm/x86.c", "bench/vmm/stats.c"]
PROGRAMS = {
    "matrix": [*VMM, "bench/backing.c", *[f"tests/matrix/{name}.c" for name in ("matrix", "states", "memory", "locks")]],
    "torture": [*VMM, *[f"tests/torture/{name}.c" for name in ("torture", "mutations", "userfaultfd")]],
}
# What runs in the guest: as in bench/meson.build.
GUEST = {"matrix": "tests/matrix/pages.c", "torture": "tests/torture/storm.c"}
GUEST_FLAGS = """-O2 -fno-stack-protector -fno-tree-loop-distribute-patterns -fno-pic -mgeneral-regs-only
-fcf-protection=none -mno-red-zone""".split()
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-g", "-Wall", "-Wextra", "-Werror", "-Ibench", "-Ibench/vmm"]


def program(name):
    """Compile it if it is not up to date; where it is."""
    setup.packages(["build-essential"])
    target = paths.OUT / "tests" / name
    sources = [paths.ROOT / s for s in (*PROGRAMS[name], GUEST[name])]
    looked_at = sources + [h for s in sources for h in s.parent.glob("*.h")]
    with ui.locked(f".tests-{name}"):
        if target.exists() and target.stat().st_mtime > max(s.stat().st_mtime for s in looked_at):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        guest = target.with_suffix(".guest.o")
        compile_c(["-c", *GUEST_FLAGS, GUEST[name], "-o", guest])
        compile_c(["-O2", "-pthread", *PROGRAMS[name], guest, "-o", target])
    return target


def compile_c(words):
    ui.run(["cc", *FLAGS, *words], cwd=paths.ROOT, log=paths.LOG / "tests.log")
