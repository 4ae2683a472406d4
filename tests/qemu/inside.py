# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in the lab, as root: a guest with the kvm-spf device on this host's KVM; prints what was seen as JSON.

inside.py QEMU KERNEL INITRAMFS patched|stock|migration
"""

import ctypes
import json
import re
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from spf.qmp import QMP, QMPError  # noqa: E402

TRACING = Path("/sys/kernel/tracing")
EVENT = TRACING / "events/kvm/kvm_hva_fault"
PR_SET_THP_DISABLE = 41
PAGES = 4096
LIMIT = 120


class Guest:
    def __init__(self, qemu, kernel, initramfs, accel, device, extra=()):
        self.directory = tempfile.TemporaryDirectory()
        words = [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                 "-M", "pc,usb=off,hpet=off",
                 "-accel", accel, "-cpu", "host,-svm", "-m", "192M", "-smp", "2,maxcpus=3",
                 "-serial", "stdio", "-qmp", f"unix:{self.directory.name}/qmp,server=on,wait=off",
                 "-device", f"kvm-spf,id=spf0{device}", "-kernel", kernel, "-initrd", initramfs,
                 # Warnings of its kernel would end up in the middle of the answers.
                 "-append", "console=ttyS0 loglevel=1 panic=-1 oops=panic", *extra]
        self.errors = open(f"{self.directory.name}/errors", "w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        bufsize=0, preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
        self.qmp = QMP(f"{self.directory.name}/qmp", alive=lambda: self.process.poll() is None)
        self.text = b""
        if "-incoming" not in extra:
            self.answer("up")

    def answer(self, word):
        """The rest of the console's next line that says `word`."""
        end = time.monotonic() + LIMIT
        pattern = re.compile(rb"@spf (%s|error)\b([^\n]*)\n" % word.encode())
        while not (found := pattern.search(self.text)):
            if select.select([self.process.stdout], [], [], 1)[0]:
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

    def tell(self, line, word):
        self.process.stdin.write(line.encode() + b"\n")
        return self.answer(word)

    def read(self):
        return json.loads(self.tell("read", "read"))

    def query(self):
        return self.qmp.execute("query-kvm-spf", {"per-vcpu": True})

    def end(self):
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()


def wait(until, what):
    end = time.monotonic() + LIMIT
    while not until():
        if time.monotonic() > end:
            raise SystemExit(what)
        time.sleep(0.1)


def counters(info):
    return [info[part] for part in ("faults", "aborts", "latency", "per-vcpu")]


def statistics(qmp):
    """What the kernel counts, by query-stats, of each vCPU."""
    answer = qmp.execute("query-stats", {"target": "vcpu", "providers": [{"provider": "kvm"}]})
    vcpus = {vcpu["qom-path"]: vcpu["stats"] for vcpu in answer}
    return [{s["name"]: s["value"] for s in vcpus[cpu["qom-path"]]
             if s["name"].startswith(("hva_fault", "spf_abort"))}
            for cpu in sorted(qmp.execute("query-cpus-fast"), key=lambda cpu: cpu["cpu-index"])]


def traced():
    """Events of the tracepoint so far, by tier."""
    return {int(tier): int(n) for tier, n in
            re.findall(r"\{ tier:\s+(\d+) \} hitcount:\s+(\d+)", (EVENT / "hist").read_text())}


def settled(guest):
    """All ways to see the counters, at a time when none of them moves."""
    for _ in range(50):
        before = guest.query()
        seen = {"bar": guest.read(), "stats": statistics(guest.qmp), "trace": traced(), "qmp": guest.query()}
        if counters(before) == counters(seen["qmp"]):
            return seen
    raise SystemExit("the guest's faults do not come to an end")


def refusals(qmp):
    said = []
    for mode in ("unavailable", "maybe"):
        try:
            qmp.execute("kvm-spf-set-mode", {"mode": mode})
        except QMPError as error:
            said.append(str(error))
    return said


def plug(guest):
    """A third vCPU comes and goes: what it has counted stays in the total."""
    slot = next(c for c in guest.qmp.execute("query-hotpluggable-cpus") if "qom-path" not in c)
    guest.qmp.execute("device_add", {"driver": slot["type"], "id": "cpu2", **slot["props"]})
    more = guest.query()
    fds = len(list(Path(f"/proc/{guest.process.pid}/fd").iterdir()))
    guest.qmp.execute("device_del", {"id": "cpu2"})
    wait(lambda: guest.query()["vcpus"] == 2, "the vCPU is not unplugged")
    return {"more": more, "less": guest.query(),
            "fds": fds - len(list(Path(f"/proc/{guest.process.pid}/fd").iterdir()))}


def patched(command):
    (EVENT / "trigger").write_text("hist:keys=tier:size=128")
    guest = Guest(*command, "kvm,speculative-faults=on", ",interval-ms=50,per-vcpu=on,fallback-threshold=1000",
                  ("-object", "memory-backend-ram,id=fresh,size=64M", "-device", "ivshmem-plain,memdev=fresh"))
    guest.tell("touch 0 0", "touched")    # what the guest's program needs for it is there from now on
    seen = {"up": settled(guest)}
    for number, mode in enumerate(("on", "vma-lock", "off")):
        guest.qmp.execute("kvm-spf-set-mode", {"mode": mode})
        guest.tell(f"touch {number * PAGES} {PAGES}", "touched")
        seen[mode] = settled(guest)
        if mode == "vma-lock":
            guest.qmp.events.clear()
    seen["events"] = guest.qmp.events
    guest.qmp.execute("kvm-spf-reset")
    seen["reset"] = settled(guest)
    seen["hmp"] = guest.qmp.execute("human-monitor-command", {"command-line": "info kvm-spf -v"})
    seen["interval"] = guest.qmp.execute("qom-get", {"path": "/machine/peripheral/spf0", "property": "interval-ms"})
    seen["refused"] = refusals(guest.qmp)
    seen["plug"] = plug(guest)
    seen["said"] = guest.said()
    guest.end()
    return seen


def migrate(command, capabilities):
    """To another QEMU on this host, while the guest touches pages; with post-copy, most of them come after it."""
    source = Guest(*command, "kvm,speculative-faults=on", "")
    source.tell(f"touch 0 {PAGES}", "touched")
    seen = {"before": source.read()}
    target = Guest(*command, "kvm,speculative-faults=vma-lock", ",interval-ms=50", ("-incoming", "defer"))
    uri = f"unix:{target.directory.name}/migration"
    for qmp in (source.qmp, target.qmp):
        qmp.execute("migrate-set-capabilities",
                    {"capabilities": [{"capability": c, "state": True} for c in capabilities]})
    target.qmp.execute("migrate-incoming", {"uri": uri})
    source.qmp.execute("migrate-set-parameters", {"max-bandwidth": 1 << 20})
    source.qmp.execute("migrate", {"uri": uri})
    source.tell(f"touch {PAGES} {PAGES}", "touched")
    seen["status"] = [source.qmp.execute("query-migrate")["status"]]
    if capabilities:
        source.qmp.execute("migrate-start-postcopy")
    source.qmp.execute("migrate-set-parameters", {"max-bandwidth": 1 << 40, "max-postcopy-bandwidth": 0})
    wait(lambda: target.qmp.execute("query-status")["running"], "the guest does not arrive")
    seen["right"] = int(target.tell(f"check 0 {2 * PAGES}", "checked"))
    wait(lambda: source.qmp.execute("query-migrate")["status"] in ("completed", "failed"), "migration does not end")
    seen["status"].append(source.qmp.execute("query-migrate")["status"])
    seen |= {"after": target.read(), "qmp": target.query(), "said": target.said()}
    source.end()
    target.end()
    return seen


def migration(command):
    return {"precopy": migrate(command, []), "postcopy": migrate(command, ["postcopy-ram"])}


def stock(command):
    guest = Guest(*command, "kvm,speculative-faults=on", "")
    seen = {"bar": guest.read(), "qmp": guest.query(), "said": guest.said(),
            "hmp": guest.qmp.execute("human-monitor-command", {"command-line": "info kvm-spf"})}
    try:
        guest.qmp.execute("kvm-spf-set-mode", {"mode": "off"})
    except QMPError as error:
        seen["refused"] = str(error)
    guest.end()
    return seen


print(json.dumps({"patched": patched, "stock": stock, "migration": migration}[sys.argv[4]](sys.argv[1:4])))
