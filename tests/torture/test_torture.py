# SPDX-License-Identifier: GPL-2.0-or-later
"""A minute of torture a flavour, with --long ten, and whether it finds broken rules.  torture.py
has longer ones."""

import random
import unittest

from tests.lib import depth
from tests.torture import planted, torture
from spf.build import targets
from spf.lab import power


SECONDS = 600 if depth.LONG else 60
# Flavours that only --long tortures.
MORE = ("debug", "preempt", "kcsan", "rt")


def setUpModule():
    targets.bring_up_to_date("patched")
    targets.bring_up_to_date("planted")
    if any(planted.RULES[rule].program for rule in planted.places()):
        targets.build("selftests")
    power.bring_up_to_date("patched")


class Torture(unittest.TestCase):
    def silent(self, kernel, speculative=True):
        seed = random.randrange(1 << 32)
        said, wrong = torture.run(kernel, seed, SECONDS)
        print(*[f"# {line}" for line in said.splitlines()[:2]], sep="\n", flush=True)
        self.assertEqual(wrong, "",
                         f"tests/torture/torture.py --kernel {kernel} --seconds {SECONDS} "
                         f"--seed {seed}")
        if not speculative:
            return
        counted = dict(line.split() for line in said.splitlines() if line.startswith("spf_"))
        # It proves nothing if nothing was speculative, or if no speculation was ever disturbed.
        self.assertGreater(int(counted["spf_success"]), 100)
        self.assertGreater(int(counted["spf_abort_vma_changed"])
                           + int(counted["spf_abort_vma_busy"]), 0)

    def test_patched(self):
        self.silent("patched")

    def test_power(self):
        self.silent("power")

    @depth.long("ten minutes each of kernels that are built for this alone")
    def test_others(self):
        for kernel in MORE:
            with self.subTest(kernel):
                targets.bring_up_to_date(kernel)
                # A kernel with PREEMPT_RT does not speculate.
                self.silent(kernel, kernel != "rt")


class Planted(unittest.TestCase):
    """Each rule that is broken is found out, and nothing in a kernel that keeps them."""
    kernel, within = "planted", 100

    def test_nothing(self):
        seed = random.randrange(1 << 32)
        _, wrong, _ = planted.find("nothing", seed, SECONDS, self.kernel)
        self.assertEqual(wrong, "", f"tests/torture/planted.py --kernel {self.kernel} "
                                    f"--seconds {SECONDS} --seed {seed} nothing")

    def found(self, rule):
        seed = random.randrange(1 << 32)
        if planted.RULES[rule].program:
            # The windows are as wide, and nothing is broken.
            _, wrong, _ = planted.find(rule, seed, self.within, self.kernel, broken=False)
            self.assertEqual(wrong, "")
        said, wrong, took = planted.find(rule, seed, self.within, self.kernel)
        print(f"# {rule}: seed {seed}, {took:.0f} s: {wrong.partition(chr(10))[0]}", flush=True)
        self.assertTrue(planted.is_it(rule, wrong), wrong or said)


@depth.long("a kernel of its own")
class PlantedPreempt(Planted):
    """The same rules with preemption, which takes time from each window: stale-page was found after
    304 s, and the others within 100 s."""
    kernel, within = "planted-preempt", 600

    @classmethod
    def setUpClass(cls):
        targets.bring_up_to_date(cls.kernel)


def add(rule):
    setattr(Planted, f"test_{rule.replace('-', '_')}", lambda self: self.found(rule))


for name in planted.places():
    if name != "nothing":
        add(name)

if __name__ == "__main__":
    unittest.main()
