# SPDX-License-Identifier: GPL-2.0-or-later
"""The result as aligned text."""

from spf.report import storms
from spf.report.summary import verdict

TIER_HEADS = (("fast", "hva_fault_fast"), ("speculative", "hva_fault_speculative"),
              ("vma-lock", "hva_fault_vma_lock"), ("mmap-lock", "hva_fault_mmap_lock"))


def aligned(rows, left=2, last=False):
    """Rows of strings to lines; the first `left` columns, and the last if asked, are flush left,
    the others right."""
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


def _rows(cells, part, counted):
    head = ["VMM", "mode", "runs", "median s", "min..max s", "vs off", "interval"]
    head += [h for h, _ in TIER_HEADS] if counted else ["guest faults"]
    rows = [head + [""]]
    last = None
    for cell in cells:
        c = cell[part]
        estimate, interval = ratio_text(c.get("ratio"))
        if cell["mode"] == "off":
            estimate = "1"
        n = c["counters"]
        tiers = [f"{n[key]:.0f}" if key in n else "-" for _, key in TIER_HEADS]
        rows.append(["" if cell["vmm"] == last else cell["vmm"], cell["mode"], str(c["n"]),
                     f"{c['median']:.2f}",
                     f"{c['min']:.2f}..{c['max']:.2f}", estimate, interval,
                     *(tiers if counted else [f"{n['pf_taken']:.0f}" if "pf_taken" in n else "-"]),
                     verdict(c.get("ratio"))])
        last = cell["vmm"]
    return rows


def text(results):
    cells, load = results["summary"], results["load_text"]
    counted = any(key in c[part]["counters"] for c in cells for part in ("boot", "load")
                  for _, key in TIER_HEADS)
    lines = []
    for part, title in (("boot", "Guest boot: from QEMU's start to the guest's ready mark"),
                        ("load", f"{load['head']}: {load['what']}")):
        lines += [title, *("  " + line for line in aligned(_rows(cells, part, counted), last=True)),
                  ""]
    if any(c["boot"].get("firmware_s") is not None for c in cells):
        rows = [["VMM", "mode", "firmware s", "kernel s", "userspace s"]]
        rows += [[c["vmm"], c["mode"], *("-" if c["boot"][p] is None else f"{c['boot'][p]:.2f}"
                                         for p in ("firmware_s", "kernel_s", "userspace_s"))]
                 for c in cells]
        lines += ["Boot, median of each part", *("  " + line for line in aligned(rows)), ""]
    for vmm in results["settings"]["vmm"]:
        found = storms.cells([storm for storm in results.get("storms", ()) if storm["vmm"] == vmm])
        if found:
            lines += [f"Fault storm, {vmm} VMM",
                      *("  " + line for line in aligned(storms.table(found), left=0)), ""]
    lines += results["notes"]
    return "\n".join(lines)
