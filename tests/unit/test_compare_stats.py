# SPDX-License-Identifier: GPL-2.0-or-later
"""Statistics of compare, compared with values that were computed by hand or by enumeration."""

import itertools
import math
import random
import unittest

from spf.report import stats, summary


def enumerated(m, n):
    counts = [0] * (m * n + 1)
    for chosen in itertools.combinations(range(m + n), m):
        counts[sum(chosen) - m * (m - 1) // 2] += 1
    return counts


class RankSum(unittest.TestCase):
    def test_agrees_with_enumeration(self):
        for m, n in ((1, 1), (2, 3), (4, 4), (5, 5), (6, 3)):
            self.assertEqual(stats.rank_sum_counts(m, n), enumerated(m, n), (m, n))

    def test_counts_add_up(self):
        self.assertEqual(sum(stats.rank_sum_counts(20, 17)), math.comb(37, 17))


class Quantiles(unittest.TestCase):
    def test_median(self):
        self.assertEqual(stats.median([3, 1, 2]), 2)
        self.assertEqual(stats.median([4, 1, 2, 3]), 2.5)

    def test_quartiles_interpolate(self):
        self.assertAlmostEqual(stats.quantile([1, 2, 3, 4], 0.25), 1.75)

    def test_nothing_is_an_error(self):
        with self.assertRaises(ValueError):
            stats.median([])


class Ratio(unittest.TestCase):
    def test_exact_factor_is_found(self):
        base = [10.0, 11.0, 12.0, 13.0, 14.0]
        r = stats.ratio([t / 2 for t in base], base)
        self.assertAlmostEqual(r["estimate"], 0.5)
        self.assertLess(r["low"], 0.5)
        self.assertGreater(r["high"], 0.5)

    def test_five_runs_reach_ninety_five(self):
        r = stats.ratio([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
        # 252 orders; U <= 2 has 1 + 1 + 2 of them.
        self.assertAlmostEqual(r["confidence"], 1 - 2 * 4 / 252)
        self.assertFalse(stats.differs(r))

    def test_three_runs_do_not(self):
        r = stats.ratio([1, 2, 3], [10, 20, 30])
        self.assertAlmostEqual(r["confidence"], 0.9)
        self.assertFalse(stats.differs(r))
        self.assertEqual(summary.verdict(r), "too few runs")

    def test_one_run_claims_nothing(self):
        self.assertEqual(stats.ratio([1], [2])["confidence"], 0)

    def test_nothing_to_compare(self):
        self.assertIsNone(stats.ratio([], [1.0]))

    def test_interval_covers_the_truth_as_often_as_it_says(self):
        rng = random.Random(1)
        covered = 0
        for _ in range(1000):
            base = [math.exp(rng.gauss(0, 0.1)) for _ in range(5)]
            other = [0.8 * math.exp(rng.gauss(0, 0.1)) for _ in range(5)]
            r = stats.ratio(other, base)
            covered += r["low"] <= 0.8 <= r["high"]
        self.assertGreater(covered, 950)


class Summary(unittest.TestCase):
    def run_of(self, mode, boot, vmm="quiet"):
        return {"mode": mode, "vmm": vmm, "boot": {"total_s": boot, "firmware_s": None,
                                                   "kernel_s": 1.0, "userspace_s": 1.0},
                "load": {"total_s": boot * 2},
                "counters": {"boot": {"hva_fault_fast": 3}, "load": None}}

    def test_cells_ratios_and_discards(self):
        runs = [self.run_of(m, f * (10 + i)) for m, f in (("off", 1), ("on", 0.5))
                for i in range(5)]
        cells = summary.summarise(runs, [{"mode": "on", "vmm": "quiet"}], ["off", "on"],
                                  ["quiet", "busy"])
        self.assertEqual([(c["vmm"], c["mode"]) for c in cells],
                         [("quiet", "off"), ("quiet", "on")])
        self.assertNotIn("ratio", cells[0]["boot"])
        self.assertAlmostEqual(cells[1]["load"]["ratio"]["estimate"], 0.5)
        self.assertEqual(cells[1]["discarded"], 1)
        self.assertEqual(cells[1]["boot"]["counters"], {"hva_fault_fast": 3})
        self.assertEqual(summary.verdict(cells[1]["boot"]["ratio"]), "faster")


if __name__ == "__main__":
    unittest.main()
