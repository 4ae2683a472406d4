# SPDX-License-Identifier: GPL-2.0-or-later
"""Who waits, who starts I/O and who writes is the same in every mode, in every state of a page."""

import unittest

from tests.waits import waits


class Waits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.found = waits.results()

    def test_every_row(self):
        for row, modes in self.found:
            with self.subTest(f"{row.name}, {row.access}"):
                self.assertEqual(waits.faults_of(row, modes), [])


if __name__ == "__main__":
    unittest.main()
