# SPDX-License-Identifier: GPL-2.0-or-later
"""Reclaim of pages that a guest has touched once is what it is in mode off."""

import json
import unittest
from pathlib import Path

from tests import native
from tests.lib import depth
from spf.build import targets
from spf.lab import x86

# Pages that may lie elsewhere: what a CPU has not yet put on a list, and the VMM's own.
FEW = 256


@depth.long("the LRU is of one function of the series")
class Reclaim(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        targets.bring_up_to_date("patched")
        result = x86.Lab("patched", cpus=2, memory=2 << 30, timeout=900).run(
            ["/usr/bin/python3", str(Path(__file__).with_name("lab_reclaim.py")),
             native.program("matrix")])
        if (result.kind, result.status) != ("exit", 0) or result.trouble:
            raise AssertionError([result.kind, result.trouble, result.err.decode()])
        cls.rows = [json.loads(line) for line in result.out.decode().splitlines()]

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
