# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot the patched host here and run a command in it."""

import argparse
import os
import shlex
from pathlib import Path

from spf import arguments, limits, series, ui
from spf.build import targets
from spf.lab import ept, outcome, power, serial, simulate, x86

# How a lab is asked for, and its module.  A module has
#   ABOUT, MEMORY   what the lab is, in words, and the default of --memory
#   OPTIONS         the options that not all labs have, by their names in argparse
#   make(args)      the lab that was asked for, built unless --no-build says otherwise
LABS = {"--arch x86": x86, "--arch ept": ept, "--arch power": power, "--arch power10": power,
        "--simulate": simulate}
ARCHES = [lab.removeprefix("--arch ") for lab in LABS if lab.startswith("--arch ")]


def writer(number):
    def give(data):
        while data:
            data = data[os.write(number, data):]
    return give


def parser():
    p = arguments.Parser(
        prog="kvmspf lab", description=__doc__, epilog="""\
The command sees this machine's root read-only, with scratch (lost at the end) on /tmp /run /etc
/var /root /home /opt /srv /dev/shm.  Files left in $KVMSPF_OUT are copied to --out.  $KVMSPF_QEMU
and $KVMSPF_GUEST_KERNEL name a VMM and a guest kernel for the command.  The command's output and
exit status come back; 125 is a failure of the lab itself (panic, stall, timeout), with the reason
on stderr.  Without a command there is a shell.""")
    p.add_argument("--arch", choices=ARCHES, default="x86",
                   help="; ".join(f"{arch}: {LABS['--arch ' + arch].ABOUT}" for arch in ARCHES)
                        + " (default x86).  All but x86 have no root file system: COMMAND is a "
                        "static program, and the files that it names are packed with it")
    p.add_argument("--cpus", type=limits.cpus, default=0,
                   help=f"CPUs of the host in the lab (default: this machine's, here "
                        f"{x86.DEFAULT_CPUS})")
    p.add_argument("--memory", type=limits.memory, default=0,
                   help="the lab's memory (default: "
                        + ", ".join(f"{lab.split()[-1].lstrip('-')} {module.MEMORY >> 20}M"
                                    for lab, module in LABS.items()) + ")")
    p.add_argument("--numa", type=limits.nodes, default=1, help="the lab's NUMA nodes (default 1)")
    p.add_argument("--simulate", type=limits.cpus, metavar="N",
                   help=f"a host of N CPUs, up to 512, {simulate.ABOUT}")
    p.add_argument("--sockets", type=limits.nodes, default=1,
                   help="simulate: its sockets (default 1)")
    p.add_argument("--nodes", type=limits.nodes, default=0,
                   help="simulate: its NUMA nodes (default one a socket)")
    p.add_argument("--line", type=limits.line, default=simulate.LINE, metavar="NEAR,FAR",
                   help="simulate: ns that kernel code waits for a cache line that another CPU of "
                        "the socket has, and one of another socket (default %d,%d); 0,0: lines "
                        "cost nothing, and the simulation is three times as fast" % simulate.LINE)
    p.add_argument("--seed", type=limits.seed, default=1,
                   help="simulate: the seed of all that is random in the host (default 1)")
    series.option(p)
    p.add_argument("--kernel", default="patched",
                   help=f"{', '.join(targets.FLAVOURS)}, or a bzImage's path; power: "
                        f"{', '.join(power.KERNELS)}, or a vmlinux's path")
    p.add_argument("--qemu", default=os.environ.get("KVMSPF_QEMU", "patched"),
                   help="patched, edit, or the path of a qemu-system-x86_64 ($KVMSPF_QEMU)")
    p.add_argument("--accel", choices=("auto", "tcg", "kvm"), default="auto",
                   help="auto (default): kvm where it works nested, else tcg")
    p.add_argument("--icount", action="store_true", help="one CPU, whose clock counts instructions")
    p.add_argument("--append", default="", help="more kernel arguments")
    p.add_argument("--timeout", type=limits.seconds, default=0,
                   help=f"seconds for the whole run (default: none; without a root file system "
                        f"{serial.TIMEOUT})")
    p.add_argument("--stall", type=limits.seconds, default=120,
                   help="seconds without a sign of life that count as a stall (default 120)")
    p.add_argument("--out", help="directory for what the command leaves in $KVMSPF_OUT")
    p.add_argument("--no-build", action="store_true",
                   help="use the kernel that is there, do not bring it up to date")
    p.add_argument("--dry-run", action="store_true", help="print QEMU's command line")
    p.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND [ARGUMENT...]")
    return p


def choose(args):
    """The module that makes the lab.  Refuse options that only others have."""
    asked = "--simulate" if args.simulate else f"--arch {args.arch}"
    for name in (name for module in LABS.values() for name in module.OPTIONS):
        if name not in LABS[asked].OPTIONS and getattr(args, name) != parser().get_default(name):
            raise ui.Fail(f"--{name.replace('_', '-')} is not for {asked}", "leave it out", 2)
    return LABS[asked]


def main(argv):
    args = parser().parse_args(argv)
    series.use(args.series)
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    ui.need_root()
    module = choose(args)
    if args.out and Path(args.out).exists() and not Path(args.out).is_dir():
        raise ui.Fail(f"--out {args.out} is no directory", "name one, or a new one", 2)
    lab = module.make(args)
    if args.dry_run:
        print(shlex.join(lab.arguments(Path("RUN"), not command)))
        return 0
    result = lab.run(command, writer(1), writer(2), args.out)
    if ui.verbose:
        ui.say(f"boot {result.boot_seconds:.1f} s, all {result.seconds:.1f} s, console "
               f"{ui.shown(result.console)}")
    if result.kind != "exit":
        raise ui.Fail(f"lab: {result.kind}: {result.what}",
                      f"console log: {ui.shown(result.console)}", outcome.LAB_FAILED)
    if args.simulate:
        up, end = result.inside
        ui.say(f"simulated {args.simulate} CPUs: boot {up:.6f} s, command {end - up:.6f} s of "
               f"virtual time; "
               f"{ui.duration(result.seconds)} of real time")
    if result.trouble:
        ui.say(f"lab: the kernel complained: {result.trouble[0]}; console log: "
               f"{ui.shown(result.console)}")
    return result.status
