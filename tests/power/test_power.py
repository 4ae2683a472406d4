# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM HV on emulated POWER: every tier in every mode resolves faults of guest memory, and the
kernel's counts are exact."""

import unittest

from tests.lib import depth, storm_tiers
from spf import ui
from spf.source import patches
from spf.build import meson, targets
from spf.lab import power

LIMIT = 600


def setUpModule():
    if not any("PPC" in p.name for p in patches.files("linux")):
        raise unittest.SkipTest("the kernel series has no POWER part")
    power.bring_up_to_date("patched")


class Power(unittest.TestCase):
    def run_in_lab(self, kernel, model, *argv):
        result = power.Power(kernel, model, numa=2, timeout=LIMIT).run(argv)
        said = result.out.decode(errors="replace")
        self.assertEqual((result.kind, result.status), ("exit", 0),
                         f"{result.what}; see {ui.shown(result.console)}\n{said}")
        # Such messages would include "BUG: Bad rss-counter state" and "BUG: non-zero
        # pgtables_bytes".
        self.assertEqual(result.trouble, [])
        return said

    def every_mode(self, kernel, model, *words):
        program = meson.bench_power() / "tests/power/guest_faults"
        counted = any("map-pages-of-a-radix-guest" in p.name for p in patches.files("linux"))
        for line in self.run_in_lab(kernel, model, program, *words).splitlines():
            print(f"# {line}")
            # The program checks this count where it finds it.
            self.assertEqual(" lockless " in line, counted and "not tried" not in line, line)

    def test_power9(self):
        self.every_mode("patched", "powernv9")

    def test_power9_with_a_hashed_page_table(self):
        self.every_mode("patched", "powernv9", "hash")

    def test_power10(self):
        self.every_mode("patched", "powernv10")

    @depth.long("a kernel that is built for this alone")
    def test_power9_with_4k_pages(self):
        targets.build("linux-power4k")
        self.every_mode("4k", "powernv9")

    def test_page_made_clean(self):
        """A bug of the emulator: the store after a load must make the page dirty, or the host would
        lose the data."""
        print("#", self.run_in_lab("patched", "powernv9",
                                   meson.bench_power() / "tests/power/clean_page").strip())

    def test_storm(self):
        said = self.run_in_lab("patched", "powernv9", meson.bench_power() / "bench/fault-storm",
                               "--size", "64M",
                               *storm_tiers.WORDS)
        storm_tiers.check(self, said, 1024)


if __name__ == "__main__":
    unittest.main()
