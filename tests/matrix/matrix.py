#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix of memory kinds and states: run its rows in the lab, print what is wrong, and show the
table."""

import argparse
import re
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "scripts")]

from tests.lib import expected, every_mode  # noqa: E402
from tests.matrix.rows import MTHP, ONCE, READ_ONLY, ROWS  # noqa: E402
from spf import kvmparam, paths, series  # noqa: E402

DOCUMENT = paths.ROOT / "docs" / "measurements.md"
MARKS = ("<!-- tests/matrix/matrix.py --write: from here -->", "<!-- to here -->")
TIERS = ("fast", "speculative", "vma_lock", "mmap_lock")
INTRODUCTION = """\
`tests/matrix/matrix.py --write` renews this table. It has the faults of one
vCPU in mode `on` by tier; `specul.`, `VMA` and `mmap` are `speculative`,
`vma_lock` and `mmap_lock`. `on` and `off` are how often the vCPU's thread took
the mmap_lock for any reason in these modes, by the kernel's tracepoint. `why`
is the reason in mode `on`, by its number below the table. The test does what a
VMM does (balloon, virtio-mem, post-copy, snapshot, migration) as QEMU would,
without QEMU. `fast` includes the pages of the guest's own program."""
# All rows take 7 minutes, and longer on a kernel with lockdep.
LIMIT = 1800
HUGE_PAGES = "default_hugepagesz=2M hugepagesz=1G hugepages=1"


def results(numbers=(), kernel="patched"):
    """[(row, {mode: the program's output})]"""
    return every_mode.results(ROWS, HERE / "lab_matrix.py", numbers, kernel, memory=4 << 30,
                              timeout=LIMIT, qemu_args=["-device", "bochs-display"],
                              append=HUGE_PAGES)


def tiers(said):
    return {name: said.get(name, 0) for name in TIERS}


def aborts(said):
    return sum(said.get(name.removeprefix("spf_abort_"), 0) for name in kvmparam.ABORTS)


def why_of(row):
    """The reason for acquisitions of the mmap_lock in the series in use."""
    if row.outcome == "SIGBUS" and expected.of("poisoned") == "vma_lock":
        return ""
    return row.why


def tier_of(row):
    """The tier of nearly all faults in the series in use."""
    word = {READ_ONLY: "read-only", MTHP: "mthp"}.get(row.name)
    return expected.of(word) if word else row.tier


def faults_of(row, modes):
    """What is wrong, in words."""
    bad = []
    outcome = "killed" if row.killed else row.outcome
    for mode, said in modes.items():
        if said["outcome"] != outcome:
            bad.append(f"{mode}: ended with {said['outcome']}, not {outcome}")
        if said.get("wrong"):
            bad.append(f"{mode}: {said['wrong']} wrong pages")
        # A reason for each fault that had to take a lock, however often it was put off.
        locked = said.get("vma_lock", 0) + said.get("mmap_lock", 0) if mode == "on" else 0
        if aborts(said) != locked:
            bad.append(f"{mode}: {aborts(said)} reasons for {locked} faults under a lock")
    said = modes["on"]
    if bad or outcome == "killed":
        return bad
    count, tier, why = tiers(said), tier_of(row), why_of(row)
    if not why and (said["locks"] or count["mmap_lock"]):
        bad.append(f"mmap_lock taken {said['locks']} times, {count['mmap_lock']} faults by it")
    if why == ONCE and (said["locks"] != 1 or count["mmap_lock"]):
        bad.append(f"mmap_lock taken {said['locks']} times, {count['mmap_lock']} faults by it, for "
                   f"'{why}'")
    if tier and tier != "mmap_lock" and count["mmap_lock"]:
        bad.append(f"{count['mmap_lock']} faults by the mmap_lock")
    if why and not said["locks"]:
        bad.append(f"no mmap_lock taken: '{why}' is out of date")
    # Pages that the VMM has mapped are always fast: the guest's program, and pages seen again.
    others = sum(count.values()) - count["fast"]
    if tier == "fast" and others:
        bad.append(f"more than fast: {count}")
    if row.once and others > row.pages:
        bad.append(f"{others} faults for {row.pages} pages")
    # One fault in 512 pages, that of the page table, belongs to another tier.
    if tier in TIERS[1:] and (not count[tier] or 16 * count[tier] < 15 * others):
        bad.append(f"not by {tier}: {count}")
    return bad


def markdown(found):
    """The faults of each row in mode `on`, and its locks compared with mode `off`; then the reasons
    for locks, which the rows name by number."""
    heading = ["memory, state", "outcome", "fast", "specul.", "VMA", "mmap", "on", "off", "why"]
    number = {"": ""}
    for row, _ in found:
        number.setdefault(why_of(row), f"[{len(number)}]")
    table = every_mode.markdown(heading, [
        [row.name, modes["on"]["outcome"], *tiers(modes["on"]).values(),
         modes["on"].get("locks", ""), modes["off"].get("locks", ""), number[why_of(row)]]
        for row, modes in found])
    whys = [f"{n}. {why}" for n, why in enumerate(number) if why]
    return "\n".join([table, *([""] if whys else []), *whys])


def write(text):
    old = DOCUMENT.read_text(encoding="utf-8")
    ours = f"{MARKS[0]}\nOf {series.of('linux').name}:\n\n{text}\n{MARKS[1]}"
    new = re.sub(f"(?s){re.escape(MARKS[0])}.*{re.escape(MARKS[1])}", lambda _: ours, old)
    if MARKS[0] not in new:
        new += f"\n## Every kind of guest memory\n\n{INTRODUCTION}\n\n{ours}\n"
    DOCUMENT.write_text(new, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true",
                        help="put the table into docs/measurements.md")
    args, numbers = every_mode.arguments(parser, ROWS)
    if args.write and args.row:
        parser.error("--write needs the whole table")
    found = results(numbers, args.kernel)
    print(markdown(found))
    if args.write:
        write(markdown(found))
    return every_mode.report(found, faults_of, lambda row: row.name)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except unittest.SkipTest as missing:
        sys.exit(f"matrix: {missing}")
