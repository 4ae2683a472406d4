# SPDX-License-Identifier: GPL-2.0-or-later
"""kvm_intel with EPT on Bochs: faults of guest memory by every tier, small, huge and write-protected mappings."""

import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "scripts"), str(Path(__file__).resolve().parents[1])]

import storms  # noqa: E402
from spf import lab_ept, meson, patches, paths, setup, ui  # noqa: E402

LIMIT = 600
BUSYBOX = "/bin/busybox"
SELFTESTS = paths.OUT / "selftests-patched"
# Counts what a selftest does to the second-stage tables: leaves that it put there (bit 11: present; bit 7: a huge page),
# by level, and the faults that the fast path had to do with, by what it returned.
TRACED = """
[ "$(/bin/busybox cat /sys/module/kvm_intel/parameters/ept)" = Y ] || exit 1
cd /sys/kernel/debug/tracing/events/kvmmmu || exit 1
echo 'hist:keys=level if new_spte & 0x800 && (level == 1 || new_spte & 0x80)' >kvm_tdp_mmu_spte_changed/trigger || exit 1
echo 'hist:keys=ret' >fast_page_fault/trigger || exit 1
"$@" || exit
/bin/busybox cat kvm_tdp_mmu_spte_changed/hist fast_page_fault/hist
"""
RET_PF_FIXED = 5
# With less, the kernel has no transparent huge pages.
ENOUGH = 1 << 30


def setUpModule():
    if not patches.series("linux"):
        raise unittest.SkipTest("there is no kernel series")
    setup.ready()
    setup.packages(["busybox-static"])
    lab_ept.bring_up_to_date("patched")
    subprocess.run([paths.SCRIPTS / "kvmspf", "build", "selftests"], check=True, stdout=subprocess.DEVNULL)


class Ept(unittest.TestCase):
    def run_in_lab(self, *argv, **options):
        result = lab_ept.Ept("patched", timeout=LIMIT, **options).run(argv)
        said = result.out.decode(errors="replace")
        self.assertEqual((result.kind, result.status), ("exit", 0), f"{result.what}; see {ui.shown(result.console)}\n{said}")
        self.assertEqual(result.trouble, [])
        return said

    def test_selftest_every_mode_counters_and_contents(self):
        for line in self.run_in_lab(SELFTESTS / "speculative_faults_test", "-p", "4096").splitlines():
            print(f"# {line}")

    def test_storm(self):
        said = self.run_in_lab(meson.bench_static() / "fault-storm", "--size", "8M", *storms.WORDS)
        storms.check(self, said, 2048)

    def traced(self, *argv, **options):
        """How many leaves a selftest made at each level, and how often the fast path returned what."""
        said = self.run_in_lab(BUSYBOX, "sh", "-c", TRACED, "sh", *argv, **options)
        found = re.findall(r"^\{ (level|ret): +(\d+) \} hitcount: +(\d+)$", said, re.M)
        return {(what, int(key)): int(count) for what, key, count in found}

    def test_small_pages(self):
        got = self.traced(SELFTESTS / "demand_paging_test", "-b", "8M")
        self.assertGreaterEqual(got["level", 1], 2048, got)

    def test_huge_pages(self):
        got = self.traced(SELFTESTS / "demand_paging_test", "-b", "32M", "-s", "anonymous_thp", memory=ENOUGH)
        self.assertGreaterEqual(got["level", 2], 16, got)

    def test_write_protected_pages(self):
        """Dirty logging without the CPU's help: small pages are write-protected for the second round, huge ones split."""
        for source, huge in (("anonymous", False), ("anonymous_thp", True)):
            got = self.traced(SELFTESTS / "dirty_log_perf_test", "-b", "8M", "-i", "2", "-s", source, memory=ENOUGH,
                              append="kvm_intel.pml=0")
            self.assertEqual(got.get(("level", 2), 0) > 0, huge, got)
            self.assertGreaterEqual(got["ret", RET_PF_FIXED], 2048, got)


if __name__ == "__main__":
    unittest.main()
