# SPDX-License-Identifier: GPL-2.0-or-later
"""The register layout is the same here and in the QEMU series, comments and white space aside."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

from spf import series

OURS = ROOT / "guest-agent" / "kvm_spf_regs.h"
THEIRS = "include/hw/misc/kvm_spf_regs.h"


def added(patch, path):
    """The text of a file that a patch creates; None if it creates no such file."""
    text = patch.read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^diff --git a/\S+ b/" + re.escape(path)
                      + r"\nnew file[^\n]*\n.*?^@@[^\n]*\n(.*?)(?=^diff --git |^-- \n|\Z)",
                      text, re.M | re.S)
    return re.sub(r"^\+", "", found[1], flags=re.M) if found else None


def code(text):
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return [" ".join(line.split()) for line in re.sub(r"\\\n", " ", text).splitlines()
            if line.strip()]


class Registers(unittest.TestCase):
    def test_the_same_in_qemu(self):
        patches = sorted(series.of("qemu").folder.glob("*.patch"))
        makers = {p.name: text for p in patches if (text := added(p, THEIRS)) is not None}
        if not makers:
            self.skipTest("the QEMU series has no device yet")
        self.assertEqual(len(makers), 1, makers.keys())
        # The names of include guards differ with the files' paths.
        theirs, ours = ([line for line in code(text) if "_REGS_H" not in line]
                        for text in (next(iter(makers.values())), OURS.read_text(encoding="utf-8")))
        self.assertEqual(theirs, ours)
        name = next(iter(makers))
        later = [p.name for p in patches if p.name > name
                 and f" b/{THEIRS}\n" in p.read_text(errors="replace")]
        self.assertEqual(later, [], "a later patch changes it: put that into the one that makes it")


if __name__ == "__main__":
    unittest.main()
