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


class Waits(unittest.TestCase):
    NUMBERS, KERNEL = REST if depth.LONG else core(), "patched"

    def test_every_row(self):
        for row, modes in waits.results(map(str, self.NUMBERS), self.KERNEL):
            with self.subTest(f"{row.name}, {row.access}"):
                # waits.py passes over a row whose state the kernel lacks.
                self.assertNotEqual(modes["off"]["outcome"], "not here")
                self.assertEqual(waits.faults_of(row, modes), [])


@depth.long("a kernel that is built for this alone")
class Dax(Waits):
    NUMBERS, KERNEL = DAX, "dax"


if __name__ == "__main__":
    unittest.main()
