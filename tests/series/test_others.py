# SPDX-License-Identifier: GPL-2.0-or-later
"""Each kernel series except the one in use: its kernel builds and boots, its selftests and the
matrix pass, and a minute of torture finds nothing."""

import os
import re
import subprocess
import unittest

from tests.lib import kernel_series
from spf import paths, series
from spf.testing import verb

KVMSPF = paths.SCRIPTS / "kvmspf"
LIMIT = 900
# Our own selftests; a series may lack one.
SELFTESTS = ("mmap_lock_test", "speculative_faults_test", "tdp_leaf_test")
MODES = {"off": "mmap_lock", "vma-lock": "vma_lock", "on": "speculative"}
ROW = re.compile(r"^(\S+) +quiet +anon +write: fast \d+ speculative (\d+) "
                 r"vma_lock (\d+) mmap_lock (\d+)$", re.M)


def setUpModule():
    kernel_series.need_patches()
    if why := os.environ.get(verb.NO_OTHERS):
        raise unittest.SkipTest(f"{why}; run it again, now that the core is built")


class OtherSeries(unittest.TestCase):
    def succeed(self, *words, timeout, **environment):
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=timeout,
                              check=False, env=os.environ | environment)
        self.assertEqual(done.returncode, 0, f"{' '.join(map(str, words))}\n{done.stdout}")
        return done.stdout

    def build(self, name):
        self.succeed(KVMSPF, "build", "--series", name, *verb.OTHERS, timeout=2 * LIMIT)

    def selftests(self, name):
        folder = paths.OUT / name / "selftests-patched"
        return [folder / test for test in SELFTESTS if (folder / test).exists()]

    def boots(self, name):
        self.build(name)
        tests = self.selftests(name)
        self.assertTrue(tests, f"{name} has none of {', '.join(SELFTESTS)}")
        said = self.succeed(KVMSPF, "lab", "--series", name, "--memory", "2G", "--", "/bin/sh",
                            "-ec", 'uname -r; for test; do "$test"; done', "sh", *tests,
                            timeout=LIMIT)
        version = name.partition("-")[2]
        self.assertRegex(said, rf"(?m)^{re.escape(version)}\.")
        self.by_mode(ROW.findall(said))

    def by_mode(self, rows):
        """With one vCPU and no other work, the tier of the mode resolves nearly all faults."""
        first = {row[0]: [int(number) for number in row[1:]] for row in reversed(rows)}
        self.assertEqual(set(first), set(MODES))
        for mode, tier in MODES.items():
            counted = dict(zip(("speculative", "vma_lock", "mmap_lock"), first[mode]))
            self.assertGreater(counted[tier], 0.99 * sum(counted.values()), f"{mode}: {counted}")

    def matrix(self, name):
        self.build(name)
        self.succeed(*verb.command(paths.ROOT / "tests/matrix/test_matrix.py", ()), timeout=LIMIT,
                     **{series.CHOICE: name, verb.DEPTH: "core"})

    def torture(self, name):
        self.build(name)
        self.succeed(paths.ROOT / "tests/torture/torture.py", "--series", name, "--kernel",
                     "patched", timeout=LIMIT)


def add(one):
    for what in "boots", "matrix", "torture":
        setattr(OtherSeries, f"test_{re.sub(r'[^a-z0-9]', '_', one.name)}_{what}",
                lambda self, what=what: getattr(self, what)(one.name))


for each in series.others("linux"):
    add(each)

if __name__ == "__main__":
    unittest.main()
