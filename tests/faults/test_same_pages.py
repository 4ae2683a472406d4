# SPDX-License-Identifier: GPL-2.0-or-later
"""Two vCPUs touch the same new pages: what the one that comes second does, and how both are
counted."""

import json
import unittest

from tests.lib import depth, native
from spf.build import targets
from spf.lab import x86

LOST = 100
# Counts VMA_LOCK events, which the other kernels' configurations leave out.
COUNTING = "preempt"


def run(case, mode, rounds, kernel="patched"):
    done = x86.Lab(kernel, cpus=2, memory=1 << 30, timeout=600).run(
        [native.program("same_pages"), mode, LOST, rounds])
    case.assertEqual((done.kind, done.status), ("exit", 0),
                     done.what + done.err.decode() + done.out.decode())
    case.assertEqual(done.trouble, [])
    print(f"# {done.out.decode()}", flush=True)
    return json.loads(done.out)


class SamePages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        targets.bring_up_to_date("patched")

    def test_a_lost_race_takes_no_lock_and_a_peak_is_the_highest(self):
        said = run(self, "on", 1000)
        tiers, aborts = said["tiers"], said["aborts"]
        with self.subTest("a vCPU that loses the race for a page finds the page"):
            self.assertGreaterEqual(said["lost"], LOST)
            # A fault takes a lock only if speculation was given up for another reason.
            other = sum(aborts.values()) - aborts["pte_changed"]
            self.assertEqual(tiers["vma_lock"] + tiers["mmap_lock"], other)
            self.assertGreaterEqual(tiers["speculative"] + other, said["pages"])
        with self.subTest("debugfs has the highest of a peak, and the sum of all else"):
            for name, combine in (("hva_fault_ns_max", max), ("hva_fault_ns_sum", sum)):
                times = said[name]
                self.assertGreater(min(map(min, times["vcpus"])), 0, name)
                self.assertEqual(times["vms"], [combine(vm) for vm in times["vcpus"]], name)
                self.assertEqual(times["all"], combine(times["vms"]), name)


@depth.long(f"needs the kernel {COUNTING}, which counts VMA_LOCK events")
class Events(unittest.TestCase):
    def test_each_fault_under_the_lock_of_a_vma_is_one_event(self):
        """One of vma_lock_success, _retry, _abort and _miss in /proc/vmstat."""
        targets.bring_up_to_date(COUNTING)
        said = run(self, "vma-lock", 20, COUNTING)
        self.assertGreaterEqual(said["tiers"]["vma_lock"], said["pages"])
        self.assertEqual(said["events"], said["tiers"]["vma_lock"])


if __name__ == "__main__":
    unittest.main()
