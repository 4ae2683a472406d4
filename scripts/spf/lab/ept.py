# SPDX-License-Identifier: GPL-2.0-or-later
"""The EPT lab: Debian's Bochs emulates a processor with VMX, so that kvm_intel runs."""

import shutil

from spf import ui
from spf.source import apt, setup
from spf.build import targets
from spf.lab import serial, x86

PACKAGES = "bochs bochs-term bochsbios grub-common grub-pc-bin mtools vgabios xorriso".split()
ABOUT = "Intel EPT on Bochs, with one CPU, slow"
MEMORY = 512 << 20
OPTIONS = "arch", "cpus"

# Bochs' XSAVE areas do not have the size that the kernel computes.  The kernel then does without
# XSAVE, but 7.x overwrites init_cred on the way: docs/found-bugs.md.
COMMAND_LINE = "mitigations=off nokaslr noxsave"

GRUB = """set timeout=0
menuentry lab {{
	linux /kernel {command_line}
	initrd /initramfs
}}
"""

# Bochs' clock counts instructions, so that the guest does not depend on this machine's speed.
BOCHS = """config_interface: textconfig
display_library: term
memory: guest={megabytes}, host={megabytes}
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=corei7_skylake_x, count=1, ips=50000000, ignore_bad_msrs=1, reset_on_triple_fault=0
clock: sync=none, time0=946684800
ata0-master: type=cdrom, path="{directory}/iso", status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev="{directory}/console"
log: "{directory}/bochs.log"
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
"""


class Ept(serial.Serial):
    def __init__(self, kernel="patched", memory=MEMORY, **options):
        super().__init__(x86.kernel_path(kernel), memory, **options)

    def words(self, directory, initramfs):
        root = directory / "root"
        (root / "boot" / "grub").mkdir(parents=True)
        shutil.copy(self.kernel, root / "kernel")
        initramfs.rename(root / "initramfs")
        text = GRUB.format(command_line=f'{self.command_line("ttyS0,115200")} {COMMAND_LINE}')
        (root / "boot" / "grub" / "grub.cfg").write_text(text)
        ui.run(["grub-mkrescue", "-o", directory / "iso", root])
        (directory / "bochsrc").write_text(BOCHS.format(directory=directory,
                                                        megabytes=self.memory >> 20))
        # Debian's Bochs stops in its debugger first.
        (directory / "debugger").write_text("c\n")
        return ["bochs", "-q", "-f", directory / "bochsrc", "-rc", directory / "debugger"]


def bring_up_to_date(kernel):
    apt.packages(PACKAGES)
    if kernel in targets.FLAVOURS:
        targets.build(f"linux-{kernel}")


def make(args):
    """The lab that `kvmspf lab --arch ept` was asked for."""
    if args.cpus > 1:
        raise ui.Fail("Bochs emulates one CPU here", "leave out --cpus", 2)
    if not args.no_build:
        setup.ready()
        bring_up_to_date(args.kernel)
    return Ept(args.kernel, args.memory or MEMORY, append=args.append, timeout=args.timeout)
