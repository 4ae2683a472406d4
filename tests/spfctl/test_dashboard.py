# SPDX-License-Identifier: GPL-2.0-or-later
"""Each panel of the Grafana dashboard has data, of real VMs and by way of real node_exporter and
Prometheus."""

import unittest

from tests.lib import depth
from tests.spfctl import dashboard


@depth.long("the collector and the alerts are tested in the core")
class Dashboard(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.found = dashboard.collected()

    def last(self, title):
        """{labels: the last value}"""
        return {" ".join(one["metric"].values()): float(one["values"][-1][1])
                for one in self.found[title]}

    def test_each_panel_has_data(self):
        for panel in dashboard.panels():
            with self.subTest(panel["title"]):
                self.assertTrue(self.found[panel["title"]])

    def test_the_share_that_took_the_mmap_lock_is_that_of_the_mode(self):
        share = self.last("Share that took the mmap_lock")
        self.assertEqual((share["vm-off"], share["vm-on"]), (1, 0))

    def test_both_modes_are_shown(self):
        modes = {one["metric"]["mode"]: int(one["value"][1]) for one in self.found["Mode"]}
        self.assertEqual((modes["off"], modes["on"]), (1, 1))

    def test_it_can_be_drawn(self):
        self.assertEqual(dashboard.document(self.found).count("<svg"), 5)


if __name__ == "__main__":
    unittest.main()
