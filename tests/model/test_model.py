# SPDX-License-Identifier: GPL-2.0-or-later
"""The model of the validation protocol holds, and each rule taken from it gives a
counter-example."""

import os
import re
import subprocess
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from spf.source import apt

HERE = Path(__file__).resolve().parent

MODEL = HERE / "speculative_fault.pml"
LIMIT = 600


def setUpModule():
    apt.packages(["build-essential", "spin"])


def check(*defines):
    done = subprocess.run([HERE / "check", *defines], capture_output=True, text=True, timeout=LIMIT,
                          check=False)
    return done.returncode, done.stdout + done.stderr


# What must hold, largest first; the rules that are broken follow.
HOLDS = ((), ("-DFILE",), ("-DVCPUS=2", "-DOPS=1"), ("-DBREAK_PMD_SAME",))


def rules():
    return sorted(set(re.findall(r"\bBREAK_\w+", MODEL.read_text(encoding="utf-8")))
                  - {"BREAK_", "BREAK_PMD_SAME"})


class Model(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # A search is one thread.
        pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        cls.addClassCleanup(pool.shutdown, cancel_futures=True)
        cls.searches = {defines: pool.submit(check, *defines) for defines in
                        (*HOLDS, ("-DBREAK_PMD_SAME", "-DFILE"),
                         *[(f"-D{rule}",) for rule in rules()])}

    def holds(self, *defines):
        status, out = self.searches[defines].result()
        self.assertEqual(status, 0, out[-4000:])
        states = re.search(r"([0-9.e+]+) states, stored", out)[1]
        print(f"# {' '.join(defines) or 'as it is'}: all of {states} states searched", flush=True)

    def fails(self, *defines):
        status, out = self.searches[defines].result()
        self.assertEqual(status, 1, out[-4000:])

    def test_holds(self):
        """One vCPU, any two things done to its memory, one after the other."""
        self.holds()

    def test_holds_for_two_vcpus(self):
        self.holds("-DVCPUS=2", "-DOPS=1")

    def test_holds_where_tables_are_taken_without_a_write_lock(self):
        self.holds("-DFILE")

    def test_pmd_same_is_for_such_tables_only(self):
        """With a write lock the sequence does what pmd_same() does: said in docs/model.md."""
        self.holds("-DBREAK_PMD_SAME")
        self.fails("-DBREAK_PMD_SAME", "-DFILE")

    def test_every_other_rule_is_needed(self):
        self.assertGreater(len(rules()), 20)
        for rule in rules():
            with self.subTest(rule):
                self.fails(f"-D{rule}")


if __name__ == "__main__":
    unittest.main()
