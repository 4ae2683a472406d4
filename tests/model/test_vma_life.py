# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory of VMAs is used again.  With the series' rules the model holds.  Without one of them,
or with a cheaper rule in its place, there is a counter-example."""

import re
import subprocess
import unittest
from pathlib import Path

from spf.source import apt

HERE = Path(__file__).resolve().parent
MODEL = HERE / "vma_life.pml"
LIMIT = 600


def setUpModule():
    apt.packages(["build-essential", "spin"])


def check(*defines):
    done = subprocess.run([HERE / "check", MODEL.name, *defines], capture_output=True, text=True,
                          timeout=LIMIT, check=False)
    return done.returncode, done.stdout + done.stderr


def rules():
    return sorted(set(re.findall(r"\bBREAK_\w+", MODEL.read_text(encoding="utf-8"))))


class VmaLife(unittest.TestCase):
    def holds(self, *defines):
        status, out = check(*defines)
        self.assertEqual(status, 0, out[-4000:])
        states = re.search(r"([0-9.e+]+) states, stored", out)[1]
        print(f"# {' '.join(defines) or 'as it is'}: all of {states} states searched", flush=True)

    def fails(self, *defines):
        status, out = check(*defines)
        self.assertEqual(status, 1, out[-4000:])

    def test_holds(self):
        self.holds()

    def test_holds_with_more_memory(self):
        self.holds("-DSLOTS=2", "-DOPS=3")

    def test_every_rule_is_needed(self):
        self.assertEqual(len(rules()), 7)
        for rule in rules():
            with self.subTest(rule):
                self.fails(f"-D{rule}")

    def test_no_order_of_looks_replaces_the_grace_period(self):
        for look in (1, 2, 3):
            with self.subTest(look):
                self.fails("-DBREAK_GRACE", "-DNO_HINT", f"-DLOOK={look}")

    def test_what_could_replace_it(self):
        """The alternatives in docs/model.md."""
        self.holds("-DBREAK_GRACE", "-DNO_HINT", "-DLIFE")
        self.holds("-DBREAK_GRACE", "-DNO_HINT", "-DMM_SEQ")


if __name__ == "__main__":
    unittest.main()
