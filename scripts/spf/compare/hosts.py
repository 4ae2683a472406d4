# SPDX-License-Identifier: GPL-2.0-or-later
"""The host with KVM on which compare's guests run: this machine, one in the lab, or one in the lab
of POWER.

prepare() builds what the host needs, and returns a guest's specification, with paths as that host
has them; `disk` has the load's data.  run() works off a plan there, and returns what went wrong, or
"".
"""

import fcntl
import hashlib
import os
import re
import subprocess
from pathlib import Path

from spf import kvmparam, paths, series, ui
from spf.source import debroot
from spf.build import meson, targets
from spf.lab import accel, image, power, x86
from spf.compare import loads, runner

FIRMWARE = ("-L", "/usr/share/seabios", "-L", "/usr/share/qemu")
# MiB that a host in the lab needs besides the guest: its own memory, the files that it keeps in
# memory, and a busy VMM's backends.
OWN_MIB = 1024
# KVM on an emulated POWER9 offers less than a pseries machine asks for by default.  With host pages
# of 4 KiB it also offers less for hashed page tables, which no guest here has.
PSERIES = ("pseries,x-vof=on,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off,"
           "cap-hpt-max-page-size=4k")


def usable_here():
    """Whether this machine has a patched kernel whose KVM can create a VM."""
    if not kvmparam.present():
        return False
    try:
        with open("/dev/kvm", "rb+", buffering=0) as kvm:
            os.close(fcntl.ioctl(kvm, 0xAE01, 0))
        return True
    except OSError:
        return False


def choose(args):
    if args.arch == "power":
        if args.host == "here":
            raise ui.Fail("a POWER host is an emulated one", "leave out --host here", 2)
        if Power.arch not in loads.KINDS[args.load].ARCHES:
            raise ui.Fail(f"a POWER guest has no load '{args.load}'", "leave out --load", 2)
        return Power(args)
    here = args.host == "here" or (args.host == "auto" and usable_here())
    if here and not usable_here():
        raise ui.Fail("this host's KVM is not a patched one that works",
                      "leave out --host here, or boot the patched kernel")
    return Here(args) if here else Lab(args)


def need(path, target):
    if not path.exists():
        raise ui.Fail(f"{ui.shown(path)} is missing",
                      f"run: kvmspf build {target}{series.words(target.partition('-')[0])}")
    return path


def ended(status):
    return status in (0, runner.GAVE_UP)


def initramfs(kind, agent, root=None):
    path = paths.BUILD / "compare" / f"initramfs-{root.name if root else 'here'}-{kind}.cpio"
    path.parent.mkdir(parents=True, exist_ok=True)
    files = loads.KINDS[kind].files(root)
    with ui.locked(".comparelock"):
        image.ensure_initramfs(str(path), files, agent, root)
    return path


def release(kernel):
    """The version in a kernel's image.  A bzImage has the offset of that string at 0x20e, in its
    setup header."""
    data = kernel.read_bytes()
    if data[:4] == b"\x7fELF":
        found = re.search(rb"Linux version (\S+) \(", data)
        return found[1].decode() if found else "unknown"
    at = int.from_bytes(data[0x20e:0x210], "little") + 0x200
    return data[at:at + 128].split(b" ")[0].split(b"\0")[0].decode(errors="replace") or "unknown"


def has_device(qemu):
    return '"kvm-spf"' in ui.run([qemu, "-device", "help"]).stdout


def qemu_version(program):
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True,
                              timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.partition("\n")[0].removeprefix("QEMU emulator version ")


class Host:
    """text: the host's name for the user; stage: whether to copy a guest's files to memory first;
    storm_mib: memory of each vCPU in a storm.
    """
    arch, storm_mib = "x86", 8

    def __init__(self, args):
        self.args = args

    def flavour(self):
        return self.args.kernel

    def facts(self):
        """The host's part of results.json."""
        config = self.config()
        return {"arch": self.arch, "emulated": self.emulated(), "in_lab": self.in_lab,
                "flavour": self.flavour(),
                "host_config_sha256": hashlib.sha256(config.read_bytes()).hexdigest()
                if config.is_file() else None,
                "guest_kernel": release(self.guest_kernel()), "guest_flavour": self.guest_flavour,
                "vmm_qemu": qemu_version(series.qemu()), "outer_qemu": qemu_version(series.qemu())
                if self.in_lab else None}


class X86(Host):
    @property
    def guest_flavour(self):
        return series.guest()

    def guest_kernel(self):
        return series.kernel(self.guest_flavour)

    def prepare(self, disk):
        if not self.args.no_build:
            targets.bring_up_to_date(self.guest_flavour, "patched")
        kernel = need(self.guest_kernel(), f"linux-{self.guest_flavour}")
        qemu = need(series.qemu(), "qemu")
        # The guest's marks come from the agent if QEMU has the device that the agent reads.
        agent = meson.agent() if has_device(qemu) else None
        return {"qemu": [str(qemu), *FIRMWARE], "kernel": str(kernel), "disk": disk,
                "initramfs": str(initramfs(self.args.load, agent)),
                "agent": bool(agent), "storm": str(meson.bench() / "fault-storm")}


class Here(X86):
    text, in_lab, stage = "this host", False, False

    def emulated(self):
        return False

    def flavour(self):
        return "this machine's"

    def prepare(self, disk):
        # The mode is that of the whole host.  A compare that changes it locks the file of the
        # switch.
        self.switch = open(kvmparam.PARAM, encoding="ascii")
        try:
            fcntl.flock(self.switch, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ui.Fail("another compare sets the mode of this host",
                          "wait for its end, or use --host lab") from None
        return super().prepare(disk)

    def config(self):
        return Path(f"/boot/config-{os.uname().release}")

    def run(self, plan_file, watcher, _memory_mib, _limit):
        child = subprocess.Popen(["/usr/bin/python3", paths.SCRIPTS / "spf/compare/runner.py",
                                  plan_file], stdout=subprocess.PIPE,
                                 preexec_fn=ui.die_with_parent, start_new_session=True)
        try:
            while data := os.read(child.stdout.fileno(), 65536):
                watcher.feed(data)
            child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(10)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
        return "" if ended(child.returncode) else f"the runner ended with status {child.returncode}"


class Lab(X86):
    text, in_lab, stage = "a host in the lab", True, True

    def emulated(self):
        return accel.choose(series.qemu(), self.guest_kernel()) == "tcg"

    def config(self):
        return series.kernel(self.args.kernel, "config")

    def prepare(self, disk):
        if not self.args.no_build:
            targets.bring_up_to_date(self.args.kernel, "patched")
        spec = super().prepare(disk)
        x86.kernel_path(self.args.kernel)
        return spec

    def run(self, plan_file, watcher, memory_mib, limit):
        machine = x86.Lab(kernel=self.args.kernel, cpus=self.args.cpus, memory=memory_mib << 20,
                          timeout=limit)
        errors = bytearray()
        result = machine.run(["/usr/bin/python3", paths.SCRIPTS / "spf/compare/runner.py",
                              plan_file], watcher.feed, errors.extend)
        return trouble(result, errors)


class Power(Host):
    arch, text, in_lab, stage = "power", "a POWER host in the lab", True, True
    guest_flavour = "patched"       # the host's image, which is for powernv and pseries
    storm_mib = 64                  # pages of 64 KiB

    def emulated(self):
        return True

    def config(self):
        return series.kernel(power.KERNELS.get(self.args.kernel, self.args.kernel), "config")

    def guest_kernel(self):
        return series.kernel(power.KERNELS["patched"], "vmlinux")

    def prepare(self, disk):
        if not self.args.no_build:
            for kernel in {"patched", self.args.kernel}:
                power.bring_up_to_date(kernel)
            targets.build("qemu-power")
        power.kernel_path(self.args.kernel)
        self.disk = disk
        root = debroot.root()
        firmware = Path("/usr/share/qemu/vof.bin").resolve()
        self.files = debroot.python(root) | {f"kvmspf/{file.relative_to(paths.SCRIPTS)}": file
                                             for file in (paths.SCRIPTS / "spf").rglob("*.py")} | {
            "usr/bin/qemu-system-ppc64": need(series.qemu("power", "qemu-system-ppc64"),
                                              "qemu-power"),
            "usr/share/qemu/vof.bin": firmware,
            "usr/bin/fault-storm": meson.bench_power() / "bench/fault-storm",
            "guest/kernel": need(self.guest_kernel(), "linux-power"),
            "guest/initramfs": initramfs(self.args.load, meson.agent_power(), root)}
        return {"qemu": ["/usr/bin/qemu-system-ppc64", "-L", "/usr/share/qemu"], "machine": PSERIES,
                "cpu": "host",
                "kernel": "/guest/kernel", "initramfs": "/guest/initramfs", "disk": "/dev/vda",
                "agent": True,
                "storm": "/usr/bin/fault-storm",
                "command_line": "console=hvc0 quiet panic=-1 oops=panic"}

    def run(self, plan_file, watcher, memory_mib, limit):
        machine = power.Power(self.args.kernel, memory=memory_mib << 20, cpus=self.args.cpus,
                              timeout=limit, files=self.files, disk=self.disk)
        return trouble(machine.run(["/usr/bin/python3", "/kvmspf/spf/compare/runner.py", plan_file],
                                   watcher.feed))


def trouble(result, errors=b""):
    if result.kind == "exit" and ended(result.status):
        return ""
    said = errors.decode(errors="replace").strip().splitlines()
    return f"lab: {result.kind} {result.what or result.status} {said[-1] if said else ''}".strip()
