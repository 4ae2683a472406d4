# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/design.md names functions of the series, by names that they have today."""

import re
import unittest

from spf import paths, series

# Prefixes of the functions of ours.  The series need not show the names of others.
OURS = r"spf|speculative|hva|kvm_hva|gup_fast|get_user_page_vma|follow_page_vma"


def lines_of(one):
    """All lines that the patches of a series add, or leave and show."""
    return "\n".join(line for patch in sorted(one.folder.glob("[0-9]*.patch"))
                     for line in patch.read_text(errors="replace").splitlines()
                     if not line.startswith("-"))


class Names(unittest.TestCase):
    def test_design_names_functions_that_there_are(self):
        text = {one.version: lines_of(one) for one in series.known("linux")}
        design = (paths.ROOT / "docs/design.md").read_text()
        default = re.search(r"of\s+linux-([\d.]+)\s+where\s+the\s+text\s+names\s+no\s+series",
                            design)[1]
        unknown, seen = [], 0
        for block in re.split(r"\n(?=\n|- |\d+\. )", design):
            # A block that names another version may name functions of that one, too.
            places = [text[version] for version in text if version == default or version in block]
            for name in re.findall(rf"`((?:{OURS})_\w+|speculative_fault)\(\)`", block):
                seen += 1
                if not any(re.search(rf"\b{name}\(", place) for place in places):
                    unknown.append(name)
        self.assertEqual(unknown, [])
        self.assertGreater(seen, 20, "the pattern has lost the names")


if __name__ == "__main__":
    unittest.main()
