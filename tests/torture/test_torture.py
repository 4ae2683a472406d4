# SPDX-License-Identifier: GPL-2.0-or-later
"""A short torture on the patched kernel; tests/torture/torture.py has longer ones, and the debug kernel."""

import random
import unittest

import torture
from spf import build


class Torture(unittest.TestCase):
    def test_short(self):
        build.bring_up_to_date("patched")
        seed = random.randrange(1 << 32)
        said, wrong = torture.run("patched", seed, 1500)
        print(f"# {said.splitlines()[0] if said else 'nothing said'}", flush=True)
        self.assertEqual(wrong, "", f"tests/torture/torture.py --kernel patched --seed {seed} --operations 1500")
        counted = dict(line.split() for line in said.splitlines() if line.startswith("spf_"))
        # It proves nothing if nothing was speculative, or if no speculation was ever disturbed.
        self.assertGreater(int(counted["spf_success"]), 1000)
        self.assertGreater(int(counted["spf_abort_vma_changed"]) + int(counted["spf_abort_vma_busy"]), 0)


if __name__ == "__main__":
    unittest.main()
