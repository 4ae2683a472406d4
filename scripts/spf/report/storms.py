# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables and curves from fault-storm's output, for bench/storm-report and for compare.

A cell is all runs of one number of vCPUs in one mode.  Cells that are shown together are alike in
everything else."""

from spf.report import curve, page, stats

MODES = ("off", "vma-lock", "on", "default")
CSS = {"default": "stock"}
BESIDE = {"off": 0.98, "on": 1.02}
HEAD = ["vCPUs", "mode", "runs", "faults/s", "x off", "interval", "min..max", "p50 us", "p99 us",
        "p99.9 us", "p99.99 us"]


def cells(results):
    found = {}
    for result in results:
        for run in result["runs"]:
            found.setdefault((result["config"]["vcpus"], run["mode"]), []).append(run)
    return dict(sorted(found.items(), key=lambda item: (item[0][0], MODES.index(item[0][1]))))


def histogram(runs, pick):
    """The runs' histograms, merged: (ns, count), sorted by ns."""
    merged = {}
    for run in runs:
        for ns, count in pick(run)["histogram"]:
            merged[ns] = merged.get(ns, 0) + count
    return sorted(merged.items())


def percentile(counts, part):
    total, below = sum(count for _, count in counts), 0
    for ns, count in counts:
        below += count
        if below >= part * total:
            return ns
    return 0


def tail(counts):
    """Points: ns, and the part of all that took at least as long.  This shows a tail."""
    total, left, points = sum(count for _, count in counts), sum(count for _, count in counts), []
    for ns, count in counts:
        points.append((max(ns, 1) / 1e3, left / total))
        left -= count
    return points


def touch(run):
    return run["latency_ns"]


def calls(runs):
    """Every kind of neighbour, with a function that gets its latency from a run."""
    return [(n["kind"], lambda run, i=i: run["neighbours"][i]["latency_ns"])
            for i, n in enumerate(runs[0]["neighbours"])]


def row(found, key):
    runs, base = found[key], found.get((key[0], "off"))
    rates = [run["rate"] for run in runs]
    spread = stats.spread(rates)
    against = stats.ratio(rates,
                          [run["rate"] for run in base]) if base and key[1] != "off" else None
    counts = histogram(runs, touch)
    words = [str(key[0]), key[1], str(len(runs)), f"{spread['median']:.0f}",
             f"{against['estimate']:.2f}" if against else "", "",
             f"{spread['min']:.0f}..{spread['max']:.0f}"]
    if against and len(runs) > 1:
        words[-2] = f"{against['low']:.2f}..{against['high']:.2f} ({against['confidence']:.0%})"
    words += [f"{percentile(counts, part) / 1e3:.1f}" for part in (0.5, 0.99, 0.999, 0.9999)]
    return words + [f"{percentile(histogram(runs, pick), 0.99) / 1e3:.1f}"
                    for _, pick in calls(runs)]


def table(found):
    """The table as rows of strings; the first is the head."""
    kinds = [f"{kind} p99 us" for kind, _ in calls(next(iter(found.values())))]
    return [HEAD + kinds] + [row(found, key) for key in found]


def scaling(found):
    """Curves of median rates, and the line of linear scaling."""
    series = []
    for mode in MODES:
        points = [(v, stats.median([run["rate"] for run in runs])) for (v, m), runs in found.items()
                  if m == mode]
        if len(points) > 1:
            series.append((CSS.get(mode, mode), mode, points))
    if series:
        first = max(points[0] for _, _, points in series
                    if points[0][0] == min(p[0][0] for _, _, p in series))
        last = max(points[-1][0] for _, _, points in series)
        series.append(("one", "ideal", [first, (last, first[1] * last / first[0])]))
    return series


def spreads(found):
    """Bars from the lowest to the highest rate of each cell.  The modes' bars stand side by
    side."""
    for (vcpus, mode), runs in found.items():
        rates = [run["rate"] for run in runs]
        if len(rates) > 1:
            yield CSS.get(mode, mode), vcpus * BESIDE.get(mode, 1), min(rates), max(rates)


def tail_card(title, found, vcpus, pick):
    series = [(CSS.get(mode, mode), mode, tail(histogram(runs, pick)))
              for (v, mode), runs in found.items() if v == vcpus]
    drawn = curve.plot(series, "us", title, log_x=True, log_y=True,
                       show_x=lambda v: f"{v:g}", show_y=lambda v: f"{v:.4g}")
    return page.curves(title, "The share that took at least as long as the axis below says. Both "
                              "axes are logarithmic.", series, drawn)


def cards(found, where="", second="second"):
    """The scaling curve, and the tails with the most vCPUs; where: a suffix of their titles."""
    out, most = [], max(v for v, _ in found)
    if series := scaling(found):
        out.append(page.curves(f"Faults a {second} by vCPUs{where}",
                               f"Upwards: faults a {second}. Lines: medians; bars: lowest to "
                               "highest run; dashed: the best rate of the fewest vCPUs, times "
                               "the number of vCPUs. Both axes are logarithmic.",
                               series, curve.plot(series, "vCPUs", f"faults a {second}",
                                                  log_x=True, log_y=True, twos=True,
                                                  spreads=list(spreads(found)))))
    out.append(tail_card(f"Latency of a touch, {most} vCPUs{where}", found, most, touch))
    runs = next(runs for (v, _), runs in found.items() if v == most)
    return out + [tail_card(f"Latency of the VMM's {kind}, {most} vCPUs{where}", found, most, pick)
                  for kind, pick in calls(runs)]
