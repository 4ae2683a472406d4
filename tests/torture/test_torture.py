# SPDX-License-Identifier: GPL-2.0-or-later
"""Ten minutes of torture, and whether it finds broken rules.  torture.py has longer ones."""

import os
import random
import time
import unittest

import planted
import torture
from spf import build, lab_power


# With the minute that the planted ones take, ten.
SECONDS = {"patched": 180, "preempt": 120, "power": 120, "nothing": 120}


def setUpModule():
    for kernel in ("patched", "preempt", "planted"):
        build.bring_up_to_date(kernel)
    lab_power.bring_up_to_date("patched")
    # All tests are to take 50 minutes at most; on a slow machine, a quarter of the torture at least is done all the same.
    passed = time.monotonic() - float(os.environ.get("KVMSPF_TEST_BEGAN", time.monotonic()))
    part = min(1, max(0.25, (50 * 60 - 60 - passed) / sum(SECONDS.values())))
    SECONDS.update((kernel, int(seconds * part)) for kernel, seconds in list(SECONDS.items()))
    print(f"# of torture, {sum(SECONDS.values())} seconds", flush=True)


class Torture(unittest.TestCase):
    def silent(self, kernel):
        seconds = SECONDS[kernel]
        seed = random.randrange(1 << 32)
        said, wrong = torture.run(kernel, seed, seconds)
        print(*[f"# {line}" for line in said.splitlines()[:2]], sep="\n", flush=True)
        self.assertEqual(wrong, "", f"tests/torture/torture.py --kernel {kernel} --seconds {seconds} --seed {seed}")
        counted = dict(line.split() for line in said.splitlines() if line.startswith("spf_"))
        # It proves nothing if nothing was speculative, or if no speculation was ever disturbed.
        self.assertGreater(int(counted["spf_success"]), 100)
        self.assertGreater(int(counted["spf_abort_vma_changed"]) + int(counted["spf_abort_vma_busy"]), 0)

    def test_patched(self):
        self.silent("patched")

    def test_preempt(self):
        """Preemptible, and RCU's readers with it."""
        self.silent("preempt")

    def test_power(self):
        self.silent("power")


class Planted(unittest.TestCase):
    """Each rule that is broken is found out, and nothing in a kernel that keeps them."""

    def test_nothing(self):
        seed = random.randrange(1 << 32)
        _, wrong, _ = planted.find("nothing", seed, SECONDS["nothing"])
        self.assertEqual(wrong, "", f"tests/torture/planted.py --seconds {SECONDS['nothing']} --seed {seed} nothing")

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
