# SPDX-License-Identifier: GPL-2.0-or-later
"""The result as aligned text."""

import textwrap

from spf.report import simulated_hosts, stats, storms, svg
from spf.report.summary import parts, verdict

WIDTH = 80
TIER_HEADS = (("fast", "hva_fault_fast"), ("speculative", "hva_fault_speculative"),
              ("vma-lock", "hva_fault_vma_lock"), ("mmap-lock", "hva_fault_mmap_lock"))


def aligned(rows, left=2, last=False):
    """Align rows of strings as lines.  The first `left` columns, and the last if asked, are flush
    left, the others right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) if i < left or last and i == len(row) - 1 else cell.rjust(w)
                      for i, (cell, w) in enumerate(zip(row, widths))).rstrip() for row in rows]


def ratio_text(ratio):
    if not ratio:
        return "", ""
    if ratio["confidence"] < 0.5:
        return f"{ratio['estimate']:.3f}", "-"
    interval = f"{ratio['low']:.2f}..{ratio['high']:.2f} ({ratio['confidence']:.0%})"
    return f"{ratio['estimate']:.3f}", interval


def _short(value):
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _interval(ratio):
    digits = 2 if ratio["high"] < 10 else 1
    return f"{ratio['low']:.{digits}f}..{ratio['high']:.{digits}f}"


def storm_lines(found):
    """The lines of a table of storms with one VMM load, at most 80 columns wide."""
    kinds = [f"{kind} p99" for kind, _ in storms.calls(next(iter(found.values())))]
    rows, reached = [["vCPUs", "mode", "rate", "min..max", "x off", "interval", "p50", "p99",
                      *kinds]], []
    for key, runs in found.items():
        rates, base = [run["rate"] for run in runs], found.get((key[0], "off"), ())
        against = stats.ratio(rates, [run["rate"] for run in base]) if key[1] != "off" else None
        several = against and len(runs) > 1
        reached += [against["confidence"]] if several else []
        counts = storms.histogram(runs, storms.touch)
        rows.append([
            str(key[0]), key[1], svg.number(stats.median(rates)),
            f"{svg.number(min(rates))}..{svg.number(max(rates))}",
            f"{against['estimate']:.2f}" if against else "",
            _interval(against) if several else "",
            *(_short(storms.percentile(counts, part) / 1e3) for part in (0.5, 0.99)),
            *(_short(storms.percentile(storms.histogram(runs, pick), 0.99) / 1e3)
              for _, pick in storms.calls(runs))])
    lines = aligned(rows)
    if reached:
        lines.append(f"(medians of {min(map(len, found.values()))} runs; the intervals hold with "
                     f"{min(reached):.0%})")
    return lines


def _times(cells, part):
    rows = [["mode", "runs", "median s", "min..max s", "vs off", "interval", "difference"]]
    for cell in cells:
        c, ratio = cell[part], cell[part].get("ratio")
        known = ratio and ratio["confidence"] >= 0.5
        rows.append([
            cell["mode"], str(c["n"]), f"{c['median']:.2f}", f"{c['min']:.2f}..{c['max']:.2f}",
            "1" if cell["mode"] == "off" else f"{ratio['estimate']:.3f}" if ratio else "",
            f"{ratio['low']:.2f}..{ratio['high']:.2f} ({ratio['confidence']:.0%})" if known else "",
            verdict(ratio).removeprefix("no difference ").replace("shown", "none shown")])
    return rows


def _faults(cells, part):
    """Faults by tier; for a host without the series, the number of faults."""
    heads = [(head, key) for head, key in TIER_HEADS
             if any(key in cell[part]["counters"] for cell in cells)]
    heads = heads or [("guest faults", "pf_taken")]
    rows = [["mode", *(head for head, _ in heads)]]
    for cell in cells:
        n = cell[part]["counters"]
        rows.append([cell["mode"], *(f"{n[key]:.0f}" if key in n else "-" for _, key in heads)])
    return rows


def _phases(cells):
    parts = ("firmware_s", "kernel_s", "userspace_s")
    return [["mode", "firmware s", "kernel s", "userspace s"],
            *([c["mode"], *("-" if c["boot"][p] is None else f"{c['boot'][p]:.2f}" for p in parts)]
              for c in cells)]


def _by_vmm(cells, rows, left=1, last=False):
    """The rows of each VMM load under its name."""
    for vmm in dict.fromkeys(cell["vmm"] for cell in cells):
        yield f"  {vmm} VMM"
        mine = [cell for cell in cells if cell["vmm"] == vmm]
        yield from ("    " + line for line in aligned(rows(mine), left, last))


def _lives(results):
    cells, load = results["summary"], results["load_text"]
    if not cells:
        return []
    lines = []
    for part, title in (("boot", "Guest boot: from QEMU's start to the guest's ready mark"),
                        ("load", f"{load['head']}: {load['what']}")):
        lines += [*textwrap.wrap(title, WIDTH),
                  *_by_vmm(cells, lambda mine, part=part: _times(mine, part), last=True), ""]
    if any(c["boot"].get("firmware_s") is not None for c in cells):
        lines += ["Boot: median of each part", *_by_vmm(cells, _phases), ""]
    for part, title in (("boot", "boot"), ("load", load["head"].lower())):
        lines += [f"Faults of the {title} by tier: medians",
                  *_by_vmm(cells, lambda mine, part=part: _faults(mine, part)), ""]
    return lines


def text(results):
    lines = _lives(results)
    for vmm in results["settings"]["vmm"]:
        found = storms.cells([storm for storm in results.get("storms", ()) if storm["vmm"] == vmm])
        if found:
            lines += [f"Fault storm, {vmm} VMM: faults a second; latencies in us",
                      *storm_lines(found), ""]
    for vmm in simulated_hosts.of(results):
        lines += [f"Simulated fault storm, {vmm} VMM: faults a virtual second; latencies in us",
                  *storm_lines(simulated_hosts.cells(results, vmm)), ""]
    if lives := simulated_hosts.lives(results):
        for part, title in parts(results):
            lines += [f"{title} on a simulated host, {lives['vcpus']} vCPUs: virtual seconds",
                      *_by_vmm(lives["summary"], lambda mine, part=part: _times(mine, part),
                               last=True), ""]
    for note in results["notes"]:
        lines += textwrap.wrap(note, WIDTH)
    return "\n".join(lines)
