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
# Counts what a selftest does to the second-stage tables: leaves by level, and the faults that the fast path had to do
# with, by what it returned.
TRACED = """
cd /sys/kernel/debug/tracing/events/kvmmmu || exit 1
echo 'hist:keys=level if level == 1 || new_spte & 0x80' >kvm_tdp_mmu_spte_changed/trigger || exit 1
echo 'hist:keys=ret' >fast_page_fault/trigger || exit 1
"$@" || exit
for event in kvm_tdp_mmu_spte_changed fast_page_fault; do
	while read -r line; do
		echo "$event $line"
	done <$event/hist
done
"""
RET_PF_FIXED = 4


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

    def test_ept_is_what_runs(self):
        self.assertEqual(self.run_in_lab(BUSYBOX, "cat", "/sys/module/kvm_intel/parameters/ept"), "Y\n")

    def test_selftest_every_mode_counters_and_contents(self):
        for line in self.run_in_lab(SELFTESTS / "speculative_faults_test", "-p", "4096").splitlines():
            print(f"# {line}")

    def test_storm(self):
        said = self.run_in_lab(meson.bench_static() / "fault-storm", "--size", "8M", *storms.WORDS)
        storms.check(self, said, 2048)

    def traced(self, *argv, **options):
        """What a selftest says, and how often each level had a leaf changed and each kind of fast fault happened."""
        said = self.run_in_lab(BUSYBOX, "sh", "-c", TRACED, "sh", *argv, **options)
        found = re.findall(r"^(\w+) \{ (?:level|ret): +(\d+) \} hitcount: +(\d+)$", said, re.M)
        return {(event, int(key)): int(count) for event, key, count in found}

    def test_small_pages(self):
        got = self.traced(SELFTESTS / "demand_paging_test", "-b", "8M")
        self.assertGreaterEqual(got["kvm_tdp_mmu_spte_changed", 1], 2048, got)

    def test_huge_pages(self):
        got = self.traced(SELFTESTS / "demand_paging_test", "-b", "32M", "-s", "anonymous_thp")
        self.assertGreaterEqual(got["kvm_tdp_mmu_spte_changed", 2], 16, got)

    def test_write_protected_pages(self):
        """Dirty logging without the CPU's help: the pages are write-protected for each round, huge ones split."""
        for source in ("anonymous", "anonymous_thp"):
            got = self.traced(SELFTESTS / "dirty_log_perf_test", "-b", "8M", "-i", "2", "-s", source,
                              append="kvm_intel.pml=0")
            self.assertGreaterEqual(got["fast_page_fault", RET_PF_FIXED], 2 * 2048, got)


if __name__ == "__main__":
    unittest.main()
