# SPDX-License-Identifier: GPL-2.0-or-later
"""A short torture of the patched kernel, and whether it finds broken rules.  torture.py has longer ones."""

import random
import unittest

import planted
import torture
from spf import build, lab_power


def setUpModule():
    build.bring_up_to_date("patched")
    lab_power.bring_up_to_date("patched")


class Torture(unittest.TestCase):
    def silent(self, kernel, seconds):
        seed = random.randrange(1 << 32)
        said, wrong = torture.run(kernel, seed, seconds)
        print(*[f"# {line}" for line in said.splitlines()[:2]], sep="\n", flush=True)
        self.assertEqual(wrong, "", f"tests/torture/torture.py --kernel {kernel} --seconds {seconds} --seed {seed}")
        counted = dict(line.split() for line in said.splitlines() if line.startswith("spf_"))
        # It proves nothing if nothing was speculative, or if no speculation was ever disturbed.
        self.assertGreater(int(counted["spf_success"]), 100)
        self.assertGreater(int(counted["spf_abort_vma_changed"]) + int(counted["spf_abort_vma_busy"]), 0)

    def test_patched(self):
        self.silent("patched", 60)

    def test_power(self):
        self.silent("power", 30)


class Planted(unittest.TestCase):
    """Each rule that is broken is found out, and nothing in a kernel that keeps them."""

    @classmethod
    def setUpClass(cls):
        build.bring_up_to_date("planted")

    def test_nothing(self):
        seed = random.randrange(1 << 32)
        _, wrong, _ = planted.find("nothing", seed, 40)
        self.assertEqual(wrong, "", f"tests/torture/planted.py --seconds 40 --seed {seed} nothing")

    def found(self, rule):
        seed = random.randrange(1 << 32)
        said, wrong, took = planted.find(rule, seed, 100)
        print(f"# {rule}: seed {seed}, {took:.0f} s: {wrong.partition(chr(10))[0]}", flush=True)
        self.assertTrue(planted.is_it(rule, wrong), wrong or said)


def add(rule):
    setattr(Planted, f"test_{rule.replace('-', '_')}", lambda self: self.found(rule))


for name in planted.RULES:
    if name != "nothing":
        add(name)

if __name__ == "__main__":
    unittest.main()
