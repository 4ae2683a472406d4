#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disturb a VMM in the lab while it has page faults: kill it, stop it, send it signals, take CPUs
away, and make each allocation of a fault fail.

Contents must be right, nothing may be left behind in the VMM's cgroup, and the kernel must not
complain.
"""

import argparse
import json
import random
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "scripts")]

from tests.lib import native  # noqa: E402
from spf import arguments, series, ui  # noqa: E402
from spf.build import targets  # noqa: E402
from spf.lab import x86  # noqa: E402

CHECKS = ("killed", "paused", "signals", "unplugged")
FAILING = "failing"     # needs a kernel with fault injection
LIMIT = 1500


def run(kernel, seed, times, checks):
    """Run the checks; return the lines that they printed."""
    for flavour in {kernel, series.guest()}:
        targets.bring_up_to_date(flavour)
    programs = [native.program(name) for name in ("rounds", "failures", "torture")]
    machine = x86.Lab(kernel, cpus=2, numa=2, memory=3 << 30, timeout=LIMIT, stall=180)
    done = machine.run(["/usr/bin/python3", HERE / "lab_injection.py", programs[0].parent,
                        str(seed), str(times), *checks])
    said = done.out.decode(errors="replace").splitlines()
    if (done.kind, done.status) != ("exit", 0) or done.trouble:
        raise AssertionError("\n".join([*said,
                                        f"seed {seed}: {done.kind} {done.status} {done.what}",
                                        done.err.decode(errors="replace").strip(), *done.trouble,
                                        str(done.console)]))
    return said


def failures(said):
    """(kind, touch) -> {mode: the counts}"""
    found = {}
    for line in said:
        if line.startswith("{"):
            row = json.loads(line)
            found.setdefault((row.pop("kind"), row.pop("touch")), {})[row.pop("mode")] = row
    return found


def table(found):
    lines = ["| memory | touched by | mode | allocations | of these the fault survived | tier 1 "
             "had none |",
             "|---|---|---|---|---|---|"]
    for (kind, touch), modes in found.items():
        for mode, row in modes.items():
            cells = (kind, touch, mode, row["allocations"], row["survived"], row["no_memory"])
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=arguments.Help)
    parser.add_argument("check", nargs="*", help=f"{', '.join(CHECKS)}, {FAILING} (default: all; "
                                                 f"{FAILING} with --kernel debug only)")
    parser.add_argument("--kernel", default="patched",
                        help="flavour of `kvmspf build` (default patched)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32),
                        help="(default: a random one)")
    parser.add_argument("--times", type=int, default=10, help="how often each is done (default 10)")
    args = parser.parse_args()
    ui.need_root()
    unknown = [check for check in args.check if check not in (*CHECKS, FAILING)]
    if unknown:
        parser.error(f"there is no check '{unknown[0]}'; the checks are "
                     f"{', '.join((*CHECKS, FAILING))}")
    print(f"seed {args.seed}", flush=True)
    try:
        checks = args.check or (*CHECKS, *([FAILING] if args.kernel == "debug" else []))
        said = run(args.kernel, args.seed, args.times, checks)
    except AssertionError as wrong:
        print(wrong)
        return 1
    print("\n".join(line for line in said if not line.startswith("{")))
    if found := failures(said):
        print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
