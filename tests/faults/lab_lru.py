# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab: whether the pages that a guest touches are on the LRU lists that the counters say.

usage: lab_lru.py MATRIX.  MATRIX is the program of tests/matrix.  Prints a line of JSON for each
kind of LRU, of memory and each mode.  The third kind of LRU switches between the other two while
the guest starts and touches its pages.
"""

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path

from tests.faults import lab_reclaim as reclaim
from spf import kvmparam

MIB = 16
PAGES = MIB << 8
# Memory, and what happens to it before the guest touches it.
KINDS = (("anon", ()), ("memfd", ("zeros",)))
# Bits of /proc/kpageflags.
LRU, ACTIVE, SWAPBACKED, UNEVICTABLE = 1 << 5, 1 << 6, 1 << 14, 1 << 18
FLAGS_OF_A_GIB = 8 << 18
COUNTED = ("nr_active_anon", "nr_inactive_anon", "pgactivate")
GENERATIONS = Path("/sys/kernel/mm/lru_gen/enabled")


def drain():
    """All CPUs put the pages of their batches on the lists, and add up their counts."""
    Path("/proc/sys/vm/drop_caches").write_text("1")
    Path("/proc/sys/vm/stat_refresh").write_text("1")


def counts():
    lines = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    return {name: int(lines[name]) for name in COUNTED}


def flagged(space):
    """How many pages say of themselves that they are on a list of anonymous memory: of all pages,
    and of those that are active.  The flags of all pages fit into the space."""
    with open("/proc/kpageflags", "rb", buffering=0) as file:
        at, view = 0, memoryview(space)
        while got := file.readinto(view[at:]):
            at += got
    mine = [page for page in view[:at].cast("Q")
            if page & (LRU | SWAPBACKED | UNEVICTABLE) == LRU | SWAPBACKED]
    return len(mine), sum(bool(page & ACTIVE) for page in mine)


@contextlib.contextmanager
def switched(generations):
    """Set this kind of LRU.  After switching, leave generations off.  Yield a list with an item for
    each change."""
    changes, over = [], threading.Event()
    if generations != "switched":
        GENERATIONS.write_text(generations)
        yield changes
        return

    def change():
        while not over.is_set():
            for kind in "yn":
                GENERATIONS.write_text(kind)
                changes.append(kind)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        yield changes
    finally:
        over.set()
        changer.join()


def touched(program, mode, memory, before, space, generations):
    drain()
    first = counts()
    with switched(generations) as changes:
        child = subprocess.Popen(
            [program, mode, memory, str(MIB), str(PAGES), *before, "overwrite", "ready", "read"],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=reclaim.enter)
        if child.stdout.readline() != "ready\n":
            raise AssertionError(f"the guest is not ready: {child.wait()}")
    drain()
    last = counts()
    listed, active = flagged(space)
    group = reclaim.statistics()
    said = {"listed": listed, "active": active, "counted": last, "changes": len(changes),
            "group_active": group["active_anon"] >> 12,
            "group_inactive": group["inactive_anon"] >> 12,
            "group_activated": group["pgactivate"],
            "activated": last["pgactivate"] - first["pgactivate"]}
    out, _ = child.communicate("\n", timeout=120)
    return {**said, "wrong": json.loads(out)["wrong"]}


def main(program):
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory")
    Path("/sys/kernel/mm/transparent_hugepage/enabled").write_text("madvise")
    # It has its pages before anything is counted.
    space = bytearray(b"\1") * (2 * FLAGS_OF_A_GIB)
    for generations in ("n", "y", "switched"):
        for memory, before in KINDS:
            for mode in kvmparam.MODES:
                with reclaim.group():
                    said = touched(program, mode, memory, before, space, generations)
                print(json.dumps({"generations": generations, "memory": memory, "mode": mode,
                                  "pages": PAGES, **said}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
