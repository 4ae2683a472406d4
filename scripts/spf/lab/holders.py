# SPDX-License-Identifier: GPL-2.0-or-later
"""What CPUs waited for in storms on a simulated host: the cache lines, and the functions that
fetched them; and the functions that spun, and their callers.  bench/plugin/line_cost.c writes the
file.

The file has a section from each call of the kernel's proc_pid_schedstat() to the next.  fault-storm
causes one call for each vCPU before all begin, and one whenever a vCPU has ended."""

import bisect

from spf import ui

MARK = "proc_pid_schedstat"
# Prefixes of functions that implement locks.  Only their callers are of interest.
LOCKS = ("native_queued_spin_lock_slowpath", "queued_read_lock_slowpath",
         "queued_write_lock_slowpath", "osq_lock", "rwsem_spin_on_owner", "rwsem_optimistic_spin",
         "rwsem_down_", "down_", "mutex_", "__mutex_", "_raw_", "__raw_", "csd_lock_wait",
         "smp_call_function", "on_each_cpu")


def symbols(map_file):
    """The addresses of the kernel's symbols, sorted, and a row of each: address, name, whether it
    is a function."""
    rows = sorted((int(address, 16), name, kind in "tTwW") for address, kind, name in
                  map(str.split, map_file.read_text().splitlines()))
    return [row[0] for row in rows], rows


def mark(map_file):
    for line in map_file.read_text().splitlines():
        address, _, name = line.split()
        if name == MARK:
            return int(address, 16)
    raise ui.Fail(f"{ui.shown(map_file)} has no {MARK}", "use a kernel that has it")


class Names:
    def __init__(self, map_file):
        self.at, self.rows = symbols(map_file)

    def function(self, address):
        """The function that has this address, or None."""
        i = bisect.bisect_right(self.at, address) - 1
        return self.rows[i][1] if i >= 0 and self.rows[i][2] else None


def sections(path):
    """The sections of the file: lists of rows, each a list of words."""
    rows = []
    with open(path, encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[0] == "end":
                yield rows
                rows = []
            else:
                rows.append(words)


def storms(path, runs):
    """The rows of each run, from the start of all vCPUs to the end of the last one; @runs: how many
    vCPUs each run has, in order."""
    wanted, at = {}, 0
    for number, vcpus in enumerate(runs):
        wanted |= {at + vcpus + i: number for i in range(vcpus)}
        at += 2 * vcpus
    found = [[] for _ in runs]
    for at, rows in enumerate(sections(path)):
        if at in wanted:
            found[wanted[at]] += rows
    return found


def lines(rows, names, most=6):
    """The lines that cost most: fetches, ns taken and waited, and the functions that fetched
    them."""
    found = {}
    for _, line, pc, fetches, _, took, waited in (row for row in rows if row[0] == "fetch"):
        one = found.setdefault(line, {"fetches": 0, "took_ns": 0, "waited_ns": 0, "by": {}})
        one["fetches"] += int(fetches)
        one["took_ns"] += int(took)
        one["waited_ns"] += int(waited)
        name = names.function(int(pc, 16)) or pc
        one["by"][name] = one["by"].get(name, 0) + int(fetches)
    best = sorted(found.values(), key=lambda one: -one["took_ns"] - one["waited_ns"])[:most]
    return [{**one, "by": dict(sorted(one["by"].items(), key=lambda item: -item[1])[:4])}
            for one in best]


def spins(rows, names, quantum, most=5):
    """Which function spun, its callers, and about how long: a spin is at most a quantum."""
    found = {}
    for row in (row for row in rows if row[0] == "spin"):
        chain = [name for pc in row[2:] if (name := names.function(int(pc, 16)))]
        callers = [name for name in chain if not name.startswith(LOCKS)]
        # The callers of the lock's own functions; a stale address may be among them.
        key = (chain[0] if chain else "?", *list(dict.fromkeys(callers))[:3])
        found[key] = found.get(key, 0) + int(row[1])
    return [{"in": key[0], "for": list(key[1:]), "spun_ns": times * quantum}
            for key, times in sorted(found.items(), key=lambda item: -item[1])[:most]]


def total(rows):
    """Fetches, ns taken and ns waited."""
    return [sum(int(row[i]) for row in rows if row[0] == "total") for i in (2, 3, 4)]


def of_runs(path, map_file, runs, quantum):
    """Lines, spins and totals of each run."""
    names = Names(map_file)
    return [{**dict(zip(("fetches", "took_ns", "waited_ns"), total(rows))),
             "lines": lines(rows, names), "spins": spins(rows, names, quantum)}
            for rows in storms(path, runs)]
