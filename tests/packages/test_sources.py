# SPDX-License-Identifier: GPL-2.0-or-later
"""The sources of packages: Debian's packaging of QEMU takes our patches and our edits, and a
source that is not the one that is named is refused.  A package is written whole, or not at all."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from spf import paths, series, ui
from spf.build import deb, debs, kernel_deb, qemu_deb
from spf.source import fetch, patches, rows

WHO = {"SOURCE_DATE_EPOCH": "1000000000", "DEBFULLNAME": "A B", "DEBEMAIL": "a@b.c"}


class Qemu(unittest.TestCase):
    def setUp(self):
        fetch.sources("qemu")
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name) / "debian"
        shutil.copytree(series.src("qemu") / "debian", self.folder)
        self.one, self.ours = series.of("qemu"), patches.files("qemu", rows.USERS)

    def edit(self):
        qemu_deb.edit(self.folder, self.one, self.ours, WHO)

    def test_packages_patches_and_version(self):
        before = (self.folder / "changelog").read_text()
        self.edit()
        for name in ("control", "control-in"):
            made = re.findall(r"^(?::\w+:)?Package: (\S+)", (self.folder / name).read_text(), re.M)
            self.assertEqual({"qemu", *made} - {"qemu-block-supplemental"}, qemu_deb.PARAGRAPHS)
        listed = (self.folder / "patches/series").read_text().splitlines()
        self.assertEqual(listed[-len(self.ours):], [f"kvm-spf/{p.name}" for p in self.ours])
        self.assertTrue(all((self.folder / "patches" / name).exists()
                            for name in listed if not name.startswith("#")))
        said = subprocess.run(["dpkg-parsechangelog", "-l", self.folder / "changelog"], check=True,
                              capture_output=True, text=True).stdout
        debian = re.match(r"qemu \((.*?)\)", before)[1]
        self.assertIn(f"\nVersion: {debian}+spf1\n", said)
        self.assertIn("\nMaintainer: A B <a@b.c>\n", said)
        self.assertIn("\nTimestamp: 1000000000\n", said)
        subprocess.run(["dpkg", "--compare-versions", f"{debian}+spf1", "gt", debian], check=True)

    def test_a_packaging_that_has_changed_is_one_line(self):
        rules = self.folder / "rules"
        rules.write_text(rules.read_text().replace("-Nqemu-user", ""))
        with self.assertRaisesRegex(ui.Fail, "^qemu's debian/rules no longer has 'dh_shlibdeps -a "
                                             "-Nqemu-user'; adapt scripts/spf/build/qemu_deb.py$"):
            self.edit()


class Kernel(unittest.TestCase):
    def test_a_point_release_that_moved_on_is_one_line(self):
        one = series.of("linux")
        installed = mock.Mock(stdout=f"{one.version}.999-1~deb")
        with mock.patch.object(ui, "run", return_value=installed), \
                mock.patch.object(patches, "version", return_value=f"{one.version}.1"), \
                self.assertRaisesRegex(ui.Fail, rf"^{one.package} is \S+999-1~deb now, and (\S+) "
                                                r"is \S+\.1; remove \1 to package the newer one$"):
            kernel_deb.upstream(one.package)
        with mock.patch.object(ui, "run", return_value=installed), \
                mock.patch.object(patches, "version", return_value=f"{one.version}.999"):
            self.assertEqual(kernel_deb.upstream(one.package), installed.stdout)


class Made(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def packages(self):
        return sorted(path.name for path in self.folder.rglob("*.deb"))

    def test_a_package_is_whole_or_the_older_one_stays(self):
        def half(_, target):
            Path(target).write_text("ha")
            raise OSError("No space left on device")
        out = self.folder / "out"
        out.mkdir()
        (out / "a_1.deb").touch()
        made = Path(tempfile.mkdtemp(dir=self.folder)) / "a_2.deb"
        with mock.patch.object(debs, "OUT", out):
            with mock.patch.object(shutil, "copy2", half), self.assertRaises(OSError):
                debs.put([made], "a_*.deb")
            self.assertEqual(self.packages(), ["a_1.deb"])
            made.write_text("whole")
            self.assertEqual(debs.put([made], "a_*.deb"), [out / "a_2.deb"])
        self.assertEqual([(p.name, p.read_text()) for p in out.iterdir()], [("a_2.deb", "whole")])

    def test_without_space_each_target_is_refused_by_one_line(self):
        for target in deb.ALL:
            with self.subTest(target):
                done = subprocess.run(
                    ["unshare", "--mount", "--propagation", "private", "sh", "-ec",
                     'mount -t tmpfs -o size=1M small "$1"; KVMSPF_BUILD=$1 exec "$2" deb "$3"',
                     "sh", self.folder, paths.SCRIPTS / "kvmspf", target],
                    capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
                self.assertRegex(done.stderr.splitlines()[-1],
                                 r"^kvmspf: \S+ has 0\.0 GB free and needs [\d.]+; "
                                 "make room, or point KVMSPF_BUILD elsewhere$")


if __name__ == "__main__":
    unittest.main()
