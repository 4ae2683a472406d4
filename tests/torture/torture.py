#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the torture in the lab: guests and threads have faults while everything is done to their memory.

A run is known by its seed; no report of the kernel and no wrong page is what it must show.
"""

import argparse
import random
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "scripts"), str(HERE.parent)]

import native  # noqa: E402
from spf import build, lab, setup  # noqa: E402


def run(kernel, seed, operations, words=(), limit=600):
    """(what the program said, what is wrong or "")"""
    setup.packages(["util-linux"])
    program = native.program("torture")
    # A kernel that finds two nodes in one package complains.
    machine = lab.Lab(kernel, cpus=2, numa=2, memory=3 << 30, timeout=limit, stall=180, qemu_args=["-smp", "sockets=2"])
    done = machine.run([HERE / "inside", program, "--nodes", "2", "--seed", str(seed), "--operations", str(operations),
                        *words])
    said = done.out.decode(errors="replace").strip()
    if done.trouble:
        return said, f"the kernel: {done.trouble[0]}; console log: {done.console}"
    if (done.kind, done.status) != ("exit", 0):
        return said, f"{done.what or done.err.decode(errors='replace').strip()}; console log: {done.console}"
    return said, ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("word", nargs="*", help="what to do to the memory (default: everything)")
    parser.add_argument("--kernel", default="debug", help="flavour of `kvmspf build` (default debug)")
    parser.add_argument("--operations", type=int, default=1000, help="of the mutators, in each run (default 1000)")
    parser.add_argument("--seed", type=int, help="of the first run (default: a random one)")
    parser.add_argument("--runs", type=int, default=1, help="each with the next seed (default 1)")
    args = parser.parse_args()
    if args.kernel in build.KERNELS:
        build.bring_up_to_date(args.kernel)
    first = random.randrange(1 << 32) if args.seed is None else args.seed
    for seed in range(first, first + args.runs):
        said, wrong = run(args.kernel, seed, args.operations, args.word)
        print(said, wrong, sep="\n" if wrong else "", flush=True)
        if wrong:
            print(f"torture: again with: tests/torture/torture.py --kernel {args.kernel} --seed {seed} "
                  f"--operations {args.operations} {' '.join(args.word)}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
