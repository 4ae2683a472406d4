# SPDX-License-Identifier: GPL-2.0-or-later
"""Small horizontal charts as inline SVG.

The charts are drawn by hand, not by matplotlib.  So the report is one small file that follows the
reader's light or dark theme through CSS and keeps its text selectable, and kvmspf needs no 100 MB
of packages. Each chart is 400 units wide, about the width of a phone and of one column of the
report.
"""

import math
from html import escape

WIDTH = 400
LEFT = 74
RIGHT = 52
ROW = 34
HEAD = 20


def nice_step(top, ticks=4):
    """A step of 1, 2 or 5 times a power of ten with at most `ticks` + 1 steps up to top."""
    raw = max(top, 1e-9) / ticks
    power = 10 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)


def number(value):
    """Short: 950, 12.3k, 4.5M."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit * (1 if unit == "M" else 10):
            return f"{value / limit:.3g}{unit}"
    return f"{value:.0f}"


def text(x, y, content, css="", anchor="start"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">'
            f"{escape(content)}</text>")


def rect(x, y, width, height, css, title=""):
    tip = f"<title>{escape(title)}</title>" if title else ""
    return (f'<rect x="{x:.2f}" y="{y:.1f}" width="{max(width, 0):.2f}" height="{height}" '
            f'class="{css}">{tip}</rect>')


def upright(x, bottom, css="grid"):
    return f'<line x1="{x:.1f}" y1="4" x2="{x:.1f}" y2="{bottom:.1f}" class="{css}"/>'


def svg(height, parts, label):
    return (f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">'
            + "".join(parts) + "</svg>")


def named_rows(groups, row_height, out):
    """Draw the names of groups and rows; yield each row and its y."""
    y = 0
    for name, group in groups:
        out.append(text(0, y + 14, name, "group"))
        y += HEAD
        for row in group:
            out.append(text(LEFT - 8, y + 11.5, row["name"], "name", "end"))
            yield row, y
            y += row_height


def bars(groups, unit, label, show=number):
    """Groups of (name, rows); a row is {name, parts: [(css, value, title)], dots: [values], value}.

    The parts of a row are stacked; its dots, one a run, lie under its bar on the same scale."""
    rows = [row for _, group in groups for row in group]
    top = max([sum(v for _, v, _ in row["parts"]) for row in rows]
              + [d for row in rows for d in row.get("dots", ())] + [1e-9])
    step = nice_step(top)
    scale = (WIDTH - LEFT - RIGHT) / top
    dotted = any(row.get("dots") for row in rows)
    row_height = ROW if dotted else 24
    height = sum(HEAD + row_height * len(group) for _, group in groups) + 30
    bottom = height - 26
    out = []
    ticks = int(top / step + 1e-6)
    for i in range(ticks + 1):
        x = LEFT + i * step * scale
        out.append(upright(x, bottom))
        out.append(text(x, bottom + 13, f"{i * step:g}" if step < 1000 else number(i * step),
                        "tick", "middle"))
    out.append(text(WIDTH - 2, bottom + 13, unit, "tick", "end"))
    for row, y in named_rows(groups, row_height, out):
        x = LEFT
        for css, value, title in row["parts"]:
            out.append(rect(x, y, value * scale, 14, css, title))
            x += value * scale
        out.append(text(max(x, LEFT) + 5, y + 11.5, show(row["value"]), "value"))
        for dot in row.get("dots", ()):
            out.append(f'<circle cx="{LEFT + dot * scale:.2f}" cy="{y + 21}" r="3" class="dot">'
                       f"<title>one run: {dot:.2f} {escape(unit)}</title></circle>")
    return svg(height, out, label)


RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 5, 10)


def intervals(groups, label):
    """Ratios with their intervals on a logarithmic axis; rows are {name, estimate, low, high,
    css}."""
    rows = [row for _, group in groups for row in group]
    low = min(min(row["low"] for row in rows) * 0.97, 0.8)
    high = max(max(row["high"] for row in rows) * 1.03, 1.25)
    width = WIDTH - LEFT - RIGHT

    def at(value):
        return LEFT + width * math.log(value / low) / math.log(high / low)

    row_height = 26
    height = sum(HEAD + row_height * len(group) for _, group in groups) + 30
    bottom = height - 26
    out, last = [], -100
    for tick in RATIOS:
        if not low <= tick <= high:
            continue
        out.append(upright(at(tick), bottom, "one" if tick == 1 else "grid"))
        if tick == 1 or (at(tick) - last > 26 and abs(at(tick) - at(1)) > 26):
            last = at(tick)
            out.append(text(last, bottom + 13, f"{tick:g}", "tick", "middle"))
    out.append(text(WIDTH - 2, bottom + 13, "× off", "tick", "end"))
    for row, y in named_rows(groups, row_height, out):
        out.append(f'<line x1="{at(row["low"]):.1f}" y1="{y + 7.5}" x2="{at(row["high"]):.1f}" '
                   f'y2="{y + 7.5}" class="bar {row["css"]}"/>')
        out.append(f'<circle cx="{at(row["estimate"]):.1f}" cy="{y + 7.5}" r="5" '
                   f'class="{row["css"]}"><title>'
                   f'{row["estimate"]:.3f}, {row["low"]:.3f} to {row["high"]:.3f}</title></circle>')
        out.append(text(WIDTH - RIGHT + 8, y + 11.5, f"{row['estimate']:.2f}", "value"))
    return svg(height, out, label)
