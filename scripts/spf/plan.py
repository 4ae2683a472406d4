# SPDX-License-Identifier: GPL-2.0-or-later
"""Which guest lives, in which order; what is left of them; how long that takes."""

import random


def jobs(modes, vmms, runs, seed):
    """Each round holds every kind once, in an order of its own, so that drift meets all kinds alike."""
    rng = random.Random(seed)
    out = [{"id": "warm-up", "round": 0, "mode": modes[-1], "vmm": vmms[0]}]
    for number in range(1, runs + 1):
        kinds = [(mode, vmm) for vmm in vmms for mode in modes]
        rng.shuffle(kinds)
        out += [{"id": f"{number}-{vmm}-{mode}", "round": number, "mode": mode, "vmm": vmm} for mode, vmm in kinds]
    return out


def left(planned, events, restart=False):
    """Jobs without a result. After a restart of the host there is a new warm-up first."""
    done = {e["id"] for e in events if e["event"] == "run"}
    rest = [job for job in planned if job["id"] not in done]
    if restart and rest and rest[0]["id"] != "warm-up":
        rest.insert(0, {**planned[0], "id": "warm-up"})
    return rest


def estimate(rest, events, default=20.0):
    """Seconds that the rest will take, going by the runs of the same kind, else by all runs."""
    runs = [e for e in events if e["event"] == "run"]
    everything = [e["life_s"] for e in runs] or [default]
    total = 0.0
    for job in rest:
        same = [e["life_s"] for e in runs if (e["mode"], e["vmm"]) == (job["mode"], job["vmm"]) and e["id"] != "warm-up"]
        total += sum(same or everything) / len(same or everything)
    return total
