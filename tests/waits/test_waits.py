# SPDX-License-Identifier: GPL-2.0-or-later
"""Which thread waits, starts I/O and writes is the same in every mode, in every state of a page."""

import unittest

from tests.lib import depth
from tests.waits import waits
from tests.waits.rows import PMEM, ROWS


DAX = [number for number, row in enumerate(ROWS) if row.needs == PMEM]
REST = [number for number in range(len(ROWS)) if number not in DAX]


def core():
    """Each state of a page once, read in one and written in the next."""
    states = {}
    for number in REST:
        states.setdefault(ROWS[number].name, []).append(number)
    return [numbers[place % len(numbers)] for place, numbers in enumerate(states.values())]


def results(numbers, kernel="patched"):
    return waits.results(map(str, numbers), kernel)


class Waits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.found = results(REST if depth.LONG else core())

    def test_every_row(self):
        for row, modes in self.found:
            with self.subTest(f"{row.name}, {row.access}"):
                self.assertEqual(waits.faults_of(row, modes), [])


@depth.long("a kernel that is built for this alone")
class Dax(unittest.TestCase):
    def test_every_row(self):
        for row, modes in results(DAX, "dax"):
            with self.subTest(f"{row.name}, {row.access}"):
                self.assertNotEqual(modes["off"]["outcome"], "not here")
                self.assertEqual(waits.faults_of(row, modes), [])


if __name__ == "__main__":
    unittest.main()
