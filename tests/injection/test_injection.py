# SPDX-License-Identifier: GPL-2.0-or-later
"""A VMM that is killed, stopped, shaken by signals or loses CPUs in the middle of its faults, or
whose allocations fail, leaves all in order."""

import random
import unittest

from tests.injection import injection
from tests.lib import depth

depth.module("minutes of killing VMMs")


# Where tier 1 allocates a page, which is then the first allocation to fail; for a guest it does
# before it knows of a table.
HAS_TABLE = {"anon", "anon, bound"}
SPECULATIVE = {"guest writes": HAS_TABLE | {"anon, no page table", "anon, huge"},
               "thread writes": HAS_TABLE,
               "read() into it": HAS_TABLE}


class Injection(unittest.TestCase):
    def test_once(self):
        seed = random.randrange(1 << 32)
        print(f"# seed {seed}", flush=True)
        for line in injection.run("patched", seed, 1, injection.CHECKS):
            print(f"# {line}")

    def test_each_allocation_fails(self):
        found = injection.failures(injection.run("debug", 0, 1, (injection.FAILING,)))
        for (kind, touch), modes in found.items():
            for mode, row in modes.items():
                with self.subTest(kind=kind, touch=touch, mode=mode):
                    self.assertEqual((row["wrong"], row["unusual"]), (0, 0), row)
                    wanted = mode == "on" and kind in SPECULATIVE.get(touch, ())
                    self.assertEqual(row["no_memory"] > 0, wanted, row)
                    # A fault fails where it fails without speculation, and nowhere else.
                    failed = {m: r["allocations"] - r["survived"] for m, r in modes.items()}
                    self.assertLessEqual(failed[mode], failed["off"], modes)


if __name__ == "__main__":
    unittest.main()
