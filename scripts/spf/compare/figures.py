# SPDX-License-Identifier: GPL-2.0-or-later
"""Make results.json of compare, and add notes and medians to that of compare or of a bundle;
docs/results-schema.md."""

import datetime
import json
import os
import re

from spf.compare import loads
from spf.report import document, spreadsheet, summary, words

SCHEMA = {"schema": "kvmspf-compare", "schema_version": 2}


def describe_machine():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
        model = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M)
    return {"kernel": os.uname().release, "cores": os.cpu_count(), "cpu_model": model.group(1)
            if model else "unknown CPU"}


def wanted(settings):
    return settings["runs"] * len(settings["modes"]) * len(settings["vmm"])


def notes(results):
    out = []
    platform = results["platform"]
    if platform["emulated"]:
        out.append("Software emulation: seconds mean nothing outside this machine; compare modes "
                   "within one VMM load only.")
    if not platform["host"]["modes"]:
        out.append("This host's kernel has no speculative_faults parameter: one mode, 'stock', and "
                   "no faults by tier.")
    thrown = len(results["discards"])
    if thrown:
        out.append(f"{thrown} {'run was' if thrown == 1 else 'runs were'} not comparable and "
                   "thrown away ("
                   + ", ".join(f"{k}: {sum(d['kind'] == k for d in results['discards'])}"
                               for k in sorted({d["kind"] for d in results["discards"]})) + ").")
    most = wanted(results["settings"])
    if results["runs"] and len(results["runs"]) < most:
        out.append(f"Only {len(results['runs'])} of {most} runs succeeded before too many had to "
                   "be thrown away.")
    for what, all_of_them in (("runs", results["runs"]), ("storms", results["storms"]),
                              ("runs thrown away", results["discards"]),
                              ("simulated hosts", simulated_hosts(results))):
        trouble = sum(bool(one.get("host_trouble")) for one in all_of_them)
        if trouble:
            out.append(f"The host's kernel complained during {trouble} of {len(all_of_them)} "
                       f"{what}; see host_trouble in results.json.")
    for one in simulated_hosts(results):
        if "failed" in one:
            out.append(f"A simulated host of {one['cpus']} CPUs with seed {one['seed']} gave "
                       f"nothing: {one['failed']}.")
    return out


def simulated_hosts(results):
    found = results.get("simulated") or {}
    return found.get("hosts", []) + found.get("lives", {}).get("hosts", [])


def simulated(of_all, vmms, settings):
    """results.json's object `simulated`; @of_all: the result of each host."""
    hosts = [without(host, "storms") for host in of_all]
    storms = [{"vmm": "busy" if storm["neighbour"] else "quiet", **without(storm, "neighbour")}
              for host in of_all for storm in host.get("storms", ())]
    return {**settings, "vmm": vmms, "hosts": hosts, "storms": storms}


def simulated_lives(of_all, settings):
    """results.json's object `simulated.lives`."""
    return {**settings, "hosts": [without(host, "runs", "discards") for host in of_all],
            **{name: [without(event) for host in of_all for event in host[name]]
               for name in ("runs", "discards")}}


def without(event, *names):
    return {key: value for key, value in event.items() if key not in ("event", *names)}


def settings(args, host, manifest, modes):
    return {"runs": args.runs, "modes": modes, "vmm": args.vmm, "vcpus": args.vcpus,
            "memory_mib": args.memory,
            "data_mib": args.data, "load": args.load, "servers": args.servers,
            "keys": manifest["keys"],
            "value_bytes": loads.KINDS[args.load].VALUE_BYTES, "pages": args.pages,
            "storm_mib": host.storm_mib,
            "seed": args.seed, "snapshot_sha256": manifest["image_sha256"]}


def platform(args, host, manifest, kvm):
    facts = host.facts()
    return {**facts, "host": kvm,
            "machine": describe_machine(),
            args.load: manifest["version"]}


def assemble(args, host, watcher, manifest, seconds):
    """All of results.json; @watcher has seen the runner's events."""
    kvm = without(watcher.of("host")[0])
    runs = [without(event) for event in watcher.of("run") if event["id"] != "warm-up"]
    discards = [without(event) for event in watcher.of("discard")]
    modes = args.modes if kvm["modes"] else ["stock"]
    results = {
        **SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1), "settings": settings(args, host, manifest, modes),
        "platform": platform(args, host, manifest, kvm), "load_text": None, "runs": runs,
        "discards": discards, "summary": [],
        "storms": [without(event, "id") for event in watcher.of("storm")], "simulated": None,
    }
    return finish(results)


def finish(results):
    """Add the medians and sentences that follow from the other fields."""
    settings = results["settings"]
    results["summary"] = summary.summarise(results["runs"], results["discards"], settings["modes"],
                                           settings["vmm"])
    if lives := (results.get("simulated") or {}).get("lives"):
        lives["summary"] = summary.summarise(lives["runs"], lives["discards"], settings["modes"],
                                             settings["vmm"])
    results["load_text"] = loads.text(settings) if settings["load"] else None
    results["platform"]["accelerator"] = words.accelerator(results["platform"]["host"],
                                                           results["platform"]["emulated"])
    results["notes"] = notes(results)
    results["conclusions"] = words.conclusions(results)
    results["method"] = words.method(results)
    results["platform_text"] = words.platform_text(results)
    return results


def write(out, results):
    files = {"results.json": json.dumps(results, indent=1) + "\n",
             "report.html": document.html(results),
             **spreadsheet.files(results)}
    for name, content in files.items():
        temporary = out / (name + ".new")
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(out / name)
