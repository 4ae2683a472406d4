# SPDX-License-Identifier: GPL-2.0-or-later
"""An operator's way, by the lines of docs/operating.md: a Debian host of packages alone boots our
kernel with systemd, and runs a VM that libvirt, spfctl and node_exporter show."""

import re
import subprocess
import tempfile
from pathlib import Path

from tests.packages import domain, host, walk
from tests.packages.domain import IMAGES
from spf import paths
from spf.build import deb, kernel_deb, targets
from spf.source import debroot

# For the whole of the host's life, under emulation.
LIMIT = 2400
INSTALL = "Install"
BESIDES = {"page": ("--only-upgrade", "curl -s localhost:9100/metrics"), **walk.END}


def disk(name, suite, debs, domains, files=(), more=""):
    """Make the folder with the host's disk, on which the packages are installed as the document
    says, and with the kernel and initramfs that boot it.  domains, files: what /root and libvirt's
    images get; more: commands."""
    # What Debian's installer leaves behind, beside what debootstrap does.
    commands = "apt-get install apt-utils initramfs-tools\ncd ..\n" + "\n".join(
        host.blocks(INSTALL)) + f"""
        cd packages
        mv *.service /etc/systemd/system
        systemctl enable operator.service
        systemctl set-default graphical.target
        cp /boot/vmlinuz-*+spf1 {IMAGES}/vmlinuz
        cp /boot/initrd.img-*+spf1 {IMAGES}/initrd
        cp {' '.join(one.name for one in domains)} /root
        {more}"""
    return host.disk(name, commands, [*debs, host.HERE / "operator.service", *domains, *files],
                     suite)


def promtool(*words, **kw):
    where = debroot.newer(host.SUITE, ["prometheus"])
    return subprocess.run([*debroot.words(where, "usr/bin/promtool"), *words], text=True,
                          capture_output=True, **kw)


class VmHost(walk.Walk):
    SUITE = host.SUITE

    @classmethod
    def packages(cls):
        debs = [deb.build("spfctl"), *kernel_deb.build("lab")]
        targets.bring_up_to_date("patched")
        return [Path(d) for d in debs if "-headers-" not in str(d)]

    @classmethod
    def disk(cls, scratch):
        db1 = scratch / "db1.xml"
        db1.write_bytes(domain.xml("db1", device=False))
        return disk(cls.NAME, cls.SUITE, cls.packages(), [db1])

    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory(dir=paths.BUILD) as scratch:
            folder = cls.disk(Path(scratch))
            share = Path(scratch) / "share"
            cls.walk(share, lambda: host.life(cls.NAME, folder, share, LIMIT))

    def ours(self):
        """The page's lines that spfctl wrote; a failure shows them."""
        return [line for line in self.besides["page"].splitlines() if line.startswith("kvmspf_")]

    def test_the_vm_took_the_tiers_and_not_the_mmap_lock(self):
        count = {tier: int(n) for tier, n in re.findall(r"hva_fault_(\w+)\.sum=(\d+)",
                                                        self.said("domstats"))}
        self.assertLess(count["mmap_lock"], count["speculative"] + count["vma_lock"])

    def test_the_tiers_are_on_and_the_exporter_sees_the_vm(self):
        """Check the numbers, which the comparison of the lines leaves out."""
        with self.subTest("the mode"):
            self.assertEqual(self.said("cat /sys/module"), "2\n")
        with self.subTest("speculation in the whole host"):
            self.assertRegex(self.said("/proc/vmstat"), "^spf_success [1-9]")
        for name in ("up", "available"):
            with self.subTest(name):
                self.assertIn(f'kvmspf_{name}{{domain="db1",source="libvirt:db1"}} 1', self.ours())

    def test_promtool_takes_the_page_and_the_alerts(self):
        self.assertRegex(" ".join(self.ours()), r"\bkvmspf_faults_total\{")
        done = promtool("check", "metrics", input=self.besides["page"])
        # promtool complains on standard error, also about node_exporter's own lines.
        ours = [line for line in done.stderr.splitlines() if "kvmspf" in line or "error" in line]
        self.assertEqual(ours, [])
        for words in (["check", "rules", paths.SCRIPTS / "spfctl" / "alerts.yml"],
                      ["test", "rules", paths.ROOT / "tests" / "spfctl" / "alerts.yml"]):
            done = promtool(*words)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
