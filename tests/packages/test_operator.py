# SPDX-License-Identifier: GPL-2.0-or-later
"""An operator's way, by the lines of docs/operating.md: a Debian 13 host of packages alone boots
their kernel with systemd, and runs a VM that libvirt, spfctl and node_exporter show."""

import re
import shutil
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.lib import debian_disk, depth
from spf import paths, series, ui
from spf.build import deb, kernel_deb, targets
from spf.lab import accel, outcome
from spf.source import debroot

depth.module("builds a kernel's package and boots it")
HERE = Path(__file__).resolve().parent
SUITE = "trixie"
# For the whole of the host's life, under emulation.
LIMIT = 1500
IMAGES = "/var/lib/libvirt/images"
INSTALL, STEPS = "Install", ("A VM", "See that it works", "Watch", "Upgrade and remove")


def blocks(heading):
    """The text of the code below a heading of the document."""
    text = (paths.ROOT / "docs/operating.md").read_text()
    section = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^##|\Z)", text, re.M | re.S)[1]
    return re.findall(r"^```\n(.*?)^```\n", section, re.M | re.S)


def steps():
    """[(command, what the document says that it prints)]"""
    return [(command, said) for heading in STEPS for block in blocks(heading)
            for command, said in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)]


def plain(text):
    """Of a text, what is the same on every host: no numbers, no widths, no reason of an abort."""
    return [[re.sub(r"^(-|N(us|ms|s)?|[a-z]+-[a-z]+|unsupported)$", "N",
                    re.sub(r"\d[\d.]*", "N", word)) for word in line.split()]
            for line in text.splitlines() if line.strip()]


def domain():
    """The document's domain without the device, which Debian's QEMU does not have.  The guest boots
    as far as an initramfs without a disk."""
    tree = ET.parse(paths.ROOT / "docs" / "libvirt-domain.xml")
    for name, text in (("kernel", f"{IMAGES}/vmlinuz"), ("initrd", f"{IMAGES}/initrd"),
                       ("cmdline", "console=ttyS0 panic=-1")):
        ET.SubElement(tree.find("os"), name).text = text
    tree.getroot().remove(tree.find("{*}commandline"))
    return ET.tostring(tree.getroot())


def disk(debs):
    """The host's disk, with the packages installed as the document says; and what boots it."""
    folder = paths.BUILD / "debian" / f"{SUITE}-host"
    script = HERE / "host-disk"
    unit = HERE / "operator.service"
    # What Debian's installer leaves behind, beside what debootstrap does.
    commands = "apt-get install initramfs-tools\n" + "\n".join(blocks(INSTALL)) + f"""
        mv *.service /etc/systemd/system
        systemctl enable operator.service
        systemctl set-default graphical.target
        cp /boot/vmlinuz-*+spf1 {IMAGES}/vmlinuz
        cp /boot/initrd.img-*+spf1 {IMAGES}/initrd
        cp db1.xml /root"""
    key = ui.digest(script, unit, commands, domain(), *debs)
    if ui.recall("operator-host").get("key") == key and (folder / "disk").exists():
        return folder
    ui.forget("operator-host")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=paths.BUILD) as scratch:
        file = Path(scratch) / "db1.xml"
        file.write_bytes(domain())
        layers = Path(scratch) / "layers"
        layers.mkdir()
        done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh",
                               script, debian_disk.made(SUITE), layers, folder, commands, *debs,
                               unit, file], capture_output=True, text=True, errors="replace")
    (paths.LOG / "operator-install.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise ui.Fail(f"the packages did not install: {ui.last_line(done.stderr)}",
                      "see build/log/operator-install.log")
    ui.remember("operator-host", key=key)
    return folder


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
             "-append", "root=/dev/vda rw console=ttyS0 panic=-1 oops=panic mitigations=off nokaslr"
                        " tsc=reliable no_timer_check watchdog_thresh=60"
                        " rcupdate.rcu_cpu_stall_timeout=120"]
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
    debs = [deb.build("spfctl"), *kernel_deb.build("lab")]
    targets.bring_up_to_date("patched")
    folder = disk([Path(d) for d in debs if "-headers-" not in str(d)])
    commands = [command for command, _ in steps()]
    # What the test wants to see besides: the exporter's whole page, and how the host is.
    at = next(n for n, command in enumerate(commands) if "metrics" in command)
    ask = [*commands[:at + 1], "curl -s localhost:9100/metrics", *commands[at + 1:],
           "systemctl list-units --failed --plain --no-legend", "journalctl -b --no-pager"]
    with tempfile.TemporaryDirectory(dir=paths.BUILD) as scratch:
        share = Path(scratch)
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
    where = debroot.newer(SUITE, ["prometheus"])
    return subprocess.run([*debroot.words(where, "usr/bin/promtool"), *words], text=True,
                          capture_output=True, **kw)


class Operator(unittest.TestCase):
    def test_the_host_came_up_and_went_down_without_trouble(self):
        self.assertEqual((TROUBLE, outcome.trouble(CONSOLE)), ("", []))
        self.assertNotIn("", STATUS, "the host did not come to the last line")
        self.assertEqual(FAILED, "")

    def test_each_line_prints_what_the_document_says(self):
        for (command, wanted), said, status in zip(steps(), SAID, STATUS):
            with self.subTest(command):
                self.assertEqual(status, "0", said)
                self.assertEqual(plain(said), plain(wanted), said)

    def test_the_vm_took_the_tiers_and_not_the_mmap_lock(self):
        said = next(text for text in SAID if "hva_fault_mmap_lock" in text)
        count = {tier: int(n) for tier, n in re.findall(r"hva_fault_(\w+)\.sum=(\d+)", said)}
        self.assertLess(count["mmap_lock"], count["speculative"] + count["vma_lock"])

    def test_promtool_takes_the_page_and_the_alerts(self):
        self.assertIn("kvmspf_faults_total{", PAGE)
        done = promtool("check", "metrics", input=PAGE)
        ours = [line for line in done.stdout.splitlines() if "kvmspf" in line]
        self.assertEqual((ours, "error" in done.stderr), ([], False), done.stderr)
        done = promtool("check", "rules", paths.SCRIPTS / "spfctl" / "alerts.yml")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
