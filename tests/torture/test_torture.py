# SPDX-License-Identifier: GPL-2.0-or-later
"""A short torture on the patched kernel; tests/torture/torture.py has longer ones, and other kernels."""

import random
import unittest

import torture
from spf import build


def setUpModule():
    build.bring_up_to_date("patched")


class Torture(unittest.TestCase):
    def silent(self, kernel, seconds, **settings):
        seed = random.randrange(1 << 32)
        said, wrong = torture.run(kernel, seed, seconds, **settings)
        print(f"# {said.splitlines()[-1] if said else 'nothing said'}", flush=True)
        self.assertEqual(wrong, "", f"tests/torture/torture.py --kernel {kernel} --seed {seed} --seconds {seconds}, "
                                    f"{settings}")
        counted = dict(line.split() for line in said.splitlines() if line.startswith("spf_"))
        # It proves nothing if nothing was speculative, or if no speculation was ever disturbed.
        self.assertGreater(int(counted["spf_success"]), 1000)
        self.assertGreater(int(counted["spf_abort_vma_changed"]) + int(counted["spf_abort_vma_busy"]), 0)

    def test_patched(self):
        self.silent("patched", 20)


if __name__ == "__main__":
    unittest.main()
