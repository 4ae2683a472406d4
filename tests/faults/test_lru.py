# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages that a guest has touched are on the LRU lists that the counters say."""

import unittest
from pathlib import Path

from tests.lib import every_mode

# Pages that may lie elsewhere: what a CPU has not yet put on a list, and the VMM's own.
FEW = 200


class Lists(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rows = every_mode.lines(Path(__file__).with_name("lab_lru.py"), memory=1 << 30)

    def each(self, check):
        self.assertEqual(len(self.rows), 18)
        for row in self.rows:
            with self.subTest(row["generations"], memory=row["memory"], mode=row["mode"]):
                check(row)

    def test_have_the_sizes_that_are_counted(self):
        """Folios of a batch join and leave lists together, and are counted together."""
        def check(row):
            print(f"# {row}", flush=True)
            counted = row["counted"]
            both = counted["nr_active_anon"] + counted["nr_inactive_anon"]
            self.assertLess(abs(row["listed"] - both), FEW)
            of_group = row["group_active"] + row["group_inactive"]
            self.assertLess(abs(of_group - row["pages"]), FEW)
            # Generations have flags of their own.
            if row["generations"] != "y":
                self.assertLess(abs(row["active"] - counted["nr_active_anon"]), FEW)

        self.each(check)

    def test_that_are_active_have_what_a_guest_has_touched(self):
        """In each mode, as without the series: GUP-fast and KVM each mark a page of a memfd."""
        def check(row):
            self.assertEqual(row["wrong"], 0)
            if row["generations"] == "n":
                self.assertLess(abs(row["group_active"] - row["pages"]), FEW)
            if (row["generations"], row["memory"]) == ("n", "memfd"):
                self.assertLess(abs(row["activated"] - row["pages"]), FEW)
                self.assertLess(abs(row["group_activated"] - row["pages"]), FEW)

        self.each(check)


if __name__ == "__main__":
    unittest.main()
