# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot the patched host here and run a command in it."""

import argparse
import os
import shlex
from pathlib import Path

from spf import arguments, limits, series, ui
from spf.build import targets
from spf.lab import ept, outcome, power, simulate, x86

# The values of --arch, and the module of each.
LABS = {"x86": x86, "ept": ept, "power": power, "power10": power}
# Options of the simulated host alone, and options that it does not have.
SIMULATED = ("sockets", "nodes", "line", "seed")
NOT_SIMULATED = ("arch", "cpus", "numa", "accel", "icount", "stall", "out", "dry_run")


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
    p.add_argument("--arch", choices=tuple(LABS), default="x86",
                   help="x86 (default): AMD NPT or this machine's own; ept: Intel EPT on Bochs, "
                        "slow; power, power10: KVM HV with radix.  All but x86 have no root file "
                        "system: COMMAND is a static program, and the files "
                        "that it names are packed with it")
    p.add_argument("--cpus", type=limits.cpus, default=0,
                   help=f"CPUs of the host in the lab (default: this machine's, here "
                        f"{x86.DEFAULT_CPUS}; ept: 1)")
    p.add_argument("--memory", type=limits.memory, default=0,
                   help="the lab's memory (default 4G; ept 512M, power 2G)")
    p.add_argument("--numa", type=limits.nodes, default=1, help="the lab's NUMA nodes (default 1)")
    p.add_argument("--simulate", type=limits.cpus, metavar="N",
                   help="a host of N CPUs, up to 512, side by side in virtual time, one "
                        "instruction a nanosecond; the same each time.  It has no root file "
                        "system: COMMAND and the files that it names are packed with their "
                        "libraries and busybox.  Caches and memory cost nothing, except --line")
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
                   help=f"{', '.join(targets.FLAVOURS)}, or a bzImage's path; "
                   "power: patched, 4k (the base page), edit, or a vmlinux's path")
    p.add_argument("--qemu", default=os.environ.get("KVMSPF_QEMU", "patched"),
                   help="patched, edit, or the path of a qemu-system-x86_64 ($KVMSPF_QEMU)")
    p.add_argument("--accel", choices=("auto", "tcg", "kvm"), default="auto",
                   help="auto (default): kvm where it works nested, else tcg")
    p.add_argument("--icount", action="store_true", help="one CPU, whose clock counts instructions")
    p.add_argument("--append", default="", help="more kernel arguments")
    p.add_argument("--timeout", type=limits.seconds, default=0,
                   help="seconds for the whole run (default: none; ept, power, simulate: 900)")
    p.add_argument("--stall", type=limits.seconds, default=120,
                   help="seconds without a sign of life that count as a stall (default 120)")
    p.add_argument("--out", help="directory for what the command leaves in $KVMSPF_OUT")
    p.add_argument("--no-build", action="store_true",
                   help="use the kernel that is there, do not bring it up to date")
    p.add_argument("--dry-run", action="store_true", help="print QEMU's command line")
    p.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND [ARGUMENT...]")
    return p


def refuse(args, names, where):
    for name in names:
        if getattr(args, name) != parser().get_default(name):
            raise ui.Fail(f"--{name.replace('_', '-')} is not for {where}", "leave it out", 2)


def choose(args):
    """The module that makes the lab."""
    if args.simulate:
        refuse(args, NOT_SIMULATED, "--simulate")
        return simulate
    refuse(args, SIMULATED, "a lab without --simulate")
    if args.arch != "x86":
        refuse(args, ("numa", "qemu", "accel", "icount", "stall", "out", "dry_run"),
               f"--arch {args.arch}")
    return LABS[args.arch]


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
