# SPDX-License-Identifier: GPL-2.0-or-later
"""In mount and process namespaces of its own: run libvirt's daemon with paused domains that the
emulator runs without KVM.

usage: inside_namespace.py SPFCTL.  Prints the results as JSON, which test_daemon.py checks.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.libvirt.daemon import LOG, Spfctl, is_tainted, process, run, start_daemon, virsh, wait

NAMES = [f"vm{n}" for n in range(7)]
*MUTE, WELL = NAMES
SLOW = "slow"
SOCKET = "/run/kvmspf/own"
QEMU = "/usr/bin/qemu-system-x86_64"
# Its QEMU begins when there is /run/begin, as if it had much memory to allocate.
SLOW_QEMU = f"""#!/bin/sh
case "$*" in
*guest={SLOW},*) until [ -e /run/begin ]; do sleep 0.1; done;;
esac
exec {QEMU} "$@"
"""
DOMAIN = """<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
<devices><emulator>{emulator}</emulator><controller type='usb' model='none'/>
<memballoon model='none'/></devices>
<qemu:commandline><qemu:arg value='-qmp'/>
<qemu:arg value='unix:{socket},server=on,wait=off'/></qemu:commandline>
</domain>"""


def leave_orphans_to_a_parent():
    """Reap children: processes that the daemon leaves behind become children of process 1."""
    child = os.fork()
    while child:
        ended, status = os.wait()
        if ended == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xff)


def private():
    """Make folders private into which the daemon and start_daemon() write."""
    for folder in ("/run", "/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt",
                   "/var/cache/libvirt"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    shutil.copy("/etc/passwd", "/run/passwd")
    shutil.copy("/etc/group", "/run/group")
    for file in ("passwd", "group"):
        subprocess.run(["mount", "--bind", f"/run/{file}", f"/etc/{file}"], check=True)
    Path("/run/kvmspf").mkdir()


def create(name, socket, emulator=QEMU):
    """The words that start a domain."""
    file = Path(f"/run/{name}.xml")
    file.write_text(DOMAIN.format(name=name, socket=socket, emulator=emulator), encoding="utf-8")
    return "virsh", "-q", "create", "--paused", file


def seen_of(done):
    return {"status": done.returncode, "errors": done.stderr.splitlines(),
            "vms": {vm["domain"]: vm.get("error") for vm in json.loads(done.stdout)["vms"]}}


def lines_until(child, enough):
    """The output of spfctl until a line is `enough`."""
    lines = []
    while not lines or not enough(lines[-1]):
        lines.append(child.stdout.readline())
        if not lines[-1]:
            raise SystemExit(f"it ended: {lines}")
    return lines


def mute_qemus():
    for name in MUTE:
        os.kill(process(name), signal.SIGSTOP)
    seen = seen_of(spfctl("--json", "--monitor", status=1, patience="5"))
    for name in MUTE:
        os.kill(process(name), signal.SIGCONT)
    return seen


def mute_daemon(daemon):
    """While the daemon is stopped the table goes on with every VM; once it continues, all is as
    before."""
    with spfctl.start("--monitor", "-d", "0.1", WELL, patience="1",
                      stderr=subprocess.PIPE) as table:
        lines_until(table, lambda line: "too old" in line)
        os.kill(daemon.pid, signal.SIGSTOP)
        lines_until(table, lambda line: "no answer from libvirt" in line)
        some = [table.stdout.readline() for _ in range(3)]
        os.kill(daemon.pid, signal.SIGCONT)
        lines_until(table, lambda line: "too old" in line)
        table.terminate()
        return some, table.stderr.read().splitlines()


def no_daemon(daemon):
    with spfctl.start("-d", "0.1", WELL, patience="5", stderr=subprocess.PIPE) as table:
        table.stdout.readline()
        daemon.terminate()
        daemon.wait()
        lines_until(table, lambda line: "Failed to connect" in line)
        table.terminate()
        return table.stderr.read().splitlines()


def slow_start():
    """A domain while libvirt starts it, with one that runs beside it; and afterwards."""
    emulator = Path("/run/slow-qemu")
    emulator.write_text(SLOW_QEMU, encoding="ascii")
    emulator.chmod(0o755)
    with subprocess.Popen(create(SLOW, f"/run/{SLOW}", emulator)) as start:
        try:
            wait("domain", lambda: SLOW in virsh("list", "--name").split())
            seen = {"json": seen_of(spfctl("--json", SLOW, status=None, patience="10")),
                    "table": spfctl("--count", "1", "-d", "0.1", SLOW,
                                    status=None, patience="10").stdout.splitlines()[1:],
                    "page": spfctl("--prometheus", "-", SLOW, status=None, patience="10").stdout,
                    "mode": spfctl("--set-mode", "off", SLOW, status=1, patience="10").stderr}
        finally:
            Path("/run/begin").touch()
    if start.returncode:
        raise SystemExit("it did not start")
    seen["later"] = seen_of(spfctl("--json", SLOW, status=1))
    virsh("destroy", SLOW)
    return seen


def waits():
    with spfctl.start("--wait-storm", NAMES[0], stdout=subprocess.PIPE,
                      stderr=subprocess.PIPE) as waiting:
        time.sleep(1)
        virsh("destroy", NAMES[0])
        out, errors = waiting.communicate()
        return out, errors.splitlines(), waiting.returncode


leave_orphans_to_a_parent()
spfctl = Spfctl(sys.argv[1])
private()
libvirtd = start_daemon()
SEEN = {}
try:
    for name in NAMES:
        run(*create(name, SOCKET if name == WELL else f"/run/{name}"))
    SEEN["plain"] = seen_of(spfctl("--json", status=1))
    SEEN["tainted by reading"] = [name for name in NAMES if is_tainted(name)]
    SEEN["twins"] = json.loads(spfctl("--json", "--dir", "/run/kvmspf", status=1).stdout)["vms"]
    SEEN["monitor"] = seen_of(spfctl("--json", "--monitor", WELL, status=1))
    SEEN["tainted by the monitor"] = [name for name in NAMES if is_tainted(name)]
    SEEN["mute"] = mute_qemus()
    SEEN["slow"] = slow_start()
    SEEN["waits"] = waits()
    SEEN["mute daemon"] = mute_daemon(libvirtd)
    SEEN["no daemon"] = no_daemon(libvirtd)
except SystemExit:
    print(LOG.read_text(encoding="utf-8"), file=sys.stderr)
    raise
print(json.dumps(SEEN))
