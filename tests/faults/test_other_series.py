# SPDX-License-Identifier: GPL-2.0-or-later
"""Each kernel series except the one in use: its kernel builds and boots, and its selftests pass."""

import re
import subprocess
import unittest

from tests.lib import depth, kernel_series
from spf import paths, series

KVMSPF = paths.SCRIPTS / "kvmspf"
LIMIT = 900
# Our own selftests; a series may lack one.
SELFTESTS = ("mmap_lock_test", "speculative_faults_test", "tdp_leaf_test")
MODES = {"off": "mmap_lock", "vma-lock": "vma_lock", "on": "speculative"}
ROW = re.compile(r"^(\S+) +quiet +anon +write: fast \d+ speculative (\d+) "
                 r"vma_lock (\d+) mmap_lock (\d+)$", re.M)


def setUpModule():
    kernel_series.need_patches()


@depth.long("a kernel of its own")
class OtherSeries(unittest.TestCase):
    def kvmspf(self, *words, timeout):
        done = subprocess.run([KVMSPF, *words], stdout=subprocess.PIPE, text=True, timeout=timeout,
                              check=False)
        self.assertEqual(done.returncode, 0, f"kvmspf {' '.join(map(str, words))}\n{done.stdout}")
        return done.stdout

    def selftests(self, name):
        folder = paths.OUT / name / "selftests-patched"
        return [folder / test for test in SELFTESTS if (folder / test).exists()]

    def check(self, name):
        self.kvmspf("build", "--series", name, "linux-patched", "selftests", timeout=2 * LIMIT)
        tests = self.selftests(name)
        self.assertTrue(tests, f"{name} has none of {', '.join(SELFTESTS)}")
        said = self.kvmspf("lab", "--series", name, "--memory", "2G", "--", "/bin/sh", "-ec",
                           'uname -r; for test; do "$test"; done', "sh", *tests, timeout=LIMIT)
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


def add(one):
    name = "test_" + re.sub(r"\W", "_", one.name)
    setattr(OtherSeries, name, lambda self: self.check(one.name))


for each in series.known("linux"):
    if each.name != series.of("linux").name:
        add(each)

if __name__ == "__main__":
    unittest.main()
