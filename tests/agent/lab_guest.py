#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab: one guest with the kvm-spf device and the agent's port, told what to do over its console.

usage: lab_guest.py SCENARIO INITRAMFS.  Prints what SCENARIO returns as JSON; test_guest.py knows what it has to be.
"""

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from spf import agent  # noqa: E402
from spf.guest import child_setup  # noqa: E402
from spf.qmp import QMP  # noqa: E402

LIMIT = 180
MIB = 1 << 20


class Lines:
    """Lines from a file descriptor."""

    def __init__(self, descriptor):
        self.descriptor, self.buffer = descriptor, b""

    def line(self, limit=LIMIT):
        end = time.monotonic() + limit
        while b"\n" not in self.buffer:
            if not select.select([self.descriptor], [], [], max(0, end - time.monotonic()))[0]:
                raise SystemExit(f"nothing came within {limit} s; there is {self.buffer!r}")
            data = os.read(self.descriptor, 65536)
            if not data:
                raise SystemExit(f"the other end is gone; there is {self.buffer!r}")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line


class Guest:
    def __init__(self, initramfs, directory, *more, vcpus=1, device=True):
        self.agent_path, qmp = directory + "/agent", directory + "/qmp"
        words = [os.environ["KVMSPF_QEMU"], "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                 "-M", "q35,usb=off,smbus=off,sata=off", "-accel", "kvm", "-cpu", "host", "-m", "768M", "-smp", str(vcpus),
                 "-chardev", "stdio,id=con,signal=off", "-serial", "chardev:con", "-qmp", f"unix:{qmp},server=on,wait=off",
                 "-kernel", os.environ["KVMSPF_GUEST_KERNEL"], "-initrd", initramfs, "-append", "console=ttyS0 quiet panic=-1"]
        words += agent.arguments(self.agent_path) if device else []
        # With huge pages of the host a fault would bring 512 pages.
        self.process = subprocess.Popen([*words, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        preexec_fn=child_setup("4k"))
        self.lines = Lines(self.process.stdout.fileno())
        self.qmp = QMP(qmp)
        self.result()

    def result(self):
        """What the last command printed, and its status."""
        said = []
        while not (line := self.lines.line().strip(b"\r\0 ")).startswith(b"@end "):
            said.append(line.decode(errors="replace"))
        return said, int(line.split()[1])

    def run(self, command):
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return self.result()

    def json(self, command):
        said, status = self.run(command)
        if status:
            raise SystemExit(f"{command}: status {status}: {said}")
        return json.loads(said[-1])

    def end(self):
        self.process.kill()
        self.process.wait()


class Port:
    """The host's end of the agent's port."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = Lines(self.socket.fileno())

    def ask(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        return json.loads(self.lines.line())

    def sync(self, number):
        self.socket.sendall(b'\xff{"execute":"guest-sync-delimited","arguments":{"id":%d}}\n' % number)
        while not (line := self.lines.line()).startswith(b"\xff"):
            pass
        return json.loads(line[1:])


# -- scenarios --

def resident(pid):
    """Pages that a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


def faults(guest):
    """New pages as `run` counts them, and by how many QEMU grew: some of the load's the guest had touched before."""
    out = {"snapshot": guest.json("spf-agent snapshot --json"), "query": guest.qmp.execute("query-kvm-spf"), "loads": []}
    for size in (64, 128):
        before = resident(guest.process.pid)
        counted = guest.json(f"spf-agent run --json -- spf-agent load -s {size}M >/dev/null 2>/tmp/run; cat /tmp/run")
        out["loads"].append({"pages": size * 256, "run": counted, "grown": resident(guest.process.pid) - before})
    out["text"] = guest.run("spf-agent run -- true 2>&1")
    return out


def stat(guest):
    """What a stat that looks ten times a second costs, by the scheduler's own count of its time on a CPU."""
    guest.run("spf-agent stat -i 0.1 >/tmp/stat & sleep 1")
    samples = []
    for pause in (0, 10):
        guest.run(f"sleep {pause}")
        said, _ = guest.run("cat /proc/uptime /proc/$!/schedstat; wc -l </tmp/stat")
        samples.append((float(said[0].split()[0]), int(said[1].split()[0]) / 1e9, int(said[2])))
    (t0, cpu0, lines0), (t1, cpu1, lines1) = samples
    return {"seconds": t1 - t0, "cpu_seconds": cpu1 - cpu0, "share": (cpu1 - cpu0) / (t1 - t0), "lines": lines1 - lines0}


def serve(guest):
    guest.run("spf-agent mark before")
    guest.run("spf-agent serve 2>/tmp/serve & sleep 1")
    out = {"status": guest.run("cat /proc/$!/status")[0]}
    port = Port(guest.agent_path)
    out["sync"] = port.sync(42)
    out["info"] = port.ask("guest-info")
    out["snapshot"] = port.ask("spf-snapshot")
    out["host_ns"] = [time.monotonic_ns(), port.ask("spf-mark", name="host")["return"]["host-ns"], time.monotonic_ns()]
    out["load"] = port.ask("spf-load", bytes=32 * MIB, pattern="random")
    out["after"] = port.ask("spf-snapshot")
    out["too_much"] = port.ask("spf-load", bytes=1 << 40)
    out["marks"] = port.ask("spf-marks", follow=True)
    guest.run("spf-agent mark guest")
    out["event"] = json.loads(port.lines.line())
    # The next host finds an agent that knows nothing of this one.
    port.socket.sendall(b'{"execute":"guest-pi')
    port.socket.close()
    time.sleep(1)
    port = Port(guest.agent_path)
    out["again"] = port.ask("guest-ping")
    out["said"] = guest.run("cat /tmp/serve")[0]
    port.socket.close()
    return out


def absent(guest):
    """No device and no port: each command says so once."""
    return {name: guest.run(f"spf-agent {name} 2>&1") for name in ("snapshot", "stat", "serve", "mark x", "run -- true")}


SCENARIOS = {"faults": (faults, {}), "stat": (stat, {}), "serve": (serve, {}), "absent": (absent, {"device": False})}


def main(argv):
    scenario, how = SCENARIOS[argv[1]]
    with tempfile.TemporaryDirectory() as directory:
        guest = Guest(argv[2], directory, **how)
        try:
            print(json.dumps(scenario(guest)))
        finally:
            guest.end()


if __name__ == "__main__":
    main(sys.argv)
