# SPDX-License-Identifier: GPL-2.0-or-later
"""Every kind of guest memory, in every state: contents right, the tier meant, no mmap_lock, errors as before."""

import unittest

import matrix


class Matrix(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.found = matrix.results()

    def test_every_row(self):
        for row, modes in self.found:
            with self.subTest(row.name):
                self.assertEqual(matrix.faults_of(row, modes), [])


if __name__ == "__main__":
    unittest.main()
