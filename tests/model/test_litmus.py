# SPDX-License-Identifier: GPL-2.0-or-later
"""Under the kernel's memory model, each litmus test has its result, and another result without any
one of its barriers.  Each pair of barriers in a comment of a kernel series has a litmus test."""

import re
import unittest

from spf import paths
from tests.model import herd


def flat(text):
    """Comments as one line of words."""
    return re.sub(r"\s+", " ", re.sub(r"\n[ \t]*\*(?!/)", " ", text))


def added(patch):
    """The lines that a patch adds to the kernel's C files, and their context.  The selftests'
    programs do not count."""
    files = re.split(r"^diff --git ", patch.read_text(errors="replace"), flags=re.M)[1:]
    lines = [line[1:] for file in files if re.match(r"(?!a/tools/)\S+\.[ch] ", file)
             for line in file.splitlines() if line.startswith("+") and not line.startswith("+++")]
    return flat("\n".join(lines))


def pairs():
    """{words after "pairs with": patches}"""
    found = {}
    for patch in sorted((paths.ROOT / "kvm-patches").glob("*/0*.patch")):
        for words in re.findall(r"[Pp]airs? with ([^.,:;*]+)", added(patch)):
            found.setdefault(words.strip(), []).append(f"{patch.parent.name}/{patch.name}")
    return found


def setUpModule():
    global HERD
    HERD = herd.Herd()


class Litmus(unittest.TestCase):
    def test_each_has_its_result(self):
        for name in herd.names():
            with self.subTest(name):
                self.assertEqual(HERD.result(herd.text(name)), herd.expected(name))

    def test_each_barrier_is_needed(self):
        for name in herd.names():
            found = herd.variants(name)
            self.assertTrue(found, f"{name} has no barrier")
            for what, litmus in found.items():
                with self.subTest(f"{name} {what}"):
                    self.assertEqual(HERD.result(litmus), "Sometimes")

    def test_each_pair_of_the_series_has_one(self):
        """A new "Pairs with" in the kernel's code needs a litmus test whose comment has it."""
        known = " ".join(flat(herd.text(name)) for name in herd.names())
        self.assertGreater(len(pairs()), 5)
        for words, patches in pairs().items():
            with self.subTest(words):
                self.assertTrue(f"Pairs with {words}" in known, f"said in {', '.join(patches)}")


if __name__ == "__main__":
    unittest.main()
