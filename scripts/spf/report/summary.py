# SPDX-License-Identifier: GPL-2.0-or-later
"""Summarize the runs for table and report: one cell for each VMM load (quiet, busy) and mode."""

from spf import kvmparam
from spf.report import stats

PHASES = ("firmware_s", "kernel_s", "userspace_s")


def parts(results):
    """The parts of a guest's life, each with its title.  A bundle's result has none."""
    if not results["load_text"]:
        return ()
    return ("boot", "Guest boot"), ("load", results["load_text"]["head"])


def _counter_medians(runs, part):
    rows = [r["counters"][part] for r in runs if r["counters"] and r["counters"].get(part)]
    names = {name for row in rows for name in row}
    return {name: stats.median([row.get(name, 0) for row in rows]) for name in kvmparam.COUNTERS
            if name in names}


def summarise(runs, discards, modes, vmms):
    """The cells in the order of the table.  Ratios are to mode off with the same VMM load, if it
    ran."""
    cells = []
    for vmm in vmms:
        for mode in modes:
            mine = [r for r in runs if (r["mode"], r["vmm"]) == (mode, vmm)]
            bases = [r for r in runs if (r["mode"], r["vmm"]) == ("off", vmm)]
            if not mine:
                continue
            cell = {"vmm": vmm, "mode": mode,
                    "discarded": sum((d["mode"], d["vmm"]) == (mode, vmm) for d in discards)}
            for part in ("boot", "load"):
                times = [r[part]["total_s"] for r in mine]
                cell[part] = {**stats.spread(times), "counters": _counter_medians(mine, part)}
                if mode != "off" and bases:
                    cell[part]["ratio"] = stats.ratio(times, [r[part]["total_s"] for r in bases])
            for phase in PHASES:
                values = [r["boot"][phase] for r in mine if r["boot"][phase] is not None]
                cell["boot"][phase] = stats.median(values) if values else None
            cells.append(cell)
    return cells


def verdict(ratio):
    """The conclusion from an interval, in one word or two."""
    if not ratio:
        return ""
    if ratio["confidence"] < 0.95:
        return "too few runs"
    if not stats.differs(ratio):
        return "no difference shown"
    return "faster" if ratio["estimate"] < 1 else "slower"
