# SPDX-License-Identifier: GPL-2.0-or-later
"""Two results of `kvmspf compare`, the second against the first."""

import json
from pathlib import Path

from spf import limits, ui
from spf.report import simulated_hosts, stats, storms, table
from spf.report.summary import verdict

PARTS = (("boot", "Guest boot", "s"), ("load", "Load", "s"),
         ("storm", "Fault storm: microseconds between two faults", "us"),
         ("simulated", "Fault storm on a simulated host: the same, virtual", "us"))
# The load of results that were made before --load existed.
FIRST_LOAD = "redis"
# Settings that should be alike. A difference in one is shown beside the result.
SETTINGS = ("load", "vcpus", "memory_mib", "data_mib", "servers", "keys", "value_bytes", "pages")
PLATFORM = ("emulated", "accelerator", "flavour", "guest_kernel", "vmm_qemu", "outer_qemu", "host",
            "machine")

# Version 1 had no simulated hosts.
VERSIONS = (1, 2)
NAME_ONE = "name a results.json that `kvmspf compare` wrote"
# All that a report computes with.  spf.compare.show says which other value a file lacks.
NUMBER = (int, float)
LATENCY = {"histogram": [limits.pair, ...]}
STORM = {"vmm": str, "config": {"vcpus": int},
         "runs": [{"mode": lambda mode: mode in storms.MODES, "rate": limits.time,
                   "latency_ns?": LATENCY, "neighbours?": [{"latency_ns": LATENCY}, ...]}]}
PHASE = (None, *NUMBER)
COUNTERS = (None, limits.counters)
RUN = {"vmm": str, "mode": str,
       "boot": {"total_s": limits.time, "firmware_s?": PHASE, "kernel_s?": PHASE,
                "userspace_s?": PHASE},
       "load": {"total_s": limits.time, "began_s?": NUMBER},
       "counters?": (None, {"boot?": COUNTERS, "load?": COUNTERS}),
       "faults_over_time?": [limits.pair, ...]}
CELL = {"vmm": str, "mode": str}
DISCARDS = [{"vmm": str, "mode": str, "kind": str, "detail": str}, ...]
SIMULATED = {"storms": [STORM, ...], "hosts?": [dict, ...], "line_ns?": limits.pair, "seeds?": list,
             "socket_vcpus?": int, "seconds?": NUMBER,
             "lives?": {"memory_mib": NUMBER, "hosts?": [dict, ...], "runs": [RUN, ...],
                        "discards": DISCARDS}}
ASKED = {"runs": int, "modes": list, "vmm": list, "vcpus": int}
COMMON = {"created": str, "seconds": limits.time,
          "platform": {"host": {"cpus": int}, "machine": dict}, "discards?": DISCARDS,
          "simulated?": (None, SIMULATED)}
SHAPE = {**COMMON, "settings": {"load": str, **ASKED}, "summary": [CELL],
         "runs": [RUN], "storms?": [STORM, ...]}
# The result of a bundle has no guest lives.
STORMS_ONLY = {**COMMON, "settings": ASKED, "summary?": [CELL, ...], "runs": list,
               "storms": [STORM]}


def load(name):
    try:
        results = json.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise ui.Fail(f"cannot read {name}: {error.strerror}", NAME_ONE, 2) from None
    except ValueError:
        raise ui.Fail(f"{name} is no JSON", NAME_ONE, 2) from None
    if not isinstance(results, dict) or results.get("schema") != "kvmspf-compare" \
            or results.get("schema_version") not in VERSIONS:
        raise ui.Fail(f"{name} is no result of this version of `kvmspf compare`", "make a new one",
                      2)
    if isinstance(results.get("settings"), dict):
        results["settings"].setdefault("load", FIRST_LOAD)
    alone = not results.get("runs") and isinstance(results.get("settings"), dict) \
        and results["settings"]["load"] is None
    wrong = limits.shape(results, STORMS_ONLY if alone else SHAPE)
    if not wrong and not alone and results["settings"]["load"] not in results["platform"]:
        wrong = f"platform has no '{results['settings']['load']}', which is the load"
    if wrong:
        raise ui.Fail(f"{name}: {wrong}", NAME_ONE, 2)
    return results


def times(results):
    """(part, VMM, mode) -> the time of each run, the less the better.  A storm's mode includes its
    number of vCPUs."""
    found = {}
    for part in ("boot", "load"):
        for cell in results.get("summary", ()):
            found[part, cell["vmm"], cell["mode"]] = [
                run[part]["total_s"] for run in results["runs"]
                if (run["vmm"], run["mode"]) == (cell["vmm"], cell["mode"])]
    of_parts = {"storm": results.get("storms", ()), "simulated": simulated_hosts.found(results)}
    for part, of_part in of_parts.items():
        for storm in of_part:
            for run in storm["runs"]:
                key = part, storm["vmm"], f"{run['mode']}, {storm['config']['vcpus']} vCPUs"
                found.setdefault(key, []).append(1e6 / run["rate"])
    return found


def cells(first, second):
    """Both spreads, and the ratio of the second to the first, for each part, VMM and mode that both
    have."""
    before, after = times(first), times(second)
    for key, old in before.items():
        if old and (new := after.get(key)):
            yield {**dict(zip(("part", "vmm", "mode"), key)), "first": stats.spread(old),
                   "second": stats.spread(new),
                   "ratio": stats.ratio(new, old)}


def load_version(results):
    return results["platform"].get(results["settings"]["load"])


def unlike(first, second):
    pairs = [(key, first["settings"].get(key), second["settings"].get(key)) for key in SETTINGS]
    pairs += [("load's version", load_version(first), load_version(second))]
    pairs += [(key, first["platform"].get(key), second["platform"].get(key)) for key in PLATFORM]
    for key, old, new in pairs:
        if isinstance(old, dict) and isinstance(new, dict):
            for inner in sorted(old.keys() | new.keys()):
                if old.get(inner) != new.get(inner):
                    yield f"{key} {inner}: {old.get(inner)}, {new.get(inner)}"
        elif old != new:
            yield f"{key}: {old}, {new}"


def spread_text(spread):
    return f"{spread['median']:.2f} ({spread['min']:.2f}..{spread['max']:.2f}) {spread['n']}"


def text(first, second):
    found = list(cells(first, second))
    if not found:
        raise ui.Fail("the two results have no VMM and mode in common",
                      "compare what ran in the same modes", 2)
    lines = []
    for part, title, unit in PARTS:
        rows = [["VMM", "mode", f"first {unit} (min..max) runs", f"second {unit} (min..max) runs",
                 "ratio", "interval", ""]]
        rows += [[cell["vmm"], cell["mode"], spread_text(cell["first"]),
                  spread_text(cell["second"]),
                  *table.ratio_text(cell["ratio"]), verdict(cell["ratio"])] for cell in found
                 if cell["part"] == part]
        lines += [] if len(rows) == 1 else [title,
                                            *("  " + line
                                              for line in table.aligned(rows, last=True)), ""]
    if other := list(unlike(first, second)):
        lines += ["Not alike, first and second:", *("  " + line for line in other), ""]
    if first["platform"].get("emulated") or second["platform"].get("emulated"):
        lines.append("Software emulation: only results of one machine, with nothing else running "
                     "on it, can be compared.")
    return "\n".join(lines).rstrip()


def main(names, as_json=False):
    if len(names) != 2:
        raise ui.Fail(f"cannot compare {len(names)} results", "name two, the older one first", 2)
    first, second = (load(name) for name in names)
    if as_json:
        print(json.dumps({"schema": "kvmspf-difference", "schema_version": 1,
                          "cells": list(cells(first, second)),
                          "unlike": list(unlike(first, second))}, indent=1))
    else:
        print(text(first, second))
    return 0
