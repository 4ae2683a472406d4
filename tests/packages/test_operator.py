# SPDX-License-Identifier: GPL-2.0-or-later
"""An operator's way, by the lines of docs/operating.md: a Debian 13 host of packages alone boots
their kernel with systemd, and runs a VM that libvirt, spfctl and node_exporter show; then, with the
package of QEMU, another one with the device, a Debian guest with the agent's package."""

import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from tests.lib import depth
from tests.packages import domain, host, walk
from tests.packages.domain import IMAGES
from spf import paths
from spf.build import deb, kernel_deb, qemu_deb, targets
from spf.source import debroot

depth.module("builds a kernel's package and boots it")
HERE = host.HERE
# For the whole of the host's life, under emulation.
LIMIT = 2400
SERIAL = f"{IMAGES}/db2.serial"
INSTALL, INSIDE = "Install", "See, from inside the guest"
STEPS = "A VM", "See that it works", "Watch", "QEMU with the device", "Upgrade and remove"
BESIDES = {"page": ("--only-upgrade", "curl -s localhost:9100/metrics"),
           "guest": ("destroy db2",
                     f"until grep -q @done {SERIAL}; do sleep 1; done; cat {SERIAL}"),
           **walk.END}


def inside():
    return host.steps(INSIDE)


def guest_disk(scratch):
    """Make the disk of a Debian guest that runs the document's lines and prints their output on the
    console."""
    lines = scratch / "lines"
    lines.write_text("exec >/dev/ttyS0 2>&1\n" + "".join(
        f"echo @begin; ( {command}\n) 2>&1; echo @end $?\n" for command, _ in inside())
        + "echo @done\n")
    return host.disk("guest", """
        mv guest.service /etc/systemd/system
        systemctl enable guest.service
        systemctl set-default graphical.target
        systemctl mask serial-getty@ttyS0.service
        mv lines /root""", [Path(deb.build("agent")), HERE / "guest.service", lines]) / "disk"


def disk(name, debs, scratch, more, suite):
    """Make the folder with the host's disk, on which the packages are installed as the document
    says, and with the kernel and initramfs that boot it."""
    domains = [scratch / "db1.xml", scratch / "db2.xml"]
    domains[0].write_bytes(domain.xml("db1", device=False))
    domains[1].write_bytes(domain.xml("db2", True, "root=/dev/vda rw console=ttyS0 quiet panic=-1",
                                      SERIAL, f"{IMAGES}/disk"))
    # What Debian's installer leaves behind, beside what debootstrap does.
    commands = f"apt-get install apt-utils initramfs-tools {more}\ncd ..\n" + "\n".join(
        host.blocks(INSTALL)) + f"""
        cd packages
        mv *.service /etc/systemd/system
        systemctl enable operator.service
        systemctl set-default graphical.target
        cp /boot/vmlinuz-*+spf1 {IMAGES}/vmlinuz
        cp /boot/initrd.img-*+spf1 {IMAGES}/initrd
        mv disk {IMAGES}
        cp db1.xml db2.xml /root"""
    return host.disk(name, commands, [*debs, HERE / "operator.service", *domains,
                                      guest_disk(scratch)], suite)


def promtool(*words, **kw):
    where = debroot.newer(host.SUITE, ["prometheus"])
    return subprocess.run([*debroot.words(where, "usr/bin/promtool"), *words], text=True,
                          capture_output=True, **kw)


class Operator(walk.Walk):
    NAME, CONFIG, SUITE, MORE = "operator", "lab", host.SUITE, ""
    STEPS, BESIDES = STEPS, BESIDES

    @classmethod
    def disk(cls, scratch):
        debs = [deb.build("spfctl"), *kernel_deb.build(cls.CONFIG), *qemu_deb.build()]
        targets.bring_up_to_date("patched")
        return disk(cls.NAME, [Path(d) for d in debs if "-headers-" not in str(d)], scratch,
                    cls.MORE, cls.SUITE)

    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory(dir=paths.BUILD) as scratch:
            folder = cls.disk(Path(scratch))
            share = Path(scratch) / "share"
            cls.walk(share, lambda: host.life(cls.NAME, folder, share, LIMIT))

    def ours(self):
        """The page's lines that spfctl wrote; a failure shows them."""
        return [line for line in self.besides["page"].splitlines() if line.startswith("kvmspf_")]

    def test_each_line_in_the_guest_prints_what_the_document_says(self):
        said = self.besides["guest"].replace("\r", "")
        # systemd and the guest's kernel write to the console, too.
        done = re.findall(r"@begin\n(.*?)^@end (\d+)\n", said, re.M | re.S)
        self.assertEqual(len(done), len(inside()), said)
        for (command, wanted), (said, status) in zip(inside(), done):
            with self.subTest(command):
                self.assertEqual(status, "0", said)
                self.assertEqual(host.plain(said), host.plain(wanted), said)

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


if __name__ == "__main__":
    unittest.main()
