# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmspf compare: guest boot time and load time with speculation off, vma-lock and on."""

import json
import os
import sys
import textwrap
import time
from pathlib import Path

from spf import arguments, kvmparam, limits, paths, series, ui
from spf.report import difference, table
from spf.compare import execution, figures, hosts, loads, needs, plan, simulated, \
    simulated_lives

LOADS = loads.KINDS.values()
EPILOG = f"""\
One guest life gives one boot time (from QEMU's start to the guest's ready mark, split into
firmware, kernel, userspace) and one load time ({"; or ".join(load.DOES for load in LOADS)}).
The modes alternate, with a quiet and a busy VMM.  Storms of faults follow, with 1, 2, 4... vCPUs, a
second a run at most.  compare throws away runs that are not comparable (stall, crash, wrong key
count), and counts and replaces them.  Guests run on this host if it has a patched kernel and a
/dev/kvm that works, else in an emulated host (kvmspf lab).  In the end compare runs storms on
simulated hosts of up to 128 CPUs, in virtual time (docs/scaling.md), two hosts at a time.  DIR gets
results.json (docs/results-schema.md), the same values as runs.csv and storms.csv, and report.html.

Status: 0 done; 1 failed; 2 wrong arguments; 3 done, but runs are missing."""


def parser():
    p = arguments.Parser(prog="kvmspf compare", description=__doc__, epilog=EPILOG)
    p.add_argument("results", nargs="*", metavar="RESULTS.json",
                   help="two earlier results: compare these, run nothing")
    p.add_argument("--runs", type=limits.positive, default=5,
                   help="guest lives of each kind (default 5)")
    p.add_argument("--modes", type=limits.some_of(tuple(kvmparam.MODES)),
                   default=list(kvmparam.MODES), metavar="LIST",
                   help="some of off,vma-lock,on (default all)")
    p.add_argument("--vmm", type=limits.some_of(("quiet", "busy")), default=["quiet", "busy"],
                   metavar="LIST",
                   help="some of quiet,busy (default both)")
    p.add_argument("--vcpus", type=limits.positive, default=8, metavar="N",
                   help="the guest's vCPUs (default 8)")
    p.add_argument("--memory", type=limits.mib, default=1024, metavar="SIZE",
                   help="the guest's memory (default 1G)")
    p.add_argument("--data", type=limits.mib, metavar="SIZE",
                   help="size of the load's data (default 64M); not for "
                        + ", ".join(n for n, kind in loads.KINDS.items() if not kind.VALUE_BYTES))
    p.add_argument("--load", choices=tuple(loads.KINDS), default=loads.DEFAULT,
                   help=f"what the guest does after its boot (default {loads.DEFAULT})")
    p.add_argument("--servers", type=limits.positive, metavar="N",
                   help=f"{', '.join(load.SERVERS for load in LOADS)} (default: one a vCPU, at "
                        "most 8)")
    p.add_argument("--pages", choices=("4k", "thp"), default="4k",
                   help="host pages of guest memory: 4k (POWER's are of 64 KiB), or transparent "
                        "huge pages (default 4k)")
    p.add_argument("--arch", choices=("x86", "power"), default="x86",
                   help="architecture of host and guests (default x86)")
    p.add_argument("--kernel", default="patched", metavar="FLAVOUR",
                   help="kernel of the host in the lab: patched, stock, debug or a file")
    series.option(p)
    p.add_argument("--host", choices=("auto", "lab", "here"), default="auto",
                   help="where KVM runs (default auto)")
    p.add_argument("--cpus", type=limits.cpus, metavar="N",
                   help="CPUs of the host in the lab (default: this machine's, at most 4)")
    p.add_argument("--seed", type=limits.seed, default=1,
                   help="seed of the order of runs (default 1)")
    p.add_argument("--simulate", type=limits.number(0, simulated.MOST), metavar="N",
                   help="storms with up to N vCPUs on simulated hosts (default 128, the most; 0: "
                        "none); with an N also guest lives with N vCPUs and N servers there, each "
                        "with 16 MiB of data or more, which takes hours")
    p.add_argument("--out", metavar="DIR", help="where results go (default: build/compare/DATE)")
    p.add_argument("--json", action="store_true", help="print results.json instead of the table")
    p.add_argument("--keep", action="store_true",
                   help="keep the raw events and the consoles of runs thrown away")
    p.add_argument("--no-build", action="store_true",
                   help="use the kernels and QEMU that are there")
    return p


def compare_two(args):
    """Refuse options that mean nothing when two earlier results are compared."""
    default = parser().get_default
    given = [name for name in vars(args) if name not in ("results", "json")
             and getattr(args, name) != default(name)]
    if given:
        raise ui.Fail(f"--{given[0].replace('_', '-')} says how to run, and two results are "
                      "compared as they are",
                      "leave it out, or the results", 2)
    return difference.main(args.results, args.json)


def out_directory(name):
    out = Path(name) if name else paths.BUILD / "compare" / time.strftime("%Y%m%d-%H%M%S")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ui.Fail(f"cannot make {name}: {error.strerror}", "name another --out") from None
    return out


def planned_jobs(args, host):
    modes = ["stock"] if host.flavour() == "stock" else args.modes
    lives = plan.jobs(modes, args.vmm, args.runs, args.seed)
    storms = plan.storms(modes, args.vmm, args.vcpus, args.runs, host.storm_mib)
    ui.say(f"{len(lives)} guest lives and {len(storms)} storms on {host.text}; an estimate "
           f"follows the first")
    return lives + storms


def at_least_one_run(args, host, spec, planned, events):
    """Work off the plan; return the watcher, which has at least one run besides the warm-up."""
    with open(events, "w", encoding="utf-8") as raw:
        watcher = execution.carry_out(args, host, spec, planned, raw)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if len(watcher.of("run")) < 2:
        last = watcher.of("discard")[-1] if watcher.of("discard") else {"kind": "host",
                                                                        "detail": "no run at all"}
        raise ui.Fail(f"no comparable run: {last['kind']}: {last['detail']}",
                      f"see {ui.shown(events)}")
    return watcher


def simulate(args, modes):
    """The storms on simulated hosts, as results.json has them."""
    busy = {"quiet": None, "busy": simulated.BUSY}
    seeds = [args.seed + i for i in range(min(args.runs, simulated.SEEDS))]
    storms = simulated.Storms([busy[vmm] for vmm in args.vmm], modes, kernel=args.kernel)
    begun = time.monotonic()
    of_all = list(storms.on_all(simulated.sizes(args.simulate), seeds))
    found = figures.simulated(of_all, args.vmm, {**storms.settings(), "seeds": seeds})
    if args.simulated_guests:
        n = args.simulated_guests
        data = simulated_lives.data_mib(args.data, n)
        lives = simulated_lives.Lives(args.load, n, data, modes, args.vmm, kernel=args.kernel)
        found["lives"] = figures.simulated_lives(list(lives.on_all(seeds)), lives.settings())
    return {**found, "seconds": round(time.monotonic() - begun, 1)}


def show(found, as_json, out):
    if as_json:
        json.dump(found, sys.stdout, indent=1)
        print()
        return
    for key, value in found["platform_text"].items():
        print(textwrap.fill(f"{key + ':':20}{value}", table.WIDTH, subsequent_indent=20 * " "))
    print("\n" + table.text(found))
    print(f"\n{ui.shown(out / 'results.json')} runs.csv storms.csv\n"
          f"{ui.shown(out / 'report.html')}")


def main(argv):
    args = parser().parse_args(argv)
    series.use(args.series)
    if args.results:
        return compare_two(args)
    args.cpus = args.cpus or min(os.cpu_count(), 4)
    needs.check(args)
    ui.need_root()
    host = hosts.choose(args)
    # The image is made beside its files.
    ui.need_space(round(1 + (2 * needs.disk_mib(args) + needs.simulated_disk_mib(args)) / 1000, 1))
    spec, manifest = execution.prepare(args, host)
    out = out_directory(args.out)
    planned = planned_jobs(args, host)
    began, events = time.monotonic(), out / "events.jsonl"
    watcher = at_least_one_run(args, host, spec, planned, events)
    found = figures.assemble(args, host, watcher, manifest, time.monotonic() - began)
    figures.write(out, found)
    if args.simulate:
        found["simulated"] = simulate(args, found["settings"]["modes"])
        figures.write(out, figures.finish(found))
    if not args.keep:
        events.unlink()
    show(found, args.json, out)
    failed = any("failed" in one for one in figures.simulated_hosts(found))
    return 3 if failed or len(found["runs"] + found["storms"]) < len(planned) - 1 else 0
