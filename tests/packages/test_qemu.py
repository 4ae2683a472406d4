# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's packages, in the Debian 13 root that built them: they take the place of Debian's, and go;
lintian says of them what it says of Debian's; and they have the device and its commands."""

import json
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from tests.lib import depth
from spf import paths, series
from spf.build import buildroot, qemu_deb, sandbox
from spf.source import apt

depth.module("builds QEMU's packages")
HERE = Path(__file__).resolve().parent
# Files that dpkg, systemd and others write as packages come and go, and what other packages leave.
NOISE = re.compile(r"\./(etc/(passwd|group|shadow|gshadow|subuid|subgid)-?|"
                   r"etc/\.pwd\.lock|etc/ld\.so\.cache|(deb|needed|tmp|run)(/.*)?|"
                   r"var/(lib/dpkg|lib/apt|lib/systemd|log|cache)/.*)")
APT = "apt-get -q -y --no-install-recommends -o APT::Sandbox::User=root"


def run(*words, **kw):
    return subprocess.run(words, capture_output=True, text=True, errors="replace", **kw)


def name(package):
    return package.name.partition("_")[0]


def setUpModule():
    global OURS, DEBIANS, ROOT
    apt.packages(["lintian"])
    OURS = [Path(package) for package in qemu_deb.build()]
    log = sandbox.fresh("qemu-deb-test")
    ROOT = buildroot.made(series.of("qemu").suite, log)
    folder = paths.BUILD / "tests" / "qemu-deb"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    buildroot.run(ROOT, folder, [*APT.split(), "download", *map(name, OURS)], log)
    DEBIANS = sorted(folder.glob("*.deb"))


def inside(commands):
    """Run commands in a layer over the root, with Debian's packages and ours in /deb."""
    with tempfile.TemporaryDirectory(dir=paths.BUILD) as scratch:
        return run("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", HERE / "root",
                   ROOT, scratch, commands, "--", *DEBIANS, *OURS)


def tags(packages):
    """{(level, package, tag)}"""
    done = run("lintian", "--allow-root", "--tag-display-limit", "0", *packages)
    return set(re.findall(r"^([EW]): (\S+): (\S+)", done.stdout, re.M))


class Qemu(unittest.TestCase):
    def test_what_is_built_is_not_built_again(self):
        """A finished build is not packed again, either: that would apply the patches once more, and
        compile everything."""
        made = series.obj("qemu-deb") / "source/b/qemu/built"
        packages = [*made.parents[3].glob("*.deb")]
        before = [file.stat().st_mtime_ns for file in (made, *packages)]
        self.assertEqual([Path(package) for package in qemu_deb.build()], OURS)
        self.assertEqual([file.stat().st_mtime_ns for file in (made, *packages)], before)

    def test_lintian_says_what_it_says_of_debians(self):
        self.assertEqual(len(DEBIANS), len(OURS))
        self.assertEqual(tags(OURS) - tags(DEBIANS), set())

    def test_it_takes_the_place_of_debians_and_goes(self):
        """Debian's are installed, then ours over them and again, and purged; then no file is left,
        and none is gone.  Ours have the device, and QMP answers."""
        names = " ".join(map(name, OURS))
        ours = " ".join(f"/deb/{package.name}" for package in OURS)
        debians = " ".join(f"/deb/{package.name}" for package in DEBIANS)
        done = inside(f"""
            exec 3>&1 >&2
            {APT} install {debians}
            dpkg --purge {names}
            find . -xdev | sort >/run/before
            {APT} install {debians}
            {APT} install {ours}
            {APT} install --reinstall {ours}
            dpkg-query -W -f '${{db:Status-Status}} ${{Version}}\\n' {names} | sort -u >&3
            qemu-system-x86_64 --version >&3
            qemu-system-x86_64 -device kvm-spf,help >&3
            printf %s '{{"execute":"qmp_capabilities"}}{{"execute":"query-kvm-spf"}}
                       {{"execute":"quit"}}' |
                qemu-system-x86_64 -M q35 -accel tcg -nodefaults -display none -S -qmp stdio \\
                    -device kvm-spf >&3
            dpkg --purge {names}
            find . -xdev | sort >/run/after
            echo changed: >&3
            comm -3 /run/before /run/after >&3""")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        said, _, changed = done.stdout.partition("changed:\n")
        version = OURS[0].name.split("_")[1]
        self.assertRegex(said, rf"\Ainstalled (1:)?{re.escape(version)}\nQEMU emulator version .*"
                               rf"{re.escape(version)}\)\n")
        self.assertIn("\n  fallback-threshold=<", said)
        answer = next(line for line in said.splitlines() if '"available"' in line)
        self.assertFalse(json.loads(answer)["return"]["available"])
        self.assertEqual([line.strip() for line in changed.splitlines()
                          if not NOISE.fullmatch(line.strip())], [])


if __name__ == "__main__":
    unittest.main()
