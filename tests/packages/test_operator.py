# SPDX-License-Identifier: GPL-2.0-or-later
"""An operator's way, by the lines of docs/operating.md: a Debian 13 host of packages alone boots
their kernel with systemd, and runs a VM that libvirt, spfctl and node_exporter show; then, with the
package of QEMU, another one with the device, a Debian guest with the agent's package."""

import re
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.lib import depth
from tests.packages import host
from spf import paths
from spf.build import deb, kernel_deb, qemu_deb, targets
from spf.lab import outcome
from spf.source import debroot

depth.module("builds a kernel's package and boots it")
HERE = host.HERE
# For the whole of the host's life, under emulation.
LIMIT = 2400
IMAGES = "/var/lib/libvirt/images"
SERIAL = f"{IMAGES}/db2.serial"
INSTALL, INSIDE = "Install", "See, from inside the guest"
STEPS = "A VM", "See that it works", "Watch", "QEMU with the device", "Upgrade and remove"
# Commands that the tests need besides the document's lines.  Each runs before the line that has the
# first word; None: after the last line.
BESIDES = {"page": ("--only-upgrade", "curl -s localhost:9100/metrics"),
           "guest": ("destroy db2",
                     f"until grep -q @done {SERIAL}; do sleep 1; done; cat {SERIAL}"),
           "failed": (None, "systemctl list-units --failed --plain --no-legend"),
           "journal": (None, "journalctl -b --no-pager")}


def inside():
    return host.steps(INSIDE)


def domain(name, device, cmdline="console=ttyS0 panic=-1", serial=None, image=None):
    """The document's domain, with the device or, for Debian's QEMU, without.  Without a disk the
    guest boots as far as the initramfs."""
    tree = ET.parse(paths.ROOT / "docs" / "libvirt-domain.xml")
    tree.find("name").text = name
    for word, text in (("kernel", f"{IMAGES}/vmlinuz"), ("initrd", f"{IMAGES}/initrd"),
                       ("cmdline", cmdline)):
        ET.SubElement(tree.find("os"), word).text = text
    devices = tree.find("devices")
    if serial:
        devices.find("serial").set("type", "file")
        ET.SubElement(devices.find("serial"), "source", path=serial, append="on")
    if image:
        drive = ET.SubElement(devices, "disk", type="file")
        ET.SubElement(drive, "driver", name="qemu", type="raw")
        ET.SubElement(drive, "source", file=image)
        ET.SubElement(drive, "target", dev="vda", bus="virtio")
    if not device:
        tree.getroot().remove(tree.find("{*}commandline"))
    return ET.tostring(tree.getroot())


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
    domains[0].write_bytes(domain("db1", device=False))
    domains[1].write_bytes(domain("db2", True, "root=/dev/vda rw console=ttyS0 quiet panic=-1",
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


def script(commands):
    """For the host: each command, with what it prints and its status in files of their own."""
    lines = []
    for number, command in enumerate(commands):
        lines.append(f"( {command}\n) >/mnt/{number}.out 2>&1; echo $? >/mnt/{number}.status")
    return "\n".join(lines) + "\n"


def promtool(*words, **kw):
    where = debroot.newer(host.SUITE, ["prometheus"])
    return subprocess.run([*debroot.words(where, "usr/bin/promtool"), *words], text=True,
                          capture_output=True, **kw)


class Operator(unittest.TestCase):
    NAME, CONFIG, SUITE, MORE = "operator", "lab", host.SUITE, ""
    STEPS, BESIDES = STEPS, BESIDES

    @classmethod
    def steps(cls):
        return host.steps(*cls.STEPS)

    @classmethod
    def asked(cls):
        """(its name or the document's line, command), in order."""
        def besides(line):
            return [(name, command) for name, (before, command) in cls.BESIDES.items()
                    if (before in line if before and line else before is line)]
        lines = [one for line, _ in cls.steps() for one in [*besides(line), (line, line)]]
        return lines + besides(None)

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
            share.mkdir()
            (share / "run").write_text(script([command for _, command in cls.asked()]))
            cls.trouble, cls.console = host.life(cls.NAME, folder, share, LIMIT)

            def read(suffix):
                files = [share / f"{n}.{suffix}" for n in range(len(cls.asked()))]
                return [f.read_text(errors="replace") if f.exists() else "" for f in files]
            # [(name or line, what it printed, its status)]
            cls.all = [(name, said, status.strip()) for (name, _), said, status
                       in zip(cls.asked(), read("out"), read("status"))]
        cls.besides = {name: said for name, said, _ in cls.all if name in cls.BESIDES}
        (paths.LOG / f"{cls.NAME}.journal").write_text(cls.besides["journal"])

    def said(self, word):
        """The output of the first line with this word."""
        return next(said for line, said, _ in self.all if word in line)

    def ours(self):
        """The page's lines that spfctl wrote; a failure shows them."""
        return [line for line in self.besides["page"].splitlines() if line.startswith("kvmspf_")]

    def test_the_host_came_up_and_went_down_without_trouble(self):
        self.assertEqual((self.trouble, outcome.trouble(self.console)), ("", []))
        self.assertNotEqual(self.all[-1][2], "", "the host did not come to the last line")
        self.assertEqual(self.besides["failed"], "")

    def test_each_line_prints_what_the_document_says(self):
        done = [one for one in self.all if one[0] not in self.BESIDES]
        for (command, wanted), (_, said, status) in zip(self.steps(), done):
            with self.subTest(command):
                self.assertEqual(status, "0", said)
                self.assertEqual(host.plain(said), host.plain(wanted), said)

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
