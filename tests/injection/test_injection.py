# SPDX-License-Identifier: GPL-2.0-or-later
"""A VMM leaves everything in order if it is killed, stopped, gets signals or loses CPUs in the
middle of its faults, or if its allocations fail."""

import random
import unittest

from tests.injection import injection
from tests.lib import depth

CORE = ("killed",)
# Kinds for which tier 1 allocates a page, the first allocation to fail.  For a guest it does so
# before it looks for a table.
HAS_TABLE = {"anon", "anon, bound"}
SPECULATIVE = {"guest writes": HAS_TABLE | {"anon, no page table", "anon, huge"},
               "thread writes": HAS_TABLE,
               "read() into it": HAS_TABLE}


class Injection(unittest.TestCase):
    def test_once(self):
        seed = random.randrange(1 << 32)
        print(f"# seed {seed}", flush=True)
        for line in injection.run("patched", seed, 1,
                                  injection.CHECKS if depth.LONG else CORE):
            print(f"# {line}")

    @depth.long("the debug kernel, which has fault injection")
    def test_each_allocation_fails(self):
        found = injection.failures(injection.run("debug", 0, 1, (injection.FAILING,)))
        for (kind, touch), modes in found.items():
            for mode, row in modes.items():
                with self.subTest(kind=kind, touch=touch, mode=mode):
                    self.assertEqual((row["wrong"], row["unusual"]), (0, 0), row)
                    wanted = mode == "on" and kind in SPECULATIVE.get(touch, ())
                    self.assertEqual(row["no_memory"] > 0, wanted, row)
                    # With speculation a fault fails only where it fails without.
                    failed = {m: r["allocations"] - r["survived"] for m, r in modes.items()}
                    self.assertLessEqual(failed[mode], failed["off"], modes)


if __name__ == "__main__":
    unittest.main()
