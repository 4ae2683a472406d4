# SPDX-License-Identifier: GPL-2.0-or-later
"""Some of the kernel's own tests end alike with speculation off and on; tests/suites/suites.py runs
all."""

import unittest

from tests.lib import depth
from tests.suites import outcomes, suites

CORE = ["demand_paging_test -b 8M"]
KVM = ["demand_paging_test -b 16M", "kvm_page_table_test -b 16M", "set_memory_region_test",
       "pre_fault_memory_test", "kvm_binary_stats_test"]
MM = ["mkdirty", "madv_populate", "mremap"]


class Suites(unittest.TestCase):
    def check(self, suite, names):
        found = suites.run(suite, names)
        self.assertEqual(outcomes.differences({name: results
                                               for name, (results, _, _) in found.items()}), [])
        (off, _, without), (on, _, with_them) = (found[name] for name in suites.SETTINGS)
        self.assertEqual({test: result for test, result in on.items()
                          if result not in outcomes.GOOD}, {})
        self.assertGreaterEqual(list(off.values()).count("pass"), len(names))
        self.assertEqual(sum(without.values()), 0, without)
        self.assertGreater(sum(with_them.values()), 1000)

    def test_kvm(self):
        self.check("kvm", KVM if depth.LONG else CORE)

    @depth.long("selftests/mm, which nothing else builds")
    def test_mm(self):
        self.check("mm", MM)


if __name__ == "__main__":
    unittest.main()
