# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest lives and storms of a compare in their order; which are left; how long they take."""

import random


def jobs(modes, vmms, runs, seed):
    """Each round has every kind once, in an order of its own, so that drift affects all kinds
    alike."""
    rng = random.Random(seed)
    out = [{"id": "warm-up", "round": 0, "mode": modes[-1], "vmm": vmms[0]}]
    for number in range(1, runs + 1):
        kinds = [(mode, vmm) for vmm in vmms for mode in modes]
        rng.shuffle(kinds)
        out += [{"id": f"{number}-{vmm}-{mode}", "round": number, "mode": mode, "vmm": vmm}
                for mode, vmm in kinds]
    return out


def storms(modes, vmms, vcpus, runs, mib):
    """The storms after the lives: a fault-storm for 1, 2, 4... vCPUs, whose modes alternate.  A run
    takes at most a second."""
    counts = [1 << i for i in range(vcpus.bit_length()) if 1 << i < vcpus] + [vcpus]
    words = ["--mode", ",".join("default" if mode == "stock" else mode for mode in modes),
             "--repeat", str(runs),
             "--seconds", "1"]
    return [{"id": f"storm-{vmm}-{n}", "round": 0, "mode": f"storm, {n} vCPUs", "vmm": vmm,
             "seconds": len(modes) * runs,
             "storm": [*words, "--vcpus", str(n), "--size", f"{mib * n}M",
                       *(["--neighbour", "mmap"] if vmm == "busy" else [])]} for vmm in vmms
            for n in counts]


def left(planned, events, restart=False):
    """Jobs without a result.  After a restart of the host a new warm-up comes first if any life is
    left."""
    done = {e["id"] for e in events if e["event"] in ("run", "storm")}
    rest = [job for job in planned if job["id"] not in done]
    if restart and rest and rest[0]["id"] != "warm-up" and "storm" not in rest[0]:
        rest.insert(0, {**planned[0], "id": "warm-up"})
    return rest


def estimate(rest, events, default=20.0):
    """Seconds that the rest will take, estimated from runs of the same kind, else from all runs;
    storms have a limit."""
    runs = [e for e in events if e["event"] == "run"]
    everything = [e["life_s"] for e in runs] or [default]
    total = 0.0
    for job in rest:
        if "storm" in job:
            total += job["seconds"]
            continue
        same = [e["life_s"] for e in runs if (e["mode"], e["vmm"]) == (job["mode"], job["vmm"])
                and e["id"] != "warm-up"]
        total += sum(same or everything) / len(same or everything)
    return total
