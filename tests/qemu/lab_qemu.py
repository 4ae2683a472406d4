# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab, as root: run a guest with the kvm-spf device on this host's KVM, and print the
results as JSON.

lab_qemu.py QEMU KERNEL INITRAMFS patched|migration
lab_qemu.py QEMU KERNEL INITRAMFS stock STREAM: STREAM is the guest that `migration` saved on the
patched host
"""

import ctypes
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.lib.wait import deleted, wait
from spf.lab.qmp import QMP, QMPError

TRACING = Path("/sys/kernel/tracing")
EVENT = TRACING / "events/kvm/kvm_hva_fault"
KVM_DEBUGFS = Path("/sys/kernel/debug/kvm")
PR_SET_THP_DISABLE = 41
PAGES = 4096
FRESH = 64 << 20
# For seconds: each collection is paid for by the sleep after it, but for those at the two ends.
HAMMER = 50000
LIMIT = 120


def no_huge_pages():
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


class Guest:
    def __init__(self, qemu, kernel, initramfs, accel, device, extra=()):
        self.directory = tempfile.TemporaryDirectory()
        words = [qemu, "-name", "guest,debug-threads=on",
                 "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                 "-M", "pc,usb=off,hpet=off",
                 "-accel", accel, "-cpu", "host,-svm", "-m", "192M", "-smp", "2,maxcpus=3",
                 "-serial", "stdio", "-qmp", f"unix:{self.directory.name}/qmp,server=on,wait=off",
                 "-device", f"kvm-spf,id=spf0{device}", "-kernel", kernel, "-initrd", initramfs,
                 # Warnings of the guest's kernel would interrupt the answers.
                 "-append", "console=ttyS0 loglevel=1 panic=-1 oops=panic", *extra]
        self.errors = open(f"{self.directory.name}/errors", "w+", encoding="utf-8",
                           errors="replace")
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors,
                                        bufsize=0, preexec_fn=no_huge_pages)
        self.qmp = QMP(f"{self.directory.name}/qmp", alive=lambda: self.process.poll() is None)
        self.text = b""
        if "-incoming" not in extra:
            self.answer("up")

    def answer(self, word, meanwhile=lambda: None):
        """The rest of the console's next line that has `word`.  Call meanwhile() again and again
        until then."""
        end = time.monotonic() + LIMIT
        pattern = re.compile(rb"@spf (%s|error)\b([^\n]*)\n" % word.encode())
        while not (found := pattern.search(self.text)):
            meanwhile()
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                data = self.process.stdout.read(65536)
                self.text += data
                if not data:
                    raise SystemExit(f"QEMU ended: {self.said()}")
            if time.monotonic() > end:
                raise SystemExit(f"the guest does not answer: {self.text[-2000:]!r} {self.said()}")
        if found[1] == b"error":
            raise SystemExit(f"guest: {found[2].decode()}")
        self.text = self.text[found.end():]
        return found[2].decode()

    def said(self):
        self.errors.seek(0)
        return self.errors.read().strip()

    def tell(self, line, word, meanwhile=lambda: None):
        self.process.stdin.write(line.encode() + b"\n")
        return self.answer(word, meanwhile)

    def read(self):
        return json.loads(self.tell("read", "read"))

    def query(self):
        return self.qmp.execute("query-kvm-spf", {"per-vcpu": True})

    def end(self):
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()


def counters(info):
    return [info[part] for part in ("faults", "aborts", "latency", "per-vcpu")]


def statistics(qmp):
    """The kernel's counts of each vCPU, by query-stats."""
    answer = qmp.execute("query-stats", {"target": "vcpu", "providers": [{"provider": "kvm"}]})
    vcpus = {vcpu["qom-path"]: vcpu["stats"] for vcpu in answer}
    return [{s["name"]: s["value"] for s in vcpus[cpu["qom-path"]]
             if s["name"].startswith(("hva_fault", "spf_abort"))}
            for cpu in sorted(qmp.execute("query-cpus-fast"), key=lambda cpu: cpu["cpu-index"])]


def trace(guest):
    """Count the tracepoint's events by tier: all of them, and those of the memory backend that the
    guest touches on command.  The guest's kernel may touch a page for the first time at any
    moment."""
    blocks = guest.qmp.execute("human-monitor-command", {"command-line": "info ramblock"})
    hva = int(re.search(r"fresh\b.*\b(0x[0-9a-f]+)\s+rw", blocks)[1], 16)
    for condition in ("", f" if hva >= {hva:#x} && hva < {hva + FRESH:#x}"):
        # opening the file with O_TRUNC removes its triggers
        with open(EVENT / "trigger", "a") as trigger:
            trigger.write(f"hist:keys=tier:size=128{condition}")


def traced():
    """Events of the tracepoint since trace(), by tier: all, and those of the backend."""
    seen = {}
    for text in (EVENT / "hist").read_text().split("# trigger info: ")[1:]:
        seen["fresh" if " if hva" in text.splitlines()[0] else "all"] = {
            int(tier): int(n) for tier, n in re.findall(r"\{ tier:\s+(\d+) \} hitcount:\s+(\d+)",
                                                        text)}
    return seen


def settled(guest):
    """Read the counters in all ways, while none of them changes."""
    for _ in range(50):
        before = guest.query()
        seen = {"bar": guest.read(), "stats": statistics(guest.qmp), "trace": traced(),
                "qmp": guest.query()}
        if counters(before) == counters(seen["qmp"]):
            return seen
    raise SystemExit("the guest's faults do not come to an end")


def refusals(qmp):
    said = []
    for mode in ("unavailable", "unknown", "maybe"):
        try:
            qmp.execute("kvm-spf-set-mode", {"mode": mode})
        except QMPError as error:
            said.append(str(error))
    return said


def reset(guest):
    """The counters of a guest that has had no fault since the reset, and those of the kernel."""
    guest.qmp.execute("stop")
    guest.qmp.execute("kvm-spf-reset")
    seen = {"stats": statistics(guest.qmp), "qmp": guest.query()}
    guest.qmp.execute("cont")
    return seen


def clear(guest):
    """The user clears a counter of the kernel: that of the tier that the guest has used most."""
    (KVM_DEBUGFS / "hva_fault_mmap_lock").write_text("0")
    return settled(guest)


def queried(guest, line, word):
    """The times in ms that QMP took to answer while the guest carried out a command."""
    took = []

    def query():
        start = time.monotonic()
        guest.qmp.execute("query-kvm-spf")
        took.append(1000 * (time.monotonic() - start))

    guest.tell(line, word, query)
    return took


def used(guest):
    """The CPU time of the device's thread, and the time of the clock, in ns."""
    task = next(t for t in Path(f"/proc/{guest.process.pid}/task").iterdir()
                if (t / "comm").read_text() == "kvm-spf\n")
    return int((task / "schedstat").read_text().split()[0]), time.monotonic_ns()


def hostile(guest):
    """A guest that stores to the device as fast as it can: the host neither collects as often nor
    waits for it."""
    before = guest.read()
    seen = {"quiet": queried(guest, "read", "read")}
    cpu, start = used(guest)
    seen["hammered"] = queried(guest, f"hammer {HAMMER}", "hammered")
    cpu_then, end = used(guest)
    return seen | {"used": cpu_then - cpu, "took": end - start, "before": before,
                   "after": guest.read()}


def plug(guest):
    """A third vCPU comes and goes: its counts stay in the total."""
    slot = next(c for c in guest.qmp.execute("query-hotpluggable-cpus") if "qom-path" not in c)
    guest.qmp.execute("device_add", {"driver": slot["type"], "id": "cpu2", **slot["props"]})
    more = guest.query()
    fds = len(list(Path(f"/proc/{guest.process.pid}/fd").iterdir()))
    guest.qmp.execute("device_del", {"id": "cpu2"})
    wait(lambda: guest.query()["vcpus"] == 2, "the vCPU is not unplugged")
    return {"more": more, "less": guest.query(),
            "fds": fds - len(list(Path(f"/proc/{guest.process.pid}/fd").iterdir()))}


def replug(guest):
    """The device is unplugged and another is plugged in, with the help of the guest's kernel.  The
    counts go on meanwhile."""
    before = guest.read()
    guest.qmp.execute("device_del", {"id": "spf0"})
    wait(lambda: deleted(guest.qmp, "spf0"), "the device is not unplugged")
    seen = {"before": before, "without": guest.query(), "gone": int(guest.tell("find", "found"))}
    guest.qmp.execute("device_add", {"driver": "kvm-spf", "id": "spf0", "per-vcpu": True})
    wait(lambda: int(guest.tell("find", "found")), "the guest does not find the device")
    return seen | {"again": settled(guest)}


def hidden_default(command):
    """The mode that QEMU shows where it cannot read the host's, and after one has been set."""
    with tempfile.TemporaryDirectory() as directory:
        words = [command[0], "-accel", "kvm", "-nodefaults", "-display", "none", "-S", "-qmp",
                 f"unix:{directory}/qmp,server=on,wait=off"]
        hide = 'mount -t tmpfs none /sys/module/kvm/parameters && exec "$@"'
        process = subprocess.Popen(["unshare", "--mount", "sh", "-c", hide, "sh", *words])
        qmp = QMP(f"{directory}/qmp", alive=lambda: process.poll() is None)
        modes = [qmp.execute("query-kvm-spf")["mode"]]
        qmp.execute("kvm-spf-set-mode", {"mode": "vma-lock"})
        modes.append(qmp.execute("query-kvm-spf")["mode"])
        process.kill()
        process.wait()
    return modes


def patched(command):
    guest = Guest(*command, "kvm,speculative-faults=on",
                  ",interval-ms=50,per-vcpu=on,fallback-threshold=1000",
                  ("-object", f"memory-backend-ram,id=fresh,size={FRESH}", "-device",
                   "ivshmem-plain,memdev=fresh"))
    trace(guest)
    # from now on the memory that the guest's program needs for this is there
    guest.tell("touch 0 0", "touched")
    seen = {"up": settled(guest)}
    for number, mode in enumerate(("on", "vma-lock", "off")):
        guest.qmp.execute("kvm-spf-set-mode", {"mode": mode})
        guest.tell(f"touch {number * PAGES} {PAGES}", "touched")
        seen[mode] = settled(guest)
        if mode == "vma-lock":
            guest.qmp.events.clear()
    seen["events"] = guest.qmp.events
    seen["zero"] = reset(guest)
    seen["reset"] = settled(guest)
    seen["cleared"] = clear(guest)
    seen["hmp"] = guest.qmp.execute("human-monitor-command", {"command-line": "info kvm-spf -v"})
    seen["interval"] = guest.qmp.execute("qom-get",
                                         {"path": "/machine/peripheral/spf0",
                                          "property": "interval-ms"})
    seen["refused"] = refusals(guest.qmp)
    seen["plug"] = plug(guest)
    seen["hostile"] = hostile(guest)
    seen["replug"] = replug(guest)
    seen["said"] = guest.said()
    guest.end()
    seen["hidden"] = hidden_default(command)
    return seen


def migrate(command, capabilities, mode=None):
    """Migrate to another QEMU on this host, while the guest stores to its pages.  With post-copy,
    most pages follow the guest."""
    source = Guest(*command, "kvm,speculative-faults=on", "")
    source.tell(f"touch 0 {PAGES}", "touched")
    seen = {"before": source.read()}
    if mode:
        source.qmp.execute("kvm-spf-set-mode", {"mode": mode})
    target = Guest(*command, "kvm,speculative-faults=vma-lock", ",interval-ms=50",
                   ("-incoming", "defer"))
    uri = f"unix:{target.directory.name}/migration"
    for qmp in (source.qmp, target.qmp):
        qmp.execute("migrate-set-capabilities",
                    {"capabilities": [{"capability": c, "state": True} for c in capabilities]})
    target.qmp.execute("migrate-incoming", {"uri": uri})
    source.qmp.execute("migrate-set-parameters", {"max-bandwidth": 1 << 20})
    source.qmp.execute("migrate", {"uri": uri})
    source.tell(f"churn {PAGES} {PAGES}", "churn")
    wait(lambda: source.qmp.execute("query-migrate")["status"] == "active",
         "migration does not begin")
    if capabilities:
        source.qmp.execute("migrate-start-postcopy")
    # A guest that stores all the time is never copied within the usual 300 ms.
    source.qmp.execute("migrate-set-parameters",
                       {"max-bandwidth": 1 << 40, "max-postcopy-bandwidth": 0,
                        "downtime-limit": 20000})
    wait(lambda: target.qmp.execute("query-status")["running"], "the guest does not arrive")
    seen["churned"] = [int(n) for n in target.tell("churned", "churned").split()]
    seen["right"] = int(target.tell(f"check 0 {PAGES}", "checked"))
    wait(lambda: source.qmp.execute("query-migrate")["status"] in ("completed", "failed"),
         "migration does not end")
    seen["status"] = source.qmp.execute("query-migrate")["status"]
    seen |= {"after": target.read(), "qmp": target.query(), "said": target.said(),
             "source": source.said()}
    source.end()
    target.end()
    return seen


def save(command):
    """A guest for a host without all of it."""
    guest = Guest(*command, "kvm,speculative-faults=on", "")
    guest.tell(f"touch 0 {PAGES}", "touched")
    seen = guest.read()
    guest.qmp.execute("migrate", {"uri": f"file:{os.environ['KVMSPF_OUT']}/stream"})
    wait(lambda: guest.qmp.execute("query-migrate")["status"] in ("completed", "failed"),
         "migration does not end")
    guest.end()
    return seen


def migration(command):
    return {"precopy": migrate(command, [], "off"),
            "postcopy": migrate(command, ["postcopy-ram"]), "saved": save(command)}


def stock(command, stream):
    guest = Guest(*command, "kvm,speculative-faults=on", "", ("-incoming", f"file:{stream}"))
    wait(lambda: guest.qmp.execute("query-status")["running"], "the guest does not arrive")
    seen = {"right": int(guest.tell(f"check 0 {PAGES}", "checked")), "bar": guest.read(),
            "qmp": guest.query(),
            "hmp": guest.qmp.execute("human-monitor-command", {"command-line": "info kvm-spf"}),
            "said": guest.said()}
    try:
        guest.qmp.execute("kvm-spf-set-mode", {"mode": "off"})
    except QMPError as error:
        seen["refused"] = str(error)
    guest.end()
    return seen


if __name__ == "__main__":
    scenario = {"patched": patched, "stock": stock, "migration": migration}[sys.argv[4]]
    print(json.dumps(scenario(sys.argv[1:4], *sys.argv[5:])))
