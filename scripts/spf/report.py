# SPDX-License-Identifier: GPL-2.0-or-later
"""report.html from results: one file, nothing loaded from anywhere, made for a phone as well as a screen."""

from html import escape

from spf import svg
from spf.summary import verdict
from spf.table import TIER_HEADS

PARTS = (("boot", "Guest boot"), ("load", "Database load"))
PHASES = (("firmware", "firmware_s"), ("kernel", "kernel_s"), ("userspace", "userspace_s"))
VMM = {"quiet": "Quiet VMM", "busy": "Busy VMM"}

STYLE = """
:root { color-scheme: light dark;
  --bg:#fff; --card:#f6f7f9; --line:#d9dee5; --grid:#e3e7ec; --text:#1c2430; --soft:#566173;
  --off:#c8404f; --vma-lock:#d9980d; --on:#23895a; --stock:#5b6b80; --grey:#9aa7b7; --blue:#4677b0; --sand:#e0a458; }
@media (prefers-color-scheme: dark) { :root {
  --bg:#12161c; --card:#1a2028; --line:#303a47; --grid:#2a333f; --text:#e6eaf0; --soft:#9fabbb;
  --off:#e5626f; --vma-lock:#e6b13f; --on:#46b981; --stock:#8fa0b6; --grey:#6d7a8b; --blue:#6b9ad0; --sand:#e0b070; } }
* { box-sizing:border-box }
body { margin:0; background:var(--bg); color:var(--text); font:16px/1.5 system-ui,"DejaVu Sans",sans-serif }
main { max-width:1240px; margin:0 auto; padding:20px 16px 48px }
h1 { font-size:1.5rem; line-height:1.25; margin:.2em 0 } h2 { font-size:1.1rem; margin:0 0 .3em }
p { margin:.4em 0; max-width:80ch } .soft { color:var(--soft) } small,.small { font-size:.85rem }
.grid { display:grid; gap:16px; grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr)); margin:16px 0 }
.tiles { grid-template-columns:repeat(auto-fit,minmax(min(160px,45%),1fr)) }
.card { background:var(--card); border:1px solid var(--line); border-radius:10px; padding:14px 16px; min-width:0 }
.tile b { display:block; font-size:1.7rem; line-height:1.2; font-variant-numeric:tabular-nums }
.texts { grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr)) } .texts li { font-size:.92rem }
.scroll { overflow-x:auto }
.legend { display:flex; flex-wrap:wrap; gap:2px 14px; font-size:.82rem; color:var(--soft); margin:0 0 8px }
.legend i { display:inline-block; width:10px; height:10px; border-radius:2px; margin-right:5px }
svg { width:100%; height:auto; display:block; max-width:520px }
svg text { fill:var(--text); font-size:12px; font-family:inherit; font-variant-numeric:tabular-nums }
svg .tick { fill:var(--soft); font-size:10.5px } svg .group { font-weight:600 } svg line.grid { stroke:var(--grid) }
svg line.one { stroke:var(--soft); stroke-dasharray:3 3 } svg line.bar { stroke-width:4; stroke-linecap:round }
svg .dot { fill:var(--text); fill-opacity:.45 }
table { border-collapse:collapse; font-size:.86rem; font-variant-numeric:tabular-nums; width:100% }
th,td { text-align:right; padding:4px 5px; vertical-align:top; border-bottom:1px solid var(--line); white-space:nowrap }
th:first-child,td:first-child { text-align:left; padding-left:0 } th { color:var(--soft); font-weight:600 }
tr.group td { font-weight:600; border-bottom:0; padding-top:12px } td.w { white-space:normal; text-align:left }
dl { display:grid; grid-template-columns:max-content 1fr; gap:3px 14px; margin:0; font-size:.88rem }
dt { color:var(--soft) } dd { margin:0; overflow-wrap:anywhere } li { margin:.35em 0; max-width:80ch } ul { padding-left:1.2em }
"""
CLASSES = {"off": "--off", "vma-lock": "--vma-lock", "on": "--on", "stock": "--stock",
           "firmware": "--grey", "kernel": "--blue", "userspace": "--sand",
           "t-fast": "--grey", "t-speculative": "--on", "t-vma-lock": "--vma-lock", "t-mmap-lock": "--off"}


def _style():
    rules = [f".{css} {{ fill:var({var}); stroke:var({var}); background:var({var}) }}" for css, var in CLASSES.items()]
    return STYLE + "svg rect { stroke:none }\n" + "\n".join(rules)


def _legend(entries):
    return '<div class="legend">' + "".join(
        f'<span><i class="{css}"></i>{escape(name)}</span>' for css, name in entries) + "</div>"


def _card(title, note, body, legend="", css=""):
    return (f'<section class="card {css}"><h2>{escape(title)}</h2>'
            f'<p class="soft small">{escape(note)}</p>{legend}{body}</section>')


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
    return [r[part]["total_s"] for r in results["runs"] if (r["mode"], r["vmm"]) == (cell["mode"], cell["vmm"])]


def _boot_chart(results):
    def row(cell):
        split = [(css, cell["boot"][key] or 0, f"{css}: {cell['boot'][key] or 0:.2f} s") for css, key in PHASES]
        return {"name": cell["mode"], "parts": split, "dots": _times(results, cell, "boot"), "value": cell["boot"]["median"]}
    return _card("Guest boot", "From QEMU's start to the guest's ready mark. Bars: median of each part; dots: every run's total.",
                 svg.bars(_groups(results["summary"], row), "seconds", "guest boot time", "{:.2f}".format),
                 _legend([(css, css) for css, _ in PHASES]))


def _load_chart(results):
    def row(cell):
        value = cell["load"]["median"]
        return {"name": cell["mode"], "parts": [(cell["mode"], value, f"median {value:.2f} s")],
                "dots": _times(results, cell, "load"), "value": value}
    return _card("Database load", f"{results['settings']['servers']} Redis servers load {results['settings']['data_mib']} MiB "
                 "at once, until each answers with all its keys. Bars: median; dots: every run.",
                 svg.bars(_groups(results["summary"], row), "seconds", "database load time", "{:.2f}".format))


def _ratio_chart(results):
    groups = []
    for part, title in PARTS:
        for vmm in ("quiet", "busy"):
            rows = [{"name": c["mode"], "css": c["mode"], **{k: c[part]["ratio"][k] for k in ("estimate", "low", "high")}}
                    for c in results["summary"] if c["vmm"] == vmm and c[part].get("ratio")]
            if rows:
                groups.append((f"{title}, {vmm} VMM", rows))
    if not groups:
        return ""
    confidence = min(c[p]["ratio"]["confidence"] for c in results["summary"] for p, _ in PARTS if c[p].get("ratio"))
    return _card("Time relative to off", "Left of 1 is faster. "
                 + (f"Bars are {confidence:.0%} intervals; one that crosses 1 shows no difference." if confidence >= 0.95
                    else "Too few runs for intervals of 95 %: nothing is shown by these bars."), svg.intervals(groups, "ratio to off with intervals"))


def _fault_chart(results, part, title):
    cells = results["summary"]
    if not any(key in c[part]["counters"] for c in cells for _, key in TIER_HEADS):
        return ""

    def row(cell):
        n = cell[part]["counters"]
        parts = [(f"t-{name}", n.get(key, 0), f"{name}: {n.get(key, 0):.0f}") for name, key in TIER_HEADS]
        return {"name": cell["mode"], "parts": parts, "value": sum(v for _, v, _ in parts)}
    return _card(f"Faults by tier: {title.lower()}", "How KVM found the host page of each guest fault; median of the runs.",
                 svg.bars(_groups(cells, row), "faults", f"faults by tier, {title}"),
                 _legend([(f"t-{name}", name) for name, _ in TIER_HEADS]))


def _tiles(results):
    out = []
    for vmm in ("quiet", "busy"):
        for part, title in PARTS:
            for cell in results["summary"]:
                ratio = cell[part].get("ratio")
                if cell["mode"] == "on" and cell["vmm"] == vmm and ratio and ratio["confidence"] >= 0.95:
                    out.append(f'<div class="card tile"><span class="small soft">{title}, {vmm} VMM</span>'
                               f"<b>{ratio['estimate']:.2f}×</b><span class=\"small\">the time of off; "
                               f"{ratio['low']:.2f} to {ratio['high']:.2f}: {verdict(ratio)}</span></div>")
    return f'<div class="grid tiles">{"".join(out)}</div>' if out else ""


def _seconds(value):
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _table(head, groups):
    rows = ["<tr>" + "".join(f"<th>{escape(h)}</th>" for h in head) + "</tr>"]
    for name, group in groups:
        rows.append(f'<tr class="group"><td colspan="{len(head)}">{escape(name)}</td></tr>')
        rows += ["<tr>" + "".join(f"<td>{escape(c).replace(chr(10), '<br>')}</td>" for c in row) + "</tr>" for row in group]
    return f'<div class="scroll"><table>{"".join(rows)}</table></div>'


def _time_table(results, part, title):
    def row(cell):
        c, ratio = cell[part], cell[part].get("ratio")
        return [cell["mode"], str(c["n"]), _seconds(c["median"]), f"{_seconds(c['min'])}–{_seconds(c['max'])}",
                f"{ratio['estimate']:.2f}\n{ratio['low']:.2f}–{ratio['high']:.2f}" if ratio else ""]
    return _card(title, "Seconds. Last column: the time relative to off, and its interval.",
                 _table(["mode", "runs", "median", "range", "vs off"], _groups(results["summary"], row)))


def _fault_table(results, part, title):
    def row(cell):
        n = cell[part]["counters"]
        return [cell["mode"], *(svg.number(n[k]) if k in n else "-" for k in (*(key for _, key in TIER_HEADS), "pf_taken"))]
    return _card(f"Faults: {title.lower()}", "Medians, summed over the vCPUs. The last column counts all second-stage faults.",
                 _table(["mode", "fast", "spec.", "vma", "mmap", "all"], _groups(results["summary"], row)))


def _discards(results):
    rows = [(d["mode"], d["vmm"], d["kind"], d["detail"]) for d in results["discards"]]
    count = f"{len(rows)} of {len(rows) + len(results['runs'])} runs thrown away and replaced."
    if not rows:
        return _card("Runs thrown away", "Not one: every run was comparable.", "")
    body = "".join(f"<tr><td>{escape(m)}, {escape(v)}</td><td class=w>{escape(k)}: {escape(t)}</td></tr>" for m, v, k, t in rows)
    return _card("Runs thrown away", count, f"<table>{body}</table>")


def _facts(title, facts):
    return _card(title, "", "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>"
                                             for k, v in facts.items() if v is not None) + "</dl>")


def _list(title, lines, css=""):
    return _card(title, "", "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>", css=css)


def html(results):
    s = results["settings"]
    title = "KVM speculative faults: guest boot and database load"
    body = [f"<h1>{title}</h1>",
            f'<p class="soft">{escape(results["created"])} · {s["vcpus"]} vCPUs, {s["memory_mib"]} MiB guest, '
            f'{s["servers"]} Redis servers, {s["data_mib"]} MiB of data · {escape(results["platform"]["accelerator"])}</p>',
            *(f"<p><b>{escape(note)}</b></p>" for note in results["notes"]), _tiles(results), '<div class="grid">',
            _boot_chart(results), _load_chart(results), _ratio_chart(results),
            *(_fault_chart(results, part, name) for part, name in PARTS),
            *(_time_table(results, part, name) for part, name in PARTS),
            *(_fault_table(results, part, name) for part, name in PARTS),
            '</div><div class="grid texts">',
            _list("What may be concluded", results["conclusions"]), _list("How it was measured", results["method"]),
            _discards(results), _facts("Where it ran", results["platform_text"]), "</div>"]
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{_style()}</style></head><body><main>{''.join(body)}</main></body></html>\n")
