# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/storm-repeat's table, and its largest difference of a ratio, on made-up storms."""

import random
import runpy
import unittest

from tests.unit import compare_sample
from spf import paths
from spf.report import storms

BENCH = runpy.run_path(str(paths.ROOT / "bench" / "storm-repeat"))


def one_pass(faster=1.0):
    """Storms of one host.  With eight vCPUs beside a busy VMM, mode on is faster than it should be
    by a factor."""
    found = {}
    for made in compare_sample.storms(random.Random(1), ["off", "vma-lock", "on"], 5, True):
        for key, runs in storms.cells([made]).items():
            if (made["vmm"], *key) == ("busy", 8, "on"):
                runs = [{**run, "rate": run["rate"] * faster} for run in runs]
            found[made["vmm"], *key] = runs
    return found


class Compare(unittest.TestCase):
    def test_the_same_twice(self):
        rows, most = BENCH["compare"](one_pass(), one_pass())
        self.assertEqual(most, 0)
        self.assertEqual(len(rows), 1 + 2 * 4 * 3)
        self.assertEqual({len(row) for row in rows}, {10})
        # Only a busy VMM makes calls.
        self.assertEqual({bool(row[-1]) for row in rows[1:] if row[0] == "quiet"}, {False})
        self.assertEqual({bool(row[-1]) for row in rows[1:] if row[0] == "busy"}, {True})

    def test_one_ratio_of_many_that_differs(self):
        for faster in (0.9, 1.1):
            rows, most = BENCH["compare"](one_pass(), one_pass(faster))
            self.assertAlmostEqual(most, 0.1)
            self.assertEqual([row[:3] for row in rows[1:] if row[7] not in ("", "+0.0%")],
                             [["busy", "8", "on"]])


if __name__ == "__main__":
    unittest.main()
