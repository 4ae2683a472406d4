#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of waits: which thread waits, which starts I/O and what is written, in every state of
a page.

In every mode it has to be as in mode `off`.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "scripts")]

from tests.lib import every_mode, expected  # noqa: E402
from tests.waits.rows import PMEM_ARGUMENTS, ROWS, SLOW_READS  # noqa: E402

LIMIT = 1800


def results(numbers=(), kernel="patched"):
    """[(row, {mode: what was seen})]"""
    append = PMEM_ARGUMENTS if kernel == "dax" else ""
    with tempfile.NamedTemporaryFile() as disk:
        disk.truncate(64 << 20)
        slow = ["-drive", f"if=virtio,format=raw,cache=unsafe,file={disk.name},"
                          f"throttling.iops-read={SLOW_READS}"]
        return every_mode.results(ROWS, HERE / "lab_waits.py", numbers, kernel, memory=3 << 30,
                                  timeout=LIMIT, append=append, qemu_args=slow)


def memory(row, said):
    """What became of the pages, in KiB.  A worker writes each page that it is asked for, and then a
    file's whole folio counts as written; the disk decides how many these are, if the row's pages
    are read from there."""
    kib = said["memory"]
    if row.counted or not row.asked or row.access != "read":
        return kib
    dirty = kib["Private_Dirty"]
    written = "all"
    if dirty < kib["Rss"]:
        one = expected.number("folio") if row.memory.startswith("file") else 4
        written = dirty - min(dirty, one * said["asked"])
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
        # Only the mmap_lock's code reports an error, so it is found twice.
        if row.counted and said["outcome"] == "ok" and said["handled"] > off["handled"]:
            bad.append(f"{mode}: {said['handled']} faults handled, off {off['handled']}")
    return bad


def markdown(found):
    """Mode off's outcome, which is every mode's, and the locks of mode `on`.  ok is left out."""
    heading = ["page", "guest", "async", "disk", "uffd", "outcome", "VMA", "mmap"]
    return every_mode.markdown(heading, [
        [row.name, row.access, modes["off"].get("asked", ""), ", ".join(modes["off"].get("io", ())),
         modes["off"].get("messages", ""), modes["off"]["outcome"].removeprefix("ok"),
         modes["on"].get("vma_lock", ""), modes["on"].get("mmap_lock", "")]
        for row, modes in found])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="print all that was seen, as JSON")
    args, numbers = every_mode.arguments(parser, ROWS)
    found = results(numbers, args.kernel)
    if args.all:
        for row, modes in found:
            for said in modes.values():
                print(json.dumps({"name": row.name, "access": row.access, **said}))
    print(markdown(found))
    return every_mode.report(found, faults_of, lambda row: f"{row.name}, {row.access}")


if __name__ == "__main__":
    sys.exit(main())
