# SPDX-License-Identifier: GPL-2.0-or-later
"""One life of a guest under QEMU/KVM: start it, follow its marks, measure, and leave nothing
behind.

The marks of scripts/guest/init come from the guest agent, each with the host's time.  Without an
agent they come over the serial console, like the guest's other output.  This module reads the
console through a pipe, and stamps each mark with CLOCK_MONOTONIC of the guest's host when its line
arrives.
"""

import ctypes
import glob
import os
import select
import signal
import subprocess
import tempfile
import time

from spf import kvmparam
from spf.compare import agent
from spf.compare.busy import Busy
from spf.lab.qmp import QMP, QMPError, sum_vcpu_stats

# "debug" makes the kernel's real-mode code print its first words on the serial port, which ends the
# firmware's part.  "quiet", later on the line, silences the rest: each byte is an exit.  The
# kernel's configuration has 256 BSD terminals; creating them takes most of a second of an emulated
# boot.
COMMAND_LINE = "console=ttyS0 debug quiet earlyprintk=ttyS0 panic=-1 oops=panic pty.legacy_count=0"
FIRST_WORDS = b"early console"
# The guest's kernel is the lab's, with KVM built in.  If its CPU had svm or vmx, the kernel would
# start KVM and patch its code for that, which interrupts all vCPUs: seconds of a boot that have
# little to do with faults.
CPU = "host,svm=off,vmx=off"
CRASHES = (b"Kernel panic", b"BUG: ", b"Oops: ", b"double fault", b"general protection fault")

LOOK = 0.25     # seconds between two looks at how many faults there were

PR_SET_PDEATHSIG = 1
PR_SET_THP_DISABLE = 41


class Failure(Exception):
    """A run that is not comparable. `kind` is one of stall, crash, vmm, wrong-keys."""

    def __init__(self, kind, detail):
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


def child_setup(pages):
    libc = ctypes.CDLL(None, use_errno=True)

    def setup():
        os.setsid()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if pages == "4k":
            libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    return setup


class Guest:
    def __init__(self, spec):
        """Start QEMU.  The spec has qemu (a list), kernel, initramfs, disk, vcpus, memory_mib,
        pages and agent; for a guest that is no PC also machine, cpu and command_line."""
        self._dir = tempfile.TemporaryDirectory(prefix="kvmspf-guest-")
        self.qmp_path = os.path.join(self._dir.name, "qmp")
        # a QMP socket serves one client at a time
        self.busy_path = os.path.join(self._dir.name, "busy")
        self.marks = {}
        self.servers = {}
        self.console = b""
        self._errors = os.path.join(self._dir.name, "stderr")
        command = [
            *spec["qemu"], "-nodefaults", "-no-user-config", "-display", "none", "-vga", "none",
            "-no-reboot",
            "-M", spec.get("machine", "pc,usb=off,hpet=off,vmport=off"),
            "-accel", "kvm", "-cpu", spec.get("cpu", CPU),
            "-m", f"{spec['memory_mib']}M", "-smp", str(spec["vcpus"]),
            "-chardev", "stdio,id=con,signal=off", "-serial", "chardev:con",
            "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
            "-qmp", f"unix:{self.busy_path},server=on,wait=off",
            "-blockdev",
            f"driver=file,filename={spec['disk']},node-name=data,read-only=on,locking=off",
            "-device", "virtio-blk-pci,drive=data",
            "-kernel", spec["kernel"], "-initrd", spec["initramfs"],
            "-append", spec.get("command_line", COMMAND_LINE)]
        self._agent = None
        if spec.get("agent"):
            path = os.path.join(self._dir.name, "agent")
            command += agent.arguments(path)
            self._agent = agent.Agent(path)
        self.marks_from = "console"
        self._child = child_setup(spec.get("pages", "4k"))
        with open(self._errors, "wb") as errors:
            self.marks["start"] = time.monotonic()
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=errors, preexec_fn=self._child, bufsize=0)
        self._partial = b""
        self.faults = []        # (seconds from the start, faults so far)

    def _look(self):
        """Read the vCPUs' sum from debugfs, which does not interrupt them."""
        now = time.monotonic() - self.marks["start"]
        if self.faults and now - self.faults[-1][0] < LOOK:
            return
        for directory in glob.glob(f"/sys/kernel/debug/kvm/{self.process.pid}-*"):
            self.faults.append((round(now, 3), kvmparam.faults(directory)))

    def _line(self, line, now):
        line = line.strip(b"\r\0 ")
        words = line.decode(errors="replace").split()
        if any(c in line for c in CRASHES):
            self._pump(0.5)
            raise Failure("crash", "guest: " + line.decode(errors="replace")[:160])
        if "@spf" not in words:
            return
        words = words[words.index("@spf") + 1:]
        if words[:1] == ["error"]:
            raise Failure("crash", "guest: " + " ".join(words[1:]))
        if words[:1] == ["server"] and len(words) >= 3 and words[2].isdigit():
            self.servers[int(words[1])] = {"keys": int(words[2]), "seconds": now}
        elif words:
            self.marks.setdefault(words[0], now)

    def _pump(self, timeout):
        """Read the agent's port and the console; return False at the console's end."""
        self._look()
        ends = [self.process.stdout] + ([self._agent] if self._agent and self._agent.connected()
                                        else [])
        ready = select.select(ends, [], [], timeout)[0]
        if self._agent in ready:
            for name, when in self._agent.marks():
                self.marks.setdefault(name, when)
                self.marks_from = "agent"
        if self.process.stdout not in ready:
            return True
        data = os.read(self.process.stdout.fileno(), 65536)
        now = time.monotonic()
        if not data:
            return False
        self.console += data
        if "firmware" not in self.marks and FIRST_WORDS in self.console:
            self.marks["firmware"] = now
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._line(line, now)
        return True

    def stderr(self):
        try:
            with open(self._errors, encoding="utf-8", errors="replace") as f:
                return f.read().strip()
        except OSError:
            return ""

    def wait(self, mark, timeout):
        end = time.monotonic() + timeout
        while mark not in self.marks:
            if not self._pump(0.25):
                status = self.process.wait(timeout=10)
                raise Failure("crash" if status == 0 else "vmm",
                              f"QEMU ended with status {status} before '{mark}'"
                              + (f": {self.stderr().splitlines()[-1][:200]}" if self.stderr()
                                 else ""))
            if mark not in self.marks and time.monotonic() > end:
                raise Failure("stall", f"no '{mark}' within {timeout:.0f} s")

    def hear_out(self, servers, timeout=10):
        """Wait until the console has a line of each server: the agent's mark may overtake the last
        of them."""
        end = time.monotonic() + timeout
        while len(self.servers) < servers and time.monotonic() < end and self._pump(0.25):
            pass

    def say(self, text):
        self.process.stdin.write(text.encode() + b"\n")

    def end(self):
        """Kill QEMU, whatever its state."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self._agent:
            self._agent.close()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()
        self._dir.cleanup()


def counters(qmp, pid):
    """The vCPUs' counters, summed: by QMP's query-stats, or else by debugfs."""
    try:
        answer = qmp.execute("query-stats", {"target": "vcpu", "providers": [{"provider": "kvm"}]})
        found = sum_vcpu_stats(answer, kvmparam.COUNTERS)
        if found:
            return found
    except QMPError:
        pass
    found = {}
    for directory in glob.glob(f"/sys/kernel/debug/kvm/{pid}-*"):
        for name in kvmparam.COUNTERS:
            value = kvmparam.read(os.path.join(directory, name))
            if value is not None:
                found[name] = found.get(name, 0) + value
    return found or None


def _minus(after, before):
    if after is None:
        return None
    return {name: value - (before or {}).get(name, 0) for name, value in after.items()}


def registers(qmp, vcpus):
    """The state of every vCPU, and its interrupts that are due."""
    try:
        return "".join(f"(qemu) {line}\n" + qmp.execute("human-monitor-command",
                                                        {"command-line": line}, 5)
                       for line in ("info registers -a",
                                    *(f"info lapic {cpu}" for cpu in range(vcpus))))
    except QMPError as error:
        return str(error)


def live(spec, busy, boot_timeout, load_timeout):
    """Boot, load, measure, end.  Return the run's figures, or raise Failure."""
    guest = Guest(spec)
    work = qmp = None
    try:
        qmp = QMP(guest.qmp_path, alive=lambda: guest.process.poll() is None)
        if busy:
            work = Busy(guest.busy_path, guest.process.pid)
        guest.wait("ready", boot_timeout)
        booted = counters(qmp, guest.process.pid)

        began = time.monotonic()
        guest.say(f"load {spec['servers']}")
        guest.wait("loaded", load_timeout)
        loaded = counters(qmp, guest.process.pid)
        if work:
            work.stop()
            if work.error or not work.backends or not work.smaps_reads:
                raise Failure("vmm", work.error or "the busy VMM made no progress")

        guest.hear_out(len(spec["keys"]))
        keys = sum(s["keys"] for s in guest.servers.values())
        wrong = [i for i, want in enumerate(spec["keys"])
                 if guest.servers.get(i, {}).get("keys") != want]
        if wrong:
            raise Failure("wrong-keys", f"server {wrong[0]} has "
                                        f"{guest.servers.get(wrong[0], {}).get('keys')} keys, "
                          f"not {spec['keys'][wrong[0]]}")
        marks = guest.marks
        start = marks["start"]
        firmware = marks.get("firmware")
        return {
            "boot": {"total_s": marks["ready"] - start,
                     "firmware_s": firmware - start if firmware else None,
                     "kernel_s": marks["init"] - (firmware or start),
                     "userspace_s": marks["ready"] - marks["init"]},
            "load": {"began_s": began - start, "total_s": marks["loaded"] - began,
                     "servers_s": [round(guest.servers[i]["seconds"] - began, 4)
                                   for i in sorted(guest.servers)]},
            "keys": keys,
            "marks": guest.marks_from,
            "faults_over_time": guest.faults,
            "counters": {"boot": booted, "load": _minus(loaded, booted)},
            "busy": {"backends": work.backends, "smaps_reads": work.smaps_reads} if work else None,
        }
    except QMPError as error:
        raise Failure("vmm", f"{error} {guest.stderr()[-200:]}".strip()) from None
    except Failure as failure:
        failure.console = guest.console[-2000:].decode(errors="replace")
        if qmp and failure.kind in ("stall", "crash"):
            failure.registers = registers(qmp, spec["vcpus"])
        raise
    finally:
        guest.end()
        if work:
            work.stop()
