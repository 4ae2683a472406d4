#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run two VMs in the lab, collect what spfctl says of them with Prometheus, and draw the panels of
spfctl's Grafana dashboard: an HTML file."""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "scripts")]

from tests.lib.console_guest import initramfs  # noqa: E402
from spf import arguments, paths, ui  # noqa: E402
from spf.build import meson, targets  # noqa: E402
from spf.lab import x86  # noqa: E402
from spf.report import curve, page, svg  # noqa: E402
from spf.source import apt  # noqa: E402

DASHBOARD = paths.SCRIPTS / "spfctl" / "grafana-dashboard.json"
COLOURS = ("off", "on", "vma-lock", "kernel", "loading", "userspace", "stock", "firmware")
TIER = {tier: f"t-{tier}" for tier in ("fast", "speculative", "vma-lock", "mmap-lock")}
# A unit of Grafana's: the text for it, what to multiply values by, and how to show them.
UNITS = {"ops": ("per second", 1, "{:g}".format), "percentunit": ("", 1, "{:.0%}".format),
         "s": ("us", 1e6, svg.number)}


def panels():
    return json.loads(DASHBOARD.read_text())["panels"]


def collected():
    """{title of a panel: what Prometheus has for it}"""
    apt.packages(["busybox-static", "prometheus", "prometheus-node-exporter"])
    targets.bring_up_to_date("patched")
    archive = paths.BUILD / "tests" / "dashboard.cpio"
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(initramfs(["dd", "sleep", "true"]))
    done = x86.Lab("patched", cpus=2, memory=2 << 30, timeout=900).run(
        ["/usr/bin/python3", HERE / "lab_dashboard.py", meson.spfctl(), archive, DASHBOARD])
    if (done.kind, done.status) != ("exit", 0) or done.trouble:
        raise ui.Fail(f"the lab: {done.kind} {done.status} {done.what} {done.trouble} "
                      f"{ui.last_line(done.err.decode())}", f"see {ui.shown(done.console)}")
    return json.loads(done.out)


def graph(panel, found):
    unit, times, show = UNITS[panel["fieldConfig"]["defaults"]["unit"]]
    start = min(at for one in found for at, _ in one["values"])
    lines = []
    for one in found:
        points = [(at - start, float(value) * times) for at, value in one["values"]
                  if value != "NaN"]
        # A reason that never came only fills the legend.
        if "reason" not in one["metric"] or any(value for _, value in points):
            name = ", ".join(one["metric"].values())
            lines.append((TIER.get(name, COLOURS[len(lines) % len(COLOURS)]), name, points))
    return page.curves(panel["title"], unit, lines,
                       curve.plot(lines, "s", panel["title"], show_y=show))


def number(panel, found):
    said = ", ".join(f"{' '.join(one['metric'].values())} {one['value'][1]}".strip()
                     for one in found if one["value"][1] != "0" or len(found) == 1)
    return page.tile(panel["title"], said, "", "now")


def document(found):
    return page.document("spfctl's dashboard", [
        "<h1>spfctl’s dashboard</h1><p>Two VMs, in modes off and on, whose guests touch 2 MiB of "
        "new memory a second, on an emulated host with two CPUs.</p>",
        page.grid([number(panel, found[panel["title"]]) for panel in panels()
                   if panel["type"] != "timeseries"], "tiles"),
        page.grid([graph(panel, found[panel["title"]]) for panel in panels()
                   if panel["type"] == "timeseries"])])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=arguments.Help)
    parser.add_argument("html", type=Path)
    args = parser.parse_args()
    ui.need_root()
    args.html.write_text(document(collected()), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except (ui.Fail, OSError) as failure:
        sys.exit(f"dashboard: {failure}")
