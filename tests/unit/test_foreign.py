# SPDX-License-Identifier: GPL-2.0-or-later
"""The libraries of a program of another architecture are found below its own root."""

import subprocess
import tempfile
import unittest
from pathlib import Path

from spf import ui
from spf.source import debroot

HERE, THERE = (Path(d) for d in debroot.library_dirs(Path("ppc64el")))


class Libraries(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name) / "ppc64el"
        for directory in (HERE, THERE, Path("bin")):
            (self.root / directory).mkdir(parents=True)
        # The program needs libone, which needs libtwo, whose link begins at the root.
        self.compile("real", THERE / "real.so", "-shared", "-Wl,-soname,libtwo.so")
        (self.root / HERE / "libtwo.so").symlink_to("/" / THERE / "real.so")
        self.compile("one", HERE / "libone.so", "-shared", "-Wl,-soname,libone.so",
                     self.root / THERE / "real.so")
        self.compile("main", Path("bin/program"), self.root / HERE / "libone.so")

    def compile(self, name, target, *words):
        subprocess.run(["gcc", "-nostdlib", "-fPIC",
                        "-Wl,--no-as-needed,--allow-shlib-undefined,-e,0", "-x", "c",
                        "-", "-x", "none", *words, "-o", self.root / target], check=True,
                       input=f"int {name}(void) {{ return 0; }}\n".encode())

    def test_all_that_is_needed_is_found_and_links_are_followed(self):
        found = debroot.libraries(self.root, "/bin/program")
        self.assertEqual(found,
                         sorted([debroot.LOADERS["ppc64el"], f"{HERE}/libone.so",
                                 f"{HERE}/libtwo.so"]))
        self.assertEqual(debroot.resolve(self.root, f"{HERE}/libtwo.so"),
                         self.root / THERE / "real.so")

    def test_what_no_package_has_is_told(self):
        (self.root / HERE / "libone.so").unlink()
        with self.assertRaisesRegex(ui.Fail, "needs libone.so"):
            debroot.libraries(self.root, "bin/program")


if __name__ == "__main__":
    unittest.main()
