# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest lives on simulated hosts: QEMU, its guest and the load that compare has elsewhere, by
the same runner, with a host CPU for each vCPU.

A host is one boot, in which each kind has one life, in an order that its seed gives."""

import json
import os
import tempfile
import threading
from pathlib import Path

from spf import paths, series, ui
from spf.build import meson
from spf.compare import hosts, loads, plan, simulated
from spf.lab import bundle, simulate, x86

PYTHON = Path("/usr/bin/python3")
# Parts of Python's library that are large, and that no program here uses.
NOT_NEEDED = {"test", "tests", "idlelib", "lib2to3", "ensurepip", "pydoc_data"}
# The least MiB of data for each server: with so much the host's locks show in a load
# (docs/scaling.md).
DATA_MIB = 16
# MiB of the host besides its guest: the unpacked files, and the kernel.
OWN_MIB = 3072
# Seconds of a boot or a load, by the simulated clock.
TIMEOUT = 300


def library():
    """Python's files: path in the simulated host -> path here."""
    where = Path("/usr/lib") / PYTHON.resolve().name
    found = {str(p).lstrip("/"): p for p in where.rglob("*") if p.is_file()
             and not NOT_NEEDED & set(p.parts) and not p.parent.name.startswith("config-")}
    for module in ("_ctypes", "_json", "_socket", "select"):
        for path in (where / "lib-dynload").glob(f"{module}.*"):
            found |= simulate.libraries(path)
    return found | {str(PYTHON).lstrip("/"): PYTHON.resolve(), **simulate.libraries(PYTHON)}


def data_mib(data, servers):
    """The data of a guest for compare's --data, which may be None."""
    return data and max(data, DATA_MIB * servers)


def guest_mib(load, vcpus, data):
    """What the load needs, in whole MiB for each NUMA node."""
    nodes = simulated.shape(vcpus)[2]
    return -(-loads.memory_needed_mib(load, data, vcpus, vcpus) // nodes) * nodes


def host_mib(load, vcpus, data):
    return OWN_MIB + guest_mib(load, vcpus, data)


class Lives:
    """Guest lives: each guest has @vcpus vCPUs, as many servers, and @data MiB for all of them, or
    None if the load has none."""

    def __init__(self, load, vcpus, data, modes, vmms, **machine):
        self.load, self.vcpus, self.data, self.modes, self.vmms, self.machine = (
            load, vcpus, data, modes, vmms, machine)
        self.stop = threading.Event()
        self.memory = guest_mib(load, vcpus, data)
        self.host_mib = host_mib(load, vcpus, data)
        self.manifest = loads.ensure(str(paths.BUILD / "compare"), load, data, vcpus)
        qemu = series.qemu()
        self.qemu = paths.BUILD / "compare" / "qemu-stripped"
        new = self.qemu.with_suffix(f".{os.getpid()}")
        new.write_bytes(bundle.stripped(qemu))
        new.chmod(0o755)
        new.replace(self.qemu)
        self.files = {
            **library(), **simulate.libraries(qemu), "usr/bin/qemu": self.qemu,
            **{f"kvmspf/{file.relative_to(paths.SCRIPTS)}": file
               for file in (paths.SCRIPTS / "spf").rglob("*.py")},
            **{f"firmware/{Path(name).name}": Path(name) for name in bundle.FIRMWARE
               if Path(name).exists()},
            "guest/kernel": series.kernel(series.guest()),
            "guest/disk": Path(self.manifest["image"]),
            "guest/initramfs": hosts.initramfs(load, meson.agent())}

    def settings(self):
        return {"vcpus": self.vcpus, "servers": self.vcpus, "memory_mib": self.memory,
                "nodes": simulated.shape(self.vcpus)[2], "data_mib": self.data,
                "load": self.load, "keys": self.manifest["keys"],
                "snapshot_sha256": self.manifest["image_sha256"]}

    def plan(self, seed):
        nodes = x86.nodes(simulated.shape(self.vcpus)[2], self.memory << 20, self.vcpus)
        spec = {"qemu": ["/usr/bin/qemu", "-L", "/firmware", *nodes], "kernel": "/guest/kernel",
                "initramfs": "/guest/initramfs", "disk": "/guest/disk", "agent": True,
                "vcpus": self.vcpus, "memory_mib": self.memory, "servers": self.vcpus,
                "pages": "4k", "keys": self.manifest["answers"]}
        # Leave out the first job, the warm-up: a simulated host caches nothing outside itself.
        return {"spec": spec, "jobs": plan.jobs(self.modes, self.vmms, 1, seed)[1:], "stage": False,
                "max_discards": 2, "boot_timeout": TIMEOUT, "load_timeout": TIMEOUT}

    def on_all(self, seeds):
        """Yield the result of each host when it is done."""
        return simulated.on_each(list(seeds), lambda _: 1, self.on_host, self.stop,
                                 f"guests on {len(seeds)} simulated hosts", self.host_mib)

    def on_host(self, seed):
        """Run the runner on one host; return its runs and discards."""
        cpus, sockets, nodes = simulated.shape(self.vcpus)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(self.plan(seed), file)
            file.flush()
            machine = simulate.Simulated(
                cpus, sockets=sockets, nodes=nodes, seed=seed,
                files={**self.files, "plan.json": Path(file.name)},
                timeout=simulated.LIMIT * len(self.modes) * len(self.vmms),
                memory=self.host_mib << 20, **self.machine)
            machine.stop = self.stop
            done = machine.run([PYTHON, "/kvmspf/spf/compare/runner.py", "/plan.json"])
        events = []
        for line in done.out.decode(errors="replace").splitlines():
            try:
                events.append({**json.loads(line), "seed": seed})
            except ValueError:
                continue
        failed = hosts.trouble(done)
        if failed:
            ui.say(f"guests on a simulated host, seed {seed}: {failed}")
        return {"cpus": cpus, "sockets": sockets, "nodes": nodes, "seed": seed,
                "real_s": round(done.seconds, 1), "host_trouble": done.trouble,
                **({"failed": failed} if failed else {}),
                "runs": [e for e in events if e.get("event") == "run"],
                "discards": [e for e in events if e.get("event") == "discard"]}
