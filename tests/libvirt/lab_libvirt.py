# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab: libvirt's daemon, and the domain of docs/libvirt-domain.xml with a guest of ours.

usage: lab_libvirt.py SPFCTL INITRAMFS.  Prints what was seen as JSON; test_libvirt.py knows what it has to be.
"""

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPFCTL, INITRAMFS = sys.argv[1:]
CONSOLE = Path("/tmp/console")
LIMIT = 240
PATIENCE = "60"

# Neither polkit, systemd nor virtlogd run in the lab, and nobody but root is there.
DAEMON = """unix_sock_group = "root"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "2:stderr"
"""
DRIVER = """user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""


# ASan looks for xdr functions, which libvirt uses, at the program's start; libvirt is loaded later.
SANITIZED = {"LD_PRELOAD": "libtirpc.so.3", "ASAN_OPTIONS": "verify_asan_link_order=0"}


def run(*words, status=0, **env):
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, env=os.environ | env)
    if status is not None and done.returncode != status:
        raise SystemExit(f"{' '.join(map(str, words))}: status {done.returncode}: {done.stdout}{done.stderr}")
    return done


def virsh(*words):
    return run("virsh", "-q", *words).stdout


def spfctl(*words, status=0):
    return run(SPFCTL, "--libvirt", "-t", PATIENCE, *words, status=status, **SANITIZED)


def wait(what, true):
    end = time.monotonic() + LIMIT
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"no {what} within {LIMIT} s")
        time.sleep(0.1)


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
    # What the lab's guest has no use for costs it seconds.
    ET.SubElement(tree.find("devices"), "controller", type="usb", model="none")
    tree.write("/tmp/domain.xml")
    return "/tmp/domain.xml"


def start_daemon():
    # Debian's libvirt-daemon-system would make this user, but also start a daemon on this machine.
    for file, rest in (("passwd", "64055::/:/usr/sbin/nologin"), ("group", "")):
        with open(f"/etc/{file}", "a", encoding="utf-8") as f:
            f.write(f"libvirt-qemu:x:64055:{rest}\n")
    Path("/etc/libvirt").mkdir(exist_ok=True)
    Path("/etc/libvirt/qemu.conf").write_text(DRIVER, encoding="ascii")
    Path("/tmp/libvirtd.conf").write_text(DAEMON, encoding="ascii")
    with open("/tmp/libvirtd.log", "w", encoding="utf-8") as log:
        daemon = subprocess.Popen(["libvirtd", "--config", "/tmp/libvirtd.conf"], stdout=log, stderr=log)
    wait("libvirt", lambda: run("virsh", "-q", "list", status=None).returncode == 0 or daemon.poll() is not None)
    return daemon


def query():
    return json.loads(virsh("qemu-monitor-command", "--pretty", "db1", '{"execute":"query-kvm-spf"}'))["return"]


def booted():
    """The guest is up, and its vCPUs stand still: nothing counts, and everybody has to tell the same."""
    wait("guest", lambda: CONSOLE.exists() and b"@spf ready" in CONSOLE.read_bytes())
    virsh("suspend", "db1")
    return query()


def first_life():
    """The mode is set before the guest's first instruction."""
    virsh("start", "--paused", "db1")
    spfctl("--set-mode", "vma-lock", "db1")
    virsh("resume", "db1")
    SEEN["vma-lock"] = booted()
    virsh("destroy", "db1")
    CONSOLE.unlink()


def second_life():
    virsh("start", "--paused", "db1")
    with subprocess.Popen([SPFCTL, "--libvirt", "-d", "2", "-t", PATIENCE], env=os.environ | SANITIZED,
                          stdout=subprocess.PIPE, text=True) as table:
        head = table.stdout.readline()
        virsh("resume", "db1")
        SEEN["qmp"] = booted()
        table.terminate()
        SEEN["table"] = head + table.stdout.read()
    SEEN["domstats"] = virsh("domstats", "--vcpu", "db1")
    SEEN["json"] = json.loads(spfctl("--json").stdout)
    SEEN["prometheus"] = spfctl("--prometheus", "-", "db1").stdout
    virsh("resume", "db1")

    pid = int(Path("/run/libvirt/qemu/db1.pid").read_text(encoding="ascii"))
    os.kill(pid, signal.SIGSTOP)
    stuck = spfctl("-t", "5", "--json", status=1)
    os.kill(pid, signal.SIGCONT)
    SEEN["stuck"] = stuck.stderr, json.loads(stuck.stdout)["vms"]

    virsh("destroy", "db1")
    SEEN["gone"] = spfctl("--json", "db1", status=1).stderr


SEEN = {}
# QEMU asks for huge pages, and these are no matter for speculation.
Path("/sys/kernel/mm/transparent_hugepage/enabled").write_text("never", encoding="ascii")
start_daemon()
try:
    virsh("define", domain())
    first_life()
    second_life()
except SystemExit:
    print(Path("/tmp/libvirtd.log").read_text(encoding="utf-8"), file=sys.stderr)
    raise
print(json.dumps(SEEN))
