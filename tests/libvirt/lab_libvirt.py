# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab: run libvirt's daemon, and the domain of docs/libvirt-domain.xml with a guest of ours.

usage: lab_libvirt.py SPFCTL INITRAMFS.  Prints the results as JSON, which test_libvirt.py checks.
"""

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.libvirt.daemon import LOG, Spfctl, is_tainted, process, start_daemon, virsh, wait

ROOT = Path(__file__).resolve().parents[2]
INITRAMFS = sys.argv[2]
CONSOLE = Path("/tmp/console")
SOCKET = Path("/run/kvmspf/own")


def domain():
    """The documentation's domain, with the kernel and the guest of the lab."""
    tree = ET.parse(ROOT / "docs" / "libvirt-domain.xml")
    for name, text in (("kernel", os.environ["KVMSPF_GUEST_KERNEL"]), ("initrd", INITRAMFS),
                       ("cmdline", "console=ttyS0 quiet panic=-1")):
        ET.SubElement(tree.find("os"), name).text = text
    tree.find("devices/emulator").text = os.environ["KVMSPF_QEMU"]
    serial = tree.find("devices/serial")
    serial.set("type", "file")
    ET.SubElement(serial, "source", path=str(CONSOLE))
    # Add a QMP socket for us, and a threshold so low that faults under the mmap_lock are a storm.
    arguments = tree.findall("{*}commandline/{*}arg")
    arguments[1].set("value", arguments[1].get("value") + ",interval-ms=50,fallback-threshold=100")
    for value in ("-qmp", f"unix:{SOCKET},server=on,wait=off"):
        ET.SubElement(tree.find("{*}commandline"), arguments[0].tag, value=value)
    # Leave out devices that the lab's guest does not use: each costs it seconds.
    ET.SubElement(tree.find("devices"), "controller", type="usb", model="none")
    tree.write("/tmp/domain.xml")
    return "/tmp/domain.xml"


def query():
    """Over libvirt's monitor, which taints the domain."""
    return json.loads(virsh("qemu-monitor-command", "--pretty", "db1",
                            '{"execute":"query-kvm-spf"}'))["return"]


def booted():
    """The guest is up and its vCPUs are stopped.  The counters do not change, so all ways to read
    them must agree."""
    wait("guest", lambda: CONSOLE.exists() and b"@spf ready" in CONSOLE.read_bytes())
    virsh("suspend", "db1")


def first_life():
    """The mode is set before the guest's first instruction."""
    virsh("start", "--paused", "db1")
    spfctl("--set-mode", "vma-lock", "db1")
    virsh("resume", "db1")
    booted()
    SEEN["vma-lock"] = query()
    virsh("destroy", "db1")
    CONSOLE.unlink()


def stormy_life():
    """All faults take the mmap_lock; libvirt and the domain's own socket pass the event on."""
    virsh("start", "--paused", "db1")
    own = subprocess.Popen([spfctl.program, "-t", "60", "--wait-storm", "--socket", SOCKET],
                           text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with spfctl.start("--wait-storm", "-n", "2", "db1", stderr=subprocess.PIPE) as through_libvirt:
        SEEN["storm, tainted"] = is_tainted("db1")
        spfctl("--set-mode", "off", "db1")
        virsh("resume", "db1")
        SEEN["storm"] = [(*w.communicate(), w.returncode) for w in (own, through_libvirt)]
    virsh("destroy", "db1")
    CONSOLE.unlink(missing_ok=True)


def second_life():
    virsh("start", "--paused", "db1")
    with spfctl.start("-d", "2") as table:
        head = table.stdout.readline()
        virsh("resume", "db1")
        booted()
        # On a fast machine the guest has booted before the third row.
        rows = "".join(table.stdout.readline() for _ in range(3))
        table.terminate()
        SEEN["table"] = head + rows + table.stdout.read()
    SEEN["domstats"] = virsh("domstats", "--vcpu", "db1")
    SEEN["json"] = json.loads(spfctl("--json", "--per-vcpu").stdout)
    SEEN["prometheus"] = spfctl("--prometheus", "-", "db1").stdout
    SEEN["tainted by reading"] = is_tainted("db1")
    SEEN["monitor"] = json.loads(spfctl("--json", "--per-vcpu", "--monitor").stdout)
    SEEN["tainted by the monitor"] = is_tainted("db1")
    SEEN["monitor prometheus"] = spfctl("--prometheus", "-", "--monitor", "db1").stdout
    SEEN["qmp"] = query()
    virsh("resume", "db1")

    pid = process("db1")
    os.kill(pid, signal.SIGSTOP)
    stuck = spfctl("--json", status=1, patience="5")
    os.kill(pid, signal.SIGCONT)
    SEEN["stuck"] = stuck.stderr, json.loads(stuck.stdout)["vms"]

    virsh("destroy", "db1")
    SEEN["gone"] = spfctl("--json", "db1", status=1).stderr


SEEN = {}
# QEMU asks for huge pages, which the speculative tier does not serve.
Path("/sys/kernel/mm/transparent_hugepage/enabled").write_text("never", encoding="ascii")
SOCKET.parent.mkdir(exist_ok=True)
spfctl = Spfctl(sys.argv[1])
start_daemon()
try:
    virsh("define", domain())
    first_life()
    stormy_life()
    second_life()
except SystemExit:
    print(LOG.read_text(encoding="utf-8"), file=sys.stderr)
    raise
print(json.dumps(SEEN))
