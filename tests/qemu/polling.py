#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Measure what polling query-kvm-spf costs a guest's fault storm, by the emulator's instruction
clock.

The host in the lab has one CPU here: the storm waits while QEMU and the polling program work. Runs
without polling, with a poll every 100 ms and with one every 10 ms alternate.  Only the last differ
by more than runs of one kind.  The cost of one poll, and so of ten a second, comes from them.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "scripts")]

from tests.qemu import lab_qemu  # noqa: E402
from spf import arguments, series  # noqa: E402

INTERVALS = (0, 0.1, 0.01)      # seconds; 0: no polling
MIB = 1 << 20
GUEST_MEMORY = 2048             # MiB of untouched memory, a part of it for each run


class Poller:
    """Polls until it is stopped, and counts the polls."""

    def __init__(self, qmp, interval):
        self.qmp, self.interval, self.asked = qmp, interval, 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.wait(self.interval):
            self.qmp.execute("query-kvm-spf")
            self.asked += 1

    def __enter__(self):
        if self.interval:
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        if self.interval:
            self.thread.join()


def storms(command, runs):
    """Measure, in the lab."""
    guest = lab_qemu.Guest(*command, "kvm,speculative-faults=on", "",
                           ("-object", f"memory-backend-ram,id=fresh,size={GUEST_MEMORY}M",
                            "-device", "ivshmem-plain,memdev=fresh"))
    pages = GUEST_MEMORY * MIB // 4096 // (runs * len(INTERVALS) + 1)
    # the first run would cost 5 % more
    guest.tell(f"touch {runs * len(INTERVALS) * pages} {pages}", "touched")
    seen = []
    for number in range(runs * len(INTERVALS)):
        interval = INTERVALS[number % len(INTERVALS)]
        before = guest.query()["faults"]
        with Poller(guest.qmp, interval) as poller:
            ns = int(guest.tell(f"touch {number * pages} {pages}", "touched"))
        after = guest.query()["faults"]
        # The first fault of each page table takes the VMA's lock.
        new = sum(after[tier] - before[tier] for tier in ("speculative", "vma-lock"))
        if new < pages:
            sys.exit(f"{pages} touches, {new} faults on new pages: this was no storm")
        seen.append({"interval": interval, "pages": pages, "ns": ns, "asked": poller.asked})
    guest.end()
    return seen


def show(seen):
    def cost(run):
        return run["ns"] / run["pages"]

    quiet = statistics.median(cost(run) for run in seen if not run["interval"])
    print(f"instructions for one of {seen[0]['pages']} first touches of a run, median "
          "(least..most) of "
          f"{len(seen) // len(INTERVALS)}, in alternated runs")
    for interval in INTERVALS:
        runs = [run for run in seen if run["interval"] == interval]
        costs = sorted(cost(run) for run in runs)
        what = f"every {1000 * interval:g} ms" if interval else "no polling"
        median, asked = statistics.median(costs), sum(run["asked"] for run in runs)
        print(f"{what:14}{median:8.1f} "
              f"({costs[0]:.1f}..{costs[-1]:.1f}){100 * (median / quiet - 1):+8.2f} %   "
              f"asked {asked} times")
    # An instruction takes the emulated host a nanosecond; the last runs are those of the shortest
    # interval.
    once = (median - quiet) * sum(run["pages"] for run in runs) / asked
    print(f"asking once: {once / 1000:.0f} thousand instructions; every 100 ms: "
          f"{100 * once * 10 / 1e9:.2f} % of the host's CPU")


def main(argv):
    if argv[1:2] == ["--inside"]:
        print(json.dumps(storms(argv[2:5], int(argv[5]))))
        return 0
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=arguments.Help)
    p.add_argument("--runs", type=int, default=5, help="of each kind (default 5)")
    args = p.parse_args(argv[1:])
    from tests.qemu import guest_image
    from spf import paths
    from spf.build import targets
    from spf.lab import x86
    for kernel in ("stock", "patched"):
        targets.bring_up_to_date(kernel)
    with tempfile.TemporaryDirectory(dir=paths.BUILD) as scratch:
        initramfs = Path(scratch) / "initramfs"
        guest_image.make(initramfs)
        result = x86.Lab("patched", memory=4 << 30, icount=True).run(
            ["/usr/bin/python3", __file__, "--inside", series.qemu(), series.kernel("stock"),
             initramfs, args.runs])
    if not result.ok:
        sys.exit(f"polling: {result.kind} {result.status} {result.what} {result.trouble} "
                 f"{result.err.decode()}")
    show(json.loads(result.out))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
