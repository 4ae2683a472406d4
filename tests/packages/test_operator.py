# SPDX-License-Identifier: GPL-2.0-or-later
"""An operator's way, by the lines of docs/operating.md: a Debian 13 host of packages alone boots
their kernel with systemd, and runs a VM that libvirt, spfctl and node_exporter show; then, with the
package of QEMU, another one with the device."""

import re
import shutil
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.lib import depth
from tests.packages import host
from spf import paths, series, ui
from spf.build import deb, kernel_deb, qemu_deb, targets
from spf.lab import accel, outcome
from spf.source import debroot

depth.module("builds a kernel's package and boots it")
# For the whole of the host's life, under emulation.
LIMIT = 1500
IMAGES = "/var/lib/libvirt/images"
INSTALL = "Install"
STEPS = "A VM", "See that it works", "Watch", "QEMU with the device", "Upgrade and remove"


def steps():
    return host.steps(*STEPS)


def domain(name, device):
    """The document's domain, with the device or, for Debian's QEMU, without.  The guest boots as
    far as an initramfs without a disk."""
    tree = ET.parse(paths.ROOT / "docs" / "libvirt-domain.xml")
    tree.find("name").text = name
    for word, text in (("kernel", f"{IMAGES}/vmlinuz"), ("initrd", f"{IMAGES}/initrd"),
                       ("cmdline", "console=ttyS0 panic=-1")):
        ET.SubElement(tree.find("os"), word).text = text
    if not device:
        tree.getroot().remove(tree.find("{*}commandline"))
    return ET.tostring(tree.getroot())


def disk(debs, scratch):
    """The host's disk, with the packages installed as the document says; and what boots it."""
    domains = [scratch / "db1.xml", scratch / "db2.xml"]
    domains[0].write_bytes(domain("db1", device=False))
    domains[1].write_bytes(domain("db2", device=True))
    # What Debian's installer leaves behind, beside what debootstrap does.
    commands = "apt-get install apt-utils initramfs-tools\n" + "\n".join(
        host.blocks(INSTALL)) + f"""
        mv *.service /etc/systemd/system
        systemctl enable operator.service
        systemctl set-default graphical.target
        cp /boot/vmlinuz-*+spf1 {IMAGES}/vmlinuz
        cp /boot/initrd.img-*+spf1 {IMAGES}/initrd
        cp db1.xml db2.xml /root"""
    return host.disk("operator", commands, [*debs, host.HERE / "operator.service", *domains])


def life(folder, share):
    """Boot the disk, of which nothing is kept, until the machine switches itself off."""
    qemu, kernel = series.qemu(), folder / "vmlinuz"
    chosen = accel.choose(qemu, kernel)
    console = share / "console"
    words = [qemu, "-name", "kvmspf-operator", "-M", "q35,usb=off,smbus=off,sata=off,graphics=off",
             "-accel", "tcg,thread=multi" if chosen == "tcg" else "kvm",
             "-cpu", accel.CPU[chosen], "-smp", "2", "-m", "3G", "-nodefaults", "-no-user-config",
             "-display", "none", "-no-reboot", "-serial", f"file:{console}",
             "-device", "virtio-rng-pci",
             "-drive", f"file={folder}/disk,format=raw,if=virtio,snapshot=on",
             "-virtfs", f"local,path={share},mount_tag=share,security_model=none",
             "-kernel", kernel, "-initrd", folder / "initrd",
             "-append", f"root=/dev/vda rw console=ttyS0 panic=-1 oops=panic {host.QUIET}"]
    try:
        done = subprocess.run([str(w) for w in words], timeout=LIMIT, capture_output=True,
                              text=True, preexec_fn=ui.die_with_parent)
        said = done.stderr
    except subprocess.TimeoutExpired:
        said = f"the host did not switch itself off within {LIMIT} s"
    shutil.copy(console, paths.LOG / "operator.console")
    return said, console.read_text(errors="replace")


def script(commands):
    """For the host: each command, with what it prints and its status in files of their own."""
    lines = []
    for number, command in enumerate(commands):
        lines.append(f"( {command}\n) >/mnt/{number}.out 2>&1; echo $? >/mnt/{number}.status")
    return "\n".join(lines) + "\n"


def setUpModule():
    global SAID, STATUS, PAGE, FAILED, CONSOLE, TROUBLE
    debs = [deb.build("spfctl"), *kernel_deb.build("lab"), *qemu_deb.build()]
    targets.bring_up_to_date("patched")
    commands = [command for command, _ in steps()]
    # What the test wants to see besides: the exporter's whole page, and how the host is.
    at = next(n for n, command in enumerate(commands) if "metrics" in command)
    ask = [*commands[:at + 1], "curl -s localhost:9100/metrics", *commands[at + 1:],
           "systemctl list-units --failed --plain --no-legend", "journalctl -b --no-pager"]
    with tempfile.TemporaryDirectory(dir=paths.BUILD) as scratch:
        folder = disk([Path(d) for d in debs if "-headers-" not in str(d)], Path(scratch))
        share = Path(scratch) / "share"
        share.mkdir()
        (share / "run").write_text(script(ask))
        TROUBLE, CONSOLE = life(folder, share)

        def read(suffix):
            files = [share / f"{n}.{suffix}" for n in range(len(ask))]
            return [f.read_text(errors="replace") if f.exists() else "" for f in files]
        SAID, STATUS = read("out"), [text.strip() for text in read("status")]
    FAILED, journal = SAID[-2:]
    (paths.LOG / "operator.journal").write_text(journal)
    PAGE = SAID.pop(at + 1)
    STATUS.pop(at + 1)


def promtool(*words, **kw):
    where = debroot.newer(host.SUITE, ["prometheus"])
    return subprocess.run([*debroot.words(where, "usr/bin/promtool"), *words], text=True,
                          capture_output=True, **kw)


class Operator(unittest.TestCase):
    def said(self, word):
        """What the first line with this word printed."""
        return next(text for (command, _), text in zip(steps(), SAID) if word in command)

    def ours(self):
        """The page's lines of spfctl, as a failure is to show them."""
        return [line for line in PAGE.splitlines() if line.startswith("kvmspf_")]

    def test_the_host_came_up_and_went_down_without_trouble(self):
        self.assertEqual((TROUBLE, outcome.trouble(CONSOLE)), ("", []))
        self.assertNotIn("", STATUS, "the host did not come to the last line")
        self.assertEqual(FAILED, "")

    def test_each_line_prints_what_the_document_says(self):
        for (command, wanted), said, status in zip(steps(), SAID, STATUS):
            with self.subTest(command):
                self.assertEqual(status, "0", said)
                self.assertEqual(host.plain(said), host.plain(wanted), said)

    def test_the_vm_took_the_tiers_and_not_the_mmap_lock(self):
        count = {tier: int(n) for tier, n in re.findall(r"hva_fault_(\w+)\.sum=(\d+)",
                                                        self.said("domstats"))}
        self.assertLess(count["mmap_lock"], count["speculative"] + count["vma_lock"])

    def test_the_tiers_are_on_and_the_exporter_sees_the_vm(self):
        """The numbers that the lines are compared without."""
        with self.subTest("the mode"):
            self.assertEqual(self.said("cat /sys/module"), "2\n")
        with self.subTest("speculation in the whole host"):
            self.assertRegex(self.said("/proc/vmstat"), "^spf_success [1-9]")
        for name in ("up", "available"):
            with self.subTest(name):
                self.assertIn(f'kvmspf_{name}{{domain="db1",source="libvirt:db1"}} 1', self.ours())

    def test_promtool_takes_the_page_and_the_alerts(self):
        self.assertRegex(" ".join(self.ours()), r"\bkvmspf_faults_total\{")
        done = promtool("check", "metrics", input=PAGE)
        # It lints to standard error, also what node_exporter itself writes.
        ours = [line for line in done.stderr.splitlines() if "kvmspf" in line or "error" in line]
        self.assertEqual(ours, [])
        done = promtool("check", "rules", paths.SCRIPTS / "spfctl" / "alerts.yml")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
