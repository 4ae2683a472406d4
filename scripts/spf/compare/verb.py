# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmspf compare: guest boot time and database load time with speculation off, vma-lock and on."""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from spf import kvmparam, limits, paths, series, ui
from spf.source import apt
from spf.lab import image
from spf.report import difference, document, spreadsheet, summary, table, words
from spf.compare import hosts, loads, plan

SCHEMA = {"schema": "kvmspf-compare", "schema_version": 1}
EPILOG = """\
One guest life gives one boot time (from QEMU's start to the guest's ready mark, split into firmware, kernel, userspace)
and one load time (N Redis servers load their snapshots at once, until each answers with all its keys; or memcached is
filled over N connections; or N threads of db-load read a table; or N compilers build a library).  The modes
alternate, with a quiet and a busy VMM.  Storms of faults follow, with 1, 2, 4... vCPUs, a second a run at most.  compare
throws away runs that are not comparable (stall, crash, wrong key count), counts and replaces them.  Where this host runs a
patched kernel and /dev/kvm works, guests run right here; elsewhere in an emulated host (kvmspf lab).  DIR gets results.json
(docs/results-schema.md), the same as runs.csv and storms.csv, and report.html.
Status: 0 done; 1 could not be done; 2 wrong arguments; 3 done, but runs are missing."""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ui.Fail(message, "kvmspf compare --help tells more", 2)


def mib(text):
    match = re.fullmatch(r"([1-9]\d{0,6})\s*([mgt]?)(i?b)?", text.strip(), re.I)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size (write 512M or 4G)")
    return int(match[1]) << {"": 0, "m": 0, "g": 10, "t": 20}[match[2].lower()]


def parser():
    p = Parser(prog="kvmspf compare", description=__doc__, epilog=EPILOG,
               formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("results", nargs="*", metavar="RESULTS.json", help="two earlier results: compare these, run nothing")
    p.add_argument("--runs", type=limits.positive, default=5, help="guest lives of each kind (default 5)")
    p.add_argument("--modes", type=limits.some_of(tuple(kvmparam.MODES)), default=list(kvmparam.MODES), metavar="LIST",
                   help="some of off,vma-lock,on (default all)")
    p.add_argument("--vmm", type=limits.some_of(("quiet", "busy")), default=["quiet", "busy"], metavar="LIST",
                   help="some of quiet,busy (default both)")
    p.add_argument("--vcpus", type=limits.positive, default=8, metavar="N", help="the guest's vCPUs (default 8)")
    p.add_argument("--memory", type=mib, default=1024, metavar="SIZE", help="the guest's memory (default 1G)")
    p.add_argument("--data", type=mib, metavar="SIZE", help="size of the loaded database (default 64M); a build has none")
    p.add_argument("--load", choices=tuple(loads.KINDS), default=loads.DEFAULT,
                   help=f"what the guest does: load a database, or build (default {loads.DEFAULT})")
    p.add_argument("--servers", type=limits.positive, metavar="N",
                   help="Redis servers, memcached's connections, threads, compilers (default: one a vCPU, at most 8)")
    p.add_argument("--pages", choices=("4k", "thp"), default="4k",
                   help="host pages of guest memory: 4k (POWER's are of 64 KiB), or transparent huge pages (default 4k)")
    p.add_argument("--arch", choices=("x86", "power"), default="x86", help="architecture of host and guests (default x86)")
    p.add_argument("--kernel", default="patched", metavar="FLAVOUR", help="kernel of the host in the lab: patched, stock, debug or a file")
    series.option(p)
    p.add_argument("--host", choices=("auto", "lab", "here"), default="auto", help="where KVM runs (default auto)")
    p.add_argument("--cpus", type=limits.cpus, metavar="N", help="CPUs of the host in the lab (default: this machine's, at most 4)")
    p.add_argument("--seed", type=limits.number(0, 999999999), default=1, help="seed of the order of runs (default 1)")
    p.add_argument("--out", metavar="DIR", help="where results go (default: build/compare/DATE)")
    p.add_argument("--json", action="store_true", help="print results.json instead of the table")
    p.add_argument("--keep", action="store_true", help="keep the raw events and the consoles of runs thrown away")
    p.add_argument("--no-build", action="store_true", help="use the kernels and QEMU that are there")
    return p


def check(args):
    args.servers = args.servers or min(args.vcpus, 8)
    if loads.KINDS[args.load].VALUE_BYTES:
        args.data = args.data or 64
    elif args.data:
        raise ui.Fail(f"the data of the load '{args.load}' are always the same", "leave out --data", 2)
    if args.vcpus > 512:
        raise ui.Fail(f"{args.vcpus} vCPUs are more than the guest's kernel knows", "use --vcpus 512 or fewer", 2)
    if not args.modes or not args.vmm:
        raise ui.Fail("nothing to compare", "name a mode and a VMM load", 2)
    if args.data and args.data < args.servers:
        raise ui.Fail(f"{args.data} MiB of data are too few for {args.servers} servers", f"use --data {args.servers}M or more", 2)
    need = loads.memory_needed_mib(args.load, args.data, args.servers, args.vcpus)
    if args.memory < need:
        much, less = (f"{args.data} MiB of data", "less --data") if args.data else (f"{args.servers} servers", "fewer --servers")
        raise ui.Fail(f"a guest of {args.memory} MiB is too small for {much}", f"use --memory {need}M or more, or {less}", 2)
    with open("/proc/meminfo", encoding="ascii") as f:
        free = int(re.search(r"MemAvailable:\s+(\d+)", f.read()).group(1)) // 1024
    if host_memory(args) > free:
        raise ui.Fail(f"this machine has {free} MiB of memory free and {host_memory(args)} are needed",
                      "use less --memory" + (" and --data" if args.data else ""), 2)


def disk_mib(args):
    return loads.image_mib(loads.KINDS[args.load].disk_mib(args.data))


def host_memory(args):
    """The guest, the busy VMM's backends, and the host itself with what it keeps on tmpfs."""
    return args.memory + hosts.OWN_MIB + 4 * args.vcpus + disk_mib(args)


def describe_machine():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
        model = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M)
    return {"kernel": os.uname().release, "cores": os.cpu_count(), "cpu_model": model.group(1) if model else "unknown CPU"}


class Watcher:
    """Takes the runner's lines as they come; keeps events, and says how far it is."""

    def __init__(self, planned, raw):
        self.planned, self.raw = planned, raw
        self.events, self.begun = [], None
        self._partial = b""
        self.tty = sys.stderr.isatty()
        self.start = time.monotonic()

    def feed(self, data):
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
                kind = event["event"]
            except (ValueError, TypeError, KeyError):
                continue
            self.raw.write(line.decode() + "\n")
            self.raw.flush()
            self.events.append(event)
            self.begun = event if kind == "begin" else None
            self.show(event)

    def show(self, event):
        kind = event["event"]
        rest = plan.left(self.planned, self.events)
        first = rest[0] if rest else {}
        done = len(self.planned) - len(rest)
        what = f"{event.get('vmm', '')} {event.get('mode', '')}"
        if kind == "discard":
            self.line(f"{what}: thrown away, {event['kind']}: {event['detail']}")
        elif kind == "begin" and self.tty:
            print(f"\r\033[Kkvmspf: run {done + 1} of {len(self.planned)}, {what}{self.remaining(rest)}",
                  end="", file=sys.stderr, flush=True)
        elif kind == "run":
            text = (f"{done}/{len(self.planned)} {what}: boot {event['boot']['total_s']:.2f} s, "
                    f"load {event['load']['total_s']:.2f} s{self.remaining(rest)}")
            last = first.get("round") != event["round"]
            if ui.verbose or (not self.tty and last):
                self.line(text)
        elif kind == "storm" and not self.tty and "storm" not in first:
            self.line(f"{done}/{len(self.planned)} storms: done")

    def remaining(self, rest):
        if not any(e["event"] == "run" for e in self.events):
            return ""
        return f", about {ui.duration(plan.estimate(rest, self.events))} left"

    def line(self, text):
        if self.tty:
            print("\r\033[K", end="", file=sys.stderr)
        ui.say(text)

    def lost(self, why):
        """The host went down under the runner: the life it was in is thrown away."""
        job = self.begun or {"id": "none", "mode": "", "vmm": ""}
        event = {**job, "event": "discard", "kind": "host", "detail": why}
        self.begun = None
        self.events.append(event)
        self.raw.write(json.dumps(event) + "\n")
        self.show(event)

    def of(self, kind):
        return [e for e in self.events if e["event"] == kind]


def carry_out(args, host, spec, planned, raw, allowed=None):
    """Work off the plan, on as many hosts as it takes. Returns the watcher."""
    watcher = Watcher(planned, raw)
    boot = 160 + 6 * args.vcpus
    load = boot + loads.KINDS[args.load].seconds(args.data)
    allowed = max(6, len(planned) // 2) if allowed is None else allowed
    restarts = barren = 0
    # Not in --out: that may be somewhere the lab keeps scratch of its own.
    plan_file = paths.BUILD / "compare" / f"plan-{os.getpid()}.json"
    try:
        while True:
            rest = plan.left(planned, watcher.events, restart=bool(restarts))
            budget = allowed - len(watcher.of("discard"))
            if not rest or budget < 0 or watcher.of("giving-up"):
                return watcher
            plan_file.write_text(json.dumps({"spec": spec, "jobs": rest, "stage": host.stage, "max_discards": budget,
                                             "boot_timeout": boot, "load_timeout": load}))
            before = len(watcher.of("run") + watcher.of("storm"))
            why = host.run(plan_file, watcher, host_memory(args), 120 + len(rest) * (boot + load))
            if not why:
                return watcher
            barren = 0 if len(watcher.of("run") + watcher.of("storm")) > before else barren + 1
            if barren > 1 or not watcher.of("host"):
                raise ui.Fail(why, "try: kvmspf lab -- true")
            watcher.lost(why)
            restarts += 1
    finally:
        plan_file.unlink(missing_ok=True)


def notes(results, wanted):
    out = []
    platform = results["platform"]
    if platform["emulated"]:
        out.append("Software emulation: seconds mean nothing outside this machine; compare modes within one VMM load only.")
    if not platform["host"]["modes"]:
        out.append("This host's kernel has no speculative_faults parameter: one mode, 'stock', and no faults by tier.")
    thrown = len(results["discards"])
    if thrown:
        out.append(f"{thrown} {'run was' if thrown == 1 else 'runs were'} not comparable and thrown away: "
                   + ", ".join(f"{k} {sum(d['kind'] == k for d in results['discards'])}"
                               for k in sorted({d["kind"] for d in results["discards"]})) + ".")
    if len(results["runs"]) < wanted:
        out.append(f"Only {len(results['runs'])} of {wanted} runs were had before too many had to be thrown away.")
    for what, all_of_them in (("runs", results["runs"]), ("storms", results["storms"]), ("runs thrown away", results["discards"])):
        trouble = sum(bool(one.get("host_trouble")) for one in all_of_them)
        if trouble:
            out.append(f"The host's kernel complained during {trouble} of {len(all_of_them)} {what}; see host_trouble in results.json.")
    return out


def assemble(args, host, watcher, manifest, seconds):
    kvm = {k: v for k, v in watcher.of("host")[0].items() if k != "event"}
    facts, kind = host.facts(), loads.KINDS[args.load]
    runs = [{k: v for k, v in e.items() if k != "event"} for e in watcher.of("run") if e["id"] != "warm-up"]
    discards = [{k: v for k, v in e.items() if k != "event"} for e in watcher.of("discard")]
    modes = args.modes if kvm["modes"] else ["stock"]
    results = {
        **SCHEMA, "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "settings": {"runs": args.runs, "modes": modes, "vmm": args.vmm, "vcpus": args.vcpus, "memory_mib": args.memory,
                     "data_mib": args.data, "load": args.load, "servers": args.servers, "keys": manifest["keys"],
                     "value_bytes": kind.VALUE_BYTES, "pages": args.pages, "storm_mib": host.storm_mib, "seed": args.seed,
                     "snapshot_sha256": manifest["image_sha256"]},
        "platform": {**facts, "accelerator": words.accelerator(kvm, facts["emulated"]), "host": kvm,
                     "machine": describe_machine(), args.load: manifest["version"]},
        "load_text": None, "runs": runs, "discards": discards,
        "summary": summary.summarise(runs, discards, modes, args.vmm),
    }
    results["load_text"] = loads.text(results["settings"])
    results["storms"] = [{k: v for k, v in e.items() if k not in ("event", "id")} for e in watcher.of("storm")]
    results["notes"] = notes(results, args.runs * len(modes) * len(args.vmm))
    results["conclusions"] = words.conclusions(results)
    results["method"] = words.method(results)
    results["platform_text"] = words.platform_text(results)
    return results


def write_results(out, results):
    files = {"results.json": json.dumps(results, indent=1) + "\n", "report.html": document.html(results),
             **spreadsheet.files(results)}
    for name, content in files.items():
        temporary = out / (name + ".new")
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(out / name)


def prepare(args, host):
    """Everything that has to be there before the first guest: programs, kernels, initramfs, snapshots."""
    apt.packages(image.PACKAGES)
    try:
        with ui.locked(".comparelock"):
            manifest = loads.ensure(str(paths.BUILD / "compare"), args.load, args.data, args.servers)
        spec = host.prepare(manifest["image"])
    except FileNotFoundError as error:
        raise ui.Fail(f"cannot make the guest's files: {error}", "run: kvmspf setup") from None
    except subprocess.SubprocessError as error:
        raise ui.Fail(f"cannot make the guest's files: {str(error).splitlines()[0]}", "-v shows the commands") from None
    return spec | {"vcpus": args.vcpus, "memory_mib": args.memory, "servers": args.servers, "pages": args.pages,
                   "keys": manifest["answers"]}, manifest


def main(argv):
    args = parser().parse_args(argv)
    series.use(args.series)
    if args.results:
        given = [name for name in vars(args) if name not in ("results", "json") and getattr(args, name) != parser().get_default(name)]
        if given:
            raise ui.Fail(f"--{given[0].replace('_', '-')} says how to run, and two results are compared as they are",
                          "leave it out, or the results", 2)
        return difference.main(args.results, args.json)
    args.cpus = args.cpus or min(os.cpu_count(), 4)
    check(args)
    ui.need_root()
    host = hosts.choose(args)
    # The image is made beside its files.
    ui.need_space(round(1 + 2 * disk_mib(args) / 1000, 1))
    spec, manifest = prepare(args, host)
    out = Path(args.out) if args.out else paths.BUILD / "compare" / time.strftime("%Y%m%d-%H%M%S")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ui.Fail(f"cannot make {args.out}: {error.strerror}", "name another --out") from None

    modes = ["stock"] if host.flavour() == "stock" else args.modes
    lives = plan.jobs(modes, args.vmm, args.runs, args.seed)
    planned = lives + plan.storms(modes, args.vmm, args.vcpus, args.runs, host.storm_mib)
    began = time.monotonic()
    ui.say(f"{len(lives)} guest lives and {len(planned) - len(lives)} storms on "
           f"{host.text}; an estimate follows the first")
    events = out / "events.jsonl"
    with open(events, "w", encoding="utf-8") as raw:
        watcher = carry_out(args, host, spec, planned, raw)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if len(watcher.of("run")) < 2:
        last = watcher.of("discard")[-1] if watcher.of("discard") else {"kind": "host", "detail": "no run at all"}
        raise ui.Fail(f"no comparable run: {last['kind']}: {last['detail']}", f"see {ui.shown(events)}")
    results = assemble(args, host, watcher, manifest, time.monotonic() - began)
    write_results(out, results)
    if not args.keep:
        events.unlink()
    if args.json:
        json.dump(results, sys.stdout, indent=1)
        print()
    else:
        for key, value in results["platform_text"].items():
            print(f"{key + ':':20}{value}")
        print("\n" + table.text(results))
        print(f"\n{ui.shown(out / 'results.json')} runs.csv storms.csv\n{ui.shown(out / 'report.html')}")
    return 0 if len(results["runs"] + results["storms"]) == len(planned) - 1 else 3
