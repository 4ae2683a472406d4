# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian package: it has the right files, and installs and runs in a Debian 12 guest with
systemd."""

import json
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from tests.lib import debian_disk
from spf import paths, series
from spf.source import apt
from spf.build import deb, targets
from spf.lab import image, x86

HERE = Path(__file__).resolve().parent

LIMIT = 900


def run(*words, **kw):
    return subprocess.run(words, capture_output=True, text=True, **kw)


def setUpModule():
    global PACKAGE
    apt.packages(["busybox-static", "man-db"])
    PACKAGE = Path(deb.build("agent"))


class Package(unittest.TestCase):
    def test_contents_and_version(self):
        listed = run("dpkg-deb", "--contents", PACKAGE).stdout
        for name in ("usr/bin/spf-agent", "usr/share/man/man1/spf-agent.1.gz",
                     "lib/udev/rules.d/60-spf-agent.rules",
                     "lib/systemd/system/spf-agent.service", "usr/lib/sysusers.d/spf-agent.conf"):
            self.assertIn(f"./{name}\n", listed)
        # The program is static. Every Debian with systemd has the tool that creates its user.
        depends = run("dpkg-deb", "--field", PACKAGE, "Depends").stdout.strip().split(" | ")
        self.assertEqual(sorted(depends),
                         ["systemd", "systemd-standalone-sysusers", "systemd-sysusers"])

    def test_the_user_is_there_before_the_service_is_started(self):
        with tempfile.TemporaryDirectory() as scratch:
            run("dpkg-deb", "--control", PACKAGE, f"{scratch}/control", check=True)
            script = (Path(scratch) / "control" / "postinst").read_text(encoding="utf-8")
        makes, starts = script.index("systemd-sysusers"), script.index("udevadm trigger")
        self.assertLess(makes, starts)


class Debian(unittest.TestCase):
    """Debian 12 as debootstrap makes it, with systemd and udev, as a guest on the patched host."""

    @classmethod
    def setUpClass(cls):
        for kernel in {"patched", series.guest()}:
            targets.bring_up_to_date(kernel)
        with tempfile.TemporaryDirectory(dir=paths.BUILD) as scratch:
            initramfs = Path(scratch) / "initramfs"
            initramfs.write_bytes(cls.initramfs())
            result = x86.Lab("patched", cpus=2, memory=3 << 30, timeout=LIMIT).run(
                ["/usr/bin/python3", HERE / "lab_guest.py", "debian", initramfs,
                 debian_disk.made()])
        if (result.kind, result.status) != ("exit", 0) or result.trouble:
            raise AssertionError(f"{result.kind} {result.status} {result.what} {result.trouble} "
                                 f"{result.err.decode()}")
        cls.seen = json.loads(result.out)

    @staticmethod
    def initramfs():
        cpio = image.Cpio()
        for name in ("bin", "dev", "new"):
            cpio.directory(name)
        cpio.device("dev/console", 5, 1)
        for name, source in (("init", HERE / "debian-init"),
                             ("console-init", HERE.parent / "lib/console-init"),
                             ("console.service", HERE / "console.service"), ("agent.deb", PACKAGE),
                             ("bin/busybox", Path("/bin/busybox"))):
            cpio.file(name, source.read_bytes(), 0o755)
        for applet in ("cp", "ln", "mkdir", "mount", "sh", "switch_root"):
            cpio.link(f"bin/{applet}", "busybox")
        return cpio.finish()

    def test_serves_once_installed_plugged_again_and_upgraded(self):
        """The service was inactive in between, while its port was unplugged."""
        for what in ("install", "install_again", "purge_running", "install_anew"):
            self.assertEqual(self.seen[what][1], 0, self.seen[what][0])
        self.assertEqual([bool(info["return"]["version"]) for info in self.seen["info"]],
                         [True] * 4)

    def test_a_device_that_is_plugged_in_while_the_guest_runs(self):
        """No firmware has set it up."""
        said, status = self.seen["replugged"]
        self.assertEqual(status, 0, said)
        self.assertGreater(sum(json.loads(said[-1])["faults"].values()), 0)

    def test_figures_by_the_installed_program(self):
        self.assertEqual(self.seen["run"]["status"], 0)
        self.assertGreater(sum(self.seen["snapshot"]["faults"].values()), 0)

    def test_no_device_is_no_restart_loop(self):
        shown = dict(line.split("=", 1) for line in self.seen["failed"])
        self.assertEqual((shown["ExecMainStatus"], shown["NRestarts"], shown["ActiveState"]),
                         ("3", "0", "failed"))
        said = [line for line in self.seen["journal"] if "no kvm-spf device" in line]
        self.assertEqual(len(said), 1, self.seen["journal"])

    def test_purge_leaves_nothing(self):
        self.assertEqual(self.seen["purge"][1], 0, self.seen["purge"][0])
        self.assertEqual(self.seen["left"], [])
        self.assertEqual(self.seen["left_running"], ["inactive"])

    def test_serves_as_a_user_of_its_own(self):
        number = self.seen["user"][0].split(":")[2]
        self.assertNotIn(number, ("0", "65534"))
        status = dict(line.split(":\t", 1) for line in self.seen["status"] if ":\t" in line)
        self.assertEqual(status["Uid"].split(), [number] * 4)
        self.assertEqual((status["Groups"].strip(), int(status["CapEff"], 16)), ("", 0))
        self.assertNotIn("nobody", "".join(self.seen["journal"]))


class Manual(unittest.TestCase):
    PAGE = paths.ROOT / "guest-agent" / "spf-agent.1"

    def test_no_complaint(self):
        apt.packages(["man-db"])
        done = run("man", "--warnings=w", "-l", self.PAGE,
                   env={"MANWIDTH": "100", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_every_command_and_request_is_in_it(self):
        text = self.PAGE.read_text().replace("\\-", "-")
        sources = paths.ROOT / "guest-agent"
        names = re.findall(r'^\t\{ "([\w-]+)", (?:cmd|request)_', (sources / "main.c").read_text() +
                           (sources / "protocol.c").read_text(), re.M)
        self.assertEqual(len(names), 13)
        self.assertEqual([n for n in names if not re.search(rf"^(\.B |\\fB){re.escape(n)}\b", text,
                                                            re.M)], [])


if __name__ == "__main__":
    unittest.main()
