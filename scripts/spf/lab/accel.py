# SPDX-License-Identifier: GPL-2.0-or-later
"""Choose hardware virtualisation for the outer QEMU where it truly works, else software
emulation."""

import re
import subprocess
from pathlib import Path

from spf import ui

CPU = {"tcg": "EPYC,+svm,+npt,+flushbyasid,+invtsc,-xsaves,check=off", "kvm": "host"}


def nested():
    """Whether KVM's nested virtualisation is on.  A /dev/kvm node does not prove that, and neither
    does the CPU's flag."""
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    if not flags or not {"svm", "vmx"} & set(flags[1].split()) or not Path("/dev/kvm").exists():
        return False
    for module in ("kvm_amd", "kvm_intel"):
        switch = Path(f"/sys/module/{module}/parameters/nested")
        if switch.exists() and switch.read_text().strip() in ("Y", "1"):
            return True
    return False


def works(qemu, kernel):
    """Whether KVM runs a kernel: boot it up to its (missing) root file system, and look for its
    output."""
    key = ui.digest(Path("/proc/sys/kernel/random/boot_id"), str(qemu))
    known = ui.recall("accel")
    if known.get("key") == key:
        return known["works"]
    try:
        done = subprocess.run([str(qemu), "-accel", "kvm", "-M", "q35", "-cpu", "host",
                               "-m", "512M", "-nodefaults",
                               "-display", "none", "-no-reboot", "-kernel", str(kernel),
                               "-serial", "stdio",
                               "-append", "console=ttyS0 panic=-1"],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=30,
                              preexec_fn=ui.die_with_parent)
        good = b"Unable to mount root" in done.stdout
    except (subprocess.TimeoutExpired, OSError):
        good = False
    ui.remember("accel", key=key, works=good)
    return good


def choose(qemu, kernel, wish="auto"):
    if wish == "auto":
        return "kvm" if nested() and works(qemu, kernel) else "tcg"
    if wish == "kvm" and not nested():
        raise ui.Fail("this machine has no nested hardware virtualisation", "leave out --accel kvm")
    return wish
