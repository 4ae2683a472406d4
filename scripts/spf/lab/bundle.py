# SPDX-License-Identifier: GPL-2.0-or-later
"""Make a directory with fault storms for another machine: patched kernel, emulator, fault-storm
and a script that runs them.

DIR/run runs on any x86-64 Linux, as an ordinary user, and installs nothing.  Copy DIR to a machine
with many CPUs, and give the results.json that it writes to kvmspf report."""

import gzip
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from spf import arguments, paths, series, ui
from spf.build import meson, targets
from spf.lab import accel, image
from spf.source import apt, debroot

SOURCE = paths.SCRIPTS / "bundle"
PACKAGES = ["binutils", "busybox-static", "qemu-system-data", "seabios"]
FIRMWARE = ("/usr/share/seabios/bios-256k.bin", "/usr/share/seabios/kvmvapic.bin",
            "/usr/share/qemu/kvmvapic.bin", "/usr/share/qemu/linuxboot_dma.bin",
            "/usr/share/seabios/linuxboot_dma.bin")
MOST_MIB = 60


def parser():
    p = arguments.Parser(prog="kvmspf bundle", description=__doc__)
    p.add_argument("--out", metavar="DIR", default=str(paths.BUILD / "bundle"),
                   help="the directory, new or an older bundle (default: build/bundle)")
    p.add_argument("--no-build", action="store_true",
                   help="use the kernel and QEMU that are there")
    series.option(p)
    return p


def initramfs():
    cpio = image.Cpio()
    for name in ("bin", "dev", "proc", "sys", "tmp"):
        cpio.directory(name)
    cpio.device("dev/console", 5, 1)
    for name, path in {"init": SOURCE / "init", "bin/busybox": Path("/bin/busybox")}.items():
        cpio.file(name, path.read_bytes(), 0o755)
    cpio.file("bin/fault-storm", stripped(meson.bench_static() / "fault-storm"), 0o755)
    return gzip.compress(cpio.finish(), mtime=0)


def stripped(program):
    with tempfile.NamedTemporaryFile() as made:
        ui.run(["strip", "-o", made.name, program])
        return Path(made.name).read_bytes()


def script(qemu):
    said = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"version (\S+)", said)[1]
    text = (SOURCE / "run").read_text(encoding="utf-8")
    return text.replace("@CPU@", accel.CPU["tcg"]).replace("@QEMU@", version).encode()


def contents():
    """Name in the bundle -> bytes."""
    qemu = series.qemu()
    found = {"run": script(qemu), "bzImage": series.kernel("patched").read_bytes(),
             "initramfs": initramfs(), "qemu-system-x86_64": stripped(qemu),
             "busybox": Path("/bin/busybox").read_bytes()}
    found |= {f"lib/{Path(name).name}": Path(name).read_bytes()
              for name in debroot.loaded(qemu)}
    return found | {f"firmware/{Path(name).name}": Path(name).read_bytes() for name in FIRMWARE
                    if Path(name).exists()}


def write(out, files):
    """Write the whole bundle, or nothing."""
    new = out.with_name(out.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    for name, data in files.items():
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        (new / name).write_bytes(data)
        if name in ("run", "busybox", "qemu-system-x86_64") or name.startswith("lib/ld-"):
            (new / name).chmod(0o755)
    shutil.rmtree(out, ignore_errors=True)
    new.replace(out)


def main(argv):
    args = parser().parse_args(argv)
    series.use(args.series)
    out = Path(args.out).resolve()
    if out.exists() and not (out / "run").exists():
        raise ui.Fail(f"{args.out} is there, and no bundle", "name another --out", 2)
    ui.need_root()
    if not args.no_build:
        targets.bring_up_to_date("patched")
    apt.packages(PACKAGES)
    files = contents()
    mib = sum(map(len, files.values())) / 2**20
    if mib > MOST_MIB:
        raise ui.Fail(f"the bundle would take {mib:.0f} MiB", f"{MOST_MIB} are the most")
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, files)
    print(f"{ui.shown(out)}: {mib:.0f} MiB; {ui.shown(out / 'run')} runs it")
    return 0
