# SPDX-License-Identifier: GPL-2.0-or-later
"""Made-up results in the format of results.json, only for tests of the table and the report.  They
are no measurements."""

import random

from spf.report import words
from spf.compare import figures, loads, plan


def latency(rng, middle):
    """A histogram of 2000 touches of about so many ns, as fault-storm writes it.  A sample has 450
    of them: draw a tenth of the touches."""
    counts = {}
    for _ in range(200):
        ns = int(middle * rng.lognormvariate(0, 0.4)) // 1000 * 1000
        counts[ns] = counts.get(ns, 0) + 10
    return {"count": 2000, "p50": middle, "max": max(counts),
            "histogram": [list(pair) for pair in sorted(counts.items())]}


def storms(rng, modes, runs, counted, counts=(1, 2, 4, 8)):
    for vmm in ("quiet", "busy"):
        for vcpus in counts:
            made = []
            for mode in list(modes) * runs:
                times = {"on": 1.3, "vma-lock": 1.1}.get(mode, 1 if vmm == "quiet" else 0.1)
                rate = 12000 * vcpus ** 0.5 * rng.uniform(0.9, 1.1) * times
                made.append({"mode": mode.replace("stock", "default"), "rate": rate,
                             "seconds": 2000 / rate, "touched": 2000,
                             "latency_ns": latency(rng, int(1e9 * vcpus / rate)),
                             "tiers": {"fast": 4, "mmap_lock": 1996} if counted else None,
                             "neighbours": [{"kind": "mmap", "threads": 1,
                                             "latency_ns": latency(rng, 50000)}] * (vmm == "busy")})
            yield {"vmm": vmm, "config": {"vcpus": vcpus, "size": vcpus << 23}, "runs": made,
                   "host_trouble": []}


def simulated(rng, modes, seeds):
    """The object that figures.simulated() makes: a run of each mode of each seed."""
    found = [{**storm, "seed": seed} for seed in range(1, seeds + 1)
             for storm in storms(rng, modes, 1, True, (1, 8, 16, 32, 64, 128))]
    hosts = [{"cpus": cpus, "sockets": cpus // 68, "nodes": cpus // 17, "seed": seed,
              "real_s": 30.0, "boot_s": 0.7, "storms_s": 0.4, "host_trouble": []}
             for seed in range(1, seeds + 1) for cpus in (136, 68)]
    return {"instruction_ns": 1, "quantum_ns": 200, "line_ns": [50, 150], "pages": 256,
            "stride": 8192, "node_vcpus": 16, "socket_vcpus": 64,
            "seeds": list(range(1, seeds + 1)),
            "seconds": 200.0, "vmm": ["quiet", "busy"], "hosts": hosts, "storms": found,
            "lives": lives(rng, modes, seeds)}


def lives(rng, modes, seeds):
    runs = []
    for seed in range(1, seeds + 1):
        for job in plan.jobs(list(modes), ["quiet", "busy"], 1, seed)[1:]:
            total = (0.8 if job["mode"] == "off" else 0.7) * rng.uniform(0.95, 1.05)
            parts = {"firmware_s": total / 4, "kernel_s": total / 2, "userspace_s": total / 4}
            runs.append({**job, "seed": seed, "boot": {"total_s": total, **parts},
                         "load": {"began_s": total, "total_s": total / 5, "servers_s": [0.1]},
                         "counters": {"boot": {}, "load": {}}})
    return {"vcpus": 32, "servers": 32, "memory_mib": 1024, "data_mib": 64, "load": "redis",
            "keys": 15800, "snapshot_sha256": "0" * 64, "hosts": [], "runs": runs, "discards": []}


def results(modes=("off", "vma-lock", "on"), runs=5, counted=True, discards=True, load="redis"):
    rng = random.Random(7)
    factor = {"off": 1.0, "vma-lock": 0.8, "on": 0.7, "stock": 1.0}
    tier = {"off": "hva_fault_mmap_lock", "vma-lock": "hva_fault_vma_lock",
            "on": "hva_fault_speculative"}
    made = []
    for job in plan.jobs(list(modes), ["quiet", "busy"], runs, 1)[1:]:
        k = (factor[job["mode"]] if job["vmm"] == "busy"
             else factor[job["mode"]] ** 0.1) * rng.uniform(0.95, 1.06)
        k *= 2.2 if job["vmm"] == "busy" else 1
        parts = {"firmware_s": 0.8 * k, "kernel_s": 4.6 * k, "userspace_s": 0.7 * k}
        boot, loading = {"pf_taken": 25000, "exits": 60000}, {"pf_taken": 21000, "exits": 38000}
        if counted:
            boot |= {"hva_fault_fast": 1500, tier[job["mode"]]: 22000, "hva_fault_mmap_lock": 22000
                     if job["mode"] == "off" else 40}
            loading |= {"hva_fault_fast": 900, tier[job["mode"]]: 20100,
                        "hva_fault_mmap_lock": 20100 if job["mode"] == "off" else 3}
        made.append({**job, "boot": {"total_s": sum(parts.values()), **parts},
                     "load": {"began_s": 6.15 * k, "total_s": 5.1 * k, "servers_s": [5.0 * k]},
                     "faults_over_time": [[i / 4, 800 * i + rng.randrange(500)]
                                          for i in range(int(45 * k))],
                     "keys": 15800, "counters": {"boot": boot, "load": loading},
                     "busy": {"backends": 80, "smaps_reads": 60} if job["vmm"] == "busy" else None,
                     "life_s": 13 * k, "host_trouble": []})
    thrown = [{**made[0], "kind": "stall", "detail": "no 'ready' within 138 s",
               "console": ""}] if discards else []
    host = {"kernel": "1.2.3", "kernel_build": "#1 SMP", "cpus": 2,
            "cpu_model": "AMD EPYC Processor", "memory_mib": 2000,
            "hypervisor": True, "mmu": "AMD NPT", "thp": "madvise", "modes": counted}
    out = {**figures.SCHEMA, "created": "2000-01-01T00:00:00+00:00", "seconds": 700.0,
           "settings": {"runs": runs, "modes": list(modes), "vmm": ["quiet", "busy"], "vcpus": 8,
                        "memory_mib": 1024,
                        "data_mib": None if load == "build" else 128, "load": load, "servers": 8,
                        "keys": 31608,
                        "value_bytes": loads.KINDS[load].VALUE_BYTES, "pages": "4k", "seed": 1,
                        "snapshot_sha256": "0" * 64},
           "platform": {"emulated": True, "in_lab": True, "flavour": "patched",
                        "accelerator": words.accelerator(host, True),
                        "host": host,
                        "machine": {"kernel": "6.1.0", "cores": 2, "cpu_model": "made up"},
                        "guest_kernel": "1.2.3", "vmm_qemu": "4.5", "outer_qemu": "4.5",
                        load: "7.0"},
           "runs": made, "discards": thrown, "storms": list(storms(rng, modes, runs, counted)),
           "simulated": simulated(rng, modes, runs) if counted else None}
    return figures.finish(out)
