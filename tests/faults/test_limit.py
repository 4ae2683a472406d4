# SPDX-License-Identifier: GPL-2.0-or-later
"""A speculative charge beyond memory.max raises no event of its own."""

import json
import unittest
from pathlib import Path

from tests import native
from tests.lib import depth, expected
from spf.build import targets
from spf.lab import x86


@depth.long("the charge is of one function of the series")
class Limit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        targets.bring_up_to_date("patched")
        result = x86.Lab("patched", cpus=2, memory=2 << 30, timeout=600).run(
            ["/usr/bin/python3", str(Path(__file__).with_name("lab_limit.py")),
             native.program("matrix")])
        if (result.kind, result.status) != ("exit", 0) or result.trouble:
            raise AssertionError([result.kind, result.trouble, result.err.decode()])
        cls.rows = {row["mode"]: row for row in map(json.loads, result.out.decode().splitlines())}

    def test_raises_an_event_for_each_reclaim(self):
        """The fault handler raises one, and reclaims; a charge that cannot wait does neither."""
        self.assertEqual(set(self.rows), {"off", "vma-lock", "on"})
        self.assertGreater(self.rows["on"]["no_memory"], 0)
        for mode, row in self.rows.items():
            print(f"# {row}", flush=True)
            with self.subTest(mode=mode):
                self.assertEqual(row["wrong"], 0)
                self.assertGreater(row["reclaimed"], 0)
                if mode == "on" and expected.of("limit") == "twice":
                    continue
                self.assertEqual(row["max"], row["reclaimed"])


if __name__ == "__main__":
    unittest.main()
