# SPDX-License-Identifier: GPL-2.0-or-later
"""Who waits, who starts I/O and who writes is the same in every mode, in every state of a page."""

import unittest

from tests.lib import depth
from tests.waits import waits
from tests.waits.rows import ROWS


def core():
    """One row for each memory, and each way that a fault of it can wait."""
    first = {}
    for number, row in enumerate(ROWS):
        first.setdefault((row.memory.split(":")[0], row.asked, row.io, row.counted, row.mib > 2),
                         number)
    return [str(number) for number in first.values()]


class Waits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.found = waits.results(() if depth.LONG else core())

    def test_every_row(self):
        for row, modes in self.found:
            with self.subTest(f"{row.name}, {row.access}"):
                self.assertEqual(waits.faults_of(row, modes), [])


if __name__ == "__main__":
    unittest.main()
