# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab: run a guest with the kvm-spf device and the agent's port, and send it commands over
its console.

usage: lab_guest.py SCENARIO INITRAMFS [DISK].  Prints the result of SCENARIO as JSON, which the
tests check.
"""

import json
import socket
import sys
import tempfile
import time

from tests.lib.console_guest import Guest, Lines
from tests.lib.wait import deleted, wait
from spf.compare import agent

MIB = 1 << 20
PAGES = 16384
CONNECTIONS = 30


class Port:
    """The host's end of the agent's port."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = Lines(self.socket.fileno())

    def ask(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode()
                            + b"\n")
        return json.loads(self.lines.line())

    def sync(self, number):
        self.socket.sendall(b'\xff{"execute":"guest-sync-delimited",'
                            b'"arguments":{"id":%d}}\n' % number)
        while not (line := self.lines.line()).startswith(b"\xff"):
            pass
        return json.loads(line[1:])


# -- scenarios --

def faults(guest):
    """A known number of pages that neither the guest nor QEMU has touched, as `run` counts them."""
    out = {"snapshot": guest.json("spf-agent snapshot --json"),
           "query": guest.qmp.execute("query-kvm-spf")}
    device = guest.text("grep -l 0x1110 /sys/bus/pci/devices/*/device").removesuffix("/device")
    guest.text(f"echo 1 >{device}/enable")
    out["pages"] = PAGES
    out["run"] = guest.json(f"spf-agent run --json -o /tmp/run -- touch_new {device}/resource2 "
                            f"{PAGES}; cat /tmp/run")
    out["text"] = guest.run("spf-agent run -- true 2>&1")
    return out


def stat(guest):
    """The CPU time of a stat that reads ten times a second, as the scheduler counts it."""
    guest.run("spf-agent stat -i 0.1 >/tmp/stat & sleep 1")
    samples = []
    for pause in (0, 10):
        guest.run(f"sleep {pause}")
        said, _ = guest.run("cat /proc/uptime /proc/$!/schedstat; wc -l </tmp/stat")
        samples.append((float(said[0].split()[0]), int(said[1].split()[0]) / 1e9, int(said[2])))
    (t0, cpu0, lines0), (t1, cpu1, lines1) = samples
    return {"seconds": t1 - t0, "cpu_seconds": cpu1 - cpu0, "share": (cpu1 - cpu0) / (t1 - t0),
            "lines": lines1 - lines0}


def serve(guest):
    guest.run("spf-agent mark before")
    guest.run("spf-agent serve 2>/tmp/serve & sleep 1")
    out = {"status": guest.run("cat /proc/$!/status")[0]}
    port = Port(guest.agent)
    out["sync"] = port.sync(42)
    out["info"] = port.ask("guest-info")
    out["snapshot"] = port.ask("spf-snapshot")
    out["host_ns"] = [time.monotonic_ns(), port.ask("spf-mark", name="host")["return"]["host-ns"],
                      time.monotonic_ns()]
    out["load"] = port.ask("spf-load", bytes=32 * MIB, pattern="random")
    out["after"] = port.ask("spf-snapshot")
    out["too_much"] = port.ask("spf-load", bytes=1 << 40)
    out["marks"] = port.ask("spf-marks", follow=True)
    guest.run("spf-agent mark guest")
    out["event"] = json.loads(port.lines.line())
    # The next host finds an agent that remembers nothing of this host.
    port.socket.sendall(b'{"execute":"guest-pi')
    port.socket.close()
    time.sleep(1)
    port = Port(guest.agent)
    out["again"] = port.ask("guest-ping")
    # A request may reach the agent before the guest's kernel knows of the host that sent it.
    out["at_once"] = []
    for _ in range(CONNECTIONS):
        port.socket.close()
        port = Port(guest.agent)
        out["at_once"].append(port.ask("guest-ping"))
    out["said"] = guest.run("cat /tmp/serve")[0]
    port.socket.close()
    return out


def absent(guest):
    """No device and no port: each command reports that once."""
    return {name: guest.run(f"spf-agent {name} 2>&1")
            for name in ("snapshot", "stat", "serve", "mark x", "run -- true")}


def replug(guest):
    """What the agent says of a device that is plugged in while the guest runs."""
    guest.qmp.execute("device_del", {"id": "spf0"})
    wait(lambda: deleted(guest.qmp, "spf0"), "the device is not unplugged")
    guest.qmp.execute("device_add", {"driver": "kvm-spf", "id": "spf0", "bus": "root1"})
    wait(lambda: guest.run("grep -l 0x10f0 /sys/bus/pci/devices/*/device")[0],
         "the device is not plugged in")
    guest.run("udevadm settle")
    return guest.run("spf-agent snapshot --json 2>&1")


def debian(guest):
    """The package in Debian: a service that comes and goes with its port, says that it has no
    device, is purged."""
    def becomes(wanted):
        for _ in range(60):
            said, _status = guest.run("systemctl is-active spf-agent.service")
            if said[-1:] == [wanted]:
                return
            time.sleep(1)
        raise SystemExit(f"spf-agent.service does not become {wanted}: {said}")

    def serves():
        """Wait until the service answers: it is active as soon as it has been started."""
        becomes("active")
        port = Port(guest.agent)
        port.sync(1)
        info = port.ask("guest-info")
        port.socket.close()
        return info

    out = {"install": guest.run("dpkg --install /agent.deb 2>&1"), "info": [serves()]}
    out["snapshot"] = guest.json("spf-agent snapshot --json")
    out["run"] = guest.json("spf-agent run --json -o /tmp/run -- true; cat /tmp/run")
    out["user"] = guest.run("getent passwd spf-agent")[0]
    out["status"] = guest.run("cat /proc/$(systemctl show -P MainPID spf-agent.service)/status")[0]
    guest.run("spf-agent mark left")
    guest.qmp.execute("device_del", {"id": "agent-port"})
    becomes("inactive")
    guest.qmp.execute("device_add", {"driver": "virtserialport", "id": "agent-port",
                                     "chardev": "agent",
                                     "name": agent.PORT})
    out["info"].append(serves())
    out["install_again"] = guest.run("dpkg --install /agent.deb 2>&1")
    out["info"].append(serves())
    # Removing the package stops the service; then its user can be removed.
    out["purge_running"] = guest.run("dpkg --purge spf-agent 2>&1")
    out["left_running"] = guest.run("getent passwd spf-agent; "
                                    "systemctl is-active spf-agent.service")[0]
    out["install_anew"] = guest.run("dpkg --install /agent.deb 2>&1")
    out["info"].append(serves())
    out["replugged"] = replug(guest)
    guest.text("d=$(grep -l 0x10f0 /sys/bus/pci/devices/*/device); echo 1 >${d%/*}/remove")
    # Longer than systemd would wait before another start.
    guest.run("systemctl restart spf-agent.service; sleep 8")
    out["failed"] = guest.run("systemctl show -p ActiveState,ExecMainStatus,NRestarts "
                              "spf-agent.service")[0]
    out["journal"] = guest.run("journalctl -q -o cat _COMM=spf-agent")[0]
    out["purge"] = guest.run("dpkg --purge spf-agent 2>&1")
    out["left"] = guest.run("ls -d /usr/bin/spf-agent /lib/systemd/system/spf-agent.service "
                            "/usr/lib/sysusers.d/spf-agent.conf /run/spf-agent.marks 2>/dev/null; "
                            "getent passwd spf-agent; getent group spf-agent")[0]
    return out


NEW = ("-object", f"memory-backend-ram,id=new,size={PAGES * 4096}", "-device",
       "ivshmem-plain,memdev=new")
# Where the device can be unplugged: not on the bus of q35 itself.
ROOT_PORT = ("-device", "pcie-root-port,id=root1,chassis=1")
# The scenario, the guest's device if it has one, and its other options.
SCENARIOS = {"faults": (faults, "kvm-spf", NEW), "stat": (stat, "kvm-spf", ()),
             "serve": (serve, "kvm-spf", ()), "absent": (absent, None, ()),
             "debian": (debian, "kvm-spf,id=spf0,bus=root1", ROOT_PORT)}


def main(argv):
    scenario, device, more = SCENARIOS[argv[1]]
    disk = ["-drive", f"file={argv[3]},format=raw,if=virtio,snapshot=on"] if argv[3:] else []
    with tempfile.TemporaryDirectory() as directory:
        path = directory + "/agent"
        guest = Guest(argv[2], directory, *more, *(agent.arguments(path, device) if device else ()),
                      *disk)
        guest.agent = path
        try:
            print(json.dumps(scenario(guest)))
        finally:
            guest.end()


if __name__ == "__main__":
    main(sys.argv)
