# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of a report, one offline file for phone and screen, light and dark: cards, tables and
legends."""

from html import escape

STYLE = """
:root { color-scheme: light dark;
  --bg:#fff; --card:#f6f7f9; --line:#d9dee5; --grid:#e3e7ec; --text:#1c2430; --soft:#566173; --off:#c8404f;
  --vma-lock:#d9980d; --on:#23895a; --stock:#5b6b80; --grey:#9aa7b7; --blue:#4677b0; --sand:#e0a458; --plum:#8a6bb5; }
@media (prefers-color-scheme: dark) { :root {
  --bg:#12161c; --card:#1a2028; --line:#303a47; --grid:#2a333f; --text:#e6eaf0; --soft:#9fabbb; --off:#e5626f;
  --vma-lock:#e6b13f; --on:#46b981; --stock:#8fa0b6; --grey:#6d7a8b; --blue:#6b9ad0; --sand:#e0b070; --plum:#a98bd3; } }
* { box-sizing:border-box }
body { margin:0; background:var(--bg); color:var(--text); font:16px/1.5 system-ui,"DejaVu Sans",sans-serif }
main { max-width:1240px; margin:0 auto; padding:20px 16px 48px }
h1 { font-size:1.5rem; line-height:1.25; margin:.2em 0 } h2 { font-size:1.1rem; margin:0 0 .3em }
h1 + p { margin-bottom:.8em } .part { font-size:1.25rem; margin:1.4em 0 .2em }
p { margin:.4em 0; max-width:80ch } .soft { color:var(--soft) } small,.small { font-size:.85rem }
.grid { display:grid; gap:16px; grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr)); margin:16px 0 }
.tiles { grid-template-columns:repeat(auto-fill,minmax(min(250px,45%),1fr)) }
.card { background:var(--card); border:1px solid var(--line); border-radius:10px; padding:14px 16px; min-width:0 }
.card.wide { grid-column:1/-1 }
.tile b { display:block; font-size:1.7rem; line-height:1.2; font-variant-numeric:tabular-nums }
.tile .where { display:table; font-size:.75rem; border:1px solid var(--line); border-radius:4px; padding:0 5px; margin-bottom:3px }
.tile .simulated { border-color:var(--plum); color:var(--plum) }
.texts { grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr)) } .texts li { font-size:.92rem }
.scroll { overflow-x:auto }
.legend { display:flex; flex-wrap:wrap; gap:2px 14px; font-size:.82rem; color:var(--soft); margin:0 0 8px }
.legend i { display:inline-block; width:10px; height:10px; border-radius:2px; margin-right:5px }
svg { width:100%; height:auto; display:block; max-width:520px }
svg text { fill:var(--text); font-size:12px; font-family:inherit; font-variant-numeric:tabular-nums }
svg .tick { fill:var(--soft); font-size:10.5px } svg .group { font-weight:600 } svg line.grid { stroke:var(--grid) }
svg line.one { stroke:var(--soft); stroke-dasharray:3 3 } svg line.bar { stroke-width:4; stroke-linecap:round }
svg .dot { fill:var(--text); fill-opacity:.45 } svg rect.band { fill-opacity:.22; stroke:none }
table { border-collapse:collapse; font-size:.86rem; font-variant-numeric:tabular-nums; width:100% }
th,td { text-align:right; padding:4px 5px; vertical-align:top; border-bottom:1px solid var(--line); white-space:nowrap }
th:first-child,td:first-child,.wide :is(th,td):nth-child(2) { text-align:left } th:first-child,td:first-child { padding-left:0 } th { color:var(--soft); font-weight:600 }
@media (max-width:480px) { .card { padding:12px } table { font-size:.76rem } th,td { padding:4px 3px } }
tr.group td { font-weight:600; border-bottom:0; padding-top:12px } td.w { white-space:normal; text-align:left }
dl { display:grid; grid-template-columns:max-content 1fr; gap:3px 14px; margin:0; font-size:.88rem }
dt { color:var(--soft) } dd { margin:0; overflow-wrap:anywhere } li { margin:.35em 0; max-width:80ch } ul { padding-left:1.2em }
"""
# The style of lines, which are not filled.  It must follow the colours.
LINES = """svg polyline.line { fill:none; stroke-width:2; stroke-linejoin:round }
svg line.spread { stroke-width:2; stroke-linecap:butt } svg polyline.one { stroke:var(--soft); stroke-width:1; stroke-dasharray:3 3 } .legend .one { background:var(--soft) }
"""
COLOURS = {"off": "--off", "vma-lock": "--vma-lock", "on": "--on", "stock": "--stock",
           "firmware": "--grey", "kernel": "--blue", "userspace": "--sand", "loading": "--plum",
           "t-fast": "--grey", "t-speculative": "--on", "t-vma-lock": "--vma-lock",
           "t-mmap-lock": "--off"}


def style():
    rules = "".join(f".{css} {{ fill:var({var}); stroke:var({var}); background:var({var}) }}\n"
                    for css, var in COLOURS.items())
    return rules + STYLE + LINES


def legend(entries):
    return '<div class="legend">' + "".join(
        f'<span><i class="{css}"></i>{escape(name)}</span>' for css, name in entries) + "</div>"


def card(title, note, body, key="", css=""):
    """key: a legend."""
    return (f'<section class="card {css}"><h2>{escape(title)}</h2>'
            f'<p class="soft small">{escape(note)}</p>{key}{body}</section>')


def tile(title, figure, note, where):
    """A headline.  where: the machine of the figure, so that a simulated figure is not taken for a
    measured one."""
    css = "where simulated" if where == "simulated" else "where"
    return (f'<div class="card tile"><span class="{css}">{escape(where)}</span>'
            f'<span class="small soft">{escape(title)}</span><b>{escape(figure)}</b>'
            f'<span class="small">{escape(note)}</span></div>')


def curves(title, note, series, drawn):
    """A legend; series: (css, name, points), as for curve.py."""
    return card(title, note, drawn, legend([(css, name) for css, name, _ in series]))


def table(head, groups):
    """A table; groups: (name, rows of strings).  A group without a name has no line for it."""
    rows = ["<tr>" + "".join(f"<th>{escape(h)}</th>" for h in head) + "</tr>"]
    for name, group in groups:
        if name:
            rows.append(f'<tr class="group"><td colspan="{len(head)}">{escape(name)}</td></tr>')
        rows += ["<tr>" + "".join(f"<td>{escape(c).replace(chr(10), '<br>')}</td>" for c in row)
                 + "</tr>" for row in group]
    return f'<div class="scroll"><table>{"".join(rows)}</table></div>'


def facts(title, pairs):
    return card(title, "", "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>"
                                            for k, v in pairs.items() if v is not None) + "</dl>")


def bullets(title, lines, css=""):
    return card(title, "", "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>",
                css=css)


def grid(cards, css=""):
    return f'<div class="grid {css}">{"".join(cards)}</div>'


def document(title, body):
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)}</title><style>{style()}</style></head><body><main>{''.join(body)}</main></body></html>\n")
