# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian package: lintian has no error, and it installs and runs in a minimal Debian 12."""

import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from spf import deb, paths, setup  # noqa: E402

SUITE = "bookworm"


def run(*words, **kw):
    return subprocess.run(words, capture_output=True, text=True, **kw)


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        setup.packages(["debootstrap", "lintian", "man-db"])
        cls.package = Path(deb.agent())

    def test_lintian(self):
        done = run("lintian", "--fail-on", "error", "--allow-root", self.package)
        print(*[f"# {line}\n" for line in done.stdout.splitlines()], end="")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_contents_and_version(self):
        listed = run("dpkg-deb", "--contents", self.package).stdout
        for name in ("usr/bin/spf-agent", "usr/share/man/man1/spf-agent.1.gz", "lib/udev/rules.d/60-spf-agent.rules",
                     "lib/systemd/system/spf-agent.service"):
            self.assertIn(f"./{name}\n", listed)
        self.assertEqual(run("dpkg-deb", "--field", self.package, "Depends").stdout.strip(), "", "it is static")

    def test_installs_and_runs_in_a_minimal_guest(self):
        with tempfile.TemporaryDirectory(dir=paths.BUILD) as root:
            subprocess.run(["cp", "-a", "--reflink=auto", f"{self.minimal()}/.", root], check=True)
            shutil.copy(self.package, f"{root}/agent.deb")
            done = run("chroot", root, "dpkg", "--install", "/agent.deb")
            self.assertEqual(done.returncode, 0, done.stderr)
            done = run("chroot", root, "spf-agent", "--version")
            version = run("dpkg-deb", "--field", self.package, "Version").stdout
            self.assertEqual((done.returncode, done.stdout), (0, f"spf-agent {version}"))
            self.assertIn("usage: spf-agent", run("chroot", root, "spf-agent", "--help").stdout)
            done = run("chroot", root, "spf-agent", "load", "-s", "1M", "--json")
            self.assertIn('"pages":256', done.stdout)
            done = run("chroot", root, "dpkg", "--purge", "spf-agent")
            self.assertEqual((done.returncode, Path(root, "usr/bin/spf-agent").exists()), (0, False), done.stderr)

    @staticmethod
    def minimal():
        """Debian 12 as debootstrap makes it; kept for the next time."""
        target = paths.BUILD / "debian" / SUITE
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                new = Path(scratch) / "root"
                done = run("debootstrap", "--variant=minbase", SUITE, new, setup.mirror())
                if done.returncode:
                    raise AssertionError(done.stdout[-2000:] + done.stderr)
                new.rename(target)
        return target


class Manual(unittest.TestCase):
    PAGE = paths.ROOT / "guest-agent" / "spf-agent.1"

    def test_no_complaint(self):
        setup.packages(["man-db"])
        done = run("man", "--warnings=w", "-l", self.PAGE, env={"MANWIDTH": "100", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_every_command_and_request_is_in_it(self):
        text = self.PAGE.read_text().replace("\\-", "-")
        sources = paths.ROOT / "guest-agent"
        names = re.findall(r'^\t\{ "([\w-]+)", (?:cmd|request)_', (sources / "main.c").read_text() +
                           (sources / "protocol.c").read_text(), re.M)
        self.assertEqual(len(names), 13)
        self.assertEqual([n for n in names if not re.search(rf"^(\.B |\\fB){re.escape(n)}\b", text, re.M)], [])


if __name__ == "__main__":
    unittest.main()
