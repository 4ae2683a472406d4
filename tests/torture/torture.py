#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the torture in the lab: guests and threads have faults while everything is done to their
memory.

A run is known by its seed; it must end without a report of the kernel and without a wrong page.
"""

import argparse
import random
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "scripts")]

from tests.lib import native  # noqa: E402
from spf import arguments, series, ui  # noqa: E402
from spf.source import apt  # noqa: E402
from spf.build import targets  # noqa: E402
from spf.lab import power, x86  # noqa: E402


# The POWER lab's kernels; there, no `inside` script makes the host reclaim and merge eagerly.
POWER = {flavour: kernel for kernel, flavour in power.KERNELS.items()}


def mutations():
    """The names in the table of mutations.c."""
    return re.findall(r'^\t{ "([a-z-]+)", mutate_', (HERE / "mutations.c").read_text(), re.M)


def npt(kernel, limit, settings):
    apt.packages(["util-linux"])
    return x86.Lab(kernel, cpus=2, numa=2, memory=3 << 30, timeout=limit, stall=180,
                   env={f"KVMSPF_{name.upper()}": value for name, value in settings.items()
                        if value})


def report(done):
    """The kernel's first complaint with its stack.  A reader of the output of another machine's run
    sees nothing else of it."""
    lines = done.console.read_text(errors="replace").splitlines()
    first = next((i for i, line in enumerate(lines) if done.trouble[0] in line), 0)
    return "\n".join(lines[first:first + 45])


def run(kernel, seed, seconds, words=(), **settings):
    """(what the program said, what is wrong or "").  What is wrong is the first line, below it a
    stack if there is one. settings: stretch, planted, thp, mthp; `inside` says what they are.
    Without mthp, a host of every second seed has folios of 64 KiB in all memory.
    """
    settings = {"mthp": "always" if seed % 2 else "madvise"} | settings
    words = ["--nodes", "2", "--seed", seed, "--seconds", seconds, *words]
    limit = seconds * 3 + 600
    if kernel in POWER:
        done = power.Power(POWER[kernel], numa=2,
                           timeout=limit).run([native.program("torture", "power"), *words])
    else:
        done = npt(kernel, limit, settings).run([HERE / "inside", native.program("torture"),
                                                 *words])
    return done.out.decode(errors="replace").strip(), complaint(done)


def complaint(done):
    """What is wrong with a run in the lab, or ""."""
    if done.trouble:
        return f"the kernel: {done.trouble[0]}; console log: {done.console}\n{report(done)}"
    if (done.kind, done.status) != ("exit", 0):
        what = done.what or done.err.decode(errors="replace").strip()
        return f"{what}; console log: {done.console}"
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=arguments.Help)
    parser.add_argument("word", nargs="*", help="what to do to the memory (default: everything)")
    parser.add_argument("--kernel", default="debug",
                        help="flavour of `kvmspf build` (default debug)")
    parser.add_argument("--seconds", type=int, default=60, help="of each run (default 60)")
    parser.add_argument("--seed", type=int, help="of the first run (default: a random one)")
    parser.add_argument("--runs", type=int, default=1, help="each with the next seed (default 1)")
    parser.add_argument("--stretch", type=int, default=0,
                        help="at most so many microseconds in each window of a race, with --kernel "
                             "planted")
    series.option(parser)
    args = parser.parse_args()
    series.use(args.series)
    if unknown := [word for word in args.word if word not in mutations()]:
        raise ui.Fail(f"there is no mutation '{unknown[0]}'",
                      f"the mutations are {' '.join(mutations())}", 2)
    if args.kernel in POWER:
        power.bring_up_to_date(POWER[args.kernel])
    elif args.kernel in targets.FLAVOURS:
        targets.bring_up_to_date(args.kernel)
    first = random.randrange(1 << 32) if args.seed is None else args.seed
    for seed in range(first, first + args.runs):
        said, wrong = run(args.kernel, seed, args.seconds, args.word, stretch=args.stretch)
        print(said, wrong, sep="\n" if wrong else "", flush=True)
        if wrong:
            print("torture: again with: tests/torture/torture.py"
                  f"{series.words('linux')} --kernel {args.kernel} --seed {seed} "
                  f"--seconds {args.seconds} --stretch {args.stretch} {' '.join(args.word)}",
                  file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ui.Fail as failure:
        print(f"torture: {failure}", file=sys.stderr)
        sys.exit(failure.status)
