# SPDX-License-Identifier: GPL-2.0-or-later
"""Fault storms on simulated hosts of many CPUs (spf.lab.simulate), two hosts at a time.

A host is one boot, in which all of its storms run one after the other, each vCPU on a CPU of its
own.  16 vCPUs share a NUMA node and 64 a socket, and each node has one CPU more, for the VMM's
threads.  A host gives the same result each time.  Results differ from seed to seed as runs differ
elsewhere.
"""

import json
import os
import re
import shlex
import tempfile
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from spf import ui
from spf.build import meson
from spf.lab import holders, simulate

A_NODE, A_SOCKET, MOST = 16, 64, 128
SIZES = (1, 8, 16, 32, 64, 128)
# Pages of each vCPU, and boots of each host: as many as compare has time for.  An interval of 95 %
# needs at least four boots.
PAGES, SEEDS = 128, 4
PAGE, TABLE = 4096, 512
# What the guest's memory may be: fault-storm's backing, the bytes from one touch to the next (None:
# stride()), and what to do on the host first.
MTHP = "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled"
BACKINGS = {"anon": ("anon", None, "true"), "memfd": ("memfd", None, "true"),
            "mthp": ("plain", None, f"echo always >{MTHP}"), "thp": ("thp", 2 << 20, "true")}
# The work of a busy VMM's thread, as in compare's other storms.
BUSY = "mmap"
# Seconds of real time for one host.  Other work may run beside it.
LIMIT = 3600
# The emulator's memory for a host of 136 CPUs.
HOST_MIB = 2000


def free_mib():
    with open("/proc/meminfo", encoding="ascii") as f:
        return int(re.search(r"MemAvailable:\s+(\d+)", f.read())[1]) >> 10


def at_once(host_mib):
    """How many hosts this machine has cores and memory for."""
    return max(1, min(2, len(os.sched_getaffinity(0)), free_mib() // host_mib))


def shape(vcpus, a_node=A_NODE):
    """CPUs, sockets and nodes of a host."""
    nodes, sockets = -(-vcpus // a_node), -(-vcpus // A_SOCKET)
    nodes = -(-nodes // sockets) * sockets
    return (-(-vcpus // nodes) + 1) * nodes, sockets, nodes


def sizes(most):
    return [n for n in SIZES if n < most] + [most]


def hosts(counts):
    """Lists of vCPU counts that share a host, the largest first.  All counts that fit into one
    socket share one."""
    small = [n for n in counts if n <= A_SOCKET]
    return [[n] for n in sorted(counts, reverse=True) if n > A_SOCKET] + ([small] if small else [])


def turned(items, seed):
    return [items[(i + seed) % len(items)] for i in range(len(items))]


def stride(pages):
    """Bytes from one touch to the next, so that no two vCPUs share a page table.  With more pages
    they would not, either."""
    return PAGE * max(1, TABLE // pages)


def words(program, vcpus, neighbour, modes, pages, backing, more=()):
    names = ",".join("default" if mode == "stock" else mode for mode in modes)
    return [str(word) for word in (
        program, "--pin", "--middle", "--vcpus", vcpus, "--pages", vcpus * pages,
        "--backing", BACKINGS[backing][0], "--stride", BACKINGS[backing][1] or stride(pages),
        "--mode", names, "--json", "-",
        *(["--neighbour", neighbour] if neighbour else []), *more)]


def documents(text):
    """One JSON value after the other."""
    decoder, at = json.JSONDecoder(), 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        one, at = decoder.raw_decode(text, at)
        yield one


def on_each(points, weigh, run, stop, name, host_mib=HOST_MIB):
    """Run each point, at_once() of them at a time.  Yield the result of each when it is done.
    @weigh(point) is the point's relative time.  @stop ends the points that run."""
    weight = {point: weigh(point) for point in points}
    begun, done = time.monotonic(), 0
    with ui.Progress(name) as progress, ThreadPoolExecutor(at_once(host_mib)) as pool:
        left = {pool.submit(run, point): point for point in points}
        try:
            while left:
                for job in wait(left, 1, FIRST_COMPLETED).done:
                    done += weight[left.pop(job)]
                    progress.usual = (time.monotonic() - begun) * sum(weight.values()) / done
                    yield job.result()
                progress(f"{len(points) - len(left)} done,")
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


class Storms:
    """The storms to run on each host: @neighbours, a list of fault-storm's kinds, None for a quiet
    VMM.

    @profiled: the seeds for which to record what CPUs waited for; @a_node: the vCPUs of a NUMA
    node; @backing: one of BACKINGS; @more: more words for fault-storm; @machine: arguments of
    simulate.Simulated besides shape and seed."""

    def __init__(self, neighbours, modes, pages=PAGES, profiled=(), a_node=A_NODE, backing="anon",
                 more=(), **machine):
        self.profiled, self.a_node, self.backing, self.more = profiled, a_node, backing, more
        self.neighbours, self.modes, self.pages, self.machine = neighbours, modes, pages, machine
        self.program, self.stop = meson.bench() / "fault-storm", threading.Event()
        # Build these here, before two hosts at once want to.
        meson.plugins(machine.get("qemu", "patched"))
        meson.lab_init()

    def quantum(self):
        return self.machine.get("quantum", simulate.QUANTUM)

    def settings(self):
        return {"instruction_ns": 1, "quantum_ns": self.quantum(),
                "line_ns": list(self.machine.get("line", simulate.LINE)),
                "pages": self.pages,
                "stride": BACKINGS[self.backing][1] or stride(self.pages),
                "node_vcpus": self.a_node, "socket_vcpus": A_SOCKET}

    def on_host(self, counts, seed):
        """Boot a host, and run all storms there.  Return its object in results.json, with the
        storms."""
        if seed not in self.profiled:
            return self.boot(counts, seed)
        with tempfile.NamedTemporaryFile(prefix="kvmspf-lines-") as profile:
            return self.boot(counts, seed, profile.name)

    def boot(self, counts, seed, profile=None):
        cpus, sockets, nodes = shape(max(counts), self.a_node)
        jobs = turned([(n, kind) for n in counts for kind in self.neighbours], seed)
        modes = turned(self.modes, seed)
        script = " && ".join([BACKINGS[self.backing][2], *(
            shlex.join(words(self.program, n, kind, modes, self.pages, self.backing, self.more))
            for n, kind in jobs)])
        machine = simulate.Simulated(cpus, sockets=sockets, nodes=nodes, seed=seed, timeout=LIMIT,
                                     files=simulate.programs(), profile=profile, **self.machine)
        machine.stop = self.stop
        done = machine.run(["sh", "-c", script, "sh", self.program])
        host = {"cpus": cpus, "sockets": sockets, "nodes": nodes, "seed": seed,
                "real_s": round(done.seconds, 1), "host_trouble": done.trouble}
        if (done.kind, done.status) != ("exit", 0):
            said = done.out.decode(errors="replace").strip().splitlines()
            why = done.what or (said[-1] if said else f"status {done.status}")
            return {**host, "failed": f"{done.kind}: {why[:200]}"}
        up, end = done.inside
        storms = [{**found, "neighbour": kind, "seed": seed}
                  for (_, kind), found in zip(jobs, documents(done.out.decode()))]
        if profile:
            runs = [run for storm in storms for run in storm["runs"]]
            held = holders.of_runs(profile, machine.symbols(), [n for n, _ in jobs for _ in modes],
                                   self.quantum())
            for run, of_run in zip(runs, held):
                run["held"] = of_run
        return {**host, "boot_s": up, "storms_s": end - up, "storms": storms}

    def on_all(self, counts, seeds):
        """Run each host with each seed.  Yield the result of each when it is done."""
        points = [(tuple(of_host), seed) for seed in seeds for of_host in hosts(counts)]
        # An estimate: the boot, and the touches of the vCPUs.
        return on_each(points, lambda point: 20 + sum(point[0]) / 2,
                       lambda point: self.on_host(*point), self.stop,
                       f"storms on {len(points)} simulated hosts")
