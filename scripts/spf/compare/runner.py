# SPDX-License-Identifier: GPL-2.0-or-later
"""compare's half on the host with KVM: work off a plan of guest lives and storms, print each as one
line of JSON.

usage: runner.py PLAN.  The host may die meanwhile (it can be an emulated one), so print each result
before the next life starts.  compare then starts a new host for the rest of the plan.
"""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.abspath(__file__).rsplit("/", 3)[0])

from spf import kvmparam  # noqa: E402
from spf.compare import guest  # noqa: E402

GAVE_UP = 5
TROUBLE = re.compile(r"BUG: |Oops: |WARNING: |INFO: rcu|INFO: task .* blocked|general "
                     r"protection|soft lockup")


def tell(event, **fields):
    os.write(1, (json.dumps({"event": event, **fields}) + "\n").encode())


def hopeless(was):
    """Give up if a life outlasts even its own timeouts: the host does not work any more.  QEMU dies
    with this process."""
    tell("sick", detail="a guest life did not even time out")
    if was is not None:
        kvmparam.write(was)
    os._exit(3)


class KernelLog:
    """Messages of trouble in this host's kernel log since the last call."""

    def __init__(self):
        try:
            self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            self._fd = None
        self.trouble()

    def trouble(self):
        found = []
        while self._fd is not None:
            try:
                record = os.read(self._fd, 8192).decode(errors="replace")
            except BlockingIOError:
                break
            except OSError:     # EPIPE: the kernel has overwritten records; go on with the next.
                continue
            text = record.split(";", 1)[-1].split("\n", 1)[0]
            if TROUBLE.search(text):
                found.append(text[:200])
        return found


def describe_host():
    def first(path, default=None):
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                return f.read().strip()
        except OSError:
            return default

    cpuinfo = first("/proc/cpuinfo", "")
    flags = cpuinfo.split("flags", 1)[-1].split("\n", 1)[0].split()
    npt = first("/sys/module/kvm_amd/parameters/npt")
    ept = first("/sys/module/kvm_intel/parameters/ept")
    model = re.search(r"^(?:model name|cpu)\s*:\s*(.*)$", cpuinfo, re.M)
    memory = re.search(r"^MemTotal:\s*(\d+)", first("/proc/meminfo", ""), re.M)
    return {
        "kernel": platform.release(), "kernel_build": platform.version(),
        "cpus": os.cpu_count(), "cpu_model": model.group(1) if model else None,
        "memory_mib": int(memory.group(1)) // 1024 if memory else None,
        "hypervisor": "hypervisor" in flags,
        # Both modules can be built in: the CPU decides which of them is in use.
        "mmu": ("AMD NPT" if "svm" in flags and npt in ("Y", "1") else
                "Intel EPT" if "vmx" in flags and ept in ("Y", "1") else
                "POWER radix" if re.search(r"^MMU\s*: Radix", cpuinfo, re.M) else None),
        "page_kib": os.sysconf("SC_PAGE_SIZE") >> 10,
        "thp": first("/sys/kernel/mm/transparent_hugepage/enabled"),
        "modes": kvmparam.present(),
    }


def stage(spec, directory):
    """Copy the files that each life reads to memory, so that no life's time depends on how this
    host reaches them."""
    for name in ("kernel", "initramfs", "disk"):
        target = os.path.join(directory, name)
        shutil.copyfile(spec[name], target)
        spec[name] = target


class Timeouts:
    """The timeout of a life: generous until three runs are good, then several times the slowest of
    these."""

    def __init__(self, first, factor=5, least=30):
        self._first, self._factor, self._least = first, factor, least
        self._seen = []

    def add(self, seconds):
        self._seen.append(seconds)

    def get(self):
        if len(self._seen) < 3:
            return self._first
        return min(self._first, max(self._least, self._factor * max(self._seen)))


def one_life(spec, job, timeouts):
    if job["mode"] in kvmparam.MODES:
        kvmparam.write(kvmparam.MODES[job["mode"]])
    began = time.monotonic()
    signal.alarm(int(timeouts["boot"].get() + timeouts["load"].get()) + 60)
    figures = guest.live(spec, job["vmm"] == "busy", timeouts["boot"].get(), timeouts["load"].get())
    timeouts["boot"].add(figures["boot"]["total_s"])
    timeouts["load"].add(figures["load"]["total_s"])
    return {**figures, "life_s": time.monotonic() - began}


def one_storm(program, job):
    """Run fault-storm and return its JSON."""
    limit = 60 + 10 * job["seconds"]
    signal.alarm(limit + 60)
    try:
        done = subprocess.run([program, *job["storm"], "--json", "-"], capture_output=True,
                              text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise guest.Failure("stall", f"fault-storm did not end within {limit} s") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["wrong contents"])[-1]
        raise guest.Failure("vmm", f"fault-storm: {said[:200]}")
    return json.loads(done.stdout)


def work(plan, spec):
    timeouts = {"boot": Timeouts(plan["boot_timeout"]), "load": Timeouts(plan["load_timeout"])}
    kernel_log = KernelLog()
    jobs = list(plan["jobs"])
    discards = plan["max_discards"]
    while jobs:
        job = jobs.pop(0)
        tell("begin", **job)
        try:
            if "storm" in job:
                tell("storm", id=job["id"], vmm=job["vmm"], **one_storm(spec["storm"], job),
                     host_trouble=kernel_log.trouble())
            else:
                tell("run", **job, **one_life(spec, job, timeouts),
                     host_trouble=kernel_log.trouble())
        except guest.Failure as failure:
            tell("discard", **job, kind=failure.kind, detail=failure.detail,
                 console=getattr(failure, "console", ""),
                 registers=getattr(failure, "registers", ""),
                 host_trouble=kernel_log.trouble())
            discards -= 1
            if discards < 0:
                tell("giving-up", detail="too many runs had to be thrown away")
                return GAVE_UP
            jobs.insert(min(len(jobs), 2), job)
    tell("end")
    return 0


def main(argv):
    with open(argv[1], encoding="utf-8") as f:
        plan = json.load(f)
    was = kvmparam.read()
    signal.signal(signal.SIGALRM, lambda *_: hopeless(was))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tell("host", **describe_host())
    if was is None and any(job["mode"] in kvmparam.MODES for job in plan["jobs"]):
        print("this host's kernel has no parameter speculative_faults", file=sys.stderr)
        return 4
    with tempfile.TemporaryDirectory(prefix="kvmspf-") as directory:
        spec = dict(plan["spec"])
        if plan["stage"]:
            stage(spec, directory)
        try:
            return work(plan, spec)
        finally:
            if was is not None:
                kvmparam.write(was)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
