# SPDX-License-Identifier: GPL-2.0-or-later
"""results.json for spreadsheets: runs.csv has a line for each guest life, storms.csv one for each
run of fault-storm.

A column has the name of its value's path in results.json.  Lists are left out, except the calls of
a storm's neighbours."""

import csv
import io


def flat(value, name=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else key)
    elif value is not None and not isinstance(value, list):
        yield name, value


def lines(rows):
    rows = [dict(flat(row)) for row in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(key for row in rows for key in row)),
                            lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def storm_rows(results):
    for storm in results.get("storms", ()):
        for run in storm["runs"]:
            yield {"vmm": storm["vmm"], "vcpus": storm["config"]["vcpus"],
                   "size": storm["config"]["size"], **run,
                   "neighbours": {n["kind"]: n["latency_ns"] for n in run["neighbours"]}}


def files(results):
    return {"runs.csv": lines(results["runs"]), "storms.csv": lines(storm_rows(results))}
