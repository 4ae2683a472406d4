# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab: what reclaim makes of pages that a guest has touched once, in each mode.

usage: lab_reclaim.py MATRIX.  MATRIX is the program of tests/matrix.  Prints a line of JSON for
each kind of LRU, each way to reclaim and each mode.
"""

import contextlib
import json
import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

from spf import kvmparam

GROUP = Path("/sys/fs/cgroup/vmm")
MIB = 32
PAGES = MIB << 8
# The guest's pages are counted in this many parts, in the order of the first touch.
PARTS = 4
SWAPPED = 1 << 62
COUNTED = ("active_anon", "inactive_anon", "pgscan", "pgsteal", "pgactivate", "pgdeactivate")
# A file of the cgroup, and what to write to it.  The second halves the memory that the cgroup
# holds.
WAYS = (("memory.reclaim", "8M"), ("memory.max", "16M"))


def enter():
    (GROUP / "cgroup.procs").write_text(str(os.getpid()))


def statistics():
    """Read the cgroup's statistics.  Reclaim uses them, too; reading brings them up to date, as the
    kernel does by itself every two seconds."""
    found = dict(line.split() for line in (GROUP / "memory.stat").read_text().splitlines())
    return {name: int(found[name]) for name in COUNTED}


@contextlib.contextmanager
def group():
    GROUP.mkdir()
    try:
        yield
    finally:
        while "populated 1" in (GROUP / "cgroup.events").read_text():
            time.sleep(0.01)
        GROUP.rmdir()


def put(name, value):
    """Whether that much could be reclaimed."""
    try:
        (GROUP / name).write_text(value)
    except BlockingIOError:
        return False
    return True


def killed():
    return "oom_kill 0\n" not in (GROUP / "memory.events").read_text()


def swapped(pid):
    """How many pages of each part of the guest's memory, its VMM's largest mapping, are in swap."""
    spans = [(int(low, 16), int(high, 16)) for low, high in
             re.findall(r"^(\w+)-(\w+) rw", Path(f"/proc/{pid}/maps").read_text(), re.M)]
    low, high = max(spans, key=lambda span: span[1] - span[0])
    if high - low != MIB << 20:
        raise AssertionError(f"{high - low} bytes are not the guest's memory")
    with open(f"/proc/{pid}/pagemap", "rb") as file:
        file.seek(low >> 12 << 3)
        entries = struct.unpack(f"={PAGES}Q", file.read(8 * PAGES))
    each = PAGES // PARTS
    return [sum(bool(e & SWAPPED) for e in entries[i:i + each]) for i in range(0, PAGES, each)]


def touched(program, mode, name, value):
    """Have the guest touch its pages; then write the value to that file of its cgroup."""
    with group():
        child = subprocess.Popen([program, mode, "anon", str(MIB), str(PAGES), "overwrite", "ready",
                                  "read"], text=True, preexec_fn=enter,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if child.stdout.readline() != "ready\n":
            raise AssertionError(f"the guest is not ready: {child.wait()}")
        before = statistics()
        said = {"active": before["active_anon"] >> 12, "inactive": before["inactive_anon"] >> 12,
                "done": put(name, value), "killed": killed()}
        if said["killed"]:
            child.wait()
        else:
            said |= {"swapped": swapped(child.pid)}
        after = statistics()
        said |= {name: after[name] - before[name] for name in COUNTED if name.startswith("pg")}
        put("memory.max", "max")
        out, _ = child.communicate("\n", timeout=120)
        if not said["killed"]:
            said |= {"wrong": json.loads(out)["wrong"]}
    return said


def prepare():
    """Memory cgroups, pages of 4 KiB, and swap."""
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory")
    Path("/sys/kernel/mm/transparent_hugepage/enabled").write_text("madvise")
    subprocess.run(["sh", "-ec", "echo 256M >/sys/block/zram0/disksize; mkswap -q /dev/zram0; "
                    "swapon /dev/zram0"], check=True)


def main(program):
    prepare()
    for generations in ("n", "y"):
        Path("/sys/kernel/mm/lru_gen/enabled").write_text(generations)
        for name, value in WAYS:
            for mode in kvmparam.MODES:
                print(json.dumps({"generations": generations, "way": name, "mode": mode,
                                  **touched(program, mode, name, value)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
