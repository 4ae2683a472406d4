# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of guest memory on the patched host: who resolves them, what they cost, and what they lock."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from spf import build, lab, patches, paths  # noqa: E402

LIMIT = 900
SELFTESTS = paths.OUT / "selftests-patched"
COST = paths.ROOT / "bench" / "fault-cost"


def setUpModule():
    if not patches.series("linux"):
        raise unittest.SkipTest("there is no kernel series")
    for target in ("stock", "patched"):
        build.bring_up_to_date(target)
    subprocess.run([paths.SCRIPTS / "kvmspf", "build", "selftests"], check=True, stdout=subprocess.DEVNULL)


def cost(what):
    with tempfile.NamedTemporaryFile(dir=paths.BUILD, suffix=".json") as file:
        done = subprocess.run([COST, what, "--json", file.name], capture_output=True, text=True, timeout=LIMIT, check=False)
        if done.returncode:
            raise AssertionError(done.stderr)
        return json.load(file)[what]


class Faults(unittest.TestCase):
    def test_selftest_every_mode_counters_and_contents(self):
        result = lab.Lab("patched", cpus=2, memory=2 << 30, timeout=LIMIT).run([str(SELFTESTS / "speculative_faults_test")])
        self.assertEqual((result.kind, result.status), ("exit", 0), result.err.decode() + result.out.decode())
        self.assertEqual(result.trouble, [])

    def test_locks_of_a_steady_load(self):
        got = cost("locks")
        self.assertGreater(got["faults"], 16384)
        self.assertLessEqual(512 * got["mmap_lock"], got["faults"])
        self.assertLessEqual(512 * (got["vma_lock"] + got["mmap_lock"]), 2 * got["faults"])

    def test_instructions_of_a_fault(self):
        """A guard of what was reached; docs/measurements.md has the aims, and which of them are not reached."""
        got = cost("instructions")
        for name, row in got.items():
            print(f"# {name}: {row['fault']} instructions a fault, {row['present']} with the host page present")
        self.assertLess(got["on"]["fault"], got["stock"]["fault"])
        self.assertLess(got["on"]["fault"], got["vma-lock"]["fault"])


if __name__ == "__main__":
    unittest.main()
