# SPDX-License-Identifier: GPL-2.0-or-later
"""kvm_intel with EPT on Bochs: faults of guest memory by every tier, small, huge and
write-protected mappings."""

import os
import re
import subprocess
import unittest
from concurrent.futures import ThreadPoolExecutor

from tests.lib import kernel_series, storm_tiers
from spf import paths, series, ui
from spf.source import apt, setup
from spf.build import meson
from spf.lab import ept

LIMIT = 600
BUSYBOX = "/bin/busybox"
SELFTESTS = series.out("selftests-patched")
# Only a series that maps pages without mmu_lock has it.  Without rounds of discards (-r), no guest
# spins: on Bochs a host of 7.3, patched or not, does not get its CPU back from one.
LEAF = SELFTESTS / "tdp_leaf_test"
# Count a selftest's changes of the second-stage tables: new leaves by level (bit 11: present; bit
# 7: a huge page), and faults of the fast path by its return value.  Also count faults by thread and
# tier, and mmap_locks by thread.
TRACED = """
[ "$(/bin/busybox cat /sys/module/kvm_intel/parameters/ept)" = Y ] || exit 1
cd /sys/kernel/debug/tracing/events/kvmmmu || exit 1
echo 'hist:keys=level if new_spte & 0x800 && (level == 1 || new_spte & 0x80)' \\
	>kvm_tdp_mmu_spte_changed/trigger || exit 1
echo 'hist:keys=ret' >fast_page_fault/trigger || exit 1
echo 'hist:keys=common_pid,tier' >../kvm/kvm_hva_fault/trigger || exit 1
echo 'hist:keys=common_pid' >../mmap_lock/mmap_lock_start_locking/trigger || exit 1
"$@" || exit
/bin/busybox cat kvm_tdp_mmu_spte_changed/hist fast_page_fault/hist ../kvm/kvm_hva_fault/hist
echo locks
/bin/busybox cat ../mmap_lock/mmap_lock_start_locking/hist
"""
RET_PF_FIXED = 5
# With less, the kernel has no transparent huge pages.
ENOUGH = 1 << 30
# Memory whose writes are logged, and whether its pages are huge.
DIRTY_LOG = {"anonymous": False, "anonymous_thp": True}


def setUpModule():
    kernel_series.need_patches()
    setup.ready()
    apt.packages(["busybox-static"])
    ept.bring_up_to_date("patched")
    subprocess.run([paths.SCRIPTS / "kvmspf", "build", "selftests"], check=True,
                   stdout=subprocess.DEVNULL)


def machines():
    """The command of each machine, and its options."""
    tracer = (BUSYBOX, "sh", "-c", TRACED, "sh")
    paging, dirty_log = SELFTESTS / "demand_paging_test", SELFTESTS / "dirty_log_perf_test"
    return {
        "selftest": ((SELFTESTS / "speculative_faults_test", "-p", "4096"), {}),
        "storm": ((meson.bench_static() / "fault-storm", "--size", "8M", *storm_tiers.WORDS), {}),
        "small": ((*tracer, paging, "-b", "8M"), {}),
        "huge": ((*tracer, paging, "-b", "32M", "-s", "anonymous_thp"), {"memory": ENOUGH}),
    } | {source: ((*tracer, dirty_log, "-b", "8M", "-i", "2", "-s", source),
                  {"memory": ENOUGH, "append": "kvm_intel.pml=0"}) for source in DIRTY_LOG} | (
        {"leaf": ((LEAF, "-r", "0"), {})} if LEAF.exists() else {})


class Ept(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        meson.lab_init()     # one thread at a time
        # Bochs has one thread, and its clock counts instructions: run as many machines at once as
        # there are CPUs.
        pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        cls.addClassCleanup(pool.shutdown, cancel_futures=True)

        def run(words, options):
            return ept.Ept("patched", timeout=LIMIT, **options).run(words)

        cls.runs = {name: pool.submit(run, *machine) for name, machine in machines().items()}

    def said(self, name):
        result = self.runs[name].result()
        said = result.out.decode(errors="replace")
        self.assertEqual((result.kind, result.status), ("exit", 0),
                         f"{result.what}; see {ui.shown(result.console)}\n{said}")
        self.assertEqual(result.trouble, [])
        return said

    def traced(self, name):
        """The leaves that a selftest made at each level, the return values of the fast path, faults
        by tier, and the mmap_locks of the threads that had the faults."""
        said, locks = self.said(name).split("locks\n")
        found = re.findall(r"^\{ (level|ret): +(\d+) \} hitcount: +(\d+)$", said, re.M)
        got = {(what, int(key)): int(count) for what, key, count in found}
        faults = re.findall(r"^\{ common_pid: +(\d+), tier: +(\d+) \} hitcount: +(\d+)$", said,
                            re.M)
        for _pid, tier, count in faults:
            got["tier", int(tier)] = got.get(("tier", int(tier)), 0) + int(count)
        # The thread that creates the VM has faults too, of pages that it fills for the VM, but none
        # is speculative.
        vcpus = {pid for pid, tier, _count in faults if tier == "1"}
        got["locks"] = sum(int(count) for pid, count in re.findall(
            r"^\{ common_pid: +(\d+) \} hitcount: +(\d+)$", locks, re.M) if pid in vcpus)
        return got

    def test_selftest_every_mode_counters_and_contents(self):
        for line in self.said("selftest").splitlines():
            print(f"# {line}")

    def test_pages_mapped_without_mmu_lock(self):
        if "leaf" not in self.runs:
            self.skipTest("this series maps none")
        for line in self.said("leaf").splitlines():
            print(f"# {line}")

    def test_storm(self):
        storm_tiers.check(self, self.said("storm"), 2048)

    def test_small_pages(self):
        """They take no mmap_lock, except where there is no page table or anon_vma yet."""
        got = self.traced("small")
        print(f"# {got}")
        self.assertGreaterEqual(got["level", 1], 2048, got)
        self.assertGreaterEqual(got["tier", 1], 2000, got)
        self.assertLessEqual(512 * got["locks"], 2048, got)

    def test_huge_pages(self):
        got = self.traced("huge")
        self.assertGreaterEqual(got["level", 2], 16, got)

    def test_write_protected_pages(self):
        """Dirty logging without the CPU's help: small pages are write-protected for the second
        round, huge ones split."""
        for source, huge in DIRTY_LOG.items():
            got = self.traced(source)
            self.assertEqual(got.get(("level", 2), 0) > 0, huge, got)
            self.assertGreaterEqual(got["ret", RET_PF_FIXED], 2048, got)


if __name__ == "__main__":
    unittest.main()
