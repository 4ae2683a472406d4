# SPDX-License-Identifier: GPL-2.0-or-later
"""A speculative charge beyond memory.max raises no event of its own."""

import unittest
from pathlib import Path

from tests.lib import depth, every_mode


@depth.long("the charge is of one function of the series")
class Limit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        said = every_mode.lines(Path(__file__).with_name("lab_limit.py"), memory=2 << 30,
                                timeout=600)
        cls.rows = {row["mode"]: row for row in said}

    def test_raises_an_event_for_each_reclaim(self):
        """The fault handler raises one, and reclaims; a charge that cannot wait does neither."""
        self.assertEqual(set(self.rows), {"off", "vma-lock", "on"})
        self.assertGreater(self.rows["on"]["no_memory"], 0)
        for mode, row in self.rows.items():
            print(f"# {row}", flush=True)
            with self.subTest(mode=mode):
                self.assertEqual(row["wrong"], 0)
                self.assertGreater(row["reclaimed"], 0)
                self.assertEqual(row["max"], row["reclaimed"])


if __name__ == "__main__":
    unittest.main()
