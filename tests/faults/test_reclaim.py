# SPDX-License-Identifier: GPL-2.0-or-later
"""Reclaim of pages that a guest has touched once is what it is in mode off."""

import unittest
from pathlib import Path

from tests.lib import depth, every_mode

# Pages that may lie elsewhere: what a CPU has not yet put on a list, and the VMM's own.
FEW = 256


@depth.long("the LRU is of one function of the series")
class Reclaim(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rows = every_mode.lines(Path(__file__).with_name("lab_reclaim.py"), memory=2 << 30,
                                    timeout=900)

    def test_takes_what_it_takes_in_mode_off(self):
        """Where the pages lie, which of them go, and whether the guest outlives it."""
        self.assertEqual(len(self.rows), 12)
        off = {(row["generations"], row["way"]): row for row in self.rows if row["mode"] == "off"}
        for row in self.rows:
            print(f"# {row}", flush=True)
            right = off[row["generations"], row["way"]]
            with self.subTest(mode=row["mode"], way=row["way"], generations=row["generations"]):
                self.assertEqual((row["done"], row["killed"]), (True, False))
                self.assertEqual(row["wrong"], 0)
                self.assertLess(abs(row["active"] - right["active"]), FEW)
                for pages, others in zip(row["swapped"], right["swapped"]):
                    self.assertLess(abs(pages - others), FEW)


if __name__ == "__main__":
    unittest.main()
