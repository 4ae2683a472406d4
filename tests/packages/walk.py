# SPDX-License-Identifier: GPL-2.0-or-later
"""A host walks through lines of docs/operating.md; each line must print what the document says."""

import json
import unittest

from tests.packages import host
from spf import paths
from spf.lab import outcome

# What each walk ends with.
END = {"failed": (None, "systemctl list-units --failed --plain --no-legend"),
       "journal": (None, "journalctl -b --no-pager")}


def script(commands):
    """For the host: each command, with what it prints and its status in files of their own."""
    lines = []
    for number, command in enumerate(commands):
        lines.append(f"( {command}\n) >/mnt/{number}.out 2>&1; echo $? >/mnt/{number}.status")
    return "\n".join(lines) + "\n"


class Walk(unittest.TestCase):
    """STEPS: headings of the document.  BESIDES: commands that the tests need besides its lines;
    each runs before the line that has the first word, or, if that is None, after the last line."""
    NAME, STEPS, BESIDES = "", (), {}

    @classmethod
    def steps(cls):
        return host.steps(*cls.STEPS)

    @classmethod
    def asked(cls):
        """(its name or the document's line, command), in order."""
        def besides(line):
            return [(name, command) for name, (before, command) in cls.BESIDES.items()
                    if (before in line if before and line else before is line)]
        lines = [one for line, _ in cls.steps() for one in [*besides(line), (line, line)]]
        return lines + besides(None)

    @classmethod
    def walk(cls, share, life):
        """life() boots a host that runs what is in the folder `share`, as host.life() does."""
        share.mkdir()
        (share / "run").write_text(script([command for _, command in cls.asked()]))
        cls.trouble, cls.console = life()

        def read(suffix):
            files = [share / f"{n}.{suffix}" for n in range(len(cls.asked()))]
            return [f.read_text(errors="replace") if f.exists() else "" for f in files]
        # [(name or line, what it printed, its status)]
        cls.all = [(name, said, status.strip()) for (name, _), said, status
                   in zip(cls.asked(), read("out"), read("status"))]
        cls.besides = {name: said for name, said, _ in cls.all if name in cls.BESIDES}
        (paths.LOG / f"{cls.NAME}.journal").write_text(cls.besides["journal"])
        (paths.LOG / f"{cls.NAME}.said").write_text(json.dumps(cls.all, indent=1))

    def said(self, word):
        """The output of the first line with this word."""
        return next(said for line, said, _ in self.all if word in line)

    def test_the_host_came_up_and_went_down_without_trouble(self):
        self.assertEqual((self.trouble, outcome.trouble(self.console)), ("", []))
        self.assertNotEqual(self.all[-1][2], "", "the host did not come to the last line")
        self.assertEqual(self.besides["failed"], "")

    def test_each_line_prints_what_the_document_says(self):
        done = [one for one in self.all if one[0] not in self.BESIDES]
        for (command, wanted), (_, said, status) in zip(self.steps(), done):
            with self.subTest(command):
                self.assertEqual(status, "0", said)
                self.assertEqual(host.plain(said), host.plain(wanted), said)
