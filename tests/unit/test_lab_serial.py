# SPDX-License-Identifier: GPL-2.0-or-later
"""The initramfs of a lab without this machine's root: its files, and programs that are refused."""

import subprocess
import tempfile
import unittest
from pathlib import Path

from spf import paths, ui
from spf.lab import serial

X86, POWER = 62, 21


class Initramfs(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.here = Path(scratch.name).resolve()
        (self.here / "main.c").write_text("int main(void) { return 0; }\n")
        self.program, self.dynamic = self.here / "static", self.here / "dynamic"
        for target, how in ((self.program, ["-static"]), (self.dynamic, [])):
            subprocess.run(["gcc", *how, "-o", target, self.here / "main.c"], check=True)

    def make(self, *argv, machine=X86):
        return serial.initramfs([str(a) for a in argv], "mark", self.program, machine)

    def names(self, *argv):
        done = subprocess.run(["cpio", "-t", "--quiet"], input=self.make(*argv),
                              capture_output=True, check=True)
        return done.stdout.decode().split()

    def test_files_that_the_command_names_are_there_and_others_are_not(self):
        (self.here / "data").write_text("data")
        names = self.names(self.program, self.here / "data", "-n", "no-such-file")
        for path in (self.program, self.here / "data"):
            self.assertIn(str(path).lstrip("/"), names)
        self.assertIn("init", names)
        self.assertNotIn(str(self.dynamic).lstrip("/"), names)

    def test_the_init_is_told_the_command(self):
        self.assertIn(f"mark\0{self.program}\0a b\0\0".encode(), self.make(self.program, "a b", ""))

    def test_what_cannot_run_is_refused(self):
        for argv, machine, why in (([self.dynamic], X86, "link it statically"),
                                   ([self.program], POWER, "compile it"),
                                   (["no-such-program"], X86, "there is no program")):
            with self.assertRaisesRegex(ui.Fail, why):
                self.make(*argv, machine=machine)

    def test_options_of_the_other_lab_are_refused(self):
        for words, why in ((["--icount"], "--icount is not for --arch ept"),
                           (["--out", "x"], "--out is not for"),
                           (["--cpus", "2"], "one CPU")):
            done = subprocess.run([paths.SCRIPTS / "kvmspf", "lab", "--arch", "ept", "--no-build",
                                   *words, "--", "true"],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 2)
            self.assertRegex(done.stderr, why)


if __name__ == "__main__":
    unittest.main()
