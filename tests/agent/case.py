# SPDX-License-Identifier: GPL-2.0-or-later
"""A test of spf-agent, with ASan and UBSan, on a file laid out like the device's BAR."""

import functools
import json
import subprocess
import tempfile
import unittest
from pathlib import Path

from tests.agent import programs
from tests.agent.bar import Bar

sanitized = functools.cache(programs.sanitized)


class Case(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.bar = Bar(self.directory / "bar")

    def words(self, *words, device=True):
        """The agent's command line."""
        device = self.bar.path if device is True else device
        return [sanitized(), *(["--device", device] if device else []), *words]

    def agent(self, *words, device=True, **kw):
        done = subprocess.run(self.words(*words, device=device), capture_output=True, text=True,
                              timeout=120, **kw)
        self.assertNotIn("Sanitizer", done.stderr)
        self.assertNotIn("runtime error", done.stderr)
        return done

    def refused(self, status, says, *words, **kw):
        done = self.agent(*words, **kw)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(says, done.stderr)

    def snapshot(self, *words):
        done = self.agent("snapshot", "--json", *words)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)
