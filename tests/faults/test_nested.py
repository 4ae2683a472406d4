# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory of guests of guests (L2): nothing is lost, and the host's faults of it take the locks
of the mode."""

import json
import subprocess
import unittest
from pathlib import Path

from tests.lib import console_guest, depth, kernel_series, native
from spf import kvmparam, paths, series
from spf.build import targets
from spf.lab import x86
from spf.source import apt, patches

LIMIT = 900
TRIALS = 600 if depth.LONG else 120
SELFTESTS = series.out("selftests-patched")
FAST, SPECULATIVE, VMA_LOCK, MMAP_LOCK = range(4)
# L1's faults without mmu_lock, which only some series have.
LOCKLESS = "map-4KiB-pages-without-mmu_lock"


def setUpModule():
    kernel_series.need_patches()
    apt.packages(["busybox-static", "util-linux"])
    targets.bring_up_to_date("patched")
    subprocess.run([paths.SCRIPTS / "kvmspf", "build", "selftests"], check=True,
                   stdout=subprocess.DEVNULL)


def has_lockless():
    return any(LOCKLESS in patch.name for patch in patches.files("linux"))


def lab(*words):
    """What lab_nested.py prints, a row for each mode."""
    done = x86.Lab("patched", cpus=2, memory=2 << 30, timeout=LIMIT,
                   guest_kernel=series.kernel("patched")).run(
        ["/usr/bin/python3", str(Path(__file__).with_name("lab_nested.py")), *map(str, words)])
    if (done.kind, done.status) != ("exit", 0) or done.trouble:
        said = [done.kind, done.what, done.out.decode(), done.err.decode()]
        raise AssertionError("\n".join([*said, *done.trouble]))
    rows = [json.loads(line) for line in done.out.decode().splitlines()]
    for row in rows:
        print(f"# {row}", flush=True)
    return rows


class Nested(unittest.TestCase):
    def by_mode(self, row, whose):
        """No tier is used that the mode does not have."""
        used = {tier for tier, n in enumerate(row[whose]) if n and tier != FAST}
        allowed = {"off": {MMAP_LOCK}, "vma-lock": {VMA_LOCK}, "on": {SPECULATIVE, VMA_LOCK}}
        self.assertLessEqual(used, allowed[row["mode"]], whose)

    def locks(self, row):
        """A fault takes the mmap_lock in mode off.  Otherwise one asks for it to make the VMA's
        anon_vma."""
        if row["mode"] == "off":
            self.assertGreaterEqual(row["locks"]["faults"],
                                    row["l1"][MMAP_LOCK] + row["l2"][MMAP_LOCK])
        else:
            self.assertLess(row["locks"]["faults"], 5)

    def test_first_touches_and_the_dirty_log(self):
        """The kernel's selftests, whose L2 touches memory that neither L1 nor the host has
        touched."""
        log = SELFTESTS / "x86" / "nested_dirty_log_test"
        rows = lab("selftests", SELFTESTS / "dirty_log_perf_test", *[log] * log.exists())
        self.assertEqual([row["mode"] for row in rows], list(kvmparam.MODES))
        if not rows[0]["perf"]:
            self.skipTest("this series' dirty_log_perf_test does not nest on AMD")
        for row in rows:
            with self.subTest(row["mode"]):
                pages = row["pages"]
                few = pages // 100
                self.assertTrue(row["perf"] and row["log"])
                self.assertGreaterEqual(row["entries"], 2)
                self.by_mode(row, "l1")
                self.by_mode(row, "l2")
                self.assertEqual(sum(row["other"]), 0)
                # KVM tries a fault again if memory is invalidated meanwhile.
                self.assertIn(sum(row["l2"][1:]), range(pages, pages + few))
                # Each page has a fault again, because its writes are logged.
                self.assertIn(row["l2"][FAST], range(pages, pages + few))
                if row["mode"] == "on":
                    # A page table's first fault takes the lock of the VMA.
                    self.assertGreater(row["l2"][SPECULATIVE], pages - few)
                self.locks(row)

    def test_a_guest_that_is_a_host(self):
        """Linux as L1.  Its first L2 starts while L1 has faults on its other vCPU; then L2's memory
        is swapped out.  L1 and L2 check what they have written.  If L1 has no nested paging, the
        host's own page tables serve L2 as well."""
        archive = paths.BUILD / "tests" / "nested.cpio"
        archive.parent.mkdir(parents=True, exist_ok=True)
        archive.write_bytes(console_guest.initramfs(["cat", "dd", "md5sum", "taskset", "yes"],
                                                    [native.program("rounds")]))
        words = [mode + option for mode in (kvmparam.MODES if depth.LONG else ["on"])
                 for option in ("", ",npt=0")]
        rows = lab("guest", archive, *words)
        self.assertEqual(len(rows), len(words))
        for row in rows:
            with self.subTest(row["mode"], option=row["option"]):
                self.assertTrue(row["same"])
                self.assertTrue(row["swapped_mib"])
                self.by_mode(row, "l1")
                self.by_mode(row, "l2")
                self.assertEqual(sum(row["other"]), 0)
                self.locks(row)
                swap = MMAP_LOCK if row["mode"] == "off" else VMA_LOCK
                self.assertGreater(row["l1"][swap], 0)
                start, shadowed = row["start"], not row["option"]
                if shadowed:
                    # L1 clears a page before L2 has it, so that L2's faults find it, if it is not
                    # swapped out.
                    self.assertGreater(row["l2"][FAST], 1000)
                    self.assertGreater(row["l2"][swap], 0)
                    self.assertGreater(min(start["before"], start["after"]), 0)
                    self.assertLess(start["lockless"], start["before"] + start["after"])
                else:
                    self.assertEqual(sum(row["l2"]), 0)
                    self.assertNotIn("before", start)
                # Once the host shadows L1's page tables, all faults of L1 take mmu_lock.
                lockless = has_lockless() and row["mode"] != "off"
                self.assertEqual(row["lockless_before"] > 100, lockless)
                self.assertEqual(start["lockless"] > 0, lockless)
                self.assertEqual(row["lockless_after"] > 0, lockless and not shadowed)

    def test_a_page_table_that_changes_as_it_is_first_shadowed(self):
        """L1 stores to a page table of L2's, around the time at which KVM shadows the VM's first
        one: L2 sees the change."""
        for row in lab("shadowed", native.program("shadowed"), TRIALS):
            with self.subTest(row["mode"]):
                # The store came before KVM's look at the table, and after.
                self.assertIn(row["before"], range(1, row["trials"]))
                lockless = has_lockless() and row["mode"] != "off"
                self.assertEqual(row["lockless"] > 0, lockless)


if __name__ == "__main__":
    unittest.main()
