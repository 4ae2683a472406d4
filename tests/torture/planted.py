#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Break a rule of the design in the kernel, and see whether the torture finds out.

A torture that finds nothing planted proves nothing.  Each planted/*.patch breaks one rule; its kernel is built beside
the real ones, under build/, and tortured with one seed after another until it is caught.
"""

import argparse
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "scripts"), str(HERE)]

import torture  # noqa: E402
from spf import build, patches, paths, setup, ui  # noqa: E402

PLANTED = HERE / "planted"
# What shakes a rule most; the rest of the mutations only takes time from it.
WORDS = {
    "sequence-check": ["replace", "unmap", "move", "dontneed", "protect"],
    "check-before-lock": ["replace", "unmap", "move", "dontneed", "protect"],
    "irqs-on": ["unmap", "collapse", "move"],
    "policy-freed": ["bind", "dontneed"],
    "no-drain": ["userfaultfd", "dontneed"],
}


def kernel(patch, flavour):
    """The kernel with the series and this patch; the path of its bzImage."""
    setup.ready()
    _, head = patches.sync("linux")
    name = f"linux-planted-{flavour}"
    tree, out = paths.TREE / "linux-planted", paths.OUT / name / "bzImage"
    with ui.locked():
        patches.worktree("linux", tree, head)
        patches.git(tree, "apply", "--whitespace=nowarn", "-C1", patch)
        build.compile_kernel(tree, paths.OBJ / name, build.fragments(flavour), name)
        build.put(paths.OBJ / name / "arch/x86/boot/bzImage", out)
    return out


def main():
    names = sorted(p.stem for p in PLANTED.glob("*.patch"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--flavour", choices=("debug", "patched"), default="debug",
                        help="patched: without the kernel's own checks, so that only wrong pages are found")
    parser.add_argument("--runs", type=int, default=4, help="seeds to try, from 1 (default 4)")
    parser.add_argument("--operations", type=int, default=1000, help="of the mutators, in each run (default 1000)")
    args = parser.parse_args()
    if bad := set(args.name) - set(names):
        parser.error(f"nothing is planted as {', '.join(bad)}")
    missed = 0
    for name in args.name or names:
        image = kernel(PLANTED / f"{name}.patch", args.flavour)
        start = time.monotonic()
        for seed in range(1, args.runs + 1):
            _, wrong = torture.run(image, seed, args.operations, WORDS[name])
            if wrong:
                break
        missed += not wrong
        print(f"{name}: {'caught' if wrong else 'NOT CAUGHT'} with seed {seed}, {time.monotonic() - start:.0f} s: "
              f"{wrong}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
