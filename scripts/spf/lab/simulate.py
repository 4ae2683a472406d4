# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated host: N CPUs that advance side by side in virtual time, on any machine (QEMU's
-icount parallel=on).

What happens in this host, and how long it takes by its own clock, depends on nothing but the files
and the seed."""

import shutil
import struct
import subprocess
from pathlib import Path

from spf import ui
from spf.source import apt, debroot
from spf.build import meson, targets
from spf.lab import accel, holders, image, serial, x86

ABOUT = """side by side in virtual time, one instruction a nanosecond; the same each time.  It has
no root file system: COMMAND and the files that it names are packed with their libraries and
busybox.  Caches and memory cost nothing, except --line"""
MEMORY = 4 << 30
OPTIONS = "simulate sockets nodes line seed qemu".split()
# The most nanoseconds by which two CPUs' clocks differ; an instruction takes one.  See
# docs/scaling.md.
QUANTUM = 200
LINE = (50, 150)
# The highest APIC ID of xAPIC.  Interrupts reach CPUs beyond it only in x2APIC mode, and through an
# IOMMU that remaps them.
MAX_APIC_ID = 254
REMAPPER = "intel-iommu,intremap=on,eim=on"
# These functions store whole pages, which a CPU does without fetching lines.  At boot newer kernels
# replace each call of the last one with the CPU's own instruction.
IN_PLACE = "__clear_pages_unrolled"
WHOLE_PAGES = ("clear_page_rep", "clear_page_erms", "clear_page_orig", IN_PLACE)
CALL, CALL_BYTES = b"\xe8", 8
COMMAND_LINE = ("mitigations=off nokaslr tsc=reliable no_timer_check watchdog_thresh=60 "
                "rcupdate.rcu_cpu_stall_timeout=120 random.trust_cpu=1")


class Simulated(serial.Serial):
    def __init__(self, cpus, kernel="patched", qemu="patched", memory=MEMORY, sockets=1, nodes=0,
                 line=LINE, seed=1, quantum=QUANTUM, everywhere=False, profile=None, **options):
        """line: ns that a cache line takes from another CPU of the socket, and of another socket;
        everywhere: code outside of kernels waits for lines, too; profile: a file that gets which
        code waited for which line (holders.py)."""
        self.sockets, self.nodes = sockets, nodes or sockets
        super().__init__(x86.kernel_path(kernel), x86.whole_nodes(memory, self.nodes), cpus,
                         **options)
        self.qemu, self.flavour = x86.qemu_path(qemu), qemu
        self.line, self.seed, self.quantum, self.everywhere = line, seed, quantum, everywhere
        self.profile = profile
        check_topology(cpus, sockets, self.nodes)

    def words(self, directory, initramfs):
        words = [self.qemu, "-M", "q35,usb=off,smbus=off,sata=off,graphics=off",
                 "-accel", "tcg,thread=single,tb-size=512",
                 "-icount", f"shift=0,sleep=off,parallel=on,quantum={self.quantum}",
                 "-seed", self.seed, "-rtc", "base=2026-01-01,clock=vm",
                 "-cpu", f"{accel.CPU['tcg']},-monitor,-hypervisor{',+x2apic' * self.remaps()}",
                 "-m", f"{self.memory >> 20}M",
                 # The kernel expects a package to be a node.  The plugin has sockets of its own, by
                 # which a line's cost differs.
                 "-smp", f"{self.cpus},sockets={self.nodes},threads=1",
                 "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                 "-serial", f"file:{directory}/console",
                 "-kernel", self.kernel, "-initrd", initramfs,
                 "-append", f"{self.command_line('ttyS0')} {COMMAND_LINE}"]
        if self.nodes > 1:
            words += x86.nodes(self.nodes, self.memory, self.cpus)
        if self.remaps():
            words += ["-device", REMAPPER]
        if any(self.line):
            words += ["-plugin", ",".join(self.plugin())]
        return words

    def remaps(self):
        return highest_apic_id(self.cpus, self.nodes) > MAX_APIC_ID

    def plugin(self):
        return [f"file={meson.plugins(self.flavour) / 'line_cost.so'}",
                f"near={self.line[0]}", f"far={self.line[1]}",
                f"socket={self.cpus // self.sockets}", *self.skips(),
                *["all=on"] * self.everywhere, *self.profiled()]

    def profiled(self):
        if not self.profile:
            return []
        return [f"out={self.profile}", f"end={holders.mark(self.symbols()):x}"]

    def symbols(self):
        return self.kernel.with_name("System.map")

    def skips(self):
        found = list(functions(self.symbols(), WHOLE_PAGES))
        for first, _ in functions(self.symbols(), (IN_PLACE,)):
            found += [(at, at + CALL_BYTES)
                      for at in calls(self.kernel.with_name("vmlinux"), first)]
        return [f"skip={first:x}-{end:x}" for first, end in found]

    def token(self, argv):
        # The same in each run: the token lies in the machine's memory.
        return ui.digest("simulated", *argv)[:32]

    def needs(self, path, machine):
        data = path.read_bytes()
        if data[:2] == b"#!":
            program = Path(data[2:data.index(b"\n")].split()[0].decode())
            return {str(program).lstrip("/"): program, **self.needs(program, machine)}
        try:
            return serial.check_program(path, machine)
        except ui.Fail:
            return libraries(path)


def libraries(path):
    """The shared libraries of a program, each at the path that the loader looks for."""
    return {name.lstrip("/"): Path(name) for name in debroot.loaded(path)}


def functions(map_file, names):
    """The start and end of each function of these names that this kernel has."""
    if not map_file.exists():
        raise ui.Fail(f"there is no {ui.shown(map_file)}",
                      "put the kernel's System.map beside it, or say --line 0,0 "
                      "(compare: --simulate 0)")
    rows = sorted((int(address, 16), name) for address, kind, name
                  in map(str.split, map_file.read_text().splitlines()) if kind in "tTwW")
    for at, (address, name) in enumerate(rows):
        if name in names:
            yield address, next(later for later, _ in rows[at:] if later > address)


def calls(vmlinux, function):
    """The addresses at which a kernel calls the function at the address `function`."""
    if not vmlinux.exists():
        raise ui.Fail(f"there is no {ui.shown(vmlinux)}",
                      "put the kernel's vmlinux beside it, or say --line 0,0")
    data = vmlinux.read_bytes()
    headers, = struct.unpack_from("<Q", data, 32)
    size, number = struct.unpack_from("<HH", data, 54)
    for header in range(headers, headers + size * number, size):
        kind, flags, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, header)
        # PT_LOAD, and code
        if kind != 1 or not flags & 1:
            continue
        at = data.find(CALL, offset, offset + length - 4)
        while at >= 0:
            here = address + at - offset
            if here + 5 + struct.unpack_from("<i", data, at + 1)[0] == function:
                yield here
            at = data.find(CALL, at + 1, offset + length - 4)


def highest_apic_id(cpus, nodes):
    """The highest APIC ID.  An APIC ID is the package's number, followed by the bits for a CPU's
    number within a package."""
    each = cpus // nodes
    return (nodes - 1) << (each - 1).bit_length() | each - 1


def check_topology(cpus, sockets, nodes):
    if cpus % sockets or nodes % sockets or cpus % nodes:
        raise ui.Fail(f"{cpus} CPUs cannot be shared out to {sockets} sockets and {nodes} nodes",
                      "each socket has as many nodes, and each node as many CPUs, as any other", 2)


def programs():
    """busybox, and a link to it for each of its programs.  The links' folder is last in PATH, after
    the programs that are packed by name."""
    busybox = shutil.which("busybox")
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    return {"bin/busybox": Path(busybox),
            **{f"applets/{name}": "/bin/busybox" for name in names.stdout.split()}}


def bring_up_to_date(kernel, qemu):
    targets.bring_up_to_date(kernel, qemu)
    apt.packages(image.PACKAGES)


def make(args):
    """The lab that `kvmspf lab --simulate` was asked for."""
    check_topology(args.simulate, args.sockets, args.nodes or args.sockets)
    if not args.no_build:
        bring_up_to_date(args.kernel, args.qemu)
    return Simulated(args.simulate, args.kernel, args.qemu, args.memory or MEMORY, args.sockets,
                     args.nodes, args.line, args.seed, append=args.append, timeout=args.timeout,
                     files=programs())
