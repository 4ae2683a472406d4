# SPDX-License-Identifier: GPL-2.0-or-later
"""Every kind of guest memory in every state has the right contents, the expected tier, no
mmap_lock, and the errors of mode off."""

import unittest

from tests.lib import depth, every_mode
from tests.matrix import matrix
from tests.matrix.rows import ROWS


def core():
    """The first row of each memory, tier and outcome, so that each path of a fault runs once, and
    of each way in which a fault is put off."""
    return every_mode.first_of_each(ROWS, lambda row: (row.memory.split(",")[0], row.tier,
                                                       row.outcome, row.killed,
                                                       "postcopy" in row.steps,
                                                       "snapshot" in row.steps))


class Matrix(unittest.TestCase):
    NUMBERS, KERNEL = () if depth.LONG else core(), "patched"

    def test_every_row(self):
        for row, modes in matrix.results(self.NUMBERS, self.KERNEL):
            with self.subTest(row.name):
                self.assertEqual(matrix.faults_of(row, modes), [])


@depth.long("a kernel of its own")
class Preempt(Matrix):
    KERNEL = "preempt"


if __name__ == "__main__":
    unittest.main()
