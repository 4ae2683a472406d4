# SPDX-License-Identifier: GPL-2.0-or-later
"""The POWER lab: QEMU emulates a machine in hypervisor mode, firmware and all, so that KVM HV runs
with radix."""

from spf import series, ui
from spf.source import setup
from spf.build import meson, targets
from spf.lab import serial, x86

ABOUT = "KVM HV with radix"
MEMORY = 2 << 30
OPTIONS = "arch", "cpus"
MACHINES = {"power": "powernv9", "power10": "powernv10"}
KERNELS = {"patched": "power", "4k": "power4k", "edit": "poweredit"}


class Power(serial.Serial):
    init = staticmethod(meson.lab_init_power)
    machine = 21

    def __init__(self, kernel="patched", model="powernv9", memory=MEMORY, cpus=2, numa=1, disk=None,
                 **options):
        """numa: among how many chips CPUs and memory are divided; each is a node.  disk: a file,
        read-only as /dev/vda in the lab."""
        super().__init__(kernel_path(kernel), memory, cpus, **options)
        self.model, self.numa, self.disk = model, numa, disk

    def words(self, directory, initramfs):
        disk = ["-blockdev",
                f"driver=file,filename={self.disk},node-name=disk,read-only=on,locking=off",
                "-device", "pnv-phb,chip-id=0,index=0,id=bridge",
                "-device", "pnv-phb-root-port,bus=bridge,id=rootport",
                "-device", "virtio-blk-pci,bus=rootport,drive=disk"] if self.disk else []
        return [series.qemu(name="qemu-system-ppc64"), "-M", self.model,
                "-accel", "tcg,thread=multi",
                "-smp", f"{self.cpus},sockets={self.numa}", "-m", f"{self.memory >> 20}M",
                "-nodefaults", "-display", "none", "-no-reboot",
                "-serial", f"file:{directory}/console", "-kernel", self.kernel,
                "-initrd", initramfs,
                "-append", self.command_line("hvc0"), *disk]


def kernel_path(kernel):
    """A flavour of `lab --arch power`, or the path of a vmlinux."""
    if kernel not in KERNELS:
        if kernel in targets.FLAVOURS:
            raise ui.Fail(f"there is no {kernel} kernel for POWER",
                          f"say one of {', '.join(KERNELS)}, or a vmlinux's path", 2)
        return x86.kernel_path(kernel)
    path = series.kernel(KERNELS[kernel], "vmlinux")
    if not path.exists():
        raise ui.Fail(f"there is no {kernel} kernel for POWER yet",
                      f"run: kvmspf build{series.words('linux')} linux-{KERNELS[kernel]}")
    return path


def bring_up_to_date(kernel):
    setup.ready()
    targets.build("qemu")
    if kernel in KERNELS:
        targets.build(f"linux-{KERNELS[kernel]}")


def make(args):
    """The lab that `kvmspf lab --arch power` was asked for."""
    if not args.no_build:
        bring_up_to_date(args.kernel)
    return Power(args.kernel, MACHINES[args.arch], args.memory or MEMORY,
                 args.cpus or x86.DEFAULT_CPUS,
                 append=args.append, timeout=args.timeout)
