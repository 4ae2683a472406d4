# SPDX-License-Identifier: GPL-2.0-or-later
"""What packages are made from: Debian's packaging of QEMU takes our patches and our edits, and a
source that is not the one that is named is refused."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from spf import series, ui
from spf.build import kernel_deb, qemu_deb
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


if __name__ == "__main__":
    unittest.main()
