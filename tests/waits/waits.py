#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of waits: who waits, who starts I/O and what is written, in every state of a page.

In every mode it has to be as in mode `off`.
"""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "scripts")]

from tests import native  # noqa: E402
from tests.waits.rows import ROWS  # noqa: E402
from spf.source import apt  # noqa: E402
from spf.build import targets  # noqa: E402
from spf.lab import x86  # noqa: E402

LIMIT = 1800


def results(numbers=(), kernel="patched"):
    """[(row, {mode: what was seen})]"""
    apt.packages(["e2fsprogs", "util-linux"])
    targets.bring_up_to_date(kernel)
    program = native.program("matrix")
    machine = x86.Lab(kernel, cpus=2, numa=2, memory=3 << 30, timeout=LIMIT)
    done = machine.run(["/usr/bin/python3", HERE / "inside.py", program, *numbers])
    if (done.kind, done.status) != ("exit", 0) or done.trouble:
        said = [done.kind, done.what, done.out.decode(), done.err.decode()]
        raise AssertionError("\n".join([*said, *done.trouble]))
    found = {}
    for line in done.out.decode().splitlines():
        said = json.loads(line)
        found.setdefault(said["row"], {})[said["mode"]] = said
    return [(ROWS[number], modes) for number, modes in found.items()]


def memory(row, said):
    """What became of the pages, in KiB.  A worker writes each page that it is asked for; how many these
    are is for the disk to say, if the row's pages are read from there."""
    kib = said["memory"]
    if row.counted or not row.asked or row.access != "read":
        return kib
    written = kib["Private_Dirty"] - min(kib["Private_Dirty"], 4 * said["asked"])
    return {"Rss": kib["Rss"], "Swap": kib["Swap"], "written": written}


def due(row, said):
    """What has to be the same in every mode."""
    same = {name: said[name] for name in ("outcome", "wrong", "messages")}
    same["memory"] = memory(row, said)
    if row.counted:
        return same | {name: said[name] for name in ("asked", "io", "userfault", "major")}
    return same | {"asked": bool(said["asked"]), "io": sorted(said["io"]),
                   "userfault": sorted(said["userfault"])}


def faults_of(row, modes):
    """What is not as it should be, in words."""
    off = modes["off"]
    if off["outcome"] == "not here":
        return []
    bad = [f"{mode}: {said['outcome']}" for mode, said in modes.items() if "asked" not in said]
    if bad:
        return bad
    if (bool(off["asked"]), tuple(sorted(off["io"]))) != (row.asked, row.io):
        bad.append(f"off: asked {off['asked']} times, {off['io']} read: not the row's state")
    if "moving" in row.access and not off["migrating"]:
        bad.append("off: no fault met a page under migration")
    right = due(row, off)
    for mode, said in modes.items():
        bad += [f"{mode}: {name} {what}, off {right[name]}"
                for name, what in due(row, said).items() if what != right[name]]
        # An error is the mmap_lock's to tell, and so found twice.
        if row.counted and said["outcome"] == "ok" and said["handled"] > off["handled"]:
            bad.append(f"{mode}: {said['handled']} faults handled, off {off['handled']}")
    return bad


def table(found):
    """Markdown: mode off's outcome, which is every mode's, and the locks of mode `on`."""
    lines = ["| page | guest | async page faults | reads the disk | userfaultfd asked | outcome "
             "| VMA lock | mmap_lock |", "|---|---|---|---|---|---|---|---|"]
    for row, modes in found:
        off, on = modes["off"], modes["on"]
        cells = [row.name, row.access, off.get("asked", ""), ", ".join(off.get("io", ())),
                 off.get("messages", ""), off["outcome"], on.get("vma_lock", ""),
                 on.get("mmap_lock", "")]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", nargs="*", help="only rows whose name has this")
    parser.add_argument("--kernel", default="patched")
    parser.add_argument("--all", action="store_true", help="print all that was seen, as JSON")
    args = parser.parse_args()
    numbers = [n for n, row in enumerate(ROWS)
               if not args.row or any(word in row.name for word in args.row)]
    if not numbers:
        parser.error("no such row")
    found = results(numbers, args.kernel)
    if args.all:
        for row, modes in found:
            for said in modes.values():
                print(json.dumps({"name": row.name, "access": row.access, **said}))
    print(table(found))
    bad = [f"{row.name}, {row.access}: {text}"
           for row, modes in found for text in faults_of(row, modes)]
    print("\n".join(bad), end="\n" if bad else "")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
