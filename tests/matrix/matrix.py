#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix of memory kinds and states: run its rows in the lab, say what is wrong, show the
table."""

import argparse
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "scripts")]

from tests.lib import table  # noqa: E402
from tests.matrix.rows import ONCE, ROWS  # noqa: E402
from spf import paths  # noqa: E402

DOCUMENT = paths.ROOT / "docs" / "measurements.md"
MARKS = ("<!-- tests/matrix/matrix.py --write: from here -->", "<!-- to here -->")
TIERS = ("fast", "speculative", "vma_lock", "mmap_lock")
INTRODUCTION = """\
`tests/matrix/matrix.py --write`: faults of one vCPU by tier, mode `on`, and how often its thread
took the mmap_lock for whatever reason, by the kernel's tracepoint, in mode `on` and in mode
`off`. What a VMM does (balloon, virtio-mem, post-copy, snapshot, migration) the test does as QEMU
would, without QEMU. `fast` has the pages of the guest's own program, too."""
LIMIT = 900


def results(numbers=(), kernel="patched"):
    """[(row, {mode: what the program said})]"""
    return table.results(ROWS, HERE / "lab_matrix.py", numbers, kernel, memory=4 << 30,
                         timeout=LIMIT,
                         qemu_args=["-device", "bochs-display"],
                         append="default_hugepagesz=2M hugepagesz=1G hugepages=1")


def tiers(said):
    return {name: said.get(name, 0) for name in TIERS}


def faults_of(row, modes):
    """What is not as it should be, in words."""
    bad = []
    outcome = "killed" if row.killed else row.outcome
    for mode, said in modes.items():
        if said["outcome"] != outcome:
            bad.append(f"{mode}: ended with {said['outcome']}, not {outcome}")
        if said.get("wrong"):
            bad.append(f"{mode}: {said['wrong']} wrong pages")
    said = modes["on"]
    if bad or outcome == "killed":
        return bad
    count = tiers(said)
    if not row.why and (said["locks"] or count["mmap_lock"]):
        bad.append(f"mmap_lock taken {said['locks']} times, {count['mmap_lock']} faults by it")
    if row.why == ONCE and (said["locks"] != 1 or count["mmap_lock"]):
        bad.append(f"mmap_lock taken {said['locks']} times, {count['mmap_lock']} faults by it, for "
                   f"'{row.why}'")
    if row.tier and row.tier != "mmap_lock" and count["mmap_lock"]:
        bad.append(f"{count['mmap_lock']} faults by the mmap_lock")
    if row.why and not said["locks"]:
        bad.append(f"no mmap_lock taken: '{row.why}' is out of date")
    # What the VMM has mapped is always fast: the guest's program, and pages seen again.
    others = sum(count.values()) - count["fast"]
    if row.tier == "fast" and others:
        bad.append(f"more than fast: {count}")
    if row.once and others > row.pages:
        bad.append(f"{others} faults for {row.pages} pages")
    # A page table in 512 pages is another tier's.
    if row.tier in TIERS[1:] and (not count[row.tier] or 16 * count[row.tier] < 15 * others):
        bad.append(f"not by {row.tier}: {count}")
    return bad


def markdown(found):
    """What faults each row had in mode `on`, and what locks against mode `off`."""
    heading = ["memory, state", "outcome", "fast", "speculative", "VMA lock", "mmap_lock",
               "acquired, on",
               "acquired, off", "why"]
    return table.markdown(heading, [
        [row.name, modes["on"]["outcome"], *tiers(modes["on"]).values(),
         modes["on"].get("locks", ""),
         modes["off"].get("locks", ""), row.why] for row, modes in found])


def write(text):
    old = DOCUMENT.read_text(encoding="utf-8")
    ours = f"{MARKS[0]}\n{text}\n{MARKS[1]}"
    new = re.sub(f"(?s){re.escape(MARKS[0])}.*{re.escape(MARKS[1])}", lambda _: ours, old)
    if MARKS[0] not in new:
        new += f"\n## Every kind of guest memory\n\n{INTRODUCTION}\n\n{ours}\n"
    DOCUMENT.write_text(new, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true",
                        help="put the table into docs/measurements.md")
    args, numbers = table.arguments(parser, ROWS)
    if args.write and args.row:
        parser.error("--write needs the whole table")
    found = results(numbers, args.kernel)
    print(markdown(found))
    if args.write:
        write(markdown(found))
    return table.report(found, faults_of, lambda row: row.name)


if __name__ == "__main__":
    sys.exit(main())
