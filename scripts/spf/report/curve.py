# SPDX-License-Identifier: GPL-2.0-or-later
"""Curves as inline SVG, in the style of the bars of svg.py.  Both axes may be logarithmic.  page.py
has the style sheet."""

import math
from html import escape

from spf.report import svg

LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 46, 14, 12, 26, 240


class Axis:
    """An axis that maps values from low to high to pixels from start to end."""

    def __init__(self, values, start, end, log, zero=False, twos=False):
        self.log, self.start, self.end, self.twos = log, start, end, twos
        self.low, self.high = (0 if zero and not log else min(values)), max(values)
        if self.high <= self.low:
            self.high = self.low * 2 or 1

    def at(self, value):
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    def ticks(self, most):
        if not self.log:
            step = svg.nice_step(self.high, most)
            return [i * step for i in range(math.ceil(self.low / step), int(self.high / step + 1e-6)
                                            + 1)]
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        few = math.log10(self.high / self.low) * 3 <= most + 2
        ticks = [m * 10 ** p for p in powers for m in ((1, 2, 5) if few else (1,))]
        if self.twos:
            ticks = [2 ** p for p in range(math.ceil(math.log2(self.high)) + 1)]
        return [t for t in ticks if self.low * 0.999 <= t <= self.high * 1.001]


def grid(x1, y1, x2, y2):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="grid"/>'


def plot(series, x_unit, label, log_x=False, log_y=False, show_x=svg.number, show_y=svg.number,
         height=HEIGHT,
         bands=(), reach=(), spreads=(), twos=False):
    """series: (css, name, points); css "one" is a dashed line for comparison.  bands: (css, name,
    from, to) on the x axis, behind the lines.  reach: more points that the axes must include.
    spreads: (css, x, low, high), vertical bars.  twos: the ticks of x are powers of two."""
    points = [p for _, _, line in series for p in line] + list(reach)
    points += [(at, end) for _, at, *ends in spreads for end in ends]
    x = Axis([p[0] for p in points], LEFT, svg.WIDTH - RIGHT, log_x, twos=twos)
    y = Axis([p[1] for p in points], height - BOTTOM, TOP, log_y, zero=True)
    out = [svg.rect(x.at(start), TOP, x.at(end) - x.at(start), height - BOTTOM - TOP, f"band {css}",
                    name)
           for css, name, start, end in bands]
    for tick in x.ticks(6):
        out.append(grid(x.at(tick), TOP, x.at(tick), height - BOTTOM))
        out.append(svg.text(x.at(tick), height - BOTTOM + 13, show_x(tick), "tick", "middle"))
    for tick in y.ticks(5):
        out.append(grid(LEFT, y.at(tick), svg.WIDTH - RIGHT, y.at(tick)))
        out.append(svg.text(LEFT - 5, y.at(tick) + 3.5, show_y(tick), "tick", "end"))
    out.append(svg.text(svg.WIDTH - 2, height - 2, x_unit, "tick", "end"))
    for css, at, low, high in spreads:
        out.append(f'<line x1="{x.at(at):.1f}" y1="{y.at(low):.1f}" x2="{x.at(at):.1f}" '
                   f'y2="{y.at(high):.1f}" class="spread {css}"><title>{show_y(low)} to '
                   f'{show_y(high)}</title></line>')
    for css, name, line in series:
        path = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in line)
        out.append(f'<polyline points="{path}" class="line '
                   f'{css}"><title>{escape(name)}</title></polyline>')
    return svg.svg(height, out, label)
