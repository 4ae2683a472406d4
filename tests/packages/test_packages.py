# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian packages, each in a Debian root: lintian has nothing to say, and what is installed
goes when it is purged."""

import itertools
import json
import re
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tests.lib import debian_disk, depth
from spf import paths, series
from spf.source import apt
from spf.build import deb, debs, kernel_deb, selftest_deb, targets
from spf.lab import x86

HERE = Path(__file__).resolve().parent
# Dependencies of the packages that the disk does not have.
NEEDED = ["libjson-c5"]
# A command for each package that succeeds once the package is installed.
SHOWS = {"agent": "spf-agent --version", "spfctl": "spfctl --version",
         "kernel": "test -s /boot/vmlinuz-*+spf1",
         "selftests": "test -x /usr/lib/kvm-spf-selftests/speculative_faults_test"}
SUITES = ("bookworm", "trixie") if depth.LONG else ("bookworm",)
# Files that dpkg, systemd and the name service write as packages come and go.
NOISE = re.compile(r"\./(etc/(passwd|group|shadow|gshadow|subuid|subgid)-?|"
                   r"etc/\.pwd\.lock|etc/ld\.so\.cache|var/(lib/dpkg|lib/systemd|log|cache)/.*)")


def run(*words, **kw):
    return subprocess.run(words, capture_output=True, text=True, **kw)


def setUpModule():
    global DEBS, WANTED
    apt.packages(["lintian"])
    DEBS = {target: Path(deb.build(target)) for target in deb.TARGETS}
    DEBS["kernel"] = Path(kernel_deb.build("lab")[0])
    DEBS["selftests"] = Path(selftest_deb.build())
    folder = paths.BUILD / "tests" / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    WANTED = sorted(folder.glob("*.deb"))
    if len(WANTED) < len(NEEDED):
        apt.get(["download", *NEEDED], "fetch what the packages depend on", cwd=folder)
        WANTED = sorted(folder.glob("*.deb"))


def inside(commands, *words, suite="bookworm"):
    """Run commands in the root: a mount namespace with a layer of its own over the disk."""
    with tempfile.TemporaryDirectory(dir=paths.BUILD) as scratch:
        return run("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", HERE / "root",
                   debian_disk.made(suite), scratch, commands, *WANTED, "--", *words)


class Packages(unittest.TestCase):
    def test_lintian_has_nothing_to_say(self):
        for target, package in DEBS.items():
            with self.subTest(target):
                done = run("lintian", "--fail-on", "error,warning", "--allow-root", package)
                self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def test_install_again_and_purge(self):
        """Purged, each leaves the root as it was; installed over itself, it stays installed."""
        for suite, (target, package) in itertools.product(SUITES, DEBS.items()):
            with self.subTest(target, suite=suite):
                name = package.name.partition("_")[0]
                done = inside(f"""
                    find . -xdev | sort >/run/before
                    dpkg -i /deb/{package.name}
                    {SHOWS[target]}
                    dpkg -i /deb/{package.name}
                    dpkg-query -W -f '${{db:Status-Status}}\n' {name}
                    dpkg --purge {name}
                    find . -xdev | sort >/run/after
                    echo changed:
                    comm -3 /run/before /run/after""", package, suite=suite)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertIn("\ninstalled\n", done.stdout)
                changed = [line.strip()
                           for line in done.stdout.partition("changed:\n")[2].splitlines()]
                self.assertEqual([line for line in changed if not NOISE.fullmatch(line)], [])

    def test_the_timer_waits_to_be_enabled(self):
        done = inside(f"""
            dpkg -i /deb/{DEBS['spfctl'].name} >&2
            cd /lib/systemd/system
            systemd-analyze verify --man=no spfctl-prometheus.timer spfctl-prometheus.service >&2
            systemctl --root=/ is-enabled spfctl-prometheus.timer || true
            systemctl --root=/ enable spfctl-prometheus.timer 2>/dev/null
            systemctl --root=/ is-enabled spfctl-prometheus.timer""", DEBS["spfctl"])
        self.assertEqual((done.returncode, done.stdout), (0, "disabled\nenabled\n"), done.stderr)

    def test_spfctl_has_what_its_service_runs(self):
        """The service's own line, with prometheus-node-exporter's folder, on a host without VMs."""
        done = inside(f"""
            dpkg -i /deb/{DEBS['spfctl'].name} >&2
            mkdir -p /var/lib/prometheus/node-exporter
            $(sed -n 's/^ExecStart=//p' /lib/systemd/system/spfctl-prometheus.service)
            cat /var/lib/prometheus/node-exporter/kvmspf.prom""", DEBS["spfctl"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("# TYPE kvmspf_faults_total counter\n", done.stdout)


class Kernel(unittest.TestCase):
    def test_that_of_the_lab_replaces_no_other(self):
        """They have one name."""
        other = debs.OUT / "linux-image-0+spf1_0_amd64.deb"
        other.touch()
        try:
            made = kernel_deb.build("lab")
            self.assertTrue(other.exists(), "it went as a package of an earlier build")
            self.assertEqual({one.parent for one in made}, {debs.OUT / "lab"})
        finally:
            other.unlink(missing_ok=True)

    def test_what_is_built_is_not_built_again(self):
        """A finished build is repeated only if its sources have changed."""
        folder = series.obj("linux-deb-lab")
        made = sorted((folder / "made").glob("*.deb"))
        before = [file.stat().st_mtime_ns for file in made]
        kernel_deb.build("lab")
        self.assertEqual([file.stat().st_mtime_ns for file in made], before)
        mark = folder / "kvmspf.built"
        key = mark.read_text()
        try:
            with mock.patch.object(kernel_deb, "RECIPE", "another"), \
                    mock.patch.object(kernel_deb, "compiled", side_effect=OSError), \
                    self.assertRaises(OSError):
                kernel_deb.build("lab")
            self.assertFalse(mark.exists(), "half built, and taken for done")
        finally:
            mark.write_text(key)

    def test_it_boots_and_its_selftest_sees_the_tiers(self):
        targets.bring_up_to_date("patched")
        with tempfile.TemporaryDirectory(dir=paths.BUILD) as scratch:
            for target in ("kernel", "selftests"):
                run("dpkg-deb", "-x", DEBS[target], scratch, check=True)
            image, = Path(scratch).glob("boot/vmlinuz-*")
            program = f"{scratch}/usr/lib/kvm-spf-selftests/speculative_faults_test"
            result = x86.Lab(image, timeout=300).run(
                ["sh", "-c", "uname -r; cat /sys/module/kvm/parameters/speculative_faults; "
                             f"{program}"])
        self.assertEqual((result.status, result.trouble), (0, []), result.err.decode())
        release = image.name.removeprefix("vmlinuz-")
        self.assertTrue(release.endswith("+spf1"))
        said = result.out.decode()
        self.assertEqual(said.splitlines()[:2], [release, "2"])
        self.assertRegex(said, r"(?m)^on  .* speculative [1-9].* mmap_lock 0$")


class Shown(unittest.TestCase):
    FOLDER = paths.ROOT / "scripts" / "spfctl"

    def test_the_dashboard_and_the_alerts_ask_for_what_spfctl_writes(self):
        dashboard = json.loads((self.FOLDER / "grafana-dashboard.json").read_text())
        source = (self.FOLDER / "prometheus.c").read_text()
        written = set(re.findall(r'(?:\{ "|# TYPE )(kvmspf_\w+)', source))
        asked = {name.removesuffix("_bucket")
                 for panel in dashboard["panels"] for target in panel["targets"]
                 for name in re.findall(r"kvmspf_\w+", target["expr"])}
        self.assertGreater(len(asked), 4)
        self.assertLessEqual(asked, written)
        alerts = set(re.findall(r"\bkvmspf_\w+", (self.FOLDER / "alerts.yml").read_text()))
        self.assertGreater(len(alerts), 2)
        self.assertLessEqual(alerts, written)


if __name__ == "__main__":
    unittest.main()
