#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Worse than page faults, while a VMM in the lab has them: it is killed, shaken by signals, and loses CPUs.

Contents must be right, nothing may be left behind in the VMM's cgroup, and the kernel must have nothing to say.
"""

import argparse
import random
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "scripts"), str(HERE.parent)]

import native  # noqa: E402
from spf import build, lab, ui  # noqa: E402

CHECKS = ("killed", "signals", "unplugged")
LIMIT = 1500


def run(kernel, seed, times, checks):
    """What the checks printed, line by line."""
    build.bring_up_to_date(kernel)
    programs = [native.program(name) for name in ("rounds", "torture")]
    machine = lab.Lab(kernel, cpus=2, numa=2, memory=3 << 30, timeout=LIMIT, stall=180, qemu_args=["-smp", "sockets=2"])
    done = machine.run(["/usr/bin/python3", HERE / "inside.py", programs[0].parent, str(seed), str(times), *checks])
    said = done.out.decode(errors="replace").splitlines()
    if (done.kind, done.status) != ("exit", 0) or done.trouble:
        raise AssertionError("\n".join([*said, f"seed {seed}: {done.kind} {done.status} {done.what}",
                                        done.err.decode(errors="replace").strip(), *done.trouble, str(done.console)]))
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", nargs="*", help=f"{', '.join(CHECKS)} (default: all)")
    parser.add_argument("--kernel", default="patched", help="flavour of `kvmspf build` (default patched)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="(default: a random one)")
    parser.add_argument("--times", type=int, default=10, help="how often each is done (default 10)")
    args = parser.parse_args()
    ui.need_root()
    unknown = [check for check in args.check if check not in CHECKS]
    if unknown:
        parser.error(f"there is no check '{unknown[0]}'")
    print(f"seed {args.seed}", flush=True)
    try:
        print("\n".join(run(args.kernel, args.seed, args.times, args.check or CHECKS)))
    except AssertionError as wrong:
        print(wrong)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
