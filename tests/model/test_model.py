# SPDX-License-Identifier: GPL-2.0-or-later
"""The models hold, and each rule taken from one gives a counter-example."""

import os
import re
import subprocess
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from spf.source import apt
from tests.lib import depth

HERE = Path(__file__).resolve().parent

LIMIT = 1800


def setUpModule():
    apt.packages(["build-essential", "spin"])


def check(*words):
    # timeout ends the search as well.
    done = subprocess.run(["timeout", str(LIMIT), HERE / "check", *words], capture_output=True,
                          text=True, check=False)
    return done.returncode, done.stdout + done.stderr


class Searches:
    """The searches of one model.  REDUNDANT: rules without which the model holds, with the options
    for which that is so."""

    MODEL = ""
    # Searches that must hold come first, the largest ahead; then those with a rule taken away.
    HOLDS = ()
    REDUNDANT = {}

    @classmethod
    def rules(cls):
        text = (HERE / cls.MODEL).read_text(encoding="utf-8")
        return sorted(set(re.findall(r"\bBREAK_\w+", text)) - {"BREAK_", *cls.REDUNDANT})

    @classmethod
    def setUpClass(cls):
        # A search is one thread.
        pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        cls.addClassCleanup(pool.shutdown, cancel_futures=True)
        alone = [(f"-D{rule}",) for rule in cls.REDUNDANT]
        beside = [(f"-D{rule}", *words) for rule, words in cls.REDUNDANT.items() if words]
        cls.searches = {defines: pool.submit(check, cls.MODEL, *defines) for defines in
                        (*cls.HOLDS, *alone, *beside, *[(f"-D{rule}",) for rule in cls.rules()])}

    def holds(self, *defines):
        status, out = self.searches[defines].result()
        self.assertEqual(status, 0, out[-4000:])
        states = re.search(r"([0-9.e+]+) states, stored", out)[1]
        print(f"# {self.MODEL} {' '.join(defines)}: all of {states} states searched", flush=True)

    def fails(self, *defines):
        status, out = self.searches[defines].result()
        self.assertEqual(status, 1, out[-4000:])

    def each_rule_is_needed(self, least):
        self.assertGreaterEqual(len(self.rules()), least)
        for rule in self.rules():
            with self.subTest(rule):
                self.fails(f"-D{rule}")


class SpeculativeFault(Searches, unittest.TestCase):
    MODEL = "speculative_fault.pml"
    HOLDS = ((), ("-DFILE",), ("-DVCPUS=2", "-DOPS=1"))
    REDUNDANT = {"BREAK_PMD_SAME": ("-DFILE",)}

    def test_holds(self):
        """One vCPU, any two things done to its memory, one after the other."""
        self.holds()

    def test_holds_for_two_vcpus(self):
        self.holds("-DVCPUS=2", "-DOPS=1")

    def test_holds_where_tables_are_taken_without_a_write_lock(self):
        self.holds("-DFILE")

    def test_pmd_same_is_for_such_tables_only(self):
        """Where a write lock is taken, the sequence replaces pmd_same(), as docs/model.md says."""
        self.holds("-DBREAK_PMD_SAME")
        self.fails("-DBREAK_PMD_SAME", "-DFILE")

    def test_every_other_rule_is_needed(self):
        self.each_rule_is_needed(21)


class LeafInstall(Searches, unittest.TestCase):
    MODEL = "leaf_install.pml"
    HOLDS = ((), ("-DWRITERS=2", "-DVCPUS=1"),
             *[("-DWRITERS=2", "-DUNMAP_ONLY")] * depth.LONG)
    REDUNDANT = {"BREAK_ROOT": ()}

    def test_holds(self):
        """Two vCPUs, any two things that writers do, one after the other."""
        self.holds()

    def test_holds_beside_writers_that_overlap(self):
        self.holds("-DWRITERS=2", "-DVCPUS=1")

    @depth.long("minutes")
    def test_holds_for_two_vcpus_beside_invalidations_that_overlap(self):
        self.holds("-DWRITERS=2", "-DUNMAP_ONLY")

    def test_the_look_at_the_root_only_saves_work(self):
        """docs/model.md says so."""
        self.holds("-DBREAK_ROOT")

    def test_every_other_rule_is_needed(self):
        self.each_rule_is_needed(18)


class RadixLeaf(Searches, unittest.TestCase):
    MODEL = "radix_leaf.pml"
    HOLDS = ((),)

    def test_holds(self):
        """Two vCPUs, any two things that the host does."""
        self.holds()

    def test_every_rule_is_needed(self):
        self.each_rule_is_needed(6)


if __name__ == "__main__":
    unittest.main()
