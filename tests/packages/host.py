# SPDX-License-Identifier: GPL-2.0-or-later
"""Shared by the operator's tests: the commands of docs/operating.md, a disk with Debian on which
such commands have run, and the life of a host that boots it."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.lib import debian_disk
from spf import paths, series, ui
from spf.lab import accel

HERE = Path(__file__).resolve().parent
SUITE = "trixie"
# Options with which a kernel runs under the emulator without false alarms.
QUIET = ("mitigations=off nokaslr tsc=reliable no_timer_check watchdog_thresh=60 "
         "rcupdate.rcu_cpu_stall_timeout=120")


def blocks(heading):
    """The text of the code below a heading of the document."""
    text = (paths.ROOT / "docs/operating.md").read_text()
    section = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", text, re.M | re.S)[1]
    return re.findall(r"^```\n(.*?)^```\n", section, re.M | re.S)


def steps(*headings):
    """[(command, what the document says that it prints)]"""
    return [(command, said) for heading in headings for block in blocks(heading)
            for command, said in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)]


def plain(text):
    """The parts of a text that are the same on every host: without numbers, widths and the reason
    of an abort."""
    return [[re.sub(r"^(-|N(us|ms|s)?|[a-z]+-[a-z]+|unsupported)$", "N",
                    re.sub(r"\d[\d.]*", "N", word)) for word in line.split()]
            for line in text.splitlines() if line.strip()]


def made_of(file):
    """The part of a digest for a file.  A disk of disk() is too large to be read: use its key."""
    return ui.recall(f"disk-{file.parent.name}")["key"] if file.name == "disk" else file


def disk(name, commands, files, suite=SUITE, base=None):
    """Make a folder with `disk`, on which the commands have run, and its kernel and initramfs, the
    patched ones if there are some.  The commands run where the files are, and begin with Debian as
    debootstrap makes it, or with the disk of another such folder."""
    folder = paths.BUILD / "debian" / f"{suite}-{name}"
    script, stamp = HERE / "host-disk", f"disk-{folder.name}"
    key = ui.digest(script, commands, made_of(base / "disk") if base else "", *map(made_of, files))
    if ui.recall(stamp).get("key") == key and (folder / "disk").exists():
        return folder
    start = base / "disk" if base else debian_disk.made(suite)
    ui.forget(stamp)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=paths.BUILD) as layers:
        done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh",
                               script, start, layers, folder, commands, *files],
                              capture_output=True, text=True, errors="replace")
    log = paths.LOG / f"{name}-install.log"
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        raise ui.Fail(f"the packages did not install: {ui.last_line(done.stderr)}",
                      f"see {ui.shown(log)}")
    ui.remember(stamp, key=key)
    return folder


def machine(name, folder, share, console, words=(), kernel=None, append="", cpus=2):
    """The emulator's command line for a host with that disk, which keeps no change, and with
    /dev/vdb.  kernel: one that needs no initramfs; None: the disk's own."""
    qemu, boot = series.qemu(), kernel or folder / "vmlinuz"
    chosen = accel.choose(qemu, boot)
    return [str(word) for word in (
        qemu, "-name", f"kvmspf-{name}", "-M", "q35,usb=off,smbus=off,sata=off,graphics=off",
        "-accel", "tcg,thread=multi" if chosen == "tcg" else "kvm", "-cpu", accel.CPU[chosen],
        "-smp", cpus, "-m", "3G", "-nodefaults", "-no-user-config", "-display", "none",
        "-no-reboot", "-serial", f"file:{console}", "-device", "virtio-rng-pci",
        "-drive", f"file={folder}/disk,format=raw,if=virtio,snapshot=on",
        "-drive", f"file={share},format=raw,if=virtio", "-kernel", boot,
        *([] if kernel else ["-initrd", folder / "initrd"]),
        "-append", f"root=/dev/vda rw console=ttyS0 panic=-1 oops=panic {QUIET} {append}", *words)]


def life(name, folder, share, limit, fds=(), **options):
    """Boot the disk until the machine switches itself off.  The host has the files of the folder
    `share` on /dev/vdb, and what it writes there comes back.  The emulator keeps the descriptors
    fds; options: those of machine().  Returns complaints, and what its console said."""
    console, image = paths.LOG / f"{name}.console", share.with_suffix(".disk")
    ui.run(["mke2fs", "-q", "-t", "ext4", "-d", share, image, "64M"])
    try:
        done = subprocess.run(machine(name, folder, image, console, **options), timeout=limit,
                              capture_output=True, text=True, pass_fds=fds,
                              preexec_fn=ui.die_with_parent)
        said = done.stderr
    except subprocess.TimeoutExpired:
        said = f"the host did not switch itself off within {limit} s"
    ui.run(["e2fsck", "-fp", image], check=False)
    ui.run(["debugfs", "-R", f"rdump / {share}", image])
    return said, console.read_text(errors="replace")
