# SPDX-License-Identifier: GPL-2.0-or-later
"""Make report.html from results: one file that loads nothing, for a phone as well as a screen."""

from html import escape

from spf.report import curve, page, simulated_hosts, storms, svg, words
from spf.report.summary import parts, verdict
from spf.report.table import TIER_HEADS

PHASES = (("firmware", "firmware_s"), ("kernel", "kernel_s"), ("userspace", "userspace_s"))
VMM = {"quiet": "Quiet VMM", "busy": "Busy VMM"}


def _groups(cells, row):
    groups = []
    for cell in cells:
        if not groups or groups[-1][0] != VMM[cell["vmm"]]:
            groups.append((VMM[cell["vmm"]], []))
        made = row(cell)
        if made:
            groups[-1][1].append(made)
    return [g for g in groups if g[1]]


def _times(results, cell, part):
    return [r[part]["total_s"] for r in results["runs"]
            if (r["mode"], r["vmm"]) == (cell["mode"], cell["vmm"])]


def _boot_chart(results):
    phases = [(css, key) for css, key in PHASES if all(cell["boot"].get(key) is not None
                                                       for cell in results["summary"])]

    def row(cell):
        split = [(css, cell["boot"][key], f"{css}: {cell['boot'][key]:.2f} s")
                 for css, key in phases]
        return {"name": cell["mode"], "parts": split, "dots": _times(results, cell, "boot"),
                "value": cell["boot"]["median"]}
    return page.card("Guest boot", "From QEMU's start to the guest's ready mark. Bars: median of "
                                   "each part; dots: every run's total.",
                     svg.bars(_groups(results["summary"], row), "seconds", "guest boot time",
                              "{:.2f}".format),
                     page.legend([(css, css) for css, _ in phases]))


def _load_chart(results):
    def row(cell):
        value = cell["load"]["median"]
        return {"name": cell["mode"], "parts": [(cell["mode"], value, f"median {value:.2f} s")],
                "dots": _times(results, cell, "load"), "value": value}
    head, what = results["load_text"]["head"], results["load_text"]["what"]
    return page.card(head, f"{what[0].upper()}{what[1:]}. Bars: median; dots: every run.",
                     svg.bars(_groups(results["summary"], row), "seconds", f"{head.lower()} time",
                              "{:.2f}".format))


def _ratio_chart(results):
    groups = []
    for part, title in parts(results):
        for vmm in ("quiet", "busy"):
            rows = [{"name": c["mode"], "css": c["mode"],
                     **{k: c[part]["ratio"][k] for k in ("estimate", "low", "high")}}
                    for c in results["summary"] if c["vmm"] == vmm and c[part].get("ratio")]
            if rows:
                groups.append((f"{title}, {vmm} VMM", rows))
    if not groups:
        return ""
    confidence = min(c[p]["ratio"]["confidence"] for c in results["summary"]
                     for p in ("boot", "load") if c[p].get("ratio"))
    return page.card("Time relative to off", "Left of 1 is faster. "
                     + (f"Bars are {confidence:.0%} intervals; one that crosses 1 shows no "
                        "difference." if confidence >= 0.95
                        else "Too few runs for intervals of 95 %: nothing is shown by these bars."),
                     svg.intervals(groups, "ratio to off with intervals"))


def _fault_chart(results, part, title):
    cells = results["summary"]
    if not any(key in c[part]["counters"] for c in cells for _, key in TIER_HEADS):
        return ""

    def row(cell):
        n = cell[part]["counters"]
        parts = [(f"t-{name}", n.get(key, 0), f"{name}: {n.get(key, 0):.0f}")
                 for name, key in TIER_HEADS]
        return {"name": cell["mode"], "parts": parts, "value": sum(v for _, v, _ in parts)}
    return page.card(f"Faults by tier: {title.lower()}", "How KVM found the host page of each "
                                                         "guest fault; median of the runs.",
                     svg.bars(_groups(cells, row), "faults", f"faults by tier, {title}"),
                     page.legend([(f"t-{name}", name) for name, _ in TIER_HEADS]))


def _where(platform):
    """The machine of the guest lives' figures, in a few words."""
    cpus = platform["host"]["cpus"]
    return f"{cpus} {'emulated ' if platform['emulated'] else ''}CPU{'s' if cpus > 1 else ''}"


def _tiles(results):
    out, where = [], _where(results["platform"])
    for vmm in ("quiet", "busy"):
        for part, title in parts(results):
            for cell in results["summary"]:
                ratio = cell[part].get("ratio")
                chosen = (cell["mode"], cell["vmm"]) == ("on", vmm)
                if chosen and ratio and ratio["confidence"] >= 0.95:
                    out.append(page.tile(f"{title}, {vmm} VMM", f"{ratio['estimate']:.2f}×",
                                         f"off's time, in mode on; {ratio['low']:.2f} to "
                                         f"{ratio['high']:.2f}: {verdict(ratio)}", where))
    rows = simulated_hosts.tiles(results), out + _storm_tiles(results, where)
    return "".join(page.grid(row, "tiles") for row in rows if row)


def _storm_tiles(results, where):
    """The tiles of a result that has only storms."""
    if results["summary"]:
        return []
    return [page.tile(f"Fault storm, {vcpus} vCPUs, {vmm} VMM", f"{ratio['estimate']:.2f}×",
                      f"off's faults a second, in mode on; {ratio['low']:.2f} to "
                      f"{ratio['high']:.2f}", where)
            for vmm, vcpus, ratio in words.storm_ratios(results)]


def _seconds(value):
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _time_table(results, part, title):
    def row(cell):
        c, ratio = cell[part], cell[part].get("ratio")
        return [cell["mode"], str(c["n"]), _seconds(c["median"]),
                f"{_seconds(c['min'])}–{_seconds(c['max'])}",
                f"{ratio['estimate']:.2f}\n{ratio['low']:.2f}–{ratio['high']:.2f}" if ratio else ""]
    return page.card(title, "Seconds. Last column: the time relative to off, and its interval.",
                     page.table(["mode", "runs", "median", "range", "vs off"],
                                _groups(results["summary"], row)))


def _fault_table(results, part, title):
    def row(cell):
        n = cell[part]["counters"]
        return [cell["mode"],
                *(svg.number(n[k]) if k in n else "-" for k in (*(key for _, key in TIER_HEADS),
                                                                "pf_taken"))]
    return page.card(f"Faults: {title.lower()}", "Medians, summed over the vCPUs. The last column "
                                                 "counts all second-stage faults.",
                     page.table(["mode", "fast", "spec.", "vma", "mmap", "all"],
                                _groups(results["summary"], row)))


def _discards(results):
    if not results["summary"]:
        return ""
    rows = [(d["mode"], d["vmm"], d["kind"], d["detail"]) for d in results["discards"]]
    count = f"{len(rows)} of {len(rows) + len(results['runs'])} runs thrown away and replaced."
    if not rows:
        return page.card("Runs thrown away", "No run: every run was comparable.", "")
    body = "".join(f"<tr><td>{escape(m)}, {escape(v)}</td><td class=w>{escape(k)}: "
                   f"{escape(t)}</td></tr>" for m, v, k, t in rows)
    return page.card("Runs thrown away", count, f"<table>{body}</table>")


def _typical(results, vmm, mode):
    """Of the runs that have faults over time, the middle one by the time of boot and load
    together."""
    runs = [r for r in results["runs"] if (r["vmm"], r["mode"]) == (vmm, mode)
            and r.get("faults_over_time")]
    runs.sort(key=lambda r: r["boot"]["total_s"] + r["load"]["total_s"])
    return runs[(len(runs) - 1) // 2] if runs else None


def _phases(run):
    """The phases: css, name, start and end, in seconds from QEMU's start."""
    at, out = 0.0, []
    for css, key in PHASES:
        if run["boot"][key] is not None:
            out.append((css, css, at, at + run["boot"][key]))
            at = out[-1][3]
    began = run["load"]["began_s"]
    return out + [("loading", "load", began, began + run["load"]["total_s"])]


def _rate(run):
    """Points: seconds, and faults a second since the point before."""
    looks = run["faults_over_time"]
    return [((t + t0) / 2, (n - n0) / (t - t0)) for (t0, n0), (t, n) in zip(looks, looks[1:])]


def _rate_card(results, vmm):
    runs = [(mode, run) for mode in results["settings"]["modes"]
            if (run := _typical(results, vmm, mode))]
    reach = [point for _, run in runs for point in [(0, 0), (_phases(run)[-1][3], 0), *_rate(run)]]
    if not runs:
        return ""
    drawn = "".join(f'<p class="small">{mode}</p>'
                    + curve.plot([(mode, mode, _rate(run))], "seconds",
                                 f"fault rate, {vmm} VMM, {mode}", height=130,
                                 bands=_phases(run), reach=reach) for mode, run in runs)
    return page.card(f"Fault rate over time, {vmm} VMM", "Second-stage faults a second in the run "
                                                         "of each mode whose boot and load "
                     "together are the middle one.", drawn,
                     page.legend([(css, name) for css, name, _, _ in _phases(runs[0][1])]))


def _storms(results, vmm):
    """Curves and a table of the fault storms of one VMM load."""
    found = storms.cells([storm for storm in results.get("storms", ()) if storm["vmm"] == vmm])
    if not found:
        return []
    head, *rows = storms.table(found)
    note = "Latencies are of the guest's touches, all runs of a kind together."
    if min(len(runs) for runs in found.values()) < 4:
        note += " With fewer than four runs of a kind no interval reaches 95 %."
    return [*storms.cards(found, f", {vmm} VMM"),
            page.card(f"Fault storm, {vmm} VMM", note, page.table(head, [("", rows)]), css="wide")]


def _lives(results):
    """The cards of guest lives.  A bundle's result has none."""
    if not results["summary"]:
        return []
    of_life = parts(results)
    return [_boot_chart(results), _load_chart(results), _ratio_chart(results),
            *(_fault_chart(results, part, name) for part, name in of_life),
            *(_rate_card(results, vmm) for vmm in results["settings"]["vmm"]),
            *(_time_table(results, part, name) for part, name in of_life),
            *(_fault_table(results, part, name) for part, name in of_life)]


def _heading(results):
    """The title, and a line that describes the guest."""
    s = results["settings"]
    made = results["created"].replace("T", " ").replace("+00:00", " UTC")
    if not results["load_text"]:
        return ("KVM speculative faults: fault storms",
                f'{made} · up to {s["vcpus"]} vCPUs · '
                f'{results["platform"]["accelerator"]}')
    return (f"KVM speculative faults: guest boot and {parts(results)[1][1].lower()}",
            f'{made} · {s["vcpus"]} vCPUs, {s["memory_mib"]} MiB guest, '
            f'{results["load_text"]["title"]} · {results["platform"]["accelerator"]}')


def html(results):
    title, of = _heading(results)
    storm = _storms(results, "quiet") + _storms(results, "busy")
    body = [f"<h1>{title}</h1>", f'<p class="soft">{escape(of)}</p>',
            *(f"<p><b>{escape(note)}</b></p>" for note in results["notes"]), _tiles(results),
            page.grid(_lives(results)),
            *(['<h2 class="part">Fault storm</h2>', page.grid(storm)] if storm else []),
            *simulated_hosts.section(results),
            page.grid([page.bullets("What may be concluded", [line[0].upper() + line[1:]
                                                              for line in results["conclusions"]]),
                       page.bullets("How it was measured", results["method"]), _discards(results),
                       page.facts("Where it ran", results["platform_text"])], "texts")]
    return page.document(title, body)
