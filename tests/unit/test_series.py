# SPDX-License-Identifier: GPL-2.0-or-later
"""A version of the kernel or of QEMU is a folder, and no other file names it."""

import contextlib
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tests.lib import expected
from spf import paths, series, ui
from spf.build import kernels, targets
from spf.source import fetch

# Files about past runs or past changes, which may name a version.
HISTORY = ("docs/", "CHANGELOG.md", "README.md", "kvm-patches/", "qemu-patches/", "tests/unit/")


class Folders(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.top = Path(scratch.name)
        for patch in (mock.patch.object(series, "FOLDERS",
                                        {kind: self.top / kind for kind in ("linux", "qemu")}),
                      mock.patch.dict(os.environ, {"KVMSPF_SERIES": ""})):
            patch.start()
            self.addCleanup(patch.stop)
        self.write("linux", "linux-1", "package linux-source-1\nversion 1\ndefault yes\n")
        self.write("linux", "linux-2", "package linux-source-2  # what else\nsuite later\nversion "
                                       "2\n")
        self.write("qemu", "qemu-1", "package qemu\nsuite later\nversion 1\ndefault yes\n")

    def write(self, kind, name, text):
        folder = self.top / kind / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "base").write_text(text)
        return folder

    def test_a_folder_is_all_that_a_new_version_needs(self):
        self.assertEqual(series.of("linux").name, "linux-1")
        before = series.kernel("stock")
        self.write("linux", "linux-3", "package linux-source-3\nversion 3\n")
        series.use("linux-3")
        self.assertEqual(series.of("linux").package, "linux-source-3")
        self.assertEqual(series.of("qemu").name, "qemu-1")
        self.assertEqual(series.kernel("stock").relative_to(paths.OUT),
                         Path("linux-3/stock/bzImage"))
        self.assertEqual(series.out("selftests-edit").relative_to(paths.OUT),
                         Path("linux-3/selftests-edit"))
        self.assertEqual(before.relative_to(paths.OUT), Path("linux-1/stock/bzImage"))
        self.assertEqual(series.qemu().relative_to(paths.OUT),
                         Path("qemu-1/patched/bin/qemu-system-x86_64"))

    def test_programs_that_are_started_have_the_same_series(self):
        series.use("linux-2,qemu-1")
        self.assertEqual(os.environ["KVMSPF_SERIES"], "linux-2,qemu-1")

    def test_a_series_may_override_an_option_or_say_that_it_is_gone(self):
        series.use("linux-2")
        shared, _ = kernels.wanted(kernels.fragments("stock"))
        folder = self.top / "linux" / "linux-2"
        (folder / "lab.config").write_text("CONFIG_NR_CPUS=2\n# optional\nCONFIG_PREEMPT_NONE=y\n")
        lines, optional = kernels.wanted(kernels.fragments("stock"))
        self.assertEqual({name for name in lines if lines[name] != shared.get(name)},
                         {"CONFIG_NR_CPUS"})
        self.assertIn("CONFIG_PREEMPT_NONE", optional)

    def test_what_is_wrong_is_one_line(self):
        for text, said in (("package x\nversion\n", "base has 'version'"),
                           ("package x\n", "lacks package or version"),
                           ("package x\nversion 1\ncolour red\n", "base has 'colour red'")):
            self.write("linux", "linux-2", text)
            with self.assertRaisesRegex(ui.Fail, said):
                series.of("linux")
        self.write("linux", "linux-2", "package x\nversion 2\n")
        for name, said in (("linux-9", "there is no series 'linux-9'; the series are linux-1, "
                                       "linux-2, qemu-1"),
                           ("linux-1,linux-2", "two series of one kind")):
            with self.assertRaisesRegex(ui.Fail, said):
                series.use(name)

    def test_a_source_of_another_version_is_not_taken(self):
        name, top = "linux-source-2", self.top
        (top / name).mkdir()
        (top / name / "Makefile").write_text("VERSION = 2\nPATCHLEVEL = 3\nSUBLEVEL = 10\n")
        (top / "usr/src").mkdir(parents=True)
        subprocess.run(["tar", "-C", top, "-cJf", top / f"usr/src/{name}.tar.xz", name], check=True)
        for version, taken in (("2.3", True), ("2.3.10", True), ("2.3.1", False), ("2", True)):
            self.write("linux", "linux-2", f"package {name}\nversion {version}\n")
            series.use("linux-2")
            with mock.patch.object(fetch, "packaged", return_value=top), \
                    mock.patch.object(fetch, "adopt") as adopt, \
                    mock.patch.object(paths, "LOG", top / "log"), \
                    contextlib.nullcontext() if taken else self.assertRaisesRegex(
                        ui.Fail, "linux-source-2 is 2.3.10, and .*base says 2.3.1; name a suite"):
                fetch.unpack_linux(series.of("linux"), top, top / "src", None)
            self.assertEqual(adopt.called, taken)

    def test_a_test_that_needs_an_expected_value_is_skipped_without_the_file(self):
        with self.assertRaisesRegex(unittest.SkipTest, "linux-1/expected is not there"):
            expected.of("fault")
        (self.top / "linux/linux-1/expected").write_text("# numbers\nfault 0.5  # of off's\n")
        self.assertEqual(expected.number("fault"), 0.5)

    def test_what_is_planted_belongs_to_a_series(self):
        series.use("linux-2")
        with mock.patch.object(targets.patches, "sync", return_value=(Path("/"), "head")), \
                self.assertRaisesRegex(ui.Fail, "linux-2 has no planted.patch"):
            targets.planted("linux")


class Versions(unittest.TestCase):
    def test_no_version_outside_the_folders(self):
        listed = subprocess.run(["git", "-c", "safe.directory=*", "-C", paths.ROOT, "ls-files",
                                 "-z"], capture_output=True,
                                text=True, check=True).stdout.split("\0")
        versions = "|".join(re.escape(one.version) for kind in series.FOLDERS
                            for one in series.known(kind))
        named = re.compile(rf"\b(linux|qemu|source)[-_ ](v?{versions})\b", re.I)
        found = []
        for name in filter(None, listed):
            if name.startswith(HISTORY) or not (paths.ROOT / name).is_file():
                continue
            text = (paths.ROOT / name).read_bytes().decode(errors="replace")
            found += [f"{name}: {match[0]}" for match in named.finditer(text)]
        self.assertEqual(found, [])


if __name__ == "__main__":
    unittest.main()
